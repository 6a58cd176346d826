# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the next frame costs: PervFormer against transformers that see their window again each time.

Same width, depth, attention heads, MLP, patches and precision (float32); weights are random, which
changes no cost. TimeSformer and VideoMAE are those of Hugging Face's transformers, without a head
on top, and each is given the best attention there is for it:

    videomae            over all tokens of the window, by torch's fused kernel
    timesformer         divided over space and time, as the library has it: step by step
    timesformer_fused   the same numbers by torch's fused kernel, which the library lacks

    pervformer          one step with every head
    pervformer_trunk    one step without them: what the others compute
    pervformer_perceive a camera's 640x480 image and depth to objects, keypoints and births

All take turns in every round, so that a machine that slows down does so for all; ratios are taken
within a round. Memory is what a call holds at its peak beyond weights and input images; that of
PervFormer includes the state before and after the frame. The others would also have to keep the
images of their window, which is not held against them.
"""

import importlib
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pervformer_ros.evaluation.stopwatch import matrix_rate, milliseconds, peak_bytes
from pervformer_ros.evaluation.table import Row
from pervformer_ros.model import (
    MemoryState,
    Perceiver,
    PervFormerConfig,
    ProbeUpdate,
    VideoInput,
    load_model,
    state_bytes,
)
from pervformer_ros.model.config import PATCH

CAMERA_IMAGE = (480, 640)
FRAME_S = 1 / 15
WARM_UP = 10
MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class SpeedPlan:
    """What to compare.

    windows: frames that the others look at.
    rounds: in each of them all take a turn; the median counts.
    frames: that PervFormer sees in its turn; the others see one window.
    """

    variant: str = "small"
    windows: tuple[int, ...] = (8, 32, 128)
    threads: int = 2
    rounds: int = 5
    frames: int = 50


QUICK = SpeedPlan(variant="tiny", windows=(2, 4), rounds=1, frames=3)


@dataclass(frozen=True, slots=True)
class Contestant:
    """Somebody who can take the next frame.

    about: what its row says of it.
    next_frame: takes one.
    count: frames it takes in its turn.
    carried: bytes it keeps from frame to frame, beside weights and images.
    """

    about: dict[str, str | int | None]
    next_frame: Callable[[], object]
    count: int = 1
    carried: int = 0


@torch.inference_mode()
def measure_speed(
    plan: SpeedPlan, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Row]:
    """Return a row for PervFormer with all heads, then for each that is compared with it.

    Rows have variant, window_frames, tokens, attention, ms_per_frame, activation_mb, frames_per_s;
    times_cost and times_memory, what it takes of PervFormer's; threads and matrix_gflop_per_s.

    Raises:
        ImportError: if transformers is not installed.
    """
    torch.set_num_threads(plan.threads)
    contestants = [*_pervformers(plan), *_windowed(plan)]
    total = len(contestants) * (1 + plan.rounds)
    memory: list[float] = []
    rates: list[float] = []
    times: list[list[float]] = []  # of each round
    for done, contestant in enumerate(contestants):  # this warms them up, too
        progress(done, total)
        milliseconds(contestant.next_frame, WARM_UP if contestant.count > 1 else 0)
        memory.append((peak_bytes(contestant.next_frame) + contestant.carried) / MEGABYTE)
    for number in range(1, plan.rounds + 1):
        rates.append(matrix_rate())
        times.append([])
        for done, contestant in enumerate(contestants, number * len(contestants)):
            progress(done, total)
            taken = milliseconds(contestant.next_frame, contestant.count)
            times[-1].append(statistics.median(taken))
    progress(total, total)
    machine = {"threads": plan.threads, "matrix_gflop_per_s": round(statistics.median(rates), 1)}
    return [
        {
            **contestant.about,
            "ms_per_frame": round(statistics.median(turns), 3),
            "activation_mb": round(megabytes, 3),
            "frames_per_s": round(1e3 / statistics.median(turns), 3),
            "times_cost": round(statistics.median(_ratios(turns, times)), 3),
            "times_memory": round(megabytes / memory[0], 3),
            **machine,
        }
        for contestant, megabytes, turns in zip(
            contestants, memory, zip(*times, strict=True), strict=True
        )
    ]


def _ratios(turns: tuple[float, ...], times: list[list[float]]) -> list[float]:
    """Return, round by round, how much longer than PervFormer's a turn took."""
    return [turn / round_[0] for turn, round_ in zip(turns, times, strict=True)]


# PervFormer --------------------------------------------------------------------------------------


