# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Laps in which nothing moves but the robot, and what can go wrong around it."""

from dataclasses import replace

import numpy as np

from pervformer_ros.sim import patrol
from pervformer_ros.sim.actions import follow, wait
from pervformer_ros.sim.lights import hang
from pervformer_ros.sim.route import Route
from pervformer_ros.sim.scenario import scenario
from pervformer_ros.sim.stage import TICK, Stage, Story


@scenario("nothing moves; the robot drives two laps", seconds=180)
def static_loop(stage: Stage) -> None:
    """Two laps up one aisle and down the next."""
    route = two_laps(stage)
    patrol.furnish(stage, [route.points])
    stage.tell(patrol.drive_and_finish(stage, route))


@scenario("lamps flicker and fail, the sun falls through an open dock", seconds=180)
def lights(stage: Stage) -> None:
    """Two laps under lamps that fail one after the other."""
    docks = tuple(replace(dock, open=True) for dock in stage.layout.docks)
    stage.layout, stage.sunlit = replace(stage.layout, docks=docks), True
    route = two_laps(stage)
    patrol.furnish(stage, [route.points])
    lamps = hang(stage.layout, stage.seed)
    along = lamps.position[:, None, :2] - route.points[None, ::50]
    near = np.flatnonzero(np.hypot(along[..., 0], along[..., 1]).min(axis=1) < 3.0)
    for lamp in stage.rng.choice(near, min(6, len(near)), replace=False):
        stage.failing.add(int(lamp))
        stage.tell(_fail(stage, f"lamp_{lamp}", float(stage.rng.uniform(5, 70))))
    stage.tell(_clouds(stage))
    stage.tell(patrol.drive_and_finish(stage, route))


@scenario("the robot is carried elsewhere with its camera covered", seconds=150)
def kidnapped(stage: Stage) -> None:
    """One lap and a bit; the robot wakes up in the other aisle it has driven, and drives on.

    Where it wakes up it has been before, looking the same way: to know a place again one must have
    seen it. Then it goes on into an aisle that is new to it, and back.
    """
    layout, rng = stage.layout, stage.rng
    speed = float(rng.uniform(0.85, 1.1))
    last = len(layout.aisles) - 1
    before = Route(
        [layout.crossing(0, "front"), layout.crossing(0, "back"), layout.crossing(1, "back"),
         layout.crossing(1, "front"), layout.crossing(0, "front"),
         np.array([layout.aisles[0].x, layout.front + 4.0])],
        speed,
    )  # fmt: skip
    wakes = layout.back - float(rng.uniform(0.2, 0.6)) * (layout.back - layout.front)
    after = Route(
        [np.array([layout.aisles[1].x, wakes]), layout.crossing(1, "front"),
         layout.crossing(last, "front"), layout.crossing(last, "back"),
         layout.crossing(0, "back"), layout.crossing(0, "front")],
        speed,
    )  # fmt: skip
    patrol.start_robot(stage, before)
    patrol.furnish(stage, [before.points, after.points])
    stage.tell(_kidnap(stage, before, after))


def two_laps(stage: Stage) -> Route:
    """Put the robot at the start of two laps up one aisle and down the next."""
    up = int(stage.rng.integers(len(stage.layout.aisles) - 1))
    speed = float(stage.rng.uniform(0.85, 1.15))
    route = patrol.laps(stage.layout, stage.rng, 2, up, up + 1, speed)
    patrol.start_robot(stage, route)
    return route


def _fail(stage: Stage, lamp: str, after: float) -> Story:
    """Let a lamp burn, flicker for a while and go out; some come back."""
    yield from wait(after)
    for _ in range(int(stage.rng.integers(4, 12))):
        stage.lights[lamp] = float(stage.rng.choice([0.1, 0.5, 1.0]))
        yield from wait(float(stage.rng.uniform(0.1, 0.5)))
    stage.lights[lamp] = 0.0
    if stage.rng.random() < 0.4:
        yield from wait(float(stage.rng.uniform(5, 20)))
        stage.lights[lamp] = 1.0


def _clouds(stage: Stage) -> Story:
    """Let the sun come and go slowly."""
    shift, period = stage.rng.uniform(0, 6), stage.rng.uniform(15, 40)
    while True:
        sun = 0.55 + 0.45 * np.sin(shift + 2 * np.pi * stage.time / period)
        stage.lights["sun"] = round(float(sun), 1)
        yield


def _kidnap(stage: Stage, before: Route, after: Route) -> Story:
    yield from follow(stage, stage.robot, before)
    yield from wait(1.0)
    for step in range(round(0.5 / TICK)):
        stage.cover = min(1.0, 2 * step * TICK)
        yield
    stage.cover, stage.lifted = 1.0, True
    yield from wait(1.0)
    stage.robot.x, stage.robot.y, stage.robot.yaw = after.pose(0.0)
    yield from wait(2.0)
    stage.cover, stage.lifted = 0.0, False
    yield from wait(1.0)
    yield from follow(stage, stage.robot, after)
    stage.finished = True
