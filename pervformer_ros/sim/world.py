# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the hall and all that never moves in it from a floor plan."""

from itertools import pairwise

import numpy as np

from pervformer_ros.sim.goods import LOADS, load, pallet, plain_pallet
from pervformer_ros.sim.layout import BAY_WIDTH, RACK_DEPTH, UPRIGHT, Dock, Layout, Rack
from pervformer_ros.sim.mesh import Mesh, beam, box, cylinder, merge, rectangle
from pervformer_ros.sim.rng import stream

# Paint and signs lie this far over what they are painted on.
LAYER_GAP = 0.004
_POSTS = (
    (0.08, 0.16, 0.42),
    (0.07, 0.27, 0.18),
    (0.42, 0.44, 0.46),
    (0.50, 0.08, 0.06),
    (0.70, 0.55, 0.08),
    (0.10, 0.11, 0.12),
)
_BEAMS = (
    (0.85, 0.30, 0.04),
    (0.80, 0.62, 0.06),
    (0.10, 0.20, 0.50),
    (0.48, 0.50, 0.52),
    (0.60, 0.08, 0.06),
)
_WAINSCOTS = (
    (0.30, 0.42, 0.62),
    (0.40, 0.58, 0.42),
    (0.75, 0.62, 0.30),
    (0.42, 0.42, 0.44),
    (0.62, 0.36, 0.30),
)
LINE_YELLOW, LINE_WHITE = (0.85, 0.66, 0.08), (0.82, 0.82, 0.80)


def build(layout: Layout, seed: int) -> Mesh:
    """Return the static mesh of this plan: hall, racks with goods, paint, signs, bays."""
    rng = stream(seed, "world")
    parts = [
        _shell(layout),
        _wainscot(layout, rng),
        *_docks(layout),
        _paint(layout, rng),
        _fittings(layout, rng),
    ]
    colours = _rack_colours(rng)
    fill = float(rng.uniform(0.65, 0.92))
    kinds = _assortment(rng)
    parts += [_rack(rack, *colours) for rack in layout.racks]
    parts += [_rack_goods(rack, fill, kinds, rng) for rack in layout.racks]
    parts += [_aisle_signs(layout), _charging_bay(layout)]
    return merge(parts)


def _shell(layout: Layout) -> Mesh:
    w, d, h = layout.width, layout.depth, layout.height
    parts = [
        rectangle((0, d, 0), (w, 0, 0), (0, -d, 0), "concrete"),
        rectangle((0, 0, h), (w, 0, 0), (0, d, 0), "roof"),
        rectangle((0, d, h), (w, 0, 0), (0, 0, -h), "wall"),
        rectangle((0, 0, h), (0, d, 0), (0, 0, -h), "wall"),
        rectangle((w, d, h), (0, -d, 0), (0, 0, -h), "wall"),
    ]
    parts += _front_wall(layout)
    for x, y in layout.columns:
        parts.append(box((0.34, 0.34, h), (x, y, h / 2), "wall", without=("-z", "+z")))
        parts.append(box((0.37, 0.37, 1.1), (x, y, 0.55), "hazard", without=("-z",)))
    for y in np.arange(2.5, d, 5.0):
        parts.append(box((w, 0.18, 0.35), (w / 2, y, h - 0.25), "steel", (0.5, 0.52, 0.55)))
    return merge(parts)


def _wainscot(layout: Layout, rng: np.random.Generator) -> Mesh:
    """The painted lower part of the side and back walls, in some warehouses."""
    if rng.random() < 0.5:
        return merge([])
    w, d, h = layout.width, layout.depth, float(rng.uniform(1.0, 2.2))
    tint, gap = _WAINSCOTS[rng.integers(len(_WAINSCOTS))], LAYER_GAP / 2
    return merge([
        rectangle((0, d - gap, h), (w, 0, 0), (0, 0, -h), "wall", tint),
        rectangle((gap, 0, h), (0, d, 0), (0, 0, -h), "wall", tint),
        rectangle((w - gap, d, h), (0, -d, 0), (0, 0, -h), "wall", tint),
    ])  # fmt: skip


def _front_wall(layout: Layout) -> list[Mesh]:
    """The wall with holes where the docks are."""
    w, h = layout.width, layout.height
    parts, x = [], 0.0
    for dock in layout.docks:
        left, right = dock.x - dock.width / 2, dock.x + dock.width / 2
        parts.append(rectangle((left, 0, h), (x - left, 0, 0), (0, 0, -h), "wall"))
        above = h - dock.height
        parts.append(rectangle((right, 0, h), (-dock.width, 0, 0), (0, 0, -above), "wall"))
        x = right
    parts.append(rectangle((w, 0, h), (x - w, 0, 0), (0, 0, -h), "wall"))
    return parts


def _docks(layout: Layout) -> list[Mesh]:
    """Return the docks, and what is seen through those that are open."""
    parts = [merge(_dock(dock)) for dock in layout.docks]
    if any(dock.open for dock in layout.docks):
        # Farther off than sunlight is traced, so that it does not hide the sun.
        corner = (layout.width / 2 + 60, -35.0, 26.0)
        parts.append(rectangle(corner, (-120, 0, 0), (0, 0, -36), "sky", emission=1.6))
    return parts


