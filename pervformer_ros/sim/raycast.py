# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ray casting against quads: a thin layer over Open3D's RaycastingScene (Embree)."""

from dataclasses import dataclass

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from pervformer_ros.sim.mesh import Floats, Mesh


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """What M rays met first.

    t: (M,) float32 in lengths of the ray's direction, inf where nothing was met.
    quad: (M,) int64 index of the quad, meaningless where nothing was met.
    st: (M, 2) float32 where on the quad, along its texture axes, in [0, 1].
    """

    t: Floats
    quad: NDArray[np.int64]
    st: Floats


class RayScene:
    """Quads that rays are cast against.

    One thread: several processes share the cores better than several threads, and the results do
    not depend on how work was divided.
    """

    def __init__(self, mesh: Mesh):
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        self._empty = len(mesh) == 0
        if not self._empty:
            first = 4 * np.arange(len(mesh), dtype=np.uint32)[:, None]
            triangles = first + np.array([0, 1, 2, 0, 2, 3], np.uint32)
            self._scene.add_triangles(
                o3d.core.Tensor.from_numpy(np.ascontiguousarray(mesh.corners.reshape(-1, 3))),
                o3d.core.Tensor.from_numpy(triangles.reshape(-1, 3)),
            )

    def cast(self, rays: Floats) -> Hits:
        """Return the first hit of every ray (M, 6): origin, direction."""
        if self._empty:
            count = len(rays)
            return Hits(
                np.full(count, np.inf, np.float32),
                np.zeros(count, np.int64),
                np.zeros((count, 2), np.float32),
            )
        answer = self._scene.cast_rays(o3d.core.Tensor.from_numpy(rays), nthreads=1)
        primitive = answer["primitive_ids"].numpy()
        b = answer["primitive_uvs"].numpy()
        # Barycentric coordinates of the two triangles (0, 1, 2) and (0, 2, 3) to the quad's own.
        upper = (primitive & 1) == 0
        both = b[:, 0] + b[:, 1]
        st = np.stack([np.where(upper, both, b[:, 0]), np.where(upper, b[:, 1], both)], axis=1)
        return Hits(answer["t_hit"].numpy(), (primitive >> 1).astype(np.int64), st)

    def occluded(self, origins: Floats, directions: Floats, far: float) -> NDArray[np.bool_]:
        """Return whether rays (M, 3), (M, 3) meet anything before `far` direction lengths."""
        if self._empty:
            return np.zeros(len(origins), bool)
        rays = np.concatenate([origins, directions], axis=1).astype(np.float32)
        blocked = self._scene.test_occlusions(
            o3d.core.Tensor.from_numpy(rays), 0.0, far, nthreads=1
        )
        return np.asarray(blocked.numpy())
