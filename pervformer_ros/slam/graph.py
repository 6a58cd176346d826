# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The pose graph of keyframes, solved incrementally by iSAM2 (Kaess et al. 2012)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import gtsam
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from pervformer_ros.geometry import Array, invert

# The first keyframe defines the map.
ORIGIN_SIGMA = 1e-4
# Where all edges of a keyframe contradict each other, robust kernels may leave nothing to hold it:
# then its first guess does (radians, metres).
FAINT_ROTATION, FAINT_POSITION = 3.0, 100.0
# In units of the whitened error's length, of which the expected one is sqrt(6) = 2.45.
ROBUST_SCALE = 3.0
# The same for the vertical, of sqrt(2): what drift tilts stays below it, a ramp does not.
LEVEL_SCALE = 1.5
UP = np.array([0.0, 0.0, 1.0])
# iSAM2 relinearises a pose that moved by this much (radians, metres).
RELINEARISE = 1e-3
# What a wrong heading comes to in position is reckoned at this distance at least, metres.
LEVER = 5.0
# A loop moves many poses, and the robust weights follow them: so many passes until they settle.
CLOSING_PASSES = 5


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
class Vertical:
    """The direction `up` (3,) of the map's z in a keyframe's base, to `sigma` radians."""

    keyframe: int
    up: Array
    sigma: float


@dataclass(frozen=True, slots=True, eq=False)
class PoseGraph:
    """A snapshot: keyframe_ids (N,), stamps_ns (N,), poses (N, 4, 4) T_map_base, and their ties."""

    keyframe_ids: NDArray[np.int64]
    stamps_ns: NDArray[np.int64]
    poses: Array
    edges: tuple[Edge, ...]
    verticals: tuple[Vertical, ...] = ()


class _Ties:
    """How strongly pairs of keyframes are tied, all edges of a pair together."""

    def __init__(self) -> None:
        self._index: dict[tuple[int, int], int] = {}
        self._ends = np.zeros((2, 64), np.int64)
        self._information = np.zeros((2, 64))

    @property
    def ends(self) -> NDArray[np.int64]:
        """The keyframes (2, E) of each pair."""
        return self._ends[:, : len(self._index)]

    @property
    def information(self) -> Array:
        """Inverse variances (2, E) of rotation and position."""
        return self._information[:, : len(self._index)]

    def add(self, first: int, second: int, information: Array) -> None:
        """Tie two keyframes more strongly by the information (2,)."""
        pair = min(first, second), max(first, second)
        at = self._index.setdefault(pair, len(self._index))
        if at == self._ends.shape[1]:  # twice the room, so that an edge costs the same at any time
            self._ends = np.concatenate([self._ends, np.zeros_like(self._ends)], axis=1)
            more = np.zeros_like(self._information)
            self._information = np.concatenate([self._information, more], axis=1)
        self._ends[:, at] = pair
        self._information[:, at] += information


