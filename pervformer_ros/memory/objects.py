# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Objects in the world: sightings become things with an id for life."""

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pervformer_ros.geometry import Array

# A pair that must not be joined costs more than any that may.
FORBIDDEN = 1e6


class ObjectState(IntEnum):
    """The numbers are those of pervformer_msgs/TrackedObject."""

    VISIBLE = 0
    REMEMBERED = 1
    GONE = 2


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """One detection placed in the world.

    position: (3,) metres in odom, of the middle of what was seen.
    size: (3,) metres, along the optical axes turned level: width, depth, height.
    box: (4,) pixels x, y, width, height in the camera's image.
    embedding: (E,) float32 of unit length.
    """

    label: str
    score: float
    position: Array
    variance: float
    size: Array
    box: NDArray[np.float32]
    embedding: NDArray[np.float32]
    motion_probability: float = 0.0


@dataclass(slots=True, eq=False)
class WorldObject:
    """A thing that stays: where it is, how sure that is, and when it was seen."""

    id: int
    label: str
    score: float
    position: Array
    variance: float
    size: Array
    box: NDArray[np.float32]
    embedding: NDArray[np.float32]
    first_seen_ns: int
    last_seen_ns: int
    motion_probability: float = 0.0
    sightings: int = 1
    seen_through: int = 0
    state: ObjectState = ObjectState.VISIBLE
    velocity: Array = field(default_factory=lambda: np.zeros(3))

    def merge(self, sighting: Sighting, stamp_ns: int) -> None:
        """Take in one more sighting: a scalar Kalman update of the position, per axis."""
        gain = self.variance / (self.variance + sighting.variance)
        self.position = self.position + gain * (sighting.position - self.position)
        self.variance *= 1.0 - gain
        self.size = self.size + gain * (sighting.size - self.size)
        self.score, self.box = sighting.score, sighting.box
        self.embedding = sighting.embedding
        self.motion_probability = sighting.motion_probability
        self.last_seen_ns = stamp_ns
        self.sightings += 1
        self.seen_through = 0
        self.state = ObjectState.VISIBLE


class ObjectMap:
    """All objects, bounded in number.

    Sightings join objects of their label in one assignment that minimises the sum of distances
    (Hungarian method, scipy), never farther than `gate_m`. Places become less sure with every
    image, by `process_variance` (m²), up to what the gate allows for.
    """

    def __init__(self, gate_m: float = 1.0, capacity: int = 500, process_variance: float = 1e-3):
        self.gate_m = gate_m
        self.capacity = capacity
        self.process_variance = process_variance
        self.objects: dict[int, WorldObject] = {}
        self.next_id = 1
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self.objects)

    def clear(self) -> None:
        """Forget everything but which ids were given away: they are not given again."""
        self.objects.clear()

    def update(self, stamp_ns: int, sightings: list[Sighting]) -> list[WorldObject]:
        """Join sightings to objects and make new objects of the rest; return those sighted."""
        known = list(self.objects.values())
        for thing in known:
            if thing.variance < (0.5 * self.gate_m) ** 2:
                thing.variance += self.process_variance
            if thing.state is ObjectState.VISIBLE:
                thing.state = ObjectState.REMEMBERED
        cost = self._costs(known, sightings)
        sighted = []
        unmatched = set(range(len(sightings)))
        for i, j in zip(*linear_sum_assignment(cost), strict=True):
            if cost[i, j] < FORBIDDEN:
                known[i].merge(sightings[j], stamp_ns)
                sighted.append(known[i])
                unmatched.discard(int(j))
        sighted += [self._add(stamp_ns, sightings[j]) for j in sorted(unmatched)]
        self._forget()
        return [thing for thing in sighted if thing.id in self.objects]

    def near(self, label: str, centre: Array, radius_m: float, since_ns: int) -> list[WorldObject]:
        """Return the objects of a label ("" = any) within a radius (<= 0 = everywhere).

        Only those last seen at or after `since_ns`.
        """
        return [
            thing
            for thing in self.objects.values()
            if label in ("", thing.label)
            and (radius_m <= 0 or np.linalg.norm(thing.position - centre) <= radius_m)
            and thing.last_seen_ns >= since_ns
        ]

    def _costs(self, known: list[WorldObject], sightings: list[Sighting]) -> Array:
        """Return the distances (objects, sightings) of pairs that may be joined, else FORBIDDEN."""
        places = np.array([o.position for o in known]).reshape(-1, 1, 3)
        seen = np.array([s.position for s in sightings]).reshape(1, -1, 3)
        distance = np.linalg.norm(places - seen, axis=2)
        labels = np.array([o.label for o in known], object)[:, None]
        alike = labels == np.array([s.label for s in sightings], object)
        return np.where(alike & (distance <= self.gate_m), distance, FORBIDDEN)

    def _add(self, stamp_ns: int, sighting: Sighting) -> WorldObject:
        thing = WorldObject(
            id=self.next_id,
            label=sighting.label,
            score=sighting.score,
            position=sighting.position,
            variance=sighting.variance,
            size=sighting.size,
            box=sighting.box,
            embedding=sighting.embedding,
            first_seen_ns=stamp_ns,
            last_seen_ns=stamp_ns,
            motion_probability=sighting.motion_probability,
        )
        self.objects[thing.id] = thing
        self.next_id += 1
        return thing

    def _forget(self) -> None:
        """Keep within capacity: what was seen least often and longest ago goes first.

        What is in view goes last, or a full map would have no place for anything new.
        """
        while len(self.objects) > self.capacity:
            least = min(self.objects.values(), key=_worth)
            del self.objects[least.id]
            self.forgotten += 1


def _worth(thing: WorldObject) -> tuple[bool, int, int, float]:
    in_view = thing.state is ObjectState.VISIBLE
    return in_view, thing.sightings, thing.last_seen_ns, thing.score
