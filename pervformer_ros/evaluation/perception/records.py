# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is kept of each frame: what was true, what the model said, what was published.

Records are small and hold no images, so that half an hour of them fits; every figure is a function
of a list of records, and so is that of any part of the run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from scipy.optimize import linear_sum_assignment

from pervformer_ros.geometry import Array
from pervformer_ros.model.config import CLASSES

MIN_PIXELS = 150  # an object that shows fewer is neither required nor punished
HIDDEN_PIXELS = 10  # an object that shows fewer is hidden, or outside the image
SAME = 0.5  # IoU from which two boxes are of the same object


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """K labelled boxes of one image.

    id: (K,) int64. label: (K,) str. score: (K,).
    box: (K, 4) left, top, right, bottom pixels.
    """

    id: NDArray[np.int64]
    label: NDArray[np.str_]
    box: NDArray[np.float32]
    score: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.id)

    def take(self, chosen: NDArray[np.bool_]) -> "Boxes":
        """Return the chosen ones, (K,) bool."""
        return Boxes(self.id[chosen], self.label[chosen], self.box[chosen], self.score[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The M true objects of one image, those that are out of sight too.

    id, label, pixels: (M,); a label is "" where the object was never seen well enough to be told.
    box: (M, 4) of the pixels, NaN where there are none.
    position: (M, 3) m in the camera's optical frame, NaN where nobody told.
    """

    id: NDArray[np.int64]
    label: NDArray[np.str_]
    pixels: NDArray[np.int64]
    box: NDArray[np.float32]
    position: Array

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which (M,) must be found: those that show enough, and are of a class there is."""
        return (self.pixels >= MIN_PIXELS) & np.isin(self.label, CLASSES)

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """Which (M,) show, but need not be found."""
        return (self.pixels > 0) & ~self.seen

    def boxes(self, chosen: NDArray[np.bool_]) -> Boxes:
        """Return the boxes of the chosen ones, (M,) bool."""
        ones = np.ones(int(chosen.sum()), np.float32)
        return Boxes(self.id[chosen], self.label[chosen], self.box[chosen], ones)


@dataclass(frozen=True, slots=True, eq=False)
class Claims:
    """What a memory claims about K objects: those it sees, and those it remembers.

    id: (K,) int64, an identity for life.
    box: (K, 4) pixels, NaN where it says that the object is not seen now.
    position: (K, 3) m in the camera's optical frame.
    """

    id: NDArray[np.int64]
    box: NDArray[np.float32]
    position: Array


@dataclass(frozen=True, slots=True)
class MotionScore:
    """One frame's motion mask.

    moving_pixels: how many truly move.
    iou: with them, None where none moves.
    false_alarm: part of the image that is said to move and does not.
    """

    moving_pixels: int
    iou: float | None
    false_alarm: float


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One frame.

    truth: None where the bag does not tell.
    detections: of the network alone, down to low scores.
    published: the objects in view, with their ids for life.
    claims: what is remembered, by source: "probes" and "published".
    motion: by method; empty where the bag does not tell.
    """

    stamp_ns: int
    truth: Truth | None
    detections: Boxes
    published: Boxes
    claims: dict[str, Claims] = field(default_factory=dict)
    motion: dict[str, MotionScore] = field(default_factory=dict)
    state_bytes: int = 0


def no_boxes() -> Boxes:
    """Return none."""
    return as_boxes([], [], [], [])


def as_boxes(
    ids: Sequence[int], labels: Sequence[str], boxes: Sequence[object], scores: Sequence[float]
) -> Boxes:
    """Return K boxes, each (4,), from lists."""
    return Boxes(
        np.array(ids, np.int64),
        np.array(labels, np.str_),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
    )


def overlaps(
    first: NDArray[np.floating], second: NDArray[np.floating], of_first: bool = False
) -> Array:
    """Return the overlaps (A, B) of boxes (A, 4) and (B, 4), by corners.

    Args:
        first: left, top, right, bottom pixels.
        second: the same.
        of_first: as part of the first box instead of the union of both.
    """
    if not len(first) or not len(second):
        return np.zeros((len(first), len(second)))
    parts = np.full(len(second), of_first, np.uint8)
    return np.asarray(coco.iou(with_size(first), with_size(second), parts), float)


def pair(
    first: NDArray[np.floating], second: NDArray[np.floating]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which boxes (A, 4) and (B, 4) are of the same objects, as two lists of indices.

    One to one, as many pairs as possible, and of those the ones that overlap most.
    """
    shared = overlaps(first, second)
    rows, columns = linear_sum_assignment(np.where(shared >= SAME, -1.0 - shared, 0.0))
    good = shared[rows, columns] >= SAME
    return rows[good], columns[good]


def with_size(boxes: NDArray[np.floating]) -> Array:
    """Return boxes (K, 4) as left, top, width, height."""
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
