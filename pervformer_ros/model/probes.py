# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The life of a memory probe: what it is given, and when it is born and released."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pervformer_ros.model.config import PervFormerConfig
from pervformer_ros.model.decode import Detections, box_iou, centre_to_corners
from pervformer_ros.model.heads import Percept
from pervformer_ros.model.sampling import sample_bilinear

BIRTH_SCORE = 0.3  # a detection below this is not worth a probe
RELEASE_PRESENCE = 0.25  # a probe surer than this that its object exists keeps it
EXPLAINED_IOU = 0.3  # a detection this close to a visible probe's box is that probe's object
# And so is one in whose middle, this share of its size to all sides, a probe of its class points.
MIDDLE = 0.25
# Two probes of one class hold one object where they are nearer to each other than this (metres), or
# than this share of the distance from the camera.
ONE_M, ONE_SHARE = 0.5, 0.1


class ProbeUpdate(NamedTuple):
    """Which probes begin and end with the next frame."""

    birth: Tensor  # (B, P) bool
    birth_box: Tensor  # (B, P, 4) centre x, y, width, height as fractions of the image
    release: Tensor  # (B, P) bool

    @classmethod
    def none(
        cls, batch: int, probes: int, device: torch.device | str | None = None
    ) -> "ProbeUpdate":
        """Return the update that changes nothing."""
        no = torch.zeros(batch, probes, dtype=torch.bool, device=device)
        return cls(no, torch.zeros(batch, probes, 4, device=device), no)


class ProbeTokens(nn.Module):
    """The probes' input: a learned query, alive or free, and at birth what it is born from.

    A birth is described by the stem's tokens at the centre of the box, never by the trunk's: so all
    frames of a clip can be prepared before the first is understood.
    """

    def __init__(self, config: PervFormerConfig):
        super().__init__()
        width = config.width
        self.query = nn.Parameter(torch.randn(config.probes, width) * width**-0.5)
        self.life = nn.Parameter(torch.randn(2, width) * width**-0.5)  # free, alive
        self.box = nn.Linear(4, width)
        self.birth = nn.Linear(2 * width, width)

    def forward(self, grid: Tensor, alive: Tensor, birth: Tensor, box: Tensor) -> Tensor:
        """Return the tokens (M, P, D).

        Args:
            grid: (M, D, H/16, W/16), the stem's tokens.
            alive: (M, P) bool, with this frame's births and releases done.
            birth: (M, P) bool.
            box: (M, P, 4) as in ProbeUpdate, read where `birth` is.
        """
        box = box.masked_fill(~birth[..., None], 0.5)
        seen = sample_bilinear(grid, box[..., :2])  # (M, P, D)
        born = self.birth(
            torch.cat([seen, F.gelu(self.box(box.to(grid.dtype)), approximate="tanh")], dim=-1)
        )
        life = torch.where(alive[..., None], self.life[1], self.life[0])
        tokens: Tensor = self.query + life + born.masked_fill(~birth[..., None], 0.0)
        return tokens


def alive_after(alive: Tensor, reset: Tensor, birth: Tensor, release: Tensor) -> Tensor:
    """Return which probes are alive in one frame (B, P); a birth outweighs a release.

    Args:
        alive: (B, P) bool, before the frame.
        reset: (B, 1) bool.
        birth: (B, P) bool.
        release: (B, P) bool.
    """
    return birth | (alive & ~(reset | release))


def alive_through(alive: Tensor, reset: Tensor, birth: Tensor, release: Tensor) -> Tensor:
    """Return `alive_after` every frame of a clip, (B, T, P), in parallel over time.

    What a probe is depends on the last frame that changed it.
    """
    frames = torch.arange(1, birth.shape[1] + 1, device=birth.device)[:, None]
    changed = (birth | reset | release) * frames
    last = changed.cummax(dim=1).values  # (B, T, P), 0 = before the clip
    return torch.cat([alive[:, None], birth], dim=1).gather(1, last)


def propose(detections: Detections, percept: Percept) -> ProbeUpdate:
    """Propose the births and releases of the next frame from what was seen in this one.

    Every detection that no living, visible probe explains takes a free probe, the best score the
    first one; a probe that no longer believes in its object is released, and so is one that holds
    out of sight what another holds, too: an object that came back may have been given a new one.
    The same input always gives the same answer, and no shape depends on what was seen.

    Args:
        detections: of this frame, best first.
        percept: of this frame, from `step`.
    """
    alive = percept.alive
    release = alive & (torch.sigmoid(percept.presence) < RELEASE_PRESENCE)
    release = release | _redundant(percept, alive & ~release)
    explains = alive & ~release & (percept.visible > 0)
    explained = _explained(detections, percept, explains)
    new = detections.valid & (detections.score >= BIRTH_SCORE) & ~explained  # (B, K)
    free = ~alive
    # The n-th new detection takes the n-th free probe.
    takes = (new.cumsum(1)[:, None] == free.cumsum(1)[..., None]) & new[:, None] & free[..., None]
    boxes = takes.float() @ corners_to_centre(detections.box)  # (B, P, 4)
    return ProbeUpdate(takes.any(dim=-1), boxes, release)


def _explained(detections: Detections, percept: Percept, seen: Tensor) -> Tensor:
    """Return which detections (B, K) a seen probe explains: it has such a box, or points at it."""
    boxes = centre_to_corners(percept.probe_box)
    overlap = box_iou(detections.box, boxes) > EXPLAINED_IOU  # (B, K, P)
    middle, size = torch.split(corners_to_centre(detections.box), 2, dim=-1)
    aside = (percept.probe_box[:, None, :, :2] - middle[:, :, None]).abs()
    within = (aside < MIDDLE * size[:, :, None]).all(dim=-1)
    label = percept.probe_classes.argmax(dim=-1)
    points = within & (label[:, None] == detections.class_index[:, :, None])
    return ((overlap | points) & seen[:, None]).any(dim=-1)


def _redundant(percept: Percept, alive: Tensor) -> Tensor:
    """Return which probes (B, P) are out of sight and hold what is seen, and another holds."""
    place, label = percept.probe_position, percept.probe_classes.argmax(dim=-1)
    reach = (ONE_SHARE * place.norm(dim=-1)).clamp(min=ONE_M)
    one = torch.cdist(place, place) < reach[:, :, None]  # (B, P, P)
    one = one & (label[:, :, None] == label[:, None])
    seen = alive & (percept.visible > 0)
    redundant: Tensor = alive & ~seen & (one & seen[:, None]).any(dim=-1)
    return redundant


def corners_to_centre(box: Tensor) -> Tensor:
    """Turn boxes (..., 4) from left, top, right, bottom to centre x, y, width, height."""
    low, high = torch.split(box, 2, dim=-1)
    return torch.cat([(low + high) / 2, high - low], dim=-1)
