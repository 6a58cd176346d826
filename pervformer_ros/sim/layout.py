# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The floor plan of a warehouse: what is where, as numbers, drawn from a seed.

The map frame has its origin in the hall's front left corner, x along the front wall with its dock
doors, y into the aisles. Racks stand in rows along y; two cross-aisles join the aisles, the wide
`front` before the docks and the narrower `back`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.geometry import Array
from pervformer_ros.sim.rng import stream
from pervformer_ros.sim.textures import AISLE_LETTERS, DOCK_NUMBERS

RACK_DEPTH = 1.1
BAY_WIDTH = 2.7
UPRIGHT = 0.1
# Distance from the hall's walls to a rack's back.
WALL_GAP = 0.25
# How far the corridor that must stay free reaches to either side of a path's centre line.
PATH_HALF_WIDTH = 0.45


@dataclass(frozen=True, slots=True)
class Rack:
    """A row of bays along y. `face` is +1 where goods are taken from the +x side, else -1."""

    x: float
    y: float
    bays: int
    levels: tuple[float, ...]
    face: int

    @property
    def length(self) -> float:
        """Extent along y in metres."""
        return self.bays * BAY_WIDTH + UPRIGHT


@dataclass(frozen=True, slots=True)
class Rectangle:
    """An axis-aligned area of the floor, in metres of the map frame."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def centre(self) -> tuple[float, float]:
        """The middle."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2


@dataclass(frozen=True, slots=True)
class Aisle:
    """A lane between racks; `x` is its centre line."""

    name: str
    letter: str
    x: float
    width: float


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """A named strip of floor around a centre line (K, 2) that traffic needs free."""

    name: str
    centre_line: NDArray[np.float64]
    half_width: float = PATH_HALF_WIDTH


@dataclass(frozen=True, slots=True)
class Dock:
    """A door for lorries in the front wall, centred at x."""

    number: str
    x: float
    width: float
    height: float
    open: bool


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Everything that is built, in metres of the map frame.

    front, back: y where the racks begin and end.
    """

    width: float
    depth: float
    height: float
    front: float
    back: float
    aisles: tuple[Aisle, ...]
    racks: tuple[Rack, ...]
    docks: tuple[Dock, ...]
    columns: tuple[tuple[float, float], ...]
    staging: tuple[Rectangle, ...]
    charging: Rectangle

    @property
    def cross_front_y(self) -> float:
        """The y of the front cross-aisle's centre line, clear of staging and docks."""
        return self.front - 1.7

    @property
    def truck_lane_y(self) -> float:
        """The y of the lane along the docks in which forklifts turn."""
        return 4.7

    @property
    def cross_back_y(self) -> float:
        """The y of the back cross-aisle's centre line."""
        return (self.back + self.depth) / 2

    def paths(self) -> tuple[Path, ...]:
        """Return the strips that traffic needs free: every aisle and both cross-aisles."""
        first, last = self.aisles[0].x, self.aisles[-1].x
        front, back = self.cross_front_y, self.cross_back_y
        strips = [
            Path(a.name, np.array([[a.x, self.front], [a.x, self.back]])) for a in self.aisles
        ]
        strips.append(Path("front", np.array([[first, front], [last, front]])))
        strips.append(Path("back", np.array([[first, back], [last, back]])))
        return tuple(strips)

    def crossing(self, aisle: int, end: str) -> Array:
        """Return the point (2,) where an aisle meets the front or back cross-aisle."""
        y = self.cross_front_y if end == "front" else self.cross_back_y
        return np.array([self.aisles[aisle].x, y])


def plan(seed: int) -> Layout:
    """Draw a floor plan."""
    rng = stream(seed, "layout")
    count = int(rng.integers(3, 5))
    bays = int(rng.integers(4, 7)) if count == 3 else int(rng.integers(3, 6))
    front = float(rng.uniform(9.2, 10.2))
    back = front + bays * BAY_WIDTH + UPRIGHT
    depth = back + float(rng.uniform(4.6, 5.4))
    levels = _levels(rng)
    aisles, racks, x = _rows(rng, count, bays, front, levels)
    width = x + WALL_GAP
    docks = _docks(rng, width)
    staging = tuple(Rectangle(d.x - 1.5, 1.2, d.x + 1.5, 3.6) for d in docks)
    charging = Rectangle(width - 2.4, 0.6, width - 0.4, 3.4)
    return Layout(
        width=width,
        depth=depth,
        height=max(levels[-1] + 2.2, 6.2),
        front=front,
        back=back,
        aisles=aisles,
        racks=racks,
        docks=docks,
        columns=_columns(rng, racks, front),
        staging=staging,
        charging=charging,
    )


def _levels(rng: np.random.Generator) -> tuple[float, ...]:
    """Return the heights of the shelves above the floor."""
    pitch = float(rng.uniform(1.45, 1.8))
    return tuple(pitch * (i + 1) for i in range(int(rng.integers(2, 4))))


def _rows(
    rng: np.random.Generator, count: int, bays: int, front: float, levels: tuple[float, ...]
) -> tuple[tuple[Aisle, ...], tuple[Rack, ...], float]:
    """Place aisles and the racks beside them from left to right; a side wall may stay bare."""
    width = float(rng.uniform(3.0, 3.6))
    bare_left, bare_right = rng.random(2) < 0.3
    aisles: list[Aisle] = []
    racks: list[Rack] = []
    x = WALL_GAP
    if not bare_left:
        racks.append(Rack(x, front, bays, levels, 1))
        x += RACK_DEPTH
    for i in range(count):
        aisles.append(
            Aisle(f"aisle_{AISLE_LETTERS[i].lower()}", AISLE_LETTERS[i], x + width / 2, width)
        )
        x += width
        if i < count - 1:
            racks.append(Rack(x, front, bays, levels, -1))
            racks.append(Rack(x + RACK_DEPTH + 0.15, front, bays, levels, 1))
            x += 2 * RACK_DEPTH + 0.15
    if not bare_right:
        racks.append(Rack(x, front, bays, levels, -1))
        x += RACK_DEPTH
    return tuple(aisles), tuple(racks), x


def _docks(rng: np.random.Generator, width: float) -> tuple[Dock, ...]:
    count = min(int(rng.integers(2, 4)), len(DOCK_NUMBERS))
    # The right end of the front wall belongs to the charging bay.
    xs = np.linspace(2.6, width - 5.0, count)
    is_open = rng.random(count) < 0.4
    return tuple(
        Dock(DOCK_NUMBERS[i], float(xs[i]), 2.6, 3.0, bool(is_open[i])) for i in range(count)
    )


def _columns(
    rng: np.random.Generator, racks: tuple[Rack, ...], front: float
) -> tuple[tuple[float, float], ...]:
    """Stand columns at the ends of the double racks, out of every lane."""
    xs = [r.x - 0.075 for r in racks if r.face == 1 and r.x > 1.0]
    y = front - 0.3 if rng.random() < 0.6 else 0.5
    return tuple((x, y) for x in xs)
