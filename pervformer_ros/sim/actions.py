# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What bodies can do: each action is a story, to be joined with `yield from`."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from pervformer_ros.memory.classes import prior_of
from pervformer_ros.sim.route import MAX_YAW_RATE, Route
from pervformer_ros.sim.stage import TICK, Body, Stage, Story

ACCELERATION, BRAKING = 0.6, 0.8
LOOK_AHEAD = 3.5
# So much more than its width a body wants beside what may move. What stands it just has to miss, or
# the things beside a lane would stop it for ever.
SIDE_ROOM = 0.1
LIFT_RATE = 0.25
STRIDE = 0.72


def wait(seconds: float) -> Story:
    """Stand still."""
    for _ in range(round(seconds / TICK)):
        yield


def wait_until(condition: Callable[[], bool]) -> Story:
    """Stand still until something holds."""
    while not condition():
        yield


def follow(stage: Stage, body: Body, route: Route, ignore: set[int] | None = None) -> Story:
    """Go along a route at its speeds; stop for whatever is in the way, but for `ignore`."""
    s = speed = 0.0
    exempt = {body.id, *(ignore or ())}
    if body.id:  # carrier 0 means that nobody carries it
        exempt |= {b.id for b in stage.bodies if b.carrier == body.id}
    while route.length - s > 1e-3:
        limit = min(
            route.speed_limit(s, BRAKING), _limit_by_obstacles(stage, body, route, s, exempt)
        )
        speed = max(min(limit, speed + ACCELERATION * TICK), speed - 3 * BRAKING * TICK, 0.0)
        # The square-root brake never quite arrives.
        step = max(speed, 0.02 if limit > 0 else 0.0) * TICK
        s = min(s + step, route.length)
        body.x, body.y, body.yaw = route.pose(s)
        body.phase += np.pi * step / STRIDE
        body.speed = speed
        yield
    body.speed = 0.0
    body.phase = np.pi * round(body.phase / np.pi)


def drive_to(
    stage: Stage, body: Body, points: Sequence[ArrayLike], speed: float, softness: float = 0.5
) -> Story:
    """Turn towards the first point, then go through all of them."""
    here = np.array([body.x, body.y])
    # A first point that is here already says nothing about a heading.
    ways = [here, *(p for p in np.asarray(points, float) if np.hypot(*(p - here)) > 0.05)]
    if len(ways) < 2:
        return
    route = Route(ways, speed, softness)
    yield from turn(body, route.pose(0.0)[2])
    yield from follow(stage, body, route)


def turn(body: Body, yaw: float) -> Story:
    """Turn on the spot, the short way, to a heading in the map frame."""
    start = body.yaw
    angle = (yaw - start + np.pi) % (2 * np.pi) - np.pi
    ticks = max(round(1.5 * abs(angle) / MAX_YAW_RATE / TICK), 1)
    for i in range(1, ticks + 1):
        f = i / ticks
        # Smoothstep: starts and ends at rest, fastest in the middle.
        body.yaw = start + angle * f * f * (3 - 2 * f)
        yield


def lift(body: Body, height: float) -> Story:
    """Raise or lower the forks."""
    while abs(body.lift - height) > 1e-6:
        step = np.clip(height - body.lift, -LIFT_RATE * TICK, LIFT_RATE * TICK)
        body.lift += float(step)
        yield


def grip(carrier: Body, load: Body) -> None:
    """Let one body carry another from where that one is now."""
    c, s = np.cos(carrier.yaw), np.sin(carrier.yaw)
    dx, dy = load.x - carrier.x, load.y - carrier.y
    at = (c * dx + s * dy, c * dy - s * dx, load.z - carrier.lift, load.yaw - carrier.yaw)
    load.carrier, load.carried_at = carrier.id, at


def release(load: Body) -> None:
    """Leave a carried body where it is, on the floor."""
    load.carrier, load.z = 0, 0.0


def _may_move(body: Body) -> bool:
    return bool(body.carrier) or prior_of(body.kind.label).moves_alone


def _limit_by_obstacles(
    stage: Stage, body: Body, route: Route, s: float, exempt: set[int]
) -> float:
    """Return the speed from which the body can stop before what stands or walks on its route."""
    discs, owners = stage.obstacles(exempt)
    distance, points = route.ahead(s, LOOK_AHEAD + body.kind.reach)
    if len(discs) == 0 or len(points) == 0:
        return np.inf
    gaps = np.hypot(*(points[:, None] - discs[None, :, :2]).transpose(2, 0, 1)) - discs[:, 2]
    room = [SIDE_ROOM if _may_move(stage.bodies[i]) else 0.0 for i in owners]
    hit = (gaps < body.kind.half_width + np.array(room)).any(axis=1)
    if not hit.any():
        return np.inf
    left = distance[int(np.argmax(hit))] - body.kind.reach - body.kind.clearance
    return float(np.sqrt(2 * BRAKING * max(left, 0.0)))
