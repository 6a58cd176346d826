# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a robot takes itself to be when an image comes, with only what is finished by then."""

from dataclasses import dataclass, field

import numpy as np

from pervformer_ros.geometry import Array, Trajectory


@dataclass(slots=True, eq=False)
class Corrections:
    """Corrections of odometry and the moments, of the recorded clock, when they were finished."""

    stamps_ns: list[int] = field(default_factory=list)
    finished_ns: list[int] = field(default_factory=list)
    T_map_odom: list[Array] = field(default_factory=list)

    def add(self, stamp_ns: int, finished_ns: int, T_map_odom: Array) -> None:
        """Take the correction that the image of a stamp gave; they come in order."""
        self.stamps_ns.append(stamp_ns)
        self.finished_ns.append(finished_ns)
        self.T_map_odom.append(T_map_odom)

    @property
    def latency_ms(self) -> float | None:
        """The median time from an image's stamp to its correction; None where there is none."""
        if not self.stamps_ns:
            return None
        return float(np.median(np.subtract(self.finished_ns, self.stamps_ns)) / 1e6)

    def carry(self, odometry: Trajectory) -> Trajectory:
        """Return odometry, each of its poses corrected by the newest that was finished by then.

        Before the first is finished, nobody knows where the map is: those poses are left out.
        """
        newest = np.searchsorted(self.finished_ns, odometry.stamps_ns, side="right") - 1
        known = newest >= 0
        T_map_odom = np.array(self.T_map_odom).reshape(-1, 4, 4)[newest[known]]
        return Trajectory(odometry.stamps_ns[known], T_map_odom @ odometry.poses[known])
