# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import CAMERA, OPTICAL, T_BASE_CAMERA, T_BASE_LINK, T_LINK_OPTICAL, Messages

from pervformer_ros.bags.intake import Intake, IntakeConfig, StaticTransforms, camera_model
from pervformer_ros.frame import Fault, InputError
from pervformer_ros.geometry import invert, make_rotation, make_transform

ROS2, ROS1 = Messages(), Messages(ros1=True)
STAMP = 1_700_000_000_123_456_789
RGB = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
MILLIMETRES = np.full((120, 160), 1500, np.uint16)
LINKS = [("base_link", "camera_link", T_BASE_LINK), ("camera_link", OPTICAL, T_LINK_OPTICAL)]


def prepared(config=None, ros=ROS2) -> Intake:
    """Return an intake that knows the camera and where it is."""
    intake = Intake(config)
    intake.on_camera_info(ros.camera_info(STAMP))
    intake.on_tf_static(ros.tf_static(LINKS))
    return intake


def feed(intake, ros=ROS2, pose=None, child="base_link"):
    """Give the intake one image with all that belongs to it; return the bundle."""
    bundles = intake.on_odometry(ros.odometry(STAMP, np.eye(4) if pose is None else pose, child))
    bundles += intake.on_depth(ros.image(STAMP, MILLIMETRES, "16UC1"))
    bundles += intake.on_colour(ros.image(STAMP, RGB, "rgb8"))
    (bundle,) = bundles + intake.flush()
    return bundle


def refusal(call, *arguments) -> InputError:
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return caught.value


# Frames ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ros", [ROS2, ROS1], ids=["ROS 2", "ROS 1"])
def test_messages_become_a_frame_with_the_images_own_stamp(ros):
    intake = prepared(ros=ros)
    pose = make_rotation([0, 0, 0.3])
    frame = intake.build(feed(intake, ros, pose=pose))
    assert frame.stamp_ns == STAMP
    assert frame.frame_id == OPTICAL
    assert frame.camera == CAMERA
    np.testing.assert_array_equal(frame.rgb, RGB)
    np.testing.assert_allclose(frame.depth, 1.5)
    np.testing.assert_allclose(frame.T_base_camera, T_BASE_CAMERA, atol=1e-12)
    np.testing.assert_allclose(frame.T_odom_base, pose, atol=1e-12)
    assert not intake.faults.counts


@pytest.mark.parametrize(("offset_m", "counted"), [(None, 1), (0.015, 1), (0.0, 0)])
def test_depth_of_another_eye_is_used_and_counted(offset_m, counted):
    """Unless /tf_static says that both frames are one."""
    intake, depth = prepared(), ROS2.image(STAMP, MILLIMETRES, "16UC1")
    depth.header.frame_id = "camera_depth_optical_frame"
    if offset_m is not None:
        link = (OPTICAL, depth.header.frame_id, make_transform([offset_m, 0, 0], [0, 0, 0, 1]))
        intake.on_tf_static(ROS2.tf_static([link]))
    frame = intake.build(replace(feed(intake), depth=depth))
    np.testing.assert_allclose(frame.depth, 1.5)
    assert intake.faults.counts[Fault.DEPTH_NOT_ALIGNED] == counted


@pytest.mark.parametrize(
    ("depth", "fault"),
    [
        (ROS2.image(STAMP, MILLIMETRES[:60, :80], "16UC1"), Fault.SIZE_MISMATCH),
        (ROS2.image(STAMP, RGB[..., 0], "16UC1"), Fault.SIZE_MISMATCH),
        (ROS2.image(STAMP, RGB, "rgb8"), Fault.WRONG_ENCODING),
        (ROS2.image(STAMP, np.full((120, 160), np.nan, np.float32), "32FC1"), Fault.INVALID_DEPTH),
        (ROS2.compressed(STAMP, bytes(50), "16UC1; compressedDepth"), Fault.CORRUPT_IMAGE),
    ],
    ids=["another size", "too few bytes", "colour", "NaN", "damaged"],
)
def test_depth_that_cannot_be_used_is_counted_and_the_image_still_counts(depth, fault):
    intake = prepared()
    frame = intake.build(replace(feed(intake), depth=depth))
    assert frame.depth is None
    np.testing.assert_array_equal(frame.rgb, RGB)
    assert intake.faults.counts == {fault: 1}


