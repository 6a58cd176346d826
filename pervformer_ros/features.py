# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Features: what perception hands to a SLAM back end, and the ORB baseline that makes them."""

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import CameraModel, Frame

STATIC, MOVING = 255, 0
# Motion probability from which a pixel does not count as static, if nothing else is said.
MOTION_THRESHOLD = 0.4
# Depth is looked for within so many pixels of a corner. A surface is at least so many pixels there,
# the nearest of which differ by at most this fraction of their depth; so much deeper it may reach
# within the window, as a floor does; and so much it may scatter about a plane.
REACH = 2
MIN_SURFACE = 6
SURFACE_STEP = 0.03
SURFACE_RANGE = 0.10
MAX_SCATTER = 0.02
_DOWN, _ACROSS = (g.ravel() for g in np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1])
# Grey levels by which a corner differs from its ring; a quarter of OpenCV's default, for dim halls.
FAST_THRESHOLD = 5
# ORB's patch of 31 pixels and its pyramid are made for images of this width; a smaller one is
# enlarged, which halves the error of a corner's place in an image of 320.
ORB_WIDTH = 640
# What the mask hides gets this part of the budget of features.
MASKED_SHARE = 3
# The eight numbers (256, 8) that stand for the bits of each byte.
_SIGNS_OF_BYTE = np.where(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1), 1 / 16, -1 / 16
).astype(np.float16)


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
        self._budgets = max_features, max_features // MASKED_SHARE
        self._orbs = [cv2.ORB.create(n, fastThreshold=FAST_THRESHOLD) for n in self._budgets]

    def __call__(
        self, rgb: NDArray[np.uint8], static_mask: NDArray[np.uint8] | None = None
    ) -> Keypoints:
        """Detect and describe keypoints in an image (H, W, 3).

        Where the mask (H, W) is 0, what is found counts against a small budget of its own: what
        moves must not take the room of what stands still, but a mask may be wrong.
        """
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        larger = max(1.0, ORB_WIDTH / grey.shape[1])
        if larger > 1:
            grey = cv2.resize(grey, None, fx=larger, fy=larger, interpolation=cv2.INTER_LINEAR)
        if static_mask is not None:
            size = grey.shape[1], grey.shape[0]
            static_mask = cv2.resize(static_mask, size, interpolation=cv2.INTER_NEAREST)
        found = self._detect(grey, static_mask, 0)
        if static_mask is not None and not static_mask.all():
            found = _both(found, self._detect(grey, np.invert(static_mask), 1))
        return replace(found, uv=(found.uv + 0.5) / np.float32(larger) - 0.5)

    def _detect(
        self, grey: NDArray[np.uint8], mask: NDArray[np.uint8] | None, number: int
    ) -> Keypoints:
        """Return what is found where the mask is not 0, within the budget of this number."""
        found, bits = self._orbs[number].detectAndCompute(grey, mask)
        if not found:
            empty = np.empty((0, 2), np.float32)
            return Keypoints(empty, empty[:, 0], np.empty((0, 256), np.float16))
        # Shared out over the pyramid, the budget may be exceeded by a few.
        score = np.array([k.response for k in found], np.float32)
        kept = np.sort(np.argsort(-score, kind="stable")[: self._budgets[number]])
        uv = np.array([k.pt for k in found], np.float32)[kept]
        vectors = _SIGNS_OF_BYTE[np.asarray(bits, np.uint8)[kept]]
        return Keypoints(uv, score[kept], vectors.reshape(len(kept), -1))


def share_out(
    found: Keypoints, static_mask: NDArray[np.uint8] | None, max_features: int
) -> Keypoints:
    """Return the best keypoints within the budgets that OrbExtractor has, too.

    Args:
        found: best first.
        static_mask: (H, W) 0 where something moves, or None.
        max_features: the budget of what stands still.
    """
    if static_mask is None:
        static_mask = np.full((1, 1), STATIC, np.uint8)
    last = static_mask.shape[1] - 1, static_mask.shape[0] - 1
    columns, rows = np.rint(found.uv).astype(int).clip(0, last).T
    moves = static_mask[rows, columns] == MOVING
    kept = np.where(
        moves,
        np.cumsum(moves) <= max_features // MASKED_SHARE,
        np.cumsum(~moves) <= max_features,
    )
    return Keypoints(found.uv[kept], found.score[kept], found.descriptors[kept])


def _both(one: Keypoints, other: Keypoints) -> Keypoints:
    return Keypoints(
        np.concatenate([one.uv, other.uv]),
        np.concatenate([one.score, other.score]),
        np.concatenate([one.descriptors, other.descriptors]),
    )


def widen(motion_probability: NDArray[np.float32], margin_px: int) -> NDArray[np.float32]:
    """Return the highest probability (H, W) within a margin: edges of what moves move with it."""
    margin = 2 * margin_px + 1
    return np.asarray(cv2.dilate(motion_probability, np.ones((margin, margin), np.uint8)))


