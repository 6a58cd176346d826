# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What wheel odometry says about the way between two moments, and how far to believe it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from pervformer_ros.geometry import Array, invert
from pervformer_ros.slam import se3

# Takes a step of odometry, its path and its turn about base's z, and returns a better step.
Correction: TypeAlias = Callable[[Array, float, float], Array]

# However short the way, two poses differ by the jitter of stamps and encoders. Of wheels that stand
# that is less: it counts by the way and the turn (metres, radians), up to this much of both.
ROTATION_FLOOR = np.radians(0.1)
TRANSLATION_FLOOR = 0.002
STANDING_SHARE, UNDER_WAY = 0.1, 0.01
# No vehicle this is for goes faster: such a step is a restart of odometry, not a motion.
MAX_SPEED = 10.0
MAX_TURN_RATE = 15.0
JUMP_ALLOWANCE = 0.2
# Odometry that was away for longer may have started anew from anywhere, seconds.
LONGEST_GAP = 0.5
# Odometry that no view has confirmed for this long is believed half as exactly.
CONFIRMATION_TIME = 1.0
# Doubt ends there: a slip is over sooner or later and leaves an offset. What contradicts odometry
# the more the farther the robot drives is something that drives along and fills the view.
MAX_DOUBT = 1.0
# And wheels may have slipped so far in each second, for so many seconds, metres; but no farther
# than they turned, by this much for each radian.
SLIP, SLIP_LEVER = 0.05, 0.3
MAX_SLIP_SECONDS = 3.0
# Harder than tyres hold (m/s^2), by more than stamps and encoders tremble (metres): wheels that
# slip, and turn the robot by so much a metre.
MAX_ACCELERATION = 8.0
SLIP_ALLOWANCE = 0.03
SLIP_TURN = 0.2
# Turned up harder than any such robot turns (rad/s^2), by more than a trembling angle (radians).
MAX_ANGULAR_ACCELERATION = 2.0
TURN_ALLOWANCE = 0.03
# How far from level floors are, but for ramps: metres, and metres per metre. And the variance of
# what is not told.
LEVEL_FLOOR, LEVEL_SLOPE, UNKNOWN = 0.001, 0.003, 1e6
# Over this path (metres) and this turn (radians) odometry errs alike.
LIKE_PATH = 3.0
LIKE_TURN = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """Odometry at one moment.

    T_odom_base: the pose as it came.
    T_start_base: the way since odometry started counting, calibrated.
    path, turn: how far it went and turned on that way; yaw: the turns about base's z, with sign.
    slip: how far the wheels have slipped in all, as far as odometry itself gives it away.
    run: grows by one with every jump.
    """

    T_odom_base: Array
    T_start_base: Array
    path: float
    turn: float
    yaw: float
    slip: float
    run: int

    @property
    def up(self) -> Array:
        """The vertical (3,) in base, by REP-105 the z axis of odom."""
        return np.asarray(self.T_odom_base[2, :3])


