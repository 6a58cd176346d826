# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The baseline of motion masks: what one plane's motion between two images does not explain."""

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

GAP = 2  # frames that it looks back
FEATURES = 600
RANSAC_PIXELS = 3.0
BLUR_PIXELS = 5
DIFFERENCE = 15  # grey levels
OPENING_PIXELS = 3


class HomographyMotion:
    """Warps an earlier image onto this one by ORB and a homography; what differs moves."""

    def __init__(self) -> None:
        self._orb = cv2.ORB.create(FEATURES)
        self._matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
        self._past: deque[tuple[NDArray[np.uint8], tuple[cv2.KeyPoint, ...], NDArray[np.uint8]]]
        self._past = deque(maxlen=GAP)

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which pixels (H, W) of an image (H, W, 3) move; none of the first images."""
        grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
        points, bits = self._orb.detectAndCompute(grey, None)
        now = grey, tuple(points), np.empty((0, 32), np.uint8) if bits is None else np.asarray(bits)
        moving = np.zeros(grey.shape, np.bool_)
        if len(self._past) == GAP:
            H = self._homography(self._past[0], now)
            if H is not None:
                moving = _difference(self._past[0][0], grey, H)
        self._past.append(now)
        return moving

    def _homography(
        self,
        before: tuple[NDArray[np.uint8], tuple[cv2.KeyPoint, ...], NDArray[np.uint8]],
        now: tuple[NDArray[np.uint8], tuple[cv2.KeyPoint, ...], NDArray[np.uint8]],
    ) -> NDArray[np.float64] | None:
        matches = self._matcher.match(before[2], now[2]) if len(before[2]) and len(now[2]) else ()
        if len(matches) < 4:
            return None
        old = np.array([before[1][m.queryIdx].pt for m in matches], np.float32)
        new = np.array([now[1][m.trainIdx].pt for m in matches], np.float32)
        cv2.setRNGSeed(0)
        H, _ = cv2.findHomography(old, new, cv2.RANSAC, RANSAC_PIXELS)
        return None if H is None else np.asarray(H, float)


def _difference(
    before: NDArray[np.uint8], now: NDArray[np.uint8], H: NDArray[np.float64]
) -> NDArray[np.bool_]:
    size = now.shape[1], now.shape[0]
    covered = cv2.warpPerspective(np.full_like(before, 255), H, size) > 250
    warped = cv2.warpPerspective(before, H, size)
    blurred = [cv2.GaussianBlur(x, (BLUR_PIXELS, BLUR_PIXELS), 0) for x in (warped, now)]
    differs = ((cv2.absdiff(*blurred) > DIFFERENCE) & covered).astype(np.uint8)
    kernel = np.ones((OPENING_PIXELS, OPENING_PIXELS), np.uint8)
    return np.asarray(cv2.morphologyEx(differs, cv2.MORPH_OPEN, kernel) > 0)
