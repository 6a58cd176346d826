# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frame and CameraModel: what every other room of the project takes as its input."""

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.geometry import Array

DISTORTION_MODELS = ("", "plumb_bob", "rational_polynomial")
# How many coefficients OpenCV's polynomial may have.
DISTORTION_SIZES = (0, 4, 5, 8, 12, 14)
# OpenCV's own five steps leave an error of a pixel in the corners of a wide lens; these leave none.
UNDISTORT_STEPS = (cv2.TERM_CRITERIA_MAX_ITER, 40, 0.0)
# OpenCV 4 has a name of its own for undistortion with a number of steps.
_undistort_points = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)
NANOSECONDS = 1_000_000_000


class Fault(str, Enum):
    """What can be wrong with the input; the names appear in /diagnostics and in reports."""

    WRONG_ENCODING = "wrong_encoding"
    CORRUPT_IMAGE = "corrupt_image"
    SIZE_MISMATCH = "size_mismatch"
    INVALID_DEPTH = "invalid_depth"
    DEPTH_MISSING = "depth_missing"
    DEPTH_NOT_ALIGNED = "depth_not_aligned"
    NO_CAMERA_INFO = "no_camera_info"
    INVALID_CAMERA_INFO = "invalid_camera_info"
    NO_EXTRINSICS = "no_extrinsics"
    TIME_JUMP_BACK = "time_jump_back"
    OUT_OF_ORDER = "out_of_order"
    INVALID_ODOMETRY = "invalid_odometry"
    ODOMETRY_GAP = "odometry_gap"
    WRONG_FEATURES = "wrong_features"
    INVALID_PATH = "invalid_path"
    INVALID_TRUTH = "invalid_ground_truth"
    PROCESSING_FAILED = "processing_failed"


class InputError(ValueError):
    """Input that cannot be used; `fault` names the kind, the text says what to do about it."""

    def __init__(self, fault: Fault, message: str):
        super().__init__(message)
        self.fault = fault


@dataclass(slots=True)
class FaultLog:
    """Counts what was wrong with the input, by kind, with the latest words for each."""

    counts: Counter[Fault] = field(default_factory=Counter)
    latest: dict[Fault, str] = field(default_factory=dict)

    def add(self, fault: Fault, message: str) -> None:
        """Count one fault."""
        # In this order, for readers in other threads: what is counted has words.
        self.latest[fault] = message
        self.counts[fault] += 1

    @property
    def total(self) -> int:
        """How many there were of all kinds."""
        return sum(self.counts.values())

    def summary(self) -> dict[str, str]:
        """Return "count: latest words" by the name of every kind that occurred."""
        return {f.value: f"{self.counts[f]}: {self.latest[f]}" for f in Fault if self.counts[f]}


@dataclass(frozen=True, slots=True)
class CameraModel:
    """A pinhole camera with OpenCV's polynomial lens distortion.

    Sizes in pixels. The optical frame is REP-103's: x right, y down, z forward.
    Formulas: https://docs.opencv.org/4.x/d9/d0c/group__calib3d.html
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an uncalibrated camera.

        Raises:
            InputError: if a focal length or a size is not positive, a number is not finite, or the
                distortion is no polynomial of OpenCV's.
        """
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if min(self.width, self.height) <= 0 or not np.isfinite(numbers).all():
            raise InputError(Fault.INVALID_CAMERA_INFO, f"camera model is not usable: {self}")
        if min(self.fx, self.fy) <= 0:
            raise InputError(
                Fault.INVALID_CAMERA_INFO,
                f"focal length is ({self.fx}, {self.fy}): calibrate the camera or fix its "
                "camera_info publisher",
            )
        if len(self.distortion) not in DISTORTION_SIZES:
            raise InputError(
                Fault.INVALID_CAMERA_INFO,
                f"lens distortion has {len(self.distortion)} coefficients: give one of "
                f"{DISTORTION_SIZES}, as OpenCV's calibration does",
            )

    @property
    def K(self) -> Array:  # noqa: N802
        """The (3, 3) intrinsic matrix."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def scaled(self, width: int, height: int) -> "CameraModel":
        """Return the model of the same camera with its images resized to (height, width)."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
        )

    def undistort(self, uv: NDArray[np.floating]) -> Array:
        """Move pixels (K, 2) to where a camera without lens distortion would see them."""
        if not any(self.distortion) or len(uv) == 0:
            return np.asarray(uv, float)
        points = np.ascontiguousarray(uv, float).reshape(-1, 1, 2)
        ideal = _undistort_points(
            points,
            self.K,
            np.array(self.distortion),
            R=np.eye(3),
            P=self.K,
            criteria=UNDISTORT_STEPS,
        )
        return np.asarray(ideal, float).reshape(-1, 2)

    def back_project(self, uv: NDArray[np.floating], depth: NDArray[np.floating]) -> Array:
        """Return the points (K, 3) in metres that pixels (K, 2) see at depths (K,), along z."""
        uv = self.undistort(uv)
        z = np.asarray(depth, float)
        x = (uv[:, 0] - self.cx) / self.fx * z
        y = (uv[:, 1] - self.cy) / self.fy * z
        return np.stack([x, y, z], axis=1)

    def project(self, points: NDArray[np.floating]) -> Array:
        """Return the pixels (K, 2) of points (K, 3) in the optical frame.

        NaN behind the camera, and so far aside that the lens model folds back into the image.
        """
        points = np.asarray(points, float).reshape(-1, 3)
        uv = np.full((len(points), 2), np.nan)
        front = points[:, 2] > 1e-6
        if front.any():
            uv[front] = self._project(points[front])
        return uv

    def _project(self, points: NDArray[np.floating]) -> Array:
        ideal = points[:, :2] / points[:, 2:] * (self.fx, self.fy) + (self.cx, self.cy)
        if not any(self.distortion):
            return np.asarray(ideal, float)
        D = np.array(self.distortion)
        pixels, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), self.K, D)
        uv = np.asarray(pixels, float).reshape(-1, 2)
        folded = ~(np.abs(self.undistort(uv) - ideal).max(axis=1) < 1.0)
        uv[folded] = np.nan
        return uv


