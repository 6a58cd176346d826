# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""To learn from: more of everything than any shift has, near the robot and in its way."""

import numpy as np

from pervformer_ros.geometry import Array
from pervformer_ros.sim import movables, patrol
from pervformer_ros.sim.actions import drive_to, follow, turn, wait
from pervformer_ros.sim.kinds import Kind
from pervformer_ros.sim.layout import Layout, Rectangle
from pervformer_ros.sim.route import Route
from pervformer_ros.sim.scenario import scenario
from pervformer_ros.sim.stage import TICK, Body, Stage, Story
from pervformer_ros.sim.traffic import Spot, load_forks, pull_jack, put

# Each class as often as the others, however many kinds of it there are.
STANDING = (
    (movables.LOADED_PALLET, movables.EMPTY_PALLET, movables.TALL_PALLET),
    (movables.BOX,),
    (movables.CONE,),
    (movables.ROLL_CAGE,),
    (movables.ROBOT,),
    (movables.PALLET_JACK,),
    (movables.PERSON,),
    (movables.FORKLIFT,),
)
PATIENCE_S = 2.5  # who is blocked for so long goes elsewhere
ATTEMPTS = 8  # at finding a free place
AREA_PER_BODY = 5.0, 12.0  # m2 of floor for each thing that stands


@scenario("a throng of all there is, some of it on the move", seconds=60, practice=True)
def throng(stage: Stage) -> None:
    """The robot wanders about a part of the hall that is full of things, and so do others."""
    layout, rng = stage.layout, stage.rng
    area = _area(layout, rng)
    stage.robot.x, stage.robot.y = _point(area, rng)
    stage.robot.yaw = _towards(stage.robot, np.array(area.centre)) + float(rng.normal(0, 0.5))
    around = np.array([[stage.robot.x, stage.robot.y]])
    size = (area.x1 - area.x0) * (area.y1 - area.y0)
    for _ in range(round(size / float(rng.uniform(*AREA_PER_BODY)))):
        kinds = STANDING[rng.integers(len(STANDING))]
        _stand(stage, kinds[rng.integers(len(kinds))], area, around)
    for _ in range(int(rng.integers(2, 7))):
        _walker(stage, area, around)
    for _ in range(int(rng.integers(0, 3))):
        _truck(stage, area, around)
    for _ in range(int(rng.integers(0, 3))):
        if (robot := _stand(stage, movables.ROBOT, area, around)) is not None:
            stage.tell(_wander(stage, robot, area, float(rng.uniform(0.5, 1.2))))
    if rng.random() < 0.75:
        stage.tell(_wander(stage, stage.robot, area, float(rng.uniform(0.4, 1.1))))
    else:
        stage.tell(_look_around(stage))


def _area(layout: Layout, rng: np.random.Generator) -> Rectangle:
    """Return a part of the hall without racks: before the docks, behind the racks, an aisle."""
    where = rng.choice(3, p=(0.5, 0.25, 0.25))
    if where == 0:
        return Rectangle(0.8, 0.8, layout.width - 0.8, layout.front - 0.8)
    if where == 1:
        return Rectangle(0.8, layout.back + 0.5, layout.width - 0.8, layout.depth - 0.6)
    aisle = layout.aisles[rng.integers(len(layout.aisles))]
    half = aisle.width / 2 - 0.3
    return Rectangle(aisle.x - half, layout.front - 4.0, aisle.x + half, layout.back)


def _point(area: Rectangle, rng: np.random.Generator) -> tuple[float, float]:
    return float(rng.uniform(area.x0, area.x1)), float(rng.uniform(area.y0, area.y1))


def _towards(body: Body, point: Array) -> float:
    return float(np.arctan2(point[1] - body.y, point[0] - body.x))


def _stand(stage: Stage, kind: Kind, area: Rectangle, keep_free: Array) -> Body | None:
    """Put a new body somewhere free, if there is such a place."""
    for _ in range(ATTEMPTS):
        x, y = _point(area, stage.rng)
        yaw = float(stage.rng.uniform(-np.pi, np.pi))
        if (body := patrol.place(stage, kind, x, y, yaw, [keep_free])) is not None:
            return body
    return None


def _walker(stage: Stage, area: Rectangle, keep_free: Array) -> None:
    """Let a person walk about; one in three pulls a jack, loaded or not."""
    rng = stage.rng
    person = _stand(stage, movables.PERSON, area, keep_free)
    if person is None:
        return
    if rng.random() < 0.35:
        load = put(stage, Spot(person.x, person.y, 0.0)) if rng.random() < 0.4 else None
        pull_jack(stage, person, load)
        stage.settle()
    stage.tell(_wander(stage, person, area, float(rng.uniform(0.6, 1.4))))


def _truck(stage: Stage, area: Rectangle, keep_free: Array) -> None:
    """Let a forklift, loaded or not, go forth and back: it has no room to turn."""
    rng = stage.rng
    truck = _stand(stage, movables.FORKLIFT, area, keep_free)
    if truck is None:
        return
    if rng.random() < 0.6:
        load_forks(stage, truck, loaded=bool(rng.random() < 0.8))
    stage.tell(_shunt(stage, truck, area, float(rng.uniform(0.5, 1.4))))


def _wander(stage: Stage, body: Body, area: Rectangle, speed: float) -> Story:
    """Go from one point to another for ever."""
    while True:
        story = drive_to(stage, body, [_point(area, stage.rng)], speed, softness=0.3)
        yield from _patiently(story, body)
        yield from wait(max(TICK, float(stage.rng.uniform(-2, 4))))


def _shunt(stage: Stage, truck: Body, area: Rectangle, speed: float) -> Story:
    """Go straight ahead and back for ever, as far as the area reaches."""
    ahead = np.array([np.cos(truck.yaw), np.sin(truck.yaw)])
    here = np.array([truck.x, truck.y])
    low, high = np.array([area.x0, area.y0]), np.array([area.x1, area.y1])
    way = 0.5 + 3.0 * float(stage.rng.random())
    there = np.clip(here + way * ahead, low, high)
    while True:
        if np.hypot(*(there - here)) > 0.3:
            yield from _patiently(follow(stage, truck, Route([here, there], speed)), truck)
            now = np.array([truck.x, truck.y])
            if np.hypot(*(now - here)) > 0.1:
                back = Route([now, here], speed, reverse=True)
                yield from _patiently(follow(stage, truck, back), truck)
            here = np.array([truck.x, truck.y])
        yield from wait(float(stage.rng.uniform(0.5, 5)))


def _look_around(stage: Stage) -> Story:
    """Stand, and turn to where there is something now and then."""
    while True:
        yield from wait(float(stage.rng.uniform(1, 8)))
        others = stage.bodies[1:]
        if others:
            other = others[stage.rng.integers(len(others))]
            yield from turn(stage.robot, _towards(stage.robot, np.array([other.x, other.y])))


def _patiently(story: Story, body: Body) -> Story:
    """Tell a story until it ends, or until the body has not stirred for a while."""
    stood, before = 0.0, (body.x, body.y, body.yaw)
    for _ in story:
        now = (body.x, body.y, body.yaw)
        stood = stood + TICK if now == before else 0.0
        before = now
        if stood > PATIENCE_S:
            body.speed = 0.0
            return
        yield
