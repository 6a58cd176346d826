# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`pervformer evaluate …`: each measures, prints a table and writes table.json."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pervformer_ros.cli.console import check_folder, clear_errors, progress_bar, say, show
from pervformer_ros.cli.options import CHECKPOINT_HELP, SIZE_HELP, Rate, Size

if TYPE_CHECKING:
    from pervformer_ros.evaluation.table import Row

app = typer.Typer(help="Measure, print a table and write table.json.", no_args_is_help=True)


def _held_out(
    bags: Path, scenarios: str, seeds: str, seconds: float | None, rate: int
) -> Iterator[tuple[Path, str, int]]:
    """Yield the bag, scenario and seed of each held-out episode, simulating what is not there."""
    from pervformer_ros.evaluation.episodes import episode_bag, held_out, parse_seeds

    for scenario, seed in held_out(scenarios, parse_seeds(seeds)):
        with progress_bar(f"simulate {scenario} {seed}") as progress:
            bag = episode_bag(bags, scenario, seed, seconds, progress, rate)
        yield bag, scenario, seed


def _recordings(paths: list[Path] | None) -> list[Path]:
    """Return other bags, whose names stand for them in tables and pictures (ValueError)."""
    names = [path.name for path in paths or []]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"several recordings are called {', '.join(sorted(twice))}: rename them")
    return paths or []


def _warn(rows: "list[Row]") -> None:
    """Say which recordings could not be read to the end, or have faults."""
    judged = {(row["scenario"], row["seed"]): row for row in rows if "faults" in row}
    judged.pop(("all", None), None)  # these together
    for (scenario, seed), row in judged.items():
        name = scenario if seed is None else f"{scenario} {seed}"
        if row["truncated"]:
            say(f"{name} breaks off: it is judged up to there", "yellow")
        if row["faults"]:
            say(f"{name}: {row['faults']} faults in what it holds", "yellow")


@app.command("model")
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
    rate: Rate = 15,
    bags: Annotated[Path, typer.Option(help="Where simulated bags are kept.")] = Path("out/bags"),
) -> None:
    """Judge detection, tracking, memory, motion, features and places on held-out recordings."""
    from pervformer_ros.evaluation.table import as_table

    with clear_errors(ImportError):
        check_folder(out)
        from pervformer_ros.evaluation.perception.suite import ABOUT, evaluate_model
        from pervformer_ros.evaluation.perception.variants import VARIANTS, variants_of
        from pervformer_ros.evaluation.perception.watch import Bag

        wanted = variants.split(",") if variants else VARIANTS
        tested = variants_of(checkpoint or [""], model.value, wanted)
        watched = [Bag(path, path.name, None, seconds) for path in _recordings(recording)]
        watched += [Bag(*found) for found in _held_out(bags, scenarios, seeds, seconds, rate)]
        with progress_bar("evaluate") as progress:
            rows = evaluate_model(tested, watched, out, progress)
    _warn(rows)
    for about, title in ABOUT.items():
        if part := [row for row in rows if row["about"] == about]:
            show(as_table(title, [{**row, "about": None} for row in part]))
    say(f"table: {out / 'table.json'}")


