# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Motion masks: overlap with the truth, steadiness, false alarms."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import binary_jaccard_index

from pervformer_ros.evaluation.perception.records import MIN_PIXELS, MotionScore, Record


@dataclass(frozen=True, slots=True)
class Motion:
    """A run's motion masks; None = no frame can tell.

    iou: mean over the frames in which something moves (J of DAVIS, Perazzi et al. 2016).
    flicker: mean |IoU_t - IoU_t-1| over neighbouring frames of these.
    false_alarm: part of the image that is said to move, mean over the frames in which nothing does.
    """

    iou: float | None = None
    flicker: float | None = None
    false_alarm: float | None = None


def score(said: NDArray[np.bool_], true: NDArray[np.bool_]) -> MotionScore:
    """Judge one frame's mask (H, W) by the true one."""
    moving = int(true.sum())
    iou = None
    if moving:
        given, target = (torch.from_numpy(mask.astype(np.uint8)) for mask in (said, true))
        iou = float(binary_jaccard_index(given, target, validate_args=False))
    return MotionScore(moving, iou, float((said & ~true).mean()))


def measure_motion(
    sequences: Sequence[Sequence[Record]], method: str, least: int = MIN_PIXELS
) -> Motion:
    """Sum up runs. Frames in which fewer than `least` pixels move, but some, do not count."""
    overlaps, changes, alarms = [], [], []
    for run in sequences:
        scores = [r.motion.get(method) for r in run]
        overlaps += [s.iou for s in scores if s and s.iou is not None and s.moving_pixels >= least]
        alarms += [s.false_alarm for s in scores if s and s.moving_pixels == 0]
        for before, now in pairwise(scores):
            both = [s.iou for s in (before, now) if s and s.moving_pixels >= least]
            if len(both) == 2 and both[0] is not None and both[1] is not None:
                changes.append(abs(both[1] - both[0]))
    return Motion(*(float(np.mean(x)) if x else None for x in (overlaps, changes, alarms)))