def static_mask(motion_probability: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """Return (H, W): 255 = static and usable for SLAM, 0 = moving."""
    still = np.invert(motion_probability >= threshold).view(np.uint8)
    return np.asarray(still * np.uint8(STATIC), np.uint8)


def feather(mask: NDArray[np.uint8], width_px: int) -> NDArray[np.uint8]:
    """Return a mask (H, W) that rises over so many pixels from what moves to what is static.

    Whoever multiplies images by it gets no hard edges, on which corners grow. What was 0 stays 0.
    """
    if width_px == 0 or mask.all():
        return mask
    away = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.minimum(away * (STATIC / (width_px + 1)), STATIC), np.uint8)


def place_features(
    frame: Frame,
    found: Keypoints,
    motion_probability: NDArray[np.float32],
    place_descriptor: NDArray[np.float32] | None = None,
) -> FeatureSet:
    """Return keypoints of a frame with their points in space and how static they are.

    Args:
        frame: what they were found in.
        found: the keypoints.
        motion_probability: (H, W), that what is seen there, or at its edge, moves in the world.
        place_descriptor: (M,) of the whole image, if there is one.
    """
    columns = np.clip(np.rint(found.uv[:, 0]).astype(int), 0, frame.camera.width - 1)
    rows = np.clip(np.rint(found.uv[:, 1]).astype(int), 0, frame.camera.height - 1)
    return FeatureSet(
        stamp_ns=frame.stamp_ns,
        width=frame.camera.width,
        height=frame.camera.height,
        uv=found.uv,
        points=lift(found.uv, frame.depth, frame.camera),
        score=found.score,
        static_probability=(1 - motion_probability[rows, columns]).astype(np.float32),
        descriptors=found.descriptors,
        place_descriptor=np.empty(0, np.float32) if place_descriptor is None else place_descriptor,
    )


def lift(
    uv: NDArray[np.float32], depth: NDArray[np.float32] | None, camera: CameraModel
) -> NDArray[np.float32]:
    """Return the points (K, 3) seen at pixels (K, 2); NaN where depth does not tell.

    Corners sit where things end, and there depth is missing, mixed or of the background. So the
    depth is that of the nearest surface with enough pixels around the corner, which is the thing
    the corner is of. On a plane inverse depth is linear in the pixels: a plane is fitted, so that
    sloping floors count as surfaces and the noise of single pixels is averaged.

    Args:
        uv: pixels inside the image.
        depth: (H, W) metres, 0 = none, or None.
        camera: the camera of both.
    """
    points = np.full((len(uv), 3), np.nan, np.float32)
    if depth is None or len(uv) == 0:
        return points
    columns = np.clip(np.rint(uv[:, 0]).astype(int), 0, camera.width - 1)
    rows = np.clip(np.rint(uv[:, 1]).astype(int), 0, camera.height - 1)
    around = np.pad(depth, REACH)
    z = around[rows[:, None] + _DOWN + REACH, columns[:, None] + _ACROSS + REACH]  # (K, 25)
    member = _nearest_surface(z)
    found = member.sum(axis=1) >= MIN_SURFACE
    inverse, scatter = _plane_at(
        np.where(member[found], 1.0 / np.maximum(z[found], 1e-6), 0.0),
        member[found],
        uv[found] - np.stack([columns[found], rows[found]], axis=1),
    )
    flat = scatter <= MAX_SCATTER
    known = np.flatnonzero(found)[flat]
    points[known] = camera.back_project(uv[known], 1.0 / inverse[flat])
    return points


def _nearest_surface(z: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which of the depths (K, N) around a corner are of the nearest surface there."""
    ordered = np.sort(np.where(z > 0, z, np.inf), axis=1)
    first, last = ordered[:, : -MIN_SURFACE + 1], ordered[:, MIN_SURFACE - 1 :]
    with np.errstate(invalid="ignore"):
        enough = last <= first * (1 + SURFACE_STEP)  # false where either is infinite
    start = np.where(enough.any(axis=1), enough.argmax(axis=1), 0)
    near = np.where(enough.any(axis=1), first[np.arange(len(z)), start], np.nan)[:, None]
    with np.errstate(invalid="ignore"):
        return np.asarray((z >= near) & (z <= near * (1 + SURFACE_RANGE)))


def _plane_at(
    inverse: NDArray[np.float32], member: NDArray[np.bool_], at: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the inverse depth (K,) of the plane through the members, and its relative scatter.

    Args:
        inverse: (K, N) of the pixels around each corner, 0 where not a member.
        member: (K, N).
        at: (K, 2) the corner in pixels from their middle.
    """
    # A little regularisation keeps a plane that few pixels define facing the camera.
    basis = np.stack([np.ones(len(_DOWN)), _ACROSS, _DOWN], axis=1)  # (N, 3)
    normal = np.einsum("kn,ni,nj->kij", member.astype(float), basis, basis)
    normal += np.diag([0.0, 1.0, 1.0])
    plane = np.linalg.solve(normal, np.einsum("kn,ni->ki", inverse, basis)[..., None])[..., 0]
    low = np.where(member, inverse, np.inf).min(axis=1)
    high = inverse.max(axis=1)
    value = np.clip(plane[:, 0] + np.einsum("ki,ki->k", plane[:, 1:], at), low, high)
    residual = np.where(member, inverse - plane @ basis.T, 0.0)
    scatter = np.sqrt((residual**2).sum(axis=1) / np.maximum(member.sum(axis=1), 1)) / value
    return value, scatter
