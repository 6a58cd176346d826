# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command line: `pervformer …`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

app = typer.Typer(
    help="Perception with memory for ROS 2.", no_args_is_help=True, pretty_exceptions_enable=False
)
evaluate = typer.Typer(help="Measure, print a table and write table.json.", no_args_is_help=True)
app.add_typer(evaluate, name="evaluate")
console, errors = Console(), Console(stderr=True)
DEMO_SCENARIO, DEMO_SEED, DEMO_DURATION_S = "shift", 1, 110.0
CHECKPOINT_HELP = "Weights (.safetensors), or 'untrained'; else those that ship for the size."
SIZE_HELP = "Size, where --checkpoint names no file."
ROWS = {"odometry": "odometry", "slam": "SLAM, final", "slam_online": "SLAM, online"}


class Features(str, Enum):
    """What to extract features with."""

    orb = "orb"
    pervformer = "pervformer"


class Size(str, Enum):
    """Sizes of the model."""

    tiny = "tiny"
    small = "small"
    base = "base"


class Variant(str, Enum):
    """What a model may lack, to see what that was good for."""

    full = "full"
    no_probes = "no_probes"
    per_frame = "per_frame"


@app.command()
def replay(
    bag: Annotated[Path, typer.Argument(help="rosbag2 folder (MCAP or SQLite) or ROS 1 bag.")],
    out: Annotated[Path, typer.Option(help="Folder for report.json, report.html, *.tum.")],
    features: Annotated[Features, typer.Option(help="Kind of features.")] = Features.orb,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Play at the recorded pace; late frames are dropped.")
    ] = False,
    checkpoint: Annotated[str, typer.Option(help=CHECKPOINT_HELP)] = "",
    model: Annotated[Size, typer.Option(help=SIZE_HELP)] = Size.small,
    colour_topic: Annotated[str, typer.Option(help="Colour.")] = "/camera/color/image_raw",
    info_topic: Annotated[str, typer.Option(help="CameraInfo.")] = "/camera/color/camera_info",
    depth_topic: Annotated[str, typer.Option(help="Aligned depth.")] = "/camera/depth/image_raw",
    odom_topic: Annotated[str, typer.Option(help="Odometry.")] = "/odom",
    base_frame: Annotated[str, typer.Option(help="The robot's base.")] = "base_link",
    extrinsics: Annotated[
        str,
        typer.Option(help="'x y z qx qy qz qw' of the optical frame in base; else /tf_static."),
    ] = "",
    rectified: Annotated[bool, typer.Option("--rectified", help="Images are rectified.")] = False,
) -> None:
    """Replay a bag through perception and SLAM, and report how well it went."""
    from pervformer_ros.bags.intake import IntakeConfig
    from pervformer_ros.bags.reader import BagReader, TopicNames
    from pervformer_ros.evaluation.replay import replay as run
    from pervformer_ros.evaluation.report import write_report
    from pervformer_ros.pipeline import PipelineConfig

    with _clear_errors(), _progress("replay") as progress:
        reader = BagReader(
            bag,
            TopicNames(colour_topic, info_topic, depth_topic, odom_topic),
            IntakeConfig(base_frame, _extrinsics(extrinsics), rectified),
        )
        config = PipelineConfig(checkpoint, model.value, features.value)
        result = run(bag, reader, config, realtime, progress)
        report = write_report(result, out)
    _print_report(report, out)


@app.command()
def live(
    bag: Annotated[Path, typer.Argument(help="rosbag2 folder (MCAP or SQLite) or ROS 1 bag.")],
    out: Annotated[Path, typer.Option(help="Folder for report.json, report.html, *.tum, logs.")],
    features: Annotated[Features, typer.Option(help="Kind of features.")] = Features.orb,
    checkpoint: Annotated[str, typer.Option(help=CHECKPOINT_HELP)] = "",
    model: Annotated[Size, typer.Option(help=SIZE_HELP)] = Size.small,
    rate: Annotated[float, typer.Option(min=0.01, help="Times real time.")] = 1.0,
) -> None:
    """Play a bag to the real nodes, each a process of its own, over DDS, and report the same."""
    _live(bag, out, features, model, rate, checkpoint)


@app.command()
def simulate(
    scenario: Annotated[str, typer.Argument(help="Name of the scenario; a wrong one lists all.")],
    out: Annotated[Path, typer.Option(help="The bag to write.")],
    seed: Annotated[int, typer.Option(help="Decides layout, textures, routes and noise.")] = 0,
    duration: Annotated[float | None, typer.Option(min=0.1, help="Cut off after so long.")] = None,
) -> None:
    """Simulate a warehouse scenario into a bag with its ground truth."""
    from pervformer_ros.sim import simulate as run

    with _clear_errors(), _progress(f"simulate {scenario}") as progress:
        run(scenario, seed, out, duration, progress)
    _say(f"bag: {out}")


