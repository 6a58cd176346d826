# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whole shifts: much happens, some of it before the robot's eyes."""

from functools import partial

import numpy as np

from pervformer_ros.geometry import Array
from pervformer_ros.sim import movables, patrol
from pervformer_ros.sim.actions import drive_to, follow, wait, wait_until
from pervformer_ros.sim.lights import hang
from pervformer_ros.sim.route import Route
from pervformer_ros.sim.scenario import scenario
from pervformer_ros.sim.scenarios.goods import (
    TO_DOCKS,
    Signal,
    dock_spots,
    parking,
    truck_lane,
)
from pervformer_ros.sim.scenarios.people import convoy_route, join_convoy, lanes_beside, surround
from pervformer_ros.sim.stage import Body, Stage, Story
from pervformer_ros.sim.traffic import TRUCK_SPEED, Spot, carry, put

# The point of the lap, in steps of its route, at which the robot joins it.
JOIN = 60


@scenario("a forklift moves a pallet before the robot, which then drives a busy lap", seconds=160)
def shift(stage: Stage) -> None:
    """What the demonstration shows: `forklift_moves_pallet` and `busy_aisle` in one."""
    layout, rng = stage.layout, stage.rng
    speed = float(rng.uniform(0.95, 1.1))
    first, second = dock_spots(layout, rng)
    pallet = put(stage, first)
    truck = stage.add(movables.FORKLIFT, *parking(layout, first, second))
    look = np.array([layout.aisles[1].x, layout.front - 0.2])
    come = Route(np.array([[look[0], look[1] + 6.0], look]), speed)
    lap = convoy_route(layout, 0, laps=1, speed=speed)
    corner = np.array([lap.points[0, 0], layout.cross_front_y])
    turn_off = [look, layout.crossing(1, "front"), corner, lap.points[JOIN]]
    patrol.start_robot(stage, come)
    lanes = [come.points, lap.points, truck_lane(layout), *lanes_beside(layout, 0)]
    patrol.furnish(stage, lanes, amount=0.7)
    surround(stage, 0, along_docks=False)
    go, off = Signal(), Signal()
    join_convoy(stage, lap, 0, off)
    stage.tell(_watch_then_lap(stage, come, Route(turn_off, speed), lap, go, off))
    stage.tell(_carry_once(stage, truck, pallet, first, second, go))


@scenario("half an hour: many laps, goods come and go, people about, lamps fail", seconds=1800)
def long_shift(stage: Stage) -> None:
    """Laps through changing aisles while two forklifts work at the docks and in the back."""
    layout, rng = stage.layout, stage.rng
    speed = float(rng.uniform(0.9, 1.1))
    route = _many_laps(stage, speed)
    patrol.start_robot(stage, route)
    spots = _dock_row(stage)
    pallets = [put(stage, spot) for spot in spots[::2]]
    truck = stage.add(movables.FORKLIFT, 1.6, layout.truck_lane_y, 0.0)
    rows = (layout.cross_back_y + 1.75, layout.cross_front_y - 1.0)
    lanes = [Route([(1.0, y), (layout.width - 1.0, y)], 1.0).points for y in rows]
    patrol.furnish(stage, [route.points, truck_lane(layout), *lanes], amount=1.6)
    stage.tell(_work_for_ever(stage, truck, pallets, spots))
    stage.tell(_vanish_and_return(stage))
    for y in rows:
        person = stage.add(movables.PERSON, 2.0, y)
        stage.tell(_come_and_go(stage, person, y))
    lamps = len(hang(layout, stage.seed))
    for lamp in rng.choice(lamps, 5, replace=False):
        stage.failing.add(int(lamp))
        stage.tell(_fail_for_a_while(stage, f"lamp_{lamp}"))
    stage.tell(patrol.drive_and_finish(stage, route))


