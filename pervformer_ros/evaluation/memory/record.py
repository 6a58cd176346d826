# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a memory told along a run, beside what was true: written down image by image."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pervformer_ros.bags.ground_truth import TrueChange, TrueThing
from pervformer_ros.evaluation.memory.scoring import (
    EventScore,
    Happening,
    MapScore,
    score_events,
    score_map,
)
from pervformer_ros.geometry import Array, invert, transform_points
from pervformer_ros.memory import Event, EventType, ObjectState, WorldObject, box_overlaps

# A box that overlaps a true one by more than this is of the same object.
SAME_IOU = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    event: Event
    T_map_odom: Array
    T_map_base: Array


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
        self._objects: list[tuple[str, Array]] = []

    def hear(
        self,
        T_map_base: Array,
        T_odom_base: Array,
        objects: Sequence[WorldObject],
        events: Sequence[Event],
        things: Sequence[TrueThing],
        changes: Sequence[TrueChange],
    ) -> None:
        """Take in one image: what was told, then what is true.

        Args:
            T_map_base: where the robot truly was.
            T_odom_base: where odometry says it was.
            objects: what the memory listed.
            events: what it told.
            things: what a perfect observer would list.
            changes: what it would tell.
        """
        T_map_odom = T_map_base @ invert(T_odom_base)
        self._told += [_Told(e, T_map_odom, T_map_base) for e in events]
        self._true += [(c, T_map_base) for c in changes]
        visible = [o for o in objects if o.state is ObjectState.VISIBLE]
        seen = [t for t in things if t.state == ObjectState.VISIBLE]
        self._gone = {t.id for t in things if t.state == ObjectState.GONE} | (
            self._gone - {t.id for t in seen}
        )
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

    def events(self) -> EventScore:
        """Score all events."""
        same = {number: votes.most_common(1)[0][0] for number, votes in self._votes.items()}
        told = [_told(t, same) for t in self._told]
        return score_events(told, [_true(c, T) for c, T in self._true])

    def map(self) -> MapScore:
        """Score what was remembered last."""
        true = [place for i, place in self._last_seen.items() if i not in self._gone]
        return score_map(
            np.array([p for _, p in self._objects]).reshape(-1, 2),
            [label for label, _ in self._objects],
            np.array([p for _, p in true]).reshape(-1, 2),
            [label for label, _ in true],
        )


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
