# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Commands that run the line: on a bag, through the nodes, on the simulated warehouse."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from pervformer_ros.cli import options
from pervformer_ros.cli.console import check_folder, clear_errors, progress_bar, say, show
from pervformer_ros.cli.options import Features, Size

if TYPE_CHECKING:
    from pervformer_ros.bags.reader import BagReader

DEMO_SCENARIO, DEMO_SEED, DEMO_DURATION_S = "shift", 1, 110.0
ROWS = {"odometry": "odometry", "slam": "SLAM, final", "slam_online": "SLAM, online"}


def replay(
    bag: options.Bag,
    out: Annotated[Path, typer.Option(help="Folder for report.json, report.html, *.tum.")],
    features: options.FeatureKind = Features.auto,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Play at the recorded pace; late frames are dropped.")
    ] = False,
    checkpoint: options.Weights = "",
    model: options.ModelSize = Size.small,
    colour_topic: options.ColourTopic = options.COLOUR,
    info_topic: options.InfoTopic = options.INFO,
    depth_topic: options.DepthTopic = options.DEPTH,
    odom_topic: options.OdomTopic = options.ODOM,
    base_frame: options.BaseFrame = "base_link",
    extrinsics: options.Extrinsics = "",
    rectified: options.Rectified = False,
) -> None:
    """Replay a bag through perception and SLAM, and report how well it went."""
    from pervformer_ros.evaluation.replay import replay as run
    from pervformer_ros.evaluation.report import write_report
    from pervformer_ros.pipeline import PipelineConfig

    with clear_errors(), progress_bar("replay") as progress:
        check_folder(out)
        topics = colour_topic, info_topic, depth_topic, odom_topic
        reader = options.open_bag(bag, topics, base_frame, extrinsics, rectified)
        config = PipelineConfig(checkpoint, model.value, features.value)
        result = run(bag, reader, config, realtime, progress)
        report = write_report(result, out)
    _print_report(report, out)


def view(
    bag: options.Bag,
    save: Annotated[Path | None, typer.Option(help="Write FILE.rrd; else open a window.")] = None,
    features: options.FeatureKind = Features.auto,
    checkpoint: options.Weights = "",
    model: options.ModelSize = Size.small,
    colour_topic: options.ColourTopic = options.COLOUR,
    info_topic: options.InfoTopic = options.INFO,
    depth_topic: options.DepthTopic = options.DEPTH,
    odom_topic: options.OdomTopic = options.ODOM,
    base_frame: options.BaseFrame = "base_link",
    extrinsics: options.Extrinsics = "",
    rectified: options.Rectified = False,
) -> None:
    """Replay a bag and show in rerun what is seen, remembered and told."""
    from pervformer_ros.pipeline import PipelineConfig
    from pervformer_ros.viewer.screen import ViewerError, require_rerun

    with clear_errors(ViewerError), progress_bar("view") as progress:
        require_rerun()
        from pervformer_ros.viewer.view import view as run

        topics = colour_topic, info_topic, depth_topic, odom_topic
        reader = options.open_bag(bag, topics, base_frame, extrinsics, rectified)
        config = PipelineConfig(checkpoint, model.value, features.value)
        result = run(bag, reader, config, save, progress)
    if not result.trained:
        say("the model was never trained: no objects, no events", "yellow")
    if save is not None:
        say(f"recording: {save}")


def live(
    bag: options.Bag,
    out: Annotated[Path, typer.Option(help="Folder for report.json, report.html, *.tum, logs.")],
    features: options.FeatureKind = Features.auto,
    checkpoint: options.Weights = "",
    model: options.ModelSize = Size.small,
    rate: Annotated[float, typer.Option(min=0.01, help="Times real time.")] = 1.0,
    colour_topic: options.ColourTopic = options.COLOUR,
    info_topic: options.InfoTopic = options.INFO,
    depth_topic: options.DepthTopic = options.DEPTH,
    odom_topic: options.OdomTopic = options.ODOM,
    base_frame: options.BaseFrame = "base_link",
    extrinsics: options.Extrinsics = "",
    rectified: options.Rectified = False,
) -> None:
    """Play a bag to the real nodes, each a process of its own, over DDS, and report the same."""
    with clear_errors():
        check_folder(out)
        topics = colour_topic, info_topic, depth_topic, odom_topic
        reader = options.open_bag(bag, topics, base_frame, extrinsics, rectified)
        common: dict[str, Any] = {"base_frame": base_frame, "rectified": rectified}
        if numbers := options.parse_extrinsics(extrinsics):
            common["camera_extrinsics"] = numbers
    parameters = {"features": features.value, "model": model.value, "checkpoint": checkpoint}
    _live(reader, out, parameters, common, rate)


def simulate(
    scenario: Annotated[str, typer.Argument(help="Name of the scenario; a wrong one lists all.")],
    out: Annotated[Path, typer.Option(help="The bag to write.")],
    seed: Annotated[
        int, typer.Option(min=0, help="Decides layout, textures, routes and noise.")
    ] = 0,
    duration: Annotated[float | None, typer.Option(min=0.1, help="Cut off after so long.")] = None,
    rate: options.Rate = 15,
) -> None:
    """Simulate a warehouse scenario into a bag with its ground truth."""
    from pervformer_ros.sim import simulate as run

    with clear_errors(), progress_bar(f"simulate {scenario}") as progress:
        run(scenario, seed, out, duration, progress, rate=rate)
    say(f"bag: {out}")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for bag and report.")] = Path("out/demo"),
) -> None:
    """Simulate part of a shift, run the nodes on it live, and report the drift."""
    from pervformer_ros.bags.reader import BagReader

    with clear_errors():
        check_folder(out)
    bag = out / "bag"
    if not bag.exists():
        simulate(DEMO_SCENARIO, bag, DEMO_SEED, DEMO_DURATION_S)
    _live(BagReader(bag), out)


def _live(
    reader: "BagReader",
    out: Path,
    parameters: dict[str, Any] | None = None,
    common: dict[str, Any] | None = None,
    rate: float = 1.0,
) -> None:
    from pervformer_ros.evaluation.report import write_report
    from pervformer_ros.nodes.live import LiveError, LiveOptions, run_live

    how = LiveOptions(parameters or {}, common or {}, rate)
    with clear_errors(LiveError), progress_bar("live") as progress:
        report = write_report(run_live(reader, how, out / "logs", progress), out)
    _print_report(report, out)


def _print_report(report: dict[str, Any], out: Path) -> None:
    from pervformer_ros.evaluation.report import number

    table = Table(title=escape(f"{Path(report['bag']).name}: {report['frames']} frames"))
    for column in ("", "ATE m", "RPE m/m", "RPE deg/m"):
        table.add_column(column, justify="right" if column else "left")
    for key, name in ROWS.items():
        drift = report["drift"][key]
        table.add_row(
            name,
            number(drift["ate_rmse_m"]),
            number(drift["rpe_trans_m_per_m"]),
            number(drift["rpe_rot_deg_per_m"], 2),
        )
    show(table)
    latency = report["latency_ms"]
    say(
        f"latency {latency['p50']:.1f} ms (p95 {latency['p95']:.1f}), "
        f"{report['frames_dropped']} frames dropped, model: {report['checkpoint']}"
    )
    if not report["trained"]:
        say("the model was never trained: no objects, no events", "yellow")
    for fault, text in report["faults"].items():
        say(f"{fault} {text}", "yellow")
    if report["truncated"]:
        say(report["truncated"], "yellow")
    say(f"report: {out / 'report.html'}")
