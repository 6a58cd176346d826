# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Descriptor matching: mutual nearest neighbours that are clearly nearer than the next ones."""

import numpy as np
from numpy.typing import NDArray

# Where fewer than this part of all pairs may match, it is quicker to go through them one by one.
FEW = 0.06


def match(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    *,
    min_similarity: float,
    max_ratio: float,
    allowed: NDArray[np.bool_] | None = None,
) -> NDArray[np.intp]:
    """Return pairs of rows (M, 2) that are each other's nearest and pass Lowe's ratio test.

    The result does not depend on the order of the two sets: the ratio test holds both ways.

    Args:
        first: (A, D) descriptors of unit length.
        second: (B, D) descriptors of unit length.
        min_similarity: least dot product of a pair.
        max_ratio: greatest ratio of the distance to that of the second nearest, either way.
        allowed: (A, B), pairs that may match at all; the others do not compete either.
    """
    if len(first) == 0 or len(second) == 0:
        return np.empty((0, 2), np.intp)
    similarity = _similarity(
        first.astype(np.float32, copy=False), second.astype(np.float32, copy=False), allowed
    )
    rows = np.arange(len(first))
    of_row, of_column = similarity.argmax(axis=1), similarity.argmax(axis=0)
    rows = rows[of_column[of_row] == rows]
    columns = of_row[rows]
    best = similarity[rows, columns]
    similarity[rows, columns] = -1.0
    next_best = np.maximum(similarity[rows].max(axis=1), similarity[:, columns].max(axis=0))
    # Of unit vectors the squared distance is 2 - 2 similarity.
    distinct = (1.0 - best) < max_ratio**2 * (1.0 - next_best)
    good = distinct & (best >= min_similarity)
    if allowed is not None:
        good &= allowed[rows, columns]
    return np.stack([rows[good], columns[good]], axis=1)


def _similarity(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    allowed: NDArray[np.bool_] | None,
) -> NDArray[np.float32]:
    """Return the dot products (A, B), -1 where a pair is not allowed."""
    if allowed is None:
        return np.asarray(first @ second.T)
    pairs = np.flatnonzero(allowed)
    if len(pairs) > FEW * allowed.size:
        dense = np.asarray(first @ second.T)
        np.copyto(dense, -1.0, where=~allowed)
        return dense
    rows, columns = np.divmod(pairs, len(second))
    similarity = np.full(allowed.shape, -1.0, np.float32)
    similarity.ravel()[pairs] = np.einsum("pd,pd->p", first[rows], second[columns])
    return similarity
