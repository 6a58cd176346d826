# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Models and clips that the tests of the model share."""

from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pervformer_ros.model import MemoryState, Percept, PervFormer, VideoInput, create_model


@cache
def stirred_model(name: str, **overrides: Any) -> PervFormer:
    """Return a model none of whose parameters is zero, so that no path through it is idle."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create_model(name, **overrides)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.02 * torch.randn(parameter.shape)
    return model.eval()


def random_clip(
    model: PervFormer, batch: int, frames: int, seed: int = 0, events: float = 0.15
) -> VideoInput:
    """Return a clip of noise; each reset, birth and release happens with probability `events`."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(batch, frames, *shape, generator=generator)

    height, width = model.config.image_size
    probes = model.config.probes
    return VideoInput(
        rgb=uniform(3, height, width),
        inverse_depth=2.0 * uniform(1, height, width),
        depth_valid=(uniform(1, height, width) < 0.8).float(),
        camera=torch.tensor([0.8 * width, 0.8 * width, width / 2, height / 2])
        * (0.9 + 0.2 * uniform(4)),
        ego=torch.eye(3, 4) + 0.02 * (uniform(3, 4) - 0.5),
        dt=0.3 * uniform(),
        reset=uniform() < events,
        birth=uniform(probes) < events,
        birth_box=uniform(probes, 4),
        release=uniform(probes) < events,
    )


@torch.inference_mode()
def run_clip(
    model: PervFormer, clip: VideoInput, state: MemoryState | None = None
) -> tuple[Percept, MemoryState]:
    """Run a clip in one call."""
    return model(clip, state or model.init_state(len(clip.dt)))


@torch.inference_mode()
def run_in_calls(
    model: PervFormer, clip: VideoInput, stops: Iterable[int]
) -> tuple[Percept, MemoryState]:
    """Run a clip in as many calls as there are stops, the last of which is its length."""
    state = model.init_state(len(clip.dt))
    percepts, start = [], 0
    for stop in stops:
        percept, state = model(clip.between(start, stop), state)
        percepts.append(percept)
        start = stop
    return Percept(*(torch.cat(x, dim=1) for x in zip(*percepts, strict=True))), state


@torch.inference_mode()
def run_by_frames(
    model: PervFormer, clip: VideoInput, state: MemoryState | None = None
) -> tuple[Percept, MemoryState]:
    """Run a clip frame by frame."""
    state = state or model.init_state(len(clip.dt))
    percepts = []
    for t in range(clip.dt.shape[1]):
        percept, state = model.step(clip.at(t), state)
        percepts.append(percept)
    return Percept(*(torch.stack(x, dim=1) for x in zip(*percepts, strict=True))), state


def largest_difference(a: Iterable[Tensor], b: Iterable[Tensor]) -> float:
    """Return max |a - b| over all tensors of two percepts or states."""
    worst = 0.0
    for x, y in zip(a, b, strict=True):
        assert x.shape == y.shape
        assert x.dtype == y.dtype
        if x.numel():
            worst = max(worst, float((x.double() - y.double()).abs().max()))
    return worst
