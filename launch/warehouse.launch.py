# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated warehouse with the perception and SLAM nodes in it.

ros2 launch pervformer_ros warehouse.launch.py scenario:=busy_aisle seed:=3
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
    warehouse = Node(
        package="pervformer_ros",
        executable="warehouse",
        arguments=[
            LaunchConfiguration("scenario"),
            "--seed",
            LaunchConfiguration("seed"),
            "--rate",
            LaunchConfiguration("rate"),
            "--wait-for",
            "/camera/color/image_raw",
        ],
        output="screen",
    )
    finished = OnProcessExit(target_action=warehouse, on_exit=leave)
    return LaunchDescription(
        [
            DeclareLaunchArgument("scenario", default_value="shift", description="What happens."),
            DeclareLaunchArgument("seed", default_value="1", description="Decides all chance."),
            DeclareLaunchArgument("rate", default_value="1.0", description="Times real time."),
            perception,
            warehouse,
            RegisterEventHandler(finished),
        ]
    )


def leave(event, context):
    if context.is_shutdown:  # by ctrl-c; launch does not bear a second shutdown
        return []
    reason = "the shift is over" if event.returncode == 0 else f"{event.process_name} failed"
    return [EmitEvent(event=Shutdown(reason=reason))]
