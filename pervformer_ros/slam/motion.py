# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where the robot should be now: from odometry, or else from its last velocity."""

from dataclasses import dataclass, replace

import numpy as np

from pervformer_ros.geometry import Array, invert
from pervformer_ros.slam import se3
from pervformer_ros.slam.calibration import OdometryCalibration
from pervformer_ros.slam.odometry import Reading, link

# What a held camera or a robot does between two frames: accelerations of 3 m/s^2 and 6 rad/s^2.
ACCELERATION = 3.0
ANGULAR_ACCELERATION = 6.0
# Velocity is forgotten with this time constant while nothing is seen.
VELOCITY_MEMORY = 0.3
# Over less time (seconds) than this the noise of two views would pass for metres per second.
SHORTEST_STEP = 0.01
# A pose held without sight or odometry is never less certain than this.
MAX_ROTATION_SIGMA = 3.0
MAX_TRANSLATION_SIGMA = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class PoseEstimate:
    """A pose and the covariance (6, 6) of its error, see se3."""

    T_map_base: Array
    covariance: Array

    def __post_init__(self) -> None:
        """Keep rounding from growing: every estimate is made from the one before."""
        object.__setattr__(self, "T_map_base", se3.normalise(self.T_map_base))

    def moved(self, T_new_old: Array) -> "PoseEstimate":
        """Return the same estimate in a map that has moved."""
        return PoseEstimate(T_new_old @ self.T_map_base, self.covariance)


@dataclass(frozen=True, slots=True, eq=False)
class _Anchor:
    """The last frame that was both seen and told by odometry."""

    stamp_ns: int
    estimate: PoseEstimate
    reading: Reading


class MotionModel:
    """Predicts each frame's pose from the frames before it."""

    def __init__(self, calibration: OdometryCalibration) -> None:
        self._calibration = calibration
        self._anchor: _Anchor | None = None
        self._last: PoseEstimate | None = None
        self._stamp_ns = 0
        self._seen = False
        self._by_velocity = True
        self._velocity = np.zeros(6)

    @property
    def started(self) -> bool:
        """Whether there was a frame."""
        return self._last is not None

    def predict(self, stamp_ns: int, reading: Reading | None) -> PoseEstimate:
        """Return what odometry says, or else velocity; there must have been a frame."""
        by_odometry = self._from_odometry(stamp_ns, reading)
        # After a gap of odometry, a frame that was seen is nearer than the one before the gap.
        stale = self._anchor is None or (self._seen and self._anchor.stamp_ns < self._stamp_ns)
        self._by_velocity = by_odometry is None or stale
        if by_odometry is None or stale:
            return self._from_velocity(stamp_ns)
        return by_odometry

    def observe(
        self, stamp_ns: int, reading: Reading | None, estimate: PoseEstimate, seen: bool
    ) -> None:
        """Take over this frame's estimate; `seen` if a view went into it."""
        seconds = (stamp_ns - self._stamp_ns) * 1e-9
        if self._last is not None and seen:
            step = invert(self._last.T_map_base) @ estimate.T_map_base
            if seconds >= SHORTEST_STEP:
                self._velocity = se3.log(step) / seconds
        elif self._last is not None:
            self._velocity = self._velocity * np.exp(-seconds / VELOCITY_MEMORY)
        if reading is not None and (seen or self._by_velocity):
            self._anchor = _Anchor(stamp_ns, estimate, reading)
        self._last, self._stamp_ns, self._seen = estimate, stamp_ns, seen

    def carry_along(self, T_new_old: Array) -> None:
        """Follow the map, which has moved by T_new_old."""
        if self._last is not None:
            self._last = self._last.moved(T_new_old)
        if self._anchor is not None:
            self._anchor = replace(self._anchor, estimate=self._anchor.estimate.moved(T_new_old))

    def _from_odometry(self, stamp_ns: int, reading: Reading | None) -> PoseEstimate | None:
        anchor = self._anchor
        way = link(anchor.reading, reading) if anchor else None
        if anchor is None or way is None:
            return None
        T_anchor_base = way.T_first_second
        seconds = (stamp_ns - anchor.stamp_ns) * 1e-9
        covariance = self._calibration.noise.of_unconfirmed(way, seconds)
        return PoseEstimate(
            anchor.estimate.T_map_base @ T_anchor_base,
            se3.compose(anchor.estimate.covariance, T_anchor_base, covariance),
        )

    def _from_velocity(self, stamp_ns: int) -> PoseEstimate:
        assert self._last is not None
        seconds = (stamp_ns - self._stamp_ns) * 1e-9
        reach = VELOCITY_MEMORY * (1.0 - np.exp(-seconds / VELOCITY_MEMORY))
        step = se3.exp(self._velocity * reach)
        covariance = se3.isotropic(
            min(0.01 + ANGULAR_ACCELERATION * seconds**2, MAX_ROTATION_SIGMA),
            min(0.005 + ACCELERATION * seconds**2, MAX_TRANSLATION_SIGMA),
        )
        return PoseEstimate(
            self._last.T_map_base @ step,
            se3.compose(self._last.covariance, step, covariance),
        )
