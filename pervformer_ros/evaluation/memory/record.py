# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a memory told along a run, beside what was true: written down image by image."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pervformer_ros.bags.ground_truth import TrueChange, TrueThing
from pervformer_ros.evaluation.memory.scoring import (
    LATE_S,
    EventScore,
    Happening,
    MapScore,
    score_events,
    score_map,
)
from pervformer_ros.frame import NANOSECONDS
from pervformer_ros.geometry import Array, invert, transform_points
from pervformer_ros.memory import Event, EventType, ObjectState, WorldObject, box_overlaps

# A box that overlaps a true one by more than this is of the same object.
SAME_IOU = 0.5
# What is shown plainly for so long, within the time there is to tell it, must be told; seconds.
SHOWN_S = 0.5
# What tells that a thing left a place, and how near to that it is there, metres.
LEAVES = (
    EventType.STARTED_MOVING,
    EventType.MOVED,
    EventType.REMOVED,
    EventType.PATH_CLEARED,
)
SAME_PLACE_M = 0.3
# In which state a thing must be shown for an event to be seen: in motion, or at rest.
SHOWN_IN_MOTION = {
    EventType.STARTED_MOVING: True,
    EventType.STOPPED: False,
    EventType.MOVED: False,
    EventType.PATH_BLOCKED: False,
}


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    event: Event
    T_map_odom: Array
    T_map_base: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Moment:
    """One thing in one image: where (2,), whether it moves, whether the image shows it plainly."""

    stamp_ns: int
    place: Array
    moving: bool
    plain: bool


class EventRecord:
    """Compares events and objects with the truth.

    Which object an id means is decided by the boxes: the true one it lay upon most often. Places
    are compared where the robot sees them: odom is laid upon the map by where the robot truly is.
    """

    def __init__(self) -> None:
        self._told: list[_Told] = []
        self._true: list[tuple[TrueChange, Array]] = []
        self._votes: defaultdict[int, Counter[int]] = defaultdict(Counter)
        self._last_seen: dict[int, tuple[str, Array]] = {}
        self._gone: set[int] = set()
        self._course: defaultdict[int, list[_Moment]] = defaultdict(list)
        self._objects: list[tuple[str, Array]] = []

    def hear(
        self,
        stamp_ns: int,
        T_map_base: Array,
        T_odom_base: Array,
        objects: Sequence[WorldObject],
        events: Sequence[Event],
        things: Sequence[TrueThing],
        changes: Sequence[TrueChange],
        plain: Collection[int] | None = None,
    ) -> None:
        """Take in one image: what was told, then what is true.

        Args:
            stamp_ns: of the image.
            T_map_base: where the robot truly was.
            T_odom_base: where odometry says it was.
            objects: what the memory listed.
            events: what it told.
            things: what a perfect observer would list.
            changes: what it would tell.
            plain: the ids of the things that the image shows plainly; None where nobody asks.
        """
        T_map_odom = T_map_base @ invert(T_odom_base)
        self._told += [_Told(e, T_map_odom, T_map_base) for e in events]
        self._true += [(c, T_map_base) for c in changes]
        visible = [o for o in objects if o.state is ObjectState.VISIBLE]
        seen = [t for t in things if t.state == ObjectState.VISIBLE]
        self._gone = {t.id for t in things if t.state == ObjectState.GONE} | (
            self._gone - {t.id for t in seen}
        )
        if plain is not None:
            for thing in things:
                place = thing.T_map_object[:2, 3].copy()
                moment = _Moment(stamp_ns, place, thing.moving, thing.id in plain)
                self._course[thing.id].append(moment)
        for thing in seen:
            self._last_seen[thing.id] = thing.label, thing.T_map_object[:2, 3].copy()
        self._objects = [
            (o.label, transform_points(T_map_odom, o.position)[:2])
            for o in objects
            if o.state is not ObjectState.GONE
        ]
        if visible and seen:
            corners = np.array([t.box for t in seen], float)
            boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
            overlap = box_overlaps(np.array([o.box for o in visible], float), boxes)
            for thing_told, row in zip(visible, overlap, strict=True):
                if row.max() > SAME_IOU:
                    self._votes[thing_told.id][seen[int(row.argmax())].id] += 1

    def events(self, plain: bool = False) -> EventScore:
        """Score all events by the first image that shows them, or that shows them plainly."""
        same = {number: votes.most_common(1)[0][0] for number, votes in self._votes.items()}
        told = [_told(t, same) for t in self._told]
        true = [_true(c, T) for c, T in self._true]
        if plain:
            told = [self._located(one) for one in told]
            true = [self._plainly(one) for one in true]
        return score_events(told, true)

    def _located(self, told: Happening) -> Happening:
        """Return what was told with where its thing truly was then."""
        here = [m.place for m in self._course[told.thing] if m.stamp_ns == told.stamp_ns]
        return replace(told, whereabouts=here[0] if here else None)

    def _plainly(self, true: Happening) -> Happening:
        """Return what is true with when images begin to show it plainly.

        That is when a thing is shown plainly, in the state it is told to be in, for SHOWN_S of the
        next LATE_S seconds. That a place is empty is seen at once. What left a place where no image
        showed it plainly at rest need not be told.
        """
        if true.type in LEAVES:
            before = [
                m
                for m in self._course[true.thing]
                if m.stamp_ns < true.stamp_ns
                and not m.moving
                and np.linalg.norm(m.place - true.start) <= SAME_PLACE_M
            ]
            if self._shown_since(true, before) is None:
                return replace(true, optional=True)
        if true.type in (EventType.REMOVED, EventType.PATH_CLEARED):
            return true
        course = [m for m in self._course[true.thing] if m.stamp_ns >= true.stamp_ns]
        state = SHOWN_IN_MOTION.get(true.type)
        if state is not None:  # as long as it stays in that state
            changes = [i for i, m in enumerate(course) if m.moving is not state]
            course = course[: changes[0]] if changes else course
        first = self._shown_since(true, course)
        return replace(true, optional=True) if first is None else replace(true, plain_ns=first)

    def _shown_since(self, true: Happening, course: Sequence[_Moment]) -> int | None:
        """Return from when on a part of a thing's course shows it plainly, None if never."""
        shown = np.array([m.stamp_ns for m in course if m.plain], np.int64)
        per_image = _image_ns(self._course[true.thing])
        for first in shown:
            inside = (shown >= first) & (shown <= first + LATE_S * NANOSECONDS)
            if np.count_nonzero(inside) * per_image >= SHOWN_S * NANOSECONDS:
                return int(first)
        return None

    def map(self) -> MapScore:
        """Score what was remembered last."""
        true = [place for i, place in self._last_seen.items() if i not in self._gone]
        return score_map(
            np.array([p for _, p in self._objects]).reshape(-1, 2),
            [label for label, _ in self._objects],
            np.array([p for _, p in true]).reshape(-1, 2),
            [label for label, _ in true],
        )


