# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""TRecViT's own numbers, from TRecViT's own checkpoints."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pervformer_ros.model import CheckpointError, PervFormer, VideoInput, load_trecvit

SIZE = (48, 32)
TOLERANCE = 1e-5
Weights = dict[str, NDArray[np.float32]]


def clip_of(video: NDArray[np.float32], model: PervFormer) -> VideoInput:
    rgb = torch.from_numpy(video).permute(0, 1, 4, 2, 3)
    axes, probes = rgb.shape[:2], model.config.probes
    nothing = torch.zeros(*axes, 1, *rgb.shape[-2:])
    never = torch.zeros(*axes, probes, dtype=torch.bool)
    return VideoInput(
        rgb=rgb,
        inverse_depth=nothing,
        depth_valid=nothing,
        dt=torch.full(axes, model.config.dt_ref),
        reset=torch.zeros(axes, dtype=torch.bool),
        birth=never,
        birth_box=torch.zeros(*axes, probes, 4),
        release=never,
    )


@torch.inference_mode()
def test_one_call_computes_what_trecvit_does(trecvit_fixture: Path) -> None:
    expected = np.load(trecvit_fixture / "io.npz")
    model = load_trecvit(trecvit_fixture / "weights.npz", SIZE)
    encoded, _ = model.encode(clip_of(expected["video"], model), model.init_state())
    assert abs(encoded.tokens.numpy() - expected["tokens"]).max() <= TOLERANCE
    assert abs(encoded.features.numpy() - expected["encoded"]).max() <= TOLERANCE


@torch.inference_mode()
def test_frame_by_frame_it_computes_the_same(trecvit_fixture: Path) -> None:
    expected = np.load(trecvit_fixture / "io.npz")
    model = load_trecvit(trecvit_fixture / "weights.npz", SIZE)
    clip, state = clip_of(expected["video"], model), model.init_state()
    for t in range(clip.dt.shape[1]):
        encoded, state = model.encode_step(clip.at(t), state)
        assert abs(encoded.tokens.numpy() - expected["tokens"][:, t]).max() <= TOLERANCE
        assert abs(encoded.features.numpy() - expected["encoded"][:, t]).max() <= TOLERANCE


@torch.inference_mode()
def test_probes_are_added_beside_its_weights(trecvit_fixture: Path) -> None:
    expected = np.load(trecvit_fixture / "io.npz")
    plain = load_trecvit(trecvit_fixture / "weights.npz", SIZE)
    probed = load_trecvit(trecvit_fixture / "weights.npz", SIZE, probes=5)
    assert probed.config.tokens == plain.config.tokens + 5
    for name, x in plain.state_dict().items():
        if name.startswith(("blocks", "norm", "position", "class_token", "stem.embedding")):
            assert torch.equal(x, probed.state_dict()[name])
    encoded, _ = probed.encode(clip_of(expected["video"], probed), probed.init_state())
    assert abs(encoded.tokens[:, :, :7].numpy() - expected["tokens"]).max() <= TOLERANCE


def test_all_is_inferred_from_the_file(trecvit_fixture: Path) -> None:
    config = load_trecvit(trecvit_fixture / "weights.npz", SIZE).config
    assert (config.width, config.depth, config.heads, config.mlp_dim) == (48, 2, 4, 96)
    assert (config.lru_width, config.conv_width, config.class_token) == (96, 4, True)


def _drop(weights: Weights) -> None:
    del weights["encoder/residualblock_01/recurrent_block/rg_lru/a_gate/w"]


def _add(weights: Weights) -> None:
    weights["encoder/residualblock_01/mlp_block/ffw_up/w"] = np.zeros(3, np.float32)


def _shrink(weights: Weights) -> None:
    weights["encoder/residualblock_01/recurrent_block/rg_lru/a_gate/w"] = np.zeros((4, 2, 2))


def _other_patches(weights: Weights) -> None:
    weights["tokenizer/embedding/kernel"] = np.zeros((1, 8, 8, 3, 48), np.float32)


def _clear(weights: Weights) -> None:
    weights.clear()
    weights["weight"] = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_drop, "not a TRecViT checkpoint that fits .*a_gate/w"),
        (_add, "weights that TRecViT has not, such as .*mlp_block"),
        (_shrink, r"gives blocks.1.time.rg_lru.a_gate.w the shape \(4, 2, 2\)"),
        (_other_patches, "patches are"),
        (_clear, "not a TRecViT checkpoint that fits"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    trecvit_fixture: Path, tmp_path: Path, spoil: Callable[[Weights], None], message: str
) -> None:
    weights = dict(np.load(trecvit_fixture / "weights.npz"))
    spoil(weights)
    path = tmp_path / "spoilt.npz"
    np.savez(path, **weights)
    with pytest.raises(CheckpointError, match=message):
        load_trecvit(path, SIZE)


def test_an_image_that_is_not_square_must_be_given(trecvit_fixture: Path) -> None:
    with pytest.raises(CheckpointError, match="32x32 pixels are not its 6 patches"):
        load_trecvit(trecvit_fixture / "weights.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and then nothing", b"\x93NUMPY"])
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"broken or not an \.npz file"):
        load_trecvit(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no file"):
        load_trecvit(tmp_path / "none.npz")
