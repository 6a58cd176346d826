# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from synthetic import Messages, Recipe, recording, write_bag

from pervformer_ros.bags.reader import BagReader
from pervformer_ros.evaluation.replay import Replay, replay
from pervformer_ros.pipeline import PipelineConfig

TINY = PipelineConfig(checkpoint="untrained", model="tiny")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Small tensors gain nothing from threads, and lose much to a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def replayed() -> Callable[..., Replay]:
    """Return what replays a bag with a tiny model: `replayed(bag, realtime)`."""

    def run(bag: Path, realtime: bool = False, config: PipelineConfig = TINY) -> Replay:
        return replay(bag, BagReader(bag), config, realtime)

    return run


@pytest.fixture(scope="session")
def wall_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bag of 1.5 m along a wall, long enough for every figure."""
    folder = tmp_path_factory.mktemp("wall")
    return write_bag(folder / "wall", "mcap", recording(Messages(), Recipe(count=45)))
