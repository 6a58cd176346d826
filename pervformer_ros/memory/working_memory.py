# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Percepts become things that stay, and events for what changed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pervformer_ros.frame import Frame
from pervformer_ros.geometry import Array, invert
from pervformer_ros.memory.belief import Calibration
from pervformer_ros.memory.changes import Changes
from pervformer_ros.memory.corridor import Corridor
from pervformer_ros.memory.events import Event, EventLog
from pervformer_ros.memory.object_map import ObjectMap
from pervformer_ros.memory.objects import ObjectState, Sighting, WorldObject
from pervformer_ros.memory.paths import PathWatch


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """confirm_sightings: how often a thing must be seen before it counts.

    capacity: how many objects are kept.
    paths: corridors to watch, in the map frame; where nothing corrects odometry, that is odom.
    calibration: what beliefs are worth that rest on these percepts.
    """

    confirm_sightings: int = 3
    capacity: int = 500
    paths: tuple[Corridor, ...] = ()
    calibration: Calibration = field(default_factory=Calibration)


@dataclass(frozen=True, slots=True, eq=False)
class MemoryUpdate:
    """What the memory holds after an image, what is gone since the last, and what changed."""

    objects: list[WorldObject]
    events: list[Event]


class WorkingMemory:
    """The object map, the corridors, and the events about both.

    A thing is confirmed by repeated sightings and removed by free-space evidence alone: the depth
    image must show what lies behind its place. Being out of view or hidden is no evidence.
    """

    def __init__(self, config: MemoryConfig | None = None):
        self.config = config or MemoryConfig()
        self.map = ObjectMap(self.config.capacity, self.config.confirm_sightings)
        self.paths = PathWatch(self.config.paths)
        self.log = EventLog()
        self._changes = Changes()
        self.T_map_odom: Array = np.eye(4)

    def reset(self) -> None:
        """Forget everything; ids and sequence numbers go on, so that none means two things."""
        self.map.clear()
        self.paths.clear()
        self.log.clear()
        self.T_map_odom = np.eye(4)

    def update(
        self,
        frame: Frame,
        T_odom_base: Array,
        sightings: Sequence[Sighting],
        T_map_odom: Array | None = None,
    ) -> MemoryUpdate:
        """Take in the sightings of one image.

        Args:
            frame: the image.
            T_odom_base: where the robot was.
            sightings: what it showed, in odom.
            T_map_odom: what SLAM corrects odometry by, None where nothing does.
        """
        # Keep what is remembered where the map says it is
        if T_map_odom is not None:
            self.correct(T_map_odom)
        self.map.drift.travel(T_odom_base)
        # Join what is seen to what is known
        self.map.update(frame.stamp_ns, sightings)
        # Tell what became certain with this image, and what things were seen to do
        eye = (T_odom_base @ frame.T_base_camera)[:3, 3]
        events = self._changes.appear(self.map.sighted, eye, frame.stamp_ns)
        events += self._changes.watch(self.map.sighted, self.map.objects, eye, frame.stamp_ns)
        # Let go of what the camera sees through
        gone = self.map.look(frame, T_odom_base @ frame.T_base_camera)
        events += [self._changes.disappear(o, frame.stamp_ns) for o in gone if o.announced]
        # Keep account of the corridors
        events += self.paths.update(frame, T_odom_base, self.T_map_odom, self.map.objects)
        told = [
            o
            for o in self.map.objects.values()
            if o.confirmed and (o.state is not ObjectState.GONE or o in gone)
        ]
        told.sort(key=lambda o: o.id)
        return MemoryUpdate(told, [self._log(e) for e in events])

    def correct(self, T_map_odom: Array) -> None:
        """Move what is out of view with the map, after SLAM has corrected where odom lies in it.

        What a map remembers stays where it is in the map, so in odom it moves.
        """
        if np.array_equal(T_map_odom, self.T_map_odom):
            return  # SLAM has found nothing to correct since, or is gone
        self.map.correct(invert(T_map_odom) @ self.T_map_odom)
        self.map.drift.correct()
        self.T_map_odom = T_map_odom.copy()

    def _log(self, event: Event) -> Event:
        """Return an event with its number and its calibrated confidence."""
        said = self.config.calibration.confidence(event.type, event.confidence)
        return self.log.add(replace(event, confidence=said), self.T_map_odom)

    def query(
        self, label: str, centre: Array, radius_m: float, since_ns: int
    ) -> tuple[list[WorldObject], list[Event]]:
        """Return confirmed objects and recent events that fit; see ObjectMap.near.

        An event fits where either of its ends lies within the radius.
        """
        things = self.map.near(label, centre, radius_m, since_ns)
        events = self.log.recent(self.T_map_odom, label, since_ns)
        return (
            [o for o in things if o.confirmed],
            [e for e in events if e.is_near(centre, radius_m)],
        )
