# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One head learned alone, all else of the weights as it is: what such commands share."""

import argparse
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TypeVar

from rich.progress import Progress

from pervformer_ros.model import PervFormer, load_model, save_model
from pervformer_ros.training.recording import Recording, shards_in

Seen = TypeVar("Seen")
# Called with steps done and how it goes, in words.
Report = Callable[[int, str], None]


def run_command(
    doc: str,
    folder: str,
    head: str,
    steps: int,
    look: Callable[[PervFormer, Recording], Seen],
    learn: Callable[[PervFormer, list[Seen], int, int, Report], dict[str, int]],
) -> None:
    """Look along all shards of a folder, learn, and write the weights and what the card says.

    Args:
        doc: its first line says what the command does.
        folder: what the shards are called.
        head: what is learned, as the card calls it.
        steps: unless the command line says how many.
        look: returns what is learned from along one shard.
        learn: called with the model, what was seen, steps, seed and who to report to; returns
            figures for the card.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("shards", metavar=folder, type=Path, help="folder of shards")
    parser.add_argument("--init", type=Path, required=True, help="weights to begin with")
    parser.add_argument("--out", type=Path, required=True, help="file for the weights")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--half", action="store_true", help="half the file: weights in float16")
    given = parser.parse_args()
    try:
        loaded, paths = load_model(given.init), shards_in(given.shards)
        seen: list[Seen] = []
        halls = set()
        with Progress() as bar:
            task = bar.add_task(folder, total=len(paths))
            for path in paths:
                recording = Recording(path)
                seen.append(look(loaded.model, recording))
                halls.add(recording.world)
                bar.advance(task)
            task = bar.add_task("learn", total=given.steps)

            def report(step: int, how: str) -> None:
                bar.update(task, completed=step, description=how)

            figures = learn(loaded.model, seen, given.steps, given.seed, report)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    learned = {
        "data": f"simulated warehouse, {len(paths)} {folder}",
        "seeds": f"{min(halls)} to {max(halls)}",
        **figures,
        "steps": given.steps,
        "seed": given.seed,
        "date": date.today().isoformat(),
    }
    card = {**loaded.info.card, head: learned}
    save_model(given.out, loaded.model, trained=loaded.info.trained, card=card, half=given.half)
