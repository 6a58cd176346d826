# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import struct
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pervformer_ros.bags.images import (
    decode_colour,
    decode_depth,
    encoding_of_depth,
    working_bridge,
)
from pervformer_ros.frame import Fault, InputError

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
MILLIMETRES = np.random.default_rng(1).integers(0, 9000, (12, 20), dtype=np.uint16)
METRES = (MILLIMETRES / 1000).astype(np.float32)


def raw(pixels, encoding, padding=0, big_endian=False, **changes):
    """Return an Image message, its rows followed by `padding` bytes of rubbish."""
    height, width = pixels.shape[:2]
    if big_endian:
        pixels = pixels.byteswap()
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAB)
    message = {
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": int(big_endian),
        "step": rows.shape[1],
        "data": rows.reshape(-1),
    }
    return SimpleNamespace(**{**message, **changes})


def compressed(data, form):
    return SimpleNamespace(format=form, data=np.frombuffer(bytes(data), np.uint8))


def encode(extension, pixels):
    return cv2.imencode(extension, pixels)[1].tobytes()


def compressed_depth(code, form, a=0.0, b=0.0):
    return compressed(struct.pack("<iff", 0, a, b) + encode(".png", code), form)


def refusal(decode, message) -> InputError:
    with pytest.raises(InputError) as caught:
        decode(message)
    return caught.value


def outcome(decode, message):
    try:
        return decode(message)
    except InputError as error:
        return error.fault


# Colour ------------------------------------------------------------------------------------------

OPAQUE = np.full((12, 20, 1), 255, np.uint8)
BY_ENCODING = {
    "rgb8": RGB,
    "bgr8": RGB[..., ::-1],
    "rgba8": np.concatenate([RGB, OPAQUE], axis=2),
    "bgra8": np.concatenate([RGB[..., ::-1], OPAQUE], axis=2),
}


@pytest.mark.parametrize("padding", [0, 1, 7])
@pytest.mark.parametrize("encoding", BY_ENCODING)
def test_every_colour_encoding_becomes_rgb(encoding, padding):
    decoded = decode_colour(raw(BY_ENCODING[encoding], encoding, padding))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, RGB)


@pytest.mark.parametrize("padding", [0, 3])
def test_mono_becomes_grey(padding):
    decoded = decode_colour(raw(RGB[..., 0], "mono8", padding))
    np.testing.assert_array_equal(decoded, np.repeat(RGB[..., :1], 3, axis=2))


def test_data_may_be_longer_than_the_image():
    message = raw(RGB, "rgb8")
    message.data = np.concatenate([message.data, message.data])
    np.testing.assert_array_equal(decode_colour(message), RGB)


def test_data_may_be_bytes():
    message = raw(RGB, "rgb8", padding=2)
    message.data = message.data.tobytes()
    np.testing.assert_array_equal(decode_colour(message), RGB)


def test_a_compressed_png_is_decoded_exactly():
    message = compressed(encode(".png", RGB[..., ::-1]), "rgb8; png compressed bgr8")
    np.testing.assert_array_equal(decode_colour(message), RGB)


@pytest.mark.parametrize(
    "form", ["rgb8; jpeg compressed bgr8", "bgr8; jpeg compressed bgr8", "jpeg"]
)
def test_a_compressed_jpeg_keeps_red_red_and_blue_blue(form):
    """The colours of a JPEG are those of its standard, whatever the camera delivered."""
    halves = np.zeros((16, 32, 3), np.uint8)
    halves[:, :16], halves[:, 16:] = (250, 20, 10), (10, 20, 250)
    decoded = decode_colour(compressed(encode(".jpg", halves[..., ::-1]), form)).astype(int)
    assert np.abs(decoded - halves)[:, [4, 28]].max() < 12


def test_a_compressed_grey_jpeg_becomes_grey_rgb():
    decoded = decode_colour(
        compressed(encode(".jpg", np.full((16, 16), 99, np.uint8)), "mono8; jpeg")
    )
    assert decoded.shape == (16, 16, 3)
    assert np.abs(decoded.astype(int) - 99).max() <= 1


