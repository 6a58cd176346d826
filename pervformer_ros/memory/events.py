# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Typed events: what changed in the world, each once."""

from collections import deque
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from pervformer_ros.geometry import Array, invert, transform_points

NOWHERE: Array = np.full(3, np.nan)


class EventType(IntEnum):
    """The numbers are those of pervformer_msgs/SemanticEvent."""

    APPEARED = 0
    REMOVED = 1
    MOVED = 2
    STARTED_MOVING = 3
    STOPPED = 4
    PATH_BLOCKED = 5
    PATH_CLEARED = 6


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One change. Positions (3,) are metres in odom, NaN where that end was not seen."""

    stamp_ns: int
    type: EventType
    object_id: int
    label: str
    confidence: float
    from_position: Array
    to_position: Array
    agent_id: int = 0
    agent_label: str = ""
    path_name: str = ""
    sequence: int = 0

    def is_near(self, centre: Array, radius_m: float) -> bool:
        """Tell whether either end lies within a radius on the floor (<= 0 = everywhere)."""
        off = (np.stack([self.from_position, self.to_position]) - centre)[:, :2]
        return radius_m <= 0 or bool((np.linalg.norm(off, axis=1) <= radius_m).any())

    def moved(self, T: Array) -> "Event":
        """Return the same event in another frame: T takes points of its frame to that one."""
        start, end = transform_points(T, np.stack([self.from_position, self.to_position]))
        return replace(self, from_position=start, to_position=end)


class EventLog:
    """Numbers events and keeps the recent ones for queries; older ones are forgotten.

    They stay where they were in the map, wherever odom comes to lie in it: T_map_odom says so.
    """

    def __init__(self, capacity: int = 1000):
        self._events: deque[tuple[Event, Array]] = deque(maxlen=capacity)
        self.next_sequence = 1

    def add(self, event: Event, T_map_odom: Array) -> Event:
        """Return the event with the next sequence number, which is also remembered."""
        numbered = replace(event, sequence=self.next_sequence)
        self.next_sequence += 1
        self._events.append((numbered, T_map_odom))
        return numbered

    def clear(self) -> None:
        """Forget all events; their numbers go on."""
        self._events.clear()

    def restore(self, events: list[Event], next_sequence: int, T_map_odom: Array) -> None:
        """Remember these events instead; a number that was given away is not given again."""
        self._events.clear()
        self._events.extend((event, T_map_odom) for event in events)
        self.next_sequence = max(self.next_sequence, next_sequence)

    def recent(self, T_map_odom: Array, label: str = "", since_ns: int = 0) -> list[Event]:
        """Return the remembered events of this label ("" = any) at or after a stamp, in odom."""
        T_odom_map = invert(T_map_odom)
        return [
            event.moved(T_odom_map @ T_then)
            for event, T_then in self._events
            if label in ("", event.label) and event.stamp_ns >= since_ns
        ]