def test_an_image_that_cannot_be_used_makes_no_frame():
    intake = prepared()
    bundle = feed(intake)
    bundle.colour.encoding = "yuv422"
    assert refusal(intake.build, bundle).fault is Fault.WRONG_ENCODING


def test_without_camera_info_there_is_no_frame():
    intake = Intake()
    intake.on_tf_static(ROS2.tf_static(LINKS))
    assert refusal(intake.build, feed(intake)).fault is Fault.NO_CAMERA_INFO


def test_without_extrinsics_there_is_no_frame_and_both_frames_are_named():
    intake = Intake()
    intake.on_camera_info(ROS2.camera_info(STAMP))
    error = refusal(intake.build, feed(intake))
    assert error.fault is Fault.NO_EXTRINSICS
    assert f"no path from 'base_link' to '{OPTICAL}': publish it or set" in str(error)


def test_extrinsics_of_the_configuration_go_before_tf_static():
    given_extrinsics = make_rotation([0.1, 0.2, 0.3])
    intake = prepared(IntakeConfig(T_base_camera=given_extrinsics))
    np.testing.assert_array_equal(intake.build(feed(intake)).T_base_camera, given_extrinsics)


# Static transforms -------------------------------------------------------------------------------

poses = st.tuples(*[st.floats(-1.5, 1.5)] * 3).map(
    lambda v: make_rotation(np.array(v)) + np.pad(np.array(v)[:, None], ((0, 1), (3, 0)))
)


@given(
    st.lists(st.tuples(poses, st.integers(0, 99), st.booleans()), min_size=1, max_size=8), st.data()
)
def test_any_two_frames_of_the_tree_are_joined_along_it(links, data):
    tree, T_world = StaticTransforms(), [np.eye(4)]
    for i, (T, parent, turned) in enumerate(links, 1):
        parent %= i
        T_world.append(T_world[parent] @ T)
        if turned:
            tree.add(f"frame_{i}", f"frame_{parent}", invert(T))
        else:
            tree.add(f"frame_{parent}", f"frame_{i}", T)
    a, b = (data.draw(st.integers(0, len(links))) for _ in range(2))
    expected = invert(T_world[a]) @ T_world[b]
    np.testing.assert_allclose(tree.lookup(f"frame_{a}", f"frame_{b}"), expected, atol=1e-9)


def test_frames_that_are_not_joined_have_no_transform():
    tree = StaticTransforms()
    tree.add("base_link", "camera_link", np.eye(4))
    tree.add("elsewhere", OPTICAL, np.eye(4))
    assert tree.lookup("base_link", OPTICAL) is None
    assert tree.lookup("base_link", "unheard_of") is None


def test_a_newer_transform_replaces_the_older():
    tree = StaticTransforms()
    tree.add("a", "b", np.eye(4))
    tree.add("a", "b", T_BASE_LINK)
    np.testing.assert_array_equal(tree.lookup("a", "b"), T_BASE_LINK)
    np.testing.assert_allclose(tree.lookup("b", "a"), invert(T_BASE_LINK))


def test_leading_slashes_of_ros_1_make_no_difference():
    tree = StaticTransforms()
    tree.add("/base_link", "/camera_link", T_BASE_LINK)
    tree.add("camera_link", OPTICAL, T_LINK_OPTICAL)
    np.testing.assert_allclose(tree.lookup("base_link", "/" + OPTICAL), T_BASE_CAMERA, atol=1e-12)


def test_a_transform_that_is_none_is_counted():
    intake = Intake()
    message = ROS2.tf_static(LINKS)
    message.transforms[0].transform.rotation.w = np.nan
    intake.on_tf_static(message)
    assert intake.faults.counts == {Fault.NO_EXTRINSICS: 1}


# Odometry ----------------------------------------------------------------------------------------


def test_odometry_may_speak_of_another_frame_fixed_to_the_base():
    intake = prepared()
    T_odom_base = make_rotation([0, 0, 1.0])
    T_odom_base[:3, 3] = (4, 5, 0)
    bundle = feed(intake, pose=T_odom_base @ T_BASE_LINK, child="camera_link")
    np.testing.assert_allclose(bundle.T_odom_base, T_odom_base, atol=1e-9)


