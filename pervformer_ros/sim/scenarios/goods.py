# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Goods that are moved about: before the robot's eyes, behind its back, and in its way."""

import numpy as np

from pervformer_ros.geometry import Array
from pervformer_ros.sim import movables, patrol
from pervformer_ros.sim.actions import drive_to, follow, turn, wait, wait_until
from pervformer_ros.sim.layout import Layout
from pervformer_ros.sim.route import Route
from pervformer_ros.sim.scenario import scenario
from pervformer_ros.sim.stage import Body, Stage, Story
from pervformer_ros.sim.traffic import BACK_OFF, TRUCK_SPEED, Spot, carry, pick_up, put, set_down
from pervformer_ros.sim.vehicles import FORKLIFT_LOAD_AT

TO_DOCKS, TO_FRONT = -np.pi / 2, np.pi / 2
# A forklift that has turned towards a place drives at least so far to it, metres.
LEAST_APPROACH = 0.3


@scenario("a forklift moves a pallet, seen by the robot or between two of its visits", seconds=180)
def forklift_moves_pallet(stage: Stage) -> None:
    """Odd seeds let the robot watch; even seeds let it come back to find the pallet moved."""
    layout, rng = stage.layout, stage.rng
    first, second = dock_spots(layout, rng)
    pallet = put(stage, first)
    truck = stage.add(movables.FORKLIFT, *parking(layout, first, second))
    visit = _Visit(layout, float(rng.uniform(0.85, 1.1)))
    patrol.start_robot(stage, visit.out)
    keep_free = [visit.out.points, visit.away.points, visit.back.points, truck_lane(layout)]
    patrol.furnish(stage, keep_free, amount=0.6)
    go = Signal()
    watched = stage.seed % 2 == 1
    stage.tell(_watch(stage, visit, go) if watched else _return_later(stage, visit, go))
    stage.tell(_work_once(stage, truck, pallet, first, second, go))


@scenario("goods block the robot's aisle while it waits, then are taken away", seconds=150)
def path_clears(stage: Stage) -> None:
    """A pallet stands in the aisle; a forklift comes from the far end and fetches it."""
    layout, rng = stage.layout, stage.rng
    aisle = int(rng.integers(1, len(layout.aisles) - 1))
    side = int(rng.choice([-1, 1]))
    x = layout.aisles[aisle].x
    y = float(layout.front + rng.uniform(0.45, 0.6) * (layout.back - layout.front))
    spot = Spot(x + float(rng.uniform(-0.15, 0.15)), y, TO_DOCKS)
    pallet = put(stage, spot)
    truck = stage.add(movables.FORKLIFT, layout.aisles[aisle + side].x, layout.back - 3.0, TO_FRONT)
    speed = float(rng.uniform(0.8, 1.05))
    halt = np.array([x, y - 2.6])
    come = Route(
        [
            layout.crossing(aisle, "front") + np.array([1.5 * side, 0.0]),
            layout.crossing(aisle, "front"),
            halt,
        ],
        speed,
    )
    leave = Route(
        [
            halt,
            layout.crossing(aisle, "back"),
            layout.crossing(aisle - side, "back"),
            layout.crossing(aisle - side, "front"),
        ],
        speed,
    )
    patrol.start_robot(stage, come)
    around = [_along(layout, layout.aisles[aisle + side].x), _along(layout, spot.x)]
    lanes = [come.points, leave.points, _back_lane(layout), *around]
    patrol.furnish(stage, lanes, amount=0.6)
    blocked, clear = Signal(), Signal()
    stage.tell(_wait_for_aisle(stage, come, leave, blocked, clear))
    stage.tell(_clear_aisle(stage, truck, pallet, spot, blocked, clear))


def dock_spots(layout: Layout, rng: np.random.Generator) -> tuple[Spot, Spot]:
    """Return two places before the docks, both in view from the second aisle's front end."""
    x = layout.aisles[1].x
    left, right = x - float(rng.uniform(1.6, 2.4)), x + float(rng.uniform(1.4, 2.2))
    pair = Spot(left, 1.9, TO_DOCKS), Spot(right, 1.9, TO_DOCKS)
    return pair if rng.random() < 0.5 else pair[::-1]


def parking(layout: Layout, first: Spot, second: Spot) -> tuple[float, float, float]:
    """Return a place in the truck lane away from both spots, facing them."""
    left, right = min(first.x, second.x), max(first.x, second.x)
    if left - 1.8 > layout.width - 3.0 - right:
        return max(left - 3.4, 1.6), layout.truck_lane_y, 0.0
    return min(right + 3.4, layout.width - 4.6), layout.truck_lane_y, np.pi


