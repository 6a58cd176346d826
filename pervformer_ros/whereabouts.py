# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where in odom the robot is, and how its camera moved since the last image."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import NANOSECONDS, Frame
from pervformer_ros.geometry import Array, invert
from pervformer_ros.visual_motion import visual_motion

if TYPE_CHECKING:
    from pervformer_ros.slam import SlamUpdate

# Without odometry for longer than this nobody knows where the robot is, seconds.
LONGEST_PAUSE_S = 3.0


class Whereabouts:
    """Goes by odometry; where there is none by SLAM, or for a while by what is seen to stand still.

    One that never had odometry, and has no SLAM, is taken to stand.

    T_odom_base: where the robot is, or was when that was known.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.T_odom_base: Array = np.eye(4)
        self.part()

    def part(self) -> None:
        """Let the next image have no last one: nothing is known of the way there."""
        self._last: tuple[Frame, NDArray[np.uint8]] | None = None
        self._T_now_before: Array | None = None
        self._odometry_ns: int | None = None
        self._is_lost = False

    def camera_motion(self, frame: Frame) -> Array | None:
        """Return what moves points from the last image's camera to this one's, None if unknown."""
        self._T_now_before = None
        if self._last is not None and self._last[0].camera == frame.camera:
            self._T_now_before = _motion(*self._last, frame)
        return self._T_now_before

    def note(self, frame: Frame, still: NDArray[np.uint8]) -> None:
        """Take an image for the last one: still (H, W) is 0 where something moves in it."""
        self._last = frame, still

    def locate(self, frame: Frame, slam: "SlamUpdate | None") -> bool:
        """Note where the robot is, after `camera_motion`; return whether that is known."""
        if frame.T_odom_base is not None:
            self.T_odom_base, self._odometry_ns = frame.T_odom_base, frame.stamp_ns
            self._is_lost = False
        elif slam is not None:  # what is seen alone says where in odom that is
            self.T_odom_base = invert(slam.T_map_odom) @ slam.T_map_base
            self._is_lost = slam.is_lost
        elif self._odometry_ns is not None:
            paused_s = (frame.stamp_ns - self._odometry_ns) / NANOSECONDS
            self._is_lost |= self._T_now_before is None or paused_s > LONGEST_PAUSE_S
            if self._T_now_before is not None and not self._is_lost:
                T_base_camera = frame.T_base_camera
                step = T_base_camera @ invert(self._T_now_before) @ invert(T_base_camera)
                self.T_odom_base = self.T_odom_base @ step
        return not self._is_lost


def _motion(before: Frame, still: NDArray[np.uint8], frame: Frame) -> Array | None:
    if frame.T_odom_base is None or before.T_odom_base is None:
        return visual_motion(before, frame, still)
    now = frame.T_odom_base @ frame.T_base_camera
    return invert(now) @ before.T_odom_base @ before.T_base_camera
