# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Solid textures: every surface of a stream painted anew, each point keeping its colour.

The simulated hall has the surfaces that it has, and many are bare. A texture that is a function of
the point in space, or in its body for what moves, gives any stream others, which stay where they
are while the camera moves (solid texturing, Perlin 1985, https://doi.org/10.1145/325165.325247).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pervformer_ros.geometry import Array, invert, transform_points

Floats = NDArray[np.float32]

WAVES = 6
WAVELENGTHS = (0.12, 3.0)  # m; below the first the camera's depth is not sure enough
STRONGEST = 0.6  # of the logarithm of brightness
CRISPEST = 6.0  # how sharply waves turn into patches
FILLED_PIXELS = 9  # holes in depth up to about this size are painted like what is around them
FAR = 8.0  # m; where what is farther has no depth


@dataclass(frozen=True, slots=True, eq=False)
class Paint:
    """The texture of one stream.

    waves: (WAVES, 3) rad/m; phases: (WAVES,); tints: (WAVES, 3) of the logarithms of red, green
    and blue; crispness: of the edges of patches.
    """

    waves: Floats
    phases: Floats
    tints: Floats
    crispness: float

    def on(self, points: Floats, phase: float = 0.0) -> Floats:
        """Return by what the colours of points (M, 3) in metres are multiplied, (M, 3)."""
        swing = np.sin(points @ self.waves.T + self.phases + np.float32(phase))
        patches = np.tanh(np.float32(self.crispness) * swing)
        return np.exp(patches @ self.tints)


def draw_paint(rng: Generator) -> Paint:
    """Draw a texture: from faint clouds to strong patches."""
    shortest, longest = np.log(WAVELENGTHS)
    lengths = np.exp(rng.uniform(shortest, longest, WAVES))
    directions = rng.normal(size=(WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    strength = rng.uniform(0.1, STRONGEST) / np.sqrt(WAVES)
    grey, colour = rng.normal(size=(WAVES, 1)), rng.normal(size=(WAVES, 3))
    return Paint(
        waves=(directions * (2 * np.pi / lengths)[:, None]).astype(np.float32),
        phases=rng.uniform(0, 2 * np.pi, WAVES).astype(np.float32),
        tints=(strength * (grey + 0.4 * colour)).astype(np.float32),
        crispness=float(rng.uniform(0.5, CRISPEST)),
    )


def paint(
    texture: Paint,
    rgb: Floats,
    metres: Floats,
    instance: NDArray[np.uint16],
    K: Array,
    T_map_camera: Array,
    T_map_object: Array,
) -> Floats:
    """Return an image with its surfaces painted.

    Args:
        texture: of the stream.
        rgb: (H, W, 3) linear or not, from 0.
        metres: (H, W) depth, 0 = none.
        instance: (H, W), 0 = the static world, else body + 1.
        K: (3, 3) of the image.
        T_map_camera: (4, 4).
        T_map_object: (B, 4, 4) of the bodies.
    """
    height, width = metres.shape
    # Textures show no holes, and the noise of depth would show as noise of colour.
    around = cv2.dilate(metres, np.ones((FILLED_PIXELS, FILLED_PIXELS), np.uint8))
    z = cv2.medianBlur(np.where(metres > 0, metres, around), 5)
    z[z == 0] = FAR
    u = (np.arange(width) - K[0, 2]) / K[0, 0]
    v = ((np.arange(height) - K[1, 2]) / K[1, 1])[:, None]
    rays = np.stack(np.broadcast_arrays(u, v, 1.0), axis=-1).astype(np.float32)
    points = (rays * z[..., None]).reshape(-1, 3)
    R, t = T_map_camera[:3, :3].astype(np.float32), T_map_camera[:3, 3].astype(np.float32)
    points = points @ R.T + t
    factor = texture.on(points)
    whose = instance.ravel()
    for body in np.unique(whose[whose > 0]):
        mine = np.flatnonzero(whose == body)
        at = transform_points(invert(T_map_object[body - 1]), points[mine].astype(np.float64))
        factor[mine] = texture.on(at.astype(np.float32), phase=2.4 * float(body))
    return rgb * factor.reshape(rgb.shape)
