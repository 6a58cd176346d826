# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: what is written is read, and what cannot be used says why."""

import stat
from pathlib import Path

import pytest
import torch
from model_clips import largest_difference, random_clip, run_clip, stirred_model
from safetensors.torch import load_file, save_file

from pervformer_ros.model import (
    CheckpointError,
    create_config,
    create_model,
    load_model,
    save_model,
)
from pervformer_ros.model.checkpoint import FORMAT, FORMAT_VERSION


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_model(path, stirred_model("tiny"), trained=True, card={"frames": 7, "data": "noise"})
    return path


def rewrite(path: Path, metadata: dict[str, str], rename: str = "", reshape: str = "") -> None:
    """Write the checkpoint again with another header, or with one tensor spoilt."""
    good = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": create_config("tiny").to_json(),
        "trained": "true",
        "card": "{}",
    }
    tensors = load_file(path)
    if rename:
        tensors["stem.unheard_of"] = tensors.pop(rename)
    if reshape:
        tensors[reshape] = tensors[reshape][:1]
    save_file(tensors, path, {**good, **metadata})


def test_a_model_comes_back_as_it_was(checkpoint: Path) -> None:
    model = stirred_model("tiny")
    loaded = load_model(checkpoint)
    assert loaded.model.config == model.config
    assert loaded.info.trained
    assert loaded.info.name == "tiny"
    assert loaded.info.card == {"frames": 7, "data": "noise"}
    assert loaded.info.path == checkpoint
    assert not loaded.model.training
    clip = random_clip(model, 1, 3)
    assert largest_difference(run_clip(model, clip)[0], run_clip(loaded.model, clip)[0]) == 0.0


def test_half_the_precision_takes_half_the_space(checkpoint: Path, tmp_path: Path) -> None:
    model, path = stirred_model("tiny"), tmp_path / "half.safetensors"
    save_model(path, model, trained=True, half=True)
    assert path.stat().st_size < 0.7 * checkpoint.stat().st_size
    loaded = load_model(path).model.state_dict()
    for name, weight in model.state_dict().items():
        assert loaded[name].dtype == weight.dtype
        torch.testing.assert_close(loaded[name], weight, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("overrides", [{"probes": 0}, {"recurrence": False}, {"stem": "patch"}])
def test_a_variant_comes_back_as_that_variant(tmp_path: Path, overrides: dict[str, object]) -> None:
    path = tmp_path / "variant.safetensors"
    save_model(path, create_model("tiny", **overrides), trained=False)
    loaded = load_model(path)
    assert loaded.model.config == create_config("tiny", **overrides)
    assert not loaded.info.trained


def test_without_a_file_the_seed_decides() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (load_model(None, "tiny", seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.rand(1), expected)  # nobody else's random numbers are used up
    assert one.info.name == "tiny, untrained (seed 3)"
    assert not one.info.trained
    weights = [x.model.state_dict() for x in (one, same, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["position"], weights[2]["position"])


def test_a_missing_file_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .* give the path"):
        load_model(tmp_path / "none.safetensors")


@pytest.mark.parametrize("kept", [0, 7, 500, -1])
def test_a_truncated_file_says_to_get_it_again(checkpoint: Path, kept: int) -> None:
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[:kept])
    with pytest.raises(CheckpointError, match=r"broken .* get it again"):
        load_model(checkpoint)


def test_a_git_lfs_pointer_says_how_to_get_the_weights(checkpoint: Path) -> None:
    checkpoint.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(CheckpointError, match="git lfs pull"):
        load_model(checkpoint)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "another"}, "another program's weights"),
        ({"format_version": "999"}, f"version 999, this program reads {FORMAT_VERSION}"),
        ({"config": "{}"}, "header .* cannot be used"),
        ({"config": "not json"}, "header .* cannot be used"),
        ({"trained": "perhaps"}, "header .* cannot be used"),
        ({"config": create_config("tiny", width=96).to_json()}, "where its configuration needs"),
        ({"config": create_config("tiny", depth=3).to_json()}, "lacks blocks.2"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(
    checkpoint: Path, metadata: dict[str, str], message: str
) -> None:
    rewrite(checkpoint, metadata)
    with pytest.raises(CheckpointError, match=message):
        load_model(checkpoint)


def test_safetensors_of_another_program_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="another program's weights"):
        load_model(path)


def test_a_tensor_of_another_name_is_named(checkpoint: Path) -> None:
    rewrite(checkpoint, {}, rename="norm.weight")
    with pytest.raises(
        CheckpointError, match=r"lacks norm.weight and has stem.unheard_of too many"
    ):
        load_model(checkpoint)


def test_a_tensor_of_another_shape_is_named(checkpoint: Path) -> None:
    rewrite(checkpoint, {}, reshape="position")
    with pytest.raises(CheckpointError, match=r"position of shape \(1, 48\).*needs \(24, 48\)"):
        load_model(checkpoint)


def test_a_failed_save_leaves_the_old_file_and_no_other(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = checkpoint.read_bytes()

    def fail(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space"):
        save_model(checkpoint, create_model("tiny"), trained=False)
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_a_checkpoint_can_be_read_by_everyone(checkpoint: Path) -> None:
    assert stat.S_IMODE(checkpoint.stat().st_mode) == 0o644
