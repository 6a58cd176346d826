# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A second look at what was found: what it is, where exactly it ends, and how sure that is.

A cell of 8 pixels knows that there is a pallet, but not to a pixel where it ends, and half of what
a robot sees is small or half hidden. The second stage of R-CNN (https://arxiv.org/abs/1504.08083)
looks at each find by itself, the smaller it is the closer, with depth relative to its own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pervformer_ros.model.config import PervFormerConfig
from pervformer_ros.model.looks import (
    Corrected,
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
from pervformer_ros.model.stems import MAX_INVERSE_DEPTH

WIDER = 1.6  # a look is so many times as wide and as high as the box
LEAST = 24  # px of the model's image: no look is smaller
NEARLY = 1e-3  # scores are kept this far from 0 and 1
MOST_LOGIT = 6.0  # of masks
BEFORE = 3.0  # logit of the class that it was found as
DROPOUT = 0.4  # of what a look has gathered, while it learns
_PIXEL_CHANNELS = 8  # colour, depth and its validity, inside the image, the mask, inside the box


class BoxHead(LookHead):
    """Corrects box, class and score of each find; untrained, it leaves them as they are."""

    def __init__(self, config: PervFormerConfig):
        from_cells, first, second, third = config.box_channels
        sizes = [4, 1, len(config.classes)]  # sides, score, class
        super().__init__(
            _PIXEL_CHANNELS + from_cells, (first, second, third), config.box_hidden, sum(sizes),
            len(config.classes), DROPOUT,
        )  # fmt: skip
        self.sizes = sizes
        self.tell = nn.Conv2d(config.neck_width, from_cells, 1)
        self.shape = nn.Linear(4, config.box_hidden)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, picture: Picture, found: Found) -> Corrected:
        """Return what is said of the finds."""
        box = found.box.float()
        window = window_of(box, picture.rgb.shape[-2:], WIDER, LEAST)
        seen, distance = self._see(picture, found, window)
        score = torch.logit(found.score.float(), eps=NEARLY)
        size = (box[..., 2:] - box[..., :2]).clamp(min=NEARLY).log()
        known = torch.cat([size, distance, score[..., None]], dim=-1)
        known = self.shape(known.to(self.out.weight.dtype)).flatten(0, 1)
        told = self.read(seen.flatten(0, 1), found.class_index.flatten(), known)
        told = torch.unflatten(told, 0, seen.shape[:2])
        sides, surer, kinds = torch.split(told, self.sizes, dim=-1)
        side = (window[..., 2:] - window[..., :2]).repeat(1, 1, 2) / 2
        low, high = torch.split(box + sides * side, 2, dim=-1)
        corrected = torch.cat([torch.minimum(low, high), torch.maximum(low, high)], dim=-1)
        before = BEFORE * F.one_hot(found.class_index, kinds.shape[-1])
        return Corrected(corrected, score + surer.squeeze(-1), kinds + before)

    def _see(self, picture: Picture, found: Found, window: Tensor) -> tuple[Tensor, Tensor]:
        """Return all channels of the looks (M, K, C, GRID, GRID), and inverse depths (M, K, 1)."""
        points = points_of(window)
        in_box = within(points, found.box.float())
        inverse = picture.inverse_depth.clamp(0.0, MAX_INVERSE_DEPTH) * picture.depth_valid
        depth = torch.cat([inverse, picture.depth_valid], dim=1)
        inverse, valid = torch.split(sample(depth.float(), points, "nearest"), 1, dim=2)
        mask = mask_logits(picture, found, points)
        # Depth is told relative to that of the thing itself.
        own = (torch.sigmoid(mask) * in_box + NEARLY) * valid
        distance = (own * inverse).sum((-2, -1)) / own.sum((-2, -1)).clamp(min=1e-6)
        nearer = inverse / distance[..., None, None].clamp(min=NEARLY) - 1
        channels = (
            sample(picture.rgb.float() - 0.5, points),
            (2 * nearer).clamp(-1, 2) * valid,
            valid,
            in_image(points),
            mask.clamp(-MOST_LOGIT, MOST_LOGIT) / 3,
            in_box,
            sample(self.tell(picture.cells.to(self.out.weight.dtype)).float(), points),
        )
        return torch.cat(channels, dim=2), distance
