# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Processes prepare the streams that a run learns from, which are kept and drawn from."""

import math
import tempfile
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from pervformer_ros.model import load_model
from pervformer_ros.model.config import create_config
from pervformer_ros.training.loop import TrainConfig, Trainer
from pervformer_ros.training.streams import each
from pervformer_ros.training.workers import StreamPlan, echoed_batches, pack, unpack

WINDOW = (64, 96)


def plan(shards: Path, probes: int = 4, **changes: object) -> StreamPlan:
    config = create_config("small", probes=probes)
    return StreamPlan(shards, [3, 0], 4, 2, WINDOW, config, **changes)  # type: ignore[arg-type]


def tensors(batch: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    each(found.append, batch)
    return found


def test_a_batch_is_made_of_streams_that_a_worker_prepared(shards: Path) -> None:
    wanted = plan(shards)
    made = list(islice(wanted.streams(0), 4))
    batches = list(echoed_batches(wanted, 0, 1, 2, 1, 2, "cpu"))
    assert [(number, index) for number, index, _ in batches] == [(0, 0), (0, 1)]
    for _, index, batch in batches:
        for row in range(2):
            mine = each(lambda x, row=row: x[row], batch)
            theirs = [each(lambda x, i=index: unpack(pack(x))[i], stream) for stream in made]
            assert any(
                all(torch.equal(a, b) for a, b in zip(tensors(mine), tensors(other), strict=True))
                for other in theirs
            )


def test_what_is_kept_in_16_bits_is_what_a_camera_can_tell(shards: Path) -> None:
    stream = next(plan(shards).streams(0))
    packed = each(pack, stream)
    assert packed.rgb.dtype == packed.inverse_depth.dtype == torch.float16
    for name, before, after in zip(stream._fields, stream, each(unpack, packed), strict=True):
        for x, y in zip(tensors(before), tensors(after), strict=True):
            assert x.dtype == y.dtype, name
            torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-6)


def test_numbers_that_need_more_than_16_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        pack(torch.full((1, 5000), 40_000))


def test_a_run_learns_from_what_workers_prepare(shards: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        shards, tmp_path, window=WINDOW, rounds=5, streams=2, segment=8, chunk=4, bf16=False,
        variant="no_probes", workers=2, kept=4,
    )  # fmt: skip
    found: list[dict[str, float]] = []
    Trainer(config).run(lambda done, total, losses: found.append(losses))
    assert len(found) == 1
    assert all(math.isfinite(value) for value in found[0].values())
    assert load_model(tmp_path / "model.safetensors").info.trained


def test_no_file_of_a_stream_stays(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    coming = echoed_batches(plan(shards), 0, 3, 2, 1, 2, "cpu")
    next(coming)
    assert list(tmp_path.iterdir())
    coming.close()  # type: ignore[attr-defined]
    assert not list(tmp_path.iterdir())


def test_what_a_worker_cannot_do_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"sim\.shards"):
        next(echoed_batches(plan(tmp_path), 0, 1, 2, 1, 2, "cpu"))


def test_a_run_that_goes_on_learns_other_streams(shards: Path) -> None:
    first, again, later = (
        next(replace(plan(shards), seed=seed).streams(0)) for seed in ([3, 0], [3, 0], [3, 1])
    )
    assert torch.equal(first.rgb, again.rgb)
    assert not torch.equal(first.rgb, later.rgb)
