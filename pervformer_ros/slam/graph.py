# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The pose graph of keyframes, solved incrementally by iSAM2 (Kaess et al. 2012)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import gtsam
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.geometry import Array

# The first keyframe defines the map.
ORIGIN_SIGMA = 1e-4
# In units of the whitened error's length, of which the expected one is sqrt(6) = 2.45.
ROBUST_SCALE = 3.0
UP = np.array([0.0, 0.0, 1.0])
# iSAM2 relinearises a pose that moved by this much (radians, metres).
RELINEARISE = 1e-3


class EdgeKind(str, Enum):
    """What tells two keyframes' relative pose."""

    ODOMETRY = "odometry"
    VISUAL = "visual"
    LOOP = "loop"
    GAP = "gap"  # nothing but the guess that the robot did not go far


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """The measured pose of keyframe `second` in keyframe `first`, with its covariance (6, 6)."""

    first: int
    second: int
    kind: EdgeKind
    T_first_second: Array
    covariance: Array


@dataclass(frozen=True, slots=True, eq=False)
class PoseGraph:
    """A snapshot: keyframe_ids (N,), stamps_ns (N,), poses (N, 4, 4) T_map_base, and the edges."""

    keyframe_ids: NDArray[np.int64]
    stamps_ns: NDArray[np.int64]
    poses: Array
    edges: tuple[Edge, ...]


class GraphOptimiser:
    """Holds one pose per keyframe, numbered from 0, and moves them to fit the edges."""

    def __init__(self) -> None:
        parameters = gtsam.ISAM2Params()
        parameters.setRelinearizeThreshold(RELINEARISE)
        parameters.relinearizeSkip = 1
        self._isam = gtsam.ISAM2(parameters)
        self._stamps_ns: list[int] = []
        self._edges: list[Edge] = []
        self._poses: Array = np.empty((0, 4, 4))

    def add(
        self,
        stamp_ns: int,
        T_map_base: Array,
        edges: Sequence[Edge],
        up: Array | None = None,
        up_sigma: float = 1.0,
    ) -> Array:
        """Append a keyframe with a first guess of its pose and what holds it.

        Args:
            stamp_ns: its stamp.
            T_map_base: the guess.
            edges: to keyframes before it, at least one but for the first.
            up: (3,) the direction of the map's z in the keyframe's base, if something tells it,
            up_sigma: with this error in radians.

        Returns:
            The poses (N, 4, 4) of all keyframes that now fit best.

        Raises:
            ValueError: if no edge links the keyframe to those before it.
        """
        key = len(self._stamps_ns)
        if key > 0 and not any(key in (e.first, e.second) for e in edges):
            raise ValueError(f"keyframe {key} is not linked to the graph")
        factors, guesses = gtsam.NonlinearFactorGraph(), gtsam.Values()
        if key == 0:
            origin = gtsam.noiseModel.Isotropic.Sigma(6, ORIGIN_SIGMA)
            factors.add(gtsam.PriorFactorPose3(key, gtsam.Pose3(T_map_base), origin))
        for edge in edges:
            factors.add(_factor(edge))
        if up is not None:
            factors.add(_attitude_factor(key, up, up_sigma))
        guesses.insert(key, gtsam.Pose3(T_map_base))
        self._isam.update(factors, guesses)
        # The robust weights follow the poses, so one more pass lets them settle.
        self._isam.update()
        self._stamps_ns.append(stamp_ns)
        self._edges.extend(edges)
        self._poses = self._solution()
        return self._poses

    @property
    def edges(self) -> Sequence[Edge]:
        """All edges, oldest first."""
        return self._edges

    def snapshot(self) -> PoseGraph:
        """Return the graph as it is now."""
        return PoseGraph(
            np.arange(len(self._stamps_ns), dtype=np.int64),
            np.array(self._stamps_ns, np.int64),
            self._poses.copy(),
            tuple(self._edges),
        )

    def factors(self) -> gtsam.NonlinearFactorGraph:
        """Return the factors as gtsam has them, for another solver to check this one."""
        return self._isam.getFactorsUnsafe()

    def _solution(self) -> Array:
        # One row a pose, in the order of keys: the rotation by rows, then the translation.
        rows = gtsam.utilities.extractPose3(self._isam.calculateEstimate())
        poses = np.tile(np.eye(4), (len(rows), 1, 1))
        poses[:, :3, :3] = rows[:, :9].reshape(-1, 3, 3)
        poses[:, :3, 3] = rows[:, 9:]
        return poses


def _factor(edge: Edge) -> gtsam.BetweenFactorPose3:
    noise: gtsam.noiseModel.Base = gtsam.noiseModel.Gaussian.Covariance(edge.covariance)
    if edge.kind == EdgeKind.ODOMETRY:
        # Wheels slip now and then, and by any amount.
        noise = _robust(gtsam.noiseModel.mEstimator.Huber.Create(ROBUST_SCALE), noise)
    elif edge.kind in (EdgeKind.VISUAL, EdgeKind.LOOP):
        # A wrong view is wrong altogether: its weight vanishes as its error grows.
        noise = _robust(gtsam.noiseModel.mEstimator.Cauchy.Create(ROBUST_SCALE), noise)
    pose = gtsam.Pose3(edge.T_first_second)
    return gtsam.BetweenFactorPose3(edge.first, edge.second, pose, noise)


def _attitude_factor(key: int, up: Array, sigma: float) -> gtsam.AttitudeFactorPose3:
    # Odometry does not tell the slope of a ramp.
    kernel = gtsam.noiseModel.mEstimator.Huber.Create(ROBUST_SCALE)
    noise = _robust(kernel, gtsam.noiseModel.Isotropic.Sigma(2, sigma))
    return gtsam.AttitudeFactorPose3(key, gtsam.Unit3(UP), noise, gtsam.Unit3(up))


def _robust(
    kernel: gtsam.noiseModel.mEstimator.Base, noise: gtsam.noiseModel.Base
) -> gtsam.noiseModel.Base:
    return gtsam.noiseModel.Robust.Create(kernel, noise)
