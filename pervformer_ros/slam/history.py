# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The pose of every frame, kept relative to keyframes so that it follows their corrections."""

from dataclasses import dataclass

import numpy as np

from pervformer_ros.geometry import Array, Trajectory, interpolate, invert


@dataclass(frozen=True, slots=True, eq=False)
class _Record:
    """One frame: where it was tracked by the map of that moment, and where it was said to be.

    The two differ only for a keyframe, whose arrival moves the map.
    """

    stamp_ns: int
    T_tracked: Array
    T_online: Array
    is_keyframe: bool


class History:
    """Remembers each frame's pose as it was given out, and carries it along with the keyframes."""

    def __init__(self) -> None:
        self._records: list[_Record] = []

    def add(self, stamp_ns: int, T_tracked: Array, T_online: Array, is_keyframe: bool) -> None:
        """Append a frame with T_map_base as tracked and as given out."""
        self._records.append(_Record(stamp_ns, T_tracked, T_online, is_keyframe))

    def online(self) -> Trajectory:
        """Return the poses as they were given out."""
        return self._trajectory([record.T_online for record in self._records])

    def corrected(self, keyframe_poses: Array) -> Trajectory:
        """Return the poses that follow from those of the keyframes (N, 4, 4), in their order.

        Between two keyframes a frame is carried by both: what the graph moved the second against
        the first is spread evenly over the frames between them.
        """
        poses: list[Array] = []
        keyframes_passed = 0
        T_moved = np.eye(4)  # from the map of a segment's time to the map of now
        segment: list[_Record] = []
        for record in self._records:
            segment.append(record)
            if record.is_keyframe:
                T_map_keyframe = keyframe_poses[keyframes_passed]
                poses += _carry(segment, T_moved, T_map_keyframe @ invert(record.T_tracked))
                T_moved = T_map_keyframe @ invert(record.T_online)
                keyframes_passed += 1
                segment = []
        return self._trajectory(poses + _carry(segment, T_moved, T_moved))

    def _trajectory(self, poses: list[Array]) -> Trajectory:
        return Trajectory.of(zip((r.stamp_ns for r in self._records), poses, strict=True))


def _carry(segment: list[_Record], T_moved_start: Array, T_moved_end: Array) -> list[Array]:
    """Move a segment's frames by a correction that goes from the one to the other."""
    return [
        interpolate(
            T_moved_start @ record.T_tracked,
            T_moved_end @ record.T_tracked,
            (i + 1) / len(segment),
        )
        for i, record in enumerate(segment)
    ]
