# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The tangent space of rigid transforms.

Throughout this room a small error of a pose is xi (6,): rotation (radians) first, translation
(metres) second, applied on the right, `T = T_mean @ exp(xi)`, and a covariance (6, 6) is that of
xi. This is gtsam's convention for Pose3, so covariances go into factors as they are.
"""

import gtsam
import numpy as np

from pervformer_ros.geometry import Array, invert


def exp(xi: Array) -> Array:
    """Return the transform (4, 4) of a tangent vector (6,)."""
    return np.asarray(gtsam.Pose3.Expmap(xi).matrix(), float)


def log(T: Array) -> Array:
    """Return the tangent vector (6,) of a transform (4, 4)."""
    return np.asarray(gtsam.Pose3.Logmap(gtsam.Pose3(T)), float)


def adjoint(T: Array) -> Array:
    """Return the (6, 6) matrix A with `T @ exp(xi) == exp(A @ xi) @ T`."""
    return np.asarray(gtsam.Pose3(T).AdjointMap(), float)


def normalise(T: Array) -> Array:
    """Return T with its rotation made orthonormal.

    Rounding errors of a product of poses grow like its length, and where one factor is the inverse
    of another, taken by transposing, they grow exponentially: what is fed back must pass here.
    """
    exact: Array = np.array(T, float)
    R = exact[:3, :3]
    # One step towards the nearest rotation (Bjorck and Bowie 1971): it squares the error.
    exact[:3, :3] = 1.5 * R - 0.5 * R @ (R.T @ R)
    return exact


def rotation_vector(T: Array) -> Array:
    """Return the rotation of T as axis times angle, (3,) radians.

    As `geometry.rotation_vector`, but by gtsam: a tenth of the time, for what every frame asks.
    """
    return log(T)[:3]


def rotation_angle(T: Array) -> float:
    """Return the angle of the rotation of T, in radians, in [0, pi]."""
    return float(np.linalg.norm(rotation_vector(T)))


def change_frame(covariance: Array, T_new_old: Array) -> Array:
    """Return the covariance of a body's pose as that of a frame fixed to the body.

    If `covariance` (6, 6) is that of T_w_old, the result is that of T_w_new.
    """
    A = adjoint(T_new_old)
    return np.asarray(A @ covariance @ A.T, float)


def compose(first: Array, T_second: Array, second: Array) -> Array:
    """Return the covariance of `T_first @ T_second` from those of its two factors."""
    return change_frame(first, invert(T_second)) + second


def in_fixed_axes(covariance: Array, T_fixed_body: Array) -> Array:
    """Return a covariance as ROS writes it: translation first, along and about the fixed axes."""
    R = np.kron(np.eye(2), T_fixed_body[:3, :3])
    swap = np.roll(np.eye(6), 3, axis=1)
    return np.asarray(swap @ R @ covariance @ R.T @ swap.T, float)


def isotropic(rotation: float, translation: float) -> Array:
    """Return the covariance with these standard deviations in radians and metres."""
    return np.diag([rotation**2] * 3 + [translation**2] * 3)


def mahalanobis_squared(xi: Array, covariance: Array) -> float:
    """Return the squared length of xi (6,) in units of its covariance (6, 6)."""
    return float(xi @ np.linalg.solve(covariance, xi))
