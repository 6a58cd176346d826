# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Drift over the way, and the paths from above, as pictures."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pervformer_ros.evaluation.drift import align, position_errors
from pervformer_ros.evaluation.slam.methods import Method
from pervformer_ros.evaluation.slam.runs import Outcome
from pervformer_ros.frame import NANOSECONDS
from pervformer_ros.geometry import Array, Trajectory

COLOURS = {
    "odometry": "0.55",
    "orb": "tab:red",
    "orb_masked": "tab:orange",
    "pervformer_unmasked": "tab:purple",
    "pervformer": "tab:green",
    "open3d": "tab:brown",
}


def draw_drift(outcome: Outcome, path: Path) -> None:
    """Draw the online position error of every method over the way gone."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    seconds, metres = _way(outcome.truth)
    for run in outcome.runs:
        assert run.online is not None
        stamps, errors = position_errors(outcome.truth, run.online)
        way = np.interp(stamps, seconds, metres)
        axes.plot(way, errors, color=COLOURS[run.method.name], **_style(run.method))
    axes.set(xlabel="way gone (m)", ylabel="online position error (m)", yscale="log")
    axes.set_ylim(bottom=1e-3)
    axes.grid(alpha=0.3)
    _finish(figure, axes, outcome, path)


def draw_paths(outcome: Outcome, path: Path) -> None:
    """Draw the true path and every online one from above."""
    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots()
    axes.plot(*outcome.truth.poses[:, :2, 3].T, color="black", lw=2.5, alpha=0.4, label="truth")
    for run in outcome.runs:
        assert run.online is not None
        poses = align(outcome.truth, run.online).poses
        axes.plot(*poses[:, :2, 3].T, color=COLOURS[run.method.name], **_style(run.method))
    low, high = outcome.truth.poses[:, :2, 3].min(axis=0), outcome.truth.poses[:, :2, 3].max(axis=0)
    margin = 0.15 * float((high - low).max()) + 0.1
    axes.set(xlabel="x (m)", ylabel="y (m)", aspect="equal")
    axes.set_xlim(low[0] - margin, high[0] + margin)
    axes.set_ylim(low[1] - margin, high[1] + margin)
    _finish(figure, axes, outcome, path)


def _style(method: Method) -> dict[str, Any]:
    fused = method.odometry
    label = (
        method.name
        if method.name in ("odometry", "open3d")
        else (f"{method.name}, {'fused' if fused else 'visual only'}")
    )
    return {"label": label, "ls": "-" if fused else "--", "lw": 1.2}


def _way(truth: Trajectory) -> tuple[Array, Array]:
    """Return the seconds (N,) and the metres gone (N,)."""
    steps = np.linalg.norm(np.diff(truth.poses[:, :3, 3], axis=0), axis=1)
    return truth.stamps_ns / NANOSECONDS, np.concatenate([[0.0], np.cumsum(steps)])


def _finish(figure: Figure, axes: Axes, outcome: Outcome, path: Path) -> None:
    seed = "" if outcome.recording.seed is None else f", seed {outcome.recording.seed}"
    axes.set_title(f"{outcome.recording.scenario}{seed}")
    figure.legend(fontsize=8, frameon=False, ncols=4, loc="outside lower center")
    figure.savefig(path, dpi=110)
