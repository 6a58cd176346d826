# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A row of the table: how far one method drifted, what it closed and what it cost."""

import numpy as np

from pervformer_ros.evaluation.drift import measure_drift, poses_at
from pervformer_ros.evaluation.slam.carried import carried_off, found_again_s
from pervformer_ros.evaluation.slam.closures import judge_closures
from pervformer_ros.evaluation.slam.drive import Drive, Run
from pervformer_ros.evaluation.table import Row
from pervformer_ros.geometry import Trajectory

# Of so many parts of a run the first and the last are compared: 5 minutes of half an hour's.
PARTS = 6
LEAST_FRAMES = 100  # of a part, for a 99th percentile


def rows_of(drive: Drive, truth: Trajectory, wheels: Trajectory, masks: str) -> list[Row]:
    """Return a row for each run of a drive that has ended.

    Args:
        drive: what all methods have of a recording.
        truth: true poses.
        wheels: odometry of every image, dropped ones too.
        masks: whose the masks were.
    """
    of_odometry = measure_drift(truth, drive.wheels()).ate_rmse_m
    return [
        {**_row(run, truth, masks, of_odometry, drive.seeing), **_live(run, wheels, truth)}
        for run in drive.runs
    ]


def _row(
    run: Run,
    truth: Trajectory,
    masks: str,
    of_odometry: float | None,
    seeing: list[int],
) -> Row:
    assert run.online is not None
    assert run.final is not None
    online, final = measure_drift(truth, run.online), measure_drift(truth, run.final)
    row: dict[str, str | int | float | bool | None] = {
        "method": run.method.name,
        "odometry": run.method.odometry,
        "masks": masks if run.method.is_masked else None,
        "statistic": None,
        "ate_rmse_m": final.ate_rmse_m,
        "ate_online_rmse_m": online.ate_rmse_m,
        "ate_online_to_odometry": _ratio(online.ate_rmse_m, of_odometry),
        "rpe_trans_m_per_m": final.rpe_trans_m_per_m,
        "rpe_rot_deg_per_m": final.rpe_rot_deg_per_m,
        "rpe_online_trans_m_per_m": online.rpe_trans_m_per_m,
        "frames": len(run.online),
        "poses_compared": sum(T is not None for T in poses_at(truth, run.online.stamps_ns)),
    }
    if run.backend is not None:
        closures = judge_closures(run.backend.graph(), truth)
        row |= {
            "lost": run.lost,
            "keyframes": len(run.backend.graph().poses),
            "loop_closures": closures.accepted,
            "loop_closures_false": closures.false,
            "loop_recall": closures.recall,
            "slam_ms_p50": float(np.percentile(run.milliseconds, 50)),
            "slam_ms_p99": float(np.percentile(run.milliseconds, 99)),
            "slam_ms_max": float(np.max(run.milliseconds)),
            "slam_ms_p99_growth": _growth(run.milliseconds),
            "carried_off": carried_off(truth) is not None,
            "found_again_s": found_again_s(truth, run.online, seeing),
        }
    return row


def _live(run: Run, wheels: Trajectory, truth: Trajectory) -> Row:
    """Return how far off the robot is at any image, dropped ones too, and what it waits for."""
    corrections = run.corrections
    return {
        "ate_live_rmse_m": measure_drift(truth, corrections.carry(wheels)).ate_rmse_m,
        "latency_ms_p50": corrections.latency_ms,
    }


def _growth(milliseconds: list[float]) -> float | None:
    """Return the p99 of the last of PARTS by that of the first, None where they are too short."""
    part = len(milliseconds) // PARTS
    if part < LEAST_FRAMES:
        return None
    first, last = milliseconds[:part], milliseconds[-part:]
    return float(np.percentile(last, 99) / np.percentile(first, 99))


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None
