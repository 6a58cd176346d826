# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Commands that make weights."""

from pathlib import Path
from typing import Annotated

import typer

from pervformer_ros.cli.console import clear_errors, progress_bar, say
from pervformer_ros.cli.options import Size, Variant, parse_size


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
    with clear_errors():
        size = parse_size(image_size, "--image-size") if image_size else None
        config = run(file, path, size, probes).config
    height, width = config.image_size
    say(
        f"trunk: {height}x{width} pixels, width {config.width}, depth {config.depth}, "
        f"{config.heads} heads, recurrence {config.lru_width}"
    )
    say("probes and heads are untrained: no objects, no events until they are", "yellow")
    say(f"checkpoint: {path}")
    say(f"card: {card_path(path)}")


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
    init: Annotated[
        list[Path] | None,
        typer.Option(help="Weights to begin with; given again: for all that the first lacks."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda; with torchrun one each.")] = "cpu",
    bf16: Annotated[bool, typer.Option(help="Compute in bfloat16 where that is safe.")] = True,
    hours: Annotated[float | None, typer.Option(min=0.0, help="Stop after so long.")] = None,
    only_points: Annotated[
        bool, typer.Option("--only-points", help="Learn keypoints and descriptors alone.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that prepare streams: for a GPU.")
    ] = 0,
    kept: Annotated[
        int, typer.Option(min=1, help="With workers: streams that batches are drawn from.")
    ] = 256,
    graphs: Annotated[
        bool, typer.Option("--graphs", help="Record a step as a CUDA graph: faster on a GPU.")
    ] = False,
) -> None:
    """Train on the simulated warehouse; run again, it goes on where it was stopped."""
    from pervformer_ros.training.loop import TrainConfig
    from pervformer_ros.training.processes import train as run

    with clear_errors(), progress_bar("train") as progress:
        size = parse_size(window, "--window")
        config = TrainConfig(
            shards, out, model.value, variant.value, size, shrink, rounds, streams,
            segment, chunk, learning_rate, clip_norm=clip_norm, seed=seed, init=tuple(init or ()),
            device=device, bf16=bf16, hours=hours, only_points=only_points,
            workers=workers, kept=kept, graphs=graphs,
        )  # fmt: skip
        run(config, lambda done, total, losses: progress(done, total))
    say(f"weights: {out / 'model.safetensors'}")


def average(
    first: Annotated[Path, typer.Argument(help="Weights (.safetensors).")],
    second: Annotated[Path, typer.Argument(help="Weights that were trained on from the first's.")],
    out: Annotated[Path, typer.Option(help="Where to (.safetensors).")],
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Of the second.")] = 0.5,
) -> None:
    """Average two checkpoints: often better than either, it forgets less."""
    from pervformer_ros.training.soup import average as run

    with clear_errors():
        run(first, second, share, out)
    say(f"weights: {out}")
