# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The display file for RViz fits what the nodes publish."""

from pathlib import Path

import pytest
import yaml
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy
from rclpy.qos import qos_check_compatible as check

from pervformer_ros.nodes.lifecycle import LATCHED, SENSOR_DATA

CONFIG = Path(__file__).parents[2] / "config" / "pervformer.rviz"
PUBLISHED = {
    "/camera/color/image_raw": SENSOR_DATA,
    "/pervformer/static_mask": SENSOR_DATA,
    "/pervformer/markers": QoSProfile(depth=10),
    "/slam/path": LATCHED,
    "/slam/graph": LATCHED,
}


@pytest.fixture(scope="module")
def displays() -> dict[str, dict]:
    manager = yaml.safe_load(CONFIG.read_text())["Visualization Manager"]
    return {display["Name"]: display for display in manager["Displays"]}


def test_every_display_hears_what_is_published(displays):
    topics = {d["Topic"]["Value"]: d["Topic"] for d in displays.values() if "Topic" in d}
    assert set(topics) == set(PUBLISHED)
    for name, topic in topics.items():
        asked = QoSProfile(
            depth=topic["Depth"],
            reliability=ReliabilityPolicy[topic["Reliability Policy"].upper().replace(" ", "_")],
            durability=DurabilityPolicy[topic["Durability Policy"].upper().replace(" ", "_")],
        )
        compatible, reason = check(PUBLISHED[name], asked)
        assert compatible is not QoSCompatibility.ERROR, f"{name}: {reason}"


def test_image_mask_cloud_objects_paths_and_frames_are_shown(displays):
    kinds = sorted(d["Class"].split("/")[1] for d in displays.values())
    assert kinds == sorted(
        ["DepthCloud", "Grid", "Image", "Image", "MarkerArray", "MarkerArray", "Path", "TF"]
    )
    assert set(displays["Objects"]["Namespaces"]) == {"objects", "labels"}
