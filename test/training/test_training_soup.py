# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Weights between two checkpoints."""

from pathlib import Path

import pytest
import torch

from pervformer_ros.model import create_model, load_model, save_model
from pervformer_ros.training.soup import average


def saved(path: Path, seed: int, name: str = "tiny") -> Path:
    torch.manual_seed(seed)
    save_model(path, create_model(name), trained=True, card={"seed": seed})
    return path


def test_every_weight_lies_on_the_line_between_both(tmp_path: Path) -> None:
    first, second = saved(tmp_path / "a.safetensors", 1), saved(tmp_path / "b.safetensors", 2)
    average(first, second, 0.25, tmp_path / "mean.safetensors")
    mean = load_model(tmp_path / "mean.safetensors")
    a, b = (load_model(path).model.state_dict() for path in (first, second))
    for name, value in mean.model.state_dict().items():
        torch.testing.assert_close(value, 0.75 * a[name] + 0.25 * b[name])
    assert mean.info.trained
    assert mean.info.card["share_of_second"] == 0.25
    assert [card["seed"] for card in mean.info.card["average_of"]] == [1, 2]


def test_the_mean_goes_on_at_the_size_that_both_were_trained_at(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for path, shrink in zip(paths, (2, 2, 1), strict=True):
        card = {"training": {"shrink": shrink}}
        save_model(path, create_model("tiny"), trained=True, card=card)
    average(paths[0], paths[1], 0.5, tmp_path / "mean.safetensors")
    assert load_model(tmp_path / "mean.safetensors").info.card["training"]["shrink"] == 2
    with pytest.raises(ValueError, match="of different sizes"):
        average(paths[0], paths[2], 0.5, tmp_path / "other.safetensors")


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    first = saved(tmp_path / "a.safetensors", 1)
    other = tmp_path / "b.safetensors"
    save_model(other, create_model("tiny", probes=3), trained=True)
    with pytest.raises(ValueError, match="different configurations"):
        average(first, other, 0.5, tmp_path / "mean.safetensors")
    with pytest.raises(ValueError, match="from 0 to 1"):
        average(first, first, 1.5, tmp_path / "mean.safetensors")
    assert not (tmp_path / "mean.safetensors").exists()
