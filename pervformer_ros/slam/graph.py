# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The pose graph of keyframes: each new one settles where it is, the whole by iSAM2.

iSAM2 (Kaess et al. 2012) finds the optimum of the whole, but where a robot drives lap after lap a
keyframe costs it the more, the more there are. So a keyframe is first solved with its neighbourhood
alone; the whole follows where that has moved what was solved before, where a loop closes, and
whenever there are a twentieth more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import gtsam
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.geometry import Array, invert
from pervformer_ros.slam.factors import (
    Edge,
    Vertical,
    edge_factors,
    graph_factors,
    keyframe_factors,
    vertical_factor,
)
from pervformer_ros.slam.neighbourhood import Neighbourhoods
from pervformer_ros.slam.ties import Ties

# iSAM2 relinearises a pose that moved by this much (radians, metres).
RELINEARISE = 1e-3
# The whole is solved when neighbourhoods have moved what it was by so much, metres or radians, or
# there are so many times as many keyframes as at the last time.
MOVED, TURNED, GROWTH = 0.01, 0.005, 1.05
# The robust weights follow the poses, and a loop moves many: so many passes until they settle.
MOVED_PASSES, CLOSING_PASSES = 3, 6


@dataclass(frozen=True, slots=True, eq=False)
class PoseGraph:
    """A snapshot: keyframe_ids (N,), stamps_ns (N,), poses (N, 4, 4) T_map_base, and their ties."""

    keyframe_ids: NDArray[np.int64]
    stamps_ns: NDArray[np.int64]
    poses: Array
    edges: tuple[Edge, ...]
    verticals: tuple[Vertical, ...] = ()


class GraphOptimiser:
    """Holds one pose per keyframe, numbered from 0, and moves them to fit the edges."""

    def __init__(self) -> None:
        self._isam = _make_isam("CHOLESKY")
        self._near = Neighbourhoods()
        self._news = gtsam.NonlinearFactorGraph()  # what iSAM2 has not been told yet
        self._solved: Array = np.empty((0, 4, 4))  # the poses that it found
        self._stamps_ns: list[int] = []
        self._edges: list[Edge] = []
        self._verticals: list[Vertical] = []
        self._ties = Ties()
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
            The poses (N, 4, 4) of all keyframes; those around the new one fit best.

        Raises:
            ValueError: if no edge links the keyframe to those before it.
        """
        key = len(self._stamps_ns)
        if key > 0 and not any(key in (e.first, e.second) for e in edges):
            raise ValueError(f"keyframe {key} is not linked to the graph")
        factors = keyframe_factors(key, T_map_base)
        factors.push_back(edge_factors(edges))
        if up is not None:
            self._verticals.append(Vertical(key, up, up_sigma))
            factors.add(vertical_factor(self._verticals[-1]))
        self._learn(factors)
        self._tie(edges)
        self._stamps_ns.append(stamp_ns)
        self._poses = np.concatenate([self._poses, T_map_base[None]])
        self._poses = self._near.solve(key, self._poses)
        if self._has_moved():
            self._solve(MOVED_PASSES)
        elif len(self._poses) > GROWTH * len(self._solved):
            self._solve(passes=1)
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
        self._tie(edges)
        if poses is None:
            self._learn(edge_factors(edges))
            self._solve(CLOSING_PASSES)
        else:
            # The map stays where it begins. What moved far must not be held, however faintly, where
            # it was: odometry may have begun kilometres off.
            self._poses = self._poses[0] @ invert(poses[0]) @ poses
            self._near = Neighbourhoods()
            self._learn(graph_factors(self._poses, self._edges, self._verticals))
            self._begin_anew(CLOSING_PASSES)
        return self._poses

    def drift_from(self, keyframe: int) -> Array:
        """Return variances (N, 2) of rotation and position of all keyframes seen from one."""
        return self._ties.drift_from(keyframe, self._poses)

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
        optimiser._stamps_ns = graph.stamps_ns.tolist()
        optimiser._verticals = list(graph.verticals)
        optimiser._poses = graph.poses.copy()
        optimiser._tie(graph.edges)
        optimiser._learn(graph_factors(graph.poses, graph.edges, graph.verticals))
        optimiser._begin_anew(passes=1)
        return optimiser

    def factors(self) -> gtsam.NonlinearFactorGraph:
        """Return the factors as gtsam has them, for another solver to check this one."""
        return self._near.factors

    def _tie(self, edges: Sequence[Edge]) -> None:
        self._edges.extend(edges)
        for edge in edges:
            self._ties.add(edge)

    def _learn(self, factors: gtsam.NonlinearFactorGraph) -> None:
        self._near.add(factors)
        self._news.push_back(factors)

    def _has_moved(self) -> bool:
        """Return whether neighbourhoods have moved something since the whole was solved."""
        before, now = self._solved, self._poses[: len(self._solved)]
        steps = np.linalg.norm(now[:, :3, 3] - before[:, :3, 3], axis=1)
        # Of a small turn the rotation matrix changes by its angle times the square root of two.
        turns = np.linalg.norm(now[:, :3, :3] - before[:, :3, :3], axis=(1, 2)) / np.sqrt(2)
        return bool(steps.max(initial=0.0) > MOVED or turns.max(initial=0.0) > TURNED)

    def _solve(self, passes: int) -> None:
        """Solve the whole, beginning with what iSAM2 has found before."""
        try:
            self._update(self._news, passes)
        except RuntimeError:
            self._begin_anew(passes)

    def _begin_anew(self, passes: int) -> None:
        """Solve the whole, beginning with the poses there are."""
        self._solved = self._solved[:0]
        try:
            self._isam = _make_isam("CHOLESKY")
            self._update(self._near.factors, passes)
        except RuntimeError:
            # Edges that contradict each other may weigh next to nothing: too little for Cholesky's
            # method, which squares the condition. QR does not.
            self._isam = _make_isam("QR")
            self._update(self._near.factors, passes)

    def _update(self, factors: gtsam.NonlinearFactorGraph, passes: int) -> None:
        guesses = gtsam.Values()
        for key in range(len(self._solved), len(self._poses)):
            guesses.insert(key, gtsam.Pose3(self._poses[key]))
        self._isam.update(factors, guesses)
        for _ in range(passes - 1):
            self._isam.update()
        self._poses = self._solved = _poses_of(self._isam.calculateEstimate())
        self._news = gtsam.NonlinearFactorGraph()


def _poses_of(values: gtsam.Values) -> Array:
    # One row a pose, in the order of keys: the rotation by rows, then the translation.
    rows = gtsam.utilities.extractPose3(values)
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