@app.command()
def import_trecvit(
    file: Annotated[Path, typer.Argument(help="Official TRecViT checkpoint (.npz).")],
    out: Annotated[
        Path | None, typer.Option(help="Where to (.safetensors); else beside FILE.")
    ] = None,
    image_size: Annotated[
        str, typer.Option(help="HEIGHTxWIDTH in pixels it was trained on; else a square.")
    ] = "",
    probes: Annotated[int, typer.Option(min=0, help="Memory probes to add, untrained.")] = 0,
) -> None:
    """Make a checkpoint of TRecViT's: its trunk with heads that are yet to be trained."""
    from pervformer_ros.model import card_path
    from pervformer_ros.model import import_trecvit as run

    path = out or file.with_suffix(".safetensors")
    with _clear_errors():
        config = run(file, path, _image_size(image_size), probes).config
    height, width = config.image_size
    _say(
        f"trunk: {height}x{width} pixels, width {config.width}, depth {config.depth}, "
        f"{config.heads} heads, recurrence {config.lru_width}"
    )
    _say("probes and heads are untrained: no objects, no events until they are", "yellow")
    _say(f"checkpoint: {path}")
    _say(f"card: {card_path(path)}")


@app.command()
def train(
    shards: Annotated[Path, typer.Argument(help="Folder of training data (sim.shards).")],
    out: Annotated[Path, typer.Option(help="Folder of the run; one that is there goes on.")],
    model: Annotated[Size, typer.Option(help="Size of the model.")] = Size.small,
    variant: Annotated[Variant, typer.Option(help="What it is made of.")] = Variant.full,
    window: Annotated[str, typer.Option(help="HxW pixels that are looked through.")] = "240x320",
    shrink: Annotated[int, typer.Option(min=1, help="Look at images of 1/N the size.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Each begins all streams anew.")] = 1000,
    streams: Annotated[int, typer.Option(min=1, help="At once, in each process.")] = 8,
    segment: Annotated[int, typer.Option(min=1, help="Frames of a stream.")] = 64,
    chunk: Annotated[int, typer.Option(min=1, help="Frames learned from at once.")] = 8,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="At its highest.")] = 1e-3,
    clip_norm: Annotated[float, typer.Option(min=0.0, help="Of the gradient.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Decides data and first weights.")] = 0,
    init: Annotated[Path | None, typer.Option(help="Weights to begin with.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda; with torchrun one each.")] = "cpu",
    bf16: Annotated[bool, typer.Option(help="Compute in bfloat16 where that is safe.")] = True,
    hours: Annotated[float | None, typer.Option(min=0.0, help="Stop after so long.")] = None,
) -> None:
    """Train on the simulated warehouse; run again, it goes on where it was stopped."""
    from pervformer_ros.training.loop import TrainConfig
    from pervformer_ros.training.processes import train as run

    with _clear_errors(), _progress("train") as progress:
        height, width = (int(number) for number in window.split("x"))
        config = TrainConfig(
            shards, out, model.value, variant.value, (height, width), shrink, rounds, streams,
            segment, chunk, learning_rate, clip_norm=clip_norm, seed=seed, init=init, device=device,
            bf16=bf16, hours=hours,
        )  # fmt: skip
        run(config, lambda done, total, losses: progress(done, total))
    _say(f"weights: {out / 'model.safetensors'}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for bag and report.")] = Path("out/demo"),
) -> None:
    """Simulate part of a shift, run the nodes on it live, and report the drift."""
    bag = out / "bag"
    if not bag.exists():
        simulate(DEMO_SCENARIO, bag, DEMO_SEED, DEMO_DURATION_S)
    _live(bag, out, Features.orb, Size.small, rate=1.0, checkpoint="")


def _live(
    bag: Path, out: Path, features: Features, model: Size, rate: float, checkpoint: str
) -> None:
    from pervformer_ros.bags.reader import BagReader
    from pervformer_ros.evaluation.report import write_report
    from pervformer_ros.nodes.live import LiveError, LiveOptions, run_live

    parameters = {"features": features.value, "model": model.value}
    if checkpoint:
        parameters["checkpoint"] = checkpoint
    with _clear_errors(LiveError), _progress("live") as progress:
        options = LiveOptions(parameters, rate)
        report = write_report(run_live(bag, BagReader(bag), options, out / "logs", progress), out)
    _print_report(report, out)


