# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The renderer: what an ideal camera would see, as linear colour, depth and instance ids.

The world that stands still is one ray-casting scene, built and lit once. Movers are a second
scene, built anew for every frame, and the two are composed by depth.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import CameraModel
from pervformer_ros.geometry import Array
from pervformer_ros.sim.atlas import Atlas, bilinear
from pervformer_ros.sim.bake import BakedLight, interpolate_cubes
from pervformer_ros.sim.mesh import Floats, Mesh, merge
from pervformer_ros.sim.raycast import Hits, RayScene

# Columns of the per-quad table that shading reads.
UV0, DU, DV = slice(0, 2), slice(2, 4), slice(4, 6)
MAP0, MAP_EXTENT = slice(6, 8), slice(8, 10)
TINT, NORMAL = slice(10, 13), slice(13, 16)
EMISSION, DENSITY, LAYER = 16, 17, 18
COLUMNS = 19


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


class Renderer:
    """Renders one world through one camera."""

    def __init__(self, static: Mesh, scene: RayScene, light: BakedLight, atlas: Atlas,
                 camera: CameraModel):  # fmt: skip
        self.camera = camera
        self._scene, self._light, self._atlas = scene, light, atlas
        self._static_table = _table(static)
        self._static_table[:, MAP0] = light.patches.origin
        self._static_table[:, MAP_EXTENT] = light.patches.extent - 1
        self._directions = _pixel_directions(camera)
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
        self._set_light(weights or {})
        height, width = self.camera.height, self.camera.width
        directions = self._directions @ T_map_camera[:3, :3].T.astype(np.float32)
        origin = T_map_camera[:3, 3].astype(np.float32)
        rays = np.concatenate([np.broadcast_to(origin, directions.shape), directions], axis=1)
        hits, instance, table = self._compose(np.ascontiguousarray(rays), movers)
        rows = table[hits.quad]
        grazing = np.abs(np.einsum("ij,ij->i", rows[:, NORMAL], directions)) / self._lengths
        albedo = self._albedo(hits, rows, grazing)
        irradiance = self._irradiance(hits, rows, movers)
        colour = albedo * (irradiance + rows[:, EMISSION, None])
        met = np.isfinite(hits.t)
        colour[~met] = 0
        return Render(
            colour=colour.reshape(height, width, 3),
            depth=np.where(met, hits.t, 0).astype(np.float32).reshape(height, width),
            instance=instance.reshape(height, width),
            grazing=grazing.reshape(height, width),
        )

    def _set_light(self, weights: Mapping[str, float]) -> None:
        if weights != self._weights:
            self._weights = dict(weights)
            self._map = self._light.light_map(weights)
            self._cubes = self._light.ambient_cubes(weights)

    def _compose(self, rays: Floats, movers: Movers) -> tuple[Hits, NDArray[np.uint16], Floats]:
        """Cast against both scenes, keep the nearer hit; movers' quads come after static ones."""
        hits = self._scene.cast(rays)
        instance = np.zeros(len(rays), np.uint16)
        if len(movers.mesh) == 0:
            hits.quad[~np.isfinite(hits.t)] = 0
            return hits, instance, self._static_table
        near = RayScene(movers.mesh).cast(rays)
        front = near.t < hits.t
        instance[front] = movers.instance[near.quad[front]]
        quad = np.where(front, near.quad + len(self._static_table), hits.quad)
        t = np.minimum(near.t, hits.t)
        quad[~np.isfinite(t)] = 0
        st = np.where(front[:, None], near.st, hits.st)
        return (
            Hits(t, quad, st),
            instance,
            np.concatenate([self._static_table, _table(movers.mesh)]),
        )

    def _albedo(self, hits: Hits, rows: Floats, grazing: Floats) -> Floats:
        s, t = hits.st[:, :1], hits.st[:, 1:]
        uv = rows[:, UV0] + s * rows[:, DU] + t * rows[:, DV]
        pixel = hits.t * self._lengths / self.camera.fx
        footprint = pixel * rows[:, DENSITY] / np.sqrt(np.maximum(grazing, 0.02))
        np.nan_to_num(footprint, copy=False, posinf=1.0)
        layer = rows[:, LAYER].astype(np.int32)
        return self._atlas.sample(layer, uv, footprint) * rows[:, TINT]

    def _irradiance(self, hits: Hits, rows: Floats, movers: Movers) -> Floats:
        where = rows[:, MAP0] + hits.st * rows[:, MAP_EXTENT]
        light = bilinear(self._map, where[:, 0], where[:, 1])
        moving = np.flatnonzero(hits.quad >= len(self._static_table))
        if len(moving):
            light[moving] = self._mover_light(hits, moving, movers.mesh)
        return light

    def _mover_light(self, hits: Hits, moving: NDArray[np.intp], mesh: Mesh) -> Floats:
        """Light the corners of the movers' quads that are seen, and blend across each quad."""
        quad = hits.quad[moving] - len(self._static_table)
        seen, back = np.unique(quad, return_inverse=True)
        normals = np.repeat(mesh.normals()[seen], 4, axis=0)
        corners = mesh.corners[seen].reshape(-1, 3)
        light = interpolate_cubes(self._cubes, corners, normals).reshape(-1, 4, 3)[back]
        s, t = hits.st[moving, :1], hits.st[moving, 1:]
        top = (1 - s) * light[:, 0] + s * light[:, 1]
        return (1 - t) * top + t * ((1 - s) * light[:, 3] + s * light[:, 2])


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


def _pixel_directions(camera: CameraModel) -> Floats:
    """Return the ray (H W, 3) of every pixel in the optical frame, z = 1."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    uv = np.stack([u, v], axis=-1).reshape(-1, 2).astype(float)
    return camera.back_project(uv, np.ones(len(uv))).astype(np.float32)
