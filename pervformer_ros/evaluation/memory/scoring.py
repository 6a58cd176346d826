# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Events that were told against those that took place, and objects remembered against true ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from pervformer_ros.frame import NANOSECONDS
from pervformer_ros.geometry import Array
from pervformer_ros.memory import EventType

# An event is told in time from so long before the first image that shows it to so long after the
# first that shows it plainly.
EARLY_S, LATE_S = 1.0, 2.0
# A place is right within so many metres; of what is longer than a person is tall, within more;
# and where depth does not reach, within this share of the distance from the robot.
PLACE_M, LONG_PLACE_M, LONG = 0.5, 1.0, ("forklift", "pallet_jack")
DEPTH_REACH_M, FAR_SHARE = 8.0, 0.1
# A remembered object is a true one within this, metres.
SAME_OBJECT_M = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Happening:
    """An event, told or true, in terms of the truth.

    thing: the true object's id, 0 = something that is none, or not known.
    start, end: (2,) metres in map, NaN where there is no such end.
    away_m: from the robot, metres.
    whereabouts: (2,) where that object truly was when this was told; None where nobody knows.
    plain_ns: of what is true, when images begin to show it plainly; 0 = at once.
    optional: of what is true, that no images show it plainly: it need not be told.
    """

    stamp_ns: int
    type: EventType
    thing: int
    label: str
    start: Array
    end: Array
    away_m: float
    path: str = ""
    agent: int = 0
    confidence: float = 1.0
    whereabouts: Array | None = None
    plain_ns: int = 0
    optional: bool = False

    @property
    def place(self) -> Array:
        """Where it took place; what sets off does so where it stood."""
        sets_off = self.type is EventType.STARTED_MOVING
        return self.end if np.isfinite(self.end).all() and not sets_off else self.start


