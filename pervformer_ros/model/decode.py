# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From the raw maps of a Percept to objects, keypoints and motion.

Shapes are fixed, but for how many finds are looked at again.
"""

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pervformer_ros.model.boxes import NEARLY
from pervformer_ros.model.config import FINE
from pervformer_ros.model.fit import Fit
from pervformer_ros.model.heads import Percept
from pervformer_ros.model.looks import Corrected, Found
from pervformer_ros.model.sampling import sample_bilinear

SAME_IOU = 0.4  # two boxes of one class that overlap more are one object
LOOKED_AT = 0.05  # finds that score less are too many to be looked at again, and hardly any is true
AGREE_IOU = 0.5  # boxes of neighbouring cells that overlap more speak of one object
KEYPOINT_RADIUS = 2  # px: no two keypoints are nearer along both axes
# px: so exactly the network knows where a landmark is. It looks at every fourth pixel, and where a
# corner moves by one or two it stays; the image knows better.
LANDMARK_REACH = 3
# px from the edge of the image: nearer to it, what a descriptor sees is padding for the most part,
# which looks alike wherever the camera is.
KEYPOINT_MARGIN = 16
# A third of what a network that knows nothing says, at a fifth of a grey level in 256: bare walls
# have no more to offer, and it is enough not to lose the way before them.
KEYPOINT_SCORE = 0.0002

LookAgain = Callable[[Found], Corrected]
# Returns embeddings (B, K, E) of unit length.
Recognise = Callable[[Found], Tensor]


class Detections(NamedTuple):
    """The K best object centres of each of B frames, best first."""

    valid: Tensor  # (B, K) bool: the score reached the threshold, and it is not all padding
    score: Tensor  # (B, K) in [0, 1]
    class_index: Tensor  # (B, K) int64
    box: Tensor  # (B, K, 4) left, top, right, bottom as fractions of the image
    mask: Tensor  # (B, K, h4, w4) probability, 0 outside the box
    embedding: Tensor  # (B, K, E) unit; comparable among those that reached the threshold
    motion: Tensor  # (B, K) probability that it moves in the world


class Keypoints(NamedTuple):
    """The K best keypoints of each of B frames, best first."""

    valid: Tensor  # (B, K) bool: the score reached the threshold
    score: Tensor  # (B, K) in [0, 1]
    uv: Tensor  # (B, K, 2) pixels of the model's image; the first pixel's centre is (0, 0)
    descriptors: Tensor  # (B, K, E) unit


def detections(
    percept: Percept,
    score_threshold: float = 0.3,
    count: int = 32,
    fit: Fit | None = None,
    look_again: LookAgain | None = None,
    recognise: Recognise | None = None,
) -> Detections:
    """Find objects as peaks of the heat map (CenterNet, https://arxiv.org/abs/1904.07850).

    A box is the mean of what the cells around its peak say that agree with it (box voting,
    https://arxiv.org/abs/1505.01749). Of peaks of one class whose boxes overlap only the best
    counts (Fast NMS of YOLACT, https://arxiv.org/abs/1904.02689).

    Args:
        percept: from `step`, or frames of a clip flattened.
        score_threshold: what a valid detection scores at least.
        count: K.
        fit: where the images lie in the model's; None = they fill it.
        look_again: `BoxHead` with the pictures, to correct the finds; None leaves them.
        recognise: `IdentityHead` with the pictures; None takes what the cells say of who it is.
    """
    heat = torch.sigmoid(percept.heat.float())
    peaks = heat * (F.max_pool2d(heat, 3, stride=1, padding=1) == heat)
    _, classes, rows, columns = heat.shape
    score, index = peaks.flatten(1).topk(min(2 * count, classes * rows * columns))
    box = _vote(percept.box, heat, index)
    category, cell = index // (rows * columns), index % (rows * columns)
    found = Found(score, category, box, _pick(percept.mask_coefficients, cell))
    found, cell = _without_repetitions(found, cell, count)
    if look_again is not None:
        found, cell = _without_repetitions(_corrected(found, look_again), cell, count)
    score, category, box, coefficients = found
    valid = (score >= score_threshold) & _shown(box, fit)
    embedding = _pick(percept.embedding, cell)
    if recognise is not None and (enough := int((score >= score_threshold).sum(dim=1).max())):
        embedding[:, :enough] = recognise(Found(*(x[:, :enough] for x in found)))
    mask = _masks(coefficients, percept.mask_prototypes)
    # One cell more than the box: what is enlarged later is cut at its edge then.
    wide, within = (_in_box(box, mask, cells) for cells in (1, 0))
    return Detections(
        valid=valid,
        score=score,
        class_index=category,
        box=box,
        mask=mask * wide,
        embedding=embedding,
        motion=_mean_motion(percept.motion, mask * within),
    )


def keypoints(
    percept: Percept, contrast: Tensor, count: int = 1024, fit: Fit | None = None
) -> Keypoints:
    """Find keypoints to a fraction of a pixel: corners of the image that are good landmarks.

    The network says how likely there is a landmark (SuperPoint, https://arxiv.org/abs/1712.07629),
    the image where it is and how exactly: at a peak of the corners' contrast. The score is the
    product of both.

    Args:
        percept: from `step`, or frames of a clip flattened.
        contrast: (B, 1, H, W) of their images, see `corner_contrast`.
        count: K.
        fit: where the images lie in the model's; None = they fill it.
    """
    cells = torch.softmax(percept.keypoints.float(), dim=1)[:, :-1]
    landmark = _around(torch.add, F.pixel_shuffle(cells, FINE), LANDMARK_REACH)  # (B, 1, H, W)
    height, width = contrast.shape[-2:]
    is_peak = contrast == _around(torch.maximum, contrast, KEYPOINT_RADIUS)
    worth = landmark * contrast * is_peak * _inside(contrast, fit)
    score, index = worth.flatten(1).topk(min(count, height * width))
    uv = torch.stack([index % width, index // width], dim=-1) + _vertex(contrast, index)
    image = torch.tensor([width, height], device=uv.device)
    descriptors = sample_bilinear(percept.descriptors.float(), (uv + 0.5) / image)
    return Keypoints(score >= KEYPOINT_SCORE, score, uv, F.normalize(descriptors, dim=-1))


def motion_probability(percept: Percept, fit: Fit) -> Tensor:
    """Return (B, H, W) in [0, 1] in the images' own size, that what is seen there moves."""
    logits = percept.motion[:, None].float()
    if fit.padded:
        rows, columns = fit.inside
        logits = F.interpolate(logits, fit.model, mode="bilinear")[..., rows, columns]
    logits = F.interpolate(logits, fit.image, mode="bilinear")
    return torch.sigmoid(logits.squeeze(1))


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the overlap over union (B, K, P) of boxes (B, K, 4) and (B, P, 4), by corners."""
    low = torch.maximum(a[:, :, None, :2], b[:, None, :, :2])
    high = torch.minimum(a[:, :, None, 2:], b[:, None, :, 2:])
    shared = area(low, high)
    areas = [area(box[..., :2], box[..., 2:]) for box in (a, b)]
    union = areas[0][:, :, None] + areas[1][:, None] - shared
    return shared / union.clamp(min=1e-9)


def area(low: Tensor, high: Tensor) -> Tensor:
    """Return the area (...) of boxes by their corners (..., 2), 0 where one is turned over."""
    width, height = (high - low).clamp(min=0.0).unbind(-1)  # prod makes a GPU wait, backwards
    return width * height


def centre_to_corners(box: Tensor) -> Tensor:
    """Turn boxes (..., 4) from centre x, y, width, height to left, top, right, bottom."""
    centre, size = torch.split(box, 2, dim=-1)
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def _corrected(found: Found, look_again: LookAgain) -> Found:
    """Return the finds, best first, and of those that score enough what a second look says."""
    enough = int((found.score >= LOOKED_AT).sum(dim=1).max())
    if not enough:
        return found
    first = Found(*(x[:, :enough] for x in found))
    second = look_again(first)
    # Two opinions, which count alike.
    both = torch.sigmoid((torch.logit(first.score, eps=NEARLY) + second.logits) / 2)
    looked_at = first.score >= LOOKED_AT
    said = first._replace(
        score=torch.where(looked_at, both, first.score),
        class_index=torch.where(looked_at, second.class_index, first.class_index),
        box=second.box.clamp(0.0, 1.0),
    )
    return Found(*(torch.cat([x, y[:, enough:]], dim=1) for x, y in zip(said, found, strict=True)))


def _without_repetitions(found: Found, cell: Tensor, count: int) -> tuple[Found, Tensor]:
    """Return the best finds and their cells (B, K), best first.

    Those that have the class and the place of a better one score 0.
    """
    score, order = found.score.sort(dim=1, descending=True)
    classes = found.class_index.gather(1, order)
    box = found.box.gather(1, order[..., None].expand(-1, -1, 4))
    same = (box_iou(box, box) > SAME_IOU) & (classes[:, :, None] == classes[:, None])
    better = torch.tril(torch.ones_like(same), diagonal=-1)  # row k: those before it
    score = score.masked_fill((same & better).any(dim=-1), 0.0)
    score, best = score.topk(min(count, score.shape[1]))
    order = order.gather(1, best)

    def chosen(x: Tensor) -> Tensor:
        return x.gather(1, order[..., None].expand(-1, -1, x.shape[2]))

    kept = Found(
        score,
        found.class_index.gather(1, order),
        chosen(found.box),
        chosen(found.mask_coefficients),
    )
    return kept, cell.gather(1, order)


def _pick(maps: Tensor, cell: Tensor) -> Tensor:
    """Return (B, K, C), the channels of maps (B, C, h, w) at flat cell indices (B, K)."""
    flat = maps.float().flatten(2).transpose(1, 2)
    return flat.gather(1, cell[..., None].expand(-1, -1, flat.shape[2]))


def _corners(sides: Tensor, cell: Tensor, rows: int, columns: int) -> Tensor:
    """Return corners (B, K, 4) as fractions of the image, cut off at its edges."""
    x, y = (cell % columns + 0.5) / columns, (cell // columns + 0.5) / rows
    centre = torch.stack([x, y], dim=-1)
    corners = torch.cat([centre - sides[..., :2], centre + sides[..., 2:]], dim=-1)
    return corners.clamp(0.0, 1.0)


def _vote(sides: Tensor, heat: Tensor, index: Tensor) -> Tensor:
    """Return corners (B, K, 4), each a mean over the 3x3 cells around an index.

    Their weight is the root of the heat of the index's class, and none where they disagree.

    Args:
        sides: (B, 4, h, w).
        heat: (B, classes, h, w) in [0, 1].
        index: (B, K) flat, of classes and cells.
    """
    rows, columns = heat.shape[-2:]
    shift = torch.arange(-1, 2, device=index.device)
    across = (index % columns)[..., None, None] + shift
    down = (index // columns % rows)[..., None, None] + shift[:, None]
    inside = (across >= 0) & (across < columns) & (down >= 0) & (down < rows)
    across, down = across.clamp(0, columns - 1), down.clamp(0, rows - 1)
    cell = (down * columns + across).flatten(2)  # (B, K, 9), the fifth is the peak itself
    plane = (index // (rows * columns) * (rows * columns))[..., None]
    said = _corners(_pick(sides, cell.flatten(1)), cell.flatten(1), rows, columns)
    said = torch.unflatten(said, 1, cell.shape[1:])  # (B, K, 9, 4)
    alike = box_iou(said[:, :, 4:5].flatten(0, 1), said.flatten(0, 1)).reshape(cell.shape)
    weight = heat.flatten(1).gather(1, (plane + cell).flatten(1)).reshape(cell.shape).sqrt()
    weight = weight * ((alike > AGREE_IOU) & inside.flatten(2))
    weight[..., 4] = weight[..., 4].clamp(min=1e-6)
    return (weight[..., None] * said).sum(2) / weight.sum(2, keepdim=True)


def _masks(coefficients: Tensor, prototypes: Tensor) -> Tensor:
    """Return mask probabilities (B, K, h4, w4) (YOLACT, https://arxiv.org/abs/1904.02689)."""
    logits = coefficients @ prototypes.float().flatten(2)
    return torch.sigmoid(torch.unflatten(logits, 2, prototypes.shape[-2:]))


def _in_box(box: Tensor, mask: Tensor, margin: int) -> Tensor:
    """Return which cells of masks (B, K, h4, w4) lie in their box, or so many beside it."""
    rows, columns = mask.shape[-2:]
    x = (torch.arange(columns, device=box.device) + 0.5) / columns
    y = ((torch.arange(rows, device=box.device) + 0.5) / rows)[:, None]
    left, top, right, bottom = box[..., None, None].unbind(dim=2)
    across = (x >= left - margin / columns) & (x <= right + margin / columns)
    return across & (y >= top - margin / rows) & (y <= bottom + margin / rows)


def _shown(box: Tensor, fit: Fit | None) -> Tensor:
    """Return which boxes (B, K, 4) show anything of the image, and not padding alone."""
    left, top, right, bottom = fit.bounds if fit else (0.0, 0.0, 1.0, 1.0)
    across = (box[..., 0] < right) & (box[..., 2] > left)
    return across & (box[..., 1] < bottom) & (box[..., 3] > top)


def _mean_motion(motion: Tensor, mask: Tensor) -> Tensor:
    """Return (B, K), the motion probability averaged over each mask."""
    weights = mask.flatten(2)
    moving = torch.sigmoid(motion.float()).flatten(1)[..., None]
    return (weights @ moving).squeeze(-1) / weights.sum(dim=-1).clamp(min=1e-6)


def _around(combine: Callable[[Tensor, Tensor], Tensor], maps: Tensor, radius: int) -> Tensor:
    """Return what (B, 1, H, W) comes to within a radius along each axis, 0 beyond the edges.

    Shifted copies, for pooling takes ten times as long.
    """
    for axis, margin in ((-1, (radius, radius)), (-2, (0, 0, radius, radius))):
        size = maps.shape[axis]
        padded = F.pad(maps, margin)
        maps = reduce(
            combine, (padded.narrow(axis, shift, size) for shift in range(2 * radius + 1))
        )
    return maps


def _inside(maps: Tensor, fit: Fit | None) -> Tensor:
    """Return (H, W), 0 in padding and in the margin beside it, 1 within."""
    height, width = maps.shape[-2:]
    within = fit.inside if fit else (slice(0, height), slice(0, width))
    rows, columns = (slice(s.start + KEYPOINT_MARGIN, s.stop - KEYPOINT_MARGIN) for s in within)
    inside = torch.zeros(height, width, device=maps.device)
    inside[rows, columns] = 1.0
    return inside


def _vertex(maps: Tensor, index: Tensor) -> Tensor:
    """Return (B, K, 2), x and y from each peak to that of parabolas through it and its neighbours.

    Args:
        maps: (B, 1, H, W).
        index: (B, K) flat, of peaks that are not at the edge.
    """
    width, flat = maps.shape[-1], maps.flatten(1)
    last = flat.shape[1] - 1

    def at(shift: int) -> Tensor:
        return flat.gather(1, (index + shift).clamp(0, last))

    def along(step: int) -> Tensor:
        before, after = at(-step), at(step)
        bend = (2 * at(0) - before - after).clamp(min=1e-9)
        return ((after - before) / (2 * bend)).clamp(-0.5, 0.5)

    return torch.stack([along(1), along(width)], dim=-1)
