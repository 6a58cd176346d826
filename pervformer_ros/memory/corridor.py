# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A corridor: a strip of floor along a line, and how far inside of it things are."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pervformer_ros.geometry import Array, transform_points

# A line may be taken for straight where it is no farther than this from being so, metres: what a
# planner gives has a point every few centimetres.
STRAIGHT_M = 0.02
# A corridor is looked at in pieces of this length, metres.
PIECE_M = 0.3
# Of what is farther outside than this nobody asks by how much, metres.
FAR_OUTSIDE_M = 2.0


class _Segments(NamedTuple):
    """Straight parts of a line: start (S, 2), direction (S, 2) and length (S,)."""

    start: Array
    along: Array
    length: Array


@dataclass(frozen=True, slots=True, eq=False)
class Corridor:
    """A named strip of floor that traffic needs free.

    centre_line: (K, 2) metres. half_width: metres to either side.
    """

    name: str
    centre_line: Array
    half_width: float = 0.45
    _segments: _Segments = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what is no strip (ValueError)."""
        line = np.asarray(self.centre_line, float)
        object.__setattr__(self, "centre_line", line)
        if line.ndim != 2 or line.shape[1] != 2 or len(line) < 2 or not np.isfinite(line).all():
            raise ValueError(
                f"path '{self.name}' has a centre line of shape {line.shape}: give two points "
                "x, y or more, in metres"
            )
        if not np.linalg.norm(np.diff(line, axis=0), axis=1).sum() > 0:
            raise ValueError(f"path '{self.name}' has no length: give points that differ")
        if not 0 < self.half_width < np.inf:
            raise ValueError(f"path '{self.name}' has half width {self.half_width}: give metres")
        object.__setattr__(self, "_segments", _segments(line))

    def depth_inside(self, points: Array) -> Array:
        """Return by how much points (K, 2) lie inside the strip (K,), metres; negative outside.

        Far outside it is -inf.
        """
        if not len(points):
            return np.zeros(0)
        s, d, length, is_first, is_last = self._relative(points)
        # Between two segments the strip goes on; it ends where the line does.
        before, after = np.where(is_first, 0.0, -s), np.where(is_last, 0.0, s - length)
        beyond = np.maximum(np.maximum(before, after), 0.0)
        inside = self.half_width - np.hypot(d, beyond)
        inside = np.minimum(inside, np.where(is_first, s, np.inf))
        inside = np.minimum(inside, np.where(is_last, length - s, np.inf))
        return np.asarray(inside.max(axis=0, initial=-np.inf))

    def overlap(self, points: Array) -> float:
        """Return how far what covers points (K, 2) would have to shift to leave the strip.

        Metres; negative where it is outside, then by how much.
        """
        s, d, length, is_first, is_last = self._relative(points)
        beside = np.logical_or(s >= 0, is_first) & np.logical_or(s <= length, is_last)
        across = np.minimum(
            self.half_width - np.where(beside, d, np.inf).min(axis=1, initial=np.inf),
            self.half_width + np.where(beside, d, -np.inf).max(axis=1, initial=-np.inf),
        )
        across = np.minimum(across, np.where(is_first[:, 0], s.max(axis=1), np.inf))
        across = np.minimum(across, np.where(is_last[:, 0], (length - s).max(axis=1), np.inf))
        return float(max(across.max(initial=-np.inf), self.depth_inside(points).max()))

    def pieces(self) -> Array:
        """Return the middles (N, 2) of its pieces."""
        steps = np.linalg.norm(np.diff(self.centre_line, axis=0), axis=1)
        way = np.concatenate([[0.0], np.cumsum(steps)])
        count = max(1, round(float(way[-1]) / PIECE_M))
        middles = (np.arange(count) + 0.5) / count * way[-1]
        return np.stack([np.interp(middles, way, x) for x in self.centre_line.T], axis=1)

    def is_same(self, other: "Corridor") -> bool:
        """Return whether another one is this strip, name and all."""
        mine, theirs = self.centre_line, other.centre_line
        alike = (self.name, self.half_width) == (other.name, other.half_width)
        return alike and np.array_equal(mine, theirs)

    def moved(self, T: Array) -> "Corridor":
        """Return the same strip in another frame: T takes points of its frame to that one."""
        line = np.pad(np.asarray(self.centre_line, float), ((0, 0), (0, 1)))
        return Corridor(self.name, transform_points(T, line)[:, :2], self.half_width)

    def _relative(self, points: Array) -> tuple[Array, Array, Array, Array, Array]:
        """Return where points are along and across the segments near them (S, K).

        And of these (S, 1): how long they are, which is the first of all, and which the last.
        """
        start, along, length = self._segments
        end = start + length[:, None] * along
        reach = self.half_width + FAR_OUTSIDE_M
        low, high = points.min(axis=0) - reach, points.max(axis=0) + reach
        near = (np.minimum(start, end) <= high) & (np.maximum(start, end) >= low)
        chosen = np.flatnonzero(near.all(axis=1))
        away = points[None] - start[chosen, None]
        x, y = along[chosen, :1], along[chosen, 1:]
        return (
            away[..., 0] * x + away[..., 1] * y,
            away[..., 1] * x - away[..., 0] * y,
            length[chosen, None],
            (chosen == 0)[:, None],
            (chosen == len(length) - 1)[:, None],
        )


def _segments(line: Array) -> _Segments:
    """Return the straight parts of a line (K, 2): as few as come near enough to it."""
    line = line[np.append(True, (np.diff(line, axis=0) != 0).any(axis=1))]
    corners = [0]
    while corners[-1] < len(line) - 1:
        corners.append(_farthest(line, corners[-1]))
    steps = np.diff(line[corners], axis=0)
    length = np.linalg.norm(steps, axis=1)
    return _Segments(line[corners[:-1]], steps / length[:, None], length)


def _farthest(line: Array, first: int) -> int:
    """Return the last point to which the line is straight from a point on, by index."""
    # Twice as far as long as it is straight; then where between both it is not any more.
    good, step = first + 1, 2
    while first + step < len(line) and _is_straight(line[first : first + step + 1]):
        good, step = first + step, 2 * step
    bad = min(first + step, len(line))
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if _is_straight(line[first : middle + 1]) else (good, middle)
    return good


def _is_straight(points: Array) -> bool:
    """Return whether points (K, 2) lie along the way from the first to the last."""
    way = points[-1] - points[0]
    length = float(np.linalg.norm(way))
    if length < STRAIGHT_M:
        return False
    x, y = way / length
    away = points - points[0]
    across = np.abs(away[:, 1] * x - away[:, 0] * y)
    onward = np.diff(away @ (x, y))
    return bool(across.max() <= STRAIGHT_M and onward.min() >= -STRAIGHT_M)
