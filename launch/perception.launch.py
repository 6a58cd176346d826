# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Perception and SLAM on live camera topics.

ros2 launch pervformer_ros perception.launch.py color_topic:=/oak/rgb/image_raw
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
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
    "rviz": ("false", "Show images, objects, paths and graph in RViz."),
    "color_topic": ("/camera/color/image_raw", "Colour images."),
    "camera_info_topic": ("/camera/color/camera_info", "Calibration of the colour camera."),
    "depth_topic": ("/camera/depth/image_raw", "Depth images, aligned to colour."),
    "odom_topic": ("/odom", "Odometry of the robot's base."),
    "checkpoint": (
        "",
        "Weights (.safetensors), or untrained; else as params_file says, or those that ship.",
    ),
    "features": (
        "",
        "What to extract features with, auto, orb or pervformer; else as params_file says.",
    ),
    "image_transport": ("", "How colour travels, raw or compressed; else as params_file says."),
    "depth_transport": (
        "",
        "How depth travels, raw, compressed or compressedDepth; else as params_file says.",
    ),
}

# Parameters of perception that can be given as arguments.
PARAMETERS = ("checkpoint", "features", "image_transport", "depth_transport")


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=nodes)])


def nodes(context):
    given = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    # An argument that is not given leaves the word to params_file.
    chosen = {name: value for name in PARAMETERS if (value := given[name].perform(context))}
    common = {"namespace": given["namespace"], "output": "screen"}
    parameters = [
        given["params_file"],
        {"use_sim_time": ParameterValue(given["use_sim_time"], value_type=bool)},
    ]
    camera_and_odometry = [
        ("/camera/color/camera_info", given["camera_info_topic"]),
        ("/odom", given["odom_topic"]),
    ]
    colour, depth = given["color_topic"], given["depth_topic"]
    perception = LifecycleNode(
        package="pervformer_ros",
        executable="perception_node",
        name="pervformer",
        parameters=[*parameters, chosen],
        remappings=[
            *camera_and_odometry,
            ("/camera/color/image_raw", colour),
            ("/camera/color/image_raw/compressed", [colour, "/compressed"]),
            ("/camera/depth/image_raw", depth),
            ("/camera/depth/image_raw/compressed", [depth, "/compressed"]),
            ("/camera/depth/image_raw/compressedDepth", [depth, "/compressedDepth"]),
        ],
        **common,
    )
    slam = LifecycleNode(
        package="pervformer_ros",
        executable="slam_node",
        name="slam",
        parameters=parameters,
        remappings=camera_and_odometry,
        condition=IfCondition(given["slam"]),
        **common,
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=[
            "-d",
            PathJoinSubstitution([FindPackageShare("pervformer_ros"), "config", "pervformer.rviz"]),
        ],
        parameters=parameters[1:],
        remappings=[
            # The display file has names; what a robot calls its topics is only known here.
            ("/camera/color/image_raw", colour),
            ("/camera/color/camera_info", given["camera_info_topic"]),
            ("/camera/depth/image_raw", depth),
            # In whatever namespace the nodes are.
            ("/pervformer/static_mask", "pervformer/static_mask"),
            ("/pervformer/markers", "pervformer/markers"),
            ("/slam/path", "slam/path"),
            ("/slam/graph", "slam/graph"),
        ],
        condition=IfCondition(given["rviz"]),
        **common,
    )
    return [perception, slam, rviz]
