# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The report of a replay: report.json, report.html (one file, no network) and TUM trajectories."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import cv2
import jinja2
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pervformer_ros.evaluation.drift import align, position_errors, write_tum
from pervformer_ros.evaluation.replay import Replay
from pervformer_ros.files import write_whole
from pervformer_ros.frame import NANOSECONDS

COLOURS = {"truth": "#222222", "odometry": "#d1495b", "slam": "#2878b5", "slam_online": "#8cc0de"}
NAMES = {
    "truth": "ground truth",
    "odometry": "odometry",
    "slam": "SLAM, final",
    "slam_online": "SLAM, online",
}
# What Matplotlib would write about itself into each figure.
METADATA = ("Creator", "Date", "Format", "Type")
TEMPLATE = Path(__file__).with_name("report.html.jinja")


def write_report(result: Replay, out: Path) -> dict[str, Any]:
    """Write everything into the folder `out` and return what report.json holds."""
    out.mkdir(parents=True, exist_ok=True)
    report = result.report()
    write_whole(out / "report.json", (json.dumps(report, indent=2) + "\n").encode())
    for name in ("odometry", "slam", "slam_online"):
        poses = getattr(result, name)
        if poses is not None:
            write_tum(out / f"{name}.tum", poses)
    write_whole(out / "report.html", _page(result, report).encode())
    return report


def _page(result: Replay, report: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = number
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        report=report,
        names=NAMES,
        bag=Path(result.bag).name,
        figures={
            "Trajectories, seen from above": _svg(_draw_trajectories, result, (6.4, 5.2)),
            "Position error over time": _svg(_draw_errors, result, (6.4, 3.0)),
            "Latency per frame": _svg(_draw_latency, result, (6.4, 2.6)),
            "Features and matches per frame": _svg(_draw_features, result, (6.4, 2.6)),
        },
        thumbnails=[_jpeg(picture) for picture in result.thumbnails],
    )


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as text; "n/a" for None."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def _svg(draw: Any, result: Replay, size: tuple[float, float]) -> str:
    with mpl.rc_context({"svg.hashsalt": "report", "font.size": 9, "axes.grid": True}):
        figure = Figure(size, layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        draw(axes, result)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(METADATA))
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _draw_trajectories(axes: Axes, result: Replay) -> None:
    for name in ("truth", "odometry", "slam_online", "slam"):
        poses = getattr(result, name)
        if poses is None:
            continue
        if result.truth is not None and name != "truth":
            poses = align(result.truth, poses)
        x, y = poses.poses[:, 0, 3], poses.poses[:, 1, 3]
        axes.plot(x, y, color=COLOURS[name], lw=2 if name == "truth" else 1.3, label=NAMES[name])
    axes.set(xlabel="x [m]", ylabel="y [m]", aspect="equal")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(frameon=False)


def _draw_errors(axes: Axes, result: Replay) -> None:
    axes.set(xlabel="time [s]", ylabel="error [m]")
    if result.truth is None:
        axes.text(0.5, 0.5, "no ground truth in this bag", ha="center", transform=axes.transAxes)
        return
    first_s = result.records[0].stamp_ns / NANOSECONDS
    for name in ("odometry", "slam_online", "slam"):
        if (poses := getattr(result, name)) is None:
            continue
        stamps, errors = position_errors(result.truth, poses)
        axes.plot(stamps - first_s, errors, color=COLOURS[name], lw=1.3, label=NAMES[name])
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def _draw_latency(axes: Axes, result: Replay) -> None:
    seconds, latency = _over_time(result, "latency_ms")
    axes.plot(seconds, latency, color=COLOURS["slam"], lw=0.8)
    axes.set(xlabel="time [s]", ylabel="latency [ms]")
    axes.set_ylim(bottom=0)


def _draw_features(axes: Axes, result: Replay) -> None:
    for field, colour, label in (
        ("features", "#999999", "features"),
        ("features_with_depth", "#54a24b", "with depth"),
        ("inliers", COLOURS["slam"], "inliers of the best keyframe"),
    ):
        seconds, counts = _over_time(result, field)
        if None not in counts:
            axes.plot(seconds, counts, color=colour, lw=1.0, label=label)
    axes.set(xlabel="time [s]", ylabel="per frame")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _over_time(result: Replay, field: str) -> tuple[list[float], list[Any]]:
    first = result.records[0].stamp_ns
    seconds = [(r.stamp_ns - first) / NANOSECONDS for r in result.records]
    return seconds, [getattr(r, field) for r in result.records]


def _jpeg(picture: NDArray[np.uint8]) -> str:
    _, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return base64.b64encode(encoded.tobytes()).decode()
