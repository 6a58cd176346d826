# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A bag played live: player, perception node and SLAM node as processes of their own, over DDS.

This process only listens, as any other subscriber would, and reports what it heard.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from numpy.typing import NDArray
from pervformer_msgs.msg import FeatureArray, WorkingMemoryStatus
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from pervformer_ros.bags.images import decode_colour
from pervformer_ros.bags.intake import pose_of, stamp_of
from pervformer_ros.bags.reader import TF_STATIC, BagError, BagReader, TopicNames
from pervformer_ros.evaluation.replay import MEGABYTE, THUMBNAILS, FrameRecord, Replay, draw
from pervformer_ros.features import FeatureSet
from pervformer_ros.geometry import Array, Trajectory
from pervformer_ros.nodes import conversions
from pervformer_ros.nodes.bag_player import BROKEN_OFF
from pervformer_ros.nodes.lifecycle import REFUSAL

START_TIMEOUT_S = 90.0
# Once the player has left and nothing new was heard for so long, the run is over.
SILENCE_S = 3.0
DOMAINS = 100
COMPRESSED = "sensor_msgs/msg/CompressedImage"
LOGS = "what it said is in the folder logs of --out"
INPUTS = ("colour", "camera_info", "depth", "odometry")


class LiveError(RuntimeError):
    """A live run that could not be carried out."""


@dataclass(frozen=True)
class LiveOptions:
    """How to run the nodes.

    parameters: of the perception node. common: of both nodes.
    rate: how many times as fast as recorded.
    """

    parameters: dict[str, Any] = field(default_factory=dict)
    common: dict[str, Any] = field(default_factory=dict)
    rate: float = 1.0


