# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Lighting worked out once per world: shadows and contact darkening of all that stands still.

Every static quad has a patch of texels in a light map; a lattice of points in the free space knows
the light from six sides (an ambient cube) and lights what moves. Light that may change by itself
(a lamp that fails, the sun) is kept apart, in its own group, so that a frame adds groups up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.geometry import Array
from pervformer_ros.sim.layout import Layout
from pervformer_ros.sim.lights import LAMP_LENGTH, LAMP_RANGE, Lamps, Sun
from pervformer_ros.sim.mesh import Floats, Mesh
from pervformer_ros.sim.raycast import RayScene

STEADY = "steady"
SUN = "sun"
TEXEL = 0.16
MAX_TEXELS = 256
MAP_WIDTH = 1024
# Samples start this far off their surface, above paint and below nothing.
LIFT = 0.008
INSET = 0.02
AMBIENT_RAYS = 8
AMBIENT_REACH = 1.6
# Nothing farther away keeps the sun off.
SUN_REACH = 28.0
LATTICE_STEP = 0.9
LATTICE_HEIGHTS = (0.15, 0.9, 1.7, 2.6)
AXES = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """Where each of N quads lies in the light map: corner texel and extent, (N, 2) each."""

    origin: NDArray[np.int32]
    extent: NDArray[np.int32]
    height: int


@dataclass(frozen=True, slots=True, eq=False)
class BakedLight:
    """The light of every group, for surfaces that stand still and for what moves.

    patches: the light map's plan.
    maps: group -> (rows, MAP_WIDTH, 3) float32.
    lattice: group -> (X, Y, Z, 6, 3) float32, light arriving at faces that look along AXES.
    """

    patches: Patches
    maps: Mapping[str, Floats]
    lattice: Mapping[str, Floats]

    def light_map(self, weights: Mapping[str, float]) -> Floats:
        """Return the light map with each group at its weight (1 where not named)."""
        return _weighted(self.maps, weights)

    def ambient_cubes(self, weights: Mapping[str, float]) -> Floats:
        """Return the lattice with each group at its weight (1 where not named)."""
        return _weighted(self.lattice, weights)


def bake(
    mesh: Mesh,
    scene: RayScene,
    layout: Layout,
    lamps: Lamps,
    sun: Sun | None,
    groups: Sequence[str],
    rng: np.random.Generator,
) -> BakedLight:
    """Work out the light.

    Args:
        mesh: all that stands still; `scene` holds the same.
        scene: for shadows.
        layout: extent of the lattice.
        lamps: the lamps.
        sun: light through the docks, if any; group "sun".
        groups: group of each lamp.
        rng: directions of the ambient rays.
    """
    patches = _plan_patches(mesh)
    texel, points, normals = _texels(mesh, patches)
    maps = {}
    for group, light in _gather(scene, points, normals, lamps, sun, groups, rng).items():
        canvas = np.zeros((patches.height * MAP_WIDTH, 3), np.float32)
        canvas[texel] = light
        maps[group] = canvas.reshape(patches.height, MAP_WIDTH, 3)
    nodes, shape = _lattice_nodes(layout)
    at = np.repeat(nodes, 6, axis=0)
    facing = np.tile(AXES, (len(nodes), 1))
    lattice = {
        group: _fill_dark(light.reshape(*shape, 6, 3))
        for group, light in _gather(scene, at, facing, lamps, sun, groups, rng).items()
    }
    return BakedLight(patches, maps, lattice)


def interpolate_cubes(cubes: Floats, points: Floats, normals: Floats) -> Floats:
    """Return the light (M, 3) on faces at points (M, 3) that look along normals (M, 3)."""
    heights = np.asarray(LATTICE_HEIGHTS)
    where = np.stack([
        points[:, 0] / LATTICE_STEP,
        points[:, 1] / LATTICE_STEP,
        np.interp(points[:, 2], heights, np.arange(len(heights))),
    ])  # fmt: skip
    low = np.clip(where.astype(int), 0, np.array(cubes.shape[:3])[:, None] - 2)
    f = np.clip(where - low, 0, 1).astype(np.float32)
    side = np.concatenate([normals, -normals], axis=1)[:, [0, 3, 1, 4, 2, 5]]
    share = np.maximum(side, 0) ** 2
    total = np.zeros((len(points), 3), np.float32)
    for corner in range(8):
        dx, dy, dz = corner & 1, corner >> 1 & 1, corner >> 2
        weight = (f[0] if dx else 1 - f[0]) * (f[1] if dy else 1 - f[1])
        weight *= f[2] if dz else 1 - f[2]
        cube = cubes[low[0] + dx, low[1] + dy, low[2] + dz]
        total += np.einsum("m,ma,mac->mc", weight, share, cube)
    return total


def _weighted(parts: Mapping[str, Floats], weights: Mapping[str, float]) -> Floats:
    total = np.zeros_like(next(iter(parts.values())))
    for group, values in parts.items():
        weight = weights.get(group, 1.0)
        if weight:
            total += np.float32(weight) * values
    return total


def _plan_patches(mesh: Mesh) -> Patches:
    """Pack one patch per quad into rows of like height, tallest first."""
    c = mesh.corners
    width = np.maximum(np.linalg.norm(c[:, 1] - c[:, 0], axis=1),
                       np.linalg.norm(c[:, 2] - c[:, 3], axis=1))  # fmt: skip
    height = np.linalg.norm(c[:, 3] - c[:, 0], axis=1)
    extent = np.stack([width, height], axis=1)
    extent = np.clip(np.ceil(extent / TEXEL).astype(np.int32) + 1, 2, MAX_TEXELS)
    origin = np.empty_like(extent)
    x = y = row = 0
    for i in np.argsort(-extent[:, 1], kind="stable"):
        w, h = extent[i]
        if x + w > MAP_WIDTH:
            x, y, row = 0, y + row, 0
        origin[i] = x, y
        x, row = x + w, max(row, h)
    return Patches(origin, extent, int(y + row))


