# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Named corridors: blocked, clear, or not known."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise

import numpy as np

from pervformer_ros.frame import NANOSECONDS, Frame
from pervformer_ros.geometry import Array, invert, transform_points
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
# A corridor is looked at in pieces of this length, metres.
PIECE_M = 0.3
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


@dataclass(frozen=True, slots=True, eq=False)
class Corridor:
    """A named strip of floor that traffic needs free.

    centre_line: (K, 2) metres. half_width: metres to either side.
    """

    name: str
    centre_line: Array
    half_width: float = 0.45

    def __post_init__(self) -> None:
        """Refuse what is no strip (ValueError)."""
        line = np.asarray(self.centre_line, float)
        object.__setattr__(self, "centre_line", line)
        if line.ndim != 2 or line.shape[1] != 2 or len(line) < 2 or not np.isfinite(line).all():
            raise ValueError(
                f"path '{self.name}' has a centre line of shape {line.shape}: give two points "
                "x, y or more, in metres"
            )
        if not np.linalg.norm(np.diff(line, axis=0), axis=1).sum() > 0:
            raise ValueError(f"path '{self.name}' has no length: give points that differ")
        if not 0 < self.half_width < np.inf:
            raise ValueError(f"path '{self.name}' has half width {self.half_width}: give metres")

    def depth_inside(self, points: Array) -> Array:
        """Return by how much points (K, 2) lie inside the strip (K,), metres; negative outside."""
        inside = np.full(len(points), -np.inf)
        for start, end in pairwise(self.centre_line):
            length = float(np.linalg.norm(end - start))
            if length < 1e-9:
                continue
            along = (end - start) / length
            s, d = (points - start) @ along, np.abs((points - start) @ (-along[1], along[0]))
            inside = np.maximum(inside, np.minimum(self.half_width - d, np.minimum(s, length - s)))
        return inside

    def overlap(self, points: Array) -> float:
        """Return how far the convex hull of points (K, 2) would have to shift to leave the strip.

        Metres; negative where it is outside, then by how much.
        """
        most = -np.inf
        for start, end in pairwise(self.centre_line):
            length = float(np.linalg.norm(end - start))
            if length < 1e-9:
                continue
            along = (end - start) / length
            s, d = (points - start) @ along, (points - start) @ (-along[1], along[0])
            across = min(self.half_width - d.min(), self.half_width + d.max())
            most = max(most, min(across, s.max(), length - s.min()))
        return float(most)

    def pieces(self) -> Array:
        """Return the middles (N, 2) of its pieces."""
        middles = []
        for start, end in pairwise(self.centre_line):
            count = max(1, round(float(np.linalg.norm(end - start)) / PIECE_M))
            share = (np.arange(count) + 0.5) / count
            middles.append(start + share[:, None] * (end - start))
        return np.concatenate(middles)

    def moved(self, T: Array) -> "Corridor":
        """Return the same strip in another frame: T takes points of its frame to that one."""
        line = np.pad(np.asarray(self.centre_line, float), ((0, 0), (0, 1)))
        return Corridor(self.name, transform_points(T, line)[:, :2], self.half_width)


@dataclass(slots=True, eq=False)
class _Watch:
    """What is known of one corridor.

    blockers: where each object that stands on it was when that was seen, by id; id 0 stands for
        something that is not known as an object.
    left: what stood on it by its old line, and does not by its new one; not told yet.
    """

    corridor: Corridor
    pieces: Array
    seen_ns: Array
    occupied_since_ns: int | None = None
    left: list[tuple[int, Array]] = field(default_factory=list)
    blockers: dict[int, Array] = field(default_factory=dict)
    told: bool = False


class PathWatch:
    """Keeps account of what stands on corridors, by objects at rest and by depth.

    Corridors are given in a world frame of their own; `T_world_odom` says where odom is in it.
    """

    def __init__(self, corridors: Iterable[Corridor] = ()):
        self._watches = {c.name: _watch(c) for c in corridors}

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
        if old is not None:
            apart = np.linalg.norm(new.pieces[:, None] - old.pieces[None], axis=2)
            seen = old.seen_ns[apart.argmin(axis=1)]
            new.seen_ns = np.where(apart.min(axis=1) < PIECE_M, seen, new.seen_ns)
            new.blockers = {
                number: place
                for number, place in old.blockers.items()
                if corridor.depth_inside(place[None])[0] > -MOST_DOUBT_M
            }
            new.left = [b for b in old.blockers.items() if b[0] not in new.blockers]
            new.told, new.occupied_since_ns = old.told, old.occupied_since_ns
        self._watches[corridor.name] = new

    def lift(self, name: str) -> None:
        """Watch a corridor no longer; nothing is told of it."""
        self._watches.pop(name, None)

    def clear(self) -> None:
        """Forget what stands where; nothing is known of any corridor."""
        self._watches = {name: _watch(w.corridor) for name, w in self._watches.items()}

    @property
    def blockers(self) -> dict[str, dict[int, Array]]:
        """What stands on each corridor: where (2,), in the corridors' frame, by object id."""
        return {name: dict(w.blockers) for name, w in self._watches.items() if w.blockers}

    def restore(self, blockers: dict[str, dict[int, Array]]) -> None:
        """Take over what stood on the corridors that are watched."""
        self.clear()
        for name in self._watches.keys() & blockers.keys():
            self._watches[name].blockers = dict(blockers[name])
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
        """Return the corridors that this image shows to be blocked or cleared."""
        events: list[Event] = []
        if not self._watches:
            return events
        T_world_camera = T_world_odom @ T_odom_base @ frame.T_base_camera
        floor = float((T_world_odom @ T_odom_base)[2, 3])
        footprints = {
            o.id: _footprint(o, T_world_odom)
            for o in known.values()
            if o.announced and o.state is ObjectState.VISIBLE
        }
        obstacles = self._obstacles(frame, T_world_camera, floor, T_world_odom, known)
        for watch in self._watches.values():
            was_clear = not watch.blockers
            left = [*watch.left, *self._account(watch, footprints, known)]
            left += self._forgotten(watch, frame, T_world_camera, floor, known)
            watch.left = []
            self._note_obstacles(watch, obstacles, frame.stamp_ns)
            self._look(watch, frame, T_world_camera, floor)
            name = watch.corridor.name
            if was_clear and watch.blockers:
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
        """Return points (K, 2) above the floor that belong to no object that is known."""
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
            if thing.state is ObjectState.GONE or _went_on(thing):
                continue
            middle = transform_points(T_world_odom, thing.position)[:2]
            doubt = 2 * min(thing.sigma, MOST_DOUBT_M)
            reach = 0.5 * float(np.hypot(*thing.size[:2])) + AROUND_M + doubt
            points = points[np.linalg.norm(points - middle, axis=1) > reach]
        return points

    @staticmethod
    def _note_obstacles(watch: _Watch, obstacles: Array, stamp_ns: int) -> None:
        """Let what no object explains block a corridor, once it has been seen for long enough."""
        if UNKNOWN in watch.blockers:
            return
        inside = obstacles[watch.corridor.depth_inside(obstacles) > WELL_INSIDE_M]
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
        frame: Frame,
        T_world_camera: Array,
        floor: float,
        known: dict[int, WorldObject],
    ) -> list[tuple[int, Array]]:
        """Drop what is not known to be there from where the image looks through its place."""
        now = frame.stamp_ns
        numbers = [
            n
            for n in watch.blockers
            if n not in known or (_went_on(known[n]) and known[n].unseen_s(now) >= MISSED_S)
        ]
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
