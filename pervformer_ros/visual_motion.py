# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How the camera moved since the frame before, by what it sees: where there is no odometry.

Corners of the frame before that have depth and do not move are followed by optical flow (Lucas and
Kanade, pyramidal); the pose they agree on is found by RANSAC over P3P and refined. All by OpenCV.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.features import lift
from pervformer_ros.frame import Frame
from pervformer_ros.geometry import Array
from pervformer_ros.pnp import as_transform, pose_by_pixels

CORNERS, QUALITY, SPACING_PIXELS = 400, 0.01, 6.0
# Wider images are made smaller by a whole number, pixels.
USUAL_WIDTH = 640
WINDOW = (21, 21)
LEVELS = 3
# Followed back, a corner must come out this near to where it began, pixels.
FORTH_AND_BACK = 1.0
# So many corners, and so large a part of those followed, agree on how the camera moved, to so many
# pixels of an image of the usual width.
LEAST_AGREE, LEAST_SHARE = 20, 0.35
MISFIT_PIXELS = 1.5


def visual_motion(
    before: Frame, now: Frame, still: NDArray[np.uint8] | None = None
) -> Array | None:
    """Return T_now_before (4, 4), which moves points from the last camera to this one's.

    None where it cannot be told.

    Args:
        before: the last frame, with depth.
        now: this one, of the same camera.
        still: (H, W) uint8, 0 where something moves in the last frame; None = nothing does.
    """
    first, second = _grey(before), _grey(now)
    scale = np.array([now.camera.width, now.camera.height]) / first.shape[::-1]
    if still is not None:
        still = cv2.resize(still, first.shape[::-1], interpolation=cv2.INTER_NEAREST)
    corners = cv2.goodFeaturesToTrack(first, CORNERS, QUALITY, SPACING_PIXELS, mask=still)
    if corners is None:
        return None
    points = lift(_enlarged(corners.reshape(-1, 2), scale), before.depth, before.camera)
    known = np.isfinite(points).all(axis=1)
    corners, points = corners[known], points[known]
    if len(corners) < LEAST_AGREE:
        return None
    there, followed = _follow(first, second, corners)
    pixels = now.camera.undistort(_enlarged(there[followed], scale))
    return _pose(points[followed].astype(float), pixels, now)


def _grey(frame: Frame) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY)
    shrink = max(1, frame.camera.width // USUAL_WIDTH)
    size = frame.camera.width // shrink, frame.camera.height // shrink
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _enlarged(uv: NDArray[np.float32], scale: Array) -> NDArray[np.float32]:
    """Return where pixels (K, 2) of the smaller image are in one that is so many times as large."""
    return np.asarray((uv + 0.5) * scale - 0.5, np.float32)


def _follow(
    first: NDArray[np.uint8], second: NDArray[np.uint8], corners: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return where corners (K, 1, 2) of an image are in the next (K, 2), and which are (K,)."""
    there, found, _ = cv2.calcOpticalFlowPyrLK(first, second, corners, None, WINDOW, LEVELS)
    back, again, _ = cv2.calcOpticalFlowPyrLK(second, first, there, None, WINDOW, LEVELS)
    off = np.linalg.norm((back - corners).reshape(-1, 2), axis=1)
    return there.reshape(-1, 2), (found & again).ravel().astype(bool) & (off < FORTH_AND_BACK)


def _pose(points: Array, pixels: Array, frame: Frame) -> Array | None:
    """Return the pose that most points (K, 3) and pixels (K, 2) agree on, None where few do."""
    if len(points) < LEAST_AGREE:
        return None
    K = frame.camera.K
    found = pose_by_pixels(points, pixels, K, MISFIT_PIXELS * frame.camera.width / USUAL_WIDTH)
    if found is None:
        return None
    T, chosen = found
    if len(chosen) < max(LEAST_AGREE, LEAST_SHARE * len(points)):
        return None
    start = cv2.Rodrigues(T[:3, :3])[0], T[:3, 3:].copy()
    T = as_transform(*cv2.solvePnPRefineLM(points[chosen], pixels[chosen], K, None, *start))
    return T if np.isfinite(T).all() else None
