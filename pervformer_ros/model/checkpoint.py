# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Weights on disk: safetensors, with the configuration and the model's card in the header."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pervformer_ros.files import digest, write_whole
from pervformer_ros.model.config import PervFormerConfig
from pervformer_ros.model.pervformer import PervFormer, create_model

FORMAT = "pervformer"
FORMAT_VERSION = "6"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the text says what to do about it."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model is and where it comes from.

    name: for people, reports and status messages.
    trained: False where the weights are random.
    card: free facts about the training: data, seeds, figures.
    path: the checkpoint, or None.
    digest: SHA-256 of that file, or "": which weights these are, whatever they are called.
    """

    name: str
    trained: bool
    card: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    digest: str = ""

    @property
    def identity(self) -> str:
        """The name of these weights and of no others."""
        return f"{self.name} ({self.digest[:12]})" if self.digest else self.name


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to perceive, and what is known about it."""

    model: PervFormer
    info: ModelInfo


def load_model(path: Path | str | None, variant: str = "small", seed: int = 0) -> LoadedModel:
    """Load a checkpoint, or make an untrained model where there is none.

    Args:
        path: a file that `save_model` wrote, or None.
        variant: without a path, the size: "tiny", "small" or "base".
        seed: without a path, what the random weights come from; the caller's random numbers are
            left as they are.

    Raises:
        CheckpointError: if the file is missing, broken, from another program or version, or does
            not fit its own configuration.
        ValueError: if there is no such variant.
    """
    if path is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = create_model(variant)
        return LoadedModel(model.eval(), ModelInfo(f"{variant}, untrained (seed {seed})", False))
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"there is no checkpoint {path}: give the path of a .safetensors file of PervFormer's"
        )
    metadata, tensors = _read(path)
    try:
        config = PervFormerConfig.from_json(metadata["config"])
        trained = bool(json.loads(metadata["trained"]))
        card = dict(json.loads(metadata["card"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the header of {path} cannot be used ({error}): get the file again, or save the "
            "model with this version"
        ) from error
    model = PervFormer(config)
    _check_fit(path, tensors, model.state_dict())
    model.load_state_dict(tensors)
    return LoadedModel(model.eval(), ModelInfo(path.stem, trained, card, path, digest(path)))


def save_model(
    path: Path | str,
    model: PervFormer,
    *,
    trained: bool,
    card: Mapping[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Write a checkpoint; a file that was there stays whole until the new one is.

    Args:
        path: where to, `.safetensors` by convention.
        model: any PervFormer.
        trained: False for random weights.
        card: facts about the training that JSON can hold.
        half: store matrices and kernels in float16, which takes half the space.
    """
    path = Path(path)
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": model.config.to_json(),
        "trained": json.dumps(trained),
        "card": json.dumps(dict(card or {})),
    }
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if half:
        tensors = {name: t.half() if t.ndim > 1 else t for name, t in tensors.items()}
    write_whole(path, save(tensors, metadata))


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return a checkpoint's header and tensors.

    Raises:
        CheckpointError: if it is broken, or not a checkpoint of this format and version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            _check_format(path, metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is broken or not a safetensors file ({error}): get it again; with Git, "
            "`git lfs pull` where it is only a pointer"
        ) from error
    return metadata, tensors


def _check_format(path: Path, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} holds another program's weights: give a PervFormer checkpoint "
            "(`pervformer import-trecvit` makes one of TRecViT's own .npz)"
        )
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {version}, this program reads {FORMAT_VERSION}: use the "
            "release that wrote it, or train again"
        )


def _check_fit(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or extra:
        raise CheckpointError(
            f"{path} lacks {_some(missing)} and has {_some(extra)} too many: its weights do not "
            "fit its configuration; save the model again with `save_model`"
        )
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path} has {name} of shape {tuple(found[name].shape)} where its configuration "
                f"needs {tuple(tensor.shape)}; save the model again with `save_model`"
            )


def _some(names: list[str]) -> str:
    if not names:
        return "no tensor"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
