# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training in one process, or in the several that torchrun starts (one to a GPU or CPU core)."""

import os
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.distributed as dist

from pervformer_ros.training.loop import TrainConfig, Trainer


def train(
    config: TrainConfig, report: Callable[[int, int, dict[str, float]], None] = lambda *_: None
) -> Trainer:
    """Train to the end, or go on where the folder's run was stopped.

    Args:
        config: of the run.
        report: called now and then with (round, rounds, losses), in the first process alone.
    """
    if "WORLD_SIZE" not in os.environ:
        return _run(config, report)
    if config.device.startswith("cuda"):
        local = int(os.environ["LOCAL_RANK"])
        torch.cuda.set_device(local)
        config = replace(config, device=f"cuda:{local}")
    dist.init_process_group("nccl" if config.device.startswith("cuda") else "gloo")
    try:
        return _run(config, report if dist.get_rank() == 0 else lambda *_: None)
    finally:
        dist.destroy_process_group()


def _run(config: TrainConfig, report: Callable[[int, int, dict[str, float]], None]) -> Trainer:
    trainer = Trainer(config)
    trainer.run(report)
    return trainer
