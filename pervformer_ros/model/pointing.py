# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a probe looks: attention over the picture, and the points of the world that are there."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pervformer_ros.model.config import FINE, PervFormerConfig

KEY = 64  # channels that probes and cells are compared by
LEAST_KNOWN = 0.25  # part of a cell that needs depth
START_DISTANCE = 3.0  # m, of what has no depth
EDGE = 1e-3  # of the image: nothing is pointed at beyond


class Sight(NamedTuple):
    """The line of sight of each cell of 8x8 pixels, and how far one sees along it."""

    ray: Tensor  # (..., 3, h8, w8) point in the camera frame at a depth of 1 m
    depth: Tensor  # (..., h8, w8) m, 0 = unknown


class Pointed(NamedTuple):
    """What P probes point at."""

    attention: Tensor  # (..., P, h8, w8), sums to 1 over the cells
    match: Tensor  # (..., P) how well the best cell fits
    centre: Tensor  # (..., P, 2) x, y as fractions of the image
    known: Tensor  # (..., P, 3) m, the part of the point that depth tells
    unknown: Tensor  # (..., P, 3) the rest, to be multiplied by a distance in m


def sight(inverse_depth: Tensor, valid: Tensor, camera: Tensor) -> Sight:
    """Return the lines of sight of M images.

    Args:
        inverse_depth: (M, 1, H, W) 1/m, 0 where not valid.
        valid: (M, 1, H, W) 0 or 1.
        camera: (M, 4) fx, fy, cx, cy in pixels.
    """
    part = F.avg_pool2d(valid.float(), FINE)[:, 0]
    mean = F.avg_pool2d(inverse_depth.float(), FINE)[:, 0] / part.clamp(min=EDGE)
    known = (part >= LEAST_KNOWN) & (mean > 0)
    depth = torch.where(known, 1.0 / mean.masked_fill(~known, 1.0), 0.0)
    rows, columns = part.shape[-2:]
    fx, fy, cx, cy = camera.float()[:, :, None, None].unbind(1)  # (M, 1, 1)
    u = torch.arange(columns, device=part.device) * FINE + (FINE - 1) / 2
    v = (torch.arange(rows, device=part.device) * FINE + (FINE - 1) / 2)[:, None]
    x, y = (u - cx) / fx, (v - cy) / fy
    ray = torch.stack([x.expand_as(depth), y.expand_as(depth), torch.ones_like(depth)], dim=1)
    return Sight(ray, depth)


class Pointer(nn.Module):
    """Compares each probe with each cell; a point is the mean of those it is alike to."""

    def __init__(self, config: PervFormerConfig):
        super().__init__()
        self.query = nn.Linear(config.width, KEY)
        self.key = nn.Linear(config.neck_width, KEY)

    def forward(self, probes: Tensor, cells: Tensor, seen: Sight) -> Pointed:
        """Point.

        Args:
            probes: (M, P, D).
            cells: (M, h8, w8, C).
            seen: of the M images.
        """
        rows, columns = cells.shape[1:3]
        keys = self.key(cells).flatten(1, 2)  # (M, N, KEY)
        scores = (self.query(probes) @ keys.transpose(1, 2)).float() * KEY**-0.5
        attention = torch.softmax(scores, dim=-1)  # (M, P, N)
        # Metres need all digits, whatever precision the network is run in.
        with torch.autocast(attention.device.type, enabled=False):
            ray, depth = seen.ray.flatten(2), seen.depth.flatten(1)  # (M, 3, N), (M, N)
            x = (torch.arange(columns, device=ray.device) + 0.5) / columns
            y = (torch.arange(rows, device=ray.device) + 0.5) / rows
            grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)
            return Pointed(
                attention=torch.unflatten(attention, -1, (rows, columns)),
                match=scores.amax(dim=-1),
                centre=(attention @ grid).clamp(EDGE, 1 - EDGE),
                known=attention @ (ray * depth[:, None]).transpose(1, 2),
                unknown=attention @ (ray * (depth == 0)[:, None]).transpose(1, 2),
            )
