# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The SLAM node in the test's own process: what must not end it."""

import threading

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from pervformer_msgs.srv import LoadMemory, SaveMemory
from rclpy.executors import SingleThreadedExecutor

from pervformer_ros.assembly import Bundle
from pervformer_ros.features import FeatureSet
from pervformer_ros.frame import NANOSECONDS, CameraModel
from pervformer_ros.geometry import make_transform
from pervformer_ros.nodes import conversions
from pervformer_ros.nodes.slam import SlamNode

CAMERA = CameraModel(320, 240, 260.0, 260.0, 159.5, 119.5)
START_NS = 1000 * NANOSECONDS
COUNT = 300


@pytest.fixture
def slam(domain):
    node = SlamNode()
    node.autostart()
    node.intake.camera = CAMERA
    node.intake.transforms.add(
        "base_link", "eye", make_transform((0, 0, 0.5), (-0.5, 0.5, -0.5, 0.5))
    )
    yield node
    node.stop()
    node.destroy_node()


def see(node, stamp_ns):
    """Let the node see a wall, the same at any time."""
    random = np.random.default_rng(0)
    uv = random.uniform((10, 10), (310, 230), (COUNT, 2))
    signs = random.choice(np.array([-1, 1], np.float16), (COUNT, 256))
    ones = np.ones(COUNT, np.float32)
    points = CAMERA.back_project(uv, random.uniform(2, 4, COUNT)).astype(np.float32)
    features = FeatureSet(
        stamp_ns, 320, 240, uv.astype(np.float32), points, ones, ones, signs / np.float16(16)
    )
    message = conversions.feature_message(features, "eye")
    node.offering(iter)([Bundle(stamp_ns, message, None, np.eye(4), 0)])
    node._worker.drain()


@pytest.fixture
def spinning(slam):
    executor = SingleThreadedExecutor()
    executor.add_node(slam)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield slam
    executor.shutdown()
    thread.join()


def test_time_jumps_back_when_the_map_s_file_is_gone(spinning, robot, tmp_path):
    """It was on a stick that was pulled out: the node begins anew in the map that it has read."""
    path = tmp_path / "map"
    see(spinning, START_NS)
    spinning.backend.save_map(path)
    loaded = robot.call(LoadMemory, "/slam/load_map", LoadMemory.Request(path=str(path)))
    assert loaded.success, loaded.message
    see(spinning, START_NS)
    assert spinning.backend.keyframes == 2
    path.unlink()
    for stamp_ns in (2, 1):
        see(spinning, stamp_ns)
        assert spinning.backend.keyframes == 2
    assert not spinning.faults.total


def test_odometry_that_is_refused_or_of_another_time_moves_no_frame(slam, monkeypatch):
    told = []
    monkeypatch.setattr(slam._tf, "publish", lambda m: told.extend(m.transforms))
    see(slam, START_NS)

    def take(seconds, x=0.0):
        message = Odometry(child_frame_id="base_link")
        message.header = conversions.header(START_NS + int(seconds * NANOSECONDS), "odom")
        message.pose.pose.orientation.w = 1.0
        message.pose.pose.position.x = x
        told.clear()
        slam.offering(slam._take_odometry)(message)
        return len(told)

    assert take(0.1) == 1
    assert take(0.0) == 0, "it came too late"
    assert take(0.2, x=np.nan) == 0
    assert take(3600.0) == 0, "nothing else is of that time"
    assert take(0.3) == 1
    assert take(-600.0) == 0
    assert take(0.4) == 1
    for seconds in range(5, 60, 5):
        assert take(seconds) == 1, "also while no image comes"
    take(3600.0)
    assert take(3600.1) == 1, "time has jumped"


def test_a_service_that_fails_is_answered_and_the_map_stays(spinning, robot, monkeypatch, tmp_path):
    see(spinning, START_NS)
    path = tmp_path / "map"
    path.touch()

    def fail(*_):
        raise StopIteration

    calls = [
        (SaveMemory, "save_map", "snapshot_map"),
        (LoadMemory, "load_map", "resume_map"),
    ]
    for kind, service, method in calls:
        with monkeypatch.context() as broken:
            broken.setattr(spinning.backend, method, fail)
            answer = robot.call(kind, f"/slam/{service}", kind.Request(path=str(path)))
        assert not answer.success
        assert "StopIteration" in answer.message
    assert spinning.backend.keyframes == 1
