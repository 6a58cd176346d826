# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Loop closures: places recognised far along the way, believed only when several agree.

Where shelves look alike, a view may fit a wrong place perfectly; but the next views, carried on by
the way between them, then do not fit the same mistake. A closure is accepted when enough pairs of
recent ones are consistent: going round over both closures and back must lead to where it began
(pairwise consistency maximisation, Mangelson et al. 2018). Where racks repeat, whole sets of wrong
closures are consistent; then there are others beside them that contradict them all, and nothing is
believed until one set is twice as large.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.geometry import Array, invert
from pervformer_ros.slam import se3
from pervformer_ros.slam.factors import Edge

# Closures of so many different keyframes must agree.
AGREEING = 3
# Candidates that nobody confirmed are forgotten after so many others.
REMEMBERED = 12
# Squared Mahalanobis length (6 degrees of freedom) that 99 % of true cycles stay below.
CONSISTENT = 16.8
# What the map itself may be wrong by between two keyframes, per metre of the straight way.
MAP_ROTATION = 0.01
MAP_TRANSLATION = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A closure between an old keyframe and a new one, not yet believed."""

    edge: Edge
    inliers: int


class LoopVerifier:
    """Collects candidates and hands out those that enough others confirm."""

    def __init__(self) -> None:
        self._pending: list[Candidate] = []
        self.refused = 0

    def add(self, candidates: Sequence[Candidate], poses: Array) -> list[Edge]:
        """Take new candidates and return the edges that are now believed.

        Args:
            candidates: of the newest keyframe.
            poses: (N, 4, 4) T_map_base of all keyframes.
        """
        self._pending += candidates
        chosen = self._largest_agreement(poses)
        accepted = [self._pending[i].edge for i in chosen]
        if accepted:
            self.refused += len(self._pending) - len(accepted)
            self._pending = []
        elif len(self._pending) > REMEMBERED:
            self.refused += len(self._pending) - REMEMBERED
            self._pending = self._pending[-REMEMBERED:]
        return accepted

    def _largest_agreement(self, poses: Array) -> list[int]:
        """Return the largest set of candidates that all agree with each other, or nothing."""
        count = len(self._pending)
        agrees = np.eye(count, dtype=bool)
        for a, b in combinations(range(count), 2):
            agrees[a, b] = agrees[b, a] = _consistent(
                self._pending[a].edge, self._pending[b].edge, poses
            )
        cliques = [self._clique(first, agrees) for first in range(count)]
        best = max(cliques, key=len, default=[])
        support = len(self._views(best))
        # Racks repeat: what agrees on another place, a bay away, must be far fewer.
        rivals = [c for c in cliques if not agrees[np.ix_(c, best)].any()]
        rival = max((len(self._views(c)) for c in rivals), default=0)
        return best if support >= AGREEING and 2 * rival <= support else []

    def _clique(self, first: int, agrees: NDArray[np.bool_]) -> list[int]:
        """Return candidates that all agree with each other, `first` among them.

        Greedy: exact for cliques as small as these nearly always are.
        """
        order = sorted(range(len(self._pending)), key=lambda i: -self._pending[i].inliers)
        kept = [first]
        for i in order:
            if i != first and agrees[i, kept].all():
                kept.append(i)
        return kept

    def _views(self, chosen: Sequence[int]) -> set[int]:
        """Return the keyframes that candidates close a loop from."""
        return {self._pending[i].edge.second for i in chosen}


def _consistent(a: Edge, b: Edge, poses: Array) -> bool:
    """Return whether going over one closure and back over the other leads to where it began."""
    T_old = invert(poses[b.first]) @ poses[a.first]
    T_new = invert(poses[a.second]) @ poses[b.second]
    round_trip = T_old @ a.T_first_second @ T_new @ invert(b.T_first_second)
    T_rest = T_new @ invert(b.T_first_second)
    covariance = (
        se3.change_frame(_map_error(T_old), invert(a.T_first_second @ T_rest))
        + se3.change_frame(a.covariance, invert(T_rest))
        + se3.change_frame(_map_error(T_new), b.T_first_second)
        + se3.change_frame(b.covariance, b.T_first_second)
    )
    return se3.mahalanobis_squared(se3.log(round_trip), covariance) < CONSISTENT


def _map_error(T: Array) -> Array:
    distance = float(np.linalg.norm(T[:3, 3]))
    return se3.isotropic(1e-3 + MAP_ROTATION * distance, 5e-3 + MAP_TRANSLATION * distance)
