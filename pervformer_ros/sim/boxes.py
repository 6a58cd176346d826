# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The box around each body, where it is over time, and whether it moves."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.geometry import Array, make_rotation
from pervformer_ros.sim.kinds import extents
from pervformer_ros.sim.stage import TICK, Body, Log

# Slower than this is standing, m/s and rad/s.
STILL = 0.03
# A shorter stop does not count as coming to rest, seconds.
REST = 1.0


@dataclass(eq=False)
class BodyBoxes:
    """All bodies of a log by index; index 0, the robot itself, has an empty box.

    size: (B, 3) full extents along each body's own axes, constant.
    """

    bodies: list[Body]
    log: Log

    def __post_init__(self) -> None:
        """Measure the models."""
        boxes = [(np.zeros(3), np.zeros(3))] + [extents(b.model) for b in self.bodies[1:]]
        self._offset = np.array([(low + high) / 2 for low, high in boxes])
        self.size: Array = np.array([high - low for low, high in boxes])

    def pose(self, tick: int, body: int) -> Array:
        """Return T_map_object: its origin is the middle of the box."""
        x, y, z, yaw = self.log.pose[tick, body]
        T = make_rotation((0, 0, yaw))
        T[:3, 3] = T[:3, :3] @ self._offset[body] + (x, y, z)
        return T

    def centre(self, tick: int, body: int) -> Array:
        """Return the middle of the box (3,) in the map frame."""
        return np.asarray(self.pose(tick, body)[:3, 3])

    def velocity(self, tick: int, body: int) -> Array:
        """Return the velocity (3,) of the middle of the box in the map frame."""
        if tick == 0 or not self.log.present[tick - 1, body]:
            return np.zeros(3)
        return (self.centre(tick, body) - self.centre(tick - 1, body)) / TICK

    def footprint(self, tick: int, body: int) -> Array:
        """Return the corners (4, 2) of the box on the floor."""
        return footprint(self.pose(tick, body), self.size[body])

    @cached_property
    def moving(self) -> NDArray[np.bool_]:
        """Whether each body moves, (T, B): not standing still for at least REST seconds."""
        step = np.diff(self.log.pose, axis=0, prepend=self.log.pose[:1])
        turn = (step[..., 3] + np.pi) % (2 * np.pi) - np.pi
        speed = np.linalg.norm(step[..., :3], axis=2) / TICK
        moving = (speed > STILL) | (np.abs(turn) / TICK > STILL)
        return np.stack([_bridge(column, round(REST / TICK)) for column in moving.T], axis=1)


def footprint(T_map_object: Array, size: Array) -> Array:
    """Return the corners (4, 2) of a box on the floor, in order around it."""
    half = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * size[:2] / 2
    return np.asarray(half @ T_map_object[:2, :2].T + T_map_object[:2, 3])


def _bridge(moving: NDArray[np.bool_], shortest: int) -> NDArray[np.bool_]:
    """Fill stops shorter than `shortest` ticks between two motions, or before the first."""
    filled = moving.copy()
    at = np.flatnonzero(moving)
    if len(at) and at[0] <= shortest:
        filled[: at[0]] = True
    for before, after in pairwise(at):
        if 1 < after - before <= shortest:
            filled[before:after] = True
    return filled
