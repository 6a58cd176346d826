# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""All objects: sightings become things with an id for life."""

from collections.abc import Sequence

import numpy as np

from pervformer_ros.frame import NANOSECONDS, Frame
from pervformer_ros.geometry import Array
from pervformer_ros.memory.appearance import Appearance
from pervformer_ros.memory.association import (
    assign,
    box_overlaps,
    costs,
    recognition_costs,
    shared_ground,
)
from pervformer_ros.memory.drift import Drift
from pervformer_ros.memory.objects import (
    BREAK_S,
    SEEN_THROUGH,
    ObjectState,
    Sighting,
    WorldObject,
)
from pervformer_ros.memory.visibility import look_at

# Belief from which a thing counts, as log-odds; a doubtful one loses this with every image
# that does not show it, and is dropped after so many.
CONFIRMED, DOUBT, PATIENCE = 2.5, -0.3, 4
SURE = 0.3
# A faint sighting overlaps a thing's last box by more than this, and no surer sighting by as much.
FAINT_OVERLAP = 0.4
# A place is looked past where this share of it is in view, and this share of that looked through.
IN_VIEW, LOOKED_THROUGH = 0.5, 0.8
# Two detections of one thing overlap this much in the image and are this near in space (metres).
TWICE_OVERLAP, TWICE_M = 0.75, 0.6
# Two objects are one where their middles are nearer than this share of the smaller one's width.
ONE_WITHIN = 0.5
# Two things of one class, or two goods of any, do not share more than this of the smaller one's
# ground.
SAME_GROUND = 0.25
# A doubt about a place of more deviations than this is no longer the same place.
SAME_PLACE_SIGMAS, SAME_PLACE_M = 2.5, 0.3
# Metres over which the error of odometry is about the same, and to which the place of a thing must
# be known for it to show that error: else it shows its own.
DRIFT_REACH_M, FIXED_M = 15.0, 0.15
# A robot that remembers what another run knew may have been moved so far meanwhile, metres.
MEANWHILE_M = 2.0
# Who drives less than this does not drift, metres.
STANDS_M = 0.005
# No more pairs of a class than these are needed from one image to learn what looks are worth.
MOST_PAIRS = 20


