# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where the camera's robot drives, and what usually stands about in a warehouse."""

from collections.abc import Sequence

import numpy as np

from pervformer_ros.geometry import Array
from pervformer_ros.sim import movables
from pervformer_ros.sim.actions import follow
from pervformer_ros.sim.kinds import Kind
from pervformer_ros.sim.layout import RACK_DEPTH, Layout
from pervformer_ros.sim.route import Route
from pervformer_ros.sim.stage import Body, Stage, Story

# A spot is free when nothing stands within this distance of its body's discs.
ELBOW_ROOM = 0.05


def loop_points(layout: Layout, up: int, down: int, shift: float = 0.0) -> list[Array]:
    """Return the corners of a loop up one aisle and down another, from the first aisle's front.

    shift: metres to the right of the centre lines.
    """
    a, b = layout.crossing(up, "front"), layout.crossing(up, "back")
    c, d = layout.crossing(down, "back"), layout.crossing(down, "front")
    clockwise = 1.0 if down > up else -1.0
    # To the right is inwards on a clockwise loop and outwards on the other.
    x, y = np.array([shift, 0.0]), np.array([0.0, shift * clockwise])
    return [a + x + y, b + x - y, c - x - y, d - x + y]


def laps(
    layout: Layout, rng: np.random.Generator, count: int, up: int, down: int, speed: float
) -> Route:
    """Return a route of closed laps that starts and ends between the aisles, at the front."""
    first = loop_points(layout, up, down)
    start = (first[0] + first[3]) / 2
    points = [start]
    for _ in range(count):
        points += loop_points(layout, up, down, float(rng.uniform(-0.1, 0.25)))
    return Route([*points, start], speed)


def start_robot(stage: Stage, route: Route) -> None:
    """Put the robot at the start of its route."""
    stage.robot.x, stage.robot.y, stage.robot.yaw = route.pose(0.0)


def drive_and_finish(stage: Stage, route: Route) -> Story:
    """Let the robot drive its route; the scenario ends with it."""
    yield from follow(stage, stage.robot, route)
    stage.finished = True


def place(
    stage: Stage, kind: Kind, x: float, y: float, yaw: float, keep_free: Sequence[Array] = ()
) -> Body | None:
    """Add a body unless it would stand in something or on a line that must stay free.

    Args:
        stage: the stage.
        kind: what to add.
        x: where, metres.
        y: where, metres.
        yaw: heading.
        keep_free: points (K, 2) along routes; the body keeps 0.55 m away from them.
    """
    body = stage.add(kind, x, y, yaw)
    discs = body.discs()
    others, _ = stage.obstacles({body.id, 0})
    for line in keep_free:
        lane = np.column_stack([line[::10], np.full(len(line[::10]), 0.55)])
        others = np.concatenate([others, lane])
    gaps = np.hypot(*(discs[:, None, :2] - others[None, :, :2]).transpose(2, 0, 1))
    clear = (gaps > discs[:, None, 2] + others[None, :, 2] + ELBOW_ROOM).all()
    if clear and not _in_racks_or_walls(stage.layout, discs):
        return body
    stage.remove(body)
    return None


def _in_racks_or_walls(layout: Layout, discs: Array) -> bool:
    """Return whether discs (K, 3) reach into a rack, by more than goods do, or into a wall."""
    x, y, r = discs.T
    r = 0.75 * r
    walls = (x < r) | (x > layout.width - r) | (y < r) | (y > layout.depth - r)
    return bool(walls.any()) or any(
        bool(
            (
                (x > rack.x - r)
                & (x < rack.x + RACK_DEPTH + r)
                & (y > rack.y - r)
                & (y < rack.y + rack.length + r)
            ).any()
        )
        for rack in layout.racks
    )


def furnish(stage: Stage, keep_free: Sequence[Array], amount: float = 1.0) -> None:
    """Let the usual things stand about: goods in the staging areas and along walls."""
    layout, rng = stage.layout, stage.rng
    for area in layout.staging:
        for x in np.arange(area.x0 + 0.65, area.x1 - 0.3, 1.1):
            if rng.random() < 0.6 * amount:
                kind = movables.EMPTY_PALLET if rng.random() < 0.25 else movables.LOADED_PALLET
                y = area.y0 + float(rng.uniform(0.7, 1.4))
                place(stage, kind, float(x), y, np.pi / 2 + rng.normal(0, 0.05), keep_free)
    kinds = (movables.ROLL_CAGE, movables.CONE, movables.BOX, movables.PALLET_JACK,
             movables.LOADED_PALLET, movables.BOX)  # fmt: skip
    for _ in range(round(9 * amount)):
        kind = kinds[rng.integers(len(kinds))]
        x, y, yaw = _beside_a_lane(layout, rng)
        place(stage, kind, x, y, yaw, keep_free)
    bay = layout.charging
    if rng.random() < 0.8 * amount:
        place(stage, movables.FORKLIFT, bay.x0 + 0.9, bay.y0 + 1.4, np.pi / 2, keep_free)
    if rng.random() < 0.6 * amount:
        place(stage, movables.ROBOT, bay.x0 - 0.8, bay.y0 + 0.8, np.pi / 2, keep_free)


def _beside_a_lane(layout: Layout, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return a place by a wall, beside an aisle's racks or before a rack's end."""
    where, yaw = rng.integers(3), float(rng.choice([0.0, np.pi / 2, np.pi, -np.pi / 2]))
    if where == 0:
        return float(rng.uniform(1, layout.width - 1)), layout.depth - 0.7, yaw
    if where == 1:
        return float(rng.uniform(1, layout.width - 3)), layout.front - 3.4, yaw
    aisle = layout.aisles[rng.integers(len(layout.aisles))]
    side = float(rng.choice([-1.0, 1.0])) * (aisle.width / 2 - 0.45)
    return aisle.x + side, float(rng.uniform(layout.front + 1, layout.back - 1)), yaw
