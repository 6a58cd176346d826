# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""View: what is taken from one frame, ready to be registered or kept as a keyframe."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.features import FeatureSet
from pervformer_ros.frame import CameraModel
from pervformer_ros.geometry import Array
from pervformer_ros.slam.odometry import Reading

# What seems to move for certain may yet stand still.
LEAST_STATIC = 0.02
# No camera measures depth this far off (metres): some write a huge number where they have none.
FARTHEST = 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The K features of a frame, with the camera and odometry they came with.

    pixels: (K, 2) free of lens distortion.
    points: (K, 3) metres in the optical frame, NaN where there is no depth.
    score: (K,), larger is better.
    static_probability: (K,), never zero: perception may be wrong.
    descriptors: (K, D) of unit length.
    place_descriptor: (M,) of the whole image, empty where there is none.
    """

    stamp_ns: int
    camera: CameraModel
    T_base_camera: Array
    reading: Reading | None
    pixels: Array
    points: Array
    score: NDArray[np.float32]
    static_probability: NDArray[np.float32]
    descriptors: NDArray[np.float16]
    place_descriptor: NDArray[np.float32]

    @property
    def has_point(self) -> NDArray[np.bool_]:
        """Which features (K,) have a 3D point."""
        return np.asarray(np.isfinite(self.points[:, 2]))


def make_view(
    features: FeatureSet,
    camera: CameraModel,
    T_base_camera: Array,
    reading: Reading | None,
) -> View:
    """Return the view of those features that are where, like what and as static as numbers say."""
    kept = np.isfinite(features.uv).all(axis=1) & np.isfinite(features.static_probability)
    kept &= np.isfinite(features.descriptors).all(axis=1)
    points = features.points[kept].astype(float)
    is_point = (np.linalg.norm(points, axis=1) < FARTHEST) & (points[:, 2] > 0)
    points[~is_point] = np.nan
    return View(
        stamp_ns=features.stamp_ns,
        camera=camera,
        T_base_camera=T_base_camera,
        reading=reading,
        pixels=camera.undistort(features.uv[kept]),
        points=points,
        score=features.score[kept],
        static_probability=features.static_probability[kept].clip(LEAST_STATIC, 1),
        descriptors=features.descriptors[kept],
        place_descriptor=features.place_descriptor,
    )
