# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What PervFormer says about a frame: `Percept`, and the heads that compute it."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pervformer_ros.model.boxes import BoxHead
from pervformer_ros.model.config import FINE, FINEST, PATCH, PLACE_LOOKS, PervFormerConfig
from pervformer_ros.model.identity import IdentityHead
from pervformer_ros.model.pointing import START_DISTANCE, Pointer, Sight
from pervformer_ros.model.points import PointHeads, Points
from pervformer_ros.model.stems import ResidualConv

HEAT_BIAS = -3.5  # few cells are an object's centre
PRESENCE_BIAS = -1.5  # few probes have an object
GAIN_BIAS = 2.0  # what is seen is believed
MAX_LOG_RANGE = 2.0  # nothing is estimated farther than e^2 times START_DISTANCE
MAX_LOG_CELLS = 5.0  # no box is larger than e^5 cells of 8 pixels
_SUBCELLS = (FINE // FINEST) ** 2


class Percept(NamedTuple):
    """Raw outputs; leading axes are (B, T) from `forward` and (B,) from `step`.

    C classes, Q mask prototypes, E sizes of embeddings. "Unit" is of L2 length 1.
    """

    # On the patches.
    heat: Tensor  # (..., C, h8, w8) logits: an object's centre is in this cell
    # (..., 4, h8, w8): how far left, top, right and bottom of the object are from the cell's
    # centre, as fractions of the image.
    box: Tensor
    mask_coefficients: Tensor  # (..., Q, h8, w8)
    mask_prototypes: Tensor  # (..., Q, h4, w4); mask logits = coefficients . prototypes
    embedding: Tensor  # (..., E, h8, w8) unit: which individual this is
    motion: Tensor  # (..., h4, w4) logits: moves in the world
    cells: Tensor  # (..., neck, h8, w8) what all this is told from
    # On the pixels.
    keypoints: Tensor  # (..., 65, h8, w8) logits: the 8x8 pixels of a cell by rows, then none
    descriptors: Tensor  # (..., E, h4, w4) unit
    # On the probes.
    alive: Tensor  # (..., P) bool: the probe holds an object; the rest counts only where it does
    presence: Tensor  # (..., P) logits: the object still exists
    visible: Tensor  # (..., P) logits: the object is seen in this frame, not hidden
    probe_classes: Tensor  # (..., P, C) logits
    probe_box: Tensor  # (..., P, 4) centre x, y, width, height as fractions of the image
    probe_position: Tensor  # (..., P, 3) m in the camera frame, carried and corrected
    probe_velocity: Tensor  # (..., P, 3) m/s in the camera frame, of the object in the world
    probe_gain: Tensor  # (..., P) logits: how much of the position is what is seen, if visible
    probe_motion: Tensor  # (..., P) logits: moves in the world
    probe_attention: Tensor  # (..., P, h8, w8) where the probe looks, sums to 1
    # On the frame.
    place: Tensor  # (..., E) unit: where this is

    def at(self, t: int) -> "Percept":
        """Return frame t of a clip's percept."""
        return Percept(*(x[:, t] for x in self))


class PatchHeads(nn.Module):
    """A neck at stride 8 over tokens and stem features, and all dense outputs in one layer."""

    def __init__(self, config: PervFormerConfig, skip_channels: int):
        super().__init__()
        neck = config.neck_width
        self.sizes = {
            "heat": len(config.classes),
            "box": 4,
            "mask_coefficients": config.mask_size,
            "mask_prototypes": config.mask_size * _SUBCELLS,
            "embedding": config.embedding_size,
            "motion": _SUBCELLS,
        }
        self.grid = config.grid
        self.from_tokens = nn.Linear(config.width, (PATCH // FINE) ** 2 * neck)
        self.from_skip = nn.Linear(skip_channels, neck)
        self.convs = nn.Sequential(ResidualConv(neck), ResidualConv(neck))
        self.out = nn.Linear(neck, sum(self.sizes.values()))
        nn.init.zeros_(self.out.bias)
        nn.init.constant_(self.out.bias.data[: self.sizes["heat"]], HEAT_BIAS)

    def forward(self, tokens: Tensor, skip: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the patch half of a Percept, and the cells it was told from (M, h8, w8, neck).

        Args:
            tokens: (M, H/16 * W/16, D).
            skip: (M, C, h8, w8).
        """
        x = self._spread(self.from_tokens(tokens)) + self.from_skip(skip.permute(0, 2, 3, 1))
        cells = self.convs(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = self.out(cells).permute(0, 3, 1, 2)
        maps = dict(zip(self.sizes, x.split(list(self.sizes.values()), dim=1), strict=True))
        maps["box"] = _distances(maps["box"])
        maps["mask_prototypes"] = F.pixel_shuffle(maps["mask_prototypes"], FINE // FINEST)
        maps["motion"] = F.pixel_shuffle(maps["motion"], FINE // FINEST).squeeze(1)
        maps["embedding"] = F.normalize(maps["embedding"], dim=1)
        return maps, cells

    def _spread(self, x: Tensor) -> Tensor:
        """Give each token's cells their place: (M, H/16 * W/16, 4 C) to (M, h8, w8, C)."""
        factor = PATCH // FINE
        x = torch.unflatten(torch.unflatten(x, 2, (factor, factor, -1)), 1, self.grid)
        return x.permute(0, 1, 3, 2, 4, 5).flatten(1, 2).flatten(2, 3)


def _distances(x: Tensor) -> Tensor:
    """Turn logarithms of distances in cells (M, 4, h, w) into fractions of the image."""
    rows, columns = x.shape[-2:]
    cells = torch.exp(x.clamp(max=MAX_LOG_CELLS))
    across, down = cells[:, 0::2] / columns, cells[:, 1::2] / rows
    return torch.stack([across, down], dim=2).flatten(1, 2)


class ProbeHeads(nn.Module):
    """What each memory probe says about its object; the position is what it measures now.

    A probe measures by pointing: at cells of the picture, whose depth gives points of the world.
    What it says itself is added: from the surface to the object's middle, from its seen part to
    the whole box, and the distance where there is no depth.
    """

    def __init__(self, config: PervFormerConfig):
        super().__init__()
        self.sizes = {
            "presence": 1,
            "visible": 1,
            "probe_classes": len(config.classes),
            "probe_box": 4,
            "probe_position": 3,
            "probe_motion": 1,
            "probe_velocity": 3,
            "probe_gain": 1,
            "range": 1,
        }
        self.hidden = nn.Linear(config.width, config.width)
        self.out = nn.Linear(config.width, sum(self.sizes.values()))
        self.pointer = Pointer(config)
        self.match = nn.Parameter(torch.tensor(0.1))  # how much a match says of being visible
        nn.init.zeros_(self.out.bias)
        parts = torch.split(self.out.bias.data, list(self.sizes.values()))
        biases = dict(zip(self.sizes, parts, strict=True))
        nn.init.constant_(biases["presence"], PRESENCE_BIAS)
        nn.init.constant_(biases["probe_gain"], GAIN_BIAS)

    def forward(self, probes: Tensor, cells: Tensor, seen: Sight) -> dict[str, Tensor]:
        """Return the probe half of a Percept.

        Args:
            probes: (M, P, D).
            cells: (M, h8, w8, neck).
            seen: of the M images.
        """
        x = self.out(F.gelu(self.hidden(probes), approximate="tanh"))
        said = dict(zip(self.sizes, x.split(list(self.sizes.values()), dim=-1), strict=True))
        for name in ("presence", "visible", "probe_motion", "probe_gain"):
            said[name] = said[name].squeeze(-1)
        pointed = self.pointer(probes, cells, seen)
        said["visible"] = said["visible"] + self.match * pointed.match
        centre, size = torch.split(said["probe_box"].float(), 2, dim=-1)
        centre = torch.sigmoid(torch.logit(pointed.centre) + centre)
        said["probe_box"] = torch.cat([centre, torch.sigmoid(size)], dim=-1)
        distance = START_DISTANCE * said.pop("range").float().clamp(max=MAX_LOG_RANGE).exp()
        surface = pointed.known + distance * pointed.unknown
        said["probe_position"] = surface + said["probe_position"].float()
        return said | {"probe_attention": pointed.attention}


class PlaceHead(nn.Module):
    """One descriptor of a frame, from its points (NetVLAD, arXiv:1511.07247).

    Points are told apart by a few kinds of looks; of each kind, the sum of how they differ from
    what is usual tells the place. A point counts by how likely it is a landmark and stands still.
    """

    def __init__(self, config: PervFormerConfig):
        super().__init__()
        size = config.descriptor_size
        self.kind = nn.Linear(size, PLACE_LOOKS)
        self.usual = nn.Parameter(torch.zeros(PLACE_LOOKS, size))
        self.out = nn.Linear(PLACE_LOOKS * size, config.place_size)
        nn.init.normal_(self.kind.weight)

    def forward(self, descriptors: Tensor, weight: Tensor) -> Tensor:
        """Return (M, E) of unit length, from `place_points` of M images."""
        descriptors, weight = descriptors.to(self.usual.dtype), weight.to(self.usual.dtype)
        kinds = torch.softmax(self.kind(descriptors), dim=-1) * weight[..., None]  # (M, N, looks)
        differ = kinds.transpose(1, 2) @ descriptors - kinds.sum(dim=1)[..., None] * self.usual
        return F.normalize(self.out(F.normalize(differ, dim=-1).flatten(1)), dim=-1)


def place_points(points: Points, motion: Tensor) -> tuple[Tensor, Tensor]:
    """Return descriptors (M, h8 * w8, E) of the cells of M images and how much each counts.

    Args:
        points: of the images.
        motion: (M, h4, w4) logits.
    """
    landmark = 1.0 - torch.softmax(points.keypoints.float(), dim=1)[:, -1]
    still = torch.sigmoid(-motion.float())
    shrink = FINE // FINEST
    descriptors = F.avg_pool2d(points.descriptors, shrink).flatten(2).transpose(1, 2)
    return descriptors, (landmark * F.avg_pool2d(still, shrink)).flatten(1)


class Heads(nn.Module):
    """All heads."""

    def __init__(self, config: PervFormerConfig, skip_channels: int):
        super().__init__()
        self.config = config
        self.patches = PatchHeads(config, skip_channels)
        # These look again, once it is known where: decode.detections
        self.boxes = BoxHead(config)
        self.identity = IdentityHead(config)
        self.points = PointHeads(config)
        self.probes = ProbeHeads(config)
        self.place = PlaceHead(config)

    def forward(
        self, rgb: Tensor, features: Tensor, skip: Tensor, alive: Tensor, seen: Sight
    ) -> Percept:
        """Compute every output of M frames.

        Args:
            rgb: (M, 3, H, W) in [0, 1].
            features: (M, N, D) from the trunk.
            skip: (M, C, h8, w8) from the stem.
            alive: (M, P) bool.
            seen: of the M images.
        """
        config = self.config
        sizes = [int(config.class_token), config.patches, config.probes]
        _, patches, probes = torch.split(features, sizes, dim=1)
        told, cells = self.patches(patches, skip)
        points = self.points(rgb)
        return Percept(
            **told,
            cells=cells.permute(0, 3, 1, 2),
            **points._asdict(),
            alive=alive,
            **self.probes(probes, cells, seen),
            place=self.place(*place_points(points, told["motion"])),
        )
