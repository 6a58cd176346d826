# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The pose of a camera by known points and where it sees them (perspective n points)."""

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.geometry import Array

ITERATIONS, CONFIDENCE = 200, 0.999
LEAST_INLIERS = 4


def pose_by_pixels(
    points: Array, pixels: Array, K: Array, misfit_pixels: float
) -> tuple[Array, NDArray[np.intp]] | None:
    """Return the pose that most points agree on, by RANSAC over P3P, and which of them do.

    None where there is none.

    Args:
        points: (M, 3) metres, four or more.
        pixels: (M, 2) where they are seen, free of lens distortion.
        K: (3, 3) of the camera.
        misfit_pixels: what is seen farther from where the pose puts it does not agree.

    Returns:
        T_camera_points (4, 4) and the indices of those that agree.
    """
    found, rotation, translation, inliers = cv2.solvePnPRansac(
        points,
        pixels,
        K,
        None,
        iterationsCount=ITERATIONS,
        reprojectionError=misfit_pixels,
        confidence=CONFIDENCE,
        flags=cv2.SOLVEPNP_P3P,
    )
    if not found or inliers is None or len(inliers) < LEAST_INLIERS:
        return None
    T = as_transform(rotation, translation)
    return (T, inliers.ravel()) if np.isfinite(T).all() else None


def as_transform(rotation: Array, translation: Array) -> Array:
    """Return the transform (4, 4) of a rotation vector and a translation as OpenCV gives them."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = cv2.Rodrigues(rotation)[0], np.asarray(translation).ravel()
    return T
