# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A robot whose perception is killed at night knows its pallets again, and what was moved."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import HEIGHT, OPTICAL, WIDTH
from nav_msgs.msg import Odometry
from pervformer_msgs.msg import SemanticEvent
from pervformer_msgs.srv import LoadMemory, SaveMemory
from rclpy.qos import DurabilityPolicy, QoSProfile

from pervformer_ros.nodes import conversions

EVENTS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
WALL_M, FOCAL = 6.0, 140.0
CAMERA_X, CAMERA_Z = 0.1, 0.5
WIDE, TALL = 0.8, 0.7  # metres, of the face that a pallet shows
# Where the faces of pallets stand before the robot, by the number that they are painted with.
EVENING = {1: (2.6, 1.0), 2: (3.0, -0.9), 3: (4.5, -0.37)}
MORNING = {1: (2.6, 1.0), 2: (4.4, -1.8), 4: (4.0, 0.45)}

Scene = dict[int, tuple[float, float]]


@pytest.fixture
def node(domain: dict[str, str], tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen]]:
    """Return what starts a perception node that sees what is painted."""
    running: list[subprocess.Popen] = []

    def begin() -> subprocess.Popen:
        script = Path(__file__).with_name("seeing_node.py")
        parameters = ["-p", "checkpoint:=untrained", "-p", "model:=tiny"]
        with (tmp_path / f"node_{len(running)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, str(script), "--ros-args", *parameters],
                env=domain,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def watching(robot, monkeypatch):
    """Return a robot that stands still; its `scene` is what is before it."""
    robot.scene = EVENING

    def stands_still(stamp_ns: int) -> None:
        message = Odometry(child_frame_id="base_link", header=conversions.header(stamp_ns, "odom"))
        message.pose.pose = conversions.pose_message(np.eye(4))
        robot.odometry.publish(message)

    monkeypatch.setattr(robot, "publish_odometry", stands_still)
    monkeypatch.setattr(robot, "colour_image", lambda: picture(robot.scene)[0])
    monkeypatch.setattr(robot, "depth_image", lambda: picture(robot.scene)[1])
    robot.events = []
    robot.create_subscription(SemanticEvent, "/pervformer/events", robot.events.append, EVENTS)
    return robot


def picture(scene: Scene):
    """Return colour and depth of faces before a wall; red says which pallet it is."""
    colour = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    colour[..., 0] = 0
    depth = np.full((HEIGHT, WIDTH), WALL_M, np.float32)
    for number, (x, y) in sorted(scene.items(), key=lambda item: -item[1][0]):
        away = x - CAMERA_X
        columns = WIDTH / 2 - FOCAL * np.array([y + WIDE / 2, y - WIDE / 2]) / away
        rows = HEIGHT / 2 - FOCAL * (np.array([TALL, 0.0]) - CAMERA_Z) / away
        left, right = np.clip(np.rint(columns).astype(int), 0, WIDTH)
        top, bottom = np.clip(np.rint(rows).astype(int), 0, HEIGHT)
        colour[top:bottom, left:right, 0] = number
        depth[top:bottom, left:right] = away
    return (
        conversions.image_message(colour, "rgb8", 0, OPTICAL),
        conversions.depth_message(depth, "32FC1", 0, OPTICAL),
    )


def listed(robot) -> dict[int, tuple[float, float]]:
    """Return where the node says that pallets are, by id."""
    latest = robot.heard["objects"][max(robot.heard["objects"])]
    return {o.id: (o.pose.pose.position.x, o.pose.pose.position.y) for o in latest.objects}


def nearest(robot, face: tuple[float, float]) -> int:
    """Return the id of the pallet whose face is here."""
    known = listed(robot)
    return min(known, key=lambda i: np.hypot(known[i][0] - face[0], known[i][1] - face[1]))


def test_after_kill_9_a_loaded_memory_has_the_same_ids_and_tells_what_changed(
    watching, node, tmp_path
):
    robot, file = watching, str(tmp_path / "memory.zip")
    process = node()
    robot.publish_extrinsics()
    robot.publish_until(lambda: len(robot.events) == len(EVENING), "three pallets")
    ids = {number: nearest(robot, face) for number, face in EVENING.items()}
    assert len(set(ids.values())) == len(EVENING)
    # It learns what likeness is worth while it looks.
    robot.publish_until(lambda: robot.stamp_ns > robot_stamp(robot) + 4 * 10**9, "four seconds")
    saved = robot.call(SaveMemory, "/pervformer/save_memory", SaveMemory.Request(path=file))
    assert saved.success, saved.message

    process.kill()
    assert process.wait(20) == -signal.SIGKILL
    robot.scene, robot.events[:] = {}, []
    for heard in robot.heard.values():
        heard.clear()

    node()
    robot.publish_extrinsics()
    robot.answered_frame()  # DDS takes a while to see that the one before is dead
    loaded = robot.call(LoadMemory, "/pervformer/load_memory", LoadMemory.Request(path=file))
    assert loaded.success, loaded.message
    robot.scene = MORNING
    robot.publish_until(lambda: len(robot.events) >= 3, "what changed")
    robot.publish_until(lambda: robot.stamp_ns > robot_stamp(robot) + 2 * 10**9, "two seconds more")

    told = {(event.type, event.object_id) for event in robot.events}
    newcomer = nearest(robot, MORNING[4])
    assert newcomer not in ids.values()
    assert told == {
        (SemanticEvent.MOVED, ids[2]),
        (SemanticEvent.REMOVED, ids[3]),
        (SemanticEvent.APPEARED, newcomer),
    }
    assert len(robot.events) == 3, "each is told once"
    assert nearest(robot, MORNING[1]) == ids[1], "what stayed is the same"
    (move,) = (event for event in robot.events if event.type == SemanticEvent.MOVED)
    assert np.hypot(move.from_pose.position.x - 3.0, move.from_pose.position.y + 0.9) < 0.7
    assert np.hypot(move.to_pose.position.x - 4.4, move.to_pose.position.y + 1.8) < 0.7
    assert move.agent_id == 0, "nobody saw who moved it"


def robot_stamp(robot) -> int:
    """Return the stamp of the latest event."""
    return max(conversions.nanoseconds(event.header.stamp) for event in robot.events)
