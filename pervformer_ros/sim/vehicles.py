# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Forklifts, pallet jacks and other robots; origin on the floor, x forward."""

import numpy as np

from pervformer_ros.sim.mesh import Mesh, Tint, beam, box, cylinder, lathe, merge
from pervformer_ros.sim.person import seated

PAINTS = ((0.85, 0.55, 0.03), (0.80, 0.22, 0.03), (0.65, 0.06, 0.05), (0.12, 0.38, 0.16))
DARK, GREY = (0.10, 0.10, 0.11), (0.38, 0.39, 0.41)
# Where the middle of a pallet lies on a forklift's forks and on a jack's.
FORKLIFT_LOAD_AT, JACK_LOAD_AT = 1.52, 0.66
# Fork height to drive with a load; entering a pallet they are down.
CARRY_HEIGHT = 0.22


class Forklift:
    """A counterbalance truck with a driver: mast, carriage and forks that lift."""

    def __init__(self, rng: np.random.Generator):
        paint = PAINTS[rng.integers(len(PAINTS))]
        self._truck = merge(
            [_chassis(paint), _guard(), _mast(), seated(rng).placed(-0.42, 0, 0.92)]
        )
        self._carriage = _carriage()

    def posed(self, phase: float, lift: float) -> Mesh:
        """Return the mesh with its forks `lift` metres up."""
        return merge([self._truck, self._carriage.placed(0, 0, lift)])


def pallet_jack(rng: np.random.Generator) -> Mesh:
    """Return a hand pallet truck: two forks, pump, a handle that leans back."""
    paint = ((0.80, 0.10, 0.06), (0.85, 0.55, 0.04), (0.1, 0.2, 0.55))[rng.integers(3)]
    parts = [
        box((0.22, 0.5, 0.34), (0.0, 0, 0.27), "steel", paint),
        cylinder(0.07, 0.5, 8, "steel", GREY).placed(-0.1, 0, 0.35),
        cylinder(0.1, 0.14, 10, "rubber", axis="y").placed(-0.1, 0, 0.1),
        beam((-0.12, 0, 0.55), (-0.45, 0, 1.2), 0.05, "steel", DARK),
        beam((-0.45, -0.17, 1.2), (-0.45, 0.17, 1.2), 0.04, "plain", DARK),
        beam((-0.45, -0.17, 1.2), (-0.40, 0.0, 1.05), 0.03, "plain", DARK),
        beam((-0.45, 0.17, 1.2), (-0.40, 0.0, 1.05), 0.03, "plain", DARK),
    ]
    for y in (-0.19, 0.19):
        parts.append(box((1.15, 0.16, 0.05), (0.65, y, 0.09), "steel", paint))
        parts.append(cylinder(0.04, 0.12, 8, "rubber", axis="y").placed(1.1, y, 0.04))
    return merge(parts)


def mobile_robot(rng: np.random.Generator) -> Mesh:
    """Return a low transport robot: light strip, laser scanner, a deck with a rim."""
    shell = ((0.82, 0.83, 0.84), (0.12, 0.13, 0.15), (0.15, 0.35, 0.6))[rng.integers(3)]
    glow = ((0.1, 0.7, 1.0), (0.1, 0.9, 0.3), (1.0, 0.5, 0.1))[rng.integers(3)]
    parts = [
        box((0.9, 0.6, 0.24), (0, 0, 0.2), "steel", shell),
        box((0.92, 0.62, 0.04), (0, 0, 0.2), "plain", glow, emission=1.2),
        box((0.84, 0.54, 0.03), (0, 0, 0.335), "rubber"),
        cylinder(0.07, 0.08, 12, "plain", DARK).placed(0.33, 0, 0.38),
        cylinder(0.05, 0.03, 12, "plain", (0.5, 0.1, 0.1)).placed(0.33, 0, 0.43),
        box((0.03, 0.3, 0.08), (0.455, 0, 0.27), "plain", (0.02, 0.02, 0.03)),
    ]
    for x in (-0.3, 0.3):
        parts += [
            cylinder(0.09, 0.06, 10, "rubber", axis="y").placed(x, y, 0.09) for y in (-0.27, 0.27)
        ]
    if rng.random() < 0.5:  # a shelf for parcels
        parts += [
            beam((x, y, 0.34), (x, y, 1.2), 0.04, "steel", GREY)
            for x in (-0.4, 0.1)
            for y in (-0.25, 0.25)
        ]
        parts += [box((0.56, 0.56, 0.03), (-0.15, 0, z), "steel", shell) for z in (0.75, 1.2)]
        parts.append(box((0.4, 0.35, 0.3), (-0.15, 0, 0.92), "carton_0", top="carton_top"))
    return merge(parts)


