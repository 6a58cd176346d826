# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keypoints and their descriptors, told from the grey pixels around them and nothing else."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pervformer_ros.model.config import FINE, PATCH, PervFormerConfig

KEYPOINT_CHANNELS = FINE * FINE + 1  # the pixels of a cell, and "none of them"
LEAST_CONTRAST = 0.02  # standard deviation of brightness below which a surface counts as plain
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Points(NamedTuple):
    """Raw outputs, with the names and axes they have in a Percept."""

    keypoints: Tensor
    descriptors: Tensor


class PointHeads(nn.Module):
    """A small convolutional network beside the trunk, after SuperPoint (arXiv:1712.07629).

    A corner is a corner whatever stands around it, whatever was there before, and wherever the
    model learned: so it sees neither depth nor the past. Brightness counts relative to that of its
    neighbourhood.
    """

    def __init__(self, config: PervFormerConfig):
        super().__init__()
        half, quarter, local = config.point_channels
        self.to_half = nn.Conv2d(1, half, 3, stride=2, padding=1)
        self.to_quarter = nn.Conv2d(half, quarter, 3, stride=2, padding=1)
        self.quarter = nn.Conv2d(quarter, local, 3, padding=1)
        self.detect = nn.Conv2d(local, KEYPOINT_CHANNELS, 3, stride=2, padding=1)
        self.describe = nn.Conv2d(local, config.descriptor_size, 3, padding=2, dilation=2)
        for layer in (self.to_half, self.to_quarter, self.quarter):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, rgb: Tensor) -> Points:
        """Return the points of M images (M, 3, H, W) in [0, 1]."""
        x = relative_brightness(rgb.to(self.to_half.weight.dtype))
        x = F.silu(self.to_half(x))
        x = F.silu(self.to_quarter(x))
        x = F.silu(self.quarter(x))
        return Points(self.detect(x), F.normalize(self.describe(x).float(), dim=1))


def relative_brightness(rgb: Tensor) -> Tensor:
    """Return (M, 1, H, W), grey less the mean of some 50 pixels around, in their deviations."""
    red, green, blue = rgb.chunk(3, dim=1)
    grey = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    coarse = F.avg_pool2d(torch.cat([grey, grey.square()], dim=1), PATCH)
    coarse = F.avg_pool2d(coarse, 3, stride=1, padding=1, count_include_pad=False)
    mean, square = F.interpolate(coarse, grey.shape[-2:], mode="bilinear").chunk(2, dim=1)
    deviation = (square - mean.square()).clamp(min=0.0).sqrt()
    relative: Tensor = (grey - mean) / (deviation + LEAST_CONTRAST)
    return relative
