# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Tracking: HOTA and IDF1 of the published objects, by trackeval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from trackeval.metrics import HOTA, Identity

from pervformer_ros.evaluation.perception.records import (
    SAME,
    Boxes,
    Record,
    Truth,
    overlaps,
    pair,
)
from pervformer_ros.model.config import CLASSES

ALL = "all"


@dataclass(frozen=True, slots=True)
class Tracking:
    """HOTA (Luiten et al. 2020) and IDF1 (Ristani et al. 2016), both in [0, 1]."""

    hota: float
    idf1: float


def measure_tracking(
    sequences: Sequence[Sequence[Record]], classes: Sequence[str] = CLASSES
) -> dict[str, Tracking]:
    """Return the figures of every class that truly occurs, and over all of them as "all".

    A track counts in the class it has. Over classes, what counts is the number of detections; a
    class that is only claimed counts against that figure.

    Args:
        sequences: runs; ids are told apart between them. Records without truth do not count.
        classes: what can be told apart.
    """
    judged = [
        [_Frame.of(r.truth, r.published) for r in run if r.truth is not None] for run in sequences
    ]
    hota, identity = HOTA(), Identity({"PRINT_CONFIG": False})
    results: dict[str, tuple[Any, Any]] = {}
    occurring = []
    for label in classes:
        data = {i: _sequence(run, label) for i, run in enumerate(judged)}
        if not any(d["num_gt_dets"] or d["num_tracker_dets"] for d in data.values()):
            continue
        each = [{i: m.eval_sequence(d) for i, d in data.items()} for m in (hota, identity)]
        results[label] = hota.combine_sequences(each[0]), identity.combine_sequences(each[1])
        if any(d["num_gt_dets"] for d in data.values()):
            occurring.append(label)
    if not occurring:
        return {}
    over_all = [
        metric.combine_classes_det_averaged({label: r[k] for label, r in results.items()})
        for k, metric in enumerate((hota, identity))
    ]
    return {
        ALL: _figures(*over_all),
        **{label: _figures(*results[label]) for label in occurring},
    }


def without_ignored(published: Boxes, truth: Truth) -> Boxes:
    """Leave out the published boxes on objects that need not be found.

    Those are the ones that match such an object best, and those that lie mostly on one and match
    nothing.
    """
    judged = truth.pixels > 0
    rows, columns = pair(published.box, truth.box[judged])
    on_ignored = rows[truth.ignored[judged][columns]]
    mostly = overlaps(published.box, truth.box[truth.ignored], of_first=True) >= SAME
    dropped = np.asarray(mostly.any(axis=1))
    dropped[rows] = False
    dropped[on_ignored] = True
    return published.take(~dropped)


@dataclass(frozen=True, slots=True)
class _Frame:
    """What is required and what was published of one frame, ignored objects left out."""

    seen: Boxes
    published: Boxes

    @classmethod
    def of(cls, truth: Truth, published: Boxes) -> "_Frame":
        return cls(truth.boxes(truth.seen), without_ignored(published, truth))


def _sequence(frames: Sequence[_Frame], label: str) -> dict[str, Any]:
    """Return one class of a run as trackeval's metrics take it: ids from 0 on, without gaps."""
    seen = [f.seen.take(f.seen.label == label) for f in frames]
    told = [f.published.take(f.published.label == label) for f in frames]
    number_true, number_told = _numbering(seen), _numbering(told)
    return {
        "num_timesteps": len(frames),
        "num_gt_dets": sum(map(len, seen)),
        "num_tracker_dets": sum(map(len, told)),
        "num_gt_ids": len({i for boxes in seen for i in boxes.id.tolist()}),
        "num_tracker_ids": len({i for boxes in told for i in boxes.id.tolist()}),
        "gt_ids": [number_true(boxes) for boxes in seen],
        "tracker_ids": [number_told(boxes) for boxes in told],
        "similarity_scores": [
            overlaps(s.box, t.box) for s, t in zip(seen, told, strict=True)
        ],
    }  # fmt: skip


def _numbering(frames: Sequence[Boxes]) -> Callable[[Boxes], NDArray[np.int64]]:
    ids = np.unique(np.concatenate([np.empty(0, np.int64), *(f.id for f in frames)]))
    return lambda boxes: np.searchsorted(ids, boxes.id).astype(np.int64)


def _figures(hota: dict[str, Any], identity: dict[str, Any]) -> Tracking:
    return Tracking(float(np.mean(hota["HOTA"])), float(identity["IDF1"]))
