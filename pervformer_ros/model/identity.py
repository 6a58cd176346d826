# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Who a find is: what it looks like itself, whatever stands around it.

The network is taught to find a person in any clothes before any wall, so what it says of a cell
hardly tells two people apart. Here nothing but the thing's own pixels is seen.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pervformer_ros.model.config import PervFormerConfig
from pervformer_ros.model.looks import (
    GRID,
    Found,
    Picture,
    in_image,
    mask_logits,
    points_of,
    sample,
    window_of,
    within,
)

WIDER = 1.1  # a look is so many times as wide and as high as the box
LEAST = 8  # px of the model's image: no look is smaller
DROPOUT = 0.2  # of what a look has gathered, while it learns
_CHANNELS = 4  # colour, and how much of it is the thing's own


class IdentityHead(nn.Module):
    """Gives each find an embedding: what is alike is likely the same individual."""

    def __init__(self, config: PervFormerConfig):
        super().__init__()
        first, second, third = config.identity_channels
        hidden = config.identity_hidden
        self.look = nn.Conv2d(_CHANNELS, first, 3, padding=1)
        self.to_half = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.residual = nn.Conv2d(second, second, 3, padding=1)
        self.to_quarter = nn.Conv2d(second, third, 3, stride=2, padding=1)
        self.kind = nn.Embedding(len(config.classes), hidden)
        self.gather = nn.Linear(third * (GRID // 4) ** 2, hidden)
        self.hidden = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, config.embedding_size)

    def forward(self, picture: Picture, found: Found) -> Tensor:
        """Return embeddings (M, K, E) of unit length."""
        return self.tell(self.crop(picture, found), found.class_index)

    @staticmethod
    def crop(picture: Picture, found: Found) -> Tensor:
        """Return what is seen of each find, (M, K, 4, GRID, GRID): colour, and what is its own."""
        box = found.box.float()
        points = points_of(window_of(box, picture.rgb.shape[-2:], WIDER, LEAST))
        own = torch.sigmoid(mask_logits(picture, found, points))
        own = own * within(points, box) * in_image(points)
        return torch.cat([sample(picture.rgb.float(), points), own], dim=2)

    def tell(self, crops: Tensor, class_index: Tensor) -> Tensor:
        """Return embeddings (..., E) of unit length, from crops (..., 4, GRID, GRID)."""
        colour, own = torch.split(crops.flatten(0, -4), [3, 1], dim=1)
        x = torch.cat([(colour - 0.5) * own, own], dim=1).to(self.out.weight.dtype)
        x = F.silu(self.look(x))
        x = F.silu(self.to_half(x))
        x = x + F.silu(self.residual(x))
        x = F.silu(self.to_quarter(x))
        x = F.dropout(x.flatten(1), DROPOUT, self.training)
        x = F.silu(self.gather(x) + self.kind(class_index.flatten()))
        x = x + F.silu(self.hidden(x))
        embedding = F.normalize(self.out(x).float(), dim=-1)
        return embedding.reshape(*class_index.shape, embedding.shape[-1])