@app.command("slam")
def evaluate_drift(
    out: Annotated[Path, typer.Option(help="Folder for table.json and plots.")],
    seeds: Annotated[str, typer.Option(help="900000,900001 or 900000:900003.")] = "900000:900003",
    scenarios: Annotated[str, typer.Option(help="A,B or none.")] = "static_loop,busy_aisle",
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Cut each off after.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Take every so many-th image.")] = 1,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Play at the recorded pace, each method by itself.")
    ] = False,
    methods: Annotated[
        str, typer.Option(help="Of odometry,orb,orb_masked,pervformer_unmasked,pervformer,open3d.")
    ] = "",
    modes: Annotated[str, typer.Option(help="fused, visual or fused,visual.")] = "fused,visual",
    masks: Annotated[str, typer.Option(help="model, or truth to see what masks can do.")] = "model",
    checkpoint: Annotated[str, typer.Option(help=CHECKPOINT_HELP)] = "",
    model: Annotated[Size, typer.Option(help=SIZE_HELP)] = Size.small,
    recording: Annotated[
        list[Path] | None, typer.Option(help="Another bag with true poses. Repeatable.")
    ] = None,
    rate: Rate = 15,
    bags: Annotated[Path, typer.Option(help="Where simulated bags are kept.")] = Path("out/bags"),
) -> None:
    """Compare SLAM's drift with and without PervFormer, fused with odometry and visual only."""
    from pervformer_ros.evaluation.slam.methods import methods_of
    from pervformer_ros.evaluation.slam.runs import Recording
    from pervformer_ros.evaluation.slam.sight import Sight
    from pervformer_ros.evaluation.slam.suite import evaluate_slam, shown
    from pervformer_ros.evaluation.table import as_table
    from pervformer_ros.pipeline import PipelineConfig

    with clear_errors():
        check_folder(out)
        compared = methods_of(methods, modes)
        config = PipelineConfig(checkpoint, model.value, "pervformer")
        Sight(compared, masks, config)  # what it refuses is told before anything is simulated
        driven = [Recording(path, path.name, None) for path in _recordings(recording)]
        driven += [Recording(*found) for found in _held_out(bags, scenarios, seeds, seconds, rate)]
        with progress_bar("evaluate slam") as progress:
            rows = evaluate_slam(
                driven, compared, masks, out, config, seconds, every, realtime, progress
            )
    _warn(rows)
    show(as_table("slam: position error (ATE)", shown(rows)))
    say(f"table: {out / 'table.json'}")


@app.command("memory")
def evaluate_remembering(
    out: Annotated[Path, typer.Option(help="Folder for table.json.")],
    seeds: Annotated[str, typer.Option(help="900000,900001 or 900000:900003.")] = "900000:900003",
    scenarios: Annotated[str, typer.Option(help="A,B; else all but long_shift.")] = "",
    sources: Annotated[
        str, typer.Option(help="What it is told: truth,truth_noisy,model.")
    ] = "truth,model",
    pose: Annotated[str, typer.Option(help="What corrects odometry: slam or odometry.")] = "slam",
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Cut each off after.")] = None,
    rate: Annotated[int, typer.Option(help="Images per second: 15, 5 or 3.")] = 15,
    tuning: Annotated[
        bool, typer.Option("--development", help="Take seeds that are not held out, to tune on.")
    ] = False,
    checkpoint: Annotated[str, typer.Option(help=CHECKPOINT_HELP)] = "",
    model: Annotated[Size, typer.Option(help=SIZE_HELP)] = Size.small,
) -> None:
    """Judge events and remembered objects, told by the truth's percepts and by the model's."""
    from pervformer_ros.evaluation.episodes import held_out, parse_seeds
    from pervformer_ros.evaluation.memory.suite import development, evaluate_memory
    from pervformer_ros.evaluation.table import as_table
    from pervformer_ros.pipeline import PipelineConfig

    with clear_errors(), progress_bar("evaluate memory") as progress:
        check_folder(out)
        chosen = development if tuning else held_out
        episodes = chosen(scenarios, parse_seeds(seeds))
        config = PipelineConfig(checkpoint, model.value)
        rows = evaluate_memory(
            sources.split(","), episodes, out, config, pose, seconds, rate, progress
        )
    show(as_table("memory", rows))
    say(f"table: {out / 'table.json'}")


@app.command()
def speed(
    out: Annotated[Path, typer.Option(help="Folder for table.json.")],
    windows: Annotated[str, typer.Option(help="Frames the others look at.")] = "8,32,128",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Turns each takes; the median counts.")] = 5,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny models, to see it work; see no other option.")
    ] = False,
) -> None:
    """Compare the next frame's time and memory with TimeSformer's and VideoMAE's."""
    from pervformer_ros.evaluation.speed import QUICK, SpeedPlan, measure_speed
    from pervformer_ros.evaluation.table import as_table, write_table

    with clear_errors(ImportError), progress_bar("evaluate speed") as progress:
        check_folder(out)
        words = [word.strip() for word in windows.split(",")]
        frames = tuple(int(word) for word in words if word.isdecimal())
        if len(frames) < len(words) or min(frames) < 1:
            raise ValueError(f"--windows are '{windows}': give numbers of frames from 1 on")
        plan = QUICK if quick else SpeedPlan(windows=frames, threads=threads, rounds=rounds)
        rows = measure_speed(plan, progress)
        path = write_table("speed", rows, out)
    show(as_table("speed", rows))
    say(f"table: {path}")
