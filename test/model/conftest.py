# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

settings.register_profile("model", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("model")


@pytest.fixture(autouse=True)
def _one_thread_and_a_fixed_seed() -> Iterator[None]:
    """Small tensors gain nothing from threads, and lose much to a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def trecvit_fixture() -> Path:
    """Return the folder of numbers that the official TRecViT computed."""
    repository = Path(__file__).parents[2]
    data = Path(os.environ.get("PERVFORMER_TEST_DATA", repository.parent / "shared" / "data"))
    folder = data / "trecvit_fixture"
    if not (folder / "io.npz").is_file():
        pytest.skip(f"no TRecViT fixture at {folder}: point PERVFORMER_TEST_DATA at its parent")
    return folder