def _texels(mesh: Mesh, patches: Patches) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return every texel's index in the map, its point (M, 3) and its normal (M, 3)."""
    count = patches.extent.prod(axis=1)
    quad = np.repeat(np.arange(len(mesh)), count)
    within = np.arange(len(quad)) - np.repeat(np.cumsum(count) - count, count)
    wide, high = patches.extent[quad].T
    column, row = within % wide, within // wide
    index = (patches.origin[quad, 1] + row).astype(np.int64) * MAP_WIDTH
    index += patches.origin[quad, 0] + column
    c = mesh.corners
    length_s = np.linalg.norm(c[:, 1] - c[:, 0], axis=1) + 1e-6
    length_t = np.linalg.norm(c[:, 3] - c[:, 0], axis=1) + 1e-6
    s = _inset(column / (wide - 1), length_s[quad])[:, None]
    t = _inset(row / (high - 1), length_t[quad])[:, None]
    tl, tr, br, bl = (c[quad, i] for i in range(4))
    points = (1 - t) * ((1 - s) * tl + s * tr) + t * ((1 - s) * bl + s * br)
    normals = mesh.normals()[quad]
    return index, (points + LIFT * normals).astype(np.float32), normals


def _inset(fraction: Array, length: Floats) -> Array:
    """Keep samples off a face's rim, which may be stuck in its neighbour."""
    margin = np.minimum(INSET / length, 0.1)
    return margin + fraction * (1 - 2 * margin)


def _gather(
    scene: RayScene,
    points: Floats,
    normals: Floats,
    lamps: Lamps,
    sun: Sun | None,
    groups: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Return the light (M, 3) that each group gives to points with normals."""
    light = {STEADY: _ambient(scene, points, normals, lamps, rng)}
    for lamp, group in enumerate(groups):
        total = light.setdefault(group, np.zeros((len(points), 3), np.float32))
        near = np.linalg.norm(points - lamps.position[lamp], axis=1) < LAMP_RANGE
        given = lamps.irradiance(lamp, points[near], normals[near])
        lit = np.flatnonzero(near)[given > 1e-4]
        given = given[given > 1e-4]
        clear = np.zeros(len(lit), np.float32)
        for end in (-0.4, 0.4):
            spot = lamps.position[lamp] + (end * LAMP_LENGTH, 0, 0)
            to_lamp = (spot - points[lit]).astype(np.float32)
            clear += 0.5 * ~scene.occluded(points[lit], to_lamp, 0.995)
        total[lit] += (given * clear)[:, None] * lamps.colour[lamp].astype(np.float32)
    if sun is not None:
        light[SUN] = _sunlight(scene, points, normals, sun)
    return light


def _sunlight(scene: RayScene, points: Floats, normals: Floats, sun: Sun) -> Floats:
    given = np.maximum(normals @ sun.direction.astype(np.float32), 0)
    lit = np.flatnonzero(given > 0)
    rays = np.tile(sun.direction.astype(np.float32), (len(lit), 1))
    light = np.zeros((len(points), 3), np.float32)
    clear = ~scene.occluded(points[lit], rays, SUN_REACH)
    light[lit] = (given[lit] * clear)[:, None] * sun.colour.astype(np.float32)
    return light


def _ambient(
    scene: RayScene, points: Floats, normals: Floats, lamps: Lamps, rng: np.random.Generator
) -> Floats:
    """Return light from all around, less where something is close by."""
    tone = lamps.colour.mean(axis=0) / lamps.colour.mean()
    free = np.zeros(len(points), np.float32)
    for _ in range(AMBIENT_RAYS):
        direction = rng.standard_normal((len(points), 3)).astype(np.float32)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        # A unit sphere that touches the surface: Lambert's cosine over the hemisphere.
        direction += 1.02 * normals
        direction *= AMBIENT_REACH / np.linalg.norm(direction, axis=1, keepdims=True)
        free += ~scene.occluded(points, direction, 1.0)
    share = lamps.ambient * (0.25 + 0.75 * free / AMBIENT_RAYS)
    # More comes from above, where the lamps are.
    share *= 0.85 + 0.15 * normals[:, 2]
    return (share[:, None] * tone).astype(np.float32)


def _lattice_nodes(layout: Layout) -> tuple[Floats, tuple[int, int, int]]:
    xs = np.arange(0, layout.width + LATTICE_STEP, LATTICE_STEP)
    ys = np.arange(0, layout.depth + LATTICE_STEP, LATTICE_STEP)
    grid = np.stack(np.meshgrid(xs, ys, LATTICE_HEIGHTS, indexing="ij"), axis=-1)
    return grid.reshape(-1, 3).astype(np.float32), grid.shape[:3]


def _fill_dark(cubes: Floats) -> Floats:
    """Give nodes buried in goods the light of their brighter neighbours."""
    total = cubes.sum(axis=(3, 4))
    dark = total < 0.3 * np.median(total)
    filled = cubes.copy()
    best = total.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            other, brightness = np.roll(cubes, step, axis), np.roll(total, step, axis)
            take = dark & (brightness > best)
            filled[take], best[take] = other[take], brightness[take]
    return filled
