# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A robot at the origin whose camera looks along x from 1 m above the floor, and things it sees."""

import numpy as np

from pervformer_ros.frame import CameraModel, Frame
from pervformer_ros.geometry import make_rotation
from pervformer_ros.memory import MemoryConfig, Sighting, WorkingMemory

CAMERA = CameraModel(160, 120, 120.0, 120.0, 79.5, 59.5)
SECOND = 1_000_000_000
# The optical frame looks along z with y down.
T_BASE_CAMERA = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 1]])
AT_ORIGIN = np.eye(4)
LOOKING_BACK = make_rotation([0, 0, np.pi])


def looking_at(stamp_s: float, depth_m: float | None, camera: CameraModel = CAMERA) -> Frame:
    """Return an image whose every pixel sees something at this depth."""
    size = camera.height, camera.width
    depth = None if depth_m is None else np.full(size, depth_m, np.float32)
    rgb = np.zeros((*size, 3), np.uint8)
    return Frame(round(stamp_s * SECOND), rgb, depth, camera, T_BASE_CAMERA, np.eye(4))


def sighting(
    position=(2.0, 0.0, 1.0), label="box", score=0.9, variance=0.0025, moving=0.0, **changes
) -> Sighting:
    x, y, z = position
    u, v = 79.5 - 120 * y / max(x, 0.1), 59.5 - 120 * (z - 1) / max(x, 0.1)
    values = {
        "label": label,
        "score": score,
        "position": np.array(position, float),
        "covariance": variance * np.eye(3),
        "size": np.array([0.4, 0.4, 0.4]),
        "box": np.array([u - 10, v - 10, 20, 20], np.float32),
        "embedding": np.array([1, 0], np.float32),
        "motion_probability": moving,
    }
    return Sighting(**{**values, **changes})


class Watch:
    """Feeds a memory with images a tenth of a second apart and collects what it tells."""

    def __init__(self, config: MemoryConfig | None = None):
        self.memory = WorkingMemory(config)
        self.images = 0
        self.events = []
        self.objects = []

    def see(
        self, *sightings, depth=3.0, T_odom_base=AT_ORIGIN, camera=CAMERA, times=1, T_map_odom=None
    ) -> "Watch":
        for _ in range(times):
            frame = looking_at(self.images / 10, depth, camera)
            update = self.memory.update(frame, T_odom_base, list(sightings), T_map_odom)
            self.images += 1
            self.events += update.events
            self.objects = update.objects
        return self

    @property
    def told(self):
        return [(e.type, e.object_id) for e in self.events]

    @property
    def kinds(self):
        return [e.type for e in self.events]