@pytest.mark.parametrize("encoding", ["yuv422", "bayer_rggb8", "mono16", "", "16UC1"])
def test_another_colour_encoding_is_refused_with_those_that_do(encoding):
    error = refusal(decode_colour, raw(RGB, encoding))
    assert error.fault is Fault.WRONG_ENCODING
    assert str(error) == f"colour encoding is '{encoding}': publish rgb8, bgr8, rgba8, bgra8, mono8"


@pytest.mark.parametrize(
    "changes",
    [
        {"data": b"\0" * 700},
        {"step": 59},
        {"height": 13},
        {"height": 0},
        {"width": 0},
        {"width": 21},
    ],
)
def test_data_that_does_not_fit_its_size_is_refused(changes):
    error = refusal(decode_colour, raw(RGB, "rgb8", **changes))
    assert error.fault is Fault.SIZE_MISMATCH
    assert "image says" in str(error)


@pytest.mark.parametrize("kept", [0, 1, 10, 200, -2])
@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_a_compressed_image_that_was_cut_short_is_refused(extension, kept):
    error = refusal(decode_colour, compressed(encode(extension, RGB)[:kept], "jpeg"))
    assert error.fault is Fault.CORRUPT_IMAGE
    assert "colour image cannot be decoded" in str(error)


@given(st.data(), st.sampled_from([".jpg", ".png"]))
def test_a_damaged_compressed_image_never_ends_in_another_error(data, extension):
    content = bytearray(encode(extension, RGB))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    result = outcome(decode_colour, compressed(content, "jpeg"))
    assert result is Fault.CORRUPT_IMAGE or result.shape[2] == 3


# Depth -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize(
    ("pixels", "encoding"), [(MILLIMETRES, "16UC1"), (MILLIMETRES, "mono16"), (METRES, "32FC1")]
)
def test_every_depth_encoding_becomes_metres(pixels, encoding, padding, big_endian):
    decoded = decode_depth(raw(pixels, encoding, padding, big_endian))
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, METRES, atol=1e-6)


def test_what_is_no_distance_becomes_zero():
    pixels = np.array([[1.5, np.nan, np.inf, -np.inf, -2.0, 0.0]], np.float32)
    np.testing.assert_array_equal(decode_depth(raw(pixels, "32FC1")), [[1.5, 0, 0, 0, 0, 0]])


def test_depth_that_is_nan_everywhere_is_refused():
    error = refusal(decode_depth, raw(np.full((4, 4), np.nan, np.float32), "32FC1"))
    assert error.fault is Fault.INVALID_DEPTH
    assert "check the depth driver" in str(error)


def test_depth_without_a_single_return_is_depth_all_the_same():
    assert not decode_depth(raw(np.zeros((4, 4), np.uint16), "16UC1")).any()


@pytest.mark.parametrize("form", ["16UC1; compressedDepth", "16UC1; compressedDepth png"])
def test_compressed_millimetres_are_decoded_exactly(form):
    np.testing.assert_allclose(decode_depth(compressed_depth(MILLIMETRES, form)), METRES, atol=1e-6)


def test_millimetres_as_a_plain_png_are_decoded_exactly():
    message = compressed(encode(".png", MILLIMETRES), "16UC1; png compressed ")
    np.testing.assert_allclose(decode_depth(message), METRES, atol=1e-6)


def test_compressed_metres_are_decoded_to_within_their_quantisation():
    """The numbers are those of compressed_depth_image_transport's encoder."""
    farthest, depth_quantisation = 10.0, 100.0
    a = depth_quantisation * (depth_quantisation + 1)
    b = 1.0 - a / farthest
    code = np.zeros(METRES.shape, np.uint16)
    near_enough = (METRES > 0.2) & (farthest > METRES)
    code[near_enough] = (a / METRES[near_enough] + b).astype(np.uint16)
    decoded = decode_depth(compressed_depth(code, "32FC1; compressedDepth png", a, b))
    expected = np.where(near_enough, METRES, 0)
    np.testing.assert_allclose(decoded, expected, atol=0.01)
    assert (decoded[~near_enough] == 0).all()