class ObjectMap:
    """All objects, bounded in number.

    Sightings join objects in one assignment (Hungarian method, scipy). What is new waits until it
    is certain; then it is either recognised as a thing that was lost from sight, by a second
    assignment, or it is a new object. Ids are for life and are not given twice.

    sure_score: what a sighting scores at least that may begin something.
    sighted: the objects that the last image showed, whether certain or not.
    displaced: those in whose place it showed another one that was brought there.
    """

    def __init__(self, capacity: int = 500, confirm_sightings: int = 3):
        self.capacity = capacity
        self.confirm_sightings = confirm_sightings
        self.sure_score = SURE
        self.objects: dict[int, WorldObject] = {}
        self.sighted: list[WorldObject] = []
        self.displaced: list[WorldObject] = []
        self.next_id = 1
        self.forgotten = 0
        self.drift = Drift()
        self.looks: dict[str, Appearance] = {}
        self._stamp_ns: int | None = None

    def __len__(self) -> int:
        return len(self.objects)

    def clear(self) -> None:
        """Forget everything but which ids were given away: they are not given again."""
        self.objects.clear()
        self.sighted, self.displaced = [], []
        self._stamp_ns = None
        self.drift.start_anew(self.drift.odometer)

    def restore(self, objects: Sequence[WorldObject], next_id: int, odometer: float) -> None:
        """Take over other objects; an id that was given away here is not given again."""
        self.clear()
        self.objects = {o.id: o for o in objects}
        self.next_id = max(self.next_id, next_id)
        self.drift.start_anew(odometer + MEANWHILE_M)

    def update(self, stamp_ns: int, sightings: Sequence[Sighting]) -> None:
        """Join the sightings of an image to objects."""
        self._pass_time(stamp_ns)
        seen = _once_each(sightings)
        known = list(self.objects.values())
        present = [o for o in known if o.state is not ObjectState.GONE]
        sure = [s for s in seen if s.score >= self.sure_score]
        pairs = assign(costs(present, sure, stamp_ns, self._drift_sigma(present), self.looks))
        self._learn_looks(present, sure, pairs)
        matched = {i: sure[j] for i, j in pairs}
        faint = _unexplained(seen[len(sure) :], sure)
        matched |= self._faintly_seen(present, matched, faint, stamp_ns)
        taken = {j for _, j in pairs}
        new = [s for j, s in enumerate(sure) if j not in taken]
        self.sighted = self._join(present, matched, new, stamp_ns)
        self._welcome(stamp_ns)
        self._merge_duplicates()
        self._drop_doubtful()
        self._forget()
        self.sighted = [o for o in self.sighted if self.objects.get(o.id) is o]

    def look(self, frame: Frame, T_odom_camera: Array) -> list[WorldObject]:
        """Ask the depth image about what was not sighted; return what is gone."""
        unseen = [
            o
            for o in self.objects.values()
            if o.state is ObjectState.REMEMBERED and o.confirmed and not o.in_motion
        ]
        boxes = np.array([[*o.position, *o.size, o.heading] for o in unseen]).reshape(-1, 7)
        seen = look_at(frame, T_odom_camera, boxes)
        gone, self.displaced = self.displaced, []
        sigma = self._drift_sigma(unseen)
        empty = (seen.in_view >= IN_VIEW) & (seen.through >= LOOKED_THROUGH)
        for thing, is_empty, doubt in zip(unseen, empty, sigma, strict=True):
            # A place that may be beside the thing is no evidence against it.
            if is_empty and np.hypot(doubt, thing.sigma) < _sure_within(thing):
                thing.look(SEEN_THROUGH)
                if thing.existence < -1.0:
                    thing.state = ObjectState.GONE
                    gone.append(thing)
        return gone

    def correct(self, T: Array) -> None:
        """Move what is remembered with the map: T takes a point of odom to where it now is.

        What the last image showed is where it was seen; but what it left behind is moved, too. What
        was seen on the way that is corrected goes with the map by its share of the way.
        """
        way = self.drift.uncorrected
        for thing in self.objects.values():
            since = self.drift.odometer - thing.odometer
            if thing.state is not ObjectState.VISIBLE and since > 0:
                thing.shift(T, 1.0 if since >= way else since / way)
            elif np.linalg.norm(thing.home - thing.position) > SAME_PLACE_M:
                thing.home = T[:3, :3] @ thing.home + T[:3, 3]

    def near(self, label: str, centre: Array, radius_m: float, since_ns: int) -> list[WorldObject]:
        """Return the objects of a label ("" = any) within a radius on the floor (<= 0 = anywhere).

        Only those last seen at or after `since_ns`, and none that is gone.
        """
        return [
            thing
            for thing in self.objects.values()
            if label in ("", thing.label)
            and (radius_m <= 0 or np.linalg.norm((thing.position - centre)[:2]) <= radius_m)
            and thing.last_seen_ns >= since_ns
            and thing.state is not ObjectState.GONE
        ]

    # The steps of an update ----------------------------------------------------------------

    def _pass_time(self, stamp_ns: int) -> None:
        last = stamp_ns if self._stamp_ns is None else self._stamp_ns
        seconds = max(0, stamp_ns - last) / NANOSECONDS
        self._stamp_ns = stamp_ns
        for thing in self.objects.values():
            thing.predict(min(seconds, 5.0))

    def _faintly_seen(
        self,
        present: list[WorldObject],
        matched: dict[int, Sighting],
        faint: list[Sighting],
        stamp_ns: int,
    ) -> dict[int, Sighting]:
        """Return what is left of those in view that faint sightings show, which begin nothing.

        A detection that scores low where a thing was just seen is that thing, half hidden
        (ByteTrack, arXiv:2110.06864).
        """
        left = [
            i
            for i, o in enumerate(present)
            if i not in matched and o.confirmed and o.state is ObjectState.VISIBLE
        ]
        things = [present[i] for i in left]
        cost = costs(things, faint, stamp_ns, self._drift_sigma(things), self.looks)
        overlap = box_overlaps(_boxes(things), _boxes(faint))
        labels = np.array([[o.label == s.label for s in faint] for o in things], bool)
        fits = (overlap > FAINT_OVERLAP) & labels.reshape(overlap.shape)
        return {left[i]: faint[j] for i, j in assign(np.where(fits, cost, np.inf))}

    def _join(
        self,
        present: list[WorldObject],
        matched: dict[int, Sighting],
        new: list[Sighting],
        stamp_ns: int,
    ) -> list[WorldObject]:
        """Merge what matches, make doubtful objects of the rest; return all that is sighted."""
        sighted, moved = [], []
        sigma = self._drift_sigma(present)
        for i, thing in enumerate(present):
            if i not in matched:
                thing.miss()
                continue
            before, was_sure = thing.position, thing.sigma < FIXED_M
            self._meet_again(thing, matched[i], float(sigma[i]), stamp_ns)
            then = thing.odometer
            thing.merge(matched[i], stamp_ns, self.drift.odometer)
            sighted.append(thing)
            if was_sure and thing.confirmed and not thing.moving and not thing.in_motion:
                moved.append((thing, thing.position - before, then))
        self._carry_along(moved)
        for sighting in new:
            thing = WorldObject.of(self.next_id, sighting, stamp_ns, self.drift.odometer)
            self.objects[thing.id] = thing
            self.next_id += 1
            sighted.append(thing)
        return sighted

    def _meet_again(
        self, thing: WorldObject, sighting: Sighting, sigma: float, stamp_ns: int
    ) -> None:
        """Widen the doubt about a thing that was out of sight: the robot has drifted, or it moved.

        What is within the drift is put down to that, and its home goes with it.
        """
        thing.covariance[:2, :2] += sigma**2 * np.eye(2)
        if thing.moving or thing.unseen_s(stamp_ns) < BREAK_S:
            return
        offset = (sighting.position - thing.position)[:2]
        distance = float(np.linalg.norm(offset))
        view = float(np.sqrt(np.linalg.eigvalsh(sighting.covariance[:2, :2])[-1]))
        if distance > SAME_PLACE_SIGMAS * float(np.hypot(sigma, view)) + SAME_PLACE_M:
            thing.covariance[:2, :2] += distance**2 * np.eye(2)
        elif thing.has_home:
            P = thing.covariance[:2, :2]
            gain = P @ np.linalg.inv(P + sighting.covariance[:2, :2])
            thing.home = thing.home + np.append(gain @ offset, 0.0)

    def _carry_along(self, moved: list[tuple[WorldObject, Array, float]]) -> None:
        """Let what is out of sight follow the things at rest that odometry lets seem to move."""
        if self.drift.corrected or not moved:
            return
        unseen = [
            o for o in self.objects.values()
            if o.state is not ObjectState.VISIBLE and o.confirmed and not o.in_motion
        ]  # fmt: skip
        if not unseen:
            return
        now = self.drift.odometer
        # A step is worth the more, the longer its thing has been out of sight.
        driven = now - float(np.median([d for _, _, d in moved]))
        if driven < STANDS_M:
            return
        step = np.median([change[:2] for _, change, _ in moved], axis=0)
        middle = np.mean([o.position[:2] for o, _, _ in moved], axis=0)
        for thing in unseen:
            distance = float(np.linalg.norm(thing.position[:2] - middle))
            near, way = np.exp(-distance / DRIFT_REACH_M), now - thing.odometer
            T = np.eye(4)
            T[:2, 3] = near * min(way / driven, 1.0) * step
            thing.shift(T)
            # How far off odometry is by the way that they tell of is known there.
            thing.odometer += near * min(way, driven)

    def _learn_looks(
        self, present: list[WorldObject], seen: list[Sighting], pairs: list[tuple[int, int]]
    ) -> None:
        sure = [(present[i], seen[j]) for i, j in pairs if present[i].confirmed]
        sizes = {len(o.embedding) for o in present} | {len(s.embedding) for s in seen}
        if not sure or len(sizes) != 1:
            return
        own = np.array([o.embedding for o, _ in sure])
        similarity = own @ np.array([s.embedding for _, s in sure]).T
        labels = np.array([o.label for o, _ in sure])
        for label in np.unique(labels).tolist():
            among = similarity[np.ix_(labels == label, labels == label)]
            others = among[~np.eye(len(among), dtype=bool)]
            looks = self.looks.setdefault(label, Appearance())
            looks.learn(np.diag(among)[:MOST_PAIRS], others[:MOST_PAIRS])

    def _welcome(self, stamp_ns: int) -> None:
        """Confirm what has become certain, as a known object or as a new one."""
        certain = [
            o
            for o in self.sighted
            if not o.confirmed
            and o.existence >= CONFIRMED
            and o.sightings >= self.confirm_sightings
        ]
        lost = [
            o
            for o in self.objects.values()
            if o.confirmed
            and o.state is not ObjectState.VISIBLE
            and o.missed >= self.confirm_sightings
        ]
        cost = recognition_costs(lost, certain, stamp_ns, self.looks)
        recognised = {j: lost[i] for i, j in assign(cost) if cost[i, j] < 0}
        for j, thing in enumerate(certain):
            if j in recognised:
                self._become(recognised[j], thing)
            else:
                thing.confirmed = True

    def _become(self, known: WorldObject, other: WorldObject) -> None:
        """Let a known object be what was taken for another."""
        del self.objects[other.id]
        self.sighted = [known if o is other else o for o in self.sighted]
        known.position, known.covariance = other.position, other.covariance
        known.velocity, known.motion = other.velocity, other.motion
        known.heading, known.box, known.size = other.heading, other.box, other.size
        known.last_seen_ns, known.odometer = other.last_seen_ns, other.odometer
        known.same_since_ns, known.lately = other.same_since_ns, other.lately
        known.probe, known.missed = other.probe, 0
        known.announced = known.announced or other.announced
        known.existence = max(known.existence, other.existence)
        known.sightings += other.sightings
        for label, votes in other.votes.items():
            known.votes[label] = known.votes.get(label, 0.0) + votes
        known.label = max(sorted(known.votes), key=lambda name: known.votes[name])
        known.state = ObjectState.VISIBLE

    def _merge_duplicates(self) -> None:
        """Join objects that are in one place and of classes that were taken for each other."""
        hidden = [
            o for o in self.objects.values()
            if o.state is ObjectState.REMEMBERED and o.confirmed and not o.in_motion
        ]  # fmt: skip
        middles = np.array([o.position[:2] for o in hidden]).reshape(-1, 2)
        reach = np.array([np.hypot(*o.size[:2]) for o in hidden])
        for thing in self.sighted:
            if not thing.confirmed or thing.moving:
                continue
            apart = np.linalg.norm(middles - thing.position[:2], axis=1)
            near = np.flatnonzero(2 * apart <= reach + np.hypot(*thing.size[:2]))
            for other in (hidden[i] for i in near):
                if other.id not in self.objects or other.state is ObjectState.GONE:
                    continue
                if not _in_one_place(thing, other):
                    continue
                if thing.announced and thing.in_motion:
                    # It was brought here: what stood here was taken away while nobody saw it.
                    other.state = ObjectState.GONE
                    self.displaced.append(other)
                    continue
                older, younger = sorted((thing, other), key=lambda o: o.id)
                home = older.home
                if older is other:
                    self._become(older, younger)
                    older.home = home if older.has_home else younger.home
                else:
                    del self.objects[younger.id]
                break

    def _drop_doubtful(self) -> None:
        for thing in [o for o in self.objects.values() if not o.confirmed and o.missed]:
            thing.look(DOUBT)
            if thing.existence < 0 or thing.missed >= PATIENCE:
                del self.objects[thing.id]

    def _forget(self) -> None:
        """Keep within capacity: what is gone, or was seen least often and longest ago, goes first.

        What is in view goes last, or a full map would have no place for anything new.
        """
        while len(self.objects) > self.capacity:
            least = min(self.objects.values(), key=_worth)
            del self.objects[least.id]
            self.forgotten += 1

    def _drift_sigma(self, things: Sequence[WorldObject]) -> Array:
        return self.drift.sigma(np.array([o.odometer for o in things]))


