# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`pervformer evaluate model`: every variant along every bag, as rows and pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pervformer_ros.evaluation.episodes import STREAMING
from pervformer_ros.evaluation.perception import rows
from pervformer_ros.evaluation.perception.picture import write_sheet
from pervformer_ros.evaluation.perception.places import draw_precision_recall
from pervformer_ros.evaluation.perception.variants import FULL_RESET, Variant
from pervformer_ros.evaluation.perception.watch import (
    MAX_FEATURES,
    Bag,
    Run,
    has_objects,
    images_of,
    watch,
)
from pervformer_ros.evaluation.table import Row, write_table

SUITE = "model"
# What rows are about, and the titles of their tables.
ABOUT = {
    "perception": "Perception",
    "class": "By class",
    "hidden": "What is out of sight",
    "matching": "Descriptors",
    "streaming": "The first and the last part of the long shift",
    "spread": "Over the checkpoints of a variant",
}


def evaluate_model(
    variants: Sequence[Variant],
    bags: Sequence[Bag],
    out: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Row]:
    """Judge variants on bags; write table.json, places.png and a contact sheet of each variant.

    Args:
        variants: see variants_of.
        bags: with ground truth, of whatever kind.
        out: folder, made if missing.
        progress: called with (frames done, frames in all).

    Raises:
        BagError: if a bag cannot be read.
        CheckpointError: if a checkpoint cannot be loaded.
        ValueError: if there is no bag.
    """
    if not bags:
        raise ValueError("there is nothing to watch: name scenarios or a recording")
    out.mkdir(parents=True, exist_ok=True)
    watched = [_bags_for(variant, bags) for variant in variants]
    total, done = sum(images_of(bag) for chosen in watched for bag in chosen), 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    found: list[Row] = []
    curves = {}
    for number, (variant, chosen) in enumerate(zip(variants, watched, strict=True)):
        if not chosen:
            continue
        pipeline = variant.make(MAX_FEATURES)
        # Files of several runs may well have one name.
        checkpoint = str(pipeline.loaded.info.path or pipeline.model_name)
        runs: list[Run] = []
        try:
            for bag in chosen:  # one by one: what is there is there, should a later one fail
                run = watch(pipeline, bag, baselines=number == 0, progress=step)
                runs.append(run)
        finally:
            if runs:
                found += _rows(runs, variant, checkpoint)
                found += rows.baseline_rows(runs) if number == 0 else []
                write_table(SUITE, found, out)
        queries = [query for run in runs for query in run.queries]
        if any(query.revisit for query in queries):
            curves[f"{variant.name} ({'/'.join(Path(checkpoint).parts[-2:])})"] = queries
        sheet = [picture for run in runs for picture in run.pictures]
        write_sheet(sheet, out / f"sheet_{number}_{variant.name}.jpg")
    if curves:
        draw_precision_recall(curves, out / "places.png")
    found += rows.spread_rows(found)
    write_table(SUITE, found, out)
    return found


def _rows(runs: Sequence[Run], variant: Variant, checkpoint: str) -> list[Row]:
    about: rows.About = {"variant": variant.name, "checkpoint": checkpoint}
    found = rows.perception_rows(runs, about)
    found += rows.hidden_rows(runs, about)
    long = [run for run in runs if run.bag.scenario == STREAMING]
    found += rows.streaming_rows(long, about)
    if variant.name != FULL_RESET:
        found += rows.matching_rows(runs, about)
    return found


def _bags_for(variant: Variant, bags: Sequence[Bag]) -> list[Bag]:
    """Return what a variant is judged on; what its probes forget shows in objects alone."""
    return [bag for bag in bags if variant.name != FULL_RESET or has_objects(bag)]
