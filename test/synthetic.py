# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A robot that passes a wall sideways, as messages and as a bag of any kind."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Rosbag2Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from pervformer_ros.frame import CameraModel, Frame
from pervformer_ros.geometry import make_transform, quaternion

COLOUR, INFO = "/camera/color/image_raw", "/camera/color/camera_info"
DEPTH, ODOMETRY = "/camera/depth/image_raw", "/odom"
TRUTH, TF_STATIC = "/ground_truth/odom", "/tf_static"
OPTICAL = "camera_color_optical_frame"
CAMERA = CameraModel(160, 120, 120.0, 120.0, 79.5, 59.5)
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 66_666_667
WALL_M = 2.0
PIXELS_PER_FRAME = 2
METRES_PER_FRAME = PIXELS_PER_FRAME * WALL_M / CAMERA.fx
# Odometry says the robot came farther than it did.
ODOMETRY_SCALE = 1.1

T_BASE_LINK = make_transform((0.1, 0.0, 0.5), (0, 0, 0, 1))  # base_link <- camera_link
T_LINK_OPTICAL = make_transform((0, 0, 0), (-0.5, 0.5, -0.5, 0.5))  # x right, y down, z forward
T_BASE_CAMERA = T_BASE_LINK @ T_LINK_OPTICAL


@dataclass(frozen=True)
class Shot:
    """One image and what was true of it."""

    stamp_ns: int
    rgb: np.ndarray
    millimetres: np.ndarray
    T_map_base: np.ndarray
    T_odom_base: np.ndarray


