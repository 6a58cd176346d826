# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keyframes: the views the map is made of, and which of them a new view should overlap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import CameraModel
from pervformer_ros.geometry import Array, invert, transform_points
from pervformer_ros.slam.odometry import Reading
from pervformer_ros.slam.view import View

# So many of a keyframe's points, evenly drawn, stand for what it sees.
SAMPLED_POINTS = 32
# Overlap is looked at for the nearest so many keyframes only, so that a large map costs no more.
NEAREST = 12
MIN_OVERLAP = 0.3
# What is seen from so many times nearer or farther looks different.
MAX_SCALE = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Keyframe:
    """A view kept for later ones to be registered to: its features that have depth and stand still.

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
    """All keyframes with their latest poses."""

    def __init__(self) -> None:
        self._keyframes: list[Keyframe] = []
        self.poses: Array = np.empty((0, 4, 4))  # (N, 4, 4) T_map_base

    def __len__(self) -> int:
        return len(self._keyframes)

    def __getitem__(self, index: int) -> Keyframe:
        return self._keyframes[index]

    def add(self, keyframe: Keyframe, poses: Array) -> None:
        """Append a keyframe; `poses` (N, 4, 4) are those of all, its own last."""
        self._keyframes.append(keyframe)
        self.poses = poses

    def overlapping(self, T_map_camera: Array, camera: CameraModel, count: int) -> list[Keyframe]:
        """Return at most `count` keyframes for a view from here to be registered to.

        The newest comes first, whatever it sees; then those that see most of what this view should
        see, the oldest of equals first, for an older keyframe carries less drift.
        """
        if not self._keyframes:
            return []
        newest = self._keyframes[-1]
        distance = np.linalg.norm(self.poses[:-1, :3, 3] - T_map_camera[:3, 3], axis=1)
        near = np.sort(np.argsort(distance, kind="stable")[:NEAREST])
        overlap = {int(i): self._overlap(int(i), T_map_camera, camera) for i in near}
        seen = [i for i in overlap if overlap[i] >= MIN_OVERLAP]
        seen.sort(key=lambda i: -round(overlap[i], 1))
        return [newest, *(self._keyframes[i] for i in seen[: count - 1])]

    def _overlap(self, index: int, T_map_camera: Array, camera: CameraModel) -> float:
        """Return the part of a keyframe's points that this view should see."""
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
