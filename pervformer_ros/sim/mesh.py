# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Meshes made of textured quadrilaterals, and the few solids everything is built from.

A quad's corners run top left, top right, bottom right, bottom left as seen from outside, which is
also how its texture lies on it. A triangle is a quad two of whose neighbouring corners coincide.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pervformer_ros.geometry import Array, transform_points
from pervformer_ros.sim.textures import LAYER, TILE

Floats = NDArray[np.float32]
Tint: TypeAlias = Sequence[float] | NDArray[np.floating]
WHITE = (1.0, 1.0, 1.0)
FACES = ("+x", "-x", "+y", "-y", "+z", "-z")

# Outward normal, direction of texture s, direction of texture t of each face of a cuboid.
_FACE_AXES = {
    "+x": ((1, 0, 0), (0, 1, 0), (0, 0, -1)),
    "-x": ((-1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "+y": ((0, 1, 0), (-1, 0, 0), (0, 0, -1)),
    "-y": ((0, -1, 0), (1, 0, 0), (0, 0, -1)),
    "+z": ((0, 0, 1), (1, 0, 0), (0, -1, 0)),
    "-z": ((0, 0, -1), (1, 0, 0), (0, 1, 0)),
}


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """N textured quads.

    corners: (N, 4, 3) float32 metres.
    uv: (N, 4, 2) float32 in repeats of the texture.
    layer: (N,) int32, the texture's layer in the atlas.
    tint: (N, 3) float32, the texture is multiplied by it.
    emission: (N,) float32, light given off, relative to a white surface under a lamp.
    """

    corners: Floats
    uv: Floats
    layer: NDArray[np.int32]
    tint: Floats
    emission: Floats

    def __len__(self) -> int:
        return len(self.layer)

    def moved(self, T: Array) -> "Mesh":
        """Return the mesh taken through a rigid transform."""
        return replace(self, corners=transform_points(T, self.corners).astype(np.float32))

    def placed(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> "Mesh":
        """Return the mesh turned about z, then shifted."""
        c, s = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
        px, py = self.corners[..., 0], self.corners[..., 1]
        corners = np.empty_like(self.corners)
        corners[..., 0] = c * px - s * py + np.float32(x)
        corners[..., 1] = s * px + c * py + np.float32(y)
        corners[..., 2] = self.corners[..., 2] + np.float32(z)
        return replace(self, corners=corners)

    def normals(self) -> Floats:
        """Return the outward unit normals (N, 3)."""
        c = self.corners
        # The diagonals serve triangles too, where two corners coincide.
        n = np.cross(c[:, 3] - c[:, 1], c[:, 2] - c[:, 0])
        length = np.linalg.norm(n, axis=1, keepdims=True)
        return (n / np.maximum(length, 1e-12)).astype(np.float32)

    def bounds(self) -> tuple[Array, Array]:
        """Return the lowest and highest corner of the axis-aligned box around the mesh."""
        points = self.corners.reshape(-1, 3).astype(float)
        return points.min(axis=0), points.max(axis=0)


def merge(meshes: Iterable[Mesh]) -> Mesh:
    """Join meshes into one, quads in the order given."""
    parts = list(meshes)
    if not parts:
        return quads(np.empty((0, 4, 3)), np.empty((0, 4, 2)), "plain")
    return Mesh(
        np.concatenate([m.corners for m in parts]),
        np.concatenate([m.uv for m in parts]),
        np.concatenate([m.layer for m in parts]),
        np.concatenate([m.tint for m in parts]),
        np.concatenate([m.emission for m in parts]),
    )


def quads(
    corners: ArrayLike, uv: ArrayLike, texture: str, tint: Tint = WHITE, emission: float = 0.0
) -> Mesh:
    """Return quads that share one texture and tint."""
    corners = np.asarray(corners, np.float32)
    count = len(corners)
    return Mesh(
        corners,
        np.asarray(uv, np.float32),
        np.full(count, LAYER[texture], np.int32),
        np.tile(np.asarray(tint, np.float32), (count, 1)),
        np.full(count, emission, np.float32),
    )


def rectangle(
    corner: ArrayLike,
    s: ArrayLike,
    t: ArrayLike,
    texture: str,
    tint: Tint = WHITE,
    emission: float = 0.0,
) -> Mesh:
    """Return the rectangle from its top left corner along s (right) and t (down)."""
    corner, s, t = (np.asarray(v, float) for v in (corner, s, t))
    corners = np.stack([corner, corner + s, corner + s + t, corner + t])
    uv = _face_uv(float(np.linalg.norm(s)), float(np.linalg.norm(t)), texture)
    return quads(corners[None], uv[None], texture, tint, emission)


def box(
    size: ArrayLike,
    centre: ArrayLike = (0.0, 0.0, 0.0),
    texture: str = "plain",
    tint: Tint = WHITE,
    *,
    top: str | None = None,
    without: Sequence[str] = (),
    emission: float = 0.0,
) -> Mesh:
    """Return an axis-aligned cuboid.

    Args:
        size: full extents in metres.
        centre: its middle.
        texture: of every face, but the top's where `top` is given.
        tint: multiplies the texture.
        top: texture of the face that looks up.
        without: faces nobody can see, left out.
        emission: light given off.
    """
    size, centre = np.asarray(size, float), np.asarray(centre, float)
    faces = []
    for name in FACES:
        if name in without:
            continue
        n, s, t = (np.asarray(v, float) * size for v in _FACE_AXES[name])
        face = top if top is not None and name == "+z" else texture
        faces.append(rectangle(centre + (n - s - t) / 2, s, t, face, tint, emission))
    return merge(faces)


def lathe(
    profile: ArrayLike,
    sides: int,
    texture: str = "plain",
    tint: Tint = WHITE,
    *,
    squash: float = 1.0,
    emission: float = 0.0,
) -> Mesh:
    """Return the surface a profile makes when it turns about z.

    Args:
        profile: (K, 2) of radius and height from the top down; radius 0 closes the end.
        sides: number of flat sides.
        texture: fitted once around, or tiled in metres.
        tint: multiplies the texture.
        squash: factor on y, for oval sections.
        emission: light given off.
    """
    profile = np.asarray(profile, float)
    angles = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack([np.cos(angles), np.sin(angles) * squash], axis=1)
    radius, height = profile[:, 0], profile[:, 1]
    points = np.empty((len(profile), sides + 1, 3))
    points[..., :2] = radius[:, None, None] * ring
    points[..., 2] = height[:, None]
    run = np.concatenate([[0], np.cumsum(np.hypot(np.diff(radius), np.diff(height)))])
    tile = TILE[texture]
    around = 2 * np.pi * float(radius.max()) / tile if tile else 1.0
    along = run / tile if tile else run / run[-1]
    uv = np.empty((len(profile), sides + 1, 2))
    uv[..., 0] = np.linspace(0, around, sides + 1)
    uv[..., 1] = along[:, None]
    return quads(_grid(points), _grid(uv), texture, tint, emission)


def cylinder(
    radius: float,
    length: float,
    sides: int = 10,
    texture: str = "plain",
    tint: Tint = WHITE,
    *,
    axis: str = "z",
) -> Mesh:
    """Return a closed cylinder about its middle along axis x, y or z."""
    half = length / 2
    mesh = lathe([(0, half), (radius, half), (radius, -half), (0, -half)], sides, texture, tint)
    order = {"x": (2, 0, 1), "y": (1, 2, 0), "z": (0, 1, 2)}[axis]
    return replace(mesh, corners=np.ascontiguousarray(mesh.corners[..., list(order)]))


def beam(
    start: ArrayLike, end: ArrayLike, width: float, texture: str = "plain", tint: Tint = WHITE
) -> Mesh:
    """Return a square bar from one point to another."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    along = end - start
    length = float(np.linalg.norm(along))
    z = along / length
    helper = np.array([1.0, 0, 0]) if abs(z[2]) > 0.9 else np.array([0, 0, 1.0])
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    T = np.eye(4)
    T[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    T[:3, 3] = (start + end) / 2
    return box((width, width, length), texture=texture, tint=tint).moved(T)


def _face_uv(width: float, height: float, texture: str) -> Array:
    tile = TILE[texture]
    u, v = (width / tile, height / tile) if tile else (1.0, 1.0)
    return np.array([[0, 0], [u, 0], [u, v], [0, v]])


def _grid(values: Array) -> Array:
    """Turn a grid of points (K, S, C), top row first, into the quads between them."""
    tl, tr = values[:-1, :-1], values[:-1, 1:]
    bl, br = values[1:, :-1], values[1:, 1:]
    return np.stack([tl, tr, br, bl], axis=2).reshape(-1, 4, values.shape[2])
