# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The renderer: what an ideal camera would see, as linear colour, depth and instance ids.

The world that stands still is one ray-casting scene, built and lit once. Movers are a second
scene, built anew for every frame, and the two are composed by depth.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import CameraModel
from pervformer_ros.geometry import Array
from pervformer_ros.sim.atlas import Atlas, bilinear
from pervformer_ros.sim.bake import BakedLight, interpolate_cubes
from pervformer_ros.sim.mesh import Floats, Mesh, merge
from pervformer_ros.sim.raycast import Hits, RayScene
from pervformer_ros.sim.shadows import MoverShadows

# Columns of the per-quad table that shading reads.
UV0, DU, DV = slice(0, 2), slice(2, 4), slice(4, 6)
MAP0, MAP_EXTENT = slice(6, 8), slice(8, 10)
TINT, NORMAL = slice(10, 13), slice(13, 16)
EMISSION, DENSITY, LAYER = 16, 17, 18
COLUMNS = 19
_SPARE_ROWS = 20_000
# Pixels at an edge of this contrast (sum of three channels) are sampled once more, this many pixels
# from their centre.
_EDGE_CONTRAST = 0.25
_SECOND_SAMPLE = (0.42, 0.31)


@dataclass(frozen=True, slots=True, eq=False)
class Movers:
    """All that is not part of the static world at one moment.

    mesh: posed in the map frame. instance: (N,) uint16 id of each quad's object.
    """

    mesh: Mesh = field(default_factory=lambda: merge([]))
    instance: NDArray[np.uint16] = field(default_factory=lambda: np.zeros(0, np.uint16))


@dataclass(frozen=True, slots=True, eq=False)
class Render:
    """An ideal picture.

    colour: (H, W, 3) float32 linear radiance, 1 = a white surface under a lamp.
    depth: (H, W) float32 metres along the optical axis, 0 = nothing there.
    instance: (H, W) uint16, 0 = the static world.
    grazing: (H, W) float32 cosine between the ray and the surface's normal.
    """

    colour: Floats
    depth: Floats
    instance: NDArray[np.uint16]
    grazing: Floats


def trace(
    T_map_camera: Array, camera: CameraModel, scene: RayScene, movers: Movers
) -> tuple[Floats, NDArray[np.uint16]]:
    """Return depth (H, W) in metres, 0 = nothing, and instance ids (H, W), without any colour."""
    directions = _turn(_pixel_directions(camera, (0.0, 0.0)), T_map_camera)
    rays = _rays(T_map_camera[:3, 3], directions)
    far, near = scene.cast(rays), RayScene(movers.mesh).cast(rays)
    t = np.minimum(far.t, near.t)
    instance = np.zeros(len(rays), np.uint16)
    front = near.t < far.t
    instance[front] = movers.instance[near.quad[front]]
    shape = camera.height, camera.width
    return np.where(np.isfinite(t), t, 0).reshape(shape), instance.reshape(shape)