class GraphOptimiser:
    """Holds one pose per keyframe, numbered from 0, and moves them to fit the edges."""

    def __init__(self) -> None:
        self._isam = _make_isam("CHOLESKY")
        self._factors = gtsam.NonlinearFactorGraph()
        self._stamps_ns: list[int] = []
        self._edges: list[Edge] = []
        self._verticals: list[Vertical] = []
        self._ties = _Ties()
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
        _hold(factors, key, T_map_base)
        for edge in edges:
            factors.add(_factor(edge))
        if up is not None:
            self._verticals.append(Vertical(key, up, up_sigma))
            factors.add(_attitude_factor(self._verticals[-1]))
        guesses.insert(key, gtsam.Pose3(T_map_base))
        # The robust weights follow the poses, so one more pass lets them settle.
        self._solve(factors, guesses, passes=2)
        self._stamps_ns.append(stamp_ns)
        self._keep(edges)
        self._poses = self._solution()
        return self._poses

    def close(self, edges: Sequence[Edge], poses: Array | None = None) -> Array:
        """Add edges among the keyframes there are.

        Args:
            edges: that were verified.
            poses: (N, 4, 4) a better first guess, if the edges move part of the map far: from where
                it is the optimum might not be found.

        Returns:
            The poses (N, 4, 4) that fit best.
        """
        self._keep(edges)
        if poses is None:
            factors = gtsam.NonlinearFactorGraph()
            for edge in edges:
                factors.add(_factor(edge))
            self._solve(factors, gtsam.Values(), passes=1 + CLOSING_PASSES)
        else:
            # The map stays where it begins. What moved far must not be held, however faintly, where
            # it was: odometry may have begun kilometres off.
            poses = self._poses[0] @ invert(poses[0]) @ poses
            self._factors = _all_factors(poses, self._edges, self._verticals)
            self._begin_at(poses, passes=1 + CLOSING_PASSES)
        self._poses = self._solution()
        return self._poses

    def drift_from(self, keyframe: int) -> Array:
        """Return variances (N, 2) of rotation and position of all keyframes seen from one.

        Along the most certain chain of edges. A wrong heading moves what lies behind it the more,
        the farther away that is: by the distance of the edge from the keyframe that is asked.
        """
        count = len(self._stamps_ns)
        if count < 2:
            return np.zeros((count, 2))
        first, second = self._ties.ends
        rotation, position = 1.0 / self._ties.information
        away = np.linalg.norm(self._poses[first, :3, 3] - self._poses[keyframe, :3, 3], axis=1)
        lever = np.maximum(away, LEVER)
        chains = [
            coo_array((row, (first, second)), (count, count))
            for row in (rotation, position + lever**2 * rotation)
        ]
        return np.stack([dijkstra(c.tocsr(), directed=False, indices=keyframe) for c in chains], 1)

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
            tuple(self._verticals),
        )

    @classmethod
    def resume(cls, graph: PoseGraph) -> "GraphOptimiser":
        """Return the optimiser that a snapshot was taken of."""
        optimiser = cls()
        optimiser._factors = _all_factors(graph.poses, graph.edges, graph.verticals)
        optimiser._begin_at(graph.poses, passes=1)
        optimiser._stamps_ns = graph.stamps_ns.tolist()
        optimiser._verticals = list(graph.verticals)
        optimiser._keep(graph.edges)
        optimiser._poses = optimiser._solution()
        return optimiser

    def factors(self) -> gtsam.NonlinearFactorGraph:
        """Return the factors as gtsam has them, for another solver to check this one."""
        return self._factors

    def _solve(
        self, factors: gtsam.NonlinearFactorGraph, guesses: gtsam.Values, passes: int
    ) -> None:
        """Add factors, and guesses of the poses that are new."""
        self._factors.push_back(factors)
        try:
            self._update(factors, guesses, passes)
        except RuntimeError:
            poses = [*self._poses, *(guesses.atPose3(key).matrix() for key in guesses.keys())]  # noqa: SIM118
            self._begin_at(np.array(poses), passes)

    def _begin_at(self, poses: Array, passes: int) -> None:
        """Solve everything anew from poses (N, 4, 4)."""
        guesses = gtsam.Values()
        for key, pose in enumerate(poses):
            guesses.insert(key, gtsam.Pose3(pose))
        try:
            self._isam = _make_isam("CHOLESKY")
            self._update(self._factors, guesses, passes)
        except RuntimeError:
            # Edges that contradict each other may weigh next to nothing: too little for Cholesky's
            # method, which squares the condition. QR does not.
            self._isam = _make_isam("QR")
            self._update(self._factors, guesses, passes)

    def _update(
        self, factors: gtsam.NonlinearFactorGraph, guesses: gtsam.Values, passes: int
    ) -> None:
        self._isam.update(factors, guesses)
        for _ in range(passes - 1):
            self._isam.update()

    def _keep(self, edges: Sequence[Edge]) -> None:
        self._edges.extend(edges)
        for edge in edges:
            rotation = float(np.trace(edge.covariance[:3, :3])) / 3
            position = float(np.trace(edge.covariance[3:, 3:])) / 3
            self._ties.add(edge.first, edge.second, 1.0 / np.array([rotation, position]))

    def _solution(self) -> Array:
        # One row a pose, in the order of keys: the rotation by rows, then the translation.
        rows = gtsam.utilities.extractPose3(self._isam.calculateEstimate())
        poses = np.tile(np.eye(4), (len(rows), 1, 1))
        poses[:, :3, :3] = rows[:, :9].reshape(-1, 3, 3)
        poses[:, :3, 3] = rows[:, 9:]
        return poses


