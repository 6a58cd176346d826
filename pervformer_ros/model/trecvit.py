# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Official TRecViT checkpoints (.npz) as PervFormers.

Names and layouts are those of https://github.com/google-deepmind/trecvit. The classifier
("decoder/...") has no place in a PervFormer and is left out.
"""

import datetime
from collections.abc import Iterator
from math import isqrt
from pathlib import Path
from typing import TypeAlias
from zipfile import BadZipFile, is_zipfile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pervformer_ros.files import digest
from pervformer_ros.model.card import write_card
from pervformer_ros.model.checkpoint import CheckpointError, save_model
from pervformer_ros.model.config import PATCH, PervFormerConfig, create_config
from pervformer_ros.model.pervformer import PervFormer

Arrays: TypeAlias = dict[str, NDArray[np.float32]]

SOURCE = "https://github.com/google-deepmind/trecvit"
_FIRST_TIME = "encoder/residualblock_00/recurrent_block"
_FIRST_SPACE = "encoder/encoderblock_0"
_DECODER = "decoder/"


def load_trecvit(
    path: Path | str, image_size: tuple[int, int] | None = None, probes: int = 0
) -> PervFormer:
    """Load an official TRecViT checkpoint of any width and depth.

    Args:
        path: the .npz file.
        image_size: height and width it was trained on; None where they are equal.
        probes: memory probes to add. With 0 the trunk computes what TRecViT does; probes and
            heads, which TRecViT lacks, start random, the depth embedding starts at zero.

    Raises:
        CheckpointError: if the file is missing, broken, or not a TRecViT checkpoint.
    """
    arrays = _read(Path(path))
    try:
        config = _infer_config(arrays, image_size, probes)
        model = PervFormer(config)
        converted = dict(_convert(arrays, config))
    except KeyError as error:
        raise CheckpointError(
            f"{path} is not a TRecViT checkpoint that fits: it has no {error.args[0]}; give an "
            "official .npz"
        ) from error
    except (IndexError, ValueError, RuntimeError) as error:  # an array of another shape
        raise CheckpointError(
            f"{path} is not a TRecViT checkpoint that fits ({error}): give an official .npz, and "
            "the image_size it was trained on"
        ) from error
    if arrays:
        raise CheckpointError(
            f"{path} has weights that TRecViT has not, such as {min(arrays)}: give an official .npz"
        )
    _copy(Path(path), converted, model)
    return model.eval()


def import_trecvit(
    path: Path | str,
    out: Path | str,
    image_size: tuple[int, int] | None = None,
    probes: int = 0,
    seed: int = 0,
) -> PervFormer:
    """Save an official TRecViT checkpoint as a PervFormer checkpoint, with its model card.

    The checkpoint counts as untrained: its trunk is TRecViT's, but what tells objects is random.

    Args:
        path: the .npz file.
        out: the .safetensors file to write; its card is written beside it.
        image_size: as in `load_trecvit`.
        probes: as in `load_trecvit`.
        seed: what probes and heads come from; the caller's random numbers are left as they are.

    Raises:
        CheckpointError: if the file is missing, broken, or not a TRecViT checkpoint.
    """
    path = Path(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = load_trecvit(path, image_size, probes)
    card = {
        "data": f"the trunk: as the official TRecViT checkpoint {path.name} of {SOURCE}; "
        "heads, probes and depth: none, they are untrained",
        "seeds": [seed],
        "steps": 0,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "source": {
            "project": SOURCE,
            "file": path.name,
            "sha256": digest(path),
        },
        "heads": "untrained",
    }
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    save_model(out, model, trained=False, card=card)
    write_card(out)
    return model


def _read(path: Path) -> Arrays:
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}: give the path of a TRecViT .npz")
    try:
        if not is_zipfile(path):
            raise BadZipFile("it is no zip archive")
        with np.load(path, allow_pickle=False) as file:
            return {
                name: file[name].astype(np.float32)
                for name in file.files
                if not name.startswith(_DECODER)
            }
    except (BadZipFile, OSError, ValueError, TypeError, EOFError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is broken or not an .npz file ({error}): download it again"
        ) from error


def _infer_config(
    arrays: Arrays, image_size: tuple[int, int] | None, probes: int
) -> PervFormerConfig:
    kernel = arrays["tokenizer/embedding/kernel"]
    if kernel.shape[:4] != (1, PATCH, PATCH, 3):
        raise ValueError(f"patches are {kernel.shape[:4]}, not (1, {PATCH}, {PATCH}, 3)")
    patches = arrays["tokenizer/pos_embedding"].shape[1]
    side = isqrt(patches) * PATCH
    image_size = image_size or (side, side)
    if image_size[0] * image_size[1] != patches * PATCH**2:
        raise ValueError(f"{image_size[0]}x{image_size[1]} pixels are not its {patches} patches")
    conv = arrays[f"{_FIRST_TIME}/conv_1d/w"]
    return create_config(
        "base",
        image_size=image_size,
        width=kernel.shape[4],
        depth=sum(name.endswith("/rg_lru/a_param") for name in arrays),
        heads=arrays[f"{_FIRST_SPACE}/MultiHeadDotProductAttention_0/query/bias"].shape[0],
        mlp_dim=arrays[f"{_FIRST_SPACE}/MlpBlock_0/Dense_0/bias"].shape[0],
        lru_width=conv.shape[1],
        conv_width=conv.shape[0],
        class_token="tokenizer/cls" in arrays,
        probes=probes,
    )


def _convert(arrays: Arrays, config: PervFormerConfig) -> Iterator[tuple[str, Tensor]]:
    """Take every array out of `arrays` and yield it as one of ours, by name."""

    def take(name: str) -> Tensor:
        return torch.from_numpy(arrays.pop(name))

    def kernel(name: str, inputs: int) -> Tensor:
        """Flax keeps (in..., out...), torch (out, in)."""
        return take(f"{name}/kernel").reshape(inputs, -1).T

    width = config.width
    patch = take("tokenizer/embedding/kernel")
    yield "stem.embedding.weight", patch[0].permute(3, 2, 0, 1)
    yield "stem.embedding.bias", take("tokenizer/embedding/bias")
    yield "position", take("tokenizer/pos_embedding")[0]
    if config.class_token:
        yield "class_token", take("tokenizer/cls")[0, 0]
    yield "norm.weight", take("encoder/encoder_norm/scale")
    yield "norm.bias", take("encoder/encoder_norm/bias")
    for index in range(config.depth):
        ours = f"blocks.{index}"
        theirs = f"encoder/residualblock_{index:02d}"
        yield f"{ours}.time_norm.scale", take(f"{theirs}/temporal_pre_norm/scale")
        theirs += "/recurrent_block"
        branches = [f"{theirs}/linear_{branch}" for branch in "xy"]
        yield f"{ours}.time.linear_in.weight", torch.cat([kernel(b, width) for b in branches])
        yield f"{ours}.time.linear_in.bias", torch.cat([take(f"{b}/bias") for b in branches])
        yield f"{ours}.time.conv.w", take(f"{theirs}/conv_1d/w")
        yield f"{ours}.time.conv.b", take(f"{theirs}/conv_1d/b")
        yield f"{ours}.time.rg_lru.a_param", take(f"{theirs}/rg_lru/a_param")
        for gate in ("a_gate", "input_gate"):
            yield f"{ours}.time.rg_lru.{gate}.w", take(f"{theirs}/rg_lru/{gate}/w")
            yield f"{ours}.time.rg_lru.{gate}.b", take(f"{theirs}/rg_lru/{gate}/b")
        out = f"{theirs}/linear_out"
        yield f"{ours}.time.linear_out.weight", kernel(out, config.lru_width)
        yield f"{ours}.time.linear_out.bias", take(f"{out}/bias")

        theirs = f"encoder/encoderblock_{index}"
        for norm, name in (("space_norm", "LayerNorm_0"), ("channel_norm", "LayerNorm_1")):
            yield f"{ours}.{norm}.weight", take(f"{theirs}/{name}/scale")
            yield f"{ours}.{norm}.bias", take(f"{theirs}/{name}/bias")
        attention = f"{theirs}/MultiHeadDotProductAttention_0"
        parts = [f"{attention}/{part}" for part in ("query", "key", "value")]
        yield f"{ours}.space.qkv.weight", torch.cat([kernel(p, width) for p in parts])
        yield f"{ours}.space.qkv.bias", torch.cat([take(f"{p}/bias").flatten() for p in parts])
        yield f"{ours}.space.out.weight", kernel(f"{attention}/out", width)
        yield f"{ours}.space.out.bias", take(f"{attention}/out/bias")
        for layer, name, inputs in (("up", "Dense_0", width), ("down", "Dense_1", config.mlp_dim)):
            dense = f"{theirs}/MlpBlock_0/{name}"
            yield f"{ours}.channels.{layer}.weight", kernel(dense, inputs)
            yield f"{ours}.channels.{layer}.bias", take(f"{dense}/bias")


def _copy(path: Path, converted: dict[str, Tensor], model: PervFormer) -> None:
    expected = model.state_dict()
    for name, tensor in converted.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{path} gives {name} the shape {tuple(tensor.shape)}, not "
                f"{tuple(expected[name].shape)}: give an official .npz"
            )
    model.load_state_dict(converted, strict=False)
