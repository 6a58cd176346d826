# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Looking again at what was found: a window around each find, on a grid of points of its own.

`LookHead` is what the heads that look again have in common.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GRID = 16  # points of a look along each axis


class Picture(NamedTuple):
    """M images, as they are looked at again."""

    rgb: Tensor  # (M, 3, H, W) in [0, 1]
    inverse_depth: Tensor  # (M, 1, H, W) 1/m, read where depth is valid
    depth_valid: Tensor  # (M, 1, H, W) 1 or 0
    cells: Tensor  # (M, neck, h8, w8) as in Percept
    mask_prototypes: Tensor  # (M, Q, h4, w4) as in Percept


class Found(NamedTuple):
    """K finds in each of M images."""

    score: Tensor  # (M, K) in [0, 1]
    class_index: Tensor  # (M, K) int64
    box: Tensor  # (M, K, 4) left, top, right, bottom as fractions of the image
    mask_coefficients: Tensor  # (M, K, Q)


class Corrected(NamedTuple):
    """What a second look says of K finds in each of M images."""

    box: Tensor  # (M, K, 4), which may reach beyond the image
    logits: Tensor  # (M, K) of the score
    kinds: Tensor  # (M, K, classes) logits of what it is

    @property
    def class_index(self) -> Tensor:
        """What it is most likely (M, K)."""
        return self.kinds.argmax(dim=-1)


class LookHead(nn.Module):
    """A small network over what was seen at the points of a look."""

    def __init__(
        self, seen: int, channels: tuple[int, int, int], hidden: int, told: int,
        classes: int, dropout: float,
    ):  # fmt: skip
        """Build it.

        Args:
            seen: channels of a look.
            channels: of the layers on 16, 8 and 4 points.
            hidden: width of what is told from.
            told: numbers that are told of a look.
            classes: that there are.
            dropout: part of what a look has gathered that is left out while it learns.
        """
        super().__init__()
        first, second, third = channels
        self.dropout = dropout
        self.look = nn.Conv2d(seen, first, 3, padding=1)
        self.to_half = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.residual = nn.Conv2d(second, second, 3, padding=1)
        self.to_quarter = nn.Conv2d(second, third, 3, stride=2, padding=1)
        self.kind = nn.Embedding(classes, hidden)
        self.gather = nn.Linear(third * (GRID // 4) ** 2, hidden)
        self.hidden = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, told)
        for layer in (self.look, self.to_half, self.residual, self.to_quarter):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def read(self, seen: Tensor, class_index: Tensor, known: Tensor | float = 0.0) -> Tensor:
        """Return what is told of N looks (N, told), float32.

        Args:
            seen: (N, seen, GRID, GRID).
            class_index: (N,) of what is looked at.
            known: (N, hidden) of what else is known of it.
        """
        x = F.silu(self.look(seen.to(self.out.weight.dtype)))
        x = F.silu(self.to_half(x))
        x = x + F.silu(self.residual(x))
        x = F.silu(self.to_quarter(x))
        x = F.dropout(x.flatten(1), self.dropout, self.training)
        x = F.silu(self.gather(x) + self.kind(class_index) + known)
        x = x + F.silu(self.hidden(x))
        told: Tensor = self.out(x).float()
        return told


def window_of(box: Tensor, image: torch.Size, wider: float, least: int) -> Tensor:
    """Return what is looked at of boxes (M, K, 4), as they are given.

    Args:
        box: of the finds.
        image: height and width in pixels.
        wider: so many times as wide and as high as the box,
        least: but no smaller than so many pixels.
    """
    low, high = torch.split(box, 2, dim=-1)
    smallest = torch.tensor([least / image[1], least / image[0]], device=box.device)
    half = torch.maximum((high - low) * wider, smallest) / 2
    middle = (low + high) / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def points_of(window: Tensor) -> Tensor:
    """Return the points of windows (M, K, 4), x and y: (M, K, GRID, GRID, 2)."""
    steps = (torch.arange(GRID, device=window.device) + 0.5) / GRID
    x, y = (
        window[..., i, None] + (window[..., i + 2] - window[..., i])[..., None] * steps
        for i in (0, 1)
    )
    grid = *x.shape, GRID
    return torch.stack([x[:, :, None].expand(grid), y[..., None].expand(grid)], dim=-1)


def within(points: Tensor, box: Tensor) -> Tensor:
    """Return which points (M, K, G, G, 2) are in their box (M, K, 4): (M, K, 1, G, G), 1 or 0."""
    left, top, right, bottom = box[..., None, None].unbind(2)
    across = (points[..., 0] >= left) & (points[..., 0] <= right)
    return (across & (points[..., 1] >= top) & (points[..., 1] <= bottom))[:, :, None].float()


def in_image(points: Tensor) -> Tensor:
    """Return which points (M, K, G, G, 2) the image shows: (M, K, 1, G, G), 1 or 0."""
    return ((points >= 0) & (points <= 1)).all(-1)[:, :, None].float()


def mask_logits(picture: Picture, found: Found, points: Tensor) -> Tensor:
    """Return the masks of the finds at their points (M, K, G, G, 2): logits (M, K, 1, G, G)."""
    prototypes = sample(picture.mask_prototypes.float(), points)
    return torch.einsum("mkq,mkqhw->mkhw", found.mask_coefficients.float(), prototypes)[:, :, None]


def sample(maps: Tensor, points: Tensor, mode: str = "bilinear") -> Tensor:
    """Return maps (M, C, h, w) at points (M, K, G, G, 2), fractions of them: (M, K, C, G, G)."""
    rows = points.flatten(1, 2) * 2 - 1
    found = F.grid_sample(maps, rows, mode=mode, align_corners=False)  # (M, C, K * G, G)
    return torch.unflatten(found, 2, (-1, GRID)).transpose(1, 2)
