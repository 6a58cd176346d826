# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What SLAM says, heard by the perception node: where odom lies in map."""

from typing import Any

from pervformer_ros.bags.intake import Intake, stamp_of
from pervformer_ros.frame import NANOSECONDS, Fault, FaultLog
from pervformer_ros.geometry import Array, invert

# Seconds of stamps after which a SLAM that was not heard again is taken to be silent.
FRESH_S = 3.0


class SlamCorrection:
    """Pairs SLAM's pose with odometry's of the same stamp: map <- base by odom <- base.

    SLAM's pose bears the stamp of the image it was found with, so it is paired with odometry at
    that very stamp, however long SLAM took.
    """

    def __init__(self, intake: Intake, faults: FaultLog):
        self._intake, self._faults = intake, faults
        self._latest: Array | None = None
        self._heard_ns: int | None = None

    @property
    def T_map_odom(self) -> Array | None:  # noqa: N802
        """Where odom lies in map by the latest pose, None before the first."""
        return self._latest

    def forget(self) -> None:
        """Forget it: time has gone back, and SLAM's map starts anew."""
        self._latest = self._heard_ns = None

    def is_fresh(self, stamp_ns: int) -> bool:
        """Return whether SLAM has been heard lately, at the time of a stamp."""
        return self._heard_ns is not None and stamp_ns - self._heard_ns < FRESH_S * NANOSECONDS

    def hear(self, message: Any) -> None:
        """Take an Odometry message from map to the base, or to a frame fixed to it.

        One whose stamp has no odometry is counted and left out.
        """
        stamp_ns = stamp_of(message.header)
        try:
            T_map_base = self._intake.pose_of_base(message)
        except ValueError as error:
            self._faults.add(Fault.INVALID_ODOMETRY, f"slam/odometry: {error}")
            return
        T_odom_base = self._intake.odometry_at(stamp_ns)
        if T_odom_base is None:
            self._faults.add(
                Fault.ODOMETRY_GAP, f"no odometry at the stamp {stamp_ns} of slam/odometry"
            )
            return
        self._latest, self._heard_ns = T_map_base @ invert(T_odom_base), stamp_ns
