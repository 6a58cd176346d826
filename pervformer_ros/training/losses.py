# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is asked of each head, as losses; all of them means over what was asked."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pervformer_ros.model.config import CLASSES, FINE, FINEST
from pervformer_ros.model.decode import box_iou, centre_to_corners
from pervformer_ros.model.heads import Percept
from pervformer_ros.model.points import Points
from pervformer_ros.model.sampling import sample_bilinear
from pervformer_ros.training.correspondence import PointTargets
from pervformer_ros.training.lives import ProbeTargets
from pervformer_ros.training.targets import DenseTargets

IDENTITY_TEMPERATURE = 0.1
DESCRIPTOR_TEMPERATURE = 0.07
TOO_NEAR = 1.5  # cells: a point this near to the right one is not held to be wrong

# What the peaks of classes count for that most images do not show.
SELDOM = {"pallet_jack": 1.5, "box": 1.5, "cone": 1.5, "robot": 1.5}

NOTHING = 0.75  # what all that is no object counts for, against the objects

WEIGHTS = {
    "heat": 3.0, "box": 2.0, "mask": 0.5, "identity": 0.3, "motion": 1.2, "keypoint": 0.5,
    "descriptor": 0.5, "presence": 1.0, "visible": 0.5, "category": 0.5,
    "pointing": 0.5, "probe_box": 2.0, "position": 1.0, "probe_motion": 0.5,
}  # fmt: skip


def dense_losses(percept: Percept, asked: DenseTargets, world: Tensor) -> dict[str, Tensor]:
    """Return the losses of the patch heads; axes of `percept` are (B, T, ...), world (B,)."""
    said = Percept(*(x.float() if x.is_floating_point() else x for x in percept))
    return {
        "heat": heat_loss(said.heat, box_overlap(said.box, asked.box).detach(), asked),
        "box": box_loss(said.box, asked.box, asked.box_weight),
        "mask": mask_loss(said, asked),
        "identity": identity_loss(said.embedding, asked, world),
        "motion": motion_loss(said.motion, asked.motion, asked.motion_weight),
    }


def point_losses(said: Points, asked: PointTargets) -> dict[str, Tensor]:
    """Return the losses of keypoints and descriptors; axes of `said` are (B, T, ...)."""
    keypoints, cells = (x.flatten(0, 1) for x in (said.keypoints.float(), asked.keypoint))
    return {
        "keypoint": F.cross_entropy(keypoints, cells, ignore_index=-1),
        "descriptor": descriptor_loss(said.descriptors, asked),
    }


def probe_losses(percept: Percept, asked: ProbeTargets, dense: DenseTargets) -> dict[str, Tensor]:
    """Return the losses of the probes; axes of `percept` are (B, T, ...)."""
    alive = asked.alive
    held = alive & (asked.body > 0)
    kept = held & (asked.presence > 0.5)
    boxed = kept & asked.box_valid
    return {
        "presence": _binary(percept.presence, asked.presence, alive),
        "visible": _binary(percept.visible, asked.visible, held),
        "category": _mean(
            F.cross_entropy(
                percept.probe_classes.float().flatten(0, 2),
                asked.category.flatten(),
                reduction="none",
            ),
            kept.flatten(),
        ),
        "pointing": pointing_loss(
            percept.probe_attention, dense, asked.body, held & (asked.visible > 0.5)
        ),
        "probe_box": probe_box_loss(percept.probe_box.float(), asked.box, boxed),
        "position": position_loss(percept.probe_position.float(), asked.position, kept),
        "probe_motion": _binary(percept.probe_motion, asked.motion, kept),
    }


def heat_loss(logits: Tensor, overlap: Tensor, asked: DenseTargets) -> Tensor:
    """Varifocal loss (arXiv:2008.13367, eq. 2): a cell's score is how good a box it tells.

    In the inner part of an object its class is asked for, elsewhere none; the neighbours of a peak
    are forgiven as CornerNet does (arXiv:1808.01244, eq. 1). Cells count as much as they are in the
    middle, those of classes that are seen seldom for more.

    Args:
        logits: (B, T, classes, h, w).
        overlap: (B, T, h, w) of each cell's box with the one that is asked of it.
        asked: heat, its weight, and what is asked where.
    """
    inner = (asked.box_weight * asked.heat_weight)[:, :, None] > 0
    classes = torch.arange(logits.shape[2], device=logits.device)[:, None, None]
    ours = (asked.category[:, :, None] == classes) & inner
    middle = asked.heat * ours
    goal = overlap[:, :, None] * ours
    cross = F.binary_cross_entropy_with_logits(logits, goal, reduction="none")
    peak = cross * goal * middle * _seldom(logits.device)[:, None, None]
    forgiven = (1 - asked.heat) ** 4 * asked.heat_weight[:, :, None] * ~ours
    rest = NOTHING * torch.sigmoid(logits) ** 2 * cross * forgiven
    return (peak + rest).sum() / middle.sum().clamp(min=1)


