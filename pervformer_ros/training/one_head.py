# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One head learned alone, all else of the weights as it is: what such commands share."""

import argparse
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor, nn

from pervformer_ros.model import PervFormer, load_model, save_model
from pervformer_ros.training.recording import Recording, shards_in

Seen = TypeVar("Seen")
# Called with steps done and how it goes, in words.
Report = Callable[[int, str], None]
LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM = 2e-3, 0.05, 5.0
WARM_UP, AVERAGE = 50, 0.995


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


def descend(
    head: nn.Module,
    steps: int,
    loss: Callable[[], Tensor],
    report: Callable[[int, float], None],
) -> None:
    """Train a head; in the end it has the running average of its weights.

    Args:
        head: some layers.
        steps: of the optimiser.
        loss: works out the loss of the next batch.
        report: called with steps done and the loss.
    """
    optimiser = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    average = [p.detach().clone() for p in head.parameters()]
    head.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            warm = min(1.0, (step + 1) / WARM_UP)
            group["lr"] = LEARNING_RATE * warm * 0.5 * (1 + np.cos(np.pi * step / steps))
        value = loss()
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(head.parameters(), CLIP_NORM)
        optimiser.step()
        decay = min(AVERAGE, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, p in zip(average, head.parameters(), strict=True):
                mean.lerp_(p, 1 - decay)
        report(step + 1, value.item())
    with torch.no_grad():
        for mean, p in zip(average, head.parameters(), strict=True):
            p.copy_(mean)
    head.eval()
