# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Named corridors: blocked, clear, or not known."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import NANOSECONDS, Frame
from pervformer_ros.geometry import Array, invert, make_rotation, transform_points
from pervformer_ros.memory.corridor import PIECE_M, Corridor
from pervformer_ros.memory.events import NOWHERE, Event, EventType
from pervformer_ros.memory.objects import ObjectState, WorldObject
from pervformer_ros.memory.visibility import look_at, sample_depth

# The number of what stands on a corridor and is no object that is known.
UNKNOWN = 0
# Points this near to a known object belong to it, and points in a corridor count from this far
# inside of it: poses are not perfect, and racks stand beside corridors. Metres.
AROUND_M, WELL_INSIDE_M = 0.3, 0.15
# Points this high above the floor are in the way, metres: lowest, highest.
IN_THE_WAY = (0.12, 1.9)
# So many depth points, in all images for so long, are something that stands there.
LEAST_POINTS, OCCUPIED_AFTER_S = 15, 2.0
# Nearer than this depth cameras see, farther than that their points are too few, metres.
NEAR_M, FAR_M = 0.4, 6.0
# Every so many pixels, one is looked at.
STRIDE = 4
# A thing must reach into a corridor by this much more than the doubt about its place to block it,
# and that doubt be at most the last; metres.
INTO_M, MOST_DOUBT_M = 0.06, 0.6
# It has left when it is out of it by this much (metres) and so much of the doubt.
OUT_OF_M, OUT_SIGMAS = 0.05, 0.5
# Belief that what depth alone shows is there.
BELIEF = 0.7
# What set off and was not seen for so long is out of sight: an image or two may miss it.
MISSED_S = 0.9
# How long a piece counts as seen, seconds.
FRESH_S = 60.0


class PathState(IntEnum):
    """What is known of a corridor."""

    UNKNOWN = 0
    CLEAR = 1
    BLOCKED = 2


@dataclass(slots=True, eq=False)
class _Watch:
    """What is known of one corridor.

    blockers: where each object that stands on it was when that was seen, by id; id 0 stands for
        something that is not known as an object.
    left: what stood on it by its old line, and does not by its new one; not told yet.
    is_new: no image was seen since it was laid.
    """

    corridor: Corridor
    pieces: Array
    seen_ns: Array
    occupied_since_ns: int | None = None
    left: list[tuple[int, Array]] = field(default_factory=list)
    blockers: dict[int, Array] = field(default_factory=dict)
    told: bool = False
    is_new: bool = True


