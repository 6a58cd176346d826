# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ROS image messages to arrays: one decoder for live messages and recorded ones.

Pixels go through cv_bridge where ROS 2 has one that works, and through rosbags-image elsewhere.
Messages are taken by their fields, so those of rclpy and of rosbags both do.
"""

import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.image import image_to_cvimage

from pervformer_ros.frame import Fault, InputError

COLOUR_ENCODINGS = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8")
# compressed_depth_image_transport writes this before the PNG: an enum and two float32.
COMPRESSED_DEPTH_HEADER = struct.Struct("<iff")
MILLIMETRES_PER_METRE = 1000.0


def decode_colour(message: Any) -> NDArray[np.uint8]:
    """Return an Image or CompressedImage message as (H, W, 3) uint8 RGB.

    Raises:
        InputError: WRONG_ENCODING, SIZE_MISMATCH or CORRUPT_IMAGE.
    """
    if hasattr(message, "format"):
        bgr = _imdecode(message.data, cv2.IMREAD_COLOR, "colour")
        return np.ascontiguousarray(bgr[..., ::-1])
    if message.encoding not in COLOUR_ENCODINGS:
        raise InputError(
            Fault.WRONG_ENCODING,
            f"colour encoding is '{message.encoding}': publish {', '.join(COLOUR_ENCODINGS)}",
        )
    return np.ascontiguousarray(_pixels(message, "rgb8"))


def decode_depth(message: Any) -> NDArray[np.float32]:
    """Return a depth message as (H, W) float32 metres, 0 where there is none.

    Takes Image 16UC1 or mono16 (millimetres) and 32FC1 (metres), and CompressedImage: both forms of
    compressed_depth_image_transport, and 16UC1 as a plain PNG.

    Raises:
        InputError: WRONG_ENCODING, SIZE_MISMATCH, CORRUPT_IMAGE, or INVALID_DEPTH where a float
            image has no finite number at all.
    """
    if hasattr(message, "format"):
        return _decode_compressed_depth(message)
    if message.encoding in ("16UC1", "mono16"):
        return _pixels(message).astype(np.float32) / MILLIMETRES_PER_METRE
    if message.encoding == "32FC1":
        return _clean(_pixels(message))
    raise InputError(
        Fault.WRONG_ENCODING,
        f"depth encoding is '{message.encoding}': publish 16UC1 (mm) or 32FC1 (m)",
    )


def encoding_of_depth(message: Any) -> str:
    """Return "16UC1" or "32FC1": in which form depth of this kind is published again."""
    text = message.format if hasattr(message, "format") else message.encoding
    return "32FC1" if "32FC1" in text else "16UC1"


def _clean(depth: NDArray[np.floating]) -> NDArray[np.float32]:
    finite = np.isfinite(depth)
    if not finite.any():
        raise InputError(Fault.INVALID_DEPTH, "depth is NaN everywhere: check the depth driver")
    return np.where(finite & (depth > 0), depth, 0).astype(np.float32)


def _decode_compressed_depth(message: Any) -> NDArray[np.float32]:
    transported = "compressedDepth" in message.format
    if "rvl" in message.format or not (transported or "png" in message.format):
        raise InputError(
            Fault.WRONG_ENCODING,
            f"compressed depth has format '{message.format}': use the compressedDepth transport "
            "with format png",
        )
    data = bytes(message.data)
    header = COMPRESSED_DEPTH_HEADER.size if transported else 0
    if len(data) <= header:
        raise InputError(Fault.CORRUPT_IMAGE, f"compressed depth holds only {len(data)} bytes")
    code = _imdecode(data[header:], cv2.IMREAD_UNCHANGED, "compressed depth")
    if code.ndim != 2 or code.dtype != np.uint16:
        raise InputError(
            Fault.WRONG_ENCODING,
            f"compressed depth holds {code.dtype} {code.shape}: publish one channel of 16 bits",
        )
    if not transported or encoding_of_depth(message) == "16UC1":
        return code.astype(np.float32) / MILLIMETRES_PER_METRE
    # 32FC1 travels as 16-bit inverse depth: code = a / z + b, 0 = none.
    _, a, b = COMPRESSED_DEPTH_HEADER.unpack_from(data)
    with np.errstate(all="ignore"):
        return _clean(np.where(code > 0, a / (code.astype(np.float32) - np.float32(b)), 0))


def _imdecode(data: Any, flags: int, what: str) -> NDArray[Any]:
    buffer = np.frombuffer(bytes(data), np.uint8)
    try:
        image = cv2.imdecode(buffer, flags)
    except cv2.error:  # no bytes at all, or a header that promises too large an image
        image = None
    if image is None:
        raise InputError(Fault.CORRUPT_IMAGE, f"{what} image cannot be decoded: data is damaged")
    return np.asarray(image)


def _pixels(message: Any, encoding: str | None = None) -> NDArray[Any]:
    row_bytes = message.width * _bytes_per_pixel(message.encoding)
    expected = message.step * message.height
    is_empty = not row_bytes or not message.height
    if is_empty or message.step < row_bytes or len(message.data) < expected:
        raise InputError(
            Fault.SIZE_MISMATCH,
            f"image says {message.height}x{message.width} {message.encoding} with rows of "
            f"{message.step} bytes but holds {len(message.data)} bytes",
        )
    if (bridge := working_bridge()) is not None:
        return np.asarray(bridge.imgmsg_to_cv2(message, encoding or "passthrough"))
    return np.asarray(image_to_cvimage(_unpadded(message, row_bytes), encoding))


@cache
def working_bridge() -> Any:
    """Return a CvBridge, None where there is none that works.

    ROS's own is built for NumPy 1: beside NumPy 2 it can be imported, and fails with every image.
    """
    pixel = _Pixels(1, 1, "bgr8", b"\1\2\3")
    try:
        from cv_bridge import CvBridge

        bridge = CvBridge()
        works = bridge.imgmsg_to_cv2(pixel, "rgb8").tolist() == [[[3, 2, 1]]]
    except Exception:  # of the import, or of what a module raises that does not fit NumPy
        return None
    return bridge if works else None


def _bytes_per_pixel(encoding: str) -> int:
    channels = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono16": 2, "16UC1": 2, "32FC1": 4}
    return channels.get(encoding, 1)


@dataclass(frozen=True, slots=True)
class _Pixels:
    """An image message whose rows have no padding, which is what rosbags-image expects."""

    height: int
    width: int
    encoding: str
    data: bytes
    is_bigendian: int = 0

    @property
    def step(self) -> int:
        return self.width * _bytes_per_pixel(self.encoding)


def _unpadded(message: Any, row_bytes: int) -> _Pixels:
    rows = np.frombuffer(bytes(message.data), np.uint8)[: message.height * message.step]
    packed = rows.reshape(message.height, message.step)[:, :row_bytes]
    return _Pixels(
        message.height, message.width, message.encoding, packed.tobytes(), message.is_bigendian
    )
