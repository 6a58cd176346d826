# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from synthetic import Messages, Recipe, recording, write_bag

SHARED = Path(__file__).parents[2] / "shared" / "data"
DATA = Path(os.environ.get("PERVFORMER_TEST_DATA", SHARED))

settings.register_profile("pervformer", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("pervformer")


@pytest.fixture(scope="session")
def redkitchen_a() -> Path:
    """Return the real recording that is told of in its PROVENANCE.md."""
    bag = DATA / "redkitchen_a" / "redkitchen_a"
    if not bag.is_dir():
        pytest.skip(f"no recording {bag}: name the folder above in PERVFORMER_TEST_DATA")
    return bag


@pytest.fixture(scope="session")
def trecvit_fixture() -> Path:
    """Return the folder of numbers that the official TRecViT computed."""
    folder = DATA / "trecvit_fixture"
    if not (folder / "io.npz").is_file():
        pytest.skip(f"no TRecViT fixture at {folder}: point PERVFORMER_TEST_DATA at its parent")
    return folder


@pytest.fixture(scope="session")
def synthetic_bag(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return what writes a bag: `synthetic_bag(kind, change, **fields of Recipe)`.

    `change` takes the recorded (topic, stamp, message) and returns what is written in their place.
    """
    folder, numbers = tmp_path_factory.mktemp("bags"), itertools.count()

    def write(kind: str = "mcap", change: Callable[[list], list] = list, **recipe) -> Path:
        recorded = recording(Messages(ros1=kind == "ros1"), Recipe(**recipe))
        return write_bag(folder / f"bag_{next(numbers)}", kind, change(recorded))

    return write
