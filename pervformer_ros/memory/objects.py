# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is seen (Sighting) and what stays (WorldObject): places, doubts, votes, existence."""

from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import NANOSECONDS
from pervformer_ros.geometry import Array, make_rotation, rotation_vector, transform_points
from pervformer_ros.memory.classes import ClassPrior, prior_of

# Metres per second squared: how suddenly things in motion change their velocity (white noise).
ACCELERATION = 1.5
# Metres per square root of a second: how the place of a thing at rest wanders while it is seen,
# mostly because another side of it comes into view.
WANDER = 0.05
# Metres per second: doubt about the velocity of a thing that has just set off.
SET_OFF_SPEED = 0.8
# Metres: doubt about a place ends here, which says no more than "somewhere".
MOST_ASTRAY_M = 60.0
# Metres: no place is surer than this, since errors of one view repeat in the next.
BIAS_SIGMA = 0.05
# The share of a sighting's variance that is the same in all views of the kind.
REPEATED = 0.7
# A sighting of so many times a resting thing's own variance says nothing of its place: repeated,
# what it has wrong would draw the thing away bit by bit.
VAGUE = 4.0
# Existence as log-odds: what one sighting and one look through the empty place are worth.
SEEN, SEEN_THROUGH = 1.2, -0.8
LEAST_EXISTENCE, MOST_EXISTENCE = -4.0, 4.0
# A detector repeats what it has wrong: however often, one that scores so little is believed no more
# than this, log-odds that are 0 at the first score and grow by 1 with every step of the second.
EVEN_SCORE, SCORE_STEP = 0.28, 0.04
# Motion as log-odds: what is said of it counts so often, is forgotten within this time (seconds), a
# first sighting counts as an image of this length (seconds), and no more than this is believed.
MOTION_WORTH, MOTION_S, FIRST_S, MOST_MOTION = 2.0, 0.23, 1 / 15, 4.0
# Seconds: what was not seen for longer may have done something else meanwhile.
BREAK_S = 0.5
# How far it got says whether it moves, too. Images so long apart are compared (seconds); what rests
# is found elsewhere by some metres and this share of what both sightings doubt, what moves is as
# fast as this (metres per second). It counts so much, and no more than that, as log-odds.
WAY_S = (0.3, 0.9)
STILL_M, STILL_SHARE = 0.02, 0.25
USUAL_SPEED = 0.6
WAY_WORTH, MOST_WAY = 0.5, 1.5
# Metres: what is no farther from its home than this has not left it yet.
HOME_M = 0.12
# How much one more sighting changes what a thing is thought to look like.
LOOKS_GAIN = 0.1


class ObjectState(IntEnum):
    """The numbers are those of pervformer_msgs/TrackedObject."""

    VISIBLE = 0
    REMEMBERED = 1
    GONE = 2


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """One detection placed in the world.

    position: (3,) metres in odom, of the middle of the thing.
    covariance: (3, 3) of the position.
    size: (3,) metres, along its own axes: length, width, height.
    box: (4,) pixels x, y, width, height in the camera's image.
    embedding: (E,) float32 of unit length.
    heading: radians about z, of its length; half turns are not told apart.
    probe: number of the memory probe that explains it, -1 = none.
    """

    label: str
    score: float
    position: Array
    covariance: Array
    size: Array
    box: NDArray[np.float32]
    embedding: NDArray[np.float32]
    motion_probability: float = 0.0
    heading: float = 0.0
    probe: int = -1


