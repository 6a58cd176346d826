# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Wheel odometry: what the encoders and the gyroscope of a differential drive would report.

Errors: wheel size (scale), track width (yaw scale), a yaw bias that wanders, encoder noise and
slips. Their mix is drawn from the seed; their common size is then chosen so that the robot is off
by the drawn DRIFT after 100 m, as well-kept wheel odometry is.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.geometry import Array

# Metres off after REFERENCE metres: the range that seeds draw from.
DRIFT = (1.7, 3.7)
REFERENCE = 100.0
SLIP_RATE = 0.02
BIAS_MEMORY = 60.0


def wheel_odometry(
    truth: Array, lifted: NDArray[np.bool_], tick: float, rng: np.random.Generator
) -> Array:
    """Return odometry poses (N, 3) that start at zero.

    Args:
        truth: (N, 3) x, y and yaw in the map frame, yaw unwrapped.
        lifted: (N,) whether the wheels are off the ground and feel nothing.
        tick: seconds between poses.
        rng: the errors.
    """
    rolling = ~lifted[1:]
    steps = np.diff(truth[:, :2], axis=0) * rolling[:, None]
    turn = np.diff(truth[:, 2]) * rolling
    middle = truth[:-1, 2] + turn / 2
    forward = np.cos(middle) * steps[:, 0] + np.sin(middle) * steps[:, 1]
    d_forward, d_turn = _errors(forward, turn, tick, rng)
    aim = rng.uniform(*DRIFT)

    travelled = np.cumsum(np.abs(forward))
    end = int(np.searchsorted(travelled, REFERENCE)) + 1 if len(travelled) else 0
    end = min(end, len(forward))
    if end == 0 or travelled[end - 1] < 1.0:
        return _integrate(forward + d_forward, turn + d_turn)
    goal = aim * travelled[end - 1] / REFERENCE
    exact = _integrate(forward[:end], turn[:end])[-1, :2]

    def drift(size: float) -> float:
        f, t = forward + size * d_forward, turn + size * d_turn
        return float(np.hypot(*(_integrate(f[:end], t[:end])[-1, :2] - exact)))

    size = _solve(drift, goal)
    return _integrate(forward + size * d_forward, turn + size * d_turn)


def _errors(
    forward: Array, turn: Array, tick: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return the errors of every step's length and turn, at size 1."""
    count = len(forward)
    moving = np.abs(forward) + np.abs(turn) > 1e-6
    scale, track = rng.normal(0, 0.012), rng.normal(0, 0.008)
    keep = np.exp(-tick / BIAS_MEMORY)
    kicks = rng.normal(0, 0.0006 * np.sqrt(1 - keep**2), count)
    bias = np.empty(count)
    level = rng.normal(0, 0.0006)
    for i in range(count):
        level = keep * level + kicks[i]
        bias[i] = level
    slip = (rng.random(count) < SLIP_RATE * tick) * moving
    d_forward = scale * forward + rng.normal(0, 0.01, count) * np.abs(forward)
    d_forward += slip * rng.normal(0.03, 0.02, count)
    d_turn = track * turn + bias * tick * moving + rng.normal(0, 0.01, count) * np.abs(turn)
    d_turn += slip * rng.normal(0, 0.008, count)
    return d_forward, d_turn


def _integrate(forward: Array, turn: Array) -> Array:
    yaw = np.concatenate([[0.0], np.cumsum(turn)])
    middle = yaw[:-1] + turn / 2
    poses = np.zeros((len(yaw), 3))
    poses[1:, 0] = np.cumsum(forward * np.cos(middle))
    poses[1:, 1] = np.cumsum(forward * np.sin(middle))
    poses[:, 2] = yaw
    return poses


def _solve(drift: Callable[[float], float], goal: float) -> float:
    """Return a size of the errors at which they make the robot drift by `goal`."""
    low, high = 0.0, 0.25
    while drift(high) < goal and high < 64:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if drift(middle) < goal else (low, middle)
    return high
