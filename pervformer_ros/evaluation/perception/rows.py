# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Runs become rows: flat, each saying what it is about beside its figures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np

from pervformer_ros.evaluation.perception import hidden, matching
from pervformer_ros.evaluation.perception.detection import average_precision
from pervformer_ros.evaluation.perception.motion import Motion, measure_motion
from pervformer_ros.evaluation.perception.observer import MODEL
from pervformer_ros.evaluation.perception.places import recall_at_1
from pervformer_ros.evaluation.perception.records import Record
from pervformer_ros.evaluation.perception.tracking import ALL, Tracking, measure_tracking
from pervformer_ros.evaluation.perception.watch import HOMOGRAPHY, Run
from pervformer_ros.evaluation.table import Row
from pervformer_ros.frame import NANOSECONDS

# Of so many parts of the long shift the first and the last are compared: 5 minutes of 30.
PARTS = 6
SPREAD = (
    "ap50", "hota", "idf1", "reid", "motion_iou", "flicker", "recall_at_1",
    "recovered", "near", "position_m",
)  # fmt: skip

About = dict[str, str | int | float | bool | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Detection, tracking and motion over runs.

    figures: flat, as in a row; None = cannot tell.
    ap50: by class. tracking: by class, and "all".
    """

    figures: dict[str, Any]
    ap50: dict[str, float]
    tracking: dict[str, Tracking]


def judge(sequences: Sequence[Sequence[Record]]) -> Verdict:
    """Judge runs together."""
    records = [record for run in sequences for record in run]
    classes = average_precision(records)
    alike = average_precision(records, any_class=True)
    tracking = measure_tracking(sequences)
    over_all = tracking.get(ALL)
    spells = [spell for run in sequences for spell in hidden.find_spells(run, "published")]
    again = hidden.summarise(spells, *hidden.REID_S)
    motion = measure_motion(sequences, MODEL)
    figures = {
        "frames": len(records),
        "ap50": float(np.mean(list(classes.values()))) if classes else None,
        "ap50_any_class": alike.get("object"),
        "hota": over_all.hota if over_all else None,
        "idf1": over_all.idf1 if over_all else None,
        "reid": again.recovered,
        "reid_spells": again.spells,
        "motion_iou": motion.iou,
        "flicker": motion.flicker,
        "false_alarm": motion.false_alarm,
    }
    return Verdict(figures, classes, tracking)


def perception_rows(runs: Sequence[Run], about: About) -> list[Row]:
    """Return a row for every run, one over all where there are several, and one for each class."""
    rows: list[Row] = []
    for part in _parts(runs):
        verdict = judge([run.records for run in part])
        queries = [query for run in part for query in run.queries]
        sizes = {record.state_bytes for run in part for record in run.records}
        rows.append({
            "about": "perception",
            **about,
            **_where(part),
            **verdict.figures,
            "recall_at_1": recall_at_1(queries),
            "revisits": sum(query.revisit for query in queries),
            "state_bytes": max(sizes, default=0),
            "state_constant": len(sizes) <= 1,
            "truncated": any(run.truncated for run in part),
            "faults": sum(run.faults for run in part),
        })  # fmt: skip
    return rows + _class_rows(runs, verdict, about)


def hidden_rows(runs: Sequence[Run], about: About) -> list[Row]:
    """Return what the probes and what the published objects know of hidden things."""
    rows: list[Row] = []
    for part in _parts(runs):
        for source in ("probes", "published"):
            spells = [s for run in part for s in hidden.find_spells(run.records, source)]
            if not spells:
                continue
            recovery = asdict(hidden.summarise(spells))
            rows.append({"about": "hidden", **about, **_where(part), "source": source, **recovery})
    return rows


def matching_rows(runs: Sequence[Run], about: About) -> list[Row]:
    """Return how well features of each kind match."""
    rows: list[Row] = []
    for part in _parts(runs):
        for method in dict.fromkeys(m for run in part for m in run.matching.scores):
            scores = [s for run in part for s in run.matching.scores.get(method, [])]
            figures = asdict(matching.summarise(scores))
            rows.append({"about": "matching", **about, **_where(part), "method": method, **figures})
    return rows


def baseline_rows(runs: Sequence[Run]) -> list[Row]:
    """Return how well a homography masks motion."""
    rows: list[Row] = []
    for part in _parts(runs):
        motion = measure_motion([run.records for run in part], HOMOGRAPHY)
        if motion == Motion():
            continue
        rows.append({
            "about": "perception",
            "variant": HOMOGRAPHY,
            **_where(part),
            "motion_iou": motion.iou,
            "flicker": motion.flicker,
            "false_alarm": motion.false_alarm,
        })  # fmt: skip
    return rows


def streaming_rows(runs: Sequence[Run], about: About) -> list[Row]:
    """Return a row for the first and one for the last part of each run."""
    rows: list[Row] = []
    for run in runs:
        first, last = _ends(run.records)
        for name, records in (("first", first), ("last", last)):
            rows.append({
                "about": "streaming",
                **about,
                **_where([run]),
                "part": name,
                "seconds": _seconds(records),
                **judge([records]).figures,
                "state_bytes": max(record.state_bytes for record in records),
            })  # fmt: skip
    return rows


def spread_rows(rows: Sequence[Row]) -> list[Row]:
    """Return mean and standard deviation of variants that have several checkpoints."""

    def group(row: Row) -> tuple[str, ...]:
        return tuple(str(row.get(k)) for k in ("about", "variant", "scenario", "seed", "source"))

    whole = sorted((row for row in rows if row["about"] in ("perception", "hidden")), key=group)
    spreads: list[Row] = []
    for _, members in groupby(whole, key=group):
        alike = list(members)
        checkpoints = {row.get("checkpoint") for row in alike}
        if len(checkpoints) < 2:
            continue
        kept = ("variant", "scenario", "seed", "source")
        row: About = {"about": "spread", **{k: alike[0][k] for k in kept if k in alike[0]}}
        row["checkpoints"] = len(checkpoints)
        for figure in SPREAD:
            values = [v for r in alike if isinstance(v := r.get(figure), float)]
            if len(values) == len(alike):
                row[figure] = float(np.mean(values))
                row[f"{figure}_std"] = float(np.std(values, ddof=1))
        spreads.append(row)
    return spreads


def _class_rows(runs: Sequence[Run], verdict: Verdict, about: About) -> list[Row]:
    """Return a row for every class that truly occurs, over all runs."""
    truths = [r.truth for run in runs for r in run.records if r.truth is not None]
    rows: list[Row] = []
    for label, precision in verdict.ap50.items():
        tracked = verdict.tracking.get(label)
        rows.append({
            "about": "class",
            **about,
            "scenario": ALL,
            "class": label,
            "true_boxes": sum(int((t.seen & (t.label == label)).sum()) for t in truths),
            "ap50": precision,
            "hota": tracked.hota if tracked else None,
            "idf1": tracked.idf1 if tracked else None,
        })  # fmt: skip
    return rows


def _parts(runs: Sequence[Run]) -> list[Sequence[Run]]:
    """Return each run by itself, then all together."""
    return [[run] for run in runs] + ([runs] if len(runs) > 1 else [])


def _where(part: Sequence[Run]) -> About:
    if len(part) == 1:
        return {"scenario": part[0].bag.scenario, "seed": part[0].bag.seed}
    return {"scenario": ALL, "seed": None}


def _ends(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    start, stop = records[0].stamp_ns, records[-1].stamp_ns
    length = (stop - start) / PARTS
    first = [r for r in records if r.stamp_ns - start <= length]
    return first, [r for r in records if stop - r.stamp_ns <= length]


def _seconds(records: Sequence[Record]) -> float:
    return (records[-1].stamp_ns - records[0].stamp_ns) / NANOSECONDS
