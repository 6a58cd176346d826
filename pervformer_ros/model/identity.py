# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Who a find is: what it looks like itself, whatever stands around it.

The network is taught to find a person in any clothes before any wall, so what it says of a cell
hardly tells two people apart. Here nothing but the thing's own pixels is seen.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pervformer_ros.model.config import PervFormerConfig
from pervformer_ros.model.looks import (
    Found,
    LookHead,
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


class IdentityHead(LookHead):
    """Gives each find an embedding: what is alike is likely the same individual."""

    def __init__(self, config: PervFormerConfig):
        super().__init__(
            _CHANNELS, config.identity_channels, config.identity_hidden, config.embedding_size,
            len(config.classes), DROPOUT,
        )  # fmt: skip

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
        seen = torch.cat([(colour - 0.5) * own, own], dim=1)
        embedding = F.normalize(self.read(seen, class_index.flatten()), dim=-1)
        return embedding.reshape(*class_index.shape, embedding.shape[-1])