def _dock(dock: Dock) -> list[Mesh]:
    left, w, h = dock.x - dock.width / 2, dock.width, dock.height
    right = left + w
    shut = 0.6 if dock.open else h
    return [
        rectangle((right, -0.12, h), (-w, 0, 0), (0, 0, -shut), "roller_door"),
        box((0.16, 0.2, h), (left - 0.05, 0.0, h / 2), "hazard"),
        box((0.16, 0.2, h), (right + 0.05, 0.0, h / 2), "hazard"),
        box((w + 0.3, 0.2, 0.2), (dock.x, 0.0, h + 0.1), "steel", (0.3, 0.3, 0.32)),
        rectangle((dock.x + 0.4, 0.12, h + 1.1), (-0.8, 0, 0), (0, 0, -0.8), f"dock_{dock.number}"),
        rectangle((left, 0, 0), (w, 0, 0), (0, -2.5, 0), "concrete", (0.8, 0.8, 0.8)),
        # Rubber bumpers at both sides, on the floor inside.
        box((0.2, 0.3, 0.45), (left - 0.25, 0.15, 0.23), "rubber"),
        box((0.2, 0.3, 0.45), (right + 0.25, 0.15, 0.23), "rubber"),
    ]


def _stripe(
    x0: float, y0: float, x1: float, y1: float, texture: str, tint: tuple[float, ...]
) -> Mesh:
    corner = (min(x0, x1), max(y0, y1), LAYER_GAP)
    return rectangle(corner, (abs(x1 - x0), 0, 0), (0, -abs(y1 - y0), 0), texture, tint)


def _outline(x0: float, y0: float, x1: float, y1: float, width: float,
             tint: tuple[float, ...]) -> list[Mesh]:  # fmt: skip
    return [
        _stripe(x0, y0, x1, y0 + width, "paint", tint),
        _stripe(x0, y1 - width, x1, y1, "paint", tint),
        _stripe(x0, y0 + width, x0 + width, y1 - width, "paint", tint),
        _stripe(x1 - width, y0 + width, x1, y1 - width, "paint", tint),
    ]


def _paint(layout: Layout, rng: np.random.Generator) -> Mesh:
    """Floor markings: aisle edges, staging areas, a zebra walkway along the docks."""
    tint = LINE_YELLOW if rng.random() < 0.7 else LINE_WHITE
    parts = []
    for aisle in layout.aisles:
        for side in (-1, 1):
            x = aisle.x + side * (aisle.width / 2 - 0.12)
            parts.append(_stripe(x - 0.05, layout.front, x + 0.05, layout.back, "paint", tint))
    for area in layout.staging:
        parts += _outline(area.x0, area.y0, area.x1, area.y1, 0.09, LINE_WHITE)
    bay = layout.charging
    parts += _outline(bay.x0, bay.y0, bay.x1, bay.y1, 0.1, LINE_YELLOW)
    y = layout.front - 3.15
    parts.append(_stripe(0.3, y, layout.width - 0.3, y + 0.08, "paint", tint))
    y0, y1 = layout.back + 0.25, layout.back + 0.33
    parts.append(_stripe(0.3, y0, layout.width - 0.3, y1, "paint", tint))
    if rng.random() < 0.7:
        start = float(rng.uniform(1.0, 2.0))
        parts += [
            _stripe(x, layout.front - 3.0, x + 0.3, layout.front - 0.5, "paint", LINE_WHITE)
            for x in np.arange(start, start + 2.4, 0.6)
        ]
    return merge(parts)


def _rack_colours(rng: np.random.Generator) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return _POSTS[rng.integers(len(_POSTS))], _BEAMS[rng.integers(len(_BEAMS))]


def _rack(rack: Rack, post: tuple[float, ...], bar: tuple[float, ...]) -> Mesh:
    """Uprights with braces, beams front and rear, shelf boards."""
    top = rack.levels[-1] + 1.3
    x0, x1 = rack.x + UPRIGHT / 2, rack.x + RACK_DEPTH - UPRIGHT / 2
    parts = []
    for i in range(rack.bays + 1):
        y = rack.y + UPRIGHT / 2 + i * BAY_WIDTH
        parts += [
            box((UPRIGHT, UPRIGHT, top), (x, y, top / 2), "steel", post, without=("-z",))
            for x in (x0, x1)
        ]
        heights = np.linspace(0.3, top - 0.2, 5)
        parts += [beam((x0, y, a), (x1, y, b), 0.04, "steel", post) for a, b in pairwise(heights)]
        guard = x1 + 0.1 if rack.face > 0 else x0 - 0.1
        parts.append(box((0.06, 0.16, 0.4), (guard, y, 0.2), "hazard", without=("-z",)))
    for level in rack.levels:
        y = rack.y + rack.length / 2
        length = rack.length - UPRIGHT
        parts += [box((0.05, length, 0.12), (x, y, level - 0.06), "steel", bar) for x in (x0, x1)]
        shelf = (rack.x + RACK_DEPTH / 2, y, level - 0.0125)
        parts.append(box((RACK_DEPTH - 0.12, length, 0.025), shelf, "deck"))
    return merge(parts)