def thinning(step: int) -> tuple[slice, slice]:
    """Return the rows and columns of every step-th pixel, the middle one of each step."""
    return (slice(step // 2, None, step),) * 2


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One moment of one RGB-D camera.

    stamp_ns: the image's own stamp, in nanoseconds, exactly as it came.
    rgb: (H, W, 3) uint8.
    depth: (H, W) float32 metres along the optical axis, aligned to colour, 0 = none; or None.
    T_base_camera: pose of the optical frame in base_link.
    T_odom_base: pose of base_link in odom at the stamp, or None where odometry has a gap.
    frame_id: name of the optical frame.
    """

    stamp_ns: int
    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32] | None
    camera: CameraModel
    T_base_camera: Array
    T_odom_base: Array | None
    frame_id: str = "camera_color_optical_frame"

    def __post_init__(self) -> None:
        """Check that the parts fit each other.

        Raises:
            InputError: WRONG_ENCODING, SIZE_MISMATCH or INVALID_DEPTH, saying which and what to do.
        """
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.dtype != np.uint8:
            raise InputError(
                Fault.WRONG_ENCODING,
                f"colour is {self.rgb.dtype} {self.rgb.shape}: publish rgb8, bgr8 or mono8",
            )
        height, width = self.rgb.shape[:2]
        if (height, width) != (self.camera.height, self.camera.width):
            raise InputError(
                Fault.SIZE_MISMATCH,
                f"colour is {height}x{width} but camera_info is for "
                f"{self.camera.height}x{self.camera.width}: publish the camera_info of this image",
            )
        if self.depth is None:
            return
        if self.depth.shape != (height, width):
            raise InputError(
                Fault.SIZE_MISMATCH,
                f"depth is {'x'.join(map(str, self.depth.shape))} but colour is {height}x{width}: "
                "publish depth aligned to colour",
            )
        if self.depth.dtype != np.float32:
            raise InputError(
                Fault.WRONG_ENCODING,
                f"depth is {self.depth.dtype}: give metres as float32 (decode_depth does)",
            )
        if not np.isfinite(self.depth).all() or self.depth.min() < 0:
            raise InputError(
                Fault.INVALID_DEPTH, "depth holds NaN, infinite or negative values: use 0 for none"
            )

    def thinned(self, step: int) -> "Frame":
        """Return the same view by every step-th pixel along both axes, the middle one of each."""
        if step == 1:
            return self
        pixels = thinning(step)
        rgb, camera = self.rgb[pixels], self.camera
        return replace(
            self,
            rgb=rgb,
            depth=None if self.depth is None else self.depth[pixels],
            camera=replace(
                camera,
                width=rgb.shape[1],
                height=rgb.shape[0],
                fx=camera.fx / step,
                fy=camera.fy / step,
                cx=(camera.cx + 0.5) / step - 0.5,
                cy=(camera.cy + 0.5) / step - 0.5,
            ),
        )
