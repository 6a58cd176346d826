# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Detection: average precision at IoU 0.5, by pycocotools."""

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pervformer_ros.evaluation.perception.records import SAME, Record, with_size
from pervformer_ros.model.config import CLASSES

MOST = 100  # detections of an image and class that count, as on COCO


def average_precision(
    records: Sequence[Record], classes: Sequence[str] = CLASSES, any_class: bool = False
) -> dict[str, float]:
    """Return AP50 of every class that occurs (COCO, 101 recall levels).

    Objects that show too little are crowds, of every class: a detection on one does not count.

    Args:
        records: those with truth count.
        classes: what can be told apart.
        any_class: do not look at classes; the one figure is called "object".
    """
    judged = [r for r in records if r.truth is not None]
    with contextlib.redirect_stdout(io.StringIO()):  # it says what it does
        truth = COCO()
        truth.dataset = _dataset(judged, classes)
        truth.createIndex()
        found = _detections(judged, classes)
        if not len(truth.anns) or not len(found):
            present = sorted(
                {classes[a["category_id"] - 1] for a in truth.anns.values() if not a["iscrowd"]}
            )
            return dict.fromkeys(["object"] if any_class and present else present, 0.0)
        run = COCOeval(truth, truth.loadRes(found), "bbox")
        run.params.iouThrs = np.array([SAME])
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.params.maxDets = [MOST]
        run.params.useCats = int(not any_class)
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][0, :, :, 0, 0]  # (recall levels, classes)
    names = ["object"] if any_class else classes
    return {
        name: float(curve.mean())
        for name, curve in zip(names, precision.T, strict=True)
        if curve[0] >= 0  # -1 where there is no true object
    }


def _dataset(
    records: Sequence[Record], classes: Sequence[str]
) -> dict[str, list[dict[str, object]]]:
    annotations: list[dict[str, object]] = []

    def add(image: int, category: int, box: np.ndarray, crowd: bool) -> None:
        annotations.append({
            "id": len(annotations) + 1,
            "image_id": image,
            "category_id": category,
            "bbox": box.tolist(),
            "area": float(box[2] * box[3]),
            "iscrowd": int(crowd),
        })  # fmt: skip

    for image, record in enumerate(records):
        truth = record.truth
        assert truth is not None
        seen = truth.boxes(truth.seen)
        for label, box in zip(seen.label.tolist(), with_size(seen.box), strict=True):
            add(image, classes.index(label) + 1, box, crowd=False)
        # A crowd only matters to those detected in it.
        found = {classes.index(label) + 1 for label in record.detections.label.tolist()}
        for box in with_size(truth.box[truth.ignored]):
            for category in sorted(found):
                add(image, category, box, crowd=True)
    return {
        "images": [{"id": image} for image in range(len(records))],
        "categories": [{"id": i, "name": name} for i, name in enumerate(classes, 1)],
        "annotations": annotations,
    }


def _detections(records: Sequence[Record], classes: Sequence[str]) -> np.ndarray:
    """Return (N, 7): image, left, top, width, height, score, category."""
    rows = [np.empty((0, 7))]
    for image, record in enumerate(records):
        found = record.detections
        category = [classes.index(label) + 1.0 for label in found.label.tolist()]
        images = np.full(len(found), float(image))
        rows.append(np.column_stack([images, with_size(found.box), found.score, category]))
    return np.concatenate(rows)
