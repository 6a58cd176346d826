# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames of a recording are watched, through which window, and how they are changed."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from pervformer_ros.model.config import PATCH
from pervformer_ros.training.recording import Recording

# Seconds between frames that are worth learning from: 15 Hz down to 4 Hz.
LONGEST_STEP = 0.26
SKIP = 0.1  # share of frames that are lost on the way
CHOICES = 2  # streams that one is chosen from
WORTH_PIXELS = 150  # what an object must show to count in that choice
ON_OBJECT = 0.8  # share of windows that are laid around an object


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A part of the image: row and column of its first pixel, height and width.

    It is seen at 1 / shrink of its size.
    """

    top: int
    left: int
    height: int
    width: int
    shrink: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width as it is seen."""
        return self.height // self.shrink, self.width // self.shrink

    def cut(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the part of an image (H, W, ...): means of colours, single values of all else."""
        part = image[self.top : self.top + self.height, self.left : self.left + self.width]
        if self.shrink == 1:
            return part
        if part.ndim == 3:
            size = self.shape[::-1]
            return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA))
        return part[:: self.shrink, :: self.shrink]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A stream to be learned from: `frames` (L,) of a recording, mirrored or not."""

    recording: Recording
    frames: NDArray[np.int64]
    window: Window
    mirrored: bool

    @property
    def cut(self) -> tuple[bool, bool, bool, bool]:
        """Left, top, right, bottom: where the image goes on outside the window."""
        window, (rows, columns) = self.window, self.recording.shape
        left, right = window.left > 0, window.left + window.width < columns
        if self.mirrored:
            left, right = right, left
        return left, window.top > 0, right, window.top + window.height < rows

    def see(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return an image (H, W, ...) of the recording as it is seen in this stream."""
        part = self.window.cut(image)
        return np.ascontiguousarray(part[:, ::-1] if self.mirrored else part)


def draw_segment(
    rng: Generator,
    recordings: list[Recording],
    length: int,
    size: tuple[int, int],
    shrink: int = 1,
) -> Segment:
    """Draw a stream of `length` frames through a window of `size` (height, width).

    Of CHOICES it is the one that shows something for longest.
    """
    chosen = [recordings[rng.integers(len(recordings))] for _ in range(CHOICES)]
    drawn = [_draw_frames(rng, recording, length) for recording in chosen]
    best = int(np.argmax([_worth(r, frames) for r, frames in zip(chosen, drawn, strict=True)]))
    recording, frames = chosen[best], drawn[best]
    window = replace(_draw_window(rng, recording, frames, size), shrink=shrink)
    return Segment(recording, frames, window, bool(rng.random() < 0.5))


def _draw_frames(rng: Generator, recording: Recording, length: int) -> NDArray[np.int64]:
    """Draw frames with a steady step and some missing, as a camera under load delivers them."""
    period = float(np.median(np.diff(recording.time)))
    most = max(1, min(int(LONGEST_STEP / period), (len(recording) - 1) // length))
    steps = np.full(length, rng.integers(1, most + 1))
    steps += rng.random(length) < SKIP
    steps[0] = 0
    offsets = np.cumsum(steps)
    start = rng.integers(0, max(1, len(recording) - offsets[-1]))
    # A recording that is too short is watched forth and back.
    last = len(recording) - 1
    folded = (start + offsets) % (2 * last)
    return np.where(folded > last, 2 * last - folded, folded)


def _worth(recording: Recording, frames: NDArray[np.int64]) -> int:
    """Return in how many frames there is anything to be seen."""
    return int((recording.pixels[frames] > WORTH_PIXELS).any(axis=1).sum())


def _draw_window(
    rng: Generator, recording: Recording, frames: NDArray[np.int64], size: tuple[int, int]
) -> Window:
    """Draw a window on the grid of patches, often around something that is whole in it."""
    limits = (np.array(recording.shape) - size) // PATCH
    corner = np.array([rng.integers(limit + 1) for limit in limits])
    if rng.random() < ON_OBJECT and limits.any():
        around = _corners_around(recording.instance[frames[len(frames) // 2]], size, limits)
        if around:
            low, high = around[rng.integers(len(around))]
            corner = rng.integers(low, high + 1)
    top, left = (int(c) * PATCH for c in corner)
    return Window(top, left, *size)


def _corners_around(
    instance: NDArray[np.uint16], size: tuple[int, int], limits: NDArray[Any]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the first and last corners, in patches, of windows that hold a thing whole.

    Of each thing that fits and shows enough.
    """
    found = []
    for index, place in enumerate(find_objects(instance.astype(np.int32))):
        if place is None or np.count_nonzero(instance[place] == index + 1) < WORTH_PIXELS:
            continue
        first, last = (np.array([getattr(s, end) for s in place]) for end in ("start", "stop"))
        low = np.maximum(np.ceil((last - size) / PATCH).astype(int), 0)
        high = np.minimum(first // PATCH, limits)
        if (low <= high).all():
            found.append((low, high))
    return found