class PathWatch:
    """Keeps account of what stands on corridors, by objects at rest and by depth.

    Corridors are given in a world frame of their own; `T_world_odom` says where odom is in it.
    """

    def __init__(self, corridors: Iterable[Corridor] = ()):
        self._watches = {c.name: _watch(c) for c in corridors}
        self._restored: dict[str, dict[int, Array]] = {}  # of corridors that are not watched yet

    @property
    def corridors(self) -> list[Corridor]:
        """What is watched."""
        return [w.corridor for w in self._watches.values()]

    def lay(self, corridor: Corridor) -> None:
        """Watch one more corridor, or one of that name along another line.

        Of what it shares with the old one, it stays known what is free; what stood there goes on
        blocking it, or is told to have left when that is seen, or lies beside the new line.
        """
        old, new = self._watches.get(corridor.name), _watch(corridor)
        if old is None:
            new.blockers = self._restored.pop(corridor.name, {})
            new.told = bool(new.blockers)
        elif old.corridor.is_same(corridor):
            return
        else:
            apart = np.linalg.norm(new.pieces[:, None] - old.pieces[None], axis=2)
            seen = old.seen_ns[apart.argmin(axis=1)]
            new.seen_ns = np.where(apart.min(axis=1) < PIECE_M, seen, new.seen_ns)
            new.blockers = {
                number: place
                for number, place in old.blockers.items()
                if corridor.depth_inside(place[None])[0] > -MOST_DOUBT_M
            }
            gone = [b for b in old.blockers.items() if b[0] not in new.blockers]
            new.left = [*old.left, *gone]
            new.told, new.occupied_since_ns = old.told, old.occupied_since_ns
        self._watches[corridor.name] = new

    def lift(self, name: str) -> None:
        """Watch a corridor no longer; nothing is told of it."""
        self._watches.pop(name, None)

    def clear(self) -> None:
        """Forget what stands where; nothing is known of any corridor."""
        self._restored = {}
        self._watches = {name: _watch(w.corridor) for name, w in self._watches.items()}

    @property
    def blockers(self) -> dict[str, dict[int, Array]]:
        """What stands on each corridor: where (2,), in the corridors' frame, by object id."""
        watched = {name: w.blockers for name, w in self._watches.items() if w.blockers}
        return {name: dict(b) for name, b in (self._restored | watched).items()}

    def restore(self, blockers: dict[str, dict[int, Array]]) -> None:
        """Take over what stood on corridors: those that are watched, or will be."""
        self.clear()
        self._restored = {name: dict(b) for name, b in blockers.items()}
        for name in self._watches.keys() & blockers.keys():
            self._watches[name].blockers = self._restored.pop(name)
            self._watches[name].told = True

    def state(self, name: str, now_ns: int) -> PathState:
        """Return what is known of a corridor.

        Raises:
            KeyError: if there is none of this name.
        """
        watch = self._watches[name]
        if watch.blockers:
            return PathState.BLOCKED
        fresh = watch.seen_ns > now_ns - FRESH_S * NANOSECONDS
        return PathState.CLEAR if fresh.all() else PathState.UNKNOWN

    def update(
        self,
        frame: Frame,
        T_odom_base: Array,
        T_world_odom: Array,
        known: dict[int, WorldObject],
    ) -> list[Event]:
        """Return the corridors that this image shows to be blocked or cleared.

        What is remembered and out of view is asked about once, when a corridor is laid.
        """
        events: list[Event] = []
        if not self._watches:
            return events
        T_world_camera = T_world_odom @ T_odom_base @ frame.T_base_camera
        floor = float((T_world_odom @ T_odom_base)[2, 3])
        told = [o for o in known.values() if o.announced and o.state is not ObjectState.GONE]
        in_view = {
            o.id: _footprint(o, T_world_odom) for o in told if o.state is ObjectState.VISIBLE
        }
        remembered: dict[int, Array] = {}
        if any(watch.is_new for watch in self._watches.values()):
            remembered = {o.id: _footprint(o, T_world_odom) for o in told if not _went_on(o)}
        obstacles = self._obstacles(frame, T_world_camera, floor, T_world_odom, known)
        for watch in self._watches.values():
            there = obstacles[watch.corridor.depth_inside(obstacles) > WELL_INSIDE_M]
            footprints = remembered if watch.is_new else in_view
            left = [*watch.left, *self._account(watch, footprints, known)]
            left += self._forgotten(watch, there, frame, T_world_camera, floor, known)
            watch.left, watch.is_new = [], False
            self._note_obstacles(watch, there, frame.stamp_ns)
            self._look(watch, frame, T_world_camera, floor)
            name = watch.corridor.name
            if watch.blockers and not watch.told:
                number, place = next(iter(watch.blockers.items()))
                events.append(
                    _event(frame, EventType.PATH_BLOCKED, name, number, place, known, T_world_odom)
                )
                watch.told = True
            elif left and not watch.blockers and watch.told:
                number, place = left[-1]
                events.append(
                    _event(frame, EventType.PATH_CLEARED, name, number, place, known, T_world_odom)
                )
                watch.told = False
        return events

    @staticmethod
    def _account(
        watch: _Watch, footprints: dict[int, Array], known: dict[int, WorldObject]
    ) -> list[tuple[int, Array]]:
        """Add and drop objects that stand on a corridor; return those that left."""
        left = []
        for number in list(watch.blockers):
            thing = known.get(number)
            if thing is not None and thing.state is ObjectState.GONE:
                left.append((number, watch.blockers.pop(number)))
        for number, footprint in footprints.items():
            thing = known[number]
            depth = watch.corridor.overlap(footprint)
            out = OUT_OF_M + OUT_SIGMAS * thing.sigma
            # What is about to set off stands there still.
            leaves = thing.moving and not thing.is_at_home
            at_rest = not leaves and not thing.in_motion
            if at_rest and depth > INTO_M + thing.sigma and thing.sigma < MOST_DOUBT_M:
                watch.blockers[number] = footprint.mean(axis=0)
            elif number in watch.blockers and depth < -out:
                left.append((number, watch.blockers.pop(number)))
        return left

    @staticmethod
    def _obstacles(
        frame: Frame,
        T_world_camera: Array,
        floor: float,
        T_world_odom: Array,
        known: dict[int, WorldObject],
    ) -> Array:
        """Return points (K, 2) above the floor that belong to no object that was told of."""
        if frame.depth is None:
            return np.zeros((0, 2))
        v, u = np.mgrid[0 : frame.camera.height : STRIDE, 0 : frame.camera.width : STRIDE]
        depth = frame.depth[v, u].ravel()
        some = (depth > NEAR_M) & (depth < FAR_M)
        uv = np.stack([u.ravel(), v.ravel()], axis=1)[some].astype(float)
        points = transform_points(T_world_camera, frame.camera.back_project(uv, depth[some]))
        height = points[:, 2] - floor
        points = points[(height > IN_THE_WAY[0]) & (height < IN_THE_WAY[1]), :2]
        for thing in known.values():
            if not thing.announced or thing.state is ObjectState.GONE or _went_on(thing):
                continue
            around = AROUND_M + min(thing.sigma, MOST_DOUBT_M)
            points = points[~_covers(thing, around, T_world_odom, points)]
        return points

    @staticmethod
    def _note_obstacles(watch: _Watch, inside: Array, stamp_ns: int) -> None:
        """Let what no object explains block a corridor, once it has been seen for long enough.

        inside: (K, 2) points well inside of it that belong to nothing that was told of.
        """
        if UNKNOWN in watch.blockers:
            return
        if len(inside) < LEAST_POINTS:
            watch.occupied_since_ns = None
            return
        if watch.occupied_since_ns is None or watch.occupied_since_ns > stamp_ns:
            watch.occupied_since_ns = stamp_ns
        elif stamp_ns - watch.occupied_since_ns >= OCCUPIED_AFTER_S * NANOSECONDS:
            watch.blockers[UNKNOWN] = np.median(inside, axis=0)
            watch.occupied_since_ns = None

    @staticmethod
    def _forgotten(
        watch: _Watch,
        inside: Array,
        frame: Frame,
        T_world_camera: Array,
        floor: float,
        known: dict[int, WorldObject],
    ) -> list[tuple[int, Array]]:
        """Drop what is not known to be there from where the image looks through its place.

        But not what is not known at all while points `inside` (K, 2) show that something is there.
        """
        now = frame.stamp_ns
        numbers = [
            n
            for n in watch.blockers
            if n not in known or (_went_on(known[n]) and known[n].unseen_s(now) >= MISSED_S)
        ]
        if len(inside) >= LEAST_POINTS:
            numbers = [n for n in numbers if n != UNKNOWN]
        if not numbers:
            return []
        side, tall = 0.4, 1.0
        middle = floor + tall / 2 + IN_THE_WAY[0]
        boxes = np.array([[*watch.blockers[n], middle, side, side, tall, 0.0] for n in numbers])
        seen = look_at(frame, T_world_camera, boxes)
        empty = (seen.in_view >= 0.5) & (seen.through >= 0.8)
        return [(n, watch.blockers.pop(n)) for n, gone in zip(numbers, empty, strict=True) if gone]

    @staticmethod
    def _look(watch: _Watch, frame: Frame, T_world_camera: Array, floor: float) -> None:
        """Note which pieces of a corridor the image shows to be free."""
        if frame.depth is None:
            return
        at = T_world_camera[:2, 3]
        near = np.linalg.norm(watch.pieces - at, axis=1) < FAR_M
        if not near.any():
            return
        # A piece is free where its floor is seen, or is looked past.
        on_floor = np.column_stack([watch.pieces[near], np.full(near.sum(), floor)])
        points = transform_points(invert(T_world_camera), on_floor)
        measured, inside = sample_depth(frame, points)
        shown = inside & (measured > 0) & (measured > points[:, 2] * 0.95 - 0.05)
        stamps = watch.seen_ns[near]
        stamps[shown] = frame.stamp_ns
        watch.seen_ns[near] = stamps


