# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""People and traffic around the robot."""

from collections.abc import Callable

import numpy as np

from pervformer_ros.geometry import Array
from pervformer_ros.sim import movables, patrol
from pervformer_ros.sim.actions import follow, wait, wait_until
from pervformer_ros.sim.kinds import Kind
from pervformer_ros.sim.layout import Layout
from pervformer_ros.sim.route import Route
from pervformer_ros.sim.scenario import scenario
from pervformer_ros.sim.stage import Body, Stage, Story
from pervformer_ros.sim.textures import paint
from pervformer_ros.sim.traffic import load_forks, pull_jack, stroll, walk_to_and_fro

# Traffic keeps to the right of a lane's centre line by this much.
RIGHT = 0.4
# People walk this far from an aisle's centre line, on the side that the convoy leaves free.
BESIDE = 0.95


@scenario("movers before and beside the robot often fill 20 to 50 % of the view", seconds=180)
def busy_aisle(stage: Stage) -> None:
    """The robot drives two laps in a convoy, with people who come towards it and cross."""
    layout, rng = stage.layout, stage.rng
    up = int(rng.integers(len(layout.aisles) - 1))
    route = convoy_route(layout, up, laps=2, speed=float(rng.uniform(0.9, 1.1)))
    patrol.start_robot(stage, route)
    patrol.furnish(stage, [route.points, *lanes_beside(layout, up)], amount=0.6)
    join_convoy(stage, route, up)
    surround(stage, up)
    stage.tell(patrol.drive_and_finish(stage, route))


@scenario("people and a forklift cross behind and before each other", seconds=75)
def occlusion(stage: Stage) -> None:
    """The robot looks at a row of tall goods; people walk behind it, stay there, come out."""
    layout, rng = stage.layout, stage.rng
    x, y = layout.aisles[1].x, layout.front + 0.5
    route = Route([(x, y + 2.5), (x, y)], 0.5)
    patrol.start_robot(stage, route)
    row = layout.front - 4.6
    for offset in (-0.95, 0.0, 0.95):
        stage.add(movables.TALL_PALLET, x + offset, row, np.pi / 2 + float(rng.normal(0, 0.03)))
    stage.add(movables.ROLL_CAGE, x - 2.4, row + 0.1, float(rng.uniform(-0.3, 0.3)))
    for number, behind in enumerate((row - 1.2, row - 1.9)):
        person = stage.add(movables.PERSON, x + (-4.4, 4.4)[number], behind)
        stage.tell(_pass_behind(stage, person, x, behind))
    near = stage.add(movables.PERSON, x + 4.8, row + 1.5)
    stage.tell(walk_to_and_fro(stage, near, _line(x + 4.8, x - 4.2, row + 1.5), 1.1, 3.0))
    truck = stage.add(movables.FORKLIFT, x - 5.2, row + 2.9)
    ends = _line(max(x - 5.2, 1.8), min(x + 5.0, layout.width - 2.6), row + 2.9)
    truck.x = float(ends[0][0])
    stage.tell(walk_to_and_fro(stage, truck, ends, 1.3, 6.0))
    stage.tell(_look_on(stage, route, 68.0))


@scenario("a person in clothes of the background's colour crosses it", seconds=70)
def camouflage(stage: Stage) -> None:
    """The robot stands, then drives; people in the wall's and the floor's colour cross."""
    layout, rng = stage.layout, stage.rng
    aisle = int(rng.integers(len(layout.aisles)))
    x = layout.aisles[aisle].x
    route = Route([(x, layout.front + 6.0), (x, layout.front + 0.3)], 0.7)
    patrol.start_robot(stage, route)
    lines = [layout.front - d for d in (2.6, 4.6)]
    lane = [
        np.column_stack([np.linspace(1, layout.width - 1, 600), np.full(600, y)]) for y in lines
    ]
    patrol.furnish(stage, [route.points, *lane], amount=0.4)
    for y in lines:
        left, right = max(x - 4.5, 1.0), min(x + 4.5, layout.width - 1.0)
        line = _line(left, right, y)
        tone = paint(stage.seed, "wall" if y == lines[0] else "concrete").mean(axis=(0, 1))
        person = stage.add(movables.camouflaged(tone), left, y)
        stage.tell(walk_to_and_fro(stage, person, line, float(rng.uniform(0.8, 1.3)), 2.0))
    stage.tell(_stand_then_drive(stage, route, 25.0))


