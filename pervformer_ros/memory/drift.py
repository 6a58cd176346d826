# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How far the robot may be from where its odometry says, since something was last seen."""

import numpy as np

from pervformer_ros.geometry import Array, invert, rotation_angle

# Metres off per metre driven, and how many metres a turn by one radian counts as.
ODOMETRY_RATE, METRES_PER_RADIAN = 0.03, 0.5
# The same where SLAM corrects odometry, and the most it leaves; and for how many metres after a
# correction it counts as doing so.
SLAM_RATE, SLAM_MOST = 0.01, 0.15
FOLLOWED_M = 2.0
LEAST = 0.02
# Nothing drives farther between two images: odometry has started anew or was carried.
MOST_STEP_M = 2.0


class Drift:
    """Counts what was driven; what was seen long ago is less sure relative to what is seen now."""

    def __init__(self) -> None:
        self.odometer = 0.0
        self._since = 0.0  # the odometer where the way begins that was not corrected yet
        self._corrected_at = -np.inf
        self._last: Array | None = None

    def travel(self, T_odom_base: Array) -> None:
        """Take in where odometry says the robot is."""
        if self._last is not None:
            step = invert(self._last) @ T_odom_base
            driven = float(np.linalg.norm(step[:3, 3]))
            self.odometer += min(driven, MOST_STEP_M) + METRES_PER_RADIAN * rotation_angle(step)
        self._last = T_odom_base.copy()

    def correct(self) -> None:
        """Note that SLAM has told where the robot is."""
        self._since = self._corrected_at = self.odometer

    @property
    def uncorrected(self) -> float:
        """Metres driven since SLAM told last where the robot is, or since the start."""
        return self.odometer - self._since

    @property
    def corrected(self) -> bool:
        """Whether SLAM corrects odometry."""
        return self.odometer - self._corrected_at < FOLLOWED_M

    def start_anew(self, odometer: float) -> None:
        """Forget where the robot was, and that SLAM spoke: the next step is none."""
        self.odometer = self._since = odometer
        self._last, self._corrected_at = None, -np.inf

    def sigma(self, odometers: Array) -> Array:
        """Return the doubt (N,) in metres about what was seen at these odometer readings (N,)."""
        driven = np.maximum(self.odometer - odometers, 0.0)
        uncorrected = LEAST + ODOMETRY_RATE * driven
        # Since SLAM fell silent, or for ever if it never spoke, odometry drifts by itself.
        alone = max(self.odometer - self._corrected_at - FOLLOWED_M, 0.0)
        followed = np.minimum(LEAST + SLAM_RATE * driven, SLAM_MOST) + ODOMETRY_RATE * alone
        return np.asarray(np.minimum(uncorrected, followed))
