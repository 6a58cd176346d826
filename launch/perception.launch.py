# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Perception and SLAM on live camera topics.

ros2 launch pervformer_ros perception.launch.py color_topic:=/oak/rgb/image_raw
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "namespace": ("", "Namespace of both nodes, for several robots."),
    "params_file": (
        PathJoinSubstitution([FindPackageShare("pervformer_ros"), "config", "perception.yaml"]),
        "YAML file with the parameters of both nodes.",
    ),
    "use_sim_time": ("false", "Take time from /clock."),
    "slam": ("true", "Start the SLAM node too."),
    "color_topic": ("/camera/color/image_raw", "Colour images."),
    "camera_info_topic": ("/camera/color/camera_info", "Calibration of the colour camera."),
    "depth_topic": ("/camera/depth/image_raw", "Depth images, aligned to colour."),
    "odom_topic": ("/odom", "Odometry of the robot's base."),
    "image_transport": ("raw", "How colour travels: raw or compressed."),
    "depth_transport": ("raw", "How depth travels: raw or compressedDepth."),
}


def generate_launch_description():
    given = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    use_sim_time = {"use_sim_time": ParameterValue(given["use_sim_time"], value_type=bool)}
    camera_and_odometry = [
        ("/camera/color/camera_info", given["camera_info_topic"]),
        ("/odom", given["odom_topic"]),
    ]
    perception = LifecycleNode(
        package="pervformer_ros",
        executable="perception_node",
        name="pervformer",
        namespace=given["namespace"],
        parameters=[
            given["params_file"],
            use_sim_time,
            {
                "image_transport": given["image_transport"],
                "depth_transport": given["depth_transport"],
            },
        ],
        remappings=[
            *camera_and_odometry,
            ("/camera/color/image_raw", given["color_topic"]),
            ("/camera/color/image_raw/compressed", [given["color_topic"], "/compressed"]),
            ("/camera/depth/image_raw", given["depth_topic"]),
            ("/camera/depth/image_raw/compressedDepth", [given["depth_topic"], "/compressedDepth"]),
        ],
        output="screen",
    )
    slam = LifecycleNode(
        package="pervformer_ros",
        executable="slam_node",
        name="slam",
        namespace=given["namespace"],
        parameters=[given["params_file"], use_sim_time],
        remappings=camera_and_odometry,
        condition=IfCondition(given["slam"]),
        output="screen",
    )
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, perception, slam])
