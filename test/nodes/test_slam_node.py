# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The SLAM node behind the perception node, seen from another process."""

import numpy as np
from nav_msgs.msg import Odometry, Path
from pervformer_msgs.srv import LoadMemory, SaveMemory
from rclpy.qos import QoSProfile
from tf2_msgs.msg import TFMessage

from pervformer_ros.bags.intake import stamp_of
from pervformer_ros.frame import NANOSECONDS

RELIABLE = QoSProfile(depth=100)


def test_a_map_outlives_the_node(start, robot, tmp_path):
    """It is saved, a new node resumes in it, and a file that is none is refused in words."""
    poses: dict[int, Odometry] = {}
    robot.create_subscription(
        Odometry, "/slam/odometry", lambda m: poses.update({stamp_of(m.header): m}), RELIABLE
    )
    start("perception", checkpoint="untrained", model="tiny")
    first = start("slam")
    robot.publish_extrinsics()
    empty = robot.call(SaveMemory, "/slam/save_map", SaveMemory.Request(path="anywhere"))
    assert not empty.success
    assert "the map is empty" in empty.message
    robot.publish_until(lambda: len(poses) >= 3, "poses")
    path = str(tmp_path / "map.safetensors")
    saved = robot.call(SaveMemory, "/slam/save_map", SaveMemory.Request(path=path))
    assert saved.success, saved.message

    first.terminate()
    first.wait()
    start("slam", map_file=path)
    known = len(poses)
    robot.publish_until(lambda: len(poses) > known, "a pose in the resumed map")
    again = robot.call(LoadMemory, "/slam/load_map", LoadMemory.Request(path=path))
    assert again.success, again.message
    refused = robot.call(LoadMemory, "/slam/load_map", LoadMemory.Request(path=str(tmp_path)))
    assert not refused.success
    assert "cannot read" in refused.message
    nameless = robot.call(LoadMemory, "/slam/load_map", LoadMemory.Request())
    assert not nameless.success
    assert "name the file" in nameless.message
    count = saved.message.split()[0]
    kept = robot.call(SaveMemory, "/slam/save_map", SaveMemory.Request(path=path))
    assert int(kept.message.split()[0]) >= int(count), "the map is still there"


def test_the_pose_goes_on_after_time_jumped_back(start, robot):
    poses: dict[int, Odometry] = {}
    corrections, paths = [], []
    robot.create_subscription(
        Odometry, "/slam/odometry", lambda m: poses.update({stamp_of(m.header): m}), RELIABLE
    )
    robot.create_subscription(TFMessage, "/tf", corrections.append, RELIABLE)
    robot.create_subscription(Path, "/slam/path", paths.append, RELIABLE)
    start("perception", checkpoint="untrained", model="tiny")
    start("slam")
    robot.publish_extrinsics()
    robot.publish_until(lambda: len(poses) >= 3 and corrections and paths, "poses")

    message = poses[max(poses)]
    assert (message.header.frame_id, message.child_frame_id) == ("map", "base_link")
    variances = np.diag(np.reshape(message.pose.covariance, (6, 6)))
    assert (variances > 0).all()
    edge = corrections[-1].transforms[0]
    assert (edge.header.frame_id, edge.child_frame_id) == ("map", "odom")

    # While no image comes, map -> odom goes on with odometry, and a bit ahead of it.
    asked = {robot.stamp_ns + (i + 1) * 50_000_000 for i in range(4)}
    ahead_ns = 100_000_000

    def told() -> set[int]:
        return {stamp_of(t.header) - ahead_ns for m in corrections for t in m.transforms}

    for stamp in sorted(asked):
        robot.publish_odometry(stamp)
        robot.spin_until(lambda stamp=stamp: stamp in told(), "map -> odom at odometry's stamp")

    before = min(poses)
    robot.publish_frame(step_ns=-1000 * NANOSECONDS)
    robot.publish_until(lambda: min(poses) < before, "a pose from before the jump")
    assert robot.state_of("slam") == "active"
