# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Features: what perception hands to a SLAM back end, and the ORB baseline that makes them."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import CameraModel

# A depth is trusted where its 3x3 neighbourhood agrees within this fraction of it: at the edge of a
# thing the sensor mixes the thing with its background.
DEPTH_EDGE_RATIO = 0.05
# Grey levels by which a corner differs from its ring; half of OpenCV's default, for dim halls.
FAST_THRESHOLD = 10


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSet:
    """K features of one image.

    uv: (K, 2) float32 pixels of the camera's image, lens distortion included.
    points: (K, 3) float32 metres in the optical frame, NaN where there is no depth.
    score: (K,) float32, larger is better.
    static_probability: (K,) float32, that what is seen there stands still in the world.
    descriptors: (K, D) float16 of unit length; similarity is the dot product.
    place_descriptor: (M,) float32 of the whole image, empty where there is none.
    """

    stamp_ns: int
    width: int
    height: int
    uv: NDArray[np.float32]
    points: NDArray[np.float32]
    score: NDArray[np.float32]
    static_probability: NDArray[np.float32]
    descriptors: NDArray[np.float16]
    place_descriptor: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))

    def __len__(self) -> int:
        return len(self.uv)

    def __post_init__(self) -> None:
        """Check that all parts speak of the same K features.

        Raises:
            ValueError: if they do not.
        """
        count = len(self.uv)
        shapes = (self.uv.shape, self.points.shape, self.score.shape, self.static_probability.shape)
        if shapes != ((count, 2), (count, 3), (count,), (count,)):
            raise ValueError(f"feature arrays do not fit each other: {shapes}")
        if self.descriptors.ndim != 2 or len(self.descriptors) != count:
            raise ValueError(f"{count} features have descriptors {self.descriptors.shape}")


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """K image points: uv (K, 2) float32, score (K,) float32, descriptors (K, D) float16."""

    uv: NDArray[np.float32]
    score: NDArray[np.float32]
    descriptors: NDArray[np.float16]


class OrbExtractor:
    """ORB keypoints (Rublee et al. 2011), the baseline any learned feature must beat.

    The 256 bits become a vector of +-1/16, so that the dot product of two descriptors is
    1 - 2 hamming / 256 and every consumer compares ORB and learned descriptors the same way.
    """

    def __init__(self, max_features: int = 600):
        self._orb = cv2.ORB.create(max_features, fastThreshold=FAST_THRESHOLD)

    def __call__(self, rgb: NDArray[np.uint8]) -> Keypoints:
        """Detect and describe keypoints in an image (H, W, 3)."""
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        found, bits = self._orb.detectAndCompute(grey, None)
        if not found:
            empty = np.empty((0, 2), np.float32)
            return Keypoints(empty, empty[:, 0], np.empty((0, 256), np.float16))
        signs = np.unpackbits(np.asarray(bits, np.uint8), axis=1).astype(np.float16) * 2 - 1
        return Keypoints(
            uv=np.array([k.pt for k in found], np.float32),
            score=np.array([k.response for k in found], np.float32),
            descriptors=signs / np.float16(16),
        )


def lift(
    uv: NDArray[np.float32], depth: NDArray[np.float32] | None, camera: CameraModel
) -> NDArray[np.float32]:
    """Return the points (K, 3) seen at pixels (K, 2); NaN without depth or at a depth edge.

    Args:
        uv: pixels inside the image.
        depth: (H, W) metres, 0 = none, or None.
        camera: the camera of both.
    """
    points = np.full((len(uv), 3), np.nan, np.float32)
    if depth is None or len(uv) == 0:
        return points
    kernel = np.ones((3, 3), np.uint8)
    nearest, farthest = cv2.erode(depth, kernel), cv2.dilate(depth, kernel)
    u = np.clip(np.rint(uv[:, 0]).astype(int), 0, camera.width - 1)
    v = np.clip(np.rint(uv[:, 1]).astype(int), 0, camera.height - 1)
    z = depth[v, u]
    smooth = farthest[v, u] - nearest[v, u] <= DEPTH_EDGE_RATIO * z
    known = (nearest[v, u] > 0) & smooth
    points[known] = camera.back_project(uv[known], z[known])
    return points
