# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How strongly pairs of keyframes are tied, and how far one may have drifted from another."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from pervformer_ros.geometry import Array
from pervformer_ros.slam.factors import Edge

# What a wrong heading comes to in position is reckoned at this distance at least, metres.
LEVER = 5.0


class Ties:
    """All edges of each pair of keyframes together."""

    def __init__(self) -> None:
        self._index: dict[tuple[int, int], int] = {}
        self._ends = np.zeros((2, 64), np.int64)
        self._information = np.zeros((2, 64))  # inverse variances of rotation and position

    def add(self, edge: Edge) -> None:
        """Tie two keyframes more strongly."""
        pair = min(edge.first, edge.second), max(edge.first, edge.second)
        at = self._index.setdefault(pair, len(self._index))
        if at == self._ends.shape[1]:  # twice the room, so that an edge costs the same at any time
            self._ends = np.concatenate([self._ends, np.zeros_like(self._ends)], axis=1)
            more = np.zeros_like(self._information)
            self._information = np.concatenate([self._information, more], axis=1)
        self._ends[:, at] = pair
        variances = edge.covariance.diagonal().reshape(2, 3).mean(axis=1)
        self._information[:, at] += 1.0 / variances

    def drift_from(self, keyframe: int, poses: Array) -> Array:
        """Return variances (N, 2) of rotation and position of keyframes at poses (N, 4, 4).

        Along the most certain chain of edges. A wrong heading moves what lies behind it the more,
        the farther away that is: by the distance of the edge from the keyframe that is asked.
        """
        count = len(poses)
        if count < 2:
            return np.zeros((count, 2))
        first, second = self._ends[:, : len(self._index)]
        rotation, position = 1.0 / self._information[:, : len(self._index)]
        away = np.linalg.norm(poses[first, :3, 3] - poses[keyframe, :3, 3], axis=1)
        lever = np.maximum(away, LEVER)
        chains = [
            coo_array((row, (first, second)), (count, count))
            for row in (rotation, position + lever**2 * rotation)
        ]
        return np.stack([dijkstra(c.tocsr(), directed=False, indices=keyframe) for c in chains], 1)
