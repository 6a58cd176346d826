# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node, seen from another process."""

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from pervformer_msgs.srv import LoadMemory, QueryMemory, SaveMemory
from rcl_interfaces.srv import GetParameters, ListParameters
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from pervformer_ros.frame import NANOSECONDS
from pervformer_ros.nodes import conversions

OUTPUTS = ("objects", "features", "static_mask", "static_depth", "memory_status")


@pytest.fixture
def perception(start, robot):
    """A running perception node with the smallest model."""
    process = start("perception", checkpoint="untrained", model="tiny")
    robot.publish_extrinsics()
    return process


def test_every_output_carries_exactly_the_image_s_stamp(perception, robot):
    stamp = robot.answered_frame()
    robot.spin_until(lambda: all(stamp in robot.heard[t] for t in OUTPUTS), "all outputs")
    sent = {stamp_ for t in OUTPUTS for stamp_ in robot.heard[t]}
    assert all((s - robot.stamp_ns) % 66_666_667 == 0 for s in sent), "a stamp nobody sent"

    features = conversions.feature_set(robot.heard["features"][stamp])
    assert len(features) > 20
    np.testing.assert_allclose(features.points[np.isfinite(features.points[:, 2]), 2], 2.0)
    mask, depth = robot.heard["static_mask"][stamp], robot.heard["static_depth"][stamp]
    assert (mask.encoding, mask.height, mask.width) == ("mono8", 120, 160)
    assert set(mask.data) == {255}, "weights that were never trained mask nothing"
    assert (depth.encoding, depth.header.frame_id) == ("16UC1", "camera_color_optical_frame")
    assert set(np.frombuffer(depth.data, np.uint16)) == {2000}
    objects = robot.heard["objects"][stamp]
    assert (objects.header.frame_id, list(objects.objects)) == ("odom", [])
    assert "untrained" in robot.heard["memory_status"][stamp].checkpoint


def test_bad_input_is_named_in_diagnostics_and_the_node_lives_on(perception, robot):
    first = robot.answered_frame()

    wrong_encoding = robot.colour_image()
    wrong_encoding.encoding = "bayer_rggb8"
    small = conversions.image_message(robot.texture[::2, ::2], "rgb8", 0, "")
    cut_off = robot.colour_image()
    cut_off.data = cut_off.data[:1000]
    nowhere = np.full((120, 160), np.nan, np.float32)
    not_aligned = conversions.image_message(np.full((60, 80), 2000, np.uint16), "16UC1", 0, "")
    bad = [
        ({"colour": wrong_encoding}, "wrong_encoding"),
        ({"colour": small}, "size_mismatch"),
        ({"colour": cut_off}, "size_mismatch"),
        ({"depth": conversions.image_message(nowhere, "32FC1", 0, "")}, "invalid_depth"),
        ({"depth": not_aligned}, "size_mismatch"),
        ({"odometry": False, "step_ns": 2 * NANOSECONDS}, "odometry_gap"),
        ({"step_ns": -20 * NANOSECONDS}, "time_jump_back"),
    ]
    for options, fault in bad:
        before = robot.faults().get(fault, 0)
        robot.publish_until(
            lambda fault=fault, before=before: robot.faults().get(fault, 0) > before,
            f"{fault} in /diagnostics",
            **options,
        )
        robot.answered_frame()

    assert robot.state_of("pervformer") == "active"
    assert perception.poll() is None
    assert robot.answered_frame() < first, "frames are taken again from where time jumped to"


def test_a_camera_without_camera_info_is_named_in_diagnostics(start, robot, monkeypatch):
    start("perception", checkpoint="untrained", model="tiny")
    robot.publish_extrinsics()
    monkeypatch.setattr(robot, "publish_info", lambda: None)

    robot.publish_until(lambda: "no_camera_info" in robot.faults(), "the fault in /diagnostics")
    monkeypatch.undo()
    robot.answered_frame()
    assert robot.state_of("pervformer") == "active"


def test_diagnostics_say_that_the_weights_were_never_trained(perception, robot):
    robot.spin_until(lambda: "pervformer: model" in robot.diagnostics, "diagnostics")
    status = robot.diagnostics["pervformer: model"]
    assert status.level == status.WARN
    assert "never trained" in status.message
    assert {v.key: v.value for v in status.values}["checkpoint"] == "tiny, untrained (seed 0)"


