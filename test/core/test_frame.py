# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pervformer_ros.frame import CameraModel, Fault, FaultLog, Frame, InputError

IDEAL = CameraModel(640, 480, 460.0, 458.0, 322.5, 238.0)
LENSES = {
    "none": (),
    "webcam": (0.1, -0.2, 0.001, -0.002, 0.05),
    "wide": (-0.28, 0.07, 0.0002, 0.00002),
    "very wide": (-0.37, 0.2, 0.001, 0.0003, -0.03),
    "rational": (0.45, -2.6, 0.0008, -0.0006, 1.5, 0.33, -2.4, 1.4),
}


def with_lens(name: str) -> CameraModel:
    return CameraModel(640, 480, 460.0, 458.0, 322.5, 238.0, LENSES[name])


# The camera ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lens", LENSES)
@given(st.floats(0, 639), st.floats(0, 479), st.floats(0.1, 50))
def test_a_pixel_put_into_space_is_seen_at_that_pixel(lens, u, v, depth):
    camera = with_lens(lens)
    points = camera.back_project(np.array([[u, v]]), np.array([depth]))
    assert points[0, 2] == depth
    np.testing.assert_allclose(camera.project(points), [[u, v]], atol=1e-3)


def test_nothing_is_projected_from_behind_the_camera():
    uv = IDEAL.project(np.array([[0.0, 0.0, -2.0], [0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]))
    assert np.isnan(uv[:2]).all()
    np.testing.assert_allclose(uv[2], [322.5, 238.0])


def test_what_is_far_aside_is_not_folded_back_into_the_image():
    """The polynomial of a wide lens is not monotone: it would put this point near the middle."""
    camera = CameraModel(640, 480, 460.0, 458.0, 322.5, 238.0, (-0.3, 0.0, 0.0, 0.0))
    assert np.isnan(camera.project(np.array([[1.8, 0.0, 1.0]]))).all()


@pytest.mark.parametrize("lens", LENSES)
@given(st.tuples(st.floats(-9, 9), st.floats(-9, 9), st.floats(0.1, 9)))
def test_a_pixel_of_the_image_never_stands_for_another_direction(lens, point):
    camera, points = with_lens(lens), np.array([point])
    uv = camera.project(points)
    if ((uv >= 0) & (uv < (640, 480))).all():
        np.testing.assert_allclose(camera.back_project(uv, points[:, 2]), points, atol=0.05)


def test_no_points_make_no_pixels():
    camera = with_lens("wide")
    assert camera.project(np.empty((0, 3))).shape == (0, 2)
    assert camera.back_project(np.empty((0, 2)), np.empty(0)).shape == (0, 3)


@given(st.floats(0, 639), st.floats(0, 479), st.sampled_from([(320, 240), (960, 720), (300, 400)]))
def test_a_scaled_camera_sees_the_same_direction_in_the_resized_pixel(u, v, size):
    camera = IDEAL.scaled(*size)
    scale = np.array(size) / (IDEAL.width, IDEAL.height)
    resized = (np.array([[u, v]]) + 0.5) * scale - 0.5  # centres of pixels are at whole numbers
    np.testing.assert_allclose(
        camera.back_project(resized, np.ones(1)),
        IDEAL.back_project(np.array([[u, v]]), np.ones(1)),
        atol=1e-9,
    )


def test_scaling_back_gives_the_camera_again():
    again = IDEAL.scaled(211, 133).scaled(640, 480)
    np.testing.assert_allclose(again.K, IDEAL.K)
    assert (again.width, again.height) == (640, 480)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((0, 480, 460, 460, 320, 240), "not usable"),
        ((640, 480, np.nan, 460, 320, 240), "not usable"),
        ((640, 480, 0, 0, 0, 0), "calibrate the camera or fix its camera_info publisher"),
        ((640, 480, 460, 460, 320, 240, (0.1, 0.2, 0.3)), "3 coefficients: give one of"),
    ],
)
def test_a_camera_that_cannot_be_is_refused(numbers, words):
    with pytest.raises(InputError, match=words) as caught:
        CameraModel(*numbers)
    assert caught.value.fault is Fault.INVALID_CAMERA_INFO


# The frame -------------------------------------------------------------------------------------

RGB = np.zeros((480, 640, 3), np.uint8)
DEPTH = np.ones((480, 640), np.float32)


def make_frame(rgb=RGB, depth=DEPTH) -> Frame:
    return Frame(0, rgb, depth, IDEAL, np.eye(4), np.eye(4))


@pytest.mark.parametrize("depth", [DEPTH, np.zeros_like(DEPTH), None])
def test_a_frame_takes_depth_with_holes_and_no_depth_at_all(depth):
    assert make_frame(depth=depth).depth is depth


@pytest.mark.parametrize(
    ("given_images", "fault", "words"),
    [
        ({"rgb": RGB[..., 0]}, Fault.WRONG_ENCODING, "publish rgb8, bgr8 or mono8"),
        ({"rgb": RGB.astype(np.float32)}, Fault.WRONG_ENCODING, "publish rgb8, bgr8 or mono8"),
        (
            {"rgb": RGB[:240, :320]},
            Fault.SIZE_MISMATCH,
            "colour is 240x320 but camera_info is for 480x640: publish the camera_info of this",
        ),
        (
            {"depth": DEPTH[:240, :320]},
            Fault.SIZE_MISMATCH,
            "depth is 240x320 but colour is 480x640: publish depth aligned to colour",
        ),
        ({"depth": DEPTH.astype(np.uint16)}, Fault.WRONG_ENCODING, "give metres as float32"),
        ({"depth": DEPTH * np.nan}, Fault.INVALID_DEPTH, "use 0 for none"),
        ({"depth": -DEPTH}, Fault.INVALID_DEPTH, "use 0 for none"),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_name_and_with_advice(given_images, fault, words):
    with pytest.raises(InputError, match=words) as caught:
        make_frame(**given_images)
    assert caught.value.fault is fault


# The log ---------------------------------------------------------------------------------------


def test_faults_are_counted_and_the_latest_words_kept():
    faults = FaultLog()
    faults.add(Fault.OUT_OF_ORDER, "first")
    faults.add(Fault.NO_EXTRINSICS, "set them")
    faults.add(Fault.OUT_OF_ORDER, "second")
    assert faults.summary() == {"no_extrinsics": "1: set them", "out_of_order": "2: second"}
