# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Ground truth as a perfect observer at the robot's place would have it.

The observer sees what the ideal picture shows, knows every thing again, and remembers where it last
saw it. It never looks at the scenario's script: objects and events follow from poses and from what
was visible alone.

An object is *seen* in a frame that shows MIN_PIXELS of it. Its *home* is where it was last seen at
rest. Events, each at the first frame that shows it:

    APPEARED        it is seen for the first time
    STARTED_MOVING  it is seen in motion, NOTICEABLE away from its home
    STOPPED         it is seen at rest after it was last seen in motion
    MOVED           it is seen at rest farther than RELOCATED from its home, or after REMOVED
    REMOVED         its home is seen empty, and it is not seen elsewhere
    PATH_BLOCKED    it is seen at rest on a path on which nothing was known to stand
    PATH_CLEARED    the last thing known to stand on a path is seen off it, or its home seen empty

The agent is whoever carried the object while both were seen.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from pervformer_ros.frame import CameraModel
from pervformer_ros.geometry import Array, invert, transform_points
from pervformer_ros.memory.events import EventType
from pervformer_ros.memory.objects import ObjectState
from pervformer_ros.sim.boxes import BodyBoxes, footprint
from pervformer_ros.sim.episode import Episode, Sight
from pervformer_ros.sim.layout import Path

# Of 320 x 240; scaled with the picture.
MIN_PIXELS = 50
NOTICEABLE = 0.10
RELOCATED = 0.30
# A place is seen empty when most sample points in it are in view and looked through.
IN_VIEW, LOOKED_THROUGH = 0.5, 0.8
EMPTY_RANGE = 8.0
_SAMPLES = np.stack(np.meshgrid(*[np.linspace(-0.4, 0.4, 3)] * 3), axis=-1).reshape(-1, 3)


@dataclass(frozen=True, slots=True, eq=False)
class TrueObject:
    """One object at one frame.

    T_map_object: pose of the middle of its box. size: (3,) extents along its own axes.
    velocity: (3,) of the middle, map frame. pixels: how many show it.
    roi: x, y, width, height of those, zero where none.
    """

    id: int
    label: str
    state: ObjectState
    moving: bool
    T_map_object: Array
    size: Array
    velocity: Array
    pixels: int
    roi: tuple[int, int, int, int]
    first_seen_ns: int
    last_seen_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class TrueEvent:
    """One change, at the first frame that shows it."""

    stamp_ns: int
    sequence: int
    type: EventType
    object_id: int
    label: str
    T_from: Array
    T_to: Array
    agent_id: int = 0
    agent_label: str = ""
    path_name: str = ""


@dataclass(slots=True, eq=False)
class _Belief:
    """What the observer knows of one body; one that is gone is listed once more, then dropped."""

    first_seen_ns: int
    last_seen_ns: int
    moving: bool
    home: Array | None = None
    gone: bool = False
    dropped: bool = False
    agent: int = 0


