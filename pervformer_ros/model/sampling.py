# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Reading a map between its cells."""

import torch
from torch import Tensor


def sample_bilinear(maps: Tensor, where: Tensor) -> Tensor:
    """Return what maps hold at points, (M, K, C).

    Args:
        maps: (M, C, h, w); beyond its outermost centres a map goes on unchanged.
        where: (M, K, 2), x and y as fractions of the map's size; 0 and 1 are its edges.
    """
    rows, columns = maps.shape[-2:]
    left, right, x = _neighbours(where[..., 0], columns)
    above, below, y = _neighbours(where[..., 1], rows)
    flat = maps.flatten(2).transpose(1, 2)  # (M, h * w, C)

    def at(row: Tensor, column: Tensor) -> Tensor:
        cell = row * columns + column
        return flat.gather(1, cell[..., None].expand(-1, -1, flat.shape[2]))

    upper = torch.lerp(at(above, left), at(above, right), x.to(maps.dtype)[..., None])
    lower = torch.lerp(at(below, left), at(below, right), x.to(maps.dtype)[..., None])
    return torch.lerp(upper, lower, y.to(maps.dtype)[..., None])


def _neighbours(where: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the indices before and after fractions (M, K) of an axis, and the way between them."""
    position = (where * size - 0.5).clamp(0, size - 1)
    before = position.floor()
    return before.long(), (before + 1).clamp(max=size - 1).long(), position - before
