# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which pixels of two frames show the same point of the static world, by depth and true poses."""

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pervformer_ros.geometry import Array, invert, transform_points
from pervformer_ros.model.config import FINE

Floats = NDArray[np.float32]

Values = Any

PAIRS = 6  # of frames of a chunk, between which points are matched
POINTS = 160
SAME_DEPTH = 0.05  # relative difference up to which it is the same surface
NEAREST, FARTHEST = 0.3, 9.0  # m


class View(NamedTuple):
    """One frame, through its window."""

    depth: Floats  # (H, W) metres, 0 = none
    still: NDArray[np.bool_]  # (H, W): does not move, and is shown to the model
    keypoint: NDArray[np.int64]  # (h8, w8) as in PointTargets
    K: Array  # (3, 3) of the window
    T_map_camera: Array  # (4, 4)


class Correspondence(NamedTuple):
    """POINTS points in two frames, as fractions of the window; `valid` tells which count."""

    first: Floats  # (N, 2) x, y
    second: Floats  # (N, 2)
    valid: NDArray[np.bool_]  # (N,)


class PointTargets(NamedTuple):
    """Of T frames: what each cell's keypoint is, and points of R pairs of frames."""

    keypoint: Values  # int64 (T, h8, w8) pixel of the cell by rows, 64 = none, -1 = not asked
    pairs: Values  # int64 (R, 2) frames, the earlier first
    first: Values  # float32 (R, N, 2) points in the earlier one, as fractions of the window
    second: Values  # float32 (R, N, 2) the same points in the later one
    matched: Values  # bool (R, N) which count


def point_targets(rng: Generator, views: list[View]) -> PointTargets:
    """Return the targets of a chunk."""
    pairs = _draw_pairs(rng, len(views))
    matches = [correspond(rng, views[i], views[j]) for i, j in pairs]
    first, second, matched = map(np.stack, zip(*matches, strict=True))
    keypoint = np.stack([view.keypoint for view in views])
    return PointTargets(keypoint, np.array(pairs), first, second, matched)


def correspond(rng: Generator, a: View, b: View) -> Correspondence:
    """Find points of `a` again in `b`: corners first, then anything."""
    uv = _candidates(rng, a)
    rows, columns = uv[:, 1], uv[:, 0]
    z = a.depth[rows, columns].astype(np.float64)
    ray = (uv - a.K[:2, 2]) / a.K[[0, 1], [0, 1]]
    points = np.column_stack([ray * z[:, None], z])
    moved = transform_points(invert(b.T_map_camera) @ a.T_map_camera, points)
    depth = moved[:, 2]
    there = moved[:, :2] / np.maximum(depth, 0.1)[:, None] * b.K[[0, 1], [0, 1]] + b.K[:2, 2]
    height, width = b.depth.shape
    u, v = (
        np.clip(np.rint(x).astype(int), 0, n - 1)
        for x, n in zip(there.T, (width, height), strict=True)
    )
    inside = (there > -0.5).all(axis=1) & (there < (width - 0.5, height - 0.5)).all(axis=1)
    same = np.abs(b.depth[v, u] - depth) < SAME_DEPTH * depth
    good = np.flatnonzero(
        inside & same & b.still[v, u] & a.still[rows, columns] & (z > NEAREST) & (z < FARTHEST)
    )[:POINTS]
    result = Correspondence(
        np.zeros((POINTS, 2), np.float32),
        np.zeros((POINTS, 2), np.float32),
        np.arange(POINTS) < len(good),
    )
    result.first[: len(good)] = (uv[good] + 0.5) / (width, height)
    result.second[: len(good)] = (there[good] + 0.5) / (width, height)
    return result


def _draw_pairs(rng: Generator, frames: int) -> list[tuple[int, int]]:
    """Draw PAIRS pairs of frames, (before, after): all there are, before any is drawn again."""
    distinct = list(combinations(range(frames), 2)) or [(0, 0)]
    order = rng.permutation(len(distinct))
    return [distinct[order[k % len(distinct)]] for k in range(PAIRS)]


def _candidates(rng: Generator, a: View) -> NDArray[np.int64]:
    """Return pixels (M, 2): up to half of POINTS are corners, the rest lies anywhere."""
    rows, columns = np.nonzero((a.keypoint >= 0) & (a.keypoint < FINE * FINE))
    order = rng.permutation(len(rows))[: POINTS // 2]
    label = a.keypoint[rows[order], columns[order]]
    corners = np.column_stack(
        [columns[order] * FINE + label % FINE, rows[order] * FINE + label // FINE]
    )
    height, width = a.depth.shape
    anywhere = np.column_stack(
        [rng.integers(0, width, 2 * POINTS), rng.integers(0, height, 2 * POINTS)]
    )
    return np.concatenate([corners, anywhere])
