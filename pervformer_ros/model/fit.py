# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Fit: where an image of any size lies in the model's, and back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Fit:
    """An image in the middle of the model's: scaled alike along both axes, with padding around it.

    The model has seen square pixels alone. Sizes are height and width in pixels. The part that
    shows the image has whole pixels of the model's, so each axis has a scale of its own, which
    differs by what was rounded.

    image: size of the image that is given.
    model: size of the model's image.
    """

    image: Size
    model: Size

    @property
    def content(self) -> Size:
        """The size that the image has in the model's."""
        scale = min(ours / theirs for ours, theirs in zip(self.model, self.image, strict=True))
        height, width = (max(1, round(side * scale)) for side in self.image)
        return height, width

    @property
    def start(self) -> Size:
        """The row and the column of the model's image at which the content begins."""
        (height, width), (rows, columns) = self.model, self.content
        return (height - rows) // 2, (width - columns) // 2

    @property
    def inside(self) -> tuple[slice, slice]:
        """The rows and columns of the model's image that show the content."""
        (top, left), (rows, columns) = self.start, self.content
        return slice(top, top + rows), slice(left, left + columns)

    @property
    def padded(self) -> bool:
        """Whether there is anything but content in the model's image."""
        return self.content != self.model

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the content as fractions of the model's image."""
        (height, width), (down, across) = self.model, self.inside
        return across.start / width, down.start / height, across.stop / width, down.stop / height

    def pad(self, content: NDArray[Any]) -> NDArray[Any]:
        """Return the model's image (H, W, ...) with the content in it and zeros around."""
        whole = np.zeros((*self.model, *content.shape[2:]), content.dtype)
        whole[self.inside] = content
        return whole

    def nearest(self) -> tuple[Indices, Indices]:
        """Return the rows and columns of the image in which the content's pixels have centres."""
        rows, columns = (
            np.floor(_centres(count, source) + np.float32(0.5)).astype(np.int64)
            for count, source in zip(self.content, self.image, strict=True)
        )
        return rows, columns

    def intrinsics(self, K: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return fx, fy, cx, cy in pixels of the model's image, from the image's matrix (3, 3)."""
        y, x = (inner / given for inner, given in zip(self.content, self.image, strict=True))
        top, left = self.start
        cx, cy = (K[0, 2] + 0.5) * x + left - 0.5, (K[1, 2] + 0.5) * y + top - 0.5
        return np.array([K[0, 0] * x, K[1, 1] * y, cx, cy])

    def pixels(self, uv: Floats) -> Floats:
        """Return where pixels (K, 2) of the model's image lie in the image.

        Both are x and y from the first pixel's centre.
        """
        start, scale = np.array(self.start[::-1], np.float32), self._pixels_per(self.model)
        found: Floats = (uv + np.float32(0.5) - start) * scale - np.float32(0.5)
        return found

    def boxes(self, corners: Floats) -> Floats:
        """Return boxes (K, 4) in the image's pixels, which may reach outside it.

        Args:
            corners: left, top, right, bottom as fractions of the model's image.
        """
        start = np.array(self.bounds[:2] * 2, np.float32)
        found: Floats = (corners - start) * np.tile(self._pixels_per((1, 1)), 2)
        return found

    def boxes_within(self, corners: Floats) -> Floats:
        """Return what of `boxes` is inside the image."""
        height, width = self.image
        found: Floats = self.boxes(corners).clip(0, np.array([width, height] * 2, np.float32))
        return found

    def cells(self, shape: Size) -> Size:
        """Return how many rows and columns the content has of so many of the model's image."""
        rows, columns = (
            max(1, round(count * inner / whole))
            for count, inner, whole in zip(shape, self.content, self.model, strict=True)
        )
        return rows, columns

    def bilinear(self, count: Size, source: Size) -> tuple[Floats, Floats]:
        """Return how maps of the model's image are read between their cells, over the image alone.

        Args:
            count: rows and columns (h, w) to read, which share the image evenly.
            source: rows and columns (r, c) of the maps, which share the model's image evenly.

        Returns:
            Weights `down` (h, r) and `across` (w, c): what is read is down @ map @ across.T.
        """
        down, across = (
            _bilinear(_centres(n, cells * inner / whole, cells * start / whole), cells)
            for n, cells, inner, whole, start in zip(
                count, source, self.content, self.model, self.start, strict=True
            )
        )
        return down, across

    def _pixels_per(self, unit: Size) -> Floats:
        """Return the image's pixels, x and y, in one part of `unit` parts of the model's image."""
        y, x = (
            given * whole / inner / parts
            for given, whole, inner, parts in zip(
                self.image, self.model, self.content, unit, strict=True
            )
        )
        return np.array([x, y], np.float32)


def _centres(count: int, length: float, start: float = 0.0) -> Floats:
    """Return where the centres of `count` cells lie that share a length evenly from a start on.

    Both are in pixels of another image, and so is the result: 0 is its first pixel's centre.
    """
    scale = np.float32(length / count)
    centres: Floats = (np.arange(count, dtype=np.float32) + 0.5) * scale + np.float32(start - 0.5)
    return centres


def _bilinear(centres: Floats, source: int) -> Floats:
    """Return the weights (count, source) by which places are read between source pixels."""
    inside = centres.clip(0, source - 1)
    distances: Floats = np.abs(inside[:, None] - np.arange(source, dtype=np.float32))
    weights: Floats = np.maximum(np.float32(0.0), np.float32(1.0) - distances)
    return weights
