# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pervformer_ros.bags.reader import BagReader

CHECKPOINT_HELP = "Weights (.safetensors), or 'untrained'; else those that ship for the size."
SIZE_HELP = "Size, where --checkpoint names no file."


class Features(str, Enum):
    """What to extract features with."""

    auto = "auto"
    orb = "orb"
    pervformer = "pervformer"


class Size(str, Enum):
    """Sizes of the model."""

    tiny = "tiny"
    small = "small"
    base = "base"


class Variant(str, Enum):
    """What a model may lack, to see what that was good for."""

    full = "full"
    no_probes = "no_probes"
    per_frame = "per_frame"


FeatureKind = Annotated[
    Features, typer.Option(help="Kind of features; auto: the model's own if it was trained.")
]
Bag = Annotated[Path, typer.Argument(help="rosbag2 folder (MCAP or SQLite) or ROS 1 bag.")]
Weights = Annotated[str, typer.Option(help=CHECKPOINT_HELP)]
ModelSize = Annotated[Size, typer.Option(help=SIZE_HELP)]
Rate = Annotated[int, typer.Option(help="Images per second of simulated bags: 15, 5 or 3.")]
# What a recording may call its topics and frames.
ColourTopic = Annotated[str, typer.Option("--colour-topic", "--color-topic", help="Colour.")]
InfoTopic = Annotated[str, typer.Option(help="CameraInfo.")]
DepthTopic = Annotated[str, typer.Option(help="Aligned depth.")]
OdomTopic = Annotated[str, typer.Option(help="Odometry.")]
BaseFrame = Annotated[str, typer.Option(help="The robot's base.")]
Extrinsics = Annotated[
    str, typer.Option(help="'x y z qx qy qz qw' of the optical frame in base; else /tf_static.")
]
Rectified = Annotated[bool, typer.Option("--rectified", help="Images are rectified.")]
COLOUR, INFO = "/camera/color/image_raw", "/camera/color/camera_info"
DEPTH, ODOM = "/camera/depth/image_raw", "/odom"


def open_bag(
    bag: Path,
    topics: tuple[str, str, str, str],
    base_frame: str,
    extrinsics: str,
    rectified: bool,
) -> "BagReader":
    """Return a reader of a bag by these options.

    Args:
        bag: its path.
        topics: colour, camera info, depth and odometry.
        base_frame: of the robot.
        extrinsics: text of seven numbers, or "".
        rectified: whether images are.

    Raises:
        ValueError: if the extrinsics are no pose.
    """
    from pervformer_ros.bags.intake import IntakeConfig
    from pervformer_ros.bags.reader import BagReader, TopicNames
    from pervformer_ros.geometry import make_transform

    numbers = parse_extrinsics(extrinsics)
    try:
        T_base_camera = make_transform(numbers[:3], numbers[3:]) if numbers else None
    except ValueError as error:
        raise ValueError(f"--extrinsics is '{extrinsics}': {error}") from error
    return BagReader(bag, TopicNames(*topics), IntakeConfig(base_frame, T_base_camera, rectified))


def parse_extrinsics(text: str) -> list[float]:
    """Return the numbers of "x y z qx qy qz qw", none of ""; ValueError names the option."""
    try:
        numbers = [float(word) for word in text.replace(",", " ").split()]
    except ValueError as error:
        raise ValueError(f"--extrinsics is '{text}': give x y z qx qy qz qw") from error
    if len(numbers) not in (0, 7):
        raise ValueError(f"--extrinsics has {len(numbers)} numbers: give x y z qx qy qz qw")
    return numbers


def parse_size(text: str, option: str) -> tuple[int, int]:
    """Return height and width of "HEIGHTxWIDTH"; ValueError names the option."""
    words = text.lower().split("x")
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        raise ValueError(f"{option} is '{text}': give HEIGHTxWIDTH, such as 240x320")
    return int(words[0]), int(words[1])
