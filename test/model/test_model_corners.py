# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Corners are where the image has them, and move with it."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pervformer_ros.model.corners import corner_contrast


def picture() -> NDArray[np.uint8]:
    """Return blocks of random grey (64, 96, 3), always the same."""
    blocks = np.random.default_rng(0).integers(60, 200, (8, 12), dtype=np.uint8)
    grey = cv2.resize(blocks, (96, 64), interpolation=cv2.INTER_NEAREST)
    return np.repeat(grey[..., None], 3, axis=2)


def test_a_corner_has_contrast_an_edge_and_a_plain_surface_have_none() -> None:
    image = np.full((64, 96, 3), 50, np.uint8)
    image[32:, 48:] = 200
    contrast = corner_contrast(image)
    best = np.array(np.unravel_index(contrast.argmax(), contrast.shape))
    assert np.abs(best - (31.5, 47.5)).max() <= 1.5
    assert contrast.max() > 0.1
    assert contrast[50, 48] < 0.01
    assert contrast[10, 10] == 0


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_contrast_moves_with_the_image(shift: int) -> None:
    image = picture()
    before, after = corner_contrast(image), corner_contrast(np.roll(image, shift, axis=1))
    np.testing.assert_allclose(after[8:-8, 12:-8], np.roll(before, shift, 1)[8:-8, 12:-8])


def test_it_is_proportional_to_what_is_seen() -> None:
    image = picture()
    np.testing.assert_allclose(
        corner_contrast(image // 2 * 2), 2 * corner_contrast(image // 2), atol=1e-4
    )