@evaluate.command("model")
def evaluate_perception(
    out: Annotated[Path, typer.Option(help="Folder for table.json and pictures.")],
    seeds: Annotated[str, typer.Option(help="900000,900001 or 900000:900003.")] = "900000:900003",
    scenarios: Annotated[str, typer.Option(help="A,B or none; else all but long_shift.")] = "",
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Cut each off after.")] = None,
    checkpoint: Annotated[
        list[str] | None, typer.Option(help=f"{CHECKPOINT_HELP} Repeat it for several.")
    ] = None,
    model: Annotated[Size, typer.Option(help=SIZE_HELP)] = Size.small,
    variants: Annotated[str, typer.Option(help="full,full_reset,no_probes,per_frame.")] = "",
    recording: Annotated[
        list[Path] | None, typer.Option(help="Another bag with ground truth. Repeatable.")
    ] = None,
    bags: Annotated[Path, typer.Option(help="Where simulated bags are kept.")] = Path("out/bags"),
) -> None:
    """Judge detection, tracking, memory, motion, features and places on held-out recordings."""
    from pervformer_ros.evaluation.episodes import episode_bag, parse_seeds
    from pervformer_ros.evaluation.perception.suite import ABOUT, evaluate_model, held_out
    from pervformer_ros.evaluation.perception.variants import VARIANTS, variants_of
    from pervformer_ros.evaluation.perception.watch import Bag
    from pervformer_ros.evaluation.table import as_table

    with _clear_errors():
        wanted = variants.split(",") if variants else VARIANTS
        tested = variants_of(checkpoint or [""], model.value, wanted)
        watched = [Bag(path, path.name, None, seconds) for path in recording or []]
        for scenario, seed in held_out(scenarios, parse_seeds(seeds)):
            with _progress(f"simulate {scenario} {seed}") as progress:
                bag = episode_bag(bags, scenario, seed, seconds, progress)
            watched.append(Bag(bag, scenario, seed))
        with _progress("evaluate") as progress:
            rows = evaluate_model(tested, watched, out, progress)
    for about, title in ABOUT.items():
        if part := [row for row in rows if row["about"] == about]:
            console.print(as_table(title, [{**row, "about": None} for row in part]))
    _say(f"table: {out / 'table.json'}")


@evaluate.command("slam")
def evaluate_drift(
    out: Annotated[Path, typer.Option(help="Folder for table.json and plots.")],
    seeds: Annotated[str, typer.Option(help="900000,900001 or 900000:900003.")] = "900000:900003",
    scenarios: Annotated[str, typer.Option(help="A,B or none.")] = "static_loop,busy_aisle",
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Cut each off after.")] = None,
    methods: Annotated[
        str, typer.Option(help="Of odometry,orb,orb_masked,pervformer_unmasked,pervformer,open3d.")
    ] = "",
    masks: Annotated[str, typer.Option(help="model, or truth to see what masks can do.")] = "model",
    checkpoint: Annotated[str, typer.Option(help=CHECKPOINT_HELP)] = "",
    model: Annotated[Size, typer.Option(help=SIZE_HELP)] = Size.small,
    recording: Annotated[
        list[Path] | None, typer.Option(help="Another bag with true poses. Repeatable.")
    ] = None,
    bags: Annotated[Path, typer.Option(help="Where simulated bags are kept.")] = Path("out/bags"),
) -> None:
    """Compare SLAM's drift with and without PervFormer, fused with odometry and visual only."""
    from pervformer_ros.evaluation.episodes import episode_bag, parse_seeds
    from pervformer_ros.evaluation.perception.suite import held_out
    from pervformer_ros.evaluation.slam.methods import methods_of
    from pervformer_ros.evaluation.slam.runs import Recording
    from pervformer_ros.evaluation.slam.suite import evaluate_slam, shown
    from pervformer_ros.evaluation.table import as_table
    from pervformer_ros.pipeline import PipelineConfig

    with _clear_errors():
        compared = methods_of(methods)
        config = PipelineConfig(checkpoint, model.value, "pervformer")
        driven = [Recording(path, path.name, None) for path in recording or []]
        for scenario, seed in held_out(scenarios, parse_seeds(seeds)):
            with _progress(f"simulate {scenario} {seed}") as progress:
                bag = episode_bag(bags, scenario, seed, seconds, progress)
            driven.append(Recording(bag, scenario, seed))
        with _progress("evaluate slam") as progress:
            rows = evaluate_slam(driven, compared, masks, out, config, seconds, progress)
    console.print(as_table("slam: position error (ATE)", shown(rows)))
    _say(f"table: {out / 'table.json'}")