def box_loss(sides: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """1 - GIoU (arXiv:1902.09630) of boxes that share the point their sides are measured from.

    Args:
        sides: (B, T, 4, h, w) left, top, right, bottom.
        target: likewise.
        weight: (B, T, h, w).
    """
    shared, union = _shared_and_union(sides, target)
    hull = _area(torch.maximum(sides, target)).clamp(min=1e-9)
    giou = shared / union - (hull - union) / hull
    return ((1 - giou) * weight).sum() / weight.sum().clamp(min=1)


def box_overlap(sides: Tensor, target: Tensor) -> Tensor:
    """Return the overlap over union (B, T, h, w) of boxes (B, T, 4, h, w), as in `box_loss`."""
    shared, union = _shared_and_union(sides, target)
    return shared / union


def _shared_and_union(sides: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    # A cell's centre may lie outside the box: then the overlap on that axis may be nothing.
    shared = _area(torch.minimum(sides, target), clamp=True)
    union = _area(sides, clamp=True) + _area(target) - shared
    return shared, union.clamp(min=1e-9)


def _area(sides: Tensor, clamp: bool = False) -> Tensor:
    left, top, right, bottom = sides.unbind(2)
    width, height = left + right, top + bottom
    return width.clamp(min=0) * height.clamp(min=0) if clamp else width * height


def mask_loss(said: Percept, asked: DenseTargets) -> Tensor:
    """Cross-entropy and Dice of the masks of objects, each within a box somewhat larger."""
    coefficients = _at_cells(said.mask_coefficients, asked.cell)  # (B, T, O, Q)
    logits = torch.einsum("btoq,btqhw->btohw", coefficients, said.mask_prototypes)
    exists = asked.body > 0
    target = (asked.instance[:, :, None] == asked.body[..., None, None]).float()
    rows, columns = logits.shape[-2:]
    x = (torch.arange(columns, device=logits.device) + 0.5) / columns
    y = ((torch.arange(rows, device=logits.device) + 0.5) / rows)[:, None]
    low, high = asked.corners[..., :2], asked.corners[..., 2:]
    margin = 0.1 * (high - low) + 1 / columns
    left, top = (low - margin)[..., None, None].unbind(3)
    right, bottom = (high + margin)[..., None, None].unbind(3)
    inside = ((x >= left) & (x <= right) & (y >= top) & (y <= bottom)).float()
    area = inside.sum((-2, -1)).clamp(min=1)
    cross = (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * inside).sum(
        (-2, -1)
    )
    p = torch.sigmoid(logits) * inside
    dice = 1 - (2 * (p * target).sum((-2, -1)) + 1) / (
        p.sum((-2, -1)) + (target * inside).sum((-2, -1)) + 1
    )
    return _mean(cross / area + dice, exists)


def identity_loss(embedding: Tensor, asked: DenseTargets, world: Tensor) -> Tensor:
    """Contrast each object's embedding with all others of the batch (arXiv:2004.11362, eq. 2).

    But not with those of another stream of the same hall: they may be the same.
    """
    found = _at_cells(embedding, asked.cell)
    stream = torch.arange(len(found), device=found.device)[:, None, None].expand(asked.body.shape)
    who = (stream * 4096 + asked.body).flatten()
    there = (asked.body > 0).flatten()
    hall = world[:, None, None].expand(asked.body.shape).flatten()
    stream = stream.flatten()
    found = F.normalize(found.flatten(0, 2), dim=-1)
    alike = who[:, None] == who
    itself = torch.eye(len(who), dtype=torch.bool, device=who.device)
    unsure = (hall[:, None] == hall) & (stream[:, None] != stream)
    logits = (found @ found.T / IDENTITY_TEMPERATURE).masked_fill(itself | unsure | ~there, -1e4)
    positive = (alike & ~itself & there).float()
    log_p = torch.log_softmax(logits, dim=1)
    count = positive.sum(1)
    return _mean(-(log_p * positive).sum(1) / count.clamp(min=1), there & (count > 0))


def motion_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy, and Dice over the frames in which something moves."""
    cross = F.binary_cross_entropy_with_logits(
        logits, target, weight, reduction="sum"
    ) / weight.sum().clamp(min=1)
    p = torch.sigmoid(logits) * weight
    target = target * weight
    both, either = (p * target).sum((-2, -1)), p.sum((-2, -1)) + target.sum((-2, -1))
    moving = target.sum((-2, -1)) > 0
    return 4 * cross + _mean(1 - (2 * both + 1) / (either + 1), moving)


def descriptor_loss(maps: Tensor, asked: PointTargets) -> Tensor:
    """Tell each point from all others of the other frame, both ways."""
    streams = torch.arange(len(maps), device=maps.device)[:, None].expand(asked.pairs.shape[:2])
    a = _describe(maps[streams, asked.pairs[..., 0]], asked.first)
    b = _describe(maps[streams, asked.pairs[..., 1]], asked.second)
    valid = asked.matched.flatten(0, 1)
    logits = a @ b.transpose(1, 2) / DESCRIPTOR_TEMPERATURE  # (M, N, N)
    near = torch.zeros_like(logits, dtype=torch.bool)
    for points in (asked.first, asked.second):
        x, y = points.flatten(0, 1).unbind(-1)
        where = torch.stack([x * maps.shape[-1], y * maps.shape[-2]], dim=-1)
        near |= torch.cdist(where, where) < TOO_NEAR
    itself = torch.eye(logits.shape[1], dtype=torch.bool, device=maps.device)
    wrong = (near & ~itself) | ~valid[:, None] | ~valid[:, :, None]
    logits = logits.masked_fill(wrong & ~itself, -1e4)
    right = torch.arange(logits.shape[1], device=maps.device).expand(valid.shape)
    losses = [F.cross_entropy(x.flatten(0, 1), right.flatten(), reduction="none")
              for x in (logits, logits.transpose(1, 2))]  # fmt: skip
    return _mean((losses[0] + losses[1]) / 2, valid.flatten())


def pointing_loss(attention: Tensor, dense: DenseTargets, body: Tensor, seen: Tensor) -> Tensor:
    """How little of the probes' attention (B, T, P, h8, w8) is on the objects that they hold.

    Args:
        attention: sums to 1.
        dense: tells what each cell shows.
        body: (B, T, P) that the probes hold, as in ProbeTargets.
        seen: (B, T, P) bool.
    """
    step = FINE // FINEST
    cells = dense.instance[:, :, step // 2 :: step, step // 2 :: step]  # near each cell's middle
    mine = cells[:, :, None] == body[..., None, None]
    seen = seen & mine.any(-1).any(-1)
    there = (attention.float() * mine).sum((-2, -1))
    return _mean(-torch.log(there.clamp(min=1e-4)), seen)


def probe_box_loss(box: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Absolute difference and 1 - IoU of probes' boxes (B, T, P, 4)."""
    distance = (box - target).abs().sum(-1)
    a, b = (centre_to_corners(x).flatten(0, 2)[:, None] for x in (box, target))
    overlap = box_iou(a, b).reshape(valid.shape)
    return _mean(2 * distance + 1 - overlap, valid)


def position_loss(position: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Huber loss of positions (B, T, P, 3) in metres."""
    return _mean(F.smooth_l1_loss(position, target, reduction="none", beta=0.3).sum(-1), valid)


def total(losses: dict[str, Tensor]) -> Tensor:
    """Return the weighted sum."""
    return torch.stack([WEIGHTS[name] * value for name, value in losses.items()]).sum()


@cache
def _seldom(device: torch.device) -> Tensor:
    """Return what each class counts for, (classes,); on a GPU only the first time costs a wait."""
    return torch.tensor([SELDOM.get(name, 1.0) for name in CLASSES], device=device)


def _at_cells(maps: Tensor, cell: Tensor) -> Tensor:
    """Return (B, T, O, C), the channels of maps (B, T, C, h, w) at flat cells (B, T, O)."""
    flat = maps.flatten(3).transpose(2, 3)
    return flat.gather(2, cell[..., None].expand(-1, -1, -1, flat.shape[3]))


def _describe(maps: Tensor, points: Tensor) -> Tensor:
    """Return unit descriptors (M, N, E) at points (B, PAIRS, N, 2) of maps (B, PAIRS, E, h, w)."""
    return F.normalize(sample_bilinear(maps.flatten(0, 1), points.flatten(0, 1)), dim=-1)


def _binary(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    return _mean(
        F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none"), valid
    )


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    """Return the mean of the valid values, 0 where there are none."""
    return torch.where(valid, values, values.detach() * 0.0).sum() / valid.sum().clamp(min=1)
