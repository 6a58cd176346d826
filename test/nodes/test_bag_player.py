# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What of a bag is played again beside nodes that publish anew."""

import subprocess
import sys

import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.serialization import deserialize_message, serialize_message
from tf2_msgs.msg import TFMessage

from pervformer_ros.nodes.bag_player import is_played, without_map_to_odom


def test_what_the_nodes_and_tools_once_published_is_left_out():
    robots = ["/camera/color/image_raw", "/odom", "/tf", "/scan", "/slammer"]
    ours = ["/pervformer/objects", "/slam/odometry"]
    tools = ["/diagnostics", "/rosout", "/parameter_events", "/clock"]
    assert [t for t in (*robots, *ours, *tools) if is_played(t, None)] == robots
    assert is_played(ours[0], ours)
    assert not is_played(robots[0], ours)


def test_of_tf_all_but_map_to_odom_is_played():
    def transforms(*edges):
        message = TFMessage()
        for parent, child in edges:
            message.transforms.append(TransformStamped(child_frame_id=child))
            message.transforms[-1].header.frame_id = parent
        return serialize_message(message)

    drive, slam = ("odom", "base_link"), ("map", "odom")
    stream = [
        ("/tf", 1, transforms(drive)),
        ("/tf", 2, transforms(slam)),
        ("/tf", 3, transforms(slam, drive)),
        ("/odom", 4, b"bytes"),
    ]
    played = list(without_map_to_odom(stream))
    assert [(topic, time) for topic, time, _ in played] == [("/tf", 1), ("/tf", 3), ("/odom", 4)]
    (left,) = deserialize_message(played[1][2], TFMessage).transforms
    assert (left.header.frame_id, left.child_frame_id) == drive


@pytest.mark.parametrize("rate", ["0", "-1", "inf", "fast"])
def test_a_rate_that_is_none_is_refused_in_words(rate):
    command = [sys.executable, "-m", "pervformer_ros.nodes.bag_player", "BAG", f"--rate={rate}"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert "rate" in said.stderr
    assert "Traceback" not in said.stderr
