# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The block every PervFormer repeats: time, then space, then channels.

TRecViT's factorisation (Patraucean et al. 2024, https://arxiv.org/abs/2412.14294): each token has
its own recurrence over time, the tokens of one frame attend to each other, an MLP mixes channels.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pervformer_ros.model.attention import attend
from pervformer_ros.model.config import PervFormerConfig
from pervformer_ros.model.rg_lru import RGLRU, CausalConv1d

NORM_EPS = 1e-6


class RecurrentState(NamedTuple):
    """What one block carries from frame to frame."""

    h: Tensor  # (B, N, R) float32
    conv: Tensor  # (B, K - 1, N, R) float32


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with weights 1 + scale."""

    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        return F.rms_norm(x, self.scale.shape, 1.0 + self.scale, NORM_EPS)


class RecurrentBlock(nn.Module):
    """Griffin's recurrent block: linear -> convolution -> RG-LRU, gated by linear -> GELU."""

    def __init__(self, config: PervFormerConfig):
        super().__init__()
        self.linear_in = nn.Linear(config.width, 2 * config.lru_width)  # the two branches
        self.conv = CausalConv1d(config.lru_width, config.conv_width)
        self.rg_lru = RGLRU(config.lru_width, config.heads, config.min_rad)
        self.linear_out = nn.Linear(config.lru_width, config.width)
        nn.init.normal_(self.linear_in.weight, std=math.sqrt(1.0 / config.width))
        out_variance = 2.0 / config.depth / config.lru_width
        nn.init.normal_(self.linear_out.weight, std=math.sqrt(out_variance))
        nn.init.zeros_(self.linear_in.bias)
        nn.init.zeros_(self.linear_out.bias)

    def forward(
        self, x: Tensor, elapsed: Tensor, reset: Tensor, state: RecurrentState
    ) -> tuple[Tensor, RecurrentState]:
        """Run over a clip (B, T, N, D); `elapsed` is (B, T), `reset` is (B, T, N)."""
        x, gate = self.linear_in(x).chunk(2, dim=-1)
        x, conv = self.conv(x, reset, state.conv)
        x, h = self.rg_lru(x, elapsed, reset, state.h)
        return self._join(x, gate), RecurrentState(h, conv)

    def step(
        self, x: Tensor, elapsed: Tensor, reset: Tensor, state: RecurrentState
    ) -> tuple[Tensor, RecurrentState]:
        """Run over one frame (B, N, D); `elapsed` is (B,), `reset` is (B, N)."""
        x, gate = self.linear_in(x).chunk(2, dim=-1)
        x, conv = self.conv.step(x, reset, state.conv)
        x, h = self.rg_lru.step(x, elapsed, reset, state.h)
        return self._join(x, gate), RecurrentState(h, conv)

    def _join(self, x: Tensor, gate: Tensor) -> Tensor:
        y: Tensor = self.linear_out(x * F.gelu(gate, approximate="tanh"))
        return y


class SpatialAttention(nn.Module):
    """Self-attention over all tokens of a frame: patches read the memory and are read by it."""

    def __init__(self, config: PervFormerConfig):
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        for weight in (*self.qkv.weight.chunk(3), self.out.weight):
            nn.init.xavier_uniform_(weight.data)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the tokens of each frame (M, N, D)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # (M, N, 3, heads, D / heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = attend(q, k, v)
        mixed: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return mixed


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        for layer in (self.up, self.down):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., D)."""
        y: Tensor = self.down(F.gelu(self.up(x), approximate="tanh"))
        return y


class Block(nn.Module):
    """Time, space, channels; each residual with its norm before it."""

    def __init__(self, config: PervFormerConfig):
        super().__init__()
        self.time_norm = RMSNorm(config.width)
        self.time = RecurrentBlock(config)
        self.space_norm = nn.LayerNorm(config.width, NORM_EPS)
        self.space = SpatialAttention(config)
        self.channel_norm = nn.LayerNorm(config.width, NORM_EPS)
        self.channels = Mlp(config.width, config.mlp_dim)

    def forward(
        self, x: Tensor, elapsed: Tensor, reset: Tensor, state: RecurrentState
    ) -> tuple[Tensor, RecurrentState]:
        """Run over a clip (B, T, N, D); `elapsed` is (B, T), `reset` is (B, T, N)."""
        y, state = self.time(self.time_norm(x), elapsed, reset, state)
        return torch.unflatten(self._mix((x + y).flatten(0, 1)), 0, x.shape[:2]), state

    def step(
        self, x: Tensor, elapsed: Tensor, reset: Tensor, state: RecurrentState
    ) -> tuple[Tensor, RecurrentState]:
        """Run over one frame (B, N, D); `elapsed` is (B,), `reset` is (B, N)."""
        y, state = self.time.step(self.time_norm(x), elapsed, reset, state)
        return self._mix(x + y), state

    def _mix(self, x: Tensor) -> Tensor:
        x = x + self.space(self.space_norm(x))
        mixed: Tensor = x + self.channels(self.channel_norm(x))
        return mixed
