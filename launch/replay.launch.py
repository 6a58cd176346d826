# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A bag played to the perception and SLAM nodes, live.

ros2 launch pervformer_ros replay.launch.py bag:=/path/to/bag image_transport:=compressed
"""

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare


def generate_launch_description():
    perception = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution(
                [FindPackageShare("pervformer_ros"), "launch", "perception.launch.py"]
            )
        ),
        launch_arguments={"use_sim_time": "true"}.items(),
    )
    colour = LaunchConfiguration("color_topic", default="/camera/color/image_raw")
    player = Node(
        package="pervformer_ros",
        executable="bag_player",
        arguments=[
            LaunchConfiguration("bag"),
            "--rate",
            LaunchConfiguration("rate"),
            # Perception alone subscribes to colour, and it takes longest to load.
            "--wait-for",
            [colour, "|", colour, "/compressed"],
        ],
        output="screen",
    )
    finished = OnProcessExit(target_action=player, on_exit=leave)
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="rosbag2 folder or ROS 1 bag."),
            DeclareLaunchArgument("rate", default_value="1.0", description="Times real time."),
            perception,
            player,
            RegisterEventHandler(finished),
        ]
    )


def leave(event, context):
    if context.is_shutdown:  # by ctrl-c; launch does not bear a second shutdown
        return []
    reason = "the bag is over" if event.returncode == 0 else f"{event.process_name} failed"
    return [EmitEvent(event=Shutdown(reason=reason))]
