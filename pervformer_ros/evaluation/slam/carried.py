# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A robot that is carried off with its camera covered: how soon it knows where it is again."""

import numpy as np
from scipy.spatial.transform import Rotation

from pervformer_ros.evaluation.drift import poses_at
from pervformer_ros.evaluation.slam.closures import is_wrong
from pervformer_ros.frame import NANOSECONDS, Frame
from pervformer_ros.geometry import Array, Trajectory, invert

FASTEST = 8.0  # m/s: nothing on wheels moves as fast as this
LEAST_MOVE = 1.0  # m
SEEN = 0.05  # part of an image with depth from which the camera is not covered


def sees(frame: Frame) -> bool:
    """Return whether the camera is uncovered."""
    return frame.depth is not None and float((frame.depth > 0).mean()) > SEEN


def carried_off(truth: Trajectory) -> int | None:
    """Return the stamp of the first pose after the robot was carried off, None if it never was."""
    steps = np.linalg.norm(np.diff(truth.poses[:, :3, 3], axis=0), axis=1)
    seconds = np.diff(truth.stamps_ns) / NANOSECONDS
    jumps = np.flatnonzero((steps > LEAST_MOVE) & (steps > FASTEST * seconds))
    return int(truth.stamps_ns[jumps[0] + 1]) if len(jumps) else None


def found_again_s(truth: Trajectory, online: Trajectory, seeing: list[int]) -> float | None:
    """Return after how many seconds of seeing the pose is right again; None = never, or no need.

    Right is a pose as it was given out at the time, in the map from before the robot was carried
    off: that is laid over the truth by its poses until then, headings and all.

    Args:
        truth: true poses.
        online: poses as they were given out.
        seeing: stamps of the images of an uncovered camera.
    """
    moved_at = carried_off(truth)
    if moved_at is None:
        return None
    uncovered = next((stamp for stamp in sorted(seeing) if stamp >= moved_at), None)
    first = int(np.searchsorted(online.stamps_ns, moved_at))
    if uncovered is None or first < 3:
        return None
    T_truth_map = _laid_over(truth, Trajectory(online.stamps_ns[:first], online.poses[:first]))
    if T_truth_map is None:
        return None
    later = online.stamps_ns[first:]
    for stamp, T, T_true in zip(
        later.tolist(), online.poses[first:], poses_at(truth, later), strict=True
    ):
        if stamp < uncovered or T_true is None:
            continue
        if not is_wrong(invert(T_true) @ T_truth_map @ T):
            return float((stamp - uncovered) / NANOSECONDS)
    return None


def _laid_over(truth: Trajectory, estimate: Trajectory) -> Array | None:
    """Return the transform that lays poses over the true ones, None where none has a true one.

    Drift is measured by positions alone; those of a straight way do not tell how it is turned.
    """
    true = poses_at(truth, estimate.stamps_ns)
    pairs = [(t, T) for t, T in zip(true, estimate.poses, strict=True) if t is not None]
    if not pairs:
        return None
    T_truth_map = np.eye(4)
    turns = [t[:3, :3] @ T[:3, :3].T for t, T in pairs]
    T_truth_map[:3, :3] = Rotation.from_matrix(turns).mean().as_matrix()
    offsets = [t[:3, 3] - T_truth_map[:3, :3] @ T[:3, 3] for t, T in pairs]
    T_truth_map[:3, 3] = np.mean(offsets, axis=0)
    return T_truth_map