@dataclass(slots=True, eq=False)
class WorldObject:
    """A thing that stays: what it is, where, how sure that is, and what was told of it.

    votes: sum of the scores by class; `label` is the class that leads.
    existence: log-odds that it is there.
    position, velocity: (3,) metres and metres per second in odom.
    covariance: (6, 6) of position and velocity.
    odometer: metres the robot had driven when it was last seen.
    motion: log-odds that it moves.
    home: (3,) where it was last known to rest, NaN where that was never seen; home_sigma: metres.
    confirmed, announced: it is certain; it was told of.
    in_motion: it was last seen in motion, and that was told.
    removed: it was told that its home is empty, and not yet where it is since.
    same_since_ns: since when it has been seen without a break to rest, or to move.
    agents: in how many images which other object took it along since it last rested.
    lately: its last sightings: stamp, x, y and their variance.
    """

    id: int
    label: str
    votes: dict[str, float]
    existence: float
    position: Array
    covariance: Array
    size: Array
    box: NDArray[np.float32]
    embedding: NDArray[np.float32]
    first_seen_ns: int
    last_seen_ns: int
    same_since_ns: int
    velocity: Array = field(default_factory=lambda: np.zeros(3))
    heading: float = 0.0
    odometer: float = 0.0
    probe: int = -1
    sightings: int = 1
    missed: int = 0
    confirmed: bool = False
    announced: bool = False
    state: ObjectState = ObjectState.VISIBLE
    motion: float = 0.0
    home: Array = field(default_factory=lambda: np.full(3, np.nan))
    home_sigma: float = 0.0
    in_motion: bool = False
    removed: bool = False
    agents: dict[int, int] = field(default_factory=dict)
    lately: tuple[tuple[int, float, float, float], ...] = ()

    @classmethod
    def of(cls, number: int, sighting: Sighting, stamp_ns: int, odometer: float) -> "WorldObject":
        """Return a new object of which this is the first sighting."""
        covariance = np.zeros((6, 6))
        covariance[:3, :3] = sighting.covariance
        covariance[3:, 3:] = SET_OFF_SPEED**2 * np.diag([1.0, 1.0, 0.01])
        thing = cls(
            id=number,
            label=sighting.label,
            votes={},
            existence=0.0,
            position=sighting.position,
            covariance=covariance,
            size=sighting.size,
            box=sighting.box,
            embedding=sighting.embedding,
            first_seen_ns=stamp_ns,
            last_seen_ns=stamp_ns,
            heading=sighting.heading,
            odometer=odometer,
            same_since_ns=stamp_ns,
            sightings=0,
        )
        thing._take_note(sighting, stamp_ns, odometer)
        return thing

    @property
    def score(self) -> float:
        """The belief that it exists, 0 to 1."""
        return float(1 / (1 + np.exp(-self.existence)))

    @property
    def sigma(self) -> float:
        """The doubt about its place on the floor, along its worst direction, metres."""
        a, b, c = self.covariance[0, 0], self.covariance[0, 1], self.covariance[1, 1]
        return float(((a + c) / 2 + (((a - c) / 2) ** 2 + b * b) ** 0.5) ** 0.5)

    @property
    def motion_probability(self) -> float:
        """The belief that it moves, 0 to 1."""
        return float(1 / (1 + np.exp(-self.motion)))

    @property
    def moving(self) -> bool:
        """Whether it was seen to move when it was last seen."""
        return self.motion > 0

    @property
    def has_home(self) -> bool:
        """Whether it was ever seen at rest."""
        return bool(np.isfinite(self.home).all())

    @property
    def is_at_home(self) -> bool:
        """Whether it is where it was last seen at rest, as far as can be told."""
        return self.has_home and bool(np.linalg.norm(self.position - self.home) < HOME_M)

    @property
    def prior(self) -> ClassPrior:
        """What is known of its class."""
        return prior_of(self.label)

    def class_probability(self, label: str) -> float:
        """Return how likely a detector calls this thing so, by what it called it before."""
        total = sum(self.votes.values())
        return (self.votes.get(label, 0.0) + 0.05) / (total + 0.4)

    def predict(self, seconds: float) -> None:
        """Let time pass: what moves goes on for a while, what rests stays."""
        P = self.covariance
        if self.moving:
            # Nobody walks on straight ahead for long where nobody looks.
            unseen = seconds if self.state is ObjectState.VISIBLE else 0.7 * seconds
            self.position = self.position + unseen * self.velocity
            F = np.eye(6)
            F[:3, 3:] = seconds * np.eye(3)
            P = F @ P @ F.T
            q = ACCELERATION**2 * seconds * np.array([1.0, 1.0, 0.01])
            P[3:, 3:] += np.diag(q)
            P[:3, :3] += np.diag(q * seconds**2 / 3)
            slower = 1.0 if self.state is ObjectState.VISIBLE else np.exp(-seconds / 1.0)
            self.velocity = self.velocity * slower
            P[3:, 3:] = np.minimum(P[3:, 3:], 4.0)
            astray = float(P[:2, :2].trace() / 2) ** 0.5
            if astray > MOST_ASTRAY_M:
                P[:3] *= MOST_ASTRAY_M / astray
                P[:, :3] *= MOST_ASTRAY_M / astray
            self.covariance = P
        elif self.state is ObjectState.VISIBLE:
            P[:3, :3] += WANDER**2 * seconds * np.eye(3)

    def merge(self, sighting: Sighting, stamp_ns: int, odometer: float) -> None:
        """Take in one more sighting."""
        if not self.moving:
            self._stand_still()
        # Called another class, it was put down half of that class's size behind the faces seen.
        beside = 0.5 * abs(self.prior.length - prior_of(sighting.label).length)
        said = sighting.covariance + beside**2 * np.diag([1.0, 1.0, 0.0])
        if self.moving or said[:2, :2].trace() < VAGUE * self.covariance[:2, :2].trace():
            self._locate(sighting, said)
        self._take_note(sighting, stamp_ns, odometer)

    def copy(self) -> "WorldObject":
        """Return an object that what comes later does not change."""
        return replace(
            self,
            covariance=self.covariance.copy(),
            votes=dict(self.votes),
            agents=dict(self.agents),
        )

    def shift(self, T: Array, share: float = 1.0) -> None:
        """Move its place, and its home, by a rigid transform of the world, or a share of that."""
        rotation = share * rotation_vector(T)
        R = make_rotation(rotation)[:3, :3]
        self.position = self.position + share * (transform_points(T, self.position) - self.position)
        self.velocity = R @ self.velocity
        both = np.kron(np.eye(2), R)
        self.covariance = both @ self.covariance @ both.T
        if self.has_home:
            self.home = self.home + share * (transform_points(T, self.home) - self.home)
        self.heading = float((self.heading + rotation[2]) % np.pi)
        self.lately = ()

    def settle(self) -> None:
        """Take the place where it is for its home."""
        self.home, self.home_sigma = self.position, self.sigma

    def miss(self) -> None:
        """Note that an image did not show it."""
        self.state = ObjectState.REMEMBERED
        self.missed += 1

    def look(self, log_odds: float) -> None:
        """Take in evidence about its existence."""
        self.existence = float(np.clip(self.existence + log_odds, LEAST_EXISTENCE, MOST_EXISTENCE))

    def unseen_s(self, stamp_ns: int) -> float:
        """Return for how long it has not been seen, seconds; infinite where clocks disagree."""
        if self.last_seen_ns > stamp_ns:
            return np.inf
        return (stamp_ns - self.last_seen_ns) / NANOSECONDS

    def same_s(self, stamp_ns: int) -> float:
        """Return for how long it has been seen to rest, or to move; 0 where clocks disagree."""
        return max(0, stamp_ns - self.same_since_ns) / NANOSECONDS

    def _stand_still(self) -> None:
        self.velocity = np.zeros(3)
        P = self.covariance
        P[:3, 3:] = P[3:, :3] = 0.0
        P[3:, 3:] = SET_OFF_SPEED**2 * np.diag([1.0, 1.0, 0.01])

    def _locate(self, sighting: Sighting, said: Array) -> None:
        """Update position and velocity by a sighting of covariance (3, 3), as Kalman does."""
        P = self.covariance
        gain = P[:, :3] @ np.linalg.inv(P[:3, :3] + said)
        change = gain @ (sighting.position - self.position)
        self.position = self.position + change[:3]
        self.velocity = self.velocity + change[3:]
        self.covariance = P - gain @ P[:3]
        # What one view has wrong the next one has, too: repeating it makes nothing surer.
        least = min(float(P[:2, :2].trace()), REPEATED * float(said[:2, :2].trace()))
        left = float(self.covariance[:2, :2].trace())
        if left < least:
            self.covariance[:2, :2] *= least / max(left, 1e-9)
        if sighting.label == self.label:
            share = float(np.clip(gain[:2, :2].trace() / 2, 0.02, 1.0))
            self.size = self.size + share * (sighting.size - self.size)
            self._turn(sighting.heading, share)

    def _turn(self, heading: float, share: float) -> None:
        """Turn towards a heading, of which half turns mean nothing."""
        difference = (heading - self.heading + np.pi / 2) % np.pi - np.pi / 2
        self.heading = float((self.heading + share * difference) % np.pi)

    def _way_says(self, sighting: Sighting, stamp_ns: int) -> float:
        """Note where it is; return by how far it got lately the log-odds that it moves."""
        x, y = (float(v) for v in sighting.position[:2])
        variance = float(sighting.covariance[:2, :2].trace()) / 2
        horizon = stamp_ns - round(WAY_S[1] * NANOSECONDS)
        before = [one for one in self.lately if horizon <= one[0] < stamp_ns]
        self.lately = (*before, (stamp_ns, x, y, variance))
        seconds = (stamp_ns - before[0][0]) / NANOSECONDS if before else 0.0
        if seconds < WAY_S[0]:
            return 0.0
        _, then_x, then_y, then_variance = before[0]
        squared = (x - then_x) ** 2 + (y - then_y) ** 2
        still = (STILL_M + STILL_SHARE * (variance + then_variance) ** 0.5) ** 2
        moving = still + (USUAL_SPEED * seconds) ** 2
        # What rests is now and then found far off; nothing is very fast.
        odds = _student(squared, moving, 8.0) - _student(squared, still, 3.0)
        return float(np.clip(WAY_WORTH * odds, -MOST_WAY, MOST_WAY))

    def _take_note(self, sighting: Sighting, stamp_ns: int, odometer: float) -> None:
        self.votes[sighting.label] = self.votes.get(sighting.label, 0.0) + sighting.score
        self.label = max(sorted(self.votes), key=lambda name: self.votes[name])
        most = (sighting.score - EVEN_SCORE) / SCORE_STEP
        self.look(float(np.clip(most - self.existence, 0.0, SEEN * (0.4 + 0.6 * sighting.score))))
        p = np.clip(sighting.motion_probability, 0.02, 0.98)
        said = float(np.log(p / (1 - p))) + self._way_says(sighting, stamp_ns)
        was_moving, gap_s = self.moving, self.unseen_s(stamp_ns)
        kept = np.exp(-(gap_s if self.sightings else FIRST_S) / MOTION_S)
        motion = kept * self.motion + (1 - kept) * MOTION_WORTH * said
        self.motion = float(np.clip(motion, -MOST_MOTION, MOST_MOTION))
        if self.moving != was_moving or gap_s > BREAK_S or self.same_since_ns > stamp_ns:
            self.same_since_ns = stamp_ns
        if len(sighting.embedding) == len(self.embedding):
            gain = max(LOOKS_GAIN, 1 / (1 + self.sightings))
            looks = (1 - gain) * self.embedding + gain * sighting.embedding
            length = float(np.linalg.norm(looks))
            self.embedding = (looks / length if length > 1e-6 else looks).astype(np.float32)
        self.box, self.probe = sighting.box, sighting.probe
        self.last_seen_ns, self.odometer = stamp_ns, odometer
        self.sightings += 1
        self.missed = 0
        self.state = ObjectState.VISIBLE


def _student(squared: float, variance: float, freedom: float) -> float:
    """Return the log-density of Student's t in the plane, but for a constant."""
    return float(-np.log(variance) - (freedom + 2) / 2 * np.log1p(squared / (freedom * variance)))
