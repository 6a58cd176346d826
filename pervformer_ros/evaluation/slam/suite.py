# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`pervformer evaluate slam`: every method along every recording, as rows and plots."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pervformer_ros.evaluation.slam.methods import Method
from pervformer_ros.evaluation.slam.plots import draw_drift, draw_paths
from pervformer_ros.evaluation.slam.runs import Outcome, Recording, run_methods
from pervformer_ros.evaluation.table import Row, write_table
from pervformer_ros.pipeline import PipelineConfig

SUITE = "slam"
ABOUT = ("scenario", "method", "odometry", "masks", "realtime")
FIGURES = (
    "ate_rmse_m",
    "ate_online_rmse_m",
    "ate_online_to_odometry",
    "ate_live_rmse_m",
    "rpe_trans_m_per_m",
    "rpe_rot_deg_per_m",
    "rpe_online_trans_m_per_m",
    "lost",
    "frames_dropped",
    "latency_ms_p50",
    "loop_closures_false",
    "slam_ms_p50",
    "slam_ms_p99",
    "slam_ms_max",
    "slam_ms_p99_growth",
    "found_again_s",
)
# Of these the least is the worst.
MORE_IS_BETTER = ("loop_recall", "poses_compared")


def evaluate_slam(
    recordings: Sequence[Recording],
    methods: Sequence[Method],
    masks: str,
    out: Path,
    config: PipelineConfig | None = None,
    seconds: float | None = None,
    every: int = 1,
    realtime: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Row]:
    """Compare methods on recordings; write table.json and, for each recording, two plots.

    Args:
        recordings: with ground truth.
        methods: see methods_of.
        masks: "model" or "truth", see Sight.
        out: folder, made if missing.
        config: of the line.
        seconds: stop each recording after so many.
        every: take every so many-th image.
        realtime: play at the recorded pace, once for each method, and drop what comes too late.
        progress: called with (images done, images in all) of each recording in turn.

    Raises:
        BagError: if a recording cannot be read or has no true poses of its time; the table is of
            those before it.
        ValueError: if there is no recording, or see Sight.
    """
    if not recordings:
        raise ValueError("there is nothing to drive along: name scenarios or a recording")
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for recording in recordings:
        together = _one_at_a_time(methods) if realtime else [methods]
        outcome = _joined(
            run_methods(recording, some, masks, config, seconds, every, realtime, progress)
            for some in together
        )
        rows += outcome.rows
        write_table(SUITE, [*rows, *summarise(rows)], out)
        draw_drift(outcome, out / f"{_name(recording)}-drift.png")
        draw_paths(outcome, out / f"{_name(recording)}-paths.png")
    return [*rows, *summarise(rows)]


def summarise(rows: Sequence[Row]) -> list[Row]:
    """Return a row of medians and a row of worst figures for each scenario and method."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in ABOUT), []).append(row)
    return [
        _summary(about, group, statistic)
        for about, group in groups.items()
        for statistic in ("median", "worst")
    ]


def shown(rows: Sequence[Row]) -> list[Row]:
    """Return the summary as the terminal has room for it."""
    return [
        {
            "scenario": row["scenario"],
            "method": row["method"],
            "mode": "fused" if row["odometry"] else "visual",
            "of": f"{row['statistic']}, {row['runs']}",
            "online m": row["ate_online_rmse_m"],
            "/odom": row["ate_online_to_odometry"],
            "live m": row["ate_live_rmse_m"] if row["realtime"] else None,
            "final m": row["ate_rmse_m"],
            "RPE m/m": row["rpe_online_trans_m_per_m"],
            "lost": row["lost"],
            "dropped": row["frames_dropped"] if row["realtime"] else None,
            "false": row["loop_closures_false"],
            "ms": row["slam_ms_p50"],
        }
        for row in rows
        if row["statistic"] is not None
    ]


def _one_at_a_time(methods: Sequence[Method]) -> list[list[Method]]:
    """Return the methods one by one, odometry, which costs nothing, with the first."""
    idle = [method for method in methods if method.name == "odometry"]
    busy = [[method] for method in methods if method.name != "odometry"]
    return [[*idle, *busy[0]], *busy[1:]] if busy else [idle]


def _joined(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the outcomes of one recording as one."""
    first, *others = outcomes
    for other in others:
        first = replace(first, runs=[*first.runs, *other.runs], rows=[*first.rows, *other.rows])
    return first


def _summary(about: tuple[object, ...], group: Sequence[Row], statistic: str) -> Row:
    row: dict[str, Any] = dict(zip(ABOUT, about, strict=True))
    row |= {"seed": None, "statistic": statistic, "runs": len(group)}
    row |= {key: _of(group, key, statistic) for key in (*FIGURES, *MORE_IS_BETTER)}
    return row | {"never_found": sum(_is_never_found(one) for one in group)}


def _is_never_found(row: Row) -> bool:
    return bool(row.get("carried_off")) and row.get("found_again_s") is None


def _of(group: Sequence[Row], key: str, statistic: str) -> float | None:
    """Return the median or worst of what rows have, None where none has any, or it is endless."""
    values = [float(value) for row in group if (value := row.get(key)) is not None]
    if key == "found_again_s":
        values += [np.inf for row in group if _is_never_found(row)]
    if not values:
        return None
    if statistic == "median":
        value = float(np.median(values))
    else:
        value = min(values) if key in MORE_IS_BETTER else max(values)
    return value if np.isfinite(value) else None


def _name(recording: Recording) -> str:
    seed = "" if recording.seed is None else f"-{recording.seed}"
    return f"{recording.scenario}{seed}"