def _make_isam(method: str) -> gtsam.ISAM2:
    parameters = gtsam.ISAM2Params()
    parameters.setFactorization(method)
    parameters.setRelinearizeThreshold(RELINEARISE)
    parameters.relinearizeSkip = 1
    return gtsam.ISAM2(parameters)


def _factor(edge: Edge) -> gtsam.BetweenFactorPose3:
    noise: gtsam.noiseModel.Base = gtsam.noiseModel.Gaussian.Covariance(edge.covariance)
    if edge.kind in (EdgeKind.ODOMETRY, EdgeKind.LOOP):
        # Wheels slip now and then, and by any amount; a loop was verified, however far it pulls.
        noise = _robust(gtsam.noiseModel.mEstimator.Huber.Create(ROBUST_SCALE), noise)
    else:
        # A wrong view is wrong altogether: its weight vanishes as its error grows. So is the guess
        # of a gap, once the place is recognised.
        noise = _robust(gtsam.noiseModel.mEstimator.Cauchy.Create(ROBUST_SCALE), noise)
    pose = gtsam.Pose3(edge.T_first_second)
    return gtsam.BetweenFactorPose3(edge.first, edge.second, pose, noise)


def _all_factors(
    poses: Array, edges: Sequence[Edge], verticals: Sequence[Vertical]
) -> gtsam.NonlinearFactorGraph:
    """Return what holds keyframes that are about at these poses (N, 4, 4)."""
    factors = gtsam.NonlinearFactorGraph()
    for key, pose in enumerate(poses):
        _hold(factors, key, pose)
    for edge in edges:
        factors.add(_factor(edge))
    for vertical in verticals:
        factors.add(_attitude_factor(vertical))
    return factors


def _hold(factors: gtsam.NonlinearFactorGraph, key: int, T_map_base: Array) -> None:
    """Hold a keyframe faintly; the first defines the map."""
    if key == 0:
        origin = gtsam.noiseModel.Isotropic.Sigma(6, ORIGIN_SIGMA)
        factors.add(gtsam.PriorFactorPose3(key, gtsam.Pose3(T_map_base), origin))
    factors.add(_faint_prior(key, T_map_base))


def _faint_prior(key: int, T_map_base: Array) -> gtsam.PriorFactorPose3:
    sigmas = np.array([FAINT_ROTATION] * 3 + [FAINT_POSITION] * 3)
    noise = gtsam.noiseModel.Diagonal.Sigmas(sigmas)
    return gtsam.PriorFactorPose3(key, gtsam.Pose3(T_map_base), noise)


def _attitude_factor(vertical: Vertical) -> gtsam.AttitudeFactorPose3:
    # Odometry does not tell the slope of a ramp, and all keyframes on it err alike: with Huber's
    # kernel, which never lets go, they would flatten it together. Those that let go sooner than
    # Cauchy's would not get a map back that has tilted once.
    kernel = gtsam.noiseModel.mEstimator.Cauchy.Create(LEVEL_SCALE)
    noise = _robust(kernel, gtsam.noiseModel.Isotropic.Sigma(2, vertical.sigma))
    return gtsam.AttitudeFactorPose3(
        vertical.keyframe, gtsam.Unit3(UP), noise, gtsam.Unit3(vertical.up)
    )


def _robust(
    kernel: gtsam.noiseModel.mEstimator.Base, noise: gtsam.noiseModel.Base
) -> gtsam.noiseModel.Base:
    return gtsam.noiseModel.Robust.Create(kernel, noise)
