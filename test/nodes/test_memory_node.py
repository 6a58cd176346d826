# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the perception node remembers, seen from another process: it loads a memory and lives on.

Weights that were never trained see no objects, so what is remembered comes from a file.
"""

from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from memory_scene import AT_ORIGIN, looking_at, sighting
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from pervformer_msgs.msg import SemanticEvent
from pervformer_msgs.srv import LoadMemory, QueryMemory
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from pervformer_ros.frame import NANOSECONDS
from pervformer_ros.geometry import make_transform
from pervformer_ros.nodes import conversions
from pervformer_ros.pipeline import Pipeline, PipelineConfig

EVENTS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEHIND = (-3.0, 1.0, 0.5)  # the robot, which looks ahead, never sees it


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Return a file in which a pallet behind the robot is remembered."""
    pipeline = Pipeline(PipelineConfig(checkpoint="untrained", model="tiny"))
    for i in range(5):
        seen = [sighting(BEHIND, label="pallet")]
        pipeline.memory.update(looking_at(i / 15, 5.0), AT_ORIGIN, seen)
    path = tmp_path_factory.mktemp("saved") / "memory.zip"
    pipeline.snapshot().write(path)
    return path


@pytest.fixture
def remembering(start, robot, saved):
    """Return what starts a node with parameters and lets it load the file."""

    def begin(**parameters):
        start("perception", checkpoint="untrained", model="tiny", **parameters)
        robot.publish_extrinsics()
        request = LoadMemory.Request(path=str(saved))
        loaded = robot.call(LoadMemory, "/pervformer/load_memory", request)
        assert loaded.success, loaded.message
        stamp = robot.answered_frame()
        robot.spin_until(lambda: stamp in robot.heard["objects"], "its objects")

    return begin


def place(robot) -> np.ndarray:
    """Return where the node says that the pallet is, in odom."""
    stamp = max(robot.heard["objects"])
    (thing,) = robot.heard["objects"][stamp].objects
    assert (thing.id, thing.label) == (1, "pallet")
    point = thing.pose.pose.position
    return np.array([point.x, point.y, point.z])


def slam_says(robot, T_map_odom: np.ndarray, stamp_ns: int, publisher) -> None:
    """Publish SLAM's pose of the base for an image, by where odom lies in its map."""
    seconds = (stamp_ns % (1000 * 10**9)) / 1e9
    T_odom_base = make_transform((0.3 * seconds, 0, 0), (0, 0, 0, 1))  # as the robot's odometry
    message = Odometry(header=conversions.header(stamp_ns, "map"), child_frame_id="base_link")
    message.pose.pose = conversions.pose_message(T_map_odom @ T_odom_base)
    publisher.publish(message)


def test_what_is_remembered_moves_with_the_map_as_slam_corrects_it(remembering, robot):
    slam = robot.create_publisher(Odometry, "/slam/odometry", 10)
    remembering()
    np.testing.assert_allclose(place(robot), BEHIND, atol=0.05)

    # Odom's origin lies 0.4 m ahead and turned by a right angle in the map.
    T_map_odom = make_transform((0.4, 0, 0), (0, 0, np.sqrt(0.5), np.sqrt(0.5)))
    x, y, z = BEHIND
    turned = np.array([y, 0.4 - x, z])  # the same place of the map, told in odom

    def moved() -> bool:
        # SLAM is slow: it speaks of an image that has long been answered.
        slam_says(robot, T_map_odom, sorted(robot.heard["features"])[-3], slam)
        return np.allclose(place(robot), turned, atol=0.05)

    robot.answered_frame()
    robot.answered_frame()
    robot.publish_until(moved, "the pallet where it is in the map")
    found = robot.call(QueryMemory, "/pervformer/query_memory", QueryMemory.Request(label="pallet"))
    assert [o.id for o in found.objects] == [1]
    robot.diagnostics.clear()  # what was said before it moved
    robot.spin_until(lambda: "pervformer: memory" in robot.diagnostics, "word in /diagnostics")
    said = robot.diagnostics["pervformer: memory"]
    assert said.message == "corrected by SLAM"
    values = {v.key: v.value for v in said.values}
    assert float(values["correction_deg"]) == pytest.approx(90, abs=0.1)


def test_without_follow_slam_it_stays_where_odometry_has_it(remembering, robot):
    slam = robot.create_publisher(Odometry, "/slam/odometry", 10)
    remembering(follow_slam=False)
    for _ in range(3):
        stamp = robot.answered_frame()
        slam_says(robot, make_transform((5.0, 0, 0), (0, 0, 0, 1)), stamp, slam)
    robot.answered_frame()
    np.testing.assert_allclose(place(robot), BEHIND, atol=0.05)


def test_slam_s_pose_without_odometry_at_its_stamp_is_counted_and_left_out(remembering, robot):
    slam = robot.create_publisher(Odometry, "/slam/odometry", 10)
    remembering()
    before = robot.faults().get("odometry_gap", 0)

    def counted() -> bool:
        slam_says(robot, make_transform((5.0, 0, 0), (0, 0, 0, 1)), 10**9, slam)
        return robot.faults().get("odometry_gap", 0) > before

    robot.publish_until(counted, "the fault in /diagnostics")
    robot.answered_frame()
    np.testing.assert_allclose(place(robot), BEHIND, atol=0.05)


