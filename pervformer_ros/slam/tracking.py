# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One view against the map: matches near where they should be, a pose from them, and its gate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.geometry import Array, invert, transform_points
from pervformer_ros.slam import se3
from pervformer_ros.slam.calibration import OdometryCalibration
from pervformer_ros.slam.config import SlamConfig
from pervformer_ros.slam.keyframe import Keyframe, KeyframeMap
from pervformer_ros.slam.matches import Matches, SensorNoise, point_covariances
from pervformer_ros.slam.matching import match
from pervformer_ros.slam.motion import PoseEstimate
from pervformer_ros.slam.odometry import link
from pervformer_ros.slam.registration import register
from pervformer_ros.slam.view import View

# What no noise model of single features knows: calibration, rolling shutter, stamps that differ.
ROTATION_FLOOR = np.radians(0.15)
TRANSLATION_FLOOR = 0.004
# Squared Mahalanobis length (6 degrees of freedom) that 99.99 % of true poses stay below.
GATE = 27.9
# A match is looked for within so many standard deviations of the predicted pixel, plus some pixels.
SEARCH_SIGMAS = 4.0
SEARCH_PIXELS = 6.0
# Without a prediction every feature competes with all others, and chance fits more of them.
PLACE_RATIO = 0.9
# So many groups of matches that agree among themselves are tried against the prediction.
MAX_HYPOTHESES = 3
ROWS_AT_A_TIME = 64
# Wheels that slip turn the robot and move it by so much at once, radians and metres; then so many
# matches of what stands still say so, and most of all there are.
SLIP_ROTATION, SLIP_POSITION = 0.1, 0.05
SLIP_INLIERS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Fix:
    """A view's pose relative to a keyframe: base in the keyframe's base, with its covariance.

    agreeing: (M,) which of the matches it was made from agree on it.
    standing: how many of these perception expects to stand still.
    """

    keyframe: int
    T_keyframe_base: Array
    covariance: Array
    agreeing: NDArray[np.bool_]
    standing: int

    @property
    def inliers(self) -> int:
        """How many matches agree on this pose."""
        return int(self.agreeing.sum())


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """How it went: how many features matched, the fix, and how many others were not credible."""

    matched: int
    fix: Fix | None
    refused: int