def _watch(corridor: Corridor) -> _Watch:
    pieces = corridor.pieces()
    return _Watch(corridor, pieces, np.full(len(pieces), -(2.0**62)))


def _went_on(thing: WorldObject) -> bool:
    """Return whether a thing was in motion when it was last seen, and may be anywhere by now."""
    return thing.state is not ObjectState.VISIBLE and (thing.moving or thing.in_motion)


def _covers(
    thing: WorldObject, around: float, T_world_odom: Array, points: Array
) -> NDArray[np.bool_]:
    """Return which points (K, 2) are on a thing's ground or within so many metres around it."""
    T_world_thing = T_world_odom @ make_rotation([0.0, 0.0, thing.heading])
    middle = transform_points(T_world_odom, thing.position)[:2]
    own = (points - middle) @ T_world_thing[:2, :2]
    return np.asarray((np.abs(own) <= thing.size[:2] / 2 + around).all(axis=1))


def _footprint(thing: WorldObject, T_world_odom: Array) -> Array:
    """Return points (K, 2) all over the floor under a thing, in the world of the corridors."""
    f = np.linspace(-0.5, 0.5, 9)
    grid = np.stack(np.meshgrid(f, f), axis=-1).reshape(-1, 2) * thing.size[:2]
    c, s = np.cos(thing.heading), np.sin(thing.heading)
    turned = np.stack([c * grid[:, 0] - s * grid[:, 1], s * grid[:, 0] + c * grid[:, 1]], axis=1)
    points = np.column_stack([turned, np.zeros(len(turned))]) + thing.position
    return transform_points(T_world_odom, points)[:, :2]


def _event(
    frame: Frame,
    kind: EventType,
    name: str,
    number: int,
    place: Array,
    known: dict[int, WorldObject],
    T_world_odom: Array,
) -> Event:
    thing = known.get(number)
    here = transform_points(invert(T_world_odom), np.append(place, 0.0))
    return Event(
        stamp_ns=frame.stamp_ns,
        type=kind,
        object_id=number,
        label="" if thing is None else thing.label,
        confidence=BELIEF if thing is None else max(BELIEF, thing.score),
        from_position=NOWHERE if kind is EventType.PATH_BLOCKED else here,
        to_position=here if kind is EventType.PATH_BLOCKED else NOWHERE,
        path_name=name,
    )
