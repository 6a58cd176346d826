# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Descriptors: how many matches between views some time apart are true, and what pose they give.

ORB and the model's keypoints are judged alike: as many of each in every image, the best ones;
matches are mutual nearest neighbours, without thresholds that would suit one kind of descriptor.
What moves is not left out: a match on it is a false one.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.features import Keypoints, lift
from pervformer_ros.frame import NANOSECONDS, CameraModel, Frame
from pervformer_ros.geometry import Array, invert, rotation_angle, transform_points
from pervformer_ros.slam.matching import match

EVERY_S = 0.5  # between views; with frames at 15 Hz 0.53
LONGEST_S = 2.0
TRUE_PIXELS = 3.0
RANSAC_ITERATIONS = 300
GOOD_M, GOOD_DEG = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class PairScore:
    """Two views matched, with so many keypoints of each.

    matches: those whose true place depth and pose tell. inliers: true ones.
    error_m, error_deg: of the pose that PnP gives, infinite where it gives none.
    """

    keypoints: int
    matches: int
    inliers: int
    error_m: float
    error_deg: float


@dataclass(frozen=True, slots=True)
class Matching:
    """Pairs summed up; None = cannot tell.

    keypoints: per view. inlier_ratio: true matches of all. inliers: per pair.
    pose_error_m, pose_error_deg: median. pose_good: part of poses within GOOD_M and GOOD_DEG.
    """

    pairs: int
    keypoints: float | None = None
    inlier_ratio: float | None = None
    inliers: float | None = None
    pose_error_m: float | None = None
    pose_error_deg: float | None = None
    pose_good: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """points: (K, 3) in the camera, NaN without depth. pixels: (K, 2) without distortion."""

    stamp_ns: int
    camera: CameraModel
    T_map_camera: Array
    points: dict[str, Array]
    pixels: dict[str, Array]
    descriptors: dict[str, NDArray[np.floating]]


class MatchingBench:
    """Takes a run's frames and matches each view with those before it, by several methods.

    scores: by method.
    """

    def __init__(self) -> None:
        self.scores: dict[str, list[PairScore]] = {}
        self._views: deque[_View] = deque()

    def wants(self, frame: Frame) -> bool:
        """Return whether the next view is due."""
        latest = self._views[-1].stamp_ns if self._views else None
        due = latest is None or frame.stamp_ns - latest >= EVERY_S * NANOSECONDS
        return due and frame.depth is not None

    def add(self, frame: Frame, T_map_base: Array, methods: dict[str, Keypoints]) -> None:
        """Take a view.

        Args:
            frame: with depth.
            T_map_base: where the robot truly was.
            methods: what each found, best first.
        """
        view = _view(frame, T_map_base, methods)
        while self._views and view.stamp_ns - self._views[0].stamp_ns > LONGEST_S * NANOSECONDS:
            self._views.popleft()
        for before in self._views:
            for method in methods:
                self.scores.setdefault(method, []).append(_judge(before, view, method))
        self._views.append(view)


def summarise(scores: Sequence[PairScore]) -> Matching:
    """Sum up pairs, of one run or several."""
    if not scores:
        return Matching(0)
    matches = sum(s.matches for s in scores)
    errors = np.array([(s.error_m, s.error_deg) for s in scores])
    medians = [float(m) if np.isfinite(m) else None for m in np.median(errors, axis=0)]
    return Matching(
        pairs=len(scores),
        keypoints=float(np.mean([s.keypoints for s in scores])),
        inlier_ratio=sum(s.inliers for s in scores) / matches if matches else None,
        inliers=float(np.mean([s.inliers for s in scores])),
        pose_error_m=medians[0],
        pose_error_deg=medians[1],
        pose_good=float((errors <= (GOOD_M, GOOD_DEG)).all(axis=1).mean()),
    )


def _view(frame: Frame, T_map_base: Array, methods: dict[str, Keypoints]) -> _View:
    count = min(len(found.uv) for found in methods.values())
    best = dict(_best(methods, count))
    return _View(
        frame.stamp_ns,
        frame.camera,
        T_map_base @ frame.T_base_camera,
        {n: lift(f.uv, frame.depth, frame.camera).astype(float) for n, f in best.items()},
        {n: frame.camera.undistort(f.uv) for n, f in best.items()},
        {n: f.descriptors for n, f in best.items()},
    )


def _best(methods: dict[str, Keypoints], count: int) -> Iterator[tuple[str, Keypoints]]:
    for name, found in methods.items():
        order = np.argsort(-found.score, kind="stable")[:count]
        yield name, Keypoints(found.uv[order], found.score[order], found.descriptors[order])


def _judge(before: _View, now: _View, method: str) -> PairScore:
    pairs = match(
        before.descriptors[method], now.descriptors[method], min_similarity=-1.0, max_ratio=1.0
    )
    points, pixels = before.points[method][pairs[:, 0]], now.pixels[method][pairs[:, 1]]
    told = np.isfinite(points[:, 2])
    points, pixels = points[told], pixels[told]
    T_now_before = invert(now.T_map_camera) @ before.T_map_camera
    off = _reprojection_error(transform_points(T_now_before, points), pixels, now.camera)
    inliers = int((off <= TRUE_PIXELS).sum())
    found = _pose(points, pixels, now.camera)
    keypoints = len(now.pixels[method])
    if found is None:
        return PairScore(keypoints, len(points), inliers, np.inf, np.inf)
    wrong = invert(T_now_before) @ found
    return PairScore(
        keypoints,
        len(points),
        inliers,
        float(np.linalg.norm(wrong[:3, 3])),
        float(np.degrees(rotation_angle(wrong))),
    )


def _reprojection_error(points: Array, pixels: Array, camera: CameraModel) -> Array:
    """Return how far from pixels (K, 2) points (K, 3) fall, infinite behind the camera."""
    front = points[:, 2] > 0
    error = np.full(len(points), np.inf)
    ideal = points[front] @ camera.K.T
    error[front] = np.linalg.norm(ideal[:, :2] / ideal[:, 2:] - pixels[front], axis=1)
    return error


def _pose(points: Array, pixels: Array, camera: CameraModel) -> Array | None:
    """Return T_now_before by RANSAC over PnP, refined on its inliers; None where there is none."""
    if len(points) < 6:
        return None
    cv2.setRNGSeed(0)
    try:
        found, rotation, translation, inliers = cv2.solvePnPRansac(
            points,
            pixels,
            camera.K,
            None,
            iterationsCount=RANSAC_ITERATIONS,
            reprojectionError=TRUE_PIXELS,
            confidence=0.999,
        )
    except cv2.error:  # a sample that no pose fits
        return None
    if not found or inliers is None or len(inliers) < 6:
        return None
    T = np.eye(4)
    T[:3, :3] = cv2.Rodrigues(rotation)[0]
    T[:3, 3] = np.asarray(translation).ravel()
    return T if np.isfinite(T).all() else None
