# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keyframes: the views the map is made of, and which of them a new view should overlap."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import CameraModel
from pervformer_ros.geometry import Array, invert, transform_points
from pervformer_ros.slam import se3
from pervformer_ros.slam.odometry import Reading
from pervformer_ros.slam.view import View

# So many of a keyframe's points, evenly drawn, stand for what it sees.
SAMPLED_POINTS = 32
# Overlap is looked at for the nearest so many keyframes only, so that a large map costs no more.
NEAREST = 16
MIN_OVERLAP = 0.3
# What is seen from so many times nearer or farther looks different.
MAX_SCALE = 2.0
# Against keyframes placed worse than this (radians, metres), a view must be verified by others.
TIED_ROTATION = np.radians(2.0)
TIED_POSITION = 0.35
# And those placed so badly (metres) may be anywhere.
APART = 2.0
# The latest keyframes are not forgotten; of the others every so many-th is asked each time.
LATEST = 20
ASKED_STEP = 8


@dataclass(frozen=True, slots=True, eq=False)
class Keyframe:
    """A view kept for later ones to be registered to: its features that have depth.

    points: (K, 3) metres in its optical frame.
    static_probability: (K,).
    descriptors: (K, D) float16.
    place_descriptor: (M,) float32 of the whole image, empty where there is none.
    looking_distance: median distance of what it sees, metres.
    """

    id: int
    stamp_ns: int
    camera: CameraModel
    T_base_camera: Array
    reading: Reading | None
    points: Array
    static_probability: NDArray[np.float32]
    descriptors: NDArray[np.float16]
    place_descriptor: NDArray[np.float32]
    looking_distance: float

    def __len__(self) -> int:
        return len(self.points)

    def emptied(self) -> "Keyframe":
        """Return the same keyframe without its features."""
        names = ("points", "static_probability", "descriptors", "place_descriptor")
        # Copies, for a view of nothing would keep all of it in memory.
        return replace(self, **{name: getattr(self, name)[:0].copy() for name in names})

    @property
    def sampled_points(self) -> Array:
        """A few of the points (S, 3), spread over the list."""
        return self.points[:: max(1, len(self.points) // SAMPLED_POINTS)]


def make_keyframe(id: int, view: View) -> Keyframe:
    """Return the keyframe of a view, of whose features some must have a point."""
    kept = view.has_point
    points = view.points[kept]
    return Keyframe(
        id=id,
        stamp_ns=view.stamp_ns,
        camera=view.camera,
        T_base_camera=view.T_base_camera,
        reading=view.reading,
        points=points,
        static_probability=view.static_probability[kept],
        descriptors=view.descriptors[kept].astype(np.float16),
        place_descriptor=view.place_descriptor,
        looking_distance=float(np.median(points[:, 2])),
    )


class KeyframeMap:
    """All keyframes with their latest poses.

    poses: (N, 4, 4) T_map_base.
    drift: (N, 2) variances of rotation (rad^2) and position (m^2) of each, seen from the newest.
    """

    def __init__(self, budget: int = 1000) -> None:
        self._keyframes: list[Keyframe] = []
        self._budget = budget
        self._remembers = np.empty(0, bool)
        self.poses: Array = np.empty((0, 4, 4))
        self.drift: Array = np.empty((0, 2))

    def __len__(self) -> int:
        return len(self._keyframes)

    def __iter__(self) -> Iterator[Keyframe]:
        return iter(self._keyframes)

    def __getitem__(self, index: int) -> Keyframe:
        return self._keyframes[index]

    def add(self, keyframe: Keyframe, poses: Array, drift: Array) -> None:
        """Append a keyframe; poses and drift are those of all, its own last.

        Beyond the budget, the keyframe that another one stands in for best forgets what it saw. Its
        pose goes on holding its neighbours' in the graph.
        """
        self._keyframes.append(keyframe)
        self._remembers = np.append(self._remembers, True)
        self.move(poses, drift)
        self._keep_to_budget()

    def restore(self, keyframes: list[Keyframe], poses: Array, drift: Array) -> None:
        """Hold these keyframes instead, of which the empty ones have forgotten what they saw."""
        self._keyframes = list(keyframes)
        self._remembers = np.array([len(keyframe) > 0 for keyframe in keyframes])
        self.move(poses, drift)
        self._keep_to_budget()

    def move(self, poses: Array, drift: Array) -> None:
        """Take over what the graph has found."""
        self.poses, self.drift = poses, drift

    def drift_of(self, index: int) -> Array:
        """Return the covariance (6, 6) of a keyframe, seen from the newest."""
        return se3.isotropic(*np.sqrt(self.drift[index]).tolist())

    @property
    def is_tied(self) -> NDArray[np.bool_]:
        """Which keyframes (N,) are so well placed against the newest that nearness proves them."""
        return np.asarray((self.drift < np.square([TIED_ROTATION, TIED_POSITION])).all(axis=1))

    @property
    def is_apart(self) -> NDArray[np.bool_]:
        """Which keyframes (N,) are in a piece of map that the newest is not joined to."""
        return np.asarray(self.drift[:, 1] > APART**2)

    def overlapping(
        self,
        T_map_camera: Array,
        camera: CameraModel,
        count: int,
        among: NDArray[np.bool_],
    ) -> list[Keyframe]:
        """Return at most `count` keyframes for a view from here to be registered to.

        Those that see most of what this view should see come first, the oldest of equals first, for
        an older keyframe carries less drift.

        Args:
            T_map_camera: where the view is from.
            camera: its camera.
            count: how many at most.
            among: (N,) which keyframes are asked for.
        """
        asked = np.flatnonzero(among & self._remembers)
        distance = np.linalg.norm(self.poses[asked, :3, 3] - T_map_camera[:3, 3], axis=1)
        near = np.sort(asked[np.argsort(distance, kind="stable")[:NEAREST]])
        overlap = {int(i): self.overlap(int(i), T_map_camera, camera) for i in near}
        seen = [i for i in overlap if overlap[i] >= MIN_OVERLAP]
        seen.sort(key=lambda i: -round(overlap[i], 1))
        return [self._keyframes[i] for i in seen[:count]]

    def overlap(self, index: int, T_map_camera: Array, camera: CameraModel) -> float:
        """Return the part of a keyframe's points that a view from T_map_camera should see."""
        keyframe = self._keyframes[index]
        T_camera_keyframe = invert(T_map_camera) @ self.poses[index] @ keyframe.T_base_camera
        points = transform_points(T_camera_keyframe, keyframe.sampled_points)
        z = np.maximum(points[:, 2], 1e-6)
        u = camera.fx * points[:, 0] / z + camera.cx
        v = camera.fy * points[:, 1] / z + camera.cy
        inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
        scale = points[:, 2] / keyframe.sampled_points[:, 2]
        alike = (scale > 1.0 / MAX_SCALE) & (scale < MAX_SCALE)
        return float((inside & alike).mean())

    @property
    def remembers(self) -> NDArray[np.bool_]:
        """Which keyframes (N,) still know what they saw."""
        return np.array(self._remembers)

    def _keep_to_budget(self) -> None:
        while np.count_nonzero(self._remembers) > self._budget:
            self._forget_one()

    def _forget_one(self) -> None:
        """Let the keyframe go that is nearest to another one, but for the latest."""
        kept = np.flatnonzero(self._remembers)
        here = self.poses[kept]
        reach = np.array([self._keyframes[i].looking_distance for i in kept])
        # Asking a few, other ones each time, is as good in the long run as asking all.
        older = max(1, len(kept) - LATEST)
        asked = np.arange(len(self._keyframes) % min(ASKED_STEP, older), older, ASKED_STEP)
        away = np.linalg.norm(here[asked, None, :3, 3] - here[None, :, :3, 3], axis=2)
        cosine = np.einsum("ai,bi->ab", here[asked, :3, 0], here[:, :3, 0])
        away = away / reach + np.arccos(np.clip(cosine, -1.0, 1.0))
        away[np.arange(len(asked)), asked] = np.inf
        chosen = int(kept[asked[away.min(axis=1).argmin()]])
        self._remembers[chosen] = False
        self._keyframes[chosen] = self._keyframes[chosen].emptied()