def truck_lane(layout: Layout) -> Array:
    """Return points (K, 2) over all floor that forklifts need before the docks."""
    xs = np.arange(1.0, layout.width - 1.0, 0.05)
    rows = [np.column_stack([xs, np.full(len(xs), y)]) for y in (2.0, 3.4, 4.7, 5.4)]
    return np.concatenate(rows)


class Signal:
    """Something one story waits for and another gives."""

    def __init__(self) -> None:
        self.given = False

    def give(self) -> None:
        """Let those who wait go on."""
        self.given = True

    def __call__(self) -> bool:
        """Return whether it has been given."""
        return self.given


class _Visit:
    """Routes from the first aisle to the docks, away from there and back again."""

    def __init__(self, layout: Layout, speed: float):
        first = layout.aisles[0].x
        look = np.array([layout.aisles[1].x, layout.front - 0.2])
        far = np.array([first, layout.back - 2.0])
        start = np.array([first, layout.front + 3.5])
        over = [layout.crossing(0, "back"), layout.crossing(1, "back"), look]
        self.out = Route([start, *over], speed)
        self.away = Route(
            [look, layout.crossing(1, "front"), layout.crossing(0, "front"), far], speed
        )
        self.back = Route([far, *over], speed)


def _watch(stage: Stage, visit: _Visit, go: Signal) -> Story:
    """Look on while the forklift works, then drive a lap and look again."""
    yield from follow(stage, stage.robot, visit.out)
    go.give()
    yield from wait(46.0)
    yield from follow(stage, stage.robot, visit.away)
    yield from follow(stage, stage.robot, visit.back)
    yield from wait(4.0)
    stage.finished = True


def _return_later(stage: Stage, visit: _Visit, go: Signal) -> Story:
    """Look, turn away, let the forklift work unseen, look again."""
    yield from follow(stage, stage.robot, visit.out)
    yield from wait(4.0)
    yield from follow(stage, stage.robot, visit.away)
    go.give()
    yield from wait(42.0)
    yield from follow(stage, stage.robot, visit.back)
    yield from wait(5.0)
    stage.finished = True


def _work_once(
    stage: Stage, truck: Body, pallet: Body, spot: Spot, target: Spot, go: Signal
) -> Story:
    home = truck.x, truck.y
    yield from wait_until(go)
    yield from carry(stage, truck, pallet, spot, target)
    yield from drive_to(stage, truck, [home], TRUCK_SPEED)


def _wait_for_aisle(
    stage: Stage, come: Route, leave: Route, blocked: Signal, clear: Signal
) -> Story:
    """Drive up to the goods, wait until they are gone, drive on."""
    yield from follow(stage, stage.robot, come)
    yield from wait(float(stage.rng.uniform(3, 6)))
    blocked.give()
    yield from wait_until(clear)
    yield from wait(2.0)
    yield from follow(stage, stage.robot, leave)
    stage.finished = True


def _clear_aisle(
    stage: Stage, truck: Body, pallet: Body, spot: Spot, blocked: Signal, clear: Signal
) -> Story:
    """Fetch the pallet from the far end, set it against the back wall, leave by another aisle."""
    home, lane = np.array([truck.x, truck.y]), stage.layout.cross_back_y
    wall = Spot(spot.x, stage.layout.depth - 0.95, TO_FRONT)
    # Where the lane is narrow the truck turns short of its middle, to have a way to go to the wall.
    out = np.array([spot.x, min(lane, wall.before(FORKLIFT_LOAD_AT + LEAST_APPROACH)[1])])
    beside = np.array([truck.x, lane])
    yield from wait_until(blocked)
    for point in (beside, out):
        yield from drive_to(stage, truck, [point], TRUCK_SPEED)
    yield from pick_up(stage, truck, pallet, spot)
    stand = spot.before(FORKLIFT_LOAD_AT + BACK_OFF)
    yield from follow(stage, truck, Route(np.array([stand, out]), 1.0, reverse=True))
    yield from turn(truck, TO_FRONT)
    yield from set_down(stage, truck, pallet, wall)
    for point in (beside, home):
        yield from drive_to(stage, truck, [point], TRUCK_SPEED)
        clear.give()


def _back_lane(layout: Layout) -> Array:
    """Return points (K, 2) over all floor that a forklift needs in the back cross-aisle."""
    xs = np.arange(1.0, layout.width - 1.0, 0.05)
    rows = [np.column_stack([xs, np.full(len(xs), layout.back + d)]) for d in (1.0, 2.2, 3.4, 4.4)]
    return np.concatenate(rows)


def _along(layout: Layout, x: float) -> Array:
    """Return points (K, 2) along an aisle."""
    ys = np.arange(layout.front, layout.back, 0.02)
    return np.column_stack([np.full(len(ys), x), ys])