class Tracker:
    """Registers views to keyframes."""

    def __init__(self, config: SlamConfig, calibration: OdometryCalibration) -> None:
        self._config = config
        self._calibration = calibration
        self._noise = SensorNoise(config.pixel_sigma, config.depth_sigma)

    def track(
        self, view: View, keyframe: Keyframe, T_map_keyframe: Array, prediction: PoseEstimate
    ) -> Attempt:
        """Register a view to a keyframe that is at T_map_keyframe, near where it is predicted."""
        pairs = match(
            keyframe.descriptors,
            view.descriptors,
            min_similarity=self._config.min_similarity,
            max_ratio=self._config.max_ratio,
            allowed=self._reachable(view, keyframe, T_map_keyframe, prediction),
        )
        remaining = self._matches(view, keyframe, pairs)
        refused, least = 0, self._config.min_inliers
        # Where most of the view moves along with something, the room is the next best hypothesis.
        while refused < MAX_HYPOTHESES:
            fix = self._fix(view, keyframe, remaining, (1 + bool(refused)) * least)
            if fix is None or self._is_credible(fix, view, keyframe, T_map_keyframe, prediction):
                return Attempt(len(pairs), fix, refused)
            remaining = remaining.take(~fix.agreeing)
            refused += 1
        return Attempt(len(pairs), None, refused)

    def recognise(self, view: View, keyframe: Keyframe) -> Attempt:
        """Register a view to a keyframe, wherever the view may be from."""
        pairs = match(
            keyframe.descriptors,
            view.descriptors,
            min_similarity=self._config.min_similarity,
            max_ratio=PLACE_RATIO,
        )
        return Attempt(
            len(pairs),
            self._fix(
                view, keyframe, self._matches(view, keyframe, pairs), self._config.min_inliers
            ),
            0,
        )

    def find_slip(
        self, view: View, keyframe: Keyframe, T_map_keyframe: Array, prediction: PoseEstimate
    ) -> Fix | None:
        """Return a fix so well founded that the wheels must have slipped, None without one.

        A slip turns the robot by ten degrees in a moment, on which no noise of wheels reckons: the
        keyframe's points are then out of the windows in which they are looked for.
        """
        attempt = self.recognise(view, keyframe)
        fix = attempt.fix
        if fix is None or fix.standing < max(SLIP_INLIERS, attempt.matched // 2):
            return None
        return fix if can_be_at(fix, T_map_keyframe, slipped(prediction)) else None

    def _is_credible(
        self,
        fix: Fix,
        view: View,
        keyframe: Keyframe,
        T_map_keyframe: Array,
        prediction: PoseEstimate,
    ) -> bool:
        """Return whether the errors of both explain how far the fix is from what was expected.

        Odometry since the keyframe is asked too: the prediction may be unsure of where the robot is
        and yet odometry sure of how it went since a keyframe that is no better placed.
        """
        if not can_be_at(fix, T_map_keyframe, prediction):
            return False
        way = link(keyframe.reading, view.reading)
        if way is None:
            return True
        seconds = (view.stamp_ns - keyframe.stamp_ns) * 1e-9
        offset = se3.log(invert(way.T_first_second) @ fix.T_keyframe_base)
        covariance = self._calibration.noise.of_unconfirmed(way, seconds) + fix.covariance
        return se3.mahalanobis_squared(offset, covariance) < GATE

    def _matches(self, view: View, keyframe: Keyframe, pairs: NDArray[np.intp]) -> Matches:
        of_keyframe, of_view = pairs[:, 0], pairs[:, 1]
        points = keyframe.points[of_keyframe]
        # What perception takes for moving in one image it does in others, right or wrong.
        still = np.minimum(
            keyframe.static_probability[of_keyframe], view.static_probability[of_view]
        )
        return Matches(
            points,
            point_covariances(points, keyframe.camera, self._noise),
            view.pixels[of_view],
            view.points[of_view, 2],
            still.astype(float),
        )

    def _fix(self, view: View, keyframe: Keyframe, matches: Matches, least: int) -> Fix | None:
        seed = self._config.seed + view.stamp_ns % 2**31
        found = register(matches, view.camera, self._noise, least, seed)
        if found is None:
            return None
        standing = int(matches.is_still[found.inliers].sum())
        if standing < least:  # what moves and fills the view offers a pose of its own
            return None
        covariance = se3.change_frame(found.covariance, view.T_base_camera)
        return Fix(
            keyframe.id,
            keyframe.T_base_camera @ found.T_keyframe_camera @ invert(view.T_base_camera),
            covariance + se3.isotropic(ROTATION_FLOOR, TRANSLATION_FLOOR),
            found.inliers,
            standing,
        )

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
        return _within(np.stack([u, v], axis=1), view.pixels, radius)


def slipped(prediction: PoseEstimate) -> PoseEstimate:
    """Return what is left of a prediction by wheels that have slipped."""
    slip = se3.isotropic(SLIP_ROTATION, SLIP_POSITION)
    return PoseEstimate(prediction.T_map_base, prediction.covariance + slip)


def can_be_at(fix: Fix, T_map_keyframe: Array, prediction: PoseEstimate) -> bool:
    """Return whether a fix to a keyframe at T_map_keyframe is within the errors of a prediction."""
    offset = _offset(prediction, fix, T_map_keyframe)
    return se3.mahalanobis_squared(offset, prediction.covariance + fix.covariance) <= GATE


def _within(centres: Array, pixels: Array, radius: Array) -> NDArray[np.bool_]:
    """Return which pixels (B, 2) are within the radius (A,) of which centres (A, 2)."""
    # In single precision, in place and a few rows at a time: memory is what takes the time.
    across, down = np.ascontiguousarray(pixels.T, np.float32)
    u, v = np.ascontiguousarray(centres.T, np.float32)[:, :, None]
    limit = (radius**2).astype(np.float32)[:, None]
    near = np.empty((len(u), len(across)), bool)
    distance, offset = np.empty((2, ROWS_AT_A_TIME, len(across)), np.float32)
    for start in range(0, len(u), ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        d, o = distance[: len(u[rows])], offset[: len(u[rows])]
        np.subtract(u[rows], across, out=d)
        np.subtract(v[rows], down, out=o)
        d *= d
        o *= o
        d += o
        np.less(d, limit[rows], out=near[rows])
    return near


def fuse(prediction: PoseEstimate, fixes: Sequence[Fix], keyframes: KeyframeMap) -> PoseEstimate:
    """Return the pose that fits the prediction and the fixes best, by their covariances.

    A fix to a keyframe that the map has drifted from tells little of where the robot is in the map
    of now.
    """
    information = np.linalg.inv(prediction.covariance)
    pull = np.zeros(6)
    for fix in fixes:
        # All fixes share the view's own errors, so n of them do not count n times.
        weight = np.linalg.inv(fix.covariance + keyframes.drift_of(fix.keyframe)) / len(fixes)
        information = information + weight
        pull += weight @ _offset(prediction, fix, keyframes.poses[fix.keyframe])
    covariance = np.linalg.inv(information)
    return PoseEstimate(prediction.T_map_base @ se3.exp(covariance @ pull), covariance)


def _offset(prediction: PoseEstimate, fix: Fix, T_map_keyframe: Array) -> Array:
    return se3.log(invert(prediction.T_map_base) @ T_map_keyframe @ fix.T_keyframe_base)
