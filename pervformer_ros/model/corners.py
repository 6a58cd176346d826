# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where in an image its corners are, told by the grey pixels themselves."""

import cv2
import numpy as np
from numpy.typing import NDArray

# Standard deviation (px) of the blur before it, against the noise of single pixels, and the side of
# the square of pixels whose gradients are asked.
BLUR = 1.0
BLOCK = 3


def corner_contrast(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how fast grey changes across each pixel in the direction in which it does so least.

    The root of the smaller eigenvalue of the gradients' second moments, whose peaks are corners
    (Shi and Tomasi 1994). Its inverse is how exactly noise lets a corner be placed.

    Args:
        rgb: (H, W, 3).

    Returns:
        (H, W) in [0, 1], 0 where nothing is seen or an edge has no end.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    grey = cv2.GaussianBlur(grey, (0, 0), BLUR)
    eigenvalue = np.asarray(cv2.cornerMinEigenVal(grey, BLOCK))
    return np.asarray(np.sqrt(eigenvalue.clip(0.0, 1.0)), np.float32)
