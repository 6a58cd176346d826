# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Kinds of bodies: class, footprint, and how one of them is built."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pervformer_ros.geometry import Array
from pervformer_ros.sim.mesh import Mesh


class Model(Protocol):
    """One individual's shape, in its own frame: origin on the floor, x forward."""

    def posed(self, phase: float, lift: float) -> Mesh:
        """Return its mesh at a phase of its walk (radians) and a height of its forks (metres)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Rigid:
    """A model without joints."""

    mesh: Mesh

    def posed(self, phase: float, lift: float) -> Mesh:
        """Return the mesh, which is always the same."""
        return self.mesh


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of body.

    label: its class in the design's words.
    discs: circles along its x axis that cover its footprint: (offset, radius).
    build: makes an individual's model.
    clearance: how far from an obstacle it stops, metres.
    """

    label: str
    discs: tuple[tuple[float, float], ...]
    build: Callable[[np.random.Generator], Model]
    clearance: float = 0.5

    @property
    def half_width(self) -> float:
        """Half of the width it needs, metres."""
        return max(radius for _, radius in self.discs)

    @property
    def reach(self) -> float:
        """How far it reaches forward of its origin, metres."""
        return max(offset + radius for offset, radius in self.discs)


def extents(model: Model) -> tuple[Array, Array]:
    """Return the lowest and highest corner of the box that holds a model in all its walk."""
    bounds = [model.posed(phase, 0.0).bounds() for phase in np.linspace(0, 2 * np.pi, 9)]
    return np.min([b[0] for b in bounds], axis=0), np.max([b[1] for b in bounds], axis=0)