@dataclass(slots=True, eq=False)
class EventScore:
    """Pairs (told, true), what was told and is not true, and what is true and was not told.

    late: of what is false, what did take place, but was told too late.
    """

    right: list[tuple[Happening, Happening]] = field(default_factory=list)
    false: list[Happening] = field(default_factory=list)
    missed: list[Happening] = field(default_factory=list)
    late: list[Happening] = field(default_factory=list)

    def __add__(self, other: "EventScore") -> "EventScore":
        return EventScore(
            self.right + other.right,
            self.false + other.false,
            self.missed + other.missed,
            self.late + other.late,
        )

    @property
    def precision(self) -> float | None:
        """Of what was told, the share that is right; None where nothing was told."""
        told = len(self.right) + len(self.false)
        return len(self.right) / told if told else None

    @property
    def recall(self) -> float | None:
        """Of what took place, the share that was told; None where nothing did."""
        true = len(self.right) + len(self.missed)
        return len(self.right) / true if true else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both."""
        every = 2 * len(self.right) + len(self.false) + len(self.missed)
        return 2 * len(self.right) / every if every else None

    @property
    def latency_s(self) -> float | None:
        """The median time from the first image that shows an event to being told of it."""
        late = [(a.stamp_ns - b.stamp_ns) / NANOSECONDS for a, b in self.right]
        return float(np.median(late)) if late else None

    @property
    def agents_right(self) -> float | None:
        """Of the moves, the share with the right agent, or rightly none."""
        moves = [(a, b) for a, b in self.right if a.type is EventType.MOVED]
        return float(np.mean([a.agent == b.agent for a, b in moves])) if moves else None

    @property
    def verdicts(self) -> list[tuple[Happening, bool]]:
        """What was told, and whether it is true, be it told in time or late."""
        late = {id(a) for a in self.late}
        return [(a, True) for a, _ in self.right] + [(a, id(a) in late) for a in self.false]

    @property
    def confidence_error(self) -> float | None:
        """By how much confidence differs from the share that is true, late or not (ECE, 5 bins)."""
        if not self.verdicts:
            return None
        said, true = np.array([(a.confidence, is_true) for a, is_true in self.verdicts]).T
        bins = np.minimum((5 * said).astype(int), 4)
        gaps = [
            abs(said[bins == b].mean() - true[bins == b].mean()) * (bins == b).mean()
            for b in np.unique(bins)
        ]
        return float(np.sum(gaps))


def score_events(told: Sequence[Happening], true: Sequence[Happening]) -> EventScore:
    """Pair what was told with what took place: same type, object and path, near in place and time.

    What appeared is to be where it is when that is told. Of all such pairings the one with most
    pairs is taken, and of those the one nearest in time.
    """
    right = _pairs(told, true, _in_time)
    told_right, true_right = {i for i, _ in right}, {j for _, j in right}
    false = [one for i, one in enumerate(told) if i not in told_right]
    missed = [one for j, one in enumerate(true) if j not in true_right]
    return EventScore(
        [(told[i], true[j]) for i, j in right],
        false,
        [one for one in missed if not one.optional],
        [false[i] for i, _ in _pairs(false, missed, _too_late)],
    )


def _pairs(
    told: Sequence[Happening],
    true: Sequence[Happening],
    when: Callable[[Happening, Happening], bool],
) -> list[tuple[int, int]]:
    """Return as many pairs of the same as there can be, nearest in time."""
    apart = np.full((len(told), len(true)), np.inf)
    for i, one in enumerate(told):
        for j, other in enumerate(true):
            if _same(one, other) and when(one, other):
                apart[i, j] = abs(one.stamp_ns - other.stamp_ns) / NANOSECONDS
    rows, columns = linear_sum_assignment(np.minimum(apart, 1e3))
    return [
        (int(i), int(j)) for i, j in zip(rows, columns, strict=True) if np.isfinite(apart[i, j])
    ]


def place_tolerance(label: str, away_m: float) -> float:
    """Return within how many metres a place is right."""
    near = LONG_PLACE_M if label in LONG else PLACE_M
    return max(near, FAR_SHARE * away_m) if away_m > DEPTH_REACH_M else near


def _in_time(told: Happening, true: Happening) -> bool:
    early = told.stamp_ns < true.stamp_ns - EARLY_S * NANOSECONDS
    return not early and not _too_late(told, true)


def _too_late(told: Happening, true: Happening) -> bool:
    return told.stamp_ns > max(true.stamp_ns, true.plain_ns) + LATE_S * NANOSECONDS


def _same(told: Happening, true: Happening) -> bool:
    if (told.type, told.thing, told.path) != (true.type, true.thing, true.path):
        return False
    # What walks into view has walked on until it is told of.
    place = true.place
    if true.type is EventType.APPEARED and told.whereabouts is not None:
        place = told.whereabouts
    off = float(np.linalg.norm(told.place - place))
    return off <= place_tolerance(true.label, true.away_m)


@dataclass(frozen=True, slots=True)
class MapScore:
    """Objects remembered at the end against those that a perfect observer would remember.

    duplicates: remembered objects that are a true one which another is, too.
    position_m: median error of those that are right.
    """

    remembered: int
    true: int
    right: int
    duplicates: int
    position_m: float | None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of the shares of remembered and of true objects that are right."""
        return 2 * self.right / (self.remembered + self.true) if self.true else None


def score_map(
    places: Array, labels: Sequence[str], true_places: Array, true_labels: Sequence[str]
) -> MapScore:
    """Compare objects (N, 2) with true ones (M, 2), metres in map, and their classes."""
    apart = np.linalg.norm(places[:, None] - true_places[None], axis=2)
    alike = np.array(labels, object)[:, None] == np.array(true_labels, object)[None]
    far = np.where(alike.astype(bool) & (apart <= SAME_OBJECT_M), apart, np.inf)
    rows, columns = linear_sum_assignment(np.minimum(far, 1e3))
    pairs = [(i, j) for i, j in zip(rows, columns, strict=True) if np.isfinite(far[i, j])]
    paired = {i for i, _ in pairs}
    twice = sum(np.isfinite(far[i]).any() for i in range(len(places)) if i not in paired)
    errors = [apart[i, j] for i, j in pairs]
    return MapScore(
        len(places),
        len(true_places),
        len(pairs),
        int(twice),
        float(np.median(errors)) if errors else None,
    )