class Renderer:
    """Renders one world through one camera."""

    def __init__(
        self,
        static: Mesh,
        scene: RayScene,
        light: BakedLight,
        shadows: MoverShadows,
        atlas: Atlas,
        camera: CameraModel,
    ):
        self.camera = camera
        self._scene, self._light, self._shadows, self._atlas = scene, light, shadows, atlas
        table = _table(static)
        table[:, MAP0] = light.patches.origin
        table[:, MAP_EXTENT] = light.patches.extent - 1
        self._static_count = len(table)
        # The rows of movers' quads follow, written anew for every frame.
        self._table = np.concatenate([table, np.zeros((_SPARE_ROWS, COLUMNS), np.float32)])
        self._directions = _pixel_directions(camera, (0.0, 0.0))
        self._second_directions = _pixel_directions(camera, _SECOND_SAMPLE)
        self._lengths = np.linalg.norm(self._directions, axis=1)
        self._weights: dict[str, float] | None = None
        self._set_light({})

    def render(
        self, T_map_camera: Array, movers: Movers, weights: Mapping[str, float] | None = None
    ) -> Render:
        """Render from a pose of the optical frame.

        Args:
            T_map_camera: camera pose.
            movers: what is added to the static world.
            weights: brightness of the light groups that are not at 1.
        """
        weights = weights or {}
        self._set_light(weights)
        self._add_rows(movers.mesh)
        moving = RayScene(movers.mesh)
        shape = self.camera.height, self.camera.width
        eye = T_map_camera[:3, 3]
        directions = _turn(self._directions, T_map_camera)

        hits = self._cast(_rays(eye, directions), moving)
        rows = self._table[hits.quad]
        normals = rows[:, NORMAL]
        grazing = np.abs(np.einsum("ij,ij->i", normals, directions)) / self._lengths
        light = self._irradiance(hits, rows, movers.mesh)
        met = np.isfinite(hits.t)
        if len(movers.mesh):
            reach = np.where(met, hits.t, 0).astype(np.float32)
            points: Floats = eye.astype(np.float32) + reach[:, None] * directions
            left = self._shadows.factor(
                points.reshape(*shape, 3),
                normals.reshape(*shape, 3),
                light.reshape(*shape, 3),
                movers.mesh,
                movers.instance,
                moving,
                eye,
                weights,
            )
        else:
            left = np.ones(shape, np.float32)
        colour = self._colour(hits, rows, grazing, self._lengths, light * left.reshape(-1, 1))

        edge = _edges(hits.quad.reshape(shape), colour.reshape(*shape, 3))
        direction = _turn(self._second_directions[edge], T_map_camera)
        again = self._cast(_rays(eye, direction), moving)
        row, length = self._table[again.quad], self._lengths[edge]
        slant = np.abs(np.einsum("ij,ij->i", row[:, NORMAL], direction)) / length
        lit = self._irradiance(again, row, movers.mesh) * left.ravel()[edge, None]
        colour[edge] = (colour[edge] + self._colour(again, row, slant, length, lit)) / 2

        instance = np.zeros(len(hits.quad), np.uint16)
        front = hits.quad >= self._static_count
        instance[front] = movers.instance[hits.quad[front] - self._static_count]
        return Render(
            colour=colour.reshape(*shape, 3),
            depth=np.where(met, hits.t, 0).astype(np.float32).reshape(shape),
            instance=instance.reshape(shape),
            grazing=grazing.reshape(shape),
        )

    def rays(self, T_map_camera: Array) -> Floats:
        """Return the ray (H W, 6) of every pixel in the map frame."""
        return _rays(T_map_camera[:3, 3], _turn(self._directions, T_map_camera))

    def _set_light(self, weights: Mapping[str, float]) -> None:
        if weights != self._weights:
            self._weights = dict(weights)
            self._map = self._light.light_map(weights)
            self._cubes = self._light.ambient_cubes(weights)

    def _add_rows(self, mesh: Mesh) -> None:
        end = self._static_count + len(mesh)
        if end > len(self._table):
            spare = np.zeros((end + _SPARE_ROWS - len(self._table), COLUMNS), np.float32)
            self._table = np.concatenate([self._table, spare])
        self._table[self._static_count : end] = _table(mesh)

    def _cast(self, rays: Floats, moving: RayScene) -> Hits:
        """Cast against both scenes and keep the nearer hit; quad 0 where nothing was met."""
        far, near = self._scene.cast(rays), moving.cast(rays)
        front = near.t < far.t
        t = np.where(front, near.t, far.t)
        quad = np.where(front, near.quad + self._static_count, far.quad)
        quad[~np.isfinite(t)] = 0
        return Hits(t, quad, np.where(front[:, None], near.st, far.st))

    def _colour(
        self, hits: Hits, rows: Floats, grazing: Floats, lengths: Floats, light: Floats
    ) -> Floats:
        """Return the light (M, 3) that arrives from every hit."""
        s, t = hits.st[:, :1], hits.st[:, 1:]
        uv = rows[:, UV0] + s * rows[:, DU] + t * rows[:, DV]
        pixel = hits.t * lengths / np.float32(self.camera.fx)
        footprint: Floats = pixel * rows[:, DENSITY] / np.sqrt(np.maximum(grazing, 0.02))
        footprint[~np.isfinite(footprint)] = 1.0
        albedo = self._atlas.sample(rows[:, LAYER].astype(np.int32), uv, footprint)
        colour = albedo * rows[:, TINT] * (light + rows[:, EMISSION, None])
        colour[~np.isfinite(hits.t)] = 0
        return colour

    def _irradiance(self, hits: Hits, rows: Floats, mesh: Mesh) -> Floats:
        """Return the light (M, 3) that falls on every hit."""
        where = rows[:, MAP0] + hits.st * rows[:, MAP_EXTENT]
        light = bilinear(self._map, where[:, 0], where[:, 1])
        moving = np.flatnonzero(hits.quad >= self._static_count)
        if len(moving):
            light[moving] = self._mover_light(hits, moving, mesh)
        return light

    def _mover_light(self, hits: Hits, moving: NDArray[np.intp], mesh: Mesh) -> Floats:
        """Light the corners of the movers' quads that are seen, and blend across each quad."""
        quad = hits.quad[moving] - self._static_count
        seen, back = np.unique(quad, return_inverse=True)
        normals = np.repeat(mesh.normals()[seen], 4, axis=0)
        corners = mesh.corners[seen].reshape(-1, 3)
        light = interpolate_cubes(self._cubes, corners, normals).reshape(-1, 4, 3)[back]
        s, t = hits.st[moving, :1], hits.st[moving, 1:]
        top = (1 - s) * light[:, 0] + s * light[:, 1]
        return (1 - t) * top + t * ((1 - s) * light[:, 3] + s * light[:, 2])


