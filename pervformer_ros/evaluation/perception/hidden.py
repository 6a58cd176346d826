# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is out of sight: who is known again, and where a memory says that the hidden things are.

A *spell* is a time in which an object shows next to nothing: it stands behind something, or outside
the image. Judged are objects that were seen for SEEN_S before it, and known again are those that
are seen for as long after it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.evaluation.perception.records import (
    HIDDEN_PIXELS,
    MIN_PIXELS,
    Record,
    Truth,
    pair,
)
from pervformer_ros.frame import NANOSECONDS
from pervformer_ros.geometry import Array

SEEN_S = 0.5  # what was seen for a shorter time need not be known again
SHORTEST = 3  # frames: what is hidden for fewer is a flicker
LONGEST_S = 15.0
REID_S = (2.0, LONGEST_S)
AGAIN_S = 1.0  # so long after it is seen again an object may take to be known
NEAR_M = 1.0
NOBODY = -1
_UNTOLD, _HIDDEN, _SHOWN = 0, 1, 2

# Frames with their truth; the frames [start, stop) of a run.
_Run: TypeAlias = list[tuple[Record, Truth]]
_Range: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Spell:
    """One object, hidden once.

    seconds: how long, so far as the run tells.
    returned: it was seen again.
    held: the memory knew the object when it went.
    same: it was known again as the same; counts where it returned.
    present: (F,) bool, for every frame of the spell: the memory says it is still there.
    error: (F,) m, how far off its position is, NaN where it says nothing.
    """

    seconds: float
    returned: bool
    held: bool
    same: bool
    present: NDArray[np.bool_]
    error: Array


@dataclass(frozen=True, slots=True)
class Recovery:
    """Spells summed up; None = there was none.

    spells: of objects that were seen again; recovered: the part of them known as the same.
    moments: frames in which an object was hidden that the memory had known; in which part of them
    it says that the object is there (present), and where, to NEAR_M (near).
    position_m: median error of the positions it gives.
    """

    spells: int
    recovered: float | None
    moments: int
    present: float | None
    near: float | None
    position_m: float | None


def find_spells(records: Sequence[Record], source: str) -> list[Spell]:
    """Return what became of every hidden object of a run.

    Args:
        records: one run, in order. Those without truth do not count.
        source: whose claims: "probes" or "published".
    """
    judged = [(r, r.truth) for r in records if r.truth is not None]
    seconds = np.array([r.stamp_ns for r, _ in judged], np.int64) / NANOSECONDS
    shown = _shown(judged)
    holders = _holders(judged, source, shown)
    return [
        _spell(judged, source, seconds, holders[thing], thing, before, gap, after, pixels)
        for thing, pixels in shown.items()
        for before, gap, after in _gaps(pixels, seconds)
    ]


def summarise(spells: Sequence[Spell], least_s: float = 0.0, most_s: float = LONGEST_S) -> Recovery:
    """Sum up the spells that lasted so long.

    Recovery asks of all objects that came back, whether the memory had known them or not; moments
    are those of objects it had known, up to the longest time.
    """
    back = [s for s in spells if s.returned and least_s <= s.seconds <= most_s]
    held = [s for s in spells if s.held and s.seconds >= least_s]
    present = np.concatenate([np.empty(0, bool), *(s.present for s in held)])
    error = np.concatenate([np.empty(0), *(s.error for s in held)])
    known = error[np.isfinite(error)]
    return Recovery(
        spells=len(back),
        recovered=float(np.mean([s.same for s in back])) if back else None,
        moments=len(present),
        present=float(present.mean()) if len(present) else None,
        near=float((error <= NEAR_M).mean()) if len(error) else None,
        position_m=float(np.median(known)) if len(known) else None,
    )


def _shown(judged: _Run) -> dict[int, NDArray[np.int64]]:
    """Return how many pixels show each object over the frames (T,), -1 where nobody tells."""
    shown: dict[int, NDArray[np.int64]] = {}
    for t, (_, truth) in enumerate(judged):
        told = truth.label != ""
        for thing, pixels in zip(truth.id[told].tolist(), truth.pixels[told], strict=True):
            shown.setdefault(thing, np.full(len(judged), -1, np.int64))[t] = pixels
    return shown


