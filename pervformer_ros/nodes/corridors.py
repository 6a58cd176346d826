# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Corridors that others publish: nav_msgs/Path in any frame the robot knows, to strips in map."""

from typing import Any

import numpy as np

from pervformer_ros.bags.intake import Intake, pose_of, stamp_of
from pervformer_ros.geometry import Array
from pervformer_ros.memory import Corridor


class UnknownFrameError(ValueError):
    """A path is in a frame that is not known; the text says in which."""


def corridor_of(
    name: str,
    message: Any,
    half_width: float,
    frames: tuple[str, str],
    T_map_odom: Array,
    intake: Intake,
) -> Corridor | None:
    """Return the strip along a nav_msgs/Path, in map; None where it has no poses.

    Args:
        name: what it is called.
        message: the path; its own header's frame counts, of all poses.
        half_width: metres to either side.
        frames: what map and odom are called.
        T_map_odom: where odom lies in map now.
        intake: knows odometry, for paths in frames fixed to the robot.

    Raises:
        UnknownFrameError: if its frame is none of these.
        ValueError: if its poses make no strip.
    """
    if not message.poses:
        return None
    points = np.stack([pose_of(stamped.pose)[:2, 3] for stamped in message.poses])
    # A planner ends many a path with the same place twice.
    apart = np.linalg.norm(np.diff(points, axis=0), axis=1) > 1e-6
    line = points[np.concatenate([[True], apart])]
    T_map_frame = _placed(message.header, frames, T_map_odom, intake)
    return Corridor(name, line, half_width).moved(T_map_frame)


def _placed(header: Any, frames: tuple[str, str], T_map_odom: Array, intake: Intake) -> Array:
    """Return T_map_frame of a header's frame."""
    map_frame, odom_frame = frames
    frame = header.frame_id.lstrip("/")
    if frame == map_frame:
        return np.eye(4)
    if frame == odom_frame:
        return T_map_odom
    T_base_frame = intake.transforms.lookup(intake.config.base_frame, frame)
    if T_base_frame is None:
        raise UnknownFrameError(
            f"its frame is '{frame}': use '{map_frame}', '{odom_frame}' or one that /tf_static "
            f"joins to '{intake.config.base_frame}'"
        )
    T_odom_base = intake.odometry_at(stamp_of(header))
    if T_odom_base is None:
        raise UnknownFrameError(f"its frame is '{frame}' and there is no odometry at its stamp")
    return np.asarray(T_map_odom @ T_odom_base @ T_base_frame)