def test_what_was_loaded_is_kept_where_the_next_image_is_of_an_earlier_clock(start, robot, saved):
    robot.stamp_ns += 100 * NANOSECONDS
    start("perception", checkpoint="untrained", model="tiny")
    robot.publish_extrinsics()
    robot.answered_frame()

    def wait_for_the_last() -> None:
        robot.spin_until(lambda: robot.stamp_ns in robot.heard["objects"], "the last one's objects")

    def jump_back() -> None:
        wait_for_the_last()
        for heard in robot.heard.values():
            heard.clear()
        robot.publish_frame(step_ns=-20 * NANOSECONDS)
        robot.publish_until(lambda: robot.heard["objects"], "objects of the earlier clock")

    wait_for_the_last()
    loaded = robot.call(LoadMemory, "/pervformer/load_memory", LoadMemory.Request(path=str(saved)))
    assert loaded.success, loaded.message
    jump_back()
    np.testing.assert_allclose(place(robot), BEHIND, atol=0.05)
    jump_back()
    assert not robot.heard["objects"][max(robot.heard["objects"])].objects, "once is enough"


def test_markers_show_what_is_remembered_and_are_wiped_when_it_is_forgotten(remembering, robot):
    shown: dict[tuple[str, int], Marker] = {}

    def draw(message: MarkerArray) -> None:
        """Do what RViz does."""
        for marker in message.markers:
            if marker.action == Marker.DELETEALL:
                shown.clear()
            elif marker.action == Marker.DELETE:
                shown.pop((marker.ns, marker.id), None)
            else:
                shown[marker.ns, marker.id] = marker

    robot.create_subscription(MarkerArray, "/pervformer/markers", draw, 10)
    remembering()
    robot.publish_until(lambda: shown, "markers")
    assert set(shown) == {("objects", 1), ("labels", 1)}
    box, label = shown["objects", 1], shown["labels", 1]
    assert label.text == "pallet 1"
    assert box.header.frame_id == "odom"
    assert conversions.nanoseconds(box.header.stamp) in robot.heard["features"]
    assert box.pose.position.y == pytest.approx(BEHIND[1], abs=0.05)
    assert box.scale.x == pytest.approx(0.4)

    assert robot.call(Trigger, "/pervformer/reset_memory", Trigger.Request()).success
    robot.publish_until(lambda: not shown, "an empty picture")


def ahead(frame: str, stamp_ns: int) -> PathMessage:
    """Return a path 6 m straight ahead, in a frame."""
    header = conversions.header(stamp_ns, frame)
    places = [make_transform((x, 0, 0), (0, 0, 0, 1)) for x in (0.5, 3.0, 6.0, 6.0)]
    poses = [PoseStamped(header=header, pose=conversions.pose_message(T)) for T in places]
    return PathMessage(header=header, poses=poses)


@pytest.mark.parametrize("durability", ["VOLATILE", "TRANSIENT_LOCAL"])
def test_a_path_that_a_planner_publishes_is_watched(start, robot, durability):
    quality = QoSProfile(depth=1, durability=DurabilityPolicy[durability])
    paths = robot.create_publisher(PathMessage, "/pervformer/paths/plan", quality)
    events: list[SemanticEvent] = []
    robot.create_subscription(SemanticEvent, "/pervformer/events", events.append, EVENTS)
    start("perception", checkpoint="untrained", model="tiny", path_topics="[plan]")
    robot.publish_extrinsics()
    robot.answered_frame()
    robot.spin_until(lambda: paths.get_subscription_count(), "a subscriber to the path")
    stamp = robot.answered_frame()  # by then the subscriber knows of the publisher, too

    # A wall stands 2 m ahead, wherever the robot is.
    paths.publish(ahead("base_link", stamp))
    robot.publish_until(lambda: events, "word of the wall")
    (event,) = events
    assert (event.type, event.path_name) == (SemanticEvent.PATH_BLOCKED, "plan")
    assert conversions.nanoseconds(event.header.stamp) >= stamp + 2 * 10**9


def test_a_path_in_an_unknown_frame_is_named_in_diagnostics(start, robot):
    paths = robot.create_publisher(PathMessage, "/pervformer/paths/plan", 1)
    start("perception", checkpoint="untrained", model="tiny", path_topics="[plan]")
    robot.publish_extrinsics()
    robot.answered_frame()

    def counted() -> bool:
        paths.publish(ahead("nowhere", robot.stamp_ns))
        return robot.faults().get("invalid_path", 0) > 0

    robot.publish_until(counted, "the fault in /diagnostics")
    values = robot.diagnostics["pervformer: input"].values
    (said,) = (v.value for v in values if v.key == "invalid_path")
    assert "path 'plan': its frame is 'nowhere': use 'map', 'odom'" in said
    robot.answered_frame()
