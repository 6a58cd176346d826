# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Matches of a keyframe's points with a view's pixels, and how exactly either is measured."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import CameraModel
from pervformer_ros.geometry import Array

# No depth is more exact than this, however near (metres).
DEPTH_FLOOR = 0.002
# Stands in for the depth noise of a pixel without depth.
NO_DEPTH_VARIANCE = 1e6
# What is likelier than this not to move, perception expects to stand still.
STILL = 0.5


@dataclass(frozen=True, slots=True)
class SensorNoise:
    """Standard deviations: `pixel` of a feature, `depth * z**2 + DEPTH_FLOOR` of its depth z."""

    pixel: float
    depth: float

    def depth_variance(self, z: NDArray[np.floating]) -> Array:
        """Return the variances (K,) of depths (K,), square metres."""
        return np.asarray((self.depth * z**2 + DEPTH_FLOOR) ** 2, float)


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """M matches between the 3D points of a keyframe and the pixels of a view.

    points: (M, 3) in the keyframe's optical frame.
    point_covariances: (M, 3, 3) of the points.
    pixels: (M, 2) of the view, free of lens distortion.
    depths: (M,) metres in the view, NaN where there is none.
    static_probability: (M,) in (0, 1], that neither of both moves.
    """

    points: Array
    point_covariances: Array
    pixels: Array
    depths: Array
    static_probability: Array

    def __len__(self) -> int:
        return len(self.points)

    @property
    def is_still(self) -> NDArray[np.bool_]:
        """Which of them (M,) perception expects to stand still."""
        return self.static_probability > STILL

    def take(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> "Matches":
        """Return the chosen matches."""
        return Matches(
            self.points[chosen],
            self.point_covariances[chosen],
            self.pixels[chosen],
            self.depths[chosen],
            self.static_probability[chosen],
        )


def point_covariances(points: Array, camera: CameraModel, noise: SensorNoise) -> Array:
    """Return the covariances (K, 3, 3) of points (K, 3) made from a pixel and a depth each."""
    z = points[:, 2]
    ray = points / z[:, None]
    along = ray[:, :, None] * ray[:, None, :] * noise.depth_variance(z)[:, None, None]
    along[:, 0, 0] += (noise.pixel / camera.fx * z) ** 2
    along[:, 1, 1] += (noise.pixel / camera.fy * z) ** 2
    return along