def wall_shots(count: int, camera: CameraModel = CAMERA) -> list[Shot]:
    """Return the images of a robot that moves to its left, looking at a flat wall."""
    blocks = np.random.default_rng(7).integers(0, 255, (camera.height // 6, 200, 3), np.uint8)
    wall = cv2.resize(blocks, (1200, camera.height), interpolation=cv2.INTER_NEAREST)
    shots = []
    for i in range(count):
        first = 1200 - camera.width - PIXELS_PER_FRAME * i
        T_map_base, T_odom_base = np.eye(4), np.eye(4)
        T_map_base[1, 3] = METRES_PER_FRAME * i
        T_odom_base[1, 3] = METRES_PER_FRAME * i * ODOMETRY_SCALE
        shots.append(
            Shot(
                START_NS + i * PERIOD_NS,
                np.ascontiguousarray(wall[:, first : first + camera.width]),
                np.full((camera.height, camera.width), round(WALL_M * 1000), np.uint16),
                T_map_base,
                T_odom_base,
            )
        )
    return shots


def wall_frames(count: int, camera: CameraModel = CAMERA) -> list[Frame]:
    """Return the same images as frames."""
    return [
        Frame(
            shot.stamp_ns,
            shot.rgb,
            shot.millimetres.astype(np.float32) / 1000,
            camera,
            T_BASE_CAMERA,
            shot.T_odom_base,
            OPTICAL,
        )
        for shot in wall_shots(count, camera)
    ]


class Messages:
    """Builds the messages of one ROS generation."""

    def __init__(self, ros1: bool = False):
        self.ros1 = ros1
        self.store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE)
        if ros1:
            transforms = "geometry_msgs/TransformStamped[] transforms"
            self.store.register(get_types_from_msg(transforms, "tf2_msgs/msg/TFMessage"))

    def make(self, name: str, *values: Any) -> Any:
        return self.store.types[name](*values)

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        stamp = self.make("builtin_interfaces/msg/Time", *divmod(stamp_ns, 10**9))
        return self.make("std_msgs/msg/Header", *[0] * self.ros1, stamp, frame_id)

    def image(self, stamp_ns: int, pixels: np.ndarray, encoding: str) -> Any:
        height, width = pixels.shape[:2]
        data = np.ascontiguousarray(pixels).view(np.uint8).reshape(-1)
        header = self.header(stamp_ns, OPTICAL)
        name = "sensor_msgs/msg/Image"
        return self.make(name, header, height, width, encoding, 0, len(data) // height, data)

    def compressed(self, stamp_ns: int, data: bytes, form: str) -> Any:
        header = self.header(stamp_ns, OPTICAL)
        array = np.frombuffer(data, np.uint8)
        return self.make("sensor_msgs/msg/CompressedImage", header, form, array)

    def camera_info(
        self, stamp_ns: int, camera: CameraModel = CAMERA, model: str = "plumb_bob", P: Any = None
    ) -> Any:
        K, D = camera.K.reshape(-1), np.array(camera.distortion or (0.0,) * 5)
        P = np.hstack([camera.K, np.zeros((3, 1))]) if P is None else np.asarray(P, float)
        region = self.make("sensor_msgs/msg/RegionOfInterest", 0, 0, 0, 0, False)
        return self.make(
            "sensor_msgs/msg/CameraInfo",
            self.header(stamp_ns, OPTICAL),
            camera.height,
            camera.width,
            model,
            *(D, K, np.eye(3).reshape(-1), P.reshape(-1)),
            *(0, 0, region),
        )

    def pose(self, T: np.ndarray) -> Any:
        position = self.make("geometry_msgs/msg/Point", *map(float, T[:3, 3]))
        turn = self.make("geometry_msgs/msg/Quaternion", *map(float, quaternion(T)))
        return self.make("geometry_msgs/msg/Pose", position, turn)

    def odometry(
        self, stamp_ns: int, T: np.ndarray, child: str = "base_link", parent: str = "odom"
    ) -> Any:
        zero = self.make("geometry_msgs/msg/Vector3", 0.0, 0.0, 0.0)
        twist = self.make("geometry_msgs/msg/Twist", zero, zero)
        return self.make(
            "nav_msgs/msg/Odometry",
            self.header(stamp_ns, parent),
            child,
            self.make("geometry_msgs/msg/PoseWithCovariance", self.pose(T), np.zeros(36)),
            self.make("geometry_msgs/msg/TwistWithCovariance", twist, np.zeros(36)),
        )

    def tf_static(self, links: Iterable[tuple[str, str, np.ndarray]]) -> Any:
        stamped = [
            self.make(
                "geometry_msgs/msg/TransformStamped",
                self.header(START_NS, parent),
                child,
                self.make(
                    "geometry_msgs/msg/Transform",
                    self.make("geometry_msgs/msg/Vector3", *map(float, T[:3, 3])),
                    self.pose(T).orientation,
                ),
            )
            for parent, child, T in links
        ]
        return self.make("tf2_msgs/msg/TFMessage", stamped)


@dataclass(frozen=True)
class Recipe:
    """What a bag holds; topics it leaves out are None."""

    count: int = 12
    colour: str | None = "raw"  # or "jpeg", "png"
    depth: str | None = "raw"  # or "compressedDepth"
    odometry: bool = True
    tf_static: bool = True
    truth: bool = True
    camera: CameraModel = CAMERA


def recording(messages: Messages, recipe: Recipe) -> list[tuple[str, int, Any]]:
    """Return (topic, stamp, message) of everything, in order of time."""
    shots = wall_shots(recipe.count, recipe.camera)
    recorded: list[tuple[str, int, Any]] = []
    if recipe.tf_static:
        links = [
            ("base_link", "camera_link", T_BASE_LINK),
            ("camera_link", OPTICAL, T_LINK_OPTICAL),
        ]
        recorded.append((TF_STATIC, START_NS, messages.tf_static(links)))
    for shot in shots:
        stamp = shot.stamp_ns
        recorded.append((INFO, stamp, messages.camera_info(stamp, recipe.camera)))
        if recipe.colour == "raw":
            recorded.append((COLOUR, stamp, messages.image(stamp, shot.rgb, "rgb8")))
        elif recipe.colour:
            data = cv2.imencode(f".{recipe.colour}", shot.rgb[..., ::-1])[1].tobytes()
            form = f"rgb8; {recipe.colour} compressed bgr8"
            recorded.append((COLOUR + "/compressed", stamp, messages.compressed(stamp, data, form)))
        if recipe.depth == "raw":
            recorded.append((DEPTH, stamp, messages.image(stamp, shot.millimetres, "16UC1")))
        elif recipe.depth:
            png = cv2.imencode(".png", shot.millimetres)[1].tobytes()
            message = messages.compressed(stamp, bytes(12) + png, "16UC1; compressedDepth png")
            recorded.append((DEPTH + "/compressedDepth", stamp, message))
        if recipe.odometry:
            recorded.append((ODOMETRY, stamp, messages.odometry(stamp, shot.T_odom_base)))
        if recipe.truth:
            truth = messages.odometry(stamp, shot.T_map_base, parent="map")
            recorded.append((TRUTH, stamp, truth))
    return recorded


def write_bag(path: Path, kind: str, recorded: list[tuple[str, int, Any]]) -> Path:
    """Write a bag of kind "mcap", "sqlite3" (folders) or "ros1" (a file); return its path."""
    messages = Messages(ros1=kind == "ros1")
    if kind == "ros1":
        path = path.with_suffix(".bag")
        writer = Rosbag1Writer(path)
    else:
        storage = StoragePlugin.MCAP if kind == "mcap" else StoragePlugin.SQLITE3
        writer = Rosbag2Writer(path, version=9, storage_plugin=storage)
        if kind == "mcap":
            writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        write_all(writer, messages, recorded)
    return path


def write_all(writer: Any, messages: Messages, recorded: list[tuple[str, int, Any]]) -> None:
    """Write everything to an open writer of rosbags."""
    store = messages.store
    serialise = store.serialize_ros1 if messages.ros1 else store.serialize_cdr
    connections: dict[str, Any] = {}
    for topic, stamp_ns, message in recorded:
        name = message.__msgtype__
        if topic not in connections:
            connections[topic] = writer.add_connection(topic, name, typestore=store)
        writer.write(connections[topic], stamp_ns, serialise(message, name))
