# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Registration of one view against a keyframe's 3D points: the pose and how far to trust it.

RANSAC over P3P finds the matches that agree; a robust least-squares fit over their pixels and
depths then gives the pose, and its covariance from the same Jacobians. Each match is weighed by
the noise of all that was measured: the pixel and depth now, and the pixel and depth from which the
keyframe's point was made, whose error is carried into the image by the pose.

Perception says how likely each match stands still, and may be wrong. Two poses are proposed: one
that those agree on which likely stand still, and one of all; the one is taken under which what
perception says and how the matches fit are likelier together. Each match is then believed to stand
still by both (Bayes): what is taken for moving, but fits, is used all the same.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import CameraModel
from pervformer_ros.geometry import Array, invert, transform_points
from pervformer_ros.slam import se3

# No depth is more exact than this, however near (metres).
DEPTH_FLOOR = 0.002
RANSAC_ITERATIONS = 200
RANSAC_PIXELS = 3.0
# Squared Mahalanobis length (3 degrees of freedom) that 99.9 % of true matches stay below.
INLIER_LIMIT = 16.3
# How likely a residual within the limit is for what moves, against a perfect one of what does not.
MOVING_LIKELIHOOD = 0.001
# Cauchy's scale: 95 % efficient where the noise is Gaussian after all.
CAUCHY_SQUARED = 2.385**2
FIT_ITERATIONS = 8
# The noise in the image hardly changes with the pose: it is reckoned anew so many times.
NOISE_ITERATIONS = 2
# A fit has settled when a step's squared length, in units of the pose's own error, is below this.
SETTLED = 1e-4
MIN_CONDITION = 1e-12
# Sampling sees at most so many matches of each cell of the image (bucketing, Geiger et al. 2011): a
# small thing full of texture must not outvote the room behind it.
CELL_PIXELS = 40
MATCHES_PER_CELL = 5
# Stands in for the depth noise of a pixel without depth.
NO_DEPTH_VARIANCE = 1e6
# A pose less certain than this says nothing that odometry could not say better.
MAX_ROTATION_SIGMA = 0.2
MAX_TRANSLATION_SIGMA = 0.5
# A direction less certain than this (metres, and radians at the distance of LEVER) is degenerate:
# points that are few, far or on one plane hide their outliers in it, so it counts for even less.
DEGENERATE = 0.08
LEVER = 3.0


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

    def take(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> "Matches":
        """Return the chosen matches."""
        return Matches(
            self.points[chosen],
            self.point_covariances[chosen],
            self.pixels[chosen],
            self.depths[chosen],
            self.static_probability[chosen],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """The view's camera in the keyframe's camera, its covariance, and which matches agree."""

    T_keyframe_camera: Array
    covariance: Array
    inliers: NDArray[np.bool_]


def point_covariances(points: Array, camera: CameraModel, noise: SensorNoise) -> Array:
    """Return the covariances (K, 3, 3) of points (K, 3) made from a pixel and a depth each."""
    z = points[:, 2]
    ray = points / z[:, None]
    along = ray[:, :, None] * ray[:, None, :] * noise.depth_variance(z)[:, None, None]
    along[:, 0, 0] += (noise.pixel / camera.fx * z) ** 2
    along[:, 1, 1] += (noise.pixel / camera.fy * z) ** 2
    return along


def register(
    matches: Matches,
    camera: CameraModel,
    noise: SensorNoise,
    min_inliers: int,
    seed: int = 0,
    min_static_probability: float = 0.5,
) -> Registration | None:
    """Return the pose that the matches agree on, or None where they do not pin one down."""
    still = matches.static_probability >= min_static_probability
    proposals = [_ransac(matches.take(still), camera, min_inliers, seed)]
    if not still.all():
        proposals.append(_ransac(matches, camera, min_inliers, seed))
    poses = [invert(T) for T in proposals if T is not None]
    if not poses:
        return None
    best = max(poses, key=lambda T: _evidence(matches, camera, noise, T)) if poses[1:] else poses[0]
    return _fit(matches, camera, noise, min_inliers, best)


def _ransac(matches: Matches, camera: CameraModel, min_inliers: int, seed: int) -> Array | None:
    if len(matches) < max(min_inliers, 4):
        return None
    # OpenCV's own generator starts alike on every call, so the seed shuffles what it draws from.
    order = np.random.default_rng(seed).permutation(len(matches))
    sample = order[_first_of_cells(matches.pixels[order])]
    found, rotation, translation, inliers = cv2.solvePnPRansac(
        matches.points[sample],
        matches.pixels[sample],
        camera.K,
        None,
        iterationsCount=RANSAC_ITERATIONS,
        reprojectionError=RANSAC_PIXELS,
        confidence=0.999,
        flags=cv2.SOLVEPNP_P3P,
    )
    if not found or inliers is None or len(inliers) < 4:
        return None
    T = np.eye(4)
    T[:3, :3] = cv2.Rodrigues(rotation)[0]
    T[:3, 3] = translation.ravel()
    return T if np.isfinite(T).all() else None


def _first_of_cells(pixels: Array) -> NDArray[np.bool_]:
    """Return which of pixels (M, 2) are among the first few of their cell."""
    column, row = (pixels // CELL_PIXELS).astype(int).T
    cell = (row - row.min()) * (np.ptp(column) + 1) + column - column.min()
    by_cell = np.argsort(cell, kind="stable")
    ordered = cell[by_cell]
    rank = np.arange(len(cell)) - np.searchsorted(ordered, ordered)
    first = np.empty(len(cell), bool)
    first[by_cell] = rank < MATCHES_PER_CELL
    return first


def _fit(
    matches: Matches,
    camera: CameraModel,
    noise: SensorNoise,
    min_inliers: int,
    T: Array,
) -> Registration | None:
    """Refine by Gauss-Newton with Cauchy weights; see the module's description for the noise."""
    whitening = np.empty(0)
    for iteration in range(FIT_ITERATIONS):
        residuals, projection, points = _project(matches, camera, T)
        if iteration < NOISE_ITERATIONS:
            whitening = _whitening(matches, noise, projection, T)
        residuals = (whitening @ residuals[:, :, None])[:, :, 0]
        squared = (residuals**2).sum(axis=1)
        still = _stands_still(matches.static_probability, squared)
        inliers = still > 0.5
        if inliers.sum() < min_inliers:
            return None
        weights = still / (1.0 + squared / CAUCHY_SQUARED)
        root = np.sqrt(weights)[:, None]
        jacobian = (_jacobians(whitening @ projection, points) * root[:, :, None]).reshape(-1, 6)
        normal = jacobian.T @ jacobian
        eigenvalues = np.linalg.eigvalsh(normal)
        if eigenvalues[0] < MIN_CONDITION * eigenvalues[-1]:
            return None
        pull = jacobian.T @ (residuals * root).ravel()
        step = np.linalg.solve(normal, pull)
        T = T @ se3.exp(step)
        if step @ pull < SETTLED:
            break
    # Where the matches scatter more than the sensors' noise explains, they say less than it claims.
    observed = 3.0 if np.isfinite(matches.depths).mean() > 0.5 else 2.0
    scatter = float((weights * squared).sum() / max(weights.sum(), 1e-9) / observed)
    covariance = np.linalg.inv(normal) * max(1.0, scatter)
    sigma = np.sqrt(np.diag(covariance))
    if sigma[:3].max() > MAX_ROTATION_SIGMA or sigma[3:].max() > MAX_TRANSLATION_SIGMA:
        return None
    return Registration(T, _without_degenerate(covariance), inliers)


def _evidence(
    matches: Matches, camera: CameraModel, noise: SensorNoise, T_keyframe_camera: Array
) -> float:
    """Return the log-likelihood of matches at a pose."""
    residuals, projection, _ = _project(matches, camera, T_keyframe_camera)
    whitening = _whitening(matches, noise, projection, T_keyframe_camera)
    squared = ((whitening @ residuals[:, :, None])[:, :, 0] ** 2).sum(axis=1)
    prior = matches.static_probability
    return float(np.log(prior * np.exp(-0.5 * squared) + MOVING_LIKELIHOOD).sum())


def _stands_still(prior: Array, squared: Array) -> Array:
    """Return how likely matches (M,) stand still by their squared lengths of residuals (M,)."""
    fits = prior * np.exp(-0.5 * squared)
    moves = (1.0 - prior) * MOVING_LIKELIHOOD
    return np.where(squared < INLIER_LIMIT, fits / np.maximum(fits + moves, 1e-300), 0.0)


def _without_degenerate(covariance: Array) -> Array:
    """Return the covariance (6, 6) with its uncertain directions made more so."""
    scale = np.array([LEVER] * 3 + [1.0] * 3)
    variances, axes = np.linalg.eigh(covariance * np.outer(scale, scale))
    variances *= np.maximum(1.0, variances / DEGENERATE**2)
    return np.asarray((axes * variances) @ axes.T / np.outer(scale, scale))


def _project(
    matches: Matches, camera: CameraModel, T_keyframe_camera: Array
) -> tuple[Array, Array, Array]:
    """Return residuals (M, 3) of (u, v, depth), their derivatives (M, 3, 3) by points, and those.

    The points (M, 3) are those seen from the camera. What has no depth has no residual of it.
    """
    points = transform_points(invert(T_keyframe_camera), matches.points)
    x, y, z = points[:, 0], points[:, 1], np.maximum(points[:, 2], 1e-3)
    residuals = np.empty((len(points), 3))
    residuals[:, 0] = matches.pixels[:, 0] - (camera.fx * x / z + camera.cx)
    residuals[:, 1] = matches.pixels[:, 1] - (camera.fy * y / z + camera.cy)
    residuals[:, 2] = np.where(np.isfinite(matches.depths), matches.depths - z, 0.0)
    projection = np.zeros((len(points), 3, 3))
    projection[:, 0, 0] = camera.fx / z
    projection[:, 0, 2] = -camera.fx * x / z**2
    projection[:, 1, 1] = camera.fy / z
    projection[:, 1, 2] = -camera.fy * y / z**2
    projection[:, 2, 2] = 1.0
    return residuals, projection, points


def _jacobians(of_points: Array, points: Array) -> Array:
    """Return the residuals' derivatives (M, 3, 6) by a step of the camera, from those by points.

    A step xi of the camera moves a point, seen from it, by -(rotation x point) - translation.
    """
    x, y, z = points.T[:, :, None]
    by_x, by_y, by_z = of_points[:, :, 0], of_points[:, :, 1], of_points[:, :, 2]
    jacobians = np.empty((len(points), 3, 6))
    jacobians[:, :, 0] = by_y * z - by_z * y
    jacobians[:, :, 1] = by_z * x - by_x * z
    jacobians[:, :, 2] = by_x * y - by_y * x
    jacobians[:, :, 3:] = -of_points
    return jacobians


def _whitening(
    matches: Matches, noise: SensorNoise, projection: Array, T_keyframe_camera: Array
) -> Array:
    """Return what makes the noise (M, 3, 3) of each residual the identity."""
    from_point = projection @ T_keyframe_camera[:3, :3].T
    covariance = from_point @ matches.point_covariances @ from_point.transpose(0, 2, 1)
    covariance[:, 0, 0] += noise.pixel**2
    covariance[:, 1, 1] += noise.pixel**2
    has_depth = np.isfinite(matches.depths)
    covariance[:, 2, 2] += np.where(
        has_depth, noise.depth_variance(np.where(has_depth, matches.depths, 1.0)), NO_DEPTH_VARIANCE
    )
    return np.linalg.inv(np.linalg.cholesky(covariance))