def _turn(directions: Floats, T: Array) -> Floats:
    """Return directions (M, 3) turned by a transform's rotation.

    A matrix product would start BLAS threads, which costs more than it gains at this size.
    """
    if len(directions) == 0:
        return directions
    turned = cv2.transform(directions[None], T[:3, :3].astype(np.float32))
    return np.asarray(turned[0], np.float32)


def _rays(eye: Array, directions: Floats) -> Floats:
    """Return rays (M, 6) from one point."""
    rays = np.empty((len(directions), 6), np.float32)
    rays[:, :3], rays[:, 3:] = eye, directions
    return rays


def _edges(quad: NDArray[np.int64], colour: Floats) -> NDArray[np.intp]:
    """Return the pixels (E,) beside which another surface of another brightness begins."""
    grey = colour.sum(axis=2)
    edge = np.zeros(quad.shape, bool)
    for here, there in (
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
    ):
        contrast = np.abs(grey[here] - grey[there]) > _EDGE_CONTRAST
        contrast &= quad[here] != quad[there]
        edge[here] |= contrast
        edge[there] |= contrast
    return np.flatnonzero(edge)


def _table(mesh: Mesh) -> Floats:
    """Return what shading needs to know of every quad, one row each."""
    table = np.zeros((len(mesh), COLUMNS), np.float32)
    uv, c = mesh.uv, mesh.corners
    table[:, UV0] = uv[:, 0]
    # On a triangle, two corners coincide; the opposite edge tells the direction.
    table[:, DU] = uv[:, 1] - uv[:, 0]
    table[:, DV] = uv[:, 3] - uv[:, 0]
    table[:, TINT] = mesh.tint
    table[:, NORMAL] = mesh.normals()
    table[:, EMISSION] = mesh.emission
    table[:, LAYER] = mesh.layer
    across = np.linalg.norm(c[:, 2] - c[:, 0], axis=1)
    table[:, DENSITY] = np.linalg.norm(uv[:, 2] - uv[:, 0], axis=1) / np.maximum(across, 1e-6)
    return table


def _pixel_directions(camera: CameraModel, offset: tuple[float, float]) -> Floats:
    """Return the ray (H W, 3) through an offset from every pixel's centre, z = 1."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    uv = np.stack([u, v], axis=-1).reshape(-1, 2) + np.array(offset)
    return camera.back_project(uv, np.ones(len(uv))).astype(np.float32)
