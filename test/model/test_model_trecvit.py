# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""TRecViT's own numbers, from TRecViT's own checkpoints."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pervformer_ros.model import (
    CheckpointError,
    PervFormer,
    VideoInput,
    import_trecvit,
    load_model,
    load_trecvit,
    read_card,
)

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
        camera=torch.ones(*axes, 4),
        ego=torch.zeros(*axes, 3, 4),
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


def random_weights(width: int, depth: int, heads: int, lru: int, mlp: int, patches: int) -> Weights:
    """Return what a TRecViT of any shape would be saved as, without a class token."""
    shapes: dict[str, tuple[int, ...]] = {
        "tokenizer/embedding/kernel": (1, 16, 16, 3, width),
        "tokenizer/embedding/bias": (width,),
        "tokenizer/pos_embedding": (1, patches, width),
        "encoder/encoder_norm/scale": (width,),
        "encoder/encoder_norm/bias": (width,),
        "decoder/cls_head/bias": (400,),
    }
    for index in range(depth):
        time = f"encoder/residualblock_{index:02d}"
        shapes[f"{time}/temporal_pre_norm/scale"] = (width,)
        time += "/recurrent_block"
        for name, (inputs, outputs) in {
            "linear_x": (width, lru),
            "linear_y": (width, lru),
            "linear_out": (lru, width),
        }.items():
            shapes[f"{time}/{name}/kernel"] = (inputs, outputs)
            shapes[f"{time}/{name}/bias"] = (outputs,)
        shapes[f"{time}/conv_1d/w"] = (4, lru)
        shapes[f"{time}/conv_1d/b"] = shapes[f"{time}/rg_lru/a_param"] = (lru,)
        for gate in ("a_gate", "input_gate"):
            shapes[f"{time}/rg_lru/{gate}/w"] = (heads, lru // heads, lru // heads)
            shapes[f"{time}/rg_lru/{gate}/b"] = (heads, lru // heads)
        space = f"encoder/encoderblock_{index}"
        for norm in ("LayerNorm_0", "LayerNorm_1"):
            shapes[f"{space}/{norm}/scale"] = shapes[f"{space}/{norm}/bias"] = (width,)
        attention = f"{space}/MultiHeadDotProductAttention_0"
        for part in ("query", "key", "value"):
            shapes[f"{attention}/{part}/kernel"] = (width, heads, width // heads)
            shapes[f"{attention}/{part}/bias"] = (heads, width // heads)
        shapes[f"{attention}/out/kernel"] = (heads, width // heads, width)
        shapes[f"{attention}/out/bias"] = (width,)
        for name, inputs, outputs in (("Dense_0", width, mlp), ("Dense_1", mlp, width)):
            shapes[f"{space}/MlpBlock_0/{name}/kernel"] = (inputs, outputs)
            shapes[f"{space}/MlpBlock_0/{name}/bias"] = (outputs,)
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("width", "depth", "heads", "lru", "mlp"),
    [(24, 1, 2, 48, 96), (32, 11, 4, 32, 40), (48, 3, 1, 144, 96)],
)
def test_any_width_and_depth_is_loaded(
    tmp_path: Path, width: int, depth: int, heads: int, lru: int, mlp: int
) -> None:
    weights = random_weights(width, depth, heads, lru, mlp, patches=9)
    np.savez(tmp_path / "any.npz", **weights)  # type: ignore[arg-type]
    model = load_trecvit(tmp_path / "any.npz")
    config = model.config
    assert (config.width, config.depth, config.heads, config.mlp_dim) == (width, depth, heads, mlp)
    assert (config.lru_width, config.image_size, config.class_token) == (lru, (48, 48), False)
    last = weights[f"encoder/residualblock_{depth - 1:02d}/recurrent_block/rg_lru/a_param"]
    assert (model.state_dict()[f"blocks.{depth - 1}.time.rg_lru.a_param"].numpy() == last).all()


@torch.inference_mode()
def test_an_import_is_a_checkpoint_that_says_where_it_is_from(
    trecvit_fixture: Path, tmp_path: Path
) -> None:
    expected = np.load(trecvit_fixture / "io.npz")
    out = tmp_path / "made" / "official.safetensors"
    import_trecvit(trecvit_fixture / "weights.npz", out, SIZE, probes=3)
    loaded = load_model(out)
    assert not loaded.info.trained
    model = loaded.model
    encoded, _ = model.encode(clip_of(expected["video"], model), model.init_state())
    assert abs(encoded.tokens[:, :, :7].numpy() - expected["tokens"]).max() <= TOLERANCE
    card = read_card(out)
    assert card["source"]["file"] == "weights.npz"
    assert "google-deepmind/trecvit" in card["source"]["project"]
    assert card["heads"] == "untrained"
    assert card["trained"] is False


def test_an_import_is_the_same_every_time(trecvit_fixture: Path, tmp_path: Path) -> None:
    outs = [tmp_path / name for name in ("one.safetensors", "two.safetensors")]
    for out in outs:
        torch.rand(1)  # the random heads do not come from this
        import_trecvit(trecvit_fixture / "weights.npz", out, SIZE, probes=2)
    one, two = (load_model(out).model.state_dict() for out in outs)
    assert all(torch.equal(one[name], two[name]) for name in one)


def _drop(weights: Weights) -> None:
    del weights["encoder/residualblock_01/recurrent_block/rg_lru/a_gate/w"]


def _add(weights: Weights) -> None:
    weights["encoder/residualblock_01/mlp_block/ffw_up/w"] = np.zeros(3, np.float32)


def _shrink(weights: Weights) -> None:
    weights["encoder/residualblock_01/recurrent_block/rg_lru/a_gate/w"] = np.zeros((4, 2, 2))


def _flatten(weights: Weights) -> None:
    weights["encoder/encoderblock_0/MlpBlock_0/Dense_0/kernel"] = np.zeros(5, np.float32)


def _square(weights: Weights) -> None:
    weights["tokenizer/embedding/bias"] = np.zeros((7, 7), np.float32)


def _name_weights(weights: Weights) -> None:
    weights["tokenizer/cls"] = np.array(["a name"])  # type: ignore[assignment]


def _other_patches(weights: Weights) -> None:
    weights["tokenizer/embedding/kernel"] = np.zeros((1, 8, 8, 3, 48), np.float32)


def _clear(weights: Weights) -> None:
    weights.clear()
    weights["weight"] = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_drop, "fits: it has no encoder/residualblock_01/recurrent_block/rg_lru/a_gate/w"),
        (_add, "weights that TRecViT has not, such as .*mlp_block"),
        (_shrink, r"gives blocks.1.time.rg_lru.a_gate.w the shape \(4, 2, 2\)"),
        (_other_patches, "patches are"),
        (_clear, "fits: it has no tokenizer/embedding/kernel"),
        (_flatten, "not a TRecViT checkpoint that fits .*invalid for input of size 5"),
        (_square, r"gives stem.embedding.bias the shape \(7, 7\)"),
        (_name_weights, "could not convert string"),
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