def test_odometry_without_a_child_frame_is_taken_as_the_bases():
    intake = prepared()
    np.testing.assert_allclose(feed(intake, pose=T_BASE_LINK, child="").T_odom_base, T_BASE_LINK)


@pytest.mark.parametrize(
    ("pose_change", "child", "words"),
    [
        (
            {},
            "footprint",
            "child frame is 'footprint' and /tf_static does not join it to 'base_link'",
        ),
        ({"w": 0.0}, "base_link", "zero quaternion"),
        ({"x": np.nan}, "base_link", "not finite"),
    ],
)
def test_odometry_that_cannot_be_used_is_counted(pose_change, child, words):
    intake = prepared()
    message = ROS2.odometry(STAMP, np.eye(4), child)
    for name, value in pose_change.items():
        setattr(message.pose.pose.orientation, name, value)
    assert intake.on_odometry(message) == []
    assert intake.faults.counts == {Fault.INVALID_ODOMETRY: 1}
    assert words in intake.faults.latest[Fault.INVALID_ODOMETRY]


# Cameras -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ros", [ROS2, ROS1], ids=["k of ROS 2", "K of ROS 1"])
@pytest.mark.parametrize(
    ("model", "distortion"),
    [
        ("plumb_bob", (0.1, -0.2, 0.001, -0.002, 0.05)),
        ("plumb_bob", (0.1, -0.2, 0.001, -0.002)),
        ("rational_polynomial", (0.4, -2.6, 0.001, -0.001, 1.5, 0.3, -2.4, 1.4)),
        ("", ()),
        ("none", ()),
    ],
)
def test_a_camera_info_becomes_its_camera(ros, model, distortion):
    camera = replace(CAMERA, fx=131.0, fy=129.0, cx=81.0, cy=58.0, distortion=distortion)
    assert camera_model(ros.camera_info(STAMP, camera, model)) == camera


@pytest.mark.parametrize("ros", [ROS2, ROS1], ids=["ROS 2", "ROS 1"])
def test_an_image_may_be_a_binned_region_of_the_sensor(ros):
    sensor = CAMERA.scaled(2 * CAMERA.width, 2 * CAMERA.height)
    message = ros.camera_info(STAMP, sensor)
    message.binning_x = message.binning_y = 2
    assert camera_model(message) == CAMERA
    message.roi.x_offset, message.roi.y_offset = 40, 20
    message.roi.width, message.roi.height = 200, 160
    region = camera_model(message)
    assert (region.width, region.height, region.fx) == (100, 80, CAMERA.fx)
    assert (region.cx, region.cy) == pytest.approx((CAMERA.cx - 20, CAMERA.cy - 10))


@pytest.mark.parametrize("distortion", [(0.01, 0.02, 0.0, 0.0), ()])
def test_a_fisheye_is_refused_with_or_without_coefficients(distortion):
    camera = replace(CAMERA, distortion=distortion)
    error = refusal(camera_model, ROS2.camera_info(STAMP, camera, "equidistant"))
    assert error.fault is Fault.INVALID_CAMERA_INFO
    assert "'equidistant' is not supported: rectify the images (image_proc)" in str(error)


@pytest.mark.parametrize("ros", [ROS2, ROS1], ids=["ROS 2", "ROS 1"])
@pytest.mark.parametrize("model", ["plumb_bob", "equidistant"])
def test_rectified_images_have_the_camera_of_p(ros, model):
    P = [[140, 0, 77, 0], [0, 141, 61, 0], [0, 0, 1, 0]]
    raw = replace(CAMERA, distortion=(0.01, 0.02, 0.0, 0.0))
    camera = camera_model(ros.camera_info(STAMP, raw, model, P), rectified=True)
    assert camera == replace(CAMERA, fx=140.0, fy=141.0, cx=77.0, cy=61.0)


def test_an_uncalibrated_camera_is_counted_and_the_last_good_one_kept():
    intake = prepared()
    message = ROS2.camera_info(STAMP)
    message.k = np.zeros(9)
    intake.on_camera_info(message)
    assert intake.camera == CAMERA
    assert intake.faults.counts == {Fault.INVALID_CAMERA_INFO: 1}
