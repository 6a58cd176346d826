# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Descriptor matching: mutual nearest neighbours that are clearly nearer than the next ones.

Descriptors whose numbers differ in sign alone, as ORB's do, are compared by counting bits, which
gives the same numbers as the dot product of their +-1 / sqrt(D).
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

# Where fewer than this part of all pairs may match, it is quicker to go through them one by one:
# of descriptors that are signs, and of others.
FEW_SIGNS = 0.25
FEW = 0.06
SIGN_BIT = 15  # of a float16
WORD = 64
# Rows and columns of pairs (M,), their similarity, and that of the next best of either.
_Nearest: TypeAlias = tuple[
    NDArray[np.intp], NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]
]


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
    pairs = np.arange(0) if allowed is None else np.flatnonzero(allowed)
    signs = (None, None) if allowed is None else (_signs(first), _signs(second))
    are_signs = signs[0] is not None and signs[1] is not None
    if allowed is None or len(pairs) > (FEW_SIGNS if are_signs else FEW) * allowed.size:
        found = _nearest_of_all(first, second, allowed)
    else:
        rows, columns = np.divmod(pairs, len(second))
        if signs[0] is not None and signs[1] is not None:
            similarity = _of_signs(signs[0], signs[1], rows, columns)
        else:
            similarity = _of_vectors(first, second, rows, columns)
        found = _nearest_of_few(rows, columns, similarity, (len(first), len(second)))
    rows, columns, best, next_best = found
    # Of unit vectors the squared distance is 2 - 2 similarity.
    distinct = (1.0 - best) < max_ratio**2 * (1.0 - next_best)
    good = distinct & (best >= min_similarity)
    if allowed is not None:
        good &= allowed[rows, columns]
    return np.stack([rows[good], columns[good]], axis=1)


def _nearest_of_all(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    allowed: NDArray[np.bool_] | None,
) -> _Nearest:
    """Return pairs that are each other's nearest, from the matrix of all dot products."""
    ones, others = first.astype(np.float32, copy=False), second.astype(np.float32, copy=False)
    similarity = ones @ others.T
    if allowed is not None:
        np.copyto(similarity, -1.0, where=~allowed)
    rows = np.arange(len(first))
    of_row, of_column = similarity.argmax(axis=1), similarity.argmax(axis=0)
    rows = rows[of_column[of_row] == rows]
    columns = of_row[rows]
    best = similarity[rows, columns]
    similarity[rows, columns] = -1.0
    next_best = np.maximum(similarity[rows].max(axis=1), similarity[:, columns].max(axis=0))
    return rows, columns, best, next_best


def _nearest_of_few(
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    similarity: NDArray[np.float32],
    shape: tuple[int, int],
) -> _Nearest:
    """Return which of the pairs (P,) are each other's nearest; of equals, none is."""
    is_nearest = similarity == _largest(rows, similarity, shape[0])[rows]
    is_nearest &= similarity == _largest(columns, similarity, shape[1])[columns]
    alone = np.bincount(rows[is_nearest], minlength=shape[0])[rows] == 1
    alone &= np.bincount(columns[is_nearest], minlength=shape[1])[columns] == 1
    chosen = np.flatnonzero(is_nearest & alone)
    others = similarity.copy()
    others[chosen] = -1.0
    next_best = np.maximum(
        _largest(rows, others, shape[0])[rows[chosen]],
        _largest(columns, others, shape[1])[columns[chosen]],
    )
    return rows[chosen], columns[chosen], similarity[chosen], next_best


def _largest(
    group: NDArray[np.intp], values: NDArray[np.float32], count: int
) -> NDArray[np.float32]:
    """Return the largest of the values (P,) of each of `count` groups, -1 where there is none."""
    largest = np.full(count, -1.0, np.float32)
    np.maximum.at(largest, group, values)
    return largest


def _signs(descriptors: NDArray[np.floating]) -> NDArray[np.uint64] | None:
    """Return the signs (D / 64, N) as bits, None where the numbers differ in more than them."""
    if descriptors.dtype != np.float16 or descriptors.shape[1] % WORD:
        return None
    raw = np.ascontiguousarray(descriptors).view(np.uint16)
    magnitude = np.uint16((1 << SIGN_BIT) - 1)
    if ((raw ^ raw[0, 0]) & magnitude).any():
        return None
    words = np.packbits((raw >> SIGN_BIT).astype(bool), axis=1).view(np.uint64)
    return np.ascontiguousarray(words.T)


def _of_signs(
    first: NDArray[np.uint64],
    second: NDArray[np.uint64],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Return the dot products of pairs (P,) of descriptors that are told by their signs (W, N)."""
    differing = np.zeros(len(rows), np.uint16)
    for ones, others in zip(first, second, strict=True):
        differing += _count_bits(ones[rows] ^ others[columns])
    return np.asarray(1.0 - differing * np.float32(2.0 / (WORD * len(first))), np.float32)


def _of_vectors(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Return the dot products of pairs (P,) of descriptors."""
    ones, others = first.astype(np.float32, copy=False), second.astype(np.float32, copy=False)
    return np.asarray(np.einsum("pd,pd->p", ones[rows], others[columns]))


def _count_bits(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    if hasattr(np, "bitwise_count"):  # numpy 2
        return np.asarray(np.bitwise_count(words))
    parts = _BITS_OF_16[words.view(np.uint16).reshape(-1, 4)]
    return np.asarray(parts.sum(axis=1, dtype=np.uint8))


# How many bits are set in each number of 16 bits.
_BITS_OF_16 = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16)
_BITS_OF_16 = _BITS_OF_16.sum(axis=1, dtype=np.uint8)
