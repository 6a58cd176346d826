# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A camera at the origin, and things on the way it looks."""

import numpy as np

from pervformer_ros.frame import CameraModel, Frame
from pervformer_ros.memory import Sighting

CAMERA = CameraModel(160, 120, 120.0, 120.0, 79.5, 59.5)
SECOND = 1_000_000_000


def looking_at(stamp_s: float, depth_m: float | None, camera: CameraModel = CAMERA) -> Frame:
    """Return an image whose every pixel sees something at this depth."""
    size = camera.height, camera.width
    depth = None if depth_m is None else np.full(size, depth_m, np.float32)
    rgb = np.zeros((*size, 3), np.uint8)
    return Frame(round(stamp_s * SECOND), rgb, depth, camera, np.eye(4), np.eye(4))


def sighting(position=(0.0, 0.0, 2.0), label="box", score=0.9, **changes) -> Sighting:
    values = {
        "label": label,
        "score": score,
        "position": np.array(position, float),
        "variance": 0.0025,
        "size": np.array([0.4, 0.4, 0.4]),
        "box": np.array([70, 50, 20, 20], np.float32),
        "embedding": np.array([1, 0], np.float32),
    }
    return Sighting(**{**values, **changes})