def convoy_route(layout: Layout, up: int, laps: int, speed: float) -> Route:
    """Return clockwise laps on the right-hand side, up one aisle and down the next."""
    points = []
    for _ in range(laps):
        points += patrol.loop_points(layout, up, up + 1, RIGHT)
    return Route([*points, points[0], points[1]], speed)


def join_convoy(stage: Stage, route: Route, up: int, go: Callable[[], bool] | None = None) -> None:
    """Let a loaded forklift drive close before the robot, and a person with a jack before that.

    go: they wait for it.
    """
    lead = float(stage.rng.uniform(4.0, 4.8))
    slow = convoy_route(stage.layout, up, laps=3, speed=route.speed * 0.85)
    truck = stage.add(movables.FORKLIFT, *slow.pose(lead))
    load_forks(stage, truck)
    walker = stage.add(movables.PERSON, *slow.pose(lead + 6.0))
    pull_jack(stage, walker)
    for body, start in ((truck, lead), (walker, lead + 6.0)):
        stage.tell(_set_off(stage, body, slow.rest(start), go))


def _set_off(stage: Stage, body: Body, route: Route, go: Callable[[], bool] | None) -> Story:
    if go is not None:
        yield from wait_until(go)
    yield from follow(stage, body, route)


def surround(stage: Stage, up: int, along_docks: bool = True) -> None:
    """Let people walk to and fro beside the convoy's lanes, and a robot along the docks."""
    layout = stage.layout
    for aisle, side in ((up, -1), (up + 1, 1)):
        x = layout.aisles[aisle].x + side * BESIDE
        _pace(stage, movables.PERSON, (x, layout.back - 2.0), (x, layout.front + 2.0))
    first, last = layout.aisles[up].x, layout.aisles[up + 1].x
    rows = [(layout.cross_back_y + 1.65, movables.PERSON)]
    if along_docks:
        rows.append((layout.cross_front_y - 1.75, movables.ROBOT))
        rows.append((layout.cross_front_y - 2.7, movables.PERSON))
    for y, kind in rows:
        _pace(stage, kind, (first - 0.8, y), (last + 0.8, y))


def _pace(stage: Stage, kind: Kind, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Let a new body go to and fro between two points, beginning somewhere on the way."""
    rng = stage.rng
    ends = np.array([start, end])[:: int(rng.choice([-1, 1]))]
    here = ends[0] + float(rng.uniform(0, 0.6)) * (ends[1] - ends[0])
    body = stage.add(kind, float(here[0]), float(here[1]))
    line = [ends[0], ends[1]]
    speed, pause = float(rng.uniform(0.9, 1.3)), float(rng.uniform(1.5, 3.5))
    stage.tell(walk_to_and_fro(stage, body, line, speed, pause))


def lanes_beside(layout: Layout, up: int) -> list[Array]:
    """Return points on all lanes that `surround` uses."""
    left, right = layout.aisles[up].x - BESIDE, layout.aisles[up + 1].x + BESIDE
    front, back = layout.cross_front_y, layout.cross_back_y
    lines = [((x, layout.front), (x, layout.back)) for x in (left, right)]
    lines += [((left, y), (right, y)) for y in (back + 1.65, front - 1.75, front - 2.7)]
    return [Route(line, 1.0).points for line in lines]


def _line(x0: float, x1: float, y: float) -> list[tuple[float, float]]:
    return [(x0, y), (x1, y)]


def _pass_behind(stage: Stage, person: Body, x: float, y: float) -> Story:
    """Walk behind the row, stay hidden for 2 to 10 s, come out on the other side, and so on."""
    side = 1.0 if person.x > x else -1.0
    rng = stage.rng
    yield from wait(float(rng.uniform(1, 4)))
    while True:
        middle, out = (x + float(rng.uniform(-0.3, 0.3)), y), (x - side * 4.2, y)
        pause = float(rng.uniform(2, 9))
        yield from stroll(stage, person, [middle, out], 1.0, [pause, 2.0])
        side = -side


def _look_on(stage: Stage, route: Route, seconds: float) -> Story:
    yield from follow(stage, stage.robot, route)
    yield from wait(seconds)
    stage.finished = True


def _stand_then_drive(stage: Stage, route: Route, seconds: float) -> Story:
    yield from wait(seconds)
    yield from follow(stage, stage.robot, route)
    yield from wait(12.0)
    stage.finished = True