def _assortment(rng: np.random.Generator) -> list[str]:
    """Return what this warehouse stores: a few kinds, so that its aisles look alike."""
    kinds = [k for k in LOADS if k != "empty"]
    return [str(k) for k in rng.choice(kinds, 4, replace=False)] + ["empty"]


def _rack_goods(rack: Rack, fill: float, kinds: list[str], rng: np.random.Generator) -> Mesh:
    """Pallets three to a bay on every level, the short side towards the aisle."""
    heights = (0.0, *rack.levels)
    pitch = np.diff([*heights, heights[-1] + 1.7])
    weights = np.array([1.0] * (len(kinds) - 1) + [0.25])
    weights /= weights.sum()
    parts = []
    for bay in range(rack.bays):
        for slot in range(3):
            for z, room in zip(heights, pitch, strict=True):
                if rng.random() > fill:
                    continue
                kind = str(rng.choice(kinds, p=weights))
                tall = float(rng.uniform(0.5, 0.95) * (room - 0.45))
                goods = load(kind, tall, rng).placed(0, 0, 0.144)
                x = rack.x + RACK_DEPTH / 2 + rng.uniform(-0.03, 0.03)
                y = rack.y + UPRIGHT + 0.1 + (slot + 0.5) * 0.86 + bay * BAY_WIDTH
                unit = merge([pallet() if kind == "empty" else plain_pallet(), goods])
                parts.append(unit.placed(x, y, z + LAYER_GAP, float(rng.uniform(-0.03, 0.03))))
    return merge(parts)


def _aisle_signs(layout: Layout) -> Mesh:
    """A letter over both ends of each aisle, hung from the roof."""
    parts = []
    for aisle in layout.aisles:
        for y in (layout.front - 0.1, layout.back + 0.1):
            z, half = 3.6, 0.4
            parts.append(box((2 * half, 0.05, 2 * half), (aisle.x, y, z), f"aisle_{aisle.letter}"))
            parts += [
                beam((aisle.x + dx, y, z + half), (aisle.x + dx, y, layout.height), 0.03, "steel",
                     (0.3, 0.3, 0.3)) for dx in (-0.3, 0.3)
            ]  # fmt: skip
    return merge(parts)


def _charging_bay(layout: Layout) -> Mesh:
    bay = layout.charging
    w = layout.width
    parts = [rectangle((w - LAYER_GAP, 2.6, 2.6), (0, -1.2, 0), (0, 0, -0.6), "charging")]
    for y in (1.3, 2.6):
        parts.append(box((0.35, 0.6, 1.3), (w - 0.2, y, 0.65), "steel", (0.75, 0.78, 0.8)))
        parts.append(rectangle((w - 0.38, y + 0.25, 1.2), (0, -0.5, 0), (0, 0, -1.0), "panel"))
        parts.append(beam((w - 0.4, y - 0.1, 0.9), (w - 0.6, y - 0.1, 0.15), 0.05, "rubber"))
    parts.append(box((0.12, bay.y1 - bay.y0, 0.25), (bay.x0, bay.centre[1], 0.125), "hazard"))
    return merge(parts)


def _fittings(layout: Layout, rng: np.random.Generator) -> Mesh:
    """Fire points, warning signs, bins, pipes: what makes one bare wall unlike the next."""
    w, d = layout.width, layout.depth
    back, parts = d - LAYER_GAP, []
    # Slots along the wall, so that nothing hangs over something else.
    slots = rng.permutation(np.arange(1.2, w - 1.0, 1.4)) + rng.uniform(-0.2, 0.2)
    for x in slots[:2]:
        parts.append(rectangle((x - 0.2, back, 1.9), (0.4, 0, 0), (0, 0, -0.4), "fire"))
        parts.append(cylinder(0.09, 0.55, 10, "steel", (0.75, 0.05, 0.04)).placed(x, d - 0.1, 0.7))
    for x in slots[2:4]:  # people's doors with exit signs over them
        parts.append(rectangle((x - 0.5, back, 2.1), (1.0, 0, 0), (0, 0, -2.1), "door"))
        over = (x - 0.35, back, 2.55)
        parts.append(rectangle(over, (0.7, 0, 0), (0, 0, -0.3), "exit", emission=0.35))
    tone = tuple(rng.uniform(0.1, 0.5, 3))
    parts.append(box((0.8, 0.5, 0.9), (slots[4], d - 0.35, 0.45), "steel", tone, without=("-z",)))
    parts += [
        rectangle((dock.x + 2.2, 0.01, 2.4), (-0.6, 0, 0), (0, 0, -0.6), "warning")
        for dock in layout.docks[:2]
    ]
    z = float(rng.uniform(3.5, 4.5))
    parts.append(box((w, 0.1, 0.1), (w / 2, d - 0.12, z), "steel", (0.55, 0.12, 0.08)))
    return merge(parts)