@dataclass(frozen=True, slots=True)
class Started:
    """A process, and the file of what it says."""

    module: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def left(self) -> LiveError:
        """Return the error that says that it left, with its last words."""
        words = self.log.read_text("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(words) if line.strip()), "it said nothing")
        return LiveError(f"{self.module} left with code {self.process.returncode}: {last}; {LOGS}")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many features an image has, and how many of them have depth."""

    features: int
    with_depth: int


class Listener(Node):
    """Collects what the nodes publish; features and masks themselves of a few images alone."""

    def __init__(self, images: int) -> None:
        super().__init__("pervformer_listener")
        self._every = max(1, images // THUMBNAILS)
        heard = QoSProfile(depth=1000)
        best_effort = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.online: dict[int, Array] = {}
        self.final: dict[int, Array] = {}
        self.counts: dict[int, Counts] = {}
        self.features: dict[int, FeatureSet] = {}
        self.masks: dict[int, NDArray[np.uint8]] = {}
        self.status: dict[int, WorkingMemoryStatus] = {}
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.create_subscription(Odometry, "slam/odometry", self._on_odometry, heard)
        self.create_subscription(PathMessage, "slam/path", self._on_path, heard)
        self.create_subscription(
            FeatureArray, "pervformer/features", self._on_features, best_effort
        )
        self.create_subscription(Image, "pervformer/static_mask", self._on_static_mask, best_effort)
        self.create_subscription(
            WorkingMemoryStatus, "pervformer/memory_status", self._on_status, best_effort
        )

    def nodes_are_listening(self, camera_info: str) -> bool:
        """Tell whether perception and SLAM have both subscribed to their inputs."""
        return (
            self.count_subscribers(camera_info) >= 2
            and self.count_subscribers("pervformer/features") >= 2
        )

    def _on_odometry(self, message: Odometry) -> None:
        self.online[stamp_of(message.header)] = pose_of(message.pose.pose)

    def _on_path(self, message: PathMessage) -> None:
        self.final = {stamp_of(p.header): pose_of(p.pose) for p in message.poses}

    def _on_features(self, message: FeatureArray) -> None:
        stamp, found = stamp_of(message.header), conversions.feature_set(message)
        known = int(np.isfinite(found.points[:, 2]).sum())
        if len(self.counts) % self._every == self._every // 2:
            self.features[stamp] = found
        self.counts[stamp] = Counts(len(found), known)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics.update({status.name: status for status in message.status})

    def _on_static_mask(self, message: Image) -> None:
        stamp = stamp_of(message.header)
        if stamp in self.features:
            mask = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)
            self.masks[stamp] = mask

    def _on_status(self, message: WorkingMemoryStatus) -> None:
        self.status[stamp_of(message.header)] = message


def run_live(
    reader: BagReader,
    options: LiveOptions,
    log_folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Replay:
    """Play a bag to the nodes and return what came back over DDS.

    Args:
        reader: the bag, not yet opened; it gives ground truth and odometry, too.
        options: parameters of the nodes.
        log_folder: where the nodes' output goes.
        progress: called with (poses heard, images in all).

    Raises:
        LiveError: if a node does not come up, or leaves early.
    """
    domain = 1 + os.getpid() % DOMAINS
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    rclpy.init(domain_id=domain)
    try:
        with reader as bag, ExitStack() as stack:
            log_folder.mkdir(parents=True, exist_ok=True)
            start = _starter(stack, environment, log_folder)
            perception = _streams(bag) | options.common | options.parameters
            slam = {"use_odometry": perception["use_odometry"]} | options.common
            topics = _remappings(bag)
            nodes = [
                start("perception", *_ros_arguments(perception, topics)),
                start("slam", *_ros_arguments(slam, topics)),
            ]
            listener = Listener(bag.image_count)
            camera_info = bag.topic("camera_info") or ""
            _wait(listener, nodes, lambda: listener.nodes_are_listening(camera_info))
            memory = psutil.Process(nodes[0].process.pid).memory_info
            rss_mb = [memory().rss / MEGABYTE]
            inputs = [TF_STATIC, *(t for t in map(bag.topic, INPUTS) if t)]
            told = ["--rate", str(options.rate), "--topics", *inputs, "--wait-for", *inputs]
            player = start("bag_player", str(reader.path), *told)
            for _ in _until_silent(listener, nodes, player):
                progress(len(listener.online), bag.image_count)
            rss_mb.append(memory().rss / MEGABYTE)
            if not listener.online:
                raise LiveError(f"no pose came back; {_complaints(listener)}")
            result = _result(reader.path, bag, listener)
            result.rss_mb = rss_mb
            return result
    finally:
        rclpy.try_shutdown()


def _streams(bag: BagReader) -> dict[str, Any]:
    """Return the parameters that tell the perception node what this bag has."""
    return {
        "image_transport": _transport(bag, "colour"),
        "depth_transport": _transport(bag, "depth"),
        "use_depth": bag.has_depth,
        "use_odometry": bag.has_odometry,
    }


def _transport(bag: BagReader, stream: str) -> str:
    """Return how a stream travels, by its topic's type."""
    topic = bag.topic(stream)
    if topic is None or bag.types[topic] != COMPRESSED:
        return "raw"
    plain = stream == "colour" or topic.endswith("/compressed")
    return "compressed" if plain else "compressedDepth"


def _remappings(bag: BagReader) -> dict[str, str]:
    """Return where the nodes' own topics are found in this bag, transports' suffixes included."""
    usual, found = TopicNames(), {}
    for stream in INPUTS:
        if topic := bag.topic(stream):
            transport = _transport(bag, stream)
            suffix = "" if transport == "raw" else f"/{transport}"
            found[getattr(usual, stream) + suffix] = topic
    return {theirs: here for theirs, here in found.items() if theirs != here}


def _ros_arguments(parameters: dict[str, Any], topics: dict[str, str]) -> list[str]:
    given = [("-p", f"{name}:={json.dumps(value)}") for name, value in parameters.items()]
    given += [("-r", f"{theirs}:={here}") for theirs, here in topics.items()]
    return ["--ros-args", *(word for pair in given for word in pair)]


def _starter(
    stack: ExitStack, environment: dict[str, str], log_folder: Path
) -> Callable[..., Started]:
    def start(module: str, *arguments: str) -> Started:
        command = [sys.executable, "-m", f"pervformer_ros.nodes.{module}", *arguments]
        log = log_folder / f"{module}.log"
        process = stack.enter_context(_process(command, environment, log))
        return Started(module, process, log)

    return start


@contextmanager
def _process(
    command: list[str], environment: dict[str, str], log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process until the context ends, then ask it to leave, in the end by force."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(listener: Listener, nodes: list[Started], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        _check_alive(nodes)
        if refusal := _refusal([node.log for node in nodes]):
            raise LiveError(refusal)
        if time.monotonic() > deadline:
            raise LiveError(f"the nodes were not ready within {START_TIMEOUT_S:.0f} s; {LOGS}")
        rclpy.spin_once(listener, timeout_sec=0.1)


def _refusal(logs: list[Path]) -> str | None:
    """Return why a node refused to be configured: it stays, and waits for a better try."""
    lines = (line for log in logs for line in log.read_text("utf-8", "replace").splitlines())
    return next((line[line.index(REFUSAL) :] for line in lines if REFUSAL in line), None)


def _until_silent(listener: Listener, nodes: list[Started], player: Started) -> Iterator[None]:
    """Listen until the player has left and nothing new comes; yields every now and then."""
    heard, last_news = 0, time.monotonic()
    while player.process.poll() is None or time.monotonic() - last_news < SILENCE_S:
        _check_alive(nodes)
        rclpy.spin_once(listener, timeout_sec=0.1)
        if len(listener.online) != heard or player.process.poll() is None:
            heard, last_news = len(listener.online), time.monotonic()
            yield
    if player.process.returncode not in (0, BROKEN_OFF):
        raise player.left()


def _check_alive(nodes: list[Started]) -> None:
    for node in nodes:
        if node.process.poll() is not None:
            raise node.left()


def _complaints(heard: Listener) -> str:
    """Return what the nodes said last on /diagnostics."""
    return "; ".join(f"{s.name}: {s.message}" for s in heard.diagnostics.values()) or LOGS


def _result(path: Path, bag: BagReader, heard: Listener) -> Replay:
    statuses = [heard.status[s] for s in sorted(heard.status)]
    keyframes = set(heard.final)
    kind = _values(heard, "pervformer: model").get("features", "")
    result = Replay(str(path), kind, realtime=True)
    bag.count_absent()
    result.faults = bag.faults.summary()
    for stamp in sorted(heard.online):
        counts, status = heard.counts.get(stamp), heard.status.get(stamp)
        if counts is None or status is None:
            continue
        result.records.append(
            FrameRecord(
                stamp_ns=stamp,
                latency_ms=status.latency_ms,
                features=counts.features,
                features_with_depth=counts.with_depth,
                inliers=None,
                is_keyframe=stamp in keyframes,
            )
        )
    odometry: dict[int, Array] = {}
    try:
        for bundle in bag.bundles(bag.intake()):
            stamp = bundle.stamp_ns
            if bundle.T_odom_base is not None:
                odometry[stamp] = bundle.T_odom_base
            if stamp in heard.masks:
                rgb = decode_colour(bundle.colour)
                result.thumbnails.append(draw(rgb, heard.features[stamp], heard.masks[stamp]))
    except BagError as error:
        result.truncated = str(error)
    result.odometry = _trajectory(odometry)
    result.dropped = bag.image_count - len(heard.online)
    result.slam, result.slam_online = _trajectory(heard.final), _trajectory(heard.online)
    result.truth = bag.ground_truth()
    if said := _values(heard, "slam: tracking"):
        result.loop_closures = int(said["loop_closures"])
    model = heard.diagnostics.get("pervformer: model")
    result.trained = model is not None and model.level == DiagnosticStatus.OK
    for name in ("pervformer: input", "slam: input"):
        result.faults.update(_values(heard, name))
    if statuses:
        result.checkpoint, result.state_bytes = statuses[-1].checkpoint, statuses[-1].state_bytes
    return result


def _values(heard: Listener, name: str) -> dict[str, str]:
    """Return the values of what a status said last on /diagnostics; empty if it said nothing."""
    said = heard.diagnostics.get(name)
    return {} if said is None else {v.key: v.value for v in said.values}


def _trajectory(poses: dict[int, Array]) -> Trajectory | None:
    return Trajectory.of((s, poses[s]) for s in sorted(poses)) if poses else None
