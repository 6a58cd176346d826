# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A first pose from matches of which many are wrong: drawn triples, judged by the others.

Three matches with depth fix a pose; of some hundred drawn ones that is taken which most
matches fit (RANSAC, with the robust cost of MSAC: Torr and Zisserman 2000). Each match is drawn and
counts by how likely it stands still. A thing that moves offers a pose of its own, which its points
agree on however many they are: that they do is no sign that they stand still.
"""

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import CameraModel
from pervformer_ros.geometry import Array, invert
from pervformer_ros.pnp import pose_by_pixels
from pervformer_ros.slam.matches import Matches, SensorNoise

TRIPLES = 300
# How much farther off than the noise a match is from the pose of three noisy others: variances.
TRIPLE_VARIANCE = 4.0
# Half the squared length of a residual from which a match does not fit, however far off it is.
MISFIT = 6.9
# At most so many matches of each cell of the image count (bucketing, Geiger et al. 2011): a small
# thing full of texture must not outvote the room behind it.
CELL_PIXELS = 40
MATCHES_PER_CELL = 5
# Where hardly anything has depth in the view.
PNP_PIXELS = 3.0


def propose(
    matches: Matches, camera: CameraModel, noise: SensorNoise, least: int, seed: int
) -> Array | None:
    """Return T_keyframe_camera (4, 4), None where fewer than `least` matches could tell."""
    if len(matches) < max(least, 4):
        return None
    order = np.random.default_rng(seed).permutation(len(matches))
    matches = matches.take(order[_first_of_cells(matches.pixels[order])])
    with_depth = np.flatnonzero(np.isfinite(matches.depths))
    if len(with_depth) < 4:
        return _by_pixels(matches, camera)
    triples = _draw(matches.static_probability, with_depth, seed)
    rays = (matches.pixels - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    seen = np.column_stack([rays, np.ones(len(rays))]) * matches.depths[:, None]
    rotation, translation = _rigid(matches.points[triples], seen[triples])
    best = np.argmin(_cost(matches, camera, noise, rotation, translation))
    T_camera_keyframe = np.eye(4)
    T_camera_keyframe[:3, :3], T_camera_keyframe[:3, 3] = rotation[best], translation[best]
    return invert(T_camera_keyframe)


def _draw(weight: Array, among: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Return TRIPLES triples (T, 3) among matches, each the likelier the larger its weight."""
    # Of exponential variables with these rates, each is the least as often as its weight says.
    keys = np.random.default_rng(seed).standard_exponential((TRIPLES, len(among))) / weight[among]
    return among[np.argpartition(keys, 2, axis=1)[:, :3]]


def _rigid(first: Array, second: Array) -> tuple[Array, Array]:
    """Return rotations (T, 3, 3) and translations (T, 3) from points (T, K, 3) to others.

    By the singular values of their covariance (Arun et al. 1987).
    """
    middle, other = first.mean(axis=1, keepdims=True), second.mean(axis=1, keepdims=True)
    u, _, vt = np.linalg.svd((second - other).transpose(0, 2, 1) @ (first - middle))
    u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]  # no reflections
    rotation = u @ vt
    return rotation, (other - middle @ rotation.transpose(0, 2, 1))[:, 0]


def _cost(
    matches: Matches, camera: CameraModel, noise: SensorNoise, rotation: Array, translation: Array
) -> Array:
    """Return how badly matches fit poses (T, 3, 3), (T, 3), each as likely as it is static."""
    points = matches.points @ rotation.transpose(0, 2, 1) + translation[:, None]
    x, y, z = points[..., 0], points[..., 1], np.maximum(points[..., 2], 1e-3)
    u = camera.fx * x / z + (camera.cx - matches.pixels[:, 0])
    v = camera.fy * y / z + (camera.cy - matches.pixels[:, 1])
    known = np.isfinite(matches.depths)
    depths = np.where(known, matches.depths, 1.0)
    variance = noise.depth_variance(matches.points[:, 2]) + noise.depth_variance(depths)
    off_depth = np.where(known, (depths - z) ** 2 / variance, 0.0)
    off = ((u**2 + v**2) / noise.pixel**2 + off_depth) / (2 * TRIPLE_VARIANCE)
    return np.asarray(np.minimum(off, MISFIT) @ matches.static_probability)


def _by_pixels(matches: Matches, camera: CameraModel) -> Array | None:
    """Return T_keyframe_camera by RANSAC over P3P, of what likely stands still if that will do."""
    chosen = matches.take(matches.is_still) if matches.is_still.sum() >= 4 else matches
    if len(chosen) < 4:
        return None
    found = pose_by_pixels(chosen.points, chosen.pixels, camera.K, PNP_PIXELS)
    return None if found is None else invert(found[0])


def _first_of_cells(pixels: Array) -> NDArray[np.bool_]:
    """Return which of pixels (M, 2) are among the first few of their cell."""
    column, row = (pixels // CELL_PIXELS).astype(int).T
    cell = (row - row.min()) * (np.ptp(column) + 1) + column - column.min()
    by_cell = np.argsort(cell, kind="stable")
    ordered = cell[by_cell]
    rank = np.arange(len(cell)) - np.searchsorted(ordered, ordered)
    first = np.empty(len(cell), bool)
    first[by_cell] = rank < MATCHES_PER_CELL
    return first