def _watch_then_lap(
    stage: Stage, come: Route, turn_off: Route, lap: Route, go: Signal, off: Signal
) -> Story:
    yield from follow(stage, stage.robot, come)
    go.give()
    yield from wait(40.0)
    yield from follow(stage, stage.robot, turn_off)
    off.give()
    rest = Route(lap.points[JOIN:], lap.speed, softness=0)
    yield from follow(stage, stage.robot, rest)
    stage.finished = True


def _carry_once(
    stage: Stage, truck: Body, pallet: Body, spot: Spot, target: Spot, go: Signal
) -> Story:
    home = np.array([truck.x, truck.y])
    yield from wait_until(go)
    yield from carry(stage, truck, pallet, spot, target)
    yield from drive_to(stage, truck, [home], TRUCK_SPEED)


def _many_laps(stage: Stage, speed: float) -> Route:
    """Return laps for the whole shift, each up one aisle and down another."""
    layout, rng = stage.layout, stage.rng
    points: list[Array] = []
    length, down = 0.0, -1
    while length < 1.15 * speed * 1800:
        # Straight up again where it came down, the robot would have to turn on the spot.
        up = int(rng.choice([i for i in range(len(layout.aisles)) if i != down]))
        down = int(rng.choice([i for i in range(len(layout.aisles)) if i != up]))
        loop = patrol.loop_points(layout, up, down, float(rng.uniform(-0.1, 0.2)))
        points += loop
        length += 2 * (layout.cross_back_y - layout.cross_front_y)
    return Route(points, speed)


def _dock_row(stage: Stage) -> list[Spot]:
    """Return places in a row before the docks, of which some stay empty."""
    xs = np.arange(3.0, stage.layout.width - 5.5, 2.2)
    return [Spot(float(x), 1.9, TO_DOCKS) for x in xs]


def _work_for_ever(stage: Stage, truck: Body, pallets: list[Body], spots: list[Spot]) -> Story:
    """Carry one pallet after another to a place that is empty, with breaks."""
    taken = dict(zip((p.id for p in pallets), spots[::2], strict=True))
    while True:
        yield from wait(float(stage.rng.uniform(15, 60)))
        load = pallets[stage.rng.integers(len(pallets))]
        empty = [s for s in spots if s not in taken.values()]
        target = empty[stage.rng.integers(len(empty))]
        yield from carry(stage, truck, load, taken[load.id], target)
        taken[load.id] = target


def _vanish_and_return(stage: Stage) -> Story:
    """While the robot is elsewhere, small things are taken away, and later brought back."""
    small = [b for b in stage.bodies if b.kind in (movables.BOX, movables.CONE, movables.ROLL_CAGE)]
    while small:
        yield from wait(float(stage.rng.uniform(40, 120)))
        thing = small[stage.rng.integers(len(small))]
        yield from wait_until(partial(_out_of_sight, stage.robot, thing))
        thing.present = not thing.present


def _out_of_sight(robot: Body, thing: Body) -> bool:
    """Return whether a thing is far away and not before the robot."""
    dx, dy = thing.x - robot.x, thing.y - robot.y
    ahead = np.cos(robot.yaw) * dx + np.sin(robot.yaw) * dy
    return bool(np.hypot(dx, dy) > 6.0 and ahead < 0.0)


def _come_and_go(stage: Stage, person: Body, y: float) -> Story:
    """Walk along the hall to some place, stay there a while, walk to another."""
    while True:
        x = float(stage.rng.uniform(1.5, stage.layout.width - 3.0))
        yield from drive_to(stage, person, [np.array([x, y])], float(stage.rng.uniform(0.9, 1.3)))
        yield from wait(float(stage.rng.uniform(4, 40)))


def _fail_for_a_while(stage: Stage, lamp: str) -> Story:
    while True:
        yield from wait(float(stage.rng.uniform(60, 600)))
        for _ in range(8):
            stage.lights[lamp] = float(stage.rng.choice([0.2, 1.0]))
            yield from wait(float(stage.rng.uniform(0.1, 0.4)))
        stage.lights[lamp] = 0.0
        yield from wait(float(stage.rng.uniform(30, 300)))
        stage.lights[lamp] = 1.0
