# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms as (4, 4) float64 matrices.

`T_a_b` takes a point given in frame b to frame a, so `T_a_c = T_a_b @ T_b_c`. Metres and radians;
quaternions are (x, y, z, w) as in ROS messages.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation, Slerp

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """Poses over time: stamps_ns (N,) int64, growing; poses (N, 4, 4), such as T_map_base."""

    stamps_ns: NDArray[np.int64]
    poses: Array

    @classmethod
    def of(cls, poses: Iterable[tuple[int, Array]]) -> "Trajectory":
        """Return the trajectory of poses with their stamps, in their order."""
        stamps, matrices = [], []
        for stamp_ns, T in poses:
            stamps.append(stamp_ns)
            matrices.append(T)
        return cls(np.array(stamps, np.int64), np.array(matrices, float).reshape(-1, 4, 4))

    def __len__(self) -> int:
        return len(self.stamps_ns)


def make_transform(translation: ArrayLike, quaternion: ArrayLike) -> Array:
    """Return the transform with this translation (3,) and quaternion (4,), which is normalised.

    Raises:
        ValueError: if a number is not finite or the quaternion is zero.
    """
    q = np.asarray(quaternion, float)
    T = np.eye(4)
    T[:3, 3] = np.asarray(translation, float)
    if not (np.isfinite(T).all() and np.isfinite(q).all()):
        raise ValueError("a pose holds a number that is not finite")
    if np.linalg.norm(q) < 1e-6:
        raise ValueError("a pose holds a zero quaternion: fill in its orientation (w = 1)")
    T[:3, :3] = Rotation.from_quat(q).as_matrix()
    return T


def make_rotation(rotation_vector: ArrayLike) -> Array:
    """Return the pure rotation about this axis (3,) by its length in radians."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(np.asarray(rotation_vector, float)).as_matrix()
    return T


def quaternion(T: Array) -> Array:
    """Return the rotation of T as (x, y, z, w)."""
    return np.asarray(Rotation.from_matrix(T[:3, :3]).as_quat(), float)


def rotation_vector(T: Array) -> Array:
    """Return the rotation of T as axis times angle, (3,) radians."""
    return np.asarray(Rotation.from_matrix(T[:3, :3]).as_rotvec(), float)


def rotation_angle(T: Array) -> float:
    """Return the angle of the rotation of T, in radians, in [0, pi]."""
    return float(np.linalg.norm(rotation_vector(T)))


def invert(T: Array) -> Array:
    """Return the inverse of a rigid transform."""
    inverse = np.eye(4)
    inverse[:3, :3] = T[:3, :3].T
    inverse[:3, 3] = -T[:3, :3].T @ T[:3, 3]
    return inverse


def interpolate(T_0: Array, T_1: Array, fraction: float) -> Array:
    """Return the pose at `fraction` of the way from T_0 to T_1; outside [0, 1] it extrapolates.

    Translation is linear and rotation follows the great circle.
    """
    T = np.eye(4)
    T[:3, 3] = (1.0 - fraction) * T_0[:3, 3] + fraction * T_1[:3, 3]
    if 0.0 <= fraction <= 1.0:
        ends = Rotation.from_matrix(np.stack([T_0[:3, :3], T_1[:3, :3]]))
        T[:3, :3] = Slerp([0.0, 1.0], ends)(fraction).as_matrix()
    else:
        turn = rotation_vector(invert(T_0) @ T_1)
        T[:3, :3] = T_0[:3, :3] @ Rotation.from_rotvec(fraction * turn).as_matrix()
    return T


def transform_points(T: Array, points: NDArray[np.floating]) -> Array:
    """Apply T to points (..., 3)."""
    return np.asarray(points @ T[:3, :3].T + T[:3, 3], float)
