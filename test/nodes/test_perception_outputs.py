# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One perception node, seen from another process: what it says, and what it can be asked for."""

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from pervformer_msgs.srv import LoadMemory, QueryMemory, SaveMemory
from rcl_interfaces.srv import GetParameters, ListParameters
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from pervformer_ros.nodes import conversions

OUTPUTS = ("objects", "features", "static_mask", "static_depth", "memory_status")


@pytest.fixture(scope="module", autouse=True)
def perception(start_for_module):
    """A node with the smallest model, that many robots meet one after the other."""
    start_for_module("perception", checkpoint="untrained", model="tiny")


@pytest.fixture
def robot(robot):
    """A robot of which the node learns where its camera is."""
    robot.publish_extrinsics()
    return robot


def test_every_output_carries_exactly_the_image_s_stamp(robot):
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


def test_mono_images_will_do(robot):
    grey = conversions.image_message(robot.texture[..., 0], "mono8", 0, "")
    assert isinstance(grey, Image)
    robot.answered_frame(colour=grey)


def test_diagnostics_say_that_the_weights_were_never_trained(robot):
    robot.spin_until(lambda: "pervformer: model" in robot.diagnostics, "diagnostics")
    status = robot.diagnostics["pervformer: model"]
    assert status.level == status.WARN
    assert "never trained" in status.message
    assert {v.key: v.value for v in status.values}["checkpoint"] == "tiny, untrained (seed 0)"


def test_all_parameters_can_be_asked_for_at_once(robot):
    """As `ros2 param dump` does: one without a value would silence all."""
    listed = robot.call(ListParameters, "/pervformer/list_parameters", ListParameters.Request())
    names = listed.result.names
    assert {"camera_extrinsics", "path_topics", "features"} <= set(names)
    request = GetParameters.Request(names=names)
    assert len(robot.call(GetParameters, "/pervformer/get_parameters", request).values) == len(
        names
    )


def test_memory_is_saved_loaded_queried_and_reset_by_service(robot, tmp_path):
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


def test_the_life_cycle_can_be_walked_to_the_end_and_back(robot):
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
