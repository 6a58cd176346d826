# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A run learns, can be stopped and go on, and is the same for the same seed."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pervformer_ros.model import create_model, load_model
from pervformer_ros.training.learner import Learner
from pervformer_ros.training.loop import TrainConfig, Trainer, rescale_boxes
from pervformer_ros.training.streams import batches

WINDOW = (64, 96)
LEARNED_ALONE = "heads.points.", "heads.boxes.", "heads.identity.", "heads.place."


def config(shards: Path, out: Path, **changes: object) -> TrainConfig:
    small = TrainConfig(
        shards, out, variant="no_probes", window=WINDOW, rounds=2, streams=2, segment=8, chunk=4,
        bf16=False,
    )  # fmt: skip
    return replace(small, **changes)  # type: ignore[arg-type]


def run(config: TrainConfig) -> list[dict[str, float]]:
    found: list[dict[str, float]] = []
    Trainer(config).run(lambda done, total, losses: found.append(losses))
    return found


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_model(out / "model.safetensors").model.state_dict()


def test_a_stopped_run_goes_on_as_if_it_had_not(shards: Path, tmp_path: Path) -> None:
    run(config(shards, tmp_path / "whole"))
    run(config(shards, tmp_path / "parts"))
    first = weights(tmp_path / "whole")
    for name, tensor in weights(tmp_path / "parts").items():
        assert torch.equal(tensor, first[name]), name
    # One round of two, with the schedule of two.
    trainer = Trainer(config(shards, tmp_path / "stopped"))
    trainer._save = lambda save=trainer._save: (save(), _stop())  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.run(lambda *_: None)
    run(config(shards, tmp_path / "stopped"))
    for name, tensor in weights(tmp_path / "stopped").items():
        torch.testing.assert_close(tensor, first[name], rtol=0, atol=1e-6)


def _stop() -> None:
    raise KeyboardInterrupt


def test_a_run_goes_on_only_as_it_began(shards: Path, tmp_path: Path) -> None:
    run(config(shards, tmp_path, rounds=1))
    with pytest.raises(ValueError, match="begun with variant no_probes: use another --out"):
        Trainer(config(shards, tmp_path, variant="per_frame"))
    assert Trainer(config(shards, tmp_path, rounds=3, learning_rate=1e-4)).round == 1
    (tmp_path / "run.pt").write_bytes(b"no run")
    with pytest.raises(ValueError, match="damaged"):
        Trainer(config(shards, tmp_path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"segment": 6}, "no whole number of chunks"),
        ({"hours": 0.0}, "no time to train"),
        ({"device": "gpu"}, "device 'gpu' cannot be used"),
        ({"graphs": True}, "CUDA graphs need a GPU, and device is 'cpu'"),
    ],
)
def test_what_cannot_be_run_is_refused_in_words(
    shards: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        config(shards, tmp_path, **changes)


def test_losses_fall(shards: Path, tmp_path: Path) -> None:
    seen = {"window": (224, 320), "shrink": 2}
    found = run(config(shards, tmp_path, rounds=40, learning_rate=2e-3, **seen))
    assert len(found) == 8
    heads = ("motion", "box", "mask")
    first, last = (sum(x[name] for x in part for name in heads) for part in (found[:2], found[-2:]))
    assert last < 0.8 * first


def test_points_are_learned_alone_and_all_else_stays(shards: Path, tmp_path: Path) -> None:
    found = run(config(shards, tmp_path, rounds=80, learning_rate=4e-3, only_points=True))
    assert set(found[0]) == {"keypoint", "descriptor", "norm", "rate"}
    quarter = len(found) // 4  # single rows differ by how far apart their pairs of frames are
    for name in ("keypoint", "descriptor"):
        early, late = (np.mean([row[name] for row in rows]) for rows in
                       (found[:quarter], found[-quarter:]))  # fmt: skip
        assert late < 0.9 * early, name
    torch.manual_seed(0)
    first = create_model("small", probes=0).state_dict()
    for name, tensor in weights(tmp_path).items():
        assert name.startswith("heads.points.") != torch.equal(tensor, first[name]), name


def test_points_are_matched_between_different_frames(shards: Path) -> None:
    model = create_model("small", probes=0)
    for frames, distinct in ((2, 1), (4, 6), (8, 6)):
        _, _, batch = next(
            batches(shards, 0, 0, 1, 2, frames, frames, WINDOW, model.config, points=True)
        )
        for stream in batch.points.pairs.tolist():
            assert len({tuple(pair) for pair in stream}) == distinct
            assert all(0 <= before < after < frames for before, after in stream)


def test_a_window_as_large_as_the_image_sees_the_same(shards: Path) -> None:
    model = create_model("small", probes=8).eval()
    learner = Learner(model, (240, 320))
    source = batches(shards, 0, 0, 1, 1, 3, 3, (240, 320), model.config)
    _, _, batch = next(source)
    with torch.no_grad():
        percept, state = learner(batch, learner.init_state(1))
        expected, after = model(learner.clip(batch), model.init_state(1))
    for x, y in zip((*percept, *state), (*expected, *after), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


def test_all_losses_of_the_full_model_are_finite_and_reach_its_weights(shards: Path) -> None:
    model = create_model("small")
    learner = Learner(model, (240, 320))
    _, _, batch = next(batches(shards, 1, 0, 1, 2, 4, 4, (240, 320), model.config))
    percept, _ = learner(batch, learner.init_state(2))
    losses = learner.losses(batch, percept)
    assert len(losses) == 12
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in model.named_parameters():
        if name.startswith(LEARNED_ALONE):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


def test_boxes_grow_with_the_image() -> None:
    model = create_model("tiny")
    before = model.heads.patches(torch.zeros(1, 24, 48), torch.zeros(1, 24, 8, 12))[0]["box"]
    rescale_boxes(model, 2.0)
    after = model.heads.patches(torch.zeros(1, 24, 48), torch.zeros(1, 24, 8, 12))[0]["box"]
    torch.testing.assert_close(after, 2 * before)


def test_shards_of_another_size_are_refused(shards: Path) -> None:
    tiny = create_model("tiny")
    with pytest.raises(ValueError, match="as the model's are"):
        next(batches(shards, 0, 0, 1, 1, 2, 2, WINDOW, tiny.config))


def test_no_shards_are_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"sim\.shards"):
        run(config(tmp_path, tmp_path / "out"))


def test_two_processes_share_one_run(shards: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "pervformer_ros.cli", "train", str(shards), "--out", str(tmp_path / "run"),
        "--variant", "no_probes", "--window", "64x96", "--rounds", "2", "--streams", "1",
        "--segment", "4", "--chunk", "4", "--no-bf16",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = load_model(tmp_path / "run" / "model.safetensors")
    assert loaded.info.trained
    assert loaded.info.card["processes"] == 2