@dataclass(eq=False)
class Observer:
    """Watches an episode's sights in order."""

    episode: Episode
    _beliefs: dict[int, _Belief] = field(default_factory=dict)
    _blockers: dict[str, dict[int, Array]] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        """Measure bodies and paths once."""
        e = self.episode
        self._boxes = BodyBoxes(e.bodies, e.log)
        self._paths = e.layout.paths()
        self._blockers = {path.name: {} for path in self._paths}
        self._min_pixels = MIN_PIXELS * e.camera.width * e.camera.height / (320 * 240)

    def observe(self, sight: Sight) -> tuple[list[TrueObject], list[TrueEvent]]:
        """Return every object seen so far and what changed in this frame."""
        count = len(self.episode.bodies)
        pixels = np.bincount(sight.instance.ravel(), minlength=count)
        areas = find_objects(sight.instance.astype(np.int32), max_label=count - 1)
        events: list[TrueEvent] = []
        for body in range(1, count):
            if pixels[body] >= self._min_pixels:
                self._see(sight, body, pixels, events)
            else:
                self._miss(sight, body, events)
        for path in self._paths:
            self._watch(sight, path, pixels, events)
        objects = [
            self._describe(sight, body, int(pixels[body]), areas[body - 1])
            for body, belief in sorted(self._beliefs.items())
            if not belief.dropped
        ]
        for belief in self._beliefs.values():
            belief.dropped = belief.gone
        return objects, events

    def _see(
        self, sight: Sight, body: int, pixels: NDArray[np.intp], events: list[TrueEvent]
    ) -> None:
        tick, stamp = sight.tick, sight.stamp_ns
        moving = bool(self._boxes.moving[tick, body])
        pose = self._boxes.pose(tick, body)
        belief = self._beliefs.get(body)
        if belief is None:
            belief = self._beliefs[body] = _Belief(stamp, stamp, moving)
            self._emit(events, sight, EventType.APPEARED, body, pose, pose)
        was_gone = belief.gone
        belief.last_seen_ns, belief.gone, belief.dropped = stamp, False, False
        carrier = int(self.episode.log.carrier[tick, body])
        if carrier and pixels[carrier] >= self._min_pixels:
            belief.agent = carrier
        if moving:
            self._see_moving(sight, body, belief, pose, events)
        else:
            self._see_at_rest(sight, body, belief, pose, events, was_gone)

    def _see_moving(
        self, sight: Sight, body: int, belief: _Belief, pose: Array, events: list[TrueEvent]
    ) -> None:
        if belief.moving or belief.home is None:
            return
        if _distance(pose, belief.home) > NOTICEABLE:
            belief.moving = True
            kind = EventType.STARTED_MOVING
            self._emit(events, sight, kind, body, belief.home, pose, belief.agent)

    def _see_at_rest(
        self,
        sight: Sight,
        body: int,
        belief: _Belief,
        pose: Array,
        events: list[TrueEvent],
        was_gone: bool,
    ) -> None:
        if belief.moving:
            belief.moving = False
            self._emit(events, sight, EventType.STOPPED, body, pose, pose, belief.agent)
        if belief.home is None:
            belief.home = pose
        elif was_gone or _distance(pose, belief.home) > RELOCATED:
            self._emit(events, sight, EventType.MOVED, body, belief.home, pose, belief.agent)
            belief.home = pose
        if not self.episode.log.carrier[sight.tick, body]:
            belief.agent = 0

    def _miss(self, sight: Sight, body: int, events: list[TrueEvent]) -> None:
        belief = self._beliefs.get(body)
        if belief is None or belief.moving or belief.gone or belief.home is None:
            return
        present = self.episode.log.present[sight.tick, body]
        if present and _distance(self._boxes.pose(sight.tick, body), belief.home) <= RELOCATED:
            return
        if self._seen_empty(sight, belief.home, self._boxes.size[body]):
            belief.gone = True
            self._emit(events, sight, EventType.REMOVED, body, belief.home, belief.home)

    def _watch(
        self, sight: Sight, path: Path, pixels: NDArray[np.intp], events: list[TrueEvent]
    ) -> None:
        """Keep account of what is known to stand on a path."""
        known = self._blockers[path.name]
        was_clear = not known
        left: list[tuple[int, Array]] = []
        for body in self._beliefs:
            pose = self._boxes.pose(sight.tick, body)
            if pixels[body] < self._min_pixels:
                away = body in known and self._left(sight, body, known[body])
            else:
                on = on_path(path, footprint(pose, self._boxes.size[body]))
                away = body in known and not on
                # What sets off is no longer at rest, though it may still be near its home.
                if on and not self._boxes.moving[sight.tick, body]:
                    known[body] = pose
            if away:
                left.append((body, known.pop(body)))
        if was_clear and known:
            body, pose = next(iter(known.items()))
            self._emit(events, sight, EventType.PATH_BLOCKED, body, pose, pose, path=path.name)
        if left and not known:
            # Of what left together, the load, and not its carrier, was in the way.
            carriers = self.episode.log.carrier[sight.tick]
            body, pose = max(left, key=lambda one: bool(carriers[one[0]]))
            agent = self._beliefs[body].agent
            self._emit(events, sight, EventType.PATH_CLEARED, body, pose, pose, agent, path.name)

    def _left(self, sight: Sight, body: int, place: Array) -> bool:
        """Return whether an unseen body is gone from a place and the place is seen empty."""
        present = self.episode.log.present[sight.tick, body]
        if present and _distance(self._boxes.pose(sight.tick, body), place) <= RELOCATED:
            return False
        return self._seen_empty(sight, place, self._boxes.size[body])

    def _seen_empty(self, sight: Sight, place: Array, size: Array) -> bool:
        T_camera_place = invert(sight.T_map_base @ self.episode.T_base_camera) @ place
        points = transform_points(T_camera_place, _SAMPLES * size)
        return seen_through(sight.depth, self.episode.camera, points)

    def _describe(
        self, sight: Sight, body: int, pixels: int, area: tuple[slice, slice] | None
    ) -> TrueObject:
        belief, boxes = self._beliefs[body], self._boxes
        roi = (0, 0, 0, 0)
        if area is not None:
            rows, columns = area
            roi = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        if belief.gone:
            state = ObjectState.GONE
        elif pixels >= self._min_pixels:
            state = ObjectState.VISIBLE
        else:
            state, roi = ObjectState.REMEMBERED, (0, 0, 0, 0)
        return TrueObject(
            id=body,
            label=self.episode.bodies[body].kind.label,
            state=state,
            moving=bool(boxes.moving[sight.tick, body]),
            T_map_object=boxes.pose(sight.tick, body),
            size=boxes.size[body],
            velocity=boxes.velocity(sight.tick, body),
            pixels=pixels,
            roi=roi,
            first_seen_ns=belief.first_seen_ns,
            last_seen_ns=belief.last_seen_ns,
        )

    def _emit(
        self,
        events: list[TrueEvent],
        sight: Sight,
        kind: EventType,
        body: int,
        T_from: Array,
        T_to: Array,
        agent: int = 0,
        path: str = "",
    ) -> None:
        self._count += 1
        bodies = self.episode.bodies
        events.append(
            TrueEvent(
                stamp_ns=sight.stamp_ns,
                sequence=self._count,
                type=kind,
                object_id=body,
                label=bodies[body].kind.label,
                T_from=T_from,
                T_to=T_to,
                agent_id=agent,
                agent_label=bodies[agent].kind.label if agent else "",
                path_name=path,
            )
        )