def _pervformers(plan: SpeedPlan) -> Iterator[Contestant]:
    # Without a threshold everything is an object; but what is found by weights that were never
    # trained is not worth a second look (benchmarks/step_speed.py times that).
    perceiver = Perceiver(load_model(None, plan.variant).model, score_threshold=0.0)
    model = perceiver.model
    frame = still_frame(model.config)
    carried = state_bytes(model.init_state())
    about = {"window_frames": None, "tokens": model.config.tokens, "attention": "fused"}

    def streaming(
        step: Callable[[VideoInput, MemoryState], tuple[Any, MemoryState]],
    ) -> Callable[[], None]:
        state = model.init_state()

        def next_frame() -> None:
            nonlocal state
            _, state = step(frame, state)

        return next_frame

    for name, call in (
        ("pervformer", streaming(model.step)),
        ("pervformer_trunk", streaming(model.encode_step)),
        ("pervformer_perceive", perceiving(perceiver)),
    ):
        yield Contestant({"variant": name, **about}, call, plan.frames, carried)


def still_frame(config: PervFormerConfig) -> VideoInput:
    """Return one frame of noise for `PervFormer.step`, from a camera that stands still."""
    height, width = config.image_size
    births = ProbeUpdate.none(1, config.probes)
    return VideoInput(
        rgb=torch.rand(1, 3, height, width),
        inverse_depth=torch.rand(1, 1, height, width),
        depth_valid=torch.ones(1, 1, height, width),
        camera=torch.tensor([[0.8 * width, 0.8 * width, width / 2, height / 2]]),
        ego=torch.eye(3, 4)[None],
        dt=torch.full((1,), FRAME_S),
        reset=torch.zeros(1, dtype=torch.bool),
        birth=births.birth,
        birth_box=births.birth_box,
        release=births.release,
    )


def perceiving(perceiver: Perceiver) -> Callable[[], None]:
    """Return what perceives a camera's next image, and births and releases probes by it."""
    random = np.random.default_rng(0)
    height, width = CAMERA_IMAGE
    rgb = random.integers(0, 256, (height, width, 3), np.uint8)
    depth = random.uniform(0.5, 6.0, CAMERA_IMAGE).astype(np.float32)
    K = np.array([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]])
    state, update = perceiver.init_state(), None

    def next_frame() -> None:
        nonlocal state, update
        percept, state = perceiver.perceive(
            rgb, depth, FRAME_S, state, update, K=K, T_now_before=np.eye(4)
        )
        update = percept.update

    return next_frame


# Those that look at their whole window again -----------------------------------------------------


def _windowed(plan: SpeedPlan) -> Iterator[Contestant]:
    config = load_model(None, plan.variant).model.config
    video = torch.rand(1, max(plan.windows), 3, *config.image_size)
    for frames in plan.windows:
        for name, model, attention in (
            ("timesformer", timesformer(config, frames), "stepwise"),
            ("timesformer_fused", fuse_attention(timesformer(config, frames)), "fused"),
            ("videomae", videomae(config, frames), "fused"),
        ):
            about: dict[str, str | int | None] = {
                "variant": name,
                "window_frames": frames,
                "tokens": frames * config.patches,
                "attention": attention,
            }
            yield Contestant(about, _looking_again(model, video[:, :frames]))


def timesformer(config: PervFormerConfig, frames: int) -> nn.Module:
    """Return a TimeSformer of PervFormer's shape, without a head."""
    library = _transformers()
    # It takes one number for both sides; its tokens follow the image that it is given.
    shape = library.TimesformerConfig(
        image_size=config.image_size[1], hidden_dropout_prob=0.0, **_shape(config, frames)
    )
    model: nn.Module = library.TimesformerModel(shape)
    return model.eval()


def videomae(config: PervFormerConfig, frames: int) -> nn.Module:
    """Return a VideoMAE of PervFormer's shape, with a token for every patch of every frame."""
    library = _transformers()
    shape = library.VideoMAEConfig(
        image_size=list(config.image_size), tubelet_size=1, **_shape(config, frames)
    )
    model: nn.Module = library.VideoMAEModel._from_config(shape, attn_implementation="sdpa")
    return model.eval()


def _shape(config: PervFormerConfig, frames: int) -> dict[str, Any]:
    return {
        "num_frames": frames,
        "patch_size": PATCH,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_dim,
        "hidden_act": "gelu_pytorch_tanh",
    }


def _transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ImportError(
            "TimeSformer and VideoMAE come from transformers, which is not installed: "
            "pip install -c constraints.txt transformers"
        ) from error


def _looking_again(model: nn.Module, window: Tensor) -> Callable[[], None]:
    def next_frame() -> None:
        model(window)

    return next_frame


class FusedAttention(nn.Module):
    """TimeSformer's self-attention by torch's fused kernel, to the same numbers."""

    def __init__(self, attention: Any):
        super().__init__()
        self.qkv, self.heads = attention.qkv, attention.num_heads

    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor]:
        """Mix the tokens (M, N, D)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return (F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2),)


def fuse_attention(model: Any) -> nn.Module:
    """Replace every attention of a TimeSformer by FusedAttention, in place, and return it."""
    for layer in model.encoder.layer:
        for part in (layer.attention, layer.temporal_attention):
            part.attention = FusedAttention(part.attention)
    fused: nn.Module = model
    return fused
