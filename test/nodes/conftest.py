# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A robot in the test process, and the real nodes as processes of their own, over DDS."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Odometry
from pervformer_msgs.msg import FeatureArray, TrackedObjectArray, WorkingMemoryStatus
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from pervformer_ros.frame import NANOSECONDS
from pervformer_ros.geometry import make_transform
from pervformer_ros.nodes import conversions

HEIGHT, WIDTH = 120, 160
PERIOD_NS = 66_666_667
ASK_AGAIN_S = 10.0
TIMEOUT_S = 60.0
SPINS_PER_FRAME = 5
OPTICAL = "camera_color_optical_frame"
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Robot(Node):
    """A camera and a robot as others write them: plain publishers and subscribers."""

    def __init__(self) -> None:
        super().__init__("robot")
        self.heard: dict[str, dict[int, Any]] = {}
        self.diagnostics: dict[str, Any] = {}
        self.random = np.random.default_rng(0)
        self.stamp_ns = 1_700_000_000 * NANOSECONDS + 7
        self.texture = self.random.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        self.colour = self.create_publisher(Image, "/camera/color/image_raw", 10)
        self.depth = self.create_publisher(Image, "/camera/depth/image_raw", 10)
        self.info = self.create_publisher(CameraInfo, "/camera/color/camera_info", 10)
        self.odometry = self.create_publisher(Odometry, "/odom", 100)
        self.tf = self.create_publisher(TFMessage, "/tf_static", LATCHED)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.listen("objects", TrackedObjectArray)
        self.listen("features", FeatureArray)
        self.listen("static_mask", Image)
        self.listen("static_depth", Image)
        self.listen("memory_status", WorkingMemoryStatus)

    def listen(self, topic: str, kind: Any) -> None:
        """Subscribe to an output of perception."""
        stamps = self.heard.setdefault(topic, {})

        def keep(message: Any) -> None:
            stamps[conversions.nanoseconds(message.header.stamp)] = message

        self.create_subscription(kind, f"/pervformer/{topic}", keep, qos_profile_sensor_data)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics.update({s.name: s for s in message.status})

    def spin_until(self, condition: Callable[[], Any], what: str) -> None:
        """Spin until something is true; fail with `what` after a long time."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            rclpy.spin_once(self, timeout_sec=0.05)
            assert time.monotonic() < deadline, f"waited in vain for {what}"

    def faults(self) -> dict[str, int]:
        """Return the faults that perception has named on /diagnostics, with their counts."""
        status = self.diagnostics.get("pervformer: input")
        return {v.key: int(v.value.split(":")[0]) for v in status.values} if status else {}

    def publish_until(self, condition: Callable[[], Any], what: str, **options: Any) -> None:
        """Publish frames, one every few spins, until something is true."""
        spins = itertools.count()

        def publish_and_look() -> bool:
            if next(spins) % SPINS_PER_FRAME == 0:
                self.publish_frame(**options)
            return bool(condition())

        self.spin_until(publish_and_look, what)

    def publish_extrinsics(self) -> None:
        """Latch the pose of the camera on /tf_static."""
        T = make_transform((0.1, 0.0, 0.5), (-0.5, 0.5, -0.5, 0.5))
        edge = TransformStamped(child_frame_id=OPTICAL, transform=conversions.transform_message(T))
        edge.header.frame_id = "base_link"
        self.tf.publish(TFMessage(transforms=[edge]))

    def publish_info(self) -> None:
        """Publish the camera's calibration."""
        message = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model="plumb_bob")
        message.header = conversions.header(self.stamp_ns, OPTICAL)
        message.k = np.array([140.0, 0, WIDTH / 2, 0, 140.0, HEIGHT / 2, 0, 0, 1])
        self.info.publish(message)

    def publish_odometry(self, stamp_ns: int) -> None:
        """Publish a pose that moves along x at 0.3 m/s."""
        seconds = (stamp_ns % (1000 * NANOSECONDS)) / NANOSECONDS
        message = Odometry(child_frame_id="base_link")
        message.header = conversions.header(stamp_ns, "odom")
        message.pose.pose = conversions.pose_message(
            make_transform((0.3 * seconds, 0, 0), (0, 0, 0, 1))
        )
        self.odometry.publish(message)

    def publish_frame(
        self,
        colour: Image | None = None,
        depth: Image | None = None,
        odometry: bool = True,
        step_ns: int = PERIOD_NS,
    ) -> int:
        """Publish the next frame, or the images given in its stead; return its stamp."""
        self.stamp_ns += step_ns
        stamp = self.stamp_ns
        self.publish_info()
        if odometry:
            self.publish_odometry(stamp - PERIOD_NS // 2)
        colour = colour or self.colour_image()
        depth = depth or self.depth_image()
        colour.header = depth.header = conversions.header(stamp, OPTICAL)
        self.colour.publish(colour)
        self.depth.publish(depth)
        if odometry:
            self.publish_odometry(stamp + PERIOD_NS // 3)
        return stamp

    def colour_image(self) -> Image:
        """Return a textured picture that slides a little with every frame."""
        picture = np.roll(self.texture, self.stamp_ns // PERIOD_NS % 7, axis=1)
        return conversions.image_message(picture, "rgb8", 0, OPTICAL)

    def depth_image(self) -> Image:
        """Return a wall 2 m away."""
        wall = np.full((HEIGHT, WIDTH), 2.0, np.float32)
        return conversions.depth_message(wall, "16UC1", 0, OPTICAL)

    def answered_frame(self, **options: Any) -> int:
        """Publish frames until one comes back as features; return its stamp."""
        known = set(self.heard["features"])
        news: list[int] = []

        def answered() -> bool:
            news.extend(self.heard["features"].keys() - known)
            return bool(news)

        self.publish_until(answered, "features of a frame", **options)
        return news[0]

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Call a service and return its response, asking again where none comes.

        A server that has only just appeared may answer before DDS has told it where to.
        """
        client = self.create_client(kind, name)
        self.spin_until(client.service_is_ready, f"service {name}")
        asked: list[Any] = []
        due_s = time.monotonic()

        def answered() -> bool:
            nonlocal due_s
            if time.monotonic() >= due_s:
                asked.append(client.call_async(request))
                due_s += ASK_AGAIN_S
            return any(future.done() for future in asked)

        self.spin_until(answered, f"an answer of {name}")
        self.destroy_client(client)
        return next(future.result() for future in asked if future.done())

    def state_of(self, node: str) -> str:
        """Return the life-cycle state of a node."""
        return self.call(GetState, f"/{node}/get_state", GetState.Request()).current_state.label

    def change_state(self, node: str, transition: int) -> bool:
        """Ask a node for a transition of its life cycle."""
        request = ChangeState.Request()
        request.transition.id = transition
        return bool(self.call(ChangeState, f"/{node}/change_state", request).success)


@pytest.fixture(scope="module")
def domain() -> Iterator[dict[str, str]]:
    """A DDS domain of this test module's own, in this process and for its children."""
    number = str(1 + os.getpid() % 100)
    ours = {"ROS_DOMAIN_ID": number, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    rclpy.init(domain_id=int(number))
    yield {**os.environ}
    rclpy.try_shutdown()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture
def robot(domain: dict[str, str]) -> Iterator[Robot]:
    node = Robot()
    yield node
    node.destroy_node()


@contextmanager
def starter(environment: dict[str, str], folder: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Give a function that starts a node of ours with parameters, as `ros2 run` would."""
    running = []

    def start(module: str, **parameters: Any) -> subprocess.Popen:
        pairs = (f"{n}:={v}" for n, v in parameters.items())
        arguments = [word for pair in pairs for word in ("-p", pair)]
        command = [sys.executable, "-m", f"pervformer_ros.nodes.{module}", "--ros-args", *arguments]
        log = (folder / f"{module}.log").open("wb")
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        running.append(process)
        return process

    yield start
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:  # that it leaves by itself has a test of its own
            process.kill()
            process.wait()


@pytest.fixture
def start(domain: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Return what starts nodes for one test."""
    with starter(domain, tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def start_for_module(
    domain: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., subprocess.Popen]]:
    """Return what starts nodes that all tests of a module share."""
    with starter(domain, tmp_path_factory.mktemp("nodes")) as start:
        yield start
