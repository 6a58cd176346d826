# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Shadows that movers cast, and the darkness under them.

What stands still has its shadows baked in. Movers take away the share of the light that comes from
the few lamps nearest to them; this is worked out for every other pixel of every other row, which
also gives the shadows soft edges.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.geometry import Array
from pervformer_ros.sim.lights import Lamps
from pervformer_ros.sim.mesh import Floats, Mesh
from pervformer_ros.sim.raycast import RayScene

STRIDE = 2
# Movers farther from the camera than this cast no shadow; nor do they beyond this around them.
SHADOW_DISTANCE, SHADOW_REACH = 14.0, 1.8
LAMPS_PER_MOVER, MAX_LAMPS = 2, 4
# A lamp never loses its whole share: some of its light comes back from walls.
STRENGTH, DARKEST = 0.85, 0.25
CONTACT, CONTACT_HEIGHT = 0.55, 0.22


class MoverShadows:
    """Darkens what lies in the shadow of movers."""

    def __init__(self, lamps: Lamps, groups: Sequence[str]):
        self._lamps, self._groups = lamps, groups
        self._power = lamps.colour.mean(axis=1).astype(np.float32)

    def factor(
        self,
        points: Floats,
        normals: Floats,
        light: Floats,
        movers: Mesh,
        instance: NDArray[np.uint16],
        scene: RayScene,
        eye: Array,
        weights: Mapping[str, float],
    ) -> Floats:
        """Return the share of light (H, W) that is left.

        Args:
            points: (H, W, 3) what every pixel sees, map frame.
            normals: (H, W, 3).
            light: (H, W, 3) light without movers' shadows.
            movers: posed mesh; `instance` (N,) tells its bodies apart; `scene` holds the same.
            instance: see movers.
            scene: see movers.
            eye: (3,) position of the camera.
            weights: brightness of the light groups that are not at 1.
        """
        height, width = points.shape[:2]
        low, high = _bodies(movers, instance)
        near = np.linalg.norm((low + high)[:, :2] / 2 - eye[:2], axis=1) < SHADOW_DISTANCE
        if not near.any():
            return np.ones((height, width), np.float32)
        low, high = low[near], high[near]
        small = points[::STRIDE, ::STRIDE]
        chosen = np.flatnonzero(_close(small.reshape(-1, 3), low, high))
        at = small.reshape(-1, 3)[chosen]
        facing = normals[::STRIDE, ::STRIDE].reshape(-1, 3)[chosen]
        total = light[::STRIDE, ::STRIDE].reshape(-1, 3)[chosen].mean(axis=1)
        left = np.ones(len(chosen), np.float32)
        start = at + 0.02 * facing
        for lamp in self._nearest((low + high) / 2, weights):
            power = self._power[lamp] * weights.get(self._groups[lamp], 1.0)
            share = power * self._lamps.irradiance(lamp, at, facing) / np.maximum(total, 0.02)
            ask = np.flatnonzero(share > 0.06)
            to_lamp = (self._lamps.position[lamp] - start[ask]).astype(np.float32)
            dark = scene.occluded(start[ask], to_lamp, 0.99)
            left[ask] -= STRENGTH * np.minimum(share[ask], 0.8) * dark
        left = np.maximum(left, DARKEST) * _contact(scene, start, facing)
        picture = np.ones(small.shape[:2], np.float32)
        picture.ravel()[chosen] = left
        return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR))

    def _nearest(self, centres: Array, weights: Mapping[str, float]) -> list[int]:
        """Return the lamps that matter most to the movers."""
        burning = self._power * [weights.get(group, 1.0) for group in self._groups]
        d2 = ((self._lamps.position[None] - centres[:, None]) ** 2).sum(axis=2)
        given = burning / d2
        wanted = np.argsort(-given, axis=1)[:, :LAMPS_PER_MOVER].ravel()
        ranked = sorted(set(wanted.tolist()), key=lambda lamp: (-given[:, lamp].max(), lamp))
        return ranked[:MAX_LAMPS]


def _bodies(movers: Mesh, instance: NDArray[np.uint16]) -> tuple[Array, Array]:
    """Return the lowest and highest corner (B, 3) of each body's quads."""
    first = np.flatnonzero(np.diff(instance.astype(int), prepend=-1))
    low = np.minimum.reduceat(movers.corners.min(axis=1), first, axis=0)
    high = np.maximum.reduceat(movers.corners.max(axis=1), first, axis=0)
    return low.astype(float), high.astype(float)


def _close(points: Floats, low: Array, high: Array) -> NDArray[np.bool_]:
    """Return which points (M, 3) lie over or around one of the boxes."""
    close = np.zeros(len(points), bool)
    x, y = np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1])
    for a, b in zip(low - SHADOW_REACH, high + SHADOW_REACH, strict=True):
        close |= (x > a[0]) & (x < b[0]) & (y > a[1]) & (y < b[1])
    return close


def _contact(scene: RayScene, points: Floats, normals: Floats) -> Floats:
    """Return how much light is left under something that is close above."""
    factor = np.ones(len(points), np.float32)
    floor = np.flatnonzero(normals[:, 2] > 0.7)
    up = np.zeros((len(floor), 3), np.float32)
    up[:, 2] = 1.0
    gap = scene.cast(np.concatenate([points[floor], up], axis=1).astype(np.float32)).t
    factor[floor] = 1 - CONTACT * np.exp(-gap / CONTACT_HEIGHT)
    return factor