class Odometer:
    """Counts the way along odometry's poses.

    A jump starts a new run, not linked to the last, and so does what comes after a gap.
    """

    def __init__(self, correct: Correction = lambda step, path, yaw: step) -> None:
        self._correct = correct
        self._last: Reading | None = None
        self._stamp_ns = 0
        self._speed = np.inf  # that the robot may have had in the last step, m/s
        self._turn_rate = 0.0  # of the last step, rad/s
        self.jumped = False
        self.twitched = False  # the last step turned as no robot turns: a slip may have done it
        self._part = False

    def part(self) -> None:
        """Let the next reading start a new run: the robot was carried and odometry felt nothing."""
        self._part = True

    def cut(self) -> Reading | None:
        """Let the last reading start a new run, for the wheels slipped before it; return it."""
        if self._last is not None:
            self._last = replace(self._last, run=self._last.run + 1)
        return self._last

    def read(self, stamp_ns: int, T_odom_base: Array | None) -> Reading | None:
        """Return the reading for this pose, None without one. `jumped` tells of a new run."""
        self.jumped = self.twitched = False
        seconds = (stamp_ns - self._stamp_ns) * 1e-9
        if T_odom_base is None:
            self._part |= self._last is not None and seconds > LONGEST_GAP
            return None
        if self._last is None:
            reading = Reading(T_odom_base, T_odom_base, 0.0, 0.0, 0.0, 0.0, 0)
        else:
            reading = self._go_on(self._last, seconds, T_odom_base)
        self._last, self._stamp_ns, self._part = reading, stamp_ns, False
        return reading

    def _go_on(self, last: Reading, seconds: float, T_odom_base: Array) -> Reading:
        step = invert(last.T_odom_base) @ T_odom_base
        path, turn = float(np.linalg.norm(step[:3, 3])), se3.rotation_angle(step)
        yaw = float(se3.rotation_vector(step)[2])
        self.jumped = (
            self._part
            or path > MAX_SPEED * seconds + JUMP_ALLOWANCE
            or turn > MAX_TURN_RATE * seconds + JUMP_ALLOWANCE
        )
        sudden = abs(yaw - self._turn_rate * seconds)
        self.twitched = sudden > MAX_ANGULAR_ACCELERATION * seconds**2 + TURN_ALLOWANCE
        self._turn_rate = yaw / seconds
        # No robot accelerates like wheels that spin: what is beyond it was not driven.
        reach = self._speed * seconds + MAX_ACCELERATION * seconds**2 + SLIP_ALLOWANCE
        slip = max(0.0, path - reach)
        if slip > 0:
            driven = self._speed * seconds
            step[:3, 3] *= driven / path
            slip, path = path - driven, driven
            # It may have sped up meanwhile: what goes on as fast for long enough was driven.
            self._speed += MAX_ACCELERATION * seconds
        else:
            self._speed = path / seconds
        if self.jumped:
            self._speed = np.inf
        return Reading(
            T_odom_base,
            se3.normalise(last.T_start_base @ self._correct(step, path, yaw)),
            last.path + path,
            last.turn + turn,
            last.yaw + yaw,
            last.slip + slip,
            last.run + int(self.jumped),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """What odometry says lies between two moments.

    T_first_second: the motion, calibrated; T_as_it_came: the same as odometry gave it.
    path, turn, yaw, slip: see Reading.
    """

    T_first_second: Array
    T_as_it_came: Array
    path: float
    turn: float
    yaw: float = 0.0
    slip: float = 0.0


def link(first: Reading | None, second: Reading | None) -> Way | None:
    """Return the way between two readings, or None where odometry does not link the two."""
    if first is None or second is None or first.run != second.run:
        return None
    return Way(
        invert(first.T_start_base) @ second.T_start_base,
        invert(first.T_odom_base) @ second.T_odom_base,
        second.path - first.path,
        second.turn - first.turn,
        second.yaw - first.yaw,
        second.slip - first.slip,
    )


@dataclass(frozen=True, slots=True)
class OdometryNoise:
    """Errors per motion: translation m/m, rotation rad/rad, heading rad/m.

    Scale, bias and slip are alike from one moment to the next, so the error grows with the way and
    not with its root. `level` is the part of each that holds for the floor plane and the turns
    about its normal, in which a calibration has made odometry more exact; ramps are left as they
    are.
    """

    translation: float
    rotation: float
    heading: float
    level: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def of(self, way: Way) -> Array:
        """Return the covariance (6, 6) of one way."""
        return self._covariance(way.path, way.turn) + _of_slip(way.slip)

    def of_unconfirmed(self, way: Way, seconds: float) -> Array:
        """Return the covariance (6, 6) of a way that no view has confirmed for so long.

        Wheels slip now and then, and what was learned of them does not hold then; what says so is a
        camera that keeps disagreeing.
        """
        doubt = min(seconds / CONFIRMATION_TIME, MAX_DOUBT)
        uncalibrated = OdometryNoise(self.translation, self.rotation, self.heading)
        turned = way.path + SLIP_LEVER * way.turn
        slip = se3.isotropic(0.0, min(SLIP * min(seconds, MAX_SLIP_SECONDS), turned))
        return self.of(way) * (1.0 + doubt) ** 2 + uncalibrated.of(way) * doubt**2 + slip

    def of_chained(self, way: Way) -> Array:
        """Return the covariance (6, 6) of one of many ways in a chain whose errors are alike.

        A pose graph takes its factors' errors as independent and so averages them: twenty ways of
        10 cm would seem 4.5 times as exact as one of 2 m. The variance of a way shorter than the
        errors' range is therefore its share of the variance over that range.
        """
        path = np.sqrt(way.path * max(way.path, LIKE_PATH))
        turn = np.sqrt(way.turn * max(way.turn, LIKE_TURN))
        return self._covariance(path, turn) + _of_slip(way.slip)

    @staticmethod
    def of_level(way: Way) -> Array:
        """Return the covariance (6, 6) of the height alone that a way ends at."""
        sigma = LEVEL_FLOOR + LEVEL_SLOPE * way.path
        return np.diag([UNKNOWN] * 5 + [sigma**2])

    def _covariance(self, path: float, turn: float) -> Array:
        scale, track, heading = self.level
        jitter = min(max((path + turn) / UNDER_WAY, STANDING_SHARE), 1.0)
        least, shortest = jitter * ROTATION_FLOOR, jitter * TRANSLATION_FLOOR
        tilt = least + self.rotation * turn + self.heading * path
        yaw = least + track * self.rotation * turn + heading * self.heading * path
        up = shortest + self.translation * path
        plane = shortest + scale * self.translation * path
        return np.diag(np.square([tilt, tilt, yaw, plane, plane, up]))


def _of_slip(slip: float) -> Array:
    """Return the covariance (6, 6) that wheels leave which slipped so far."""
    return se3.isotropic(SLIP_TURN * slip, slip)
