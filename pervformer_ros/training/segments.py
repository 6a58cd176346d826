# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames of a recording are watched, through which window, and how they are changed."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pervformer_ros.model.config import PATCH
from pervformer_ros.training.recording import Recording

# Seconds between frames that are worth learning from: 15 Hz down to 4 Hz.
LONGEST_STEP = 0.26
SKIP = 0.1  # share of frames that are lost on the way
CHOICES = 2  # streams that one is chosen from
WORTH_PIXELS = 150  # what an object must show to count in that choice
ON_OBJECT = 0.7  # share of windows that are laid over an object


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
    """Draw a window on the grid of patches, often over something that can be seen."""
    limits = (np.array(recording.shape) - size) // PATCH
    corner = np.array([rng.integers(limit + 1) for limit in limits])
    middle = recording.instance[frames[len(frames) // 2]]
    if rng.random() < ON_OBJECT and middle.any() and limits.any():
        body = rng.choice(np.unique(middle[middle > 0]))
        pixels = np.argwhere(middle == body)
        target = pixels.mean(axis=0) - np.array(size) / 2 + rng.normal(0, 1.5 * PATCH, 2)
        corner = np.clip(np.rint(target / PATCH).astype(int), 0, limits)
    top, left = (int(c) * PATCH for c in corner)
    return Window(top, left, *size)
