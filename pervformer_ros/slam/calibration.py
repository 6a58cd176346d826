# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What odometry's errors have in common, learned from the views that contradict it.

Most of what wheels get wrong they get wrong again and again: the wheels' size is a scale, the track
a scale of turns, the gyroscope's bias a turn per path. Each keyframe compares the way since another
one with what was seen of it; a Kalman filter keeps the three errors and how well they are known,
and so odometry is believed as far as it has proved itself.
"""

import numpy as np

from pervformer_ros.geometry import Array, invert, make_rotation
from pervformer_ros.slam import se3
from pervformer_ros.slam.odometry import OdometryNoise, Way

# A shorter way says nothing of a scale; on a longer one errors of turns bend the path, metres.
MIN_PATH = 0.3
MAX_PATH = 4.0
# What no noise model of a view knows: this much of a way, and this much of its turn.
SCALE_FLOOR = 0.01
TURN_FLOOR = np.radians(0.1)
# Errors wander by this part of what was expected of them at first, in 10 m.
WANDER = 0.1
WANDER_PATH = 10.0
# However much was learned, odometry is not believed to be better than this part of the prior.
BEST = 0.1
# Squared normalised surprise from which a view counts less.
SURPRISE = 9.0
# And from which, reckoned with what was expected before anything was learned, not at all.
OUTRAGEOUS = 16.0
# Share of the latest surprise in the running mean.
SURPRISE_RATE = 0.05


class OdometryCalibration:
    """Scale of ways, scale of turns and turn per path that odometry is off by, with variances."""

    def __init__(self, prior: OdometryNoise) -> None:
        self._prior = prior
        self._expected = np.square([prior.translation, prior.rotation, prior.heading])
        self.errors: Array = np.zeros(3)
        self._covariance: Array = np.diag(self._expected)
        self._surprise = np.ones(2)  # of ways and of turns; 1 where the model explains them

    @property
    def noise(self) -> OdometryNoise:
        """What odometry still errs by once it is calibrated."""
        if not self._expected.all():
            return self._prior
        excess = np.maximum(1.0, self._surprise[[0, 1, 1]])
        known = np.diag(self._covariance) / self._expected * excess + BEST**2
        scale, track, heading = np.minimum(1.0, np.sqrt(known)).tolist()
        p = self._prior
        return OdometryNoise(p.translation, p.rotation, p.heading, (scale, track, heading))

    def correct(self, step: Array, path: float, yaw: float) -> Array:
        """Return one step (4, 4) of odometry without the errors that are known."""
        scale, track, heading = self.errors
        corrected = step @ make_rotation([0.0, 0.0, track * yaw + heading * path])
        corrected[:3, 3] = (1.0 + scale) * step[:3, 3]
        return corrected

    def observe(self, way: Way, T_first_second: Array, covariance: Array) -> None:
        """Learn from a way that was also seen, with the covariance (6, 6) of what was seen."""
        chord = float(np.linalg.norm(way.T_as_it_came[:3, 3]))
        if chord < MIN_PATH or way.path > MAX_PATH or way.slip > 0:
            return
        self._covariance += np.diag(self._expected) * WANDER**2 * way.path / WANDER_PATH
        along = T_first_second[:3, :3].T @ way.T_as_it_came[:3, 3] / chord
        seen = float(along @ (T_first_second[:3, :3].T @ T_first_second[:3, 3]))
        variance = float(along @ covariance[3:, 3:] @ along) / chord**2 + SCALE_FLOOR**2
        self._learn(0, np.array([1.0, 0.0, 0.0]), seen / chord - 1.0, variance)
        turn = se3.rotation_vector(invert(way.T_as_it_came) @ T_first_second)[2]
        variance = float(covariance[2, 2]) + TURN_FLOOR**2
        self._learn(1, np.array([0.0, way.yaw, way.path]), float(turn), variance)

    def _learn(self, kind: int, of: Array, measured: float, variance: float) -> None:
        innovation = measured - float(of @ self.errors)
        expected = float(of @ self._covariance @ of) + variance
        surprise = innovation**2 / expected
        limit = float(of @ np.diag(self._expected) @ of) + variance
        if innovation**2 > OUTRAGEOUS * limit:
            return  # a wrong view, or wheels in the air
        self._surprise[kind] += SURPRISE_RATE * (min(surprise, SURPRISE) - self._surprise[kind])
        # A slip is no property of the wheels.
        expected += variance * max(0.0, surprise / SURPRISE - 1.0)
        gain = self._covariance @ of / expected
        self.errors = self.errors + gain * innovation
        self._covariance = self._covariance - np.outer(gain, of @ self._covariance)