def _holders(
    judged: _Run, source: str, shown: dict[int, NDArray[np.int64]]
) -> dict[int, NDArray[np.int64]]:
    """Return which claim is on each object over the frames (T,), or NOBODY."""
    holders = {thing: np.full(len(judged), NOBODY, np.int64) for thing in shown}
    for t, (record, truth) in enumerate(judged):
        claims = record.claims[source]
        seen, told = np.flatnonzero(truth.seen), np.isfinite(claims.box).all(axis=1)
        for i, j in zip(*pair(truth.box[seen], claims.box[told]), strict=True):
            holders[int(truth.id[seen[i]])][t] = claims.id[told][j]
    return holders


def _gaps(
    pixels: NDArray[np.int64], seconds: Array
) -> Iterator[tuple[_Range, _Range, _Range | None]]:
    """Yield the frames before, in and after each spell; None where it is not seen again."""
    state = np.where(pixels < 0, _UNTOLD, np.where(pixels < HIDDEN_PIXELS, _HIDDEN, _SHOWN))
    for (start, stop), kind in list(_runs(state)):
        if kind == _HIDDEN and stop - start < SHORTEST and start > 0:
            state[start:stop] = state[start - 1]
    runs = list(_runs(state))
    for k, ((before, was), (gap, kind)) in enumerate(pairwise(runs)):
        if was != _SHOWN or kind != _HIDDEN or not _seen_enough(pixels, seconds, before):
            continue
        after = None
        if k + 2 < len(runs) and runs[k + 2][1] == _SHOWN:
            after = runs[k + 2][0]
        if after is not None and not _seen_enough(pixels, seconds, after):
            after = None
        yield before, gap, after


def _runs(state: NDArray[np.int64]) -> Iterator[tuple[_Range, int]]:
    """Yield where the state stays the same, and which it is."""
    edges = [0, *(np.flatnonzero(np.diff(state)) + 1).tolist(), len(state)]
    for start, stop in pairwise(edges):
        if stop > start:
            yield (start, stop), int(state[start])


def _seen_enough(pixels: NDArray[np.int64], seconds: Array, frames: _Range) -> bool:
    start, stop = frames
    steps = np.diff(seconds, append=seconds[-1:])[start:stop]
    return bool(steps[pixels[start:stop] >= MIN_PIXELS].sum() >= SEEN_S)


def _spell(
    judged: _Run,
    source: str,
    seconds: Array,
    holders: NDArray[np.int64],
    thing: int,
    before: _Range,
    gap: _Range,
    after: _Range | None,
    pixels: NDArray[np.int64],
) -> Spell:
    holder = _last(holders[slice(*before)])
    start, stop = gap
    lasting = seconds[start:stop] - seconds[start] <= LONGEST_S
    frames = range(start, start + int(lasting.sum()))
    told = [_position_error(*judged[t], source, holder, thing) for t in frames]
    same = False
    if after is not None and holder != NOBODY:
        first = after[0] + int(np.argmax(pixels[slice(*after)] >= MIN_PIXELS))
        until = int(np.searchsorted(seconds, seconds[first] + AGAIN_S, side="right"))
        same = _first(holders[first : min(until, after[1])]) == holder
    return Spell(
        seconds=float(seconds[min(stop, len(seconds) - 1)] - seconds[start]),
        returned=after is not None,
        held=holder != NOBODY,
        same=same,
        present=np.array([present for present, _ in told], bool),
        error=np.array([error for _, error in told], float),
    )


def _position_error(
    record: Record, truth: Truth, source: str, holder: int, thing: int
) -> tuple[bool, float]:
    """Return whether a claim is there, and how far it is from the object (NaN = it is not)."""
    claims = record.claims[source]
    mine = np.flatnonzero(claims.id == holder)
    if not len(mine):
        return False, np.nan
    place = truth.position[truth.id == thing][0]
    return True, float(np.linalg.norm(claims.position[mine[0]] - place))


def _first(holders: NDArray[np.int64]) -> int:
    somebody = holders[holders != NOBODY]
    return int(somebody[0]) if len(somebody) else NOBODY


def _last(holders: NDArray[np.int64]) -> int:
    return _first(holders[::-1])
