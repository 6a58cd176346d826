# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Looking again at what was found: a window around each find, on a grid of points of its own."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

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
