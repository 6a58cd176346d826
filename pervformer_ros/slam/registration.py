# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Registration of one view against a keyframe's 3D points: the pose and how far to trust it.

A robust least-squares fit over pixels and depths, from a proposed pose on, gives the pose, and its
covariance from the same Jacobians. Each match is weighed by the noise of all that was measured: the
pixel and depth now, and the pixel and depth from which the keyframe's point was made, whose error
is carried into the image by the pose.

Perception says how likely each match stands still, and may be wrong. Each is believed to by that
and by how it fits (Bayes): what is taken for moving, but fits, is used all the same.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import CameraModel
from pervformer_ros.geometry import Array, invert, transform_points
from pervformer_ros.slam import se3
from pervformer_ros.slam.matches import NO_DEPTH_VARIANCE, Matches, SensorNoise
from pervformer_ros.slam.proposals import propose

# Squared Mahalanobis length (3 degrees of freedom) that 99.9 % of true matches stay below.
INLIER_LIMIT = 16.3
# How likely a residual within the limit is for what moves, against a perfect one of what does not.
MOVING_LIKELIHOOD = 0.001
# Cauchy's scale. What fits badly is wrong in a way of its own: where a near edge crosses what is
# behind it, or a neighbour was taken for the point, the image moves differently from the room, and
# mostly less. So the kernel is narrow: two thirds efficient where all noise is Gaussian after all.
CAUCHY_SQUARED = 0.5
# What that does, by how many numbers a match has, where all noise is Gaussian: the variance of the
# estimate, times the mean weight; and the mean squared residual of a number as the weights see it.
GAUSSIAN = {2: (0.51, 0.50), 3: (0.34, 0.57)}
FIT_ITERATIONS = 16
# The noise in the image hardly changes with the pose: it is reckoned anew so many times.
NOISE_ITERATIONS = 2
# A fit has settled when a step's squared length, in units of the pose's own error, is below this.
SETTLED = 1e-5
MIN_CONDITION = 1e-12
# A pose less certain than this says nothing that odometry could not say better.
MAX_ROTATION_SIGMA = 0.2
MAX_TRANSLATION_SIGMA = 0.5
# A direction less certain than this (metres, and radians at the distance of LEVER) is degenerate:
# points that are few, far or on one plane hide their outliers in it, so it counts for even less.
DEGENERATE = 0.08
LEVER = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """The view's camera in the keyframe's camera, its covariance, and which matches agree."""

    T_keyframe_camera: Array
    covariance: Array
    inliers: NDArray[np.bool_]


def register(
    matches: Matches, camera: CameraModel, noise: SensorNoise, min_inliers: int, seed: int = 0
) -> Registration | None:
    """Return the pose that the matches agree on, or None where they do not pin one down."""
    T = propose(matches, camera, noise, min_inliers, seed)
    return None if T is None else _fit(matches, camera, noise, min_inliers, T)


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
    observed = 3 if np.isfinite(matches.depths).mean() > 0.5 else 2
    varies, usual = GAUSSIAN[observed]
    scatter = float((weights * squared).sum() / max(weights.sum(), 1e-9) / observed)
    covariance = np.linalg.inv(normal) * varies * max(1.0, scatter / usual)
    sigma = np.sqrt(np.diag(covariance))
    if sigma[:3].max() > MAX_ROTATION_SIGMA or sigma[3:].max() > MAX_TRANSLATION_SIGMA:
        return None
    return Registration(T, _without_degenerate(covariance), inliers)


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
