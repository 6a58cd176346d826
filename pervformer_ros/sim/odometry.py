# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Wheel odometry: what the encoders and the gyroscope of a differential drive would report.

Errors: wheel size (scale), track width (yaw scale), a yaw bias that wanders, encoder noise and
slips. Their mix is drawn from the seed; their common size is then chosen so that the robot is off
by the drawn DRIFT after 100 m, as well-kept wheel odometry is. On a round trip some errors cancel:
a mix that would have to be large for that, as no wheels' errors are, is drawn again.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.geometry import Array

# Metres off after REFERENCE metres: the range that seeds draw from.
DRIFT = (1.7, 3.7)
REFERENCE = 100.0
# What wheels may be off by after a stretch of so many metres, as a share of it; and how often a
# mix is drawn again until it is no worse.
WORST, STRETCH, DRAWS = 0.05, 10.0, 30
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
    travelled = np.concatenate([[0.0], np.cumsum(np.abs(forward))])
    exact = _integrate(forward, turn)
    d_forward, d_turn = _errors(forward, turn, tick, rng)
    aim = rng.uniform(*DRIFT)
    end = min(int(np.searchsorted(travelled, REFERENCE)), len(forward))
    if travelled[end] < 1.0:
        return _integrate(forward + d_forward, turn + d_turn)
    goal = aim * travelled[end] / REFERENCE

    def at_goal(d_forward: Array, d_turn: Array) -> tuple[float, Array]:
        def drift(size: float) -> float:
            f, t = forward[:end] + size * d_forward[:end], turn[:end] + size * d_turn[:end]
            return float(np.hypot(*(_integrate(f, t)[-1] - exact[end])[:2]))

        size = _solve(drift, goal)
        report = _integrate(forward + size * d_forward, turn + size * d_turn)
        return _stretch_error(report, exact, travelled), report

    worst, report = at_goal(d_forward, d_turn)
    for _ in range(DRAWS):
        if worst <= WORST:
            break
        again, other = at_goal(*_errors(forward, turn, tick, rng))
        if again < worst:
            worst, report = again, other
    return report


def _stretch_error(report: Array, exact: Array, travelled: Array) -> float:
    """Return by which share of a stretch odometry is off at its end, root mean square of all.

    Args:
        report: (N, 3) poses by odometry.
        exact: (N, 3) poses as they would be without errors.
        travelled: (N,) metres.
    """
    stretch = min(STRETCH, float(travelled[-1]))
    first = np.searchsorted(travelled, np.arange(0.0, travelled[-1] - stretch + 1e-6, stretch / 2))
    last = np.minimum(np.searchsorted(travelled, travelled[first] + stretch), len(travelled) - 1)
    off = _steps(report[first], report[last]) - _steps(exact[first], exact[last])
    return float(np.sqrt(np.mean(np.sum(off**2, axis=1)))) / stretch


def _steps(first: Array, last: Array) -> Array:
    """Return where second poses (K, 3) lie in the first ones, (K, 2)."""
    c, s = np.cos(first[:, 2]), np.sin(first[:, 2])
    dx, dy = (last - first)[:, :2].T
    return np.stack([c * dx + s * dy, c * dy - s * dx], axis=1)


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