def test_memory_is_saved_loaded_queried_and_reset_by_service(perception, robot, tmp_path):
    robot.answered_frame()
    path = str(tmp_path / "memory.zip")
    saved = robot.call(SaveMemory, "/pervformer/save_memory", SaveMemory.Request(path=path))
    assert saved.success, saved.message
    loaded = robot.call(LoadMemory, "/pervformer/load_memory", LoadMemory.Request(path=path))
    assert loaded.success, loaded.message
    missing = LoadMemory.Request(path=str(tmp_path / "none.zip"))
    refused = robot.call(LoadMemory, "/pervformer/load_memory", missing)
    assert not refused.success
    assert "none.zip" in refused.message
    for unwritable in (str(tmp_path / "no_such_folder" / "memory.zip"), "", "/"):
        request = SaveMemory.Request(path=unwritable)
        refused = robot.call(SaveMemory, "/pervformer/save_memory", request)
        assert not refused.success
    found = robot.call(QueryMemory, "/pervformer/query_memory", QueryMemory.Request())
    assert (list(found.objects), list(found.events)) == ([], [])
    assert robot.call(Trigger, "/pervformer/reset_memory", Trigger.Request()).success
    robot.answered_frame()


def test_the_life_cycle_can_be_walked_to_the_end_and_back(perception, robot):
    robot.answered_frame()
    for transition, state in (
        (Transition.TRANSITION_DEACTIVATE, "inactive"),
        (Transition.TRANSITION_ACTIVATE, "active"),
        (Transition.TRANSITION_DEACTIVATE, "inactive"),
        (Transition.TRANSITION_CLEANUP, "unconfigured"),
        (Transition.TRANSITION_CONFIGURE, "inactive"),
        (Transition.TRANSITION_ACTIVATE, "active"),
    ):
        assert robot.change_state("pervformer", transition)
        assert robot.state_of("pervformer") == state
    robot.answered_frame()


def test_without_autostart_it_waits_to_be_configured(start, robot):
    start("perception", checkpoint="untrained", model="tiny", autostart=False)
    assert robot.state_of("pervformer") == "unconfigured"
    assert robot.change_state("pervformer", Transition.TRANSITION_CONFIGURE)
    assert robot.state_of("pervformer") == "inactive"


def test_a_parameter_that_cannot_be_used_refuses_configuration(start, robot, tmp_path):
    start("perception", camera_extrinsics="[1.0, 2.0]")
    assert robot.state_of("pervformer") == "unconfigured"
    said = (tmp_path / "perception.log").read_text()
    assert "camera_extrinsics has 2 numbers: give x y z qx qy qz qw" in said


def test_a_corridor_whose_name_makes_no_topic_refuses_configuration(start, robot, tmp_path):
    start("perception", checkpoint="untrained", model="tiny", path_topics="[aisle-a]")
    assert robot.state_of("pervformer") == "unconfigured"
    assert "aisle-a" in (tmp_path / "perception.log").read_text()


def test_all_parameters_can_be_asked_for_at_once(perception, robot):
    """As `ros2 param dump` does: one without a value would silence all."""
    listed = robot.call(ListParameters, "/pervformer/list_parameters", ListParameters.Request())
    names = listed.result.names
    assert {"camera_extrinsics", "path_topics", "features"} <= set(names)
    request = GetParameters.Request(names=names)
    assert len(robot.call(GetParameters, "/pervformer/get_parameters", request).values) == len(
        names
    )


def test_extrinsics_may_come_from_a_parameter(start, robot):
    start(
        "perception",
        checkpoint="untrained",
        model="tiny",
        camera_extrinsics="[0.1,0.0,0.5,-0.5,0.5,-0.5,0.5]",
    )
    robot.answered_frame()


def test_mono_images_will_do(perception, robot):
    grey = conversions.image_message(robot.texture[..., 0], "mono8", 0, "")
    assert isinstance(grey, Image)
    robot.answered_frame(colour=grey)


def test_it_leaves_when_asked_to(perception, robot):
    robot.answered_frame()
    perception.terminate()
    assert perception.wait(20) in (0, -15)
