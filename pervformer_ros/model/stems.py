# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From pixels to tokens of stride 16, and to features of stride 8 for the patch heads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pervformer_ros.model.config import FINE, PATCH, PervFormerConfig
from pervformer_ros.model.egomotion import CHANGE_CHANNELS, HALF

MAX_INVERSE_DEPTH = 10.0  # 1/m; nothing nearer than 10 cm


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel of (M, C, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; free of copies where x is channels-last."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResidualConv(nn.Module):
    """x + conv(silu(norm(x))), 3x3, with as many channels out as in."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (M, C, h, w) to (M, C, h, w)."""
        y: Tensor = x + self.conv(F.silu(self.norm(x)))
        return y


class ConvStem(nn.Module):
    """Four 3x3 convolutions of stride 2, with a residual one after the second and the third.

    Early convolutions see edges a 16x16 patch embedding cannot, and their stride-8 features keep
    the keypoints sharp (Xiao et al. 2021, https://arxiv.org/abs/2106.14881).
    """

    def __init__(self, config: PervFormerConfig):
        super().__init__()
        half, quarter, eighth = config.stem_channels
        self.skip_channels = eighth
        self.to_half = nn.Conv2d(5, half, 3, stride=2, padding=1)
        self.to_quarter = nn.Conv2d(half, quarter, 3, stride=2, padding=1)
        self.change = nn.Conv2d(CHANGE_CHANNELS, quarter, 3, stride=2, padding=1, bias=False)
        self.quarter = ResidualConv(quarter)
        self.to_eighth = nn.Conv2d(quarter, eighth, 3, stride=2, padding=1)
        self.eighth = ResidualConv(eighth)
        self.norm = ChannelNorm(eighth)
        self.to_tokens = nn.Conv2d(eighth, config.width, 3, stride=2, padding=1)
        for layer in (self.to_half, self.to_quarter, self.to_eighth):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(self.change.weight)

    def forward(
        self, rgb: Tensor, inverse_depth: Tensor, valid: Tensor, change: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return tokens (M, D, H/16, W/16) and features (M, C, h8, w8)."""
        x = _stack(2.0 * rgb - 1.0, inverse_depth, valid)
        x = self.to_quarter(F.silu(self.to_half(x))) + self.change(change)
        x = self.eighth(self.to_eighth(F.silu(self.quarter(x))))
        x = F.silu(self.norm(x))
        return self.to_tokens(x), x


class PatchStem(nn.Module):
    """TRecViT's patch embedding of the colours; depth is added by an embedding of its own.

    What depth and change add starts at zero: weights trained on colour alone are unaffected.
    """

    def __init__(self, config: PervFormerConfig):
        super().__init__()
        self.skip_channels = config.neck_width
        self.embedding = nn.Conv2d(3, config.width, PATCH, stride=PATCH)
        self.depth_embedding = nn.Conv2d(2, config.width, PATCH, stride=PATCH, bias=False)
        self.skip = nn.Conv2d(5, self.skip_channels, FINE, stride=FINE)
        step = PATCH // HALF
        self.change = nn.Conv2d(CHANGE_CHANNELS, config.width, step, stride=step, bias=False)
        for layer in (self.depth_embedding, self.change):
            nn.init.zeros_(layer.weight)

    def forward(
        self, rgb: Tensor, inverse_depth: Tensor, valid: Tensor, change: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return tokens (M, D, H/16, W/16) and features (M, C, h8, w8)."""
        x = _stack(rgb, inverse_depth, valid)
        tokens = self.embedding(x[:, :3]) + self.depth_embedding(x[:, 3:]) + self.change(change)
        return tokens, F.silu(self.skip(x))


def _stack(rgb: Tensor, inverse_depth: Tensor, valid: Tensor) -> Tensor:
    """Return the five input channels."""
    x = torch.cat([rgb, inverse_depth, valid], dim=1)
    return x.contiguous(memory_format=torch.channels_last)