def _image_ns(course: Sequence[_Moment]) -> float:
    """Return how long an image lasts, nanoseconds; 0 where there is but one."""
    apart = np.diff([m.stamp_ns for m in course])
    return float(np.median(apart)) if len(apart) else 0.0


def _told(told: _Told, same: dict[int, int]) -> Happening:
    event = told.event
    start, end = (
        transform_points(told.T_map_odom, p)[:2] for p in (event.from_position, event.to_position)
    )
    place = end if np.isfinite(end).all() else start
    return Happening(
        stamp_ns=event.stamp_ns,
        type=event.type,
        thing=same.get(event.object_id, 0),
        label=event.label,
        start=start,
        end=end,
        away_m=float(np.linalg.norm(place - told.T_map_base[:2, 3])),
        path=event.path_name,
        agent=same.get(event.agent_id, -1) if event.agent_id else 0,
        confidence=event.confidence,
    )


def _true(change: TrueChange, T_map_base: Array) -> Happening:
    kind = EventType(change.type)
    start, end = change.T_from[:2, 3], change.T_to[:2, 3]
    nowhere = np.full(2, np.nan)
    if kind in (EventType.REMOVED, EventType.PATH_CLEARED):
        end = nowhere
    elif kind in (EventType.APPEARED, EventType.STOPPED, EventType.PATH_BLOCKED):
        start = nowhere
    place = end if np.isfinite(end).all() else start
    return Happening(
        stamp_ns=change.stamp_ns,
        type=kind,
        thing=change.object_id,
        label=change.label,
        start=start,
        end=end,
        away_m=float(np.linalg.norm(place - T_map_base[:2, 3])),
        path=change.path_name,
        agent=change.agent_id,
    )
