# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What wheel odometry says about the way between two moments, and how far to believe it."""

from dataclasses import dataclass

import numpy as np

from pervformer_ros.geometry import Array, invert, rotation_angle
from pervformer_ros.slam import se3

# Even over no distance two poses differ by the jitter of stamps and encoders.
ROTATION_FLOOR = np.radians(0.1)
TRANSLATION_FLOOR = 0.002
# No vehicle this is for goes faster: such a step is a restart of odometry, not a motion.
MAX_SPEED = 10.0
MAX_TURN_RATE = 15.0
JUMP_ALLOWANCE = 0.2
# Odometry that no view has confirmed for this long is believed half as exactly.
CONFIRMATION_TIME = 1.0
# Over this path (metres) and this turn (radians) odometry errs alike.
LIKE_PATH = 3.0
LIKE_TURN = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """Odometry at one moment: the pose, and the way gone and turned since it started counting."""

    T_odom_base: Array
    path: float
    turn: float
    run: int

    @property
    def up(self) -> Array:
        """The vertical (3,) in base, by REP-105 the z axis of odom."""
        return np.asarray(self.T_odom_base[2, :3])


class Odometer:
    """Counts the way along odometry's poses; a jump starts a new run, not linked to the last."""

    def __init__(self) -> None:
        self._last: Reading | None = None
        self._stamp_ns = 0
        self.jumped = False

    def read(self, stamp_ns: int, T_odom_base: Array | None) -> Reading | None:
        """Return the reading for this pose, None without one. `jumped` tells of a new run."""
        self.jumped = False
        if T_odom_base is None:
            return None
        if self._last is None:
            reading = Reading(T_odom_base, 0.0, 0.0, 0)
        else:
            step = invert(self._last.T_odom_base) @ T_odom_base
            path, turn = float(np.linalg.norm(step[:3, 3])), rotation_angle(step)
            seconds = (stamp_ns - self._stamp_ns) * 1e-9
            self.jumped = (
                path > MAX_SPEED * seconds + JUMP_ALLOWANCE
                or turn > MAX_TURN_RATE * seconds + JUMP_ALLOWANCE
            )
            run = self._last.run + int(self.jumped)
            reading = Reading(T_odom_base, self._last.path + path, self._last.turn + turn, run)
        self._last, self._stamp_ns = reading, stamp_ns
        return reading


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """What odometry says lies between two moments: the motion, and the path and turn it took."""

    T_first_second: Array
    path: float
    turn: float


def link(first: Reading | None, second: Reading | None) -> Way | None:
    """Return the way between two readings, or None where odometry does not link the two."""
    if first is None or second is None or first.run != second.run:
        return None
    return Way(
        invert(first.T_odom_base) @ second.T_odom_base,
        second.path - first.path,
        second.turn - first.turn,
    )


@dataclass(frozen=True, slots=True)
class OdometryNoise:
    """Errors per motion: translation m/m, rotation rad/rad, heading rad/m.

    Scale, bias and slip are alike from one moment to the next, so the error grows with the way and
    not with its root.
    """

    translation: float
    rotation: float
    heading: float

    def of(self, way: Way) -> Array:
        """Return the covariance (6, 6) of one way."""
        return self._covariance(way.path, way.turn)

    def of_unconfirmed(self, way: Way, seconds: float) -> Array:
        """Return the covariance (6, 6) of a way that no view has confirmed for so long.

        Wheels slip now and then; what says so is a camera that keeps disagreeing.
        """
        return self.of(way) * (1.0 + seconds / CONFIRMATION_TIME) ** 2

    def of_chained(self, way: Way) -> Array:
        """Return the covariance (6, 6) of one of many ways in a chain whose errors are alike.

        A pose graph takes its factors' errors as independent and so averages them: twenty ways of
        10 cm would seem 4.5 times as exact as one of 2 m. The variance of a way shorter than the
        errors' range is therefore its share of the variance over that range.
        """
        path = np.sqrt(way.path * max(way.path, LIKE_PATH))
        turn = np.sqrt(way.turn * max(way.turn, LIKE_TURN))
        return self._covariance(path, turn)

    def _covariance(self, path: float, turn: float) -> Array:
        return se3.isotropic(
            ROTATION_FLOOR + self.rotation * turn + self.heading * path,
            TRANSLATION_FLOOR + self.translation * path,
        )
