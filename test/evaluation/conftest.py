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
from pervformer_ros.worker import LatestWorker

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


class Time:
    """A clock that only goes on when somebody sleeps."""

    def __init__(self):
        self.now = 100.0
        self.slept = []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Playing at the recorded pace without waiting: every frame is worked on before the next."""
    time = Time()

    class PatientWorker(LatestWorker):
        def offer(self, item):
            self.drain()
            super().offer(item)

    monkeypatch.setattr("pervformer_ros.evaluation.pace.time", time)
    monkeypatch.setattr("pervformer_ros.evaluation.pace.LatestWorker", PatientWorker)
    return time