def on_path(path: Path, corners: Array) -> bool:
    """Return whether a footprint (4, 2) reaches into the strip around a path's centre line."""
    f = np.linspace(0, 1, 9)
    left = corners[0] + f[:, None] * (corners[3] - corners[0])
    right = corners[1] + f[:, None] * (corners[2] - corners[1])
    points = (left[None] + f[:, None, None] * (right - left)[None]).reshape(-1, 2)
    for start, end in pairwise(path.centre_line):
        along = (end - start) / np.linalg.norm(end - start)
        across = np.array([-along[1], along[0]])
        s, d = (points - start) @ along, (points - start) @ across
        inside = (s >= 0) & (s <= np.linalg.norm(end - start)) & (np.abs(d) <= path.half_width)
        if inside.any():
            return True
    return False


def seen_through(depth: NDArray[np.float32], camera: CameraModel, points: Array) -> bool:
    """Return whether a picture's depth proves that nothing is at points (K, 3), optical frame."""
    uv = np.rint(camera.project(points))
    inside = (uv >= 0).all(axis=1) & (uv < (camera.width, camera.height)).all(axis=1)
    inside &= points[:, 2] <= EMPTY_RANGE
    if inside.mean() < IN_VIEW:
        return False
    columns, rows = uv[inside].astype(int).T
    behind = depth[rows, columns] > points[inside, 2] + 0.05
    return bool(behind.mean() >= LOOKED_THROUGH)


def _distance(T_0: Array, T_1: Array) -> float:
    return float(np.linalg.norm(T_0[:3, 3] - T_1[:3, 3]))
