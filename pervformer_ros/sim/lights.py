# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Lamps and sunlight: where they hang, how bright they are at a point."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.geometry import Array
from pervformer_ros.sim.layout import Layout
from pervformer_ros.sim.mesh import Mesh, box, merge, rectangle
from pervformer_ros.sim.rng import stream

# Distance at which a lamp's light has faded to nothing.
LAMP_RANGE = 14.0
# Light that arrives from everywhere by way of walls and floor, relative to one lamp's floor spot.
AMBIENT = (0.13, 0.30)
LAMP_LENGTH = 1.4


@dataclass(frozen=True, slots=True, eq=False)
class Lamps:
    """L lamps that shine downwards.

    position: (L, 3) metres. colour: (L, 3) intensity, 1 lights the floor below to about 1.
    ambient: share of their light that arrives from everywhere.
    """

    position: Array
    colour: Array
    ambient: float

    def __len__(self) -> int:
        return len(self.position)

    def irradiance(
        self, lamp: int, points: NDArray[np.floating], normals: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """Return what one lamp gives to points (M, 3) with normals (M, 3), unshadowed: (M,).

        Inverse square law, Lambert's cosine at both ends, faded out at LAMP_RANGE.
        """
        to_lamp = self.position[lamp].astype(np.float32) - points
        d2 = np.einsum("ij,ij->i", to_lamp, to_lamp)
        cos_surface = np.maximum(np.einsum("ij,ij->i", to_lamp, normals), 0)
        cos_lamp = np.maximum(to_lamp[:, 2], 0)
        fade = np.maximum(1 - d2 / LAMP_RANGE**2, 0) ** 2
        return np.asarray(cos_surface * cos_lamp * fade / np.maximum(d2, 0.25) ** 2, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Sun:
    """Parallel light: direction (3,) towards the sun, colour (3,)."""

    direction: Array
    colour: Array


def hang(layout: Layout, seed: int) -> Lamps:
    """Hang lamps along the aisles and cross-aisles."""
    rng = stream(seed, "lamps")
    z = layout.height - 0.55
    spacing = float(rng.uniform(3.6, 5.0))
    spots = []
    for aisle in layout.aisles:
        count = max(2, round((layout.back - layout.front) / spacing))
        ys = np.linspace(layout.front + 1.5, layout.back - 1.5, count)
        spots += [(aisle.x, float(y)) for y in ys]
    for y, gap in ((layout.front / 2, 4.5), (layout.cross_back_y, 5.0)):
        count = max(2, round(layout.width / gap))
        xs = np.linspace(2.0, layout.width - 2.0, count)
        spots += [(float(x), y) for x in xs]
    position = np.array([(x, y, z) for x, y in spots])
    warmth = float(rng.uniform(-0.14, 0.2))
    tone = np.array([1 + warmth, 1.0, 1 - 1.4 * warmth])
    # Old and new tubes: no two lamps are quite alike.
    power = rng.uniform(0.65, 1.1, (len(spots), 1)) * z**2
    return Lamps(position, power * tone, float(rng.uniform(*AMBIENT)))


def shine(seed: int) -> Sun:
    """Return sunlight that falls through the open docks, as of some hour of the day."""
    rng = stream(seed, "sun")
    azimuth, elevation = rng.uniform(-0.7, 0.7), rng.uniform(0.35, 0.8)
    level = np.cos(elevation)
    direction = (level * np.sin(azimuth), -level * np.cos(azimuth), np.sin(elevation))
    return Sun(np.array(direction), 4.0 * np.array([1.0, 0.93, 0.8]))


def fixtures(lamps: Lamps) -> list[Mesh]:
    """Return the tube housings, one mesh per lamp, glowing underneath."""
    meshes = []
    for x, y, z in lamps.position:
        z = z + 0.12
        case = box((LAMP_LENGTH, 0.22, 0.1), (x, y, z + 0.05), "steel", (0.6, 0.6, 0.6),
                   without=("-z",))  # fmt: skip
        corner = (x - LAMP_LENGTH / 2, y - 0.11, z)
        tube = rectangle(corner, (LAMP_LENGTH, 0, 0), (0, 0.22, 0), "plain", emission=3.0)
        meshes.append(merge([case, tube]))
    return meshes
