# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One view against the map: matches near where they should be, a pose from them, and its gate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.features import FeatureSet
from pervformer_ros.frame import CameraModel
from pervformer_ros.geometry import Array, invert, transform_points
from pervformer_ros.slam import se3
from pervformer_ros.slam.config import SlamConfig
from pervformer_ros.slam.keyframe import Keyframe
from pervformer_ros.slam.matching import match
from pervformer_ros.slam.motion import PoseEstimate
from pervformer_ros.slam.registration import Matches, SensorNoise, point_covariances, register

# What no noise model of single features knows: calibration, rolling shutter, stamps that differ.
ROTATION_FLOOR = np.radians(0.15)
TRANSLATION_FLOOR = 0.004
# Squared Mahalanobis length (6 degrees of freedom) that 99.99 % of true poses stay below.
GATE = 27.9
# A match is looked for within so many standard deviations of the predicted pixel, plus some pixels.
SEARCH_SIGMAS = 4.0
SEARCH_PIXELS = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The features of the current image that stand still, ready to be matched."""

    stamp_ns: int
    camera: CameraModel
    T_base_camera: Array
    pixels: Array  # (K, 2) free of lens distortion
    depths: Array  # (K,) metres, NaN where there is none
    static_probability: NDArray[np.float32]  # (K,)
    descriptors: NDArray[np.float16]  # (K, D)

    def __len__(self) -> int:
        return len(self.pixels)


def make_view(
    features: FeatureSet, camera: CameraModel, T_base_camera: Array, min_static_probability: float
) -> View:
    """Return the view of features that stand still."""
    still = features.static_probability >= min_static_probability
    return View(
        features.stamp_ns,
        camera,
        T_base_camera,
        camera.undistort(features.uv[still]),
        features.points[still, 2].astype(float),
        features.static_probability[still],
        features.descriptors[still],
    )


@dataclass(frozen=True, slots=True, eq=False)
class Fix:
    """A view's pose relative to a keyframe: base in the keyframe's base, with its covariance."""

    keyframe: int
    T_keyframe_base: Array
    covariance: Array
    matched: int
    inliers: int


class Tracker:
    """Registers views to keyframes."""

    def __init__(self, config: SlamConfig) -> None:
        self._config = config
        self._noise = SensorNoise(config.pixel_sigma, config.depth_sigma, config.depth_floor)

    def fix(
        self, view: View, keyframe: Keyframe, T_map_keyframe: Array, prediction: PoseEstimate
    ) -> tuple[int, Fix | None]:
        """Return how many features match, and the pose of the view if they agree on one."""
        pairs = match(
            keyframe.descriptors,
            view.descriptors,
            min_similarity=self._config.min_similarity,
            max_ratio=self._config.max_ratio,
            allowed=self._reachable(view, keyframe, T_map_keyframe, prediction),
        )
        of_keyframe, of_view = pairs[:, 0], pairs[:, 1]
        points = keyframe.points[of_keyframe]
        matches = Matches(
            points,
            point_covariances(points, keyframe.camera, self._noise),
            view.pixels[of_view],
            view.depths[of_view],
            (keyframe.static_probability[of_keyframe] * view.static_probability[of_view]).astype(
                float
            ),
        )
        seed = self._config.seed + view.stamp_ns % 2**31
        found = register(matches, view.camera, self._noise, self._config.min_inliers, seed)
        if found is None:
            return len(pairs), None
        T_keyframe_base = (
            keyframe.T_base_camera @ found.T_keyframe_camera @ invert(view.T_base_camera)
        )
        covariance = se3.change_frame(found.covariance, view.T_base_camera)
        covariance += se3.isotropic(ROTATION_FLOOR, TRANSLATION_FLOOR)
        inliers = int(found.inliers.sum())
        return len(pairs), Fix(keyframe.id, T_keyframe_base, covariance, len(pairs), inliers)

    def _reachable(
        self, view: View, keyframe: Keyframe, T_map_keyframe: Array, prediction: PoseEstimate
    ) -> NDArray[np.bool_]:
        """Return which points (A) can be at which pixels (B) of the view, given the prediction.

        The radius is the prediction's error carried into the image.
        """
        T_map_camera = prediction.T_map_base @ view.T_base_camera
        T_camera_keyframe = invert(T_map_camera) @ T_map_keyframe @ keyframe.T_base_camera
        points = transform_points(T_camera_keyframe, keyframe.points)
        sigma = np.sqrt(
            np.diag(se3.change_frame(prediction.covariance, invert(view.T_base_camera)))
        )
        z = np.maximum(points[:, 2], 0.05)
        focal = max(view.camera.fx, view.camera.fy)
        u = view.camera.fx * points[:, 0] / z + view.camera.cx
        v = view.camera.fy * points[:, 1] / z + view.camera.cy
        off_axis = np.hypot(points[:, 0], points[:, 1]) / z
        shift = np.linalg.norm(sigma[3:]) * (1.0 + off_axis) / z
        turn = np.linalg.norm(sigma[:3]) * (1.0 + off_axis**2)
        radius = SEARCH_PIXELS + SEARCH_SIGMAS * focal * np.hypot(shift, turn)
        radius[points[:, 2] <= -SEARCH_SIGMAS * sigma[5]] = 0.0
        offset_u = u[:, None] - view.pixels[None, :, 0]
        offset_v = v[:, None] - view.pixels[None, :, 1]
        return np.asarray(offset_u**2 + offset_v**2 < radius[:, None] ** 2)


def allowed_by(prediction: PoseEstimate, fix: Fix, T_map_keyframe: Array) -> bool:
    """Return whether the prediction's and the fix's errors explain how far they are apart."""
    offset = _offset(prediction, fix, T_map_keyframe)
    return se3.mahalanobis_squared(offset, prediction.covariance + fix.covariance) < GATE


def fuse(prediction: PoseEstimate, fixes: Sequence[Fix], keyframe_poses: Array) -> PoseEstimate:
    """Return the pose that fits the prediction and the fixes best, by their covariances."""
    information = np.linalg.inv(prediction.covariance)
    pull = np.zeros(6)
    for fix in fixes:
        # All fixes share the view's own errors, so n of them do not count n times.
        weight = np.linalg.inv(fix.covariance) / len(fixes)
        information = information + weight
        pull += weight @ _offset(prediction, fix, keyframe_poses[fix.keyframe])
    covariance = np.linalg.inv(information)
    return PoseEstimate(prediction.T_map_base @ se3.exp(covariance @ pull), covariance)


def _offset(prediction: PoseEstimate, fix: Fix, T_map_keyframe: Array) -> Array:
    return se3.log(invert(prediction.T_map_base) @ T_map_keyframe @ fix.T_keyframe_base)
