# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""All textures and their mip maps in one image, sampled with trilinear filtering."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.sim.textures import SIZE, Image

LEVELS = 8
# Wrapped texels around each tile, so that bilinear filtering never reads the neighbour.
BORDER = 1
# Grazing surfaces are squeezed along one axis only; the mip level is a compromise of both axes.
SHARPEN = 0.6
_FOLD = 1024


def bilinear(image: NDArray[Any], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[Any]:
    """Return the image's values (M, C) at columns x (M,) and rows y (M,)."""
    count = len(x)
    # cv2.remap refuses rows as long as M, so the samples are folded into a picture, never empty.
    rows = max(1, -(-count // _FOLD))
    folded = np.zeros((2, rows * _FOLD), np.float32)
    folded[0, :count], folded[1, :count] = x, y
    grid = folded.reshape(2, rows, _FOLD)
    picture = cv2.remap(image, grid[0], grid[1], cv2.INTER_LINEAR)
    return picture.reshape(rows * _FOLD, -1)[:count]


class Atlas:
    """Samples textures by layer, coordinate and footprint."""

    def __init__(self, textures: Sequence[Image]):
        sizes = [SIZE >> level for level in range(LEVELS)]
        columns = int(np.ceil(np.sqrt(len(textures) / 2)))
        rows = int(np.ceil(len(textures) / columns))
        # A cell holds the full texture, and its mip levels one below the other beside it.
        cell_width = sizes[0] + sizes[1] + 4 * BORDER
        cell_height = sizes[0] + 2 * BORDER * LEVELS
        self._image = np.zeros((rows * cell_height, columns * cell_width, 3), np.uint8)
        self._x = np.empty((len(textures), LEVELS), np.float32)
        self._y = np.empty((len(textures), LEVELS), np.float32)
        self._size = np.array(sizes, np.float32)
        for layer, texture in enumerate(textures):
            x = (layer % columns) * cell_width + BORDER
            y = (layer // columns) * cell_height + BORDER
            for level, size in enumerate(sizes):
                if level == 1:
                    x += sizes[0] + 2 * BORDER
                self._paste(cv2.resize(texture, (size, size), interpolation=cv2.INTER_AREA), x, y)
                self._x[layer, level], self._y[layer, level] = x, y
                if level:
                    y += size + 2 * BORDER

    def _paste(self, tile: Image, x: int, y: int) -> None:
        padded = np.pad(tile, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode="wrap")
        high, wide = padded.shape[:2]
        top, left = y - BORDER, x - BORDER
        self._image[top : top + high, left : left + wide] = np.rint(np.clip(padded, 0, 1) * 255)

    def sample(
        self,
        layer: NDArray[np.integer],
        uv: NDArray[np.float32],
        footprint: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return the filtered albedo (M, 3) in [0, 1].

        Args:
            layer: (M,) texture of each sample.
            uv: (M, 2) in repeats.
            footprint: (M,) width of the pixel on the surface, in repeats.
        """
        level = np.log2(np.maximum(footprint * (SIZE * SHARPEN), 1.0))
        np.minimum(level, LEVELS - 1.001, out=level)
        fine = level.astype(np.int32)
        blend = (level - fine.astype(np.float32))[:, None]
        wrapped = uv - np.floor(uv)
        low = self._bilinear(layer, fine, wrapped)
        high = self._bilinear(layer, fine + 1, wrapped)
        return (low + (high - low) * blend) * np.float32(1 / 255)

    def _bilinear(
        self,
        layer: NDArray[np.integer],
        level: NDArray[np.int32],
        wrapped: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        size = self._size[level]
        flat = layer * LEVELS + level
        x = self._x.ravel()[flat] + wrapped[:, 0] * size - 0.5
        y = self._y.ravel()[flat] + wrapped[:, 1] * size - 0.5
        return bilinear(self._image, x, y).astype(np.float32)