@pytest.mark.parametrize("numbers", [(np.nan, np.nan), (0.0, 1e38), (-5.0, 3.0)])
def test_compressed_metres_with_a_nonsensical_header_are_no_depth(numbers):
    message = compressed_depth(MILLIMETRES + 1, "32FC1; compressedDepth", *numbers)
    result = outcome(decode_depth, message)
    assert result is Fault.INVALID_DEPTH or (np.isfinite(result) & (result >= 0)).all()


@pytest.mark.parametrize(
    ("message", "fault", "words"),
    [
        (raw(METRES, "64FC1"), Fault.WRONG_ENCODING, "publish 16UC1"),
        (raw(MILLIMETRES, "16UC1", data=b"\0" * 99), Fault.SIZE_MISMATCH, "image says 12x20"),
        (compressed(b"x", "16UC1; jpeg compressed "), Fault.WRONG_ENCODING, "compressedDepth"),
        (compressed(b"x" * 99, "16UC1; compressedDepth rvl"), Fault.WRONG_ENCODING, "format png"),
        (compressed(b"x", "16UC1; compressedDepth"), Fault.CORRUPT_IMAGE, "holds only 1 bytes"),
        (compressed(b"x" * 99, "16UC1; compressedDepth"), Fault.CORRUPT_IMAGE, "cannot be decoded"),
        (
            compressed_depth(RGB, "16UC1; compressedDepth"),
            Fault.WRONG_ENCODING,
            "one channel of 16",
        ),
        (
            compressed_depth(RGB[..., 0], "16UC1; compressedDepth"),
            Fault.WRONG_ENCODING,
            "of 16 bits",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_depth_that_cannot_be_used_is_refused_with_advice(message, fault, words):
    error = refusal(decode_depth, message)
    assert error.fault is fault
    assert words in str(error)


def test_depth_is_published_again_in_the_form_it_came_in():
    assert encoding_of_depth(raw(METRES, "32FC1")) == "32FC1"
    assert encoding_of_depth(raw(MILLIMETRES, "mono16")) == "16UC1"
    assert encoding_of_depth(compressed(b"", "32FC1; compressedDepth png")) == "32FC1"
    assert encoding_of_depth(compressed(b"", "16UC1; compressedDepth png")) == "16UC1"


# ROS's cv_bridge ---------------------------------------------------------------------------------


@pytest.fixture
def cv_bridge(monkeypatch):
    """Put a cv_bridge in place whose conversions are done by a function, and return what it did."""

    def put(convert):
        seen = []

        class CvBridge:
            def imgmsg_to_cv2(self, message, desired_encoding):
                seen.append((message.encoding, desired_encoding))
                return convert(message)

        monkeypatch.setitem(sys.modules, "cv_bridge", SimpleNamespace(CvBridge=CvBridge))
        working_bridge.cache_clear()
        return seen

    yield put
    monkeypatch.undo()
    working_bridge.cache_clear()


def test_images_go_through_a_cv_bridge_that_works(cv_bridge):
    def convert(message):
        pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        return pixels[..., ::-1]

    seen = cv_bridge(convert)
    message = raw(BY_ENCODING["bgr8"], "bgr8", 0)
    np.testing.assert_array_equal(decode_colour(message), RGB)
    assert seen[-1] == ("bgr8", "rgb8")


def test_a_cv_bridge_that_was_built_for_another_numpy_is_left_alone(cv_bridge):
    def convert(message):
        raise AttributeError("_ARRAY_API not found")

    seen = cv_bridge(convert)
    for _ in range(2):
        decoded = decode_colour(raw(BY_ENCODING["bgr8"], "bgr8", 0))
        np.testing.assert_array_equal(decoded, RGB)
    assert len(seen) == 1, "it is tried once, not with every image"
