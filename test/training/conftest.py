# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pervformer_ros.sim.shards import make_shards, plan
from pervformer_ros.training.recording import Recording


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two seconds of people behind pallets, and of a forklift ahead."""
    folder = tmp_path_factory.mktemp("shards")
    make_shards(plan(["occlusion", "busy_aisle"], [4], 2.0), folder)
    return folder


@pytest.fixture(scope="session")
def recordings(shards: Path) -> list[Recording]:
    return [Recording(path) for path in sorted(shards.glob("*.npz"))]
