# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The catalogue: every kind of thing that is not built in, by the design's classes."""

from functools import partial

import numpy as np

from pervformer_ros.sim.goods import LOADS, carton, load, pallet
from pervformer_ros.sim.kinds import Kind, Model, Rigid
from pervformer_ros.sim.mesh import Mesh, Tint, box, cylinder, lathe, merge
from pervformer_ros.sim.person import Person, camouflage_clothes
from pervformer_ros.sim.textures import CARTON_STYLES
from pervformer_ros.sim.vehicles import Forklift, mobile_robot, pallet_jack

Rng = np.random.Generator


def _pallet(rng: Rng, kinds: tuple[str, ...]) -> Model:
    kind = kinds[rng.integers(len(kinds))]
    goods = load(kind, float(rng.uniform(0.6, 1.3)), rng)
    return Rigid(merge([pallet(), goods.placed(0, 0, 0.144)]))


def _tall_pallet(rng: Rng) -> Model:
    goods = load(("stack", "wrapped")[rng.integers(2)], float(rng.uniform(1.75, 1.9)), rng)
    return Rigid(merge([pallet(), goods.placed(0, 0, 0.144)]))


def _box(rng: Rng) -> Model:
    length, width, height = (float(v) for v in rng.uniform((0.4, 0.3, 0.25), (0.7, 0.5, 0.5)))
    return Rigid(carton((length, width, height), int(rng.integers(CARTON_STYLES))))


def _cone(rng: Rng) -> Model:
    tall = float(rng.uniform(0.5, 0.75))
    orange, white = (0.95, 0.25, 0.03), (0.9, 0.9, 0.88)

    def ring(low: float, high: float) -> list[tuple[float, float]]:
        return [(0.15 - 0.12 * high, high * tall), (0.15 - 0.12 * low, low * tall)]

    return Rigid(merge([
        box((0.36, 0.36, 0.03), (0, 0, 0.015), "plain", (0.08, 0.08, 0.08)),
        lathe(ring(0.03, 0.4), 14, "plain", orange),
        lathe(ring(0.4, 0.62), 14, "plain", white),
        lathe([(0, tall), *ring(0.62, 1.0)], 14, "plain", orange),
    ]))  # fmt: skip


def _roll_cage(rng: Rng) -> Model:
    """A trolley with three sides of steel bars, half full of cartons."""
    length, width, tall = 0.8, 0.68, 1.65
    steel = (0.62, 0.64, 0.66)
    parts = [box((length, width, 0.05), (0, 0, 0.2), "steel", (0.3, 0.35, 0.5))]
    for x in (-0.33, 0.33):
        parts += [
            cylinder(0.07, 0.04, 8, "rubber", axis="y").placed(x, y, 0.07) for y in (-0.27, 0.27)
        ]
    for x in (-length / 2, length / 2):
        parts += [_bar(x, y, 0.2, tall, 0.035, steel) for y in (-width / 2, width / 2)]
    for z in (0.35, 0.85, 1.3, tall):
        thick = 0.035 if z == tall else 0.016
        parts += [box((length, thick, thick), (0, y, z), "steel", steel)
                  for y in (-width / 2, width / 2)]  # fmt: skip
        parts.append(box((thick, width, thick), (-length / 2, 0, z), "steel", steel))
    for y in (-width / 2, width / 2):
        parts += [_bar(x, y, 0.2, tall, 0.012, steel) for x in np.linspace(-0.3, 0.3, 6)]
    parts += [_bar(-length / 2, y, 0.2, tall, 0.012, steel) for y in np.linspace(-0.25, 0.25, 5)]
    z = 0.225
    while z < float(rng.uniform(0.5, 1.2)):
        high = float(rng.uniform(0.25, 0.4))
        style = int(rng.integers(CARTON_STYLES))
        parts += [carton((0.36, 0.56, high), style).placed(x, 0, z) for x in (-0.19, 0.19)]
        z += high
    return Rigid(merge(parts))


def _bar(
    x: float, y: float, low: float, high: float, thick: float, tint: tuple[float, ...]
) -> Mesh:
    return box((thick, thick, high - low), (x, y, (low + high) / 2), "steel", tint,
               without=("-z",))  # fmt: skip


_PALLET_DISCS = ((-0.3, 0.42), (0.3, 0.42))
PERSON = Kind("person", ((0.0, 0.3),), Person)
FORKLIFT = Kind("forklift", ((-0.8, 0.6), (0.0, 0.6), (0.75, 0.6), (1.5, 0.55)), Forklift)
PALLET_JACK = Kind("pallet_jack", ((-0.1, 0.3), (0.4, 0.35), (0.95, 0.35)),
                   lambda rng: Rigid(pallet_jack(rng)))  # fmt: skip
LOADED_PALLET = Kind("pallet", _PALLET_DISCS, partial(_pallet, kinds=LOADS[:-1]))
EMPTY_PALLET = Kind("pallet", _PALLET_DISCS, partial(_pallet, kinds=("empty",)))
TALL_PALLET = Kind("pallet", _PALLET_DISCS, _tall_pallet)
BOX = Kind("box", ((0.0, 0.35),), _box)
ROLL_CAGE = Kind("roll_cage", ((-0.15, 0.4), (0.15, 0.4)), _roll_cage)
CONE = Kind("cone", ((0.0, 0.2),), _cone)
ROBOT = Kind("robot", ((-0.2, 0.35), (0.2, 0.35)), lambda rng: Rigid(mobile_robot(rng)))
# The robot with the camera: it never sees itself.
SELF = Kind("robot", ((0.0, 0.38),), lambda rng: Rigid(merge([])), clearance=0.6)


def camouflaged(tone: Tint) -> Kind:
    """Return a person dressed in one tone from head to foot."""
    return Kind("person", PERSON.discs, lambda rng: Person(rng, camouflage_clothes(tone)))