def _chassis(paint: Tint) -> Mesh:
    parts = [
        box((1.45, 1.04, 0.42), (-0.12, 0, 0.42), "steel", paint),
        lathe([(0, 1.0), (0.52, 1.0), (0.6, 0.85), (0.6, 0.32), (0, 0.32)], 12, "steel", paint,
              squash=0.9).placed(-0.72, 0, 0),
        box((0.5, 1.0, 0.16), (-0.98, 0, 0.30), "plain", DARK),
        box((0.75, 0.86, 0.3), (-0.48, 0, 0.76), "steel", GREY),
        box((0.5, 0.5, 0.1), (-0.45, 0, 0.93), "plain", DARK),
        box((0.1, 0.5, 0.5), (-0.72, 0, 1.2), "plain", DARK),
        box((0.22, 0.9, 0.45), (0.48, 0, 0.75), "steel", paint),
        beam((0.36, 0, 0.9), (0.12, 0, 1.18), 0.05, "plain", DARK),
        cylinder(0.16, 0.03, 10, "plain", DARK).placed(0.1, 0, 1.2),
    ]  # fmt: skip
    for x, y, r, width in ((0.42, 0.46, 0.31, 0.2), (-0.78, 0.44, 0.25, 0.18)):
        for side in (-1, 1):
            wheel = merge([
                cylinder(r, width, 14, "rubber", axis="y"),
                cylinder(r * 0.55, width + 0.02, 10, "steel", (0.75, 0.75, 0.72), axis="y"),
            ])  # fmt: skip
            parts.append(wheel.placed(x, side * y, r))
    head_lamp = box((0.06, 0.12, 0.12), (0.6, 0, 1.02), "plain", emission=1.2)
    parts += [head_lamp.placed(0, y) for y in (-0.4, 0.4)]
    return merge(parts)


def _guard() -> Mesh:
    """The cage over the driver, with its beacon."""
    parts = []
    for y in (-0.47, 0.47):
        parts.append(beam((0.5, y, 0.9), (0.28, y, 2.1), 0.07, "plain", DARK))
        parts.append(beam((-0.95, y, 0.9), (-0.8, y, 2.1), 0.07, "plain", DARK))
        parts.append(beam((0.28, y, 2.1), (-0.8, y, 2.1), 0.07, "plain", DARK))
    parts += [
        beam((x, -0.47, 2.1), (x, 0.47, 2.1), 0.05, "plain", DARK)
        for x in np.linspace(-0.8, 0.28, 6)
    ]
    amber = lathe([(0, 0.12), (0.05, 0.1), (0.06, 0)], 8, "plain", (1.0, 0.5, 0.05), emission=1.5)
    parts.append(amber.placed(-0.7, 0.3, 2.13))
    return merge(parts)


def _mast() -> Mesh:
    parts = [box((0.14, 0.09, 2.1), (0.72, y, 1.1), "steel", DARK) for y in (-0.33, 0.33)]
    parts += [box((0.1, 0.06, 2.0), (0.76, y, 1.1), "steel", GREY) for y in (-0.25, 0.25)]
    parts += [box((0.06, 0.66, 0.08), (0.72, 0, z), "steel", DARK) for z in (0.35, 1.25, 2.1)]
    parts.append(cylinder(0.04, 1.8, 8, "steel", GREY).placed(0.70, 0, 1.1))
    return merge(parts)


def _carriage() -> Mesh:
    """Fork carriage, load guard and forks, at their lowest."""
    parts = [box((0.05, 0.95, 0.08), (0.86, 0, z), "steel", DARK) for z in (0.18, 0.52)]
    parts += [box((0.04, 0.04, 0.95), (0.86, y, 0.65), "steel", DARK)
              for y in (-0.45, -0.22, 0.0, 0.22, 0.45)]  # fmt: skip
    parts.append(box((0.04, 0.95, 0.05), (0.86, 0, 1.12), "steel", DARK))
    for y in (-0.24, 0.24):
        parts.append(box((0.05, 0.12, 0.55), (0.90, y, 0.3), "steel", GREY))
        parts.append(box((1.1, 0.12, 0.04), (1.43, y, 0.06), "steel", GREY))
    return merge(parts)
