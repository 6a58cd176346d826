# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Smooth routes through waypoints, and how fast each point of them may be driven."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter1d

from pervformer_ros.geometry import Array

STEP = 0.02
# Turns are taken no faster than this.
MAX_YAW_RATE = 0.75
# Of the filter that rounds corners, in standard deviations.
FILTER_REACH = 4.0


class Route:
    """A path with continuous curvature, sampled every STEP metres.

    Args:
        waypoints: (K, 2) metres of the map frame, K >= 2.
        speed: cruising speed, metres per second.
        softness: how far around a waypoint its corner is rounded, metres.
        reverse: driven backwards, the body looks against the direction of travel.
    """

    def __init__(
        self, waypoints: ArrayLike, speed: float, softness: float = 0.5, reverse: bool = False
    ):
        self.speed, self.reverse = speed, reverse
        self.points = _smooth(np.asarray(waypoints, float), softness)
        steps = np.diff(self.points, axis=0)
        lengths = np.hypot(*steps.T)
        self._at = np.concatenate([[0.0], np.cumsum(lengths)])
        self.length = float(self._at[-1])
        heading = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
        self._heading = np.concatenate([heading, heading[-1:]]) + (np.pi if reverse else 0.0)
        turn = np.abs(np.gradient(self._heading, self._at))
        self._limit = np.minimum(speed, MAX_YAW_RATE / np.maximum(turn, 1e-3))

    def pose(self, s: float) -> tuple[float, float, float]:
        """Return x, y and yaw at s metres from the start."""
        return (
            float(np.interp(s, self._at, self.points[:, 0])),
            float(np.interp(s, self._at, self.points[:, 1])),
            float(np.interp(s, self._at, self._heading)),
        )

    def rest(self, s: float) -> "Route":
        """Return the route from s metres on."""
        ahead = self.points[np.searchsorted(self._at, s, side="right") :]
        return Route([self.pose(s)[:2], *ahead], self.speed, softness=0, reverse=self.reverse)

    def speed_limit(self, s: float, braking: float) -> float:
        """Return the speed at s from which every slower stretch ahead can still be met."""
        first = int(np.searchsorted(self._at, s))
        reach = self.speed**2 / (2 * braking)
        last = int(np.searchsorted(self._at, s + reach)) + 1
        ahead = np.maximum(self._at[first:last] - s, 0)
        limit = np.sqrt(self._limit[first:last] ** 2 + 2 * braking * ahead)
        to_end = np.sqrt(2 * braking * max(self.length - s, 0.0))
        return float(min(limit.min(initial=self.speed), to_end))

    def ahead(self, s: float, reach: float, spacing: float = 0.2) -> tuple[Array, Array]:
        """Return distances from s and the points (K, 2) the route passes within `reach`."""
        distance = np.arange(spacing, reach, spacing)
        at = np.minimum(s + distance, self.length)
        x = np.interp(at, self._at, self.points[:, 0])
        y = np.interp(at, self._at, self.points[:, 1])
        return distance, np.stack([x, y], axis=1)


def _smooth(waypoints: Array, softness: float) -> Array:
    """Return the polyline resampled every STEP and rounded, with its ends kept where they are."""
    moved = np.concatenate([[True], np.hypot(*np.diff(waypoints, axis=0).T) > 1e-6])
    waypoints = waypoints[moved]
    at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(waypoints, axis=0).T))])
    count = max(int(np.ceil(at[-1] / STEP)), 2)
    s = np.linspace(0, at[-1], count + 1)
    line = np.stack([np.interp(s, at, waypoints[:, i]) for i in (0, 1)], axis=1)
    if softness <= 0 or len(waypoints) == 2:
        return line
    # Mirrored at its ends as far as the filter reaches, the line's ends stay in place under it.
    sigma = min(softness / STEP, count / FILTER_REACH)
    pad = int(FILTER_REACH * sigma + 0.5)
    before = 2 * line[0] - line[pad:0:-1]
    after = 2 * line[-1] - line[-2 : -pad - 2 : -1]
    padded = np.concatenate([before, line, after])
    smooth = gaussian_filter1d(padded, sigma, axis=0, truncate=FILTER_REACH)
    return np.asarray(smooth[pad : pad + count + 1])
