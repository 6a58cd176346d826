# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Contact sheets: frames with what is true above and what is told below."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.bags.ground_truth import TrueMoment
from pervformer_ros.evaluation.perception.observer import PRESENT, VISIBLE
from pervformer_ros.evaluation.perception.records import Record
from pervformer_ros.frame import Frame
from pervformer_ros.model.perceiver import ProbeArrays
from pervformer_ros.pipeline import PipelineOutput

Picture = NDArray[np.uint8]
COLUMNS = 4
WHITE, GREY = (255, 255, 255), (170, 170, 170)
TINT = np.array([255, 0, 220], np.uint8)
TEXT_SIZE = 0.33


def draw_pair(
    frame: Frame,
    moment: TrueMoment | None,
    output: PipelineOutput,
    record: Record,
    threshold: float,
    title: str,
) -> Picture:
    """Return what is true of a frame above what is told of it, (2 H, W, 3).

    Moving pixels are magenta. True objects that need not be found are grey. Below, an object's
    colour goes with its id; hidden ones that a probe keeps are grey and have the probe's number.
    """
    above, below = frame.rgb.copy(), frame.rgb.copy()
    if moment is not None and moment.moving is not None:
        _tint(above, moment.moving)
    if record.truth is not None:
        truth = record.truth
        for i in np.flatnonzero(truth.pixels > 0):
            colour = _colour(int(truth.id[i])) if truth.seen[i] else GREY
            _box(above, truth.box[i], f"{truth.label[i]} {truth.id[i]}", colour)
    _tint(below, output.percept.motion_probability >= threshold)
    found = output.percept.detections
    for mask in found.mask:
        outline, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        cv2.drawContours(below, outline, -1, WHITE, 1)
    told = record.published
    for number, label, box in zip(told.id.tolist(), told.label, told.box, strict=True):
        _box(below, box, f"{label} {number}", _colour(number))
    _hidden(below, output.percept.probes)
    _write(above, title, (4, frame.camera.height - 6))
    return np.vstack([above, below])


def write_sheet(pictures: Sequence[Picture], path: Path) -> None:
    """Write pictures as one, in rows; nothing where there is none.

    Raises:
        OSError: if it cannot be written.
    """
    if not pictures:
        return
    height = max(p.shape[0] for p in pictures)
    width = max(p.shape[1] for p in pictures)
    padded = [
        np.pad(p, ((0, height - p.shape[0]), (0, width - p.shape[1]), (0, 0))) for p in pictures
    ]
    empty = [np.zeros((height, width, 3), np.uint8)] * (-len(padded) % COLUMNS)
    cells = [*padded, *empty]
    rows = [np.hstack(cells[i : i + COLUMNS]) for i in range(0, len(cells), COLUMNS)]
    if not cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path} cannot be written")


def _hidden(picture: Picture, probes: ProbeArrays) -> None:
    kept = probes.alive & (probes.presence >= PRESENT) & (probes.visible < VISIBLE)
    for i in np.flatnonzero(kept):
        _box(picture, probes.box[i], f"hidden {i}", GREY)


def _tint(picture: Picture, mask: NDArray[np.bool_]) -> None:
    picture[mask] = picture[mask] // 2 + TINT // 2


def _box(
    picture: Picture, box: NDArray[np.floating], text: str, colour: tuple[int, int, int]
) -> None:
    left, top, right, bottom = np.clip(np.rint(box), -1000, 5000).astype(int).tolist()
    cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), colour, 1)
    _write(picture, text, (max(left + 2, 0), max(top + 9, 9)), colour)


def _write(
    picture: Picture,
    text: str,
    at: tuple[int, int],
    colour: tuple[int, int, int] = WHITE,
) -> None:
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, TEXT_SIZE, 1)
    x, y = at
    strip = picture[max(y - height - 2, 0) : y + 3, max(x - 1, 0) : x + width + 1]
    strip //= 3  # so that the text is read over anything
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, TEXT_SIZE, colour, 1, cv2.LINE_AA)


def _colour(number: int) -> tuple[int, int, int]:
    """Return a bright colour that goes with an id; neighbouring ids differ most."""
    r, g, b = colorsys.hsv_to_rgb(number * 0.618 % 1.0, 0.75, 1.0)
    return round(255 * r), round(255 * g), round(255 * b)
