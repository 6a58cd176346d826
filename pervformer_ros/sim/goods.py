# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Euro pallets and what stands on them, as meshes with the origin on the floor at the centre."""

from functools import cache

import numpy as np

from pervformer_ros.sim.mesh import Mesh, box, cylinder, merge
from pervformer_ros.sim.textures import CARTON_STYLES

# A euro pallet, EN 13698-1, is 1200 mm x 800 mm x 144 mm; forks enter along x.
_SKIDS = (-0.35, 0.0, 0.35)
LOADS = ("cartons", "stack", "wrapped", "crates", "drums", "sacks", "empty")


@cache
def pallet() -> Mesh:
    """Return an empty euro pallet: three skids, nine blocks, five deck boards."""
    parts = []
    for y in _SKIDS:
        parts.append(box((1.2, 0.1, 0.022), (0, y, 0.011), "wood"))
        parts.append(box((1.2, 0.1, 0.022), (0, y, 0.111), "wood", without=("-z", "+z")))
        parts += [
            box((0.13, 0.1, 0.078), (x, y, 0.061), "wood", (0.85, 0.8, 0.75), without=("-z", "+z"))
            for x in (-0.53, 0.0, 0.53)
        ]
    parts += [
        box((1.2, 0.13, 0.022), (0, y, 0.133), "wood")
        for y in (-0.335, -0.1675, 0.0, 0.1675, 0.335)
    ]
    return merge(parts)


@cache
def plain_pallet() -> Mesh:
    """Return a pallet without what its load hides anyway, for the thousands in racks."""
    parts = [box((1.2, 0.8, 0.022), (0, 0, 0.133), "wood")]
    parts += [box((1.2, 0.1, 0.022), (0, y, 0.011), "wood", without=("-z",)) for y in _SKIDS]
    parts += [
        box((0.13, 0.1, 0.1), (x, y, 0.072), "wood", (0.85, 0.8, 0.75), without=("-z", "+z"))
        for x in (-0.53, 0.53)
        for y in _SKIDS
    ]
    return merge(parts)


def carton(size: tuple[float, float, float], style: int) -> Mesh:
    """Return a cardboard box standing on the floor."""
    return box(size, (0, 0, size[2] / 2), f"carton_{style}", top="carton_top", without=("-z",))


def load(kind: str, height: float, rng: np.random.Generator) -> Mesh:
    """Return goods for a pallet, standing on z = 0, at most `height` tall.

    Raises:
        ValueError: if `kind` is not one of LOADS.
    """
    tint = tuple(rng.uniform(0.85, 1.1, 3))
    if kind == "empty":
        return merge([])
    if kind == "cartons":
        return _cartons(height, rng)
    if kind == "stack":
        texture = f"stack_{rng.integers(CARTON_STYLES)}"
        return box((1.16, 0.76, height), (0, 0, height / 2), texture, tint, top="carton_top",
                   without=("-z",))  # fmt: skip
    if kind == "wrapped":
        texture = f"wrapped_{rng.integers(2)}"
        return box((1.14, 0.74, height), (0, 0, height / 2), texture, top="cardboard",
                   without=("-z",))  # fmt: skip
    if kind == "crates":
        texture = f"crate_{rng.integers(2)}"
        return merge(
            box((0.58, 0.78, height), (x, 0, height / 2), texture, tint, without=("-z",))
            for x in (-0.295, 0.295)
        )
    if kind == "drums":
        tall = min(height, 0.88)
        drum = cylinder(0.19, tall, 12, "drum", tint)
        spots = [(x, y) for x in (-0.39, 0.0, 0.39) for y in (-0.2, 0.2)]
        return merge(drum.placed(x, y, tall / 2, float(rng.uniform(0, 6))) for x, y in spots)
    if kind == "sacks":
        tall = min(height, 0.9)
        return box((1.12, 0.74, tall), (0, 0, tall / 2), "sacks", tint, without=("-z",))
    raise ValueError(f"there is no load '{kind}': use one of {', '.join(LOADS)}")


def _cartons(height: float, rng: np.random.Generator) -> Mesh:
    """Stack single cartons in layers, a little out of line, the top layer not full."""
    columns, rows = ((2, 2), (3, 2), (2, 1))[rng.integers(3)]
    sx, sy = 1.16 / columns, 0.76 / rows
    layers = int(rng.integers(2, 5))
    sz = height / layers
    style = int(rng.integers(CARTON_STYLES))
    parts = []
    for layer in range(layers):
        for i in range(columns):
            for j in range(rows):
                if layer == layers - 1 and rng.random() < 0.35:
                    continue
                x = (i + 0.5) * sx - 0.58 + rng.uniform(-0.015, 0.015)
                y = (j + 0.5) * sy - 0.38 + rng.uniform(-0.015, 0.015)
                piece = carton((sx - 0.02, sy - 0.02, sz - 0.005), style)
                parts.append(piece.placed(x, y, layer * sz, float(rng.uniform(-0.03, 0.03))))
    return merge(parts)