@evaluate.command("memory")
def evaluate_remembering(
    out: Annotated[Path, typer.Option(help="Folder for table.json.")],
    seeds: Annotated[str, typer.Option(help="900000,900001 or 900000:900003.")] = "900000:900003",
    scenarios: Annotated[str, typer.Option(help="A,B; else all but long_shift.")] = "",
    sources: Annotated[
        str, typer.Option(help="What it is told: truth,truth_noisy,model.")
    ] = "truth,model",
    pose: Annotated[str, typer.Option(help="What corrects odometry: slam or odometry.")] = "slam",
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Cut each off after.")] = None,
    rate: Annotated[int, typer.Option(help="Images per second of the truth: 15, 5 or 3.")] = 15,
    checkpoint: Annotated[str, typer.Option(help=CHECKPOINT_HELP)] = "",
    model: Annotated[Size, typer.Option(help=SIZE_HELP)] = Size.small,
) -> None:
    """Judge events and remembered objects, told by the truth's percepts and by the model's."""
    from pervformer_ros.evaluation.episodes import parse_seeds
    from pervformer_ros.evaluation.memory.suite import evaluate_memory
    from pervformer_ros.evaluation.perception.suite import held_out
    from pervformer_ros.evaluation.table import as_table
    from pervformer_ros.pipeline import PipelineConfig

    with _clear_errors(), _progress("evaluate memory") as progress:
        episodes = held_out(scenarios, parse_seeds(seeds))
        config = PipelineConfig(checkpoint, model.value)
        rows = evaluate_memory(
            sources.split(","), episodes, out, config, pose, seconds, rate, progress
        )
    console.print(as_table("memory", rows))
    _say(f"table: {out / 'table.json'}")


@contextmanager
def _clear_errors(*more: type[Exception]) -> Iterator[None]:
    """Turn the errors a user can do something about into one line and exit code 1."""
    from pervformer_ros.bags.reader import BagError
    from pervformer_ros.bags.writer import BagWriteError
    from pervformer_ros.model import CheckpointError

    known: list[type[Exception]] = [BagError, BagWriteError, CheckpointError, ValueError, OSError]
    try:
        yield
    except (*known, *more) as error:
        line = " ".join(str(error).split())
        errors.print(f"[red]error:[/red] {escape(line)}", soft_wrap=True)
        raise typer.Exit(1) from error


def _say(line: str, style: str = "") -> None:
    """Print a line as it is: paths and messages may look like markup, and must not be broken."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal; yields a callback that takes (done, total)."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _extrinsics(text: str) -> Any:
    from pervformer_ros.geometry import make_transform

    if not text:
        return None
    numbers = [float(word) for word in text.replace(",", " ").split()]
    if len(numbers) != 7:
        raise ValueError(f"--extrinsics has {len(numbers)} numbers: give x y z qx qy qz qw")
    return make_transform(numbers[:3], numbers[3:])


@evaluate.command()
def speed(
    out: Annotated[Path, typer.Option(help="Folder for table.json.")],
    windows: Annotated[str, typer.Option(help="Frames the others look at.")] = "8,32,128",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Turns each takes; the median counts.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny models, to see it work.")] = False,
) -> None:
    """Compare the next frame's time and memory with TimeSformer's and VideoMAE's."""
    from pervformer_ros.evaluation.speed import QUICK, SpeedPlan, measure_speed
    from pervformer_ros.evaluation.table import as_table, write_table

    with _clear_errors(ImportError), _progress("evaluate speed") as progress:
        frames = tuple(int(word) for word in windows.split(","))
        plan = QUICK if quick else SpeedPlan(windows=frames, threads=threads, rounds=rounds)
        rows = measure_speed(plan, progress)
        path = write_table("speed", rows, out)
    console.print(as_table("speed", rows))
    _say(f"table: {path}")


def _image_size(text: str) -> tuple[int, int] | None:
    """Return height and width of "HEIGHTxWIDTH"."""
    if not text:
        return None
    words = text.lower().split("x")
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        raise ValueError(f"--image-size is '{text}': give HEIGHTxWIDTH, such as 240x320")
    return int(words[0]), int(words[1])


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
    console.print(table)
    latency = report["latency_ms"]
    _say(
        f"latency {latency['p50']:.1f} ms (p95 {latency['p95']:.1f}), "
        f"{report['frames_dropped']} frames dropped, model: {report['checkpoint']}"
    )
    if not report["trained"]:
        _say("the model was never trained: no objects, no events", "yellow")
    for fault, text in report["faults"].items():
        _say(f"{fault} {text}", "yellow")
    if report["truncated"]:
        _say(report["truncated"], "yellow")
    _say(f"report: {out / 'report.html'}")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
