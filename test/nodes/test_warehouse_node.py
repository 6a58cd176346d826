# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The live warehouse drives the perception and the SLAM node, as a robot would."""

import subprocess
import sys

from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile

from pervformer_ros.bags.intake import stamp_of


def test_a_simulated_robot_is_localised_live(start, robot, domain):
    poses, truth = {}, {}
    for topic, heard in (("/slam/odometry", poses), ("/ground_truth/odom", truth)):
        robot.create_subscription(
            Odometry,
            topic,
            lambda m, heard=heard: heard.update({stamp_of(m.header): m}),
            QoSProfile(depth=100),
        )
    start("perception", checkpoint="untrained", model="tiny")
    start("slam")
    wait_for = ["/camera/color/image_raw", "/odom", "/ground_truth/odom"]
    command = [sys.executable, "-m", "pervformer_ros.nodes.warehouse", "static_loop"]
    command += ["--duration", "4", "--wait-for", *wait_for]
    warehouse = subprocess.Popen(command, env=domain)
    robot.spin_until(lambda: warehouse.poll() is not None, "the end of the shift")
    assert warehouse.returncode == 0
    assert len(truth) == 60
    robot.spin_until(lambda: poses.keys() & truth.keys(), "a corrected pose")
    assert poses.keys() <= truth.keys(), "a pose has a stamp that no image had"


def test_an_unknown_scenario_names_those_there_are(domain):
    command = [sys.executable, "-m", "pervformer_ros.nodes.warehouse", "no_such_shift"]
    answer = subprocess.run(command, env=domain, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "static_loop" in answer.stderr
