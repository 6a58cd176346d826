# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Percepts become things that stay, and events for what changed."""

from dataclasses import dataclass

import numpy as np

from pervformer_ros.frame import Frame
from pervformer_ros.geometry import Array, invert, transform_points
from pervformer_ros.memory.events import NOWHERE, Event, EventLog, EventType
from pervformer_ros.memory.objects import ObjectMap, ObjectState, Sighting, WorldObject


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """confirm_sightings: how often a thing must be seen before it counts.

    removal_evidence: in how many images its place must have been seen through before it is gone.
    capacity: how many objects are kept. gate_m: how far a thing may seem to jump between images.
    """

    confirm_sightings: int = 3
    removal_evidence: int = 5
    capacity: int = 500
    gate_m: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class MemoryUpdate:
    """What the memory holds after an image, what is gone since the last, and what changed."""

    objects: list[WorldObject]
    events: list[Event]


class WorkingMemory:
    """The object map and its events.

    A thing is confirmed by repeated sightings and removed by free-space evidence alone: the depth
    image must show what lies behind its place. Being out of view or hidden is no evidence.
    """

    def __init__(self, config: MemoryConfig | None = None):
        self.config = config or MemoryConfig()
        self.map = ObjectMap(self.config.gate_m, self.config.capacity)
        self.log = EventLog()

    def reset(self) -> None:
        """Forget everything; ids and sequence numbers go on, so that none means two things."""
        self.map.clear()
        self.log.clear()

    def update(self, frame: Frame, T_odom_base: Array, sightings: list[Sighting]) -> MemoryUpdate:
        """Take in the sightings of one image; `T_odom_base` is where the robot was."""
        # Join what is seen to what is known
        sighted = self.map.update(frame.stamp_ns, sightings)
        # Tell what became certain with this image
        appeared = [o for o in sighted if o.sightings == self.config.confirm_sightings]
        events = [self._event(frame, EventType.APPEARED, o) for o in appeared]
        # Let go of what the camera sees through
        gone = self._seen_through(frame, T_odom_base @ frame.T_base_camera)
        for thing in gone:
            thing.state = ObjectState.GONE
            del self.map.objects[thing.id]
        events += [self._event(frame, EventType.REMOVED, o) for o in gone if self._confirmed(o)]
        told = [o for o in (*self.map.objects.values(), *gone) if self._confirmed(o)]
        return MemoryUpdate(told, [self.log.add(e) for e in events])

    def query(
        self, label: str, centre: Array, radius_m: float, since_ns: int
    ) -> tuple[list[WorldObject], list[Event]]:
        """Return confirmed objects and recent events that fit; see ObjectMap.near.

        An event fits where either of its ends lies within the radius.
        """
        things = self.map.near(label, centre, radius_m, since_ns)
        events = self.log.recent(label, since_ns)
        return (
            [o for o in things if self._confirmed(o)],
            [e for e in events if e.is_near(centre, radius_m)],
        )

    def _confirmed(self, thing: WorldObject) -> bool:
        return thing.sightings >= self.config.confirm_sightings

    def _seen_through(self, frame: Frame, T_odom_camera: Array) -> list[WorldObject]:
        """Return the unseen objects whose place has now been looked through often enough."""
        unseen = [o for o in self.map.objects.values() if o.state is ObjectState.REMEMBERED]
        if frame.depth is None or not unseen:
            return []
        places = np.array([o.position for o in unseen])
        in_camera = transform_points(invert(T_odom_camera), places)
        pixels = frame.camera.project(in_camera)
        for thing, point, uv in zip(unseen, in_camera, pixels, strict=True):
            behind_m = point[2] + 0.5 * float(np.linalg.norm(thing.size)) + 2 * thing.variance**0.5
            if np.isfinite(uv).all() and _depth_at(frame, uv) > behind_m:
                thing.seen_through += 1
        return [o for o in unseen if o.seen_through >= self.config.removal_evidence]

    def _event(self, frame: Frame, kind: EventType, thing: WorldObject) -> Event:
        gone = kind is EventType.REMOVED
        return Event(
            stamp_ns=frame.stamp_ns,
            type=kind,
            object_id=thing.id,
            label=thing.label,
            confidence=thing.score,
            from_position=thing.position if gone else NOWHERE,
            to_position=NOWHERE if gone else thing.position,
        )


def _depth_at(frame: Frame, uv: Array) -> float:
    """Return the depth at a pixel in metres, 0 where there is none or outside the image."""
    assert frame.depth is not None
    u, v = np.rint(uv).astype(int)
    inside = 0 <= u < frame.camera.width and 0 <= v < frame.camera.height
    return float(frame.depth[v, u]) if inside else 0.0
