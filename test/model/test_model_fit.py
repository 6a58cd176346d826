# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where images of any size lie in the model's, and where what is found there lies in them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pervformer_ros.model.fit import Fit

MODEL = (240, 320)
SIZES = [(480, 640), (480, 848), (720, 1280), (360, 640), (640, 360), (241, 320), (1, 2000)]


def camera(size: tuple[int, int]) -> NDArray[np.float64]:
    height, width = size
    return np.array([[0.8 * width, 0, width / 2 + 3], [0, 0.8 * width, height / 2 - 5], [0, 0, 1]])


def points(count: int = 50) -> NDArray[np.float64]:
    """Return points (K, 3) in metres before the camera, always the same."""
    random = np.random.default_rng(0)
    return random.uniform((-1, -1, 2), (1, 1, 5), (count, 3))


def corners(count: int = 1000) -> NDArray[np.float32]:
    """Return boxes (K, 4) as fractions of the model's image, always the same."""
    return (
        np.sort(np.random.default_rng(0).random((count, 2, 2)), axis=1).astype("f4").reshape(-1, 4)
    )


@pytest.mark.parametrize(
    ("image", "content", "start"),
    [
        ((480, 640), (240, 320), (0, 0)),
        ((60, 80), (240, 320), (0, 0)),
        ((720, 1280), (180, 320), (30, 0)),
        ((480, 848), (181, 320), (29, 0)),
        ((640, 360), (240, 135), (0, 92)),
        ((241, 320), (240, 319), (0, 0)),
        ((1, 2000), (1, 320), (119, 0)),
    ],
)
def test_an_image_lies_in_the_middle_and_touches_two_edges(
    image: tuple[int, int], content: tuple[int, int], start: tuple[int, int]
) -> None:
    fit = Fit(image, MODEL)
    assert (fit.content, fit.start) == (content, start)
    assert fit.padded == (content != MODEL)
    whole = fit.pad(np.ones((*content, 3), np.uint8))
    assert whole.shape == (*MODEL, 3)
    assert whole.sum() == 3 * content[0] * content[1]
    assert whole[fit.inside].all()


@pytest.mark.parametrize("size", SIZES)
def test_a_point_is_seen_where_the_models_camera_sees_it(size: tuple[int, int]) -> None:
    fit, K = Fit(size, MODEL), camera(size)
    x, y, z = points().T
    fx, fy, cx, cy = fit.intrinsics(K)
    seen = np.stack([x / z * fx + cx, y / z * fy + cy], axis=1).astype(np.float32)
    expected = np.stack([x / z * K[0, 0] + K[0, 2], y / z * K[1, 1] + K[1, 2]], axis=1)
    np.testing.assert_allclose(fit.pixels(seen), expected, atol=1e-2)


@pytest.mark.parametrize("size", SIZES)
def test_the_contents_edges_are_the_images(size: tuple[int, int]) -> None:
    height, width = size
    fit = Fit(size, MODEL)
    bounds, whole = np.array([fit.bounds, (0, 0, 1, 1)], np.float32), [0, 0, width, height]
    np.testing.assert_allclose(fit.boxes(bounds[:1]), [whole], atol=1e-3)
    np.testing.assert_allclose(fit.boxes_within(bounds), [whole, whole], atol=1e-3)
    down, across = fit.inside
    first = np.array([[across.start - 0.5, down.start - 0.5]], np.float32)
    np.testing.assert_allclose(fit.pixels(first), [[-0.5, -0.5]], atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_the_nearest_pixels_are_spread_over_the_image(size: tuple[int, int]) -> None:
    fit = Fit(size, MODEL)
    for indices, count, given in zip(fit.nearest(), fit.content, size, strict=True):
        assert len(indices) == count
        assert (np.diff(indices) >= 0).all()
        np.testing.assert_allclose(indices.mean(), (given - 1) / 2, atol=0.51)


@pytest.mark.parametrize("size", [(480, 848), (640, 360)])
def test_maps_are_read_where_the_image_is(size: tuple[int, int]) -> None:
    """A map that holds its own places in pixels says where each pixel of the image is read."""
    fit, cells = Fit(size, MODEL), (60, 80)
    down, across = fit.bilinear(size, cells)
    u, v = across @ (np.arange(80) * 4 + 1.5), down @ (np.arange(60) * 4 + 1.5)
    count = min(size)
    read = fit.pixels(np.stack([u[:count], v[:count]], axis=1).astype(np.float32))
    inner = slice(10, -10)  # a map ends at the centres of its outermost cells
    expected = np.arange(count)[inner]
    np.testing.assert_allclose(read[inner], np.stack([expected, expected], axis=1), atol=1e-2)
    assert fit.cells(cells) == ((45, 80) if size[1] > size[0] else (60, 34))


@pytest.mark.parametrize("size", [(240, 320), (480, 640), (720, 960), (120, 160)])
def test_an_image_of_the_models_aspect_fills_it_to_the_digit(size: tuple[int, int]) -> None:
    height, width = size
    fit, box, K = Fit(size, MODEL), corners(), camera(size)
    assert not fit.padded
    assert fit.bounds == (0.0, 0.0, 1.0, 1.0)
    np.testing.assert_array_equal(fit.boxes(box), box * np.array([width, height] * 2, np.float32))
    np.testing.assert_array_equal(fit.boxes_within(box), fit.boxes(box))
    uv = box[:, :2] * 240
    scale = np.array([width / 320, height / 240], np.float32)
    np.testing.assert_array_equal(fit.pixels(uv), (uv + 0.5) * scale - np.float32(0.5))
    s = 320 / width
    cx, cy = (K[0, 2] + 0.5) * s - 0.5, (K[1, 2] + 0.5) * s - 0.5
    np.testing.assert_array_equal(fit.intrinsics(K), [K[0, 0] * s, K[1, 1] * s, cx, cy])
    assert fit.cells((30, 40)) == (30, 40)
    for weights in fit.bilinear((30, 40), (30, 40)):
        np.testing.assert_array_equal(weights, np.eye(len(weights)))
