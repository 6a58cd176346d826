# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Detections in an image become sightings in the world, by depth."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import Frame
from pervformer_ros.geometry import Array, transform_points
from pervformer_ros.memory.objects import Sighting

# A thing needs so many pixels with depth, well inside its mask, to be placed.
LEAST_PIXELS = 20
EDGE_PX = 1
# Position is that of a visible surface: the middle lies somewhere within the thing.
SURFACE_SIGMA = 0.05


def place_sightings(
    frame: Frame,
    T_odom_base: Array,
    labels: Sequence[str],
    scores: NDArray[np.float32],
    boxes: NDArray[np.float32],
    masks: NDArray[np.bool_],
    embeddings: NDArray[np.float32],
    motion: NDArray[np.float32],
) -> list[Sighting]:
    """Return the sightings of the K detections that depth can place.

    Args:
        frame: the image; without depth nothing can be placed.
        T_odom_base: where the robot was.
        labels: K class names.
        scores: (K,).
        boxes: (K, 4) left, top, right, bottom pixels.
        masks: (K, H, W) bool.
        embeddings: (K, E).
        motion: (K,) probabilities.
    """
    if frame.depth is None:
        return []
    T_odom_camera = T_odom_base @ frame.T_base_camera
    sightings = []
    for i, label in enumerate(labels):
        points = _surface(frame, masks[i])
        if points is None:
            continue
        middle = np.median(points, axis=0)
        spread = np.percentile(points, 90, axis=0) - np.percentile(points, 10, axis=0)
        left, top, right, bottom = boxes[i]
        pixel_m = middle[2] / np.array([frame.camera.fx, frame.camera.fy])
        width, height = pixel_m * (right - left, bottom - top)
        sightings.append(
            Sighting(
                label=label,
                score=float(scores[i]),
                position=transform_points(T_odom_camera, middle),
                variance=SURFACE_SIGMA**2 + (0.25 * spread[2]) ** 2,
                size=np.array([width, spread[2], height]),
                box=np.array([left, top, right - left, bottom - top], np.float32),
                embedding=embeddings[i],
                motion_probability=float(motion[i]),
            )
        )
    return sightings


def _surface(frame: Frame, mask: NDArray[np.bool_]) -> Array | None:
    """Return the points (K, 3) of a mask's inside in the optical frame, None if too few."""
    assert frame.depth is not None
    kernel = np.ones((2 * EDGE_PX + 1, 2 * EDGE_PX + 1), np.uint8)
    inside = cv2.erode(mask.astype(np.uint8), kernel) > 0
    rows, columns = np.nonzero(inside & (frame.depth > 0))
    if len(rows) < LEAST_PIXELS:
        return None
    return frame.camera.back_project(
        np.stack([columns, rows], axis=1).astype(float), frame.depth[rows, columns]
    )
