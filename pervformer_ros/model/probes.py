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
    doubted = alive & (torch.sigmoid(percept.presence) < RELEASE_PRESENCE)
    seen = alive & ~doubted & (percept.visible > 0)
    held = percept.probe_classes.argmax(dim=-1)
    release = doubted | (alive & _held_by_a_seen_one(percept.probe_position, held, seen))
    box = corners_to_centre(detections.box)
    explained = _explained(detections, box, percept.probe_box, held, seen)
    new = detections.valid & (detections.score >= BIRTH_SCORE) & ~explained  # (B, K)
    free = ~alive
    # The n-th new detection takes the n-th free probe.
    takes = (new.cumsum(1)[:, None] == free.cumsum(1)[..., None]) & new[:, None] & free[..., None]
    return ProbeUpdate(takes.any(dim=-1), takes.float() @ box, release)


def _explained(
    detections: Detections, box: Tensor, probe_box: Tensor, held: Tensor, seen: Tensor
) -> Tensor:
    """Return which detections (B, K) a seen probe explains: it has such a box, or points at it.

    Args:
        detections: of this frame.
        box: (B, K, 4) theirs, as `probe_box`.
        probe_box: (B, P, 4) centre x, y, width, height as fractions of the image.
        held: (B, P) the classes of the probes' objects.
        seen: (B, P) bool.
    """
    alike = box_iou(detections.box, centre_to_corners(probe_box)) > EXPLAINED_IOU  # (B, K, P)
    aside = (probe_box[:, None, :, :2] - box[:, :, None, :2]).abs()
    within = (aside < MIDDLE * box[:, :, None, 2:]).all(dim=-1)
    points = within & (held[:, None] == detections.class_index[:, :, None])
    return ((alike | points) & seen[:, None]).any(dim=-1)


def _held_by_a_seen_one(position: Tensor, held: Tensor, seen: Tensor) -> Tensor:
    """Return which unseen probes (B, P) hold what a seen one holds, too.

    Args:
        position: (B, P, 3) m in the camera frame.
        held: (B, P) the classes of the probes' objects.
        seen: (B, P) bool.
    """
    reach = (ONE_SHARE * position.norm(dim=-1)).clamp(min=ONE_M)
    one = torch.cdist(position, position) < reach[:, :, None]  # (B, P, P)
    one = one & (held[:, :, None] == held[:, None])
    redundant: Tensor = ~seen & (one & seen[:, None]).any(dim=-1)
    return redundant


def corners_to_centre(box: Tensor) -> Tensor:
    """Turn boxes (..., 4) from left, top, right, bottom to centre x, y, width, height."""
    low, high = torch.split(box, 2, dim=-1)
    return torch.cat([(low + high) / 2, high - low], dim=-1)
