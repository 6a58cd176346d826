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
    last = torch.tensor([columns - 1, rows - 1], dtype=where.dtype, device=where.device)
    cell = (where * (last + 1) - 0.5).clamp(min=0.0).minimum(last)
    low = cell.floor()
    high = (low + 1).minimum(last).long()
    fraction = (cell - low).to(maps.dtype)
    low = low.long()
    flat = maps.flatten(2).transpose(1, 2)  # (M, h * w, C)

    def at(x: Tensor, y: Tensor) -> Tensor:
        return flat.gather(1, (y * columns + x)[..., None].expand(-1, -1, flat.shape[2]))

    x, y = fraction[..., :1], fraction[..., 1:]
    above = torch.lerp(at(low[..., 0], low[..., 1]), at(high[..., 0], low[..., 1]), x)
    below = torch.lerp(at(low[..., 0], high[..., 1]), at(high[..., 0], high[..., 1]), x)
    return torch.lerp(above, below, y)