def _boxes(things: Sequence[WorldObject | Sighting]) -> Array:
    """Return the boxes (N, 4) of x, y, width, height."""
    return np.array([o.box for o in things], float).reshape(-1, 4)


def _unexplained(faint: list[Sighting], sure: list[Sighting]) -> list[Sighting]:
    """Return the faint sightings that no surer one overlaps, of whatever class."""
    overlap = box_overlaps(_boxes(faint), _boxes(sure))
    return [s for s, row in zip(faint, overlap, strict=True) if not (row > FAINT_OVERLAP).any()]


def _once_each(sightings: Sequence[Sighting]) -> list[Sighting]:
    """Return the sightings best first, without second ones of the same thing.

    The order in which they were given makes no difference.
    """
    ordered = sorted(sightings, key=lambda s: (-s.score, s.label, *s.position, *s.box))
    if len(ordered) < 2:
        return ordered
    boxes = np.array([s.box for s in ordered], float)
    places = np.array([s.position for s in ordered])
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    twice = (box_overlaps(boxes, boxes) > TWICE_OVERLAP) & (apart < TWICE_M)
    labels = np.array([s.label for s in ordered])
    for i, j in np.argwhere(np.triu((labels[:, None] == labels) & ~twice, 1)):
        twice[i, j] = twice[j, i] = shared_ground(ordered[i], ordered[j]) > SAME_GROUND
    kept: list[int] = []
    for i in range(len(ordered)):
        if not twice[i, kept].any():
            kept.append(i)
    return [ordered[i] for i in kept]


def _sure_within(thing: WorldObject) -> float:
    """Return how well its place has to be known for it to be missed there, metres."""
    return 0.4 * float(max(thing.size[:2].min(), 0.3)) + 0.1


def _in_one_place(thing: WorldObject, other: WorldObject) -> bool:
    """Return whether two objects are where no two things can be."""
    alike = thing.label == other.label or not (thing.prior.carries or other.prior.carries)
    if alike and shared_ground(thing, other) > SAME_GROUND:
        return True
    width = min(thing.size[:2].min(), other.size[:2].min())
    apart = float(np.linalg.norm((thing.position - other.position)[:2]))
    return apart <= ONE_WITHIN * width and _may_be_one(thing, other)


def _may_be_one(thing: WorldObject, other: WorldObject) -> bool:
    return (
        thing.label == other.label
        or max(thing.class_probability(other.label), other.class_probability(thing.label)) > 0.15
    )


def _worth(thing: WorldObject) -> tuple[bool, bool, int, int, float]:
    in_view = thing.state is ObjectState.VISIBLE
    there = thing.state is not ObjectState.GONE
    return in_view, there, thing.sightings, thing.last_seen_ns, thing.existence
