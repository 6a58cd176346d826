# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of the nodes: each declared with a description and, where it has one, a range."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from pervformer_ros.assembly import AssemblyConfig
from pervformer_ros.bags.intake import IntakeConfig
from pervformer_ros.features import MOTION_THRESHOLD
from pervformer_ros.geometry import make_transform


@dataclass(frozen=True)
class Spec:
    """One parameter: its default gives the type, but for an empty list; `limits` are inclusive."""

    name: str
    default: Any
    description: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()


DEPTH_TRANSPORTS = ("raw", "compressed", "compressedDepth")
SIZES = ("tiny", "small", "base")

COMMON = (
    Spec("autostart", True, "Configure and activate at start, without a lifecycle manager."),
    Spec("base_frame", "base_link", "Frame of the robot whose pose odometry and SLAM speak of."),
    Spec("odom_frame", "odom", "Frame in which odometry is given (REP-105)."),
    Spec("map_frame", "map", "Frame of the corrected pose (REP-105)."),
    Spec(
        "camera_extrinsics",
        [],
        "Optical frame in base_frame: x y z [m] qx qy qz qw; where empty, /tf_static gives it.",
    ),
    Spec("rectified", False, "Images are rectified: use P of camera_info instead of K and D."),
    Spec("use_odometry", True, "Wait for odometry around each image; false: work without any."),
    Spec("sync_max_wait", 0.15, "How long, in stamp time, an image waits [s].", (0.0, 2.0)),
    Spec("max_odometry_gap", 0.5, "Longest gap odometry is interpolated over [s].", (0.01, 10.0)),
)

PERCEPTION = (
    *COMMON,
    Spec("model", "small", "Size of the model where checkpoint names no file.", choices=SIZES),
    Spec(
        "checkpoint",
        "",
        "Weights (.safetensors); empty: those that ship for that size; 'untrained': random ones.",
    ),
    Spec(
        "features",
        "auto",
        "What to extract features with; auto: the model's own if it was trained, else ORB.",
        choices=("auto", "orb", "pervformer"),
    ),
    Spec("max_features", 600, "Most features per image.", (50, 5000)),
    Spec("device", "cpu", "Where the model runs: cpu, cuda or cuda:N."),
    Spec("threads", 0, "CPU threads of the model; 0: torch's own choice.", (0, 256)),
    Spec(
        "motion_threshold",
        MOTION_THRESHOLD,
        "Motion probability from which a pixel is masked.",
        (0.0, 1.0),
    ),
    Spec("mask_margin", 4, "By how many pixels moving regions are widened.", (0, 50)),
    Spec("mask_feather", 3, "Over how many pixels the mask then rises from 0 to 255.", (0, 50)),
    Spec("follow_slam", True, "Move what is remembered with the map as slam/odometry corrects it."),
    Spec("paths", "", "YAML file of corridors to watch, in map_frame; empty: none."),
    Spec(
        "path_topics",
        [],
        "Names of corridors that come as nav_msgs/Path on ~/paths/NAME; empty: none.",
    ),
    Spec("path_half_width", 0.45, "Half the width of those corridors [m].", (0.05, 5.0)),
    Spec("use_depth", True, "Wait for the depth image of each colour image; false: colour alone."),
    Spec("sync_tolerance", 0.02, "Largest difference of stamps of a pair [s].", (0.0, 0.5)),
    Spec("image_transport", "raw", "How colour travels.", choices=("raw", "compressed")),
    Spec(
        "depth_transport",
        "raw",
        "How depth travels.",
        choices=DEPTH_TRANSPORTS,
    ),
)

SLAM = (
    *COMMON,
    Spec("publish_tf", True, "Publish map -> odom on /tf with odometry."),
    Spec(
        "transform_tolerance",
        0.1,
        "How far ahead of odometry map -> odom is stamped, so that it is known now [s].",
        (0.0, 2.0),
    ),
    Spec("map_file", "", "Saved map to resume in; empty: a new one."),
)


def declare(node: Node, specs: Iterable[Spec]) -> None:
    """Declare parameters; rclpy refuses a value out of range and says which range."""
    for spec in specs:
        descriptor = ParameterDescriptor(description=_describe(spec))
        # rclpy takes an empty list for bytes, and refuses to tell of what has no value at all.
        descriptor.dynamic_typing = spec.default == []
        if spec.limits and isinstance(spec.default, float):
            low, high = spec.limits
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        elif spec.limits:
            low, high = spec.limits
            descriptor.integer_range = [
                IntegerRange(from_value=int(low), to_value=int(high), step=1)
            ]
        node.declare_parameter(spec.name, spec.default, descriptor)


def values(node: Node, specs: Iterable[Spec]) -> dict[str, Any]:
    """Return the present values by name.

    Raises:
        ValueError: if a text is not one of its choices.
    """
    found = {}
    for spec in specs:
        value = node.get_parameter_or(spec.name, Parameter(spec.name)).value
        if spec.choices and value not in spec.choices:
            raise ValueError(f"{spec.name} is '{value}': use one of {', '.join(spec.choices)}")
        found[spec.name] = value
    return found


def intake_config(given: dict[str, Any]) -> IntakeConfig:
    """Return the intake of these parameter values.

    Raises:
        ValueError: if camera_extrinsics is no pose.
    """
    extrinsics = list(given["camera_extrinsics"])
    if extrinsics and len(extrinsics) != 7:
        raise ValueError(f"camera_extrinsics has {len(extrinsics)} numbers: give x y z qx qy qz qw")
    return IntakeConfig(
        base_frame=given["base_frame"],
        T_base_camera=(make_transform(extrinsics[:3], extrinsics[3:]) if extrinsics else None),
        rectified=given["rectified"],
        assembly=AssemblyConfig(
            expect_depth=given.get("use_depth", False),
            expect_odometry=given["use_odometry"],
            tolerance_s=given.get("sync_tolerance", 0.0),
            max_wait_s=given["sync_max_wait"],
            max_odometry_gap_s=given["max_odometry_gap"],
        ),
    )


def _describe(spec: Spec) -> str:
    choices = f" One of: {', '.join(spec.choices)}." if spec.choices else ""
    return spec.description + choices
