# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node, seen from another process: how it starts, what it bears, how it leaves."""

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition

from pervformer_ros.frame import NANOSECONDS
from pervformer_ros.nodes import conversions


@pytest.fixture
def perception(start, robot):
    """A running perception node with the smallest model."""
    process = start("perception", checkpoint="untrained", model="tiny")
    robot.publish_extrinsics()
    return process


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


def test_extrinsics_may_come_from_a_parameter(start, robot):
    start(
        "perception",
        checkpoint="untrained",
        model="tiny",
        camera_extrinsics="[0.1,0.0,0.5,-0.5,0.5,-0.5,0.5]",
    )
    robot.answered_frame()


def test_it_leaves_when_asked_to(perception, robot):
    robot.answered_frame()
    perception.terminate()
    assert perception.wait(20) in (0, -15)
