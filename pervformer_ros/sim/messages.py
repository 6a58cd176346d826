# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ROS messages of what the simulator knows, as rosbags objects."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.bags.writer import typestore
from pervformer_ros.frame import NANOSECONDS, CameraModel
from pervformer_ros.geometry import Array, quaternion
from pervformer_ros.sim.truth import TrueEvent, TrueObject

JPEG_QUALITY = 92


def _type(name: str) -> Any:
    return typestore().types[name]


def time(stamp_ns: int) -> Any:
    """Return a builtin_interfaces Time."""
    return _type("builtin_interfaces/msg/Time")(*divmod(stamp_ns, NANOSECONDS))


def header(stamp_ns: int, frame_id: str) -> Any:
    """Return a std_msgs Header."""
    return _type("std_msgs/msg/Header")(time(stamp_ns), frame_id)


def image(stamp_ns: int, frame_id: str, pixels: NDArray[Any], encoding: str) -> Any:
    """Return a sensor_msgs Image of an array (H, W) or (H, W, C)."""
    pixels = np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    data = pixels.view(np.uint8).reshape(-1)
    step = pixels.strides[0]
    head = header(stamp_ns, frame_id)
    return _type("sensor_msgs/msg/Image")(head, height, width, encoding, 0, step, data)


def jpeg(stamp_ns: int, frame_id: str, rgb: NDArray[np.uint8]) -> Any:
    """Return a sensor_msgs CompressedImage.

    Raises:
        RuntimeError: if the encoder fails.
    """
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), quality)
    if not done:
        raise RuntimeError("the JPEG encoder failed")
    head = header(stamp_ns, frame_id)
    return _type("sensor_msgs/msg/CompressedImage")(
        head, "rgb8; jpeg compressed bgr8", data.reshape(-1)
    )


def camera_info(stamp_ns: int, frame_id: str, camera: CameraModel) -> Any:
    """Return a sensor_msgs CameraInfo."""
    P = np.hstack([camera.K, np.zeros((3, 1))])
    D = np.array(camera.distortion or (0.0,) * 5)
    return _type("sensor_msgs/msg/CameraInfo")(
        header=header(stamp_ns, frame_id),
        height=camera.height,
        width=camera.width,
        distortion_model="plumb_bob" if len(D) <= 5 else "rational_polynomial",
        d=D,
        k=camera.K.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=P.reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=region(0, 0, 0, 0),
    )


def region(x: int, y: int, width: int, height: int) -> Any:
    """Return a sensor_msgs RegionOfInterest."""
    return _type("sensor_msgs/msg/RegionOfInterest")(x, y, height, width, False)


def vector(v: NDArray[np.floating]) -> Any:
    """Return a geometry_msgs Vector3."""
    return _type("geometry_msgs/msg/Vector3")(*map(float, v))


def pose(T: Array) -> Any:
    """Return a geometry_msgs Pose."""
    position = _type("geometry_msgs/msg/Point")(*map(float, T[:3, 3]))
    rotation = _type("geometry_msgs/msg/Quaternion")(*map(float, quaternion(T)))
    return _type("geometry_msgs/msg/Pose")(position, rotation)


def pose_with_covariance(T: Array, variances: NDArray[np.floating]) -> Any:
    """Return a geometry_msgs PoseWithCovariance with these variances (6,) and no more."""
    covariance = np.diag(variances).reshape(-1)
    return _type("geometry_msgs/msg/PoseWithCovariance")(pose(T), covariance)


def odometry(
    stamp_ns: int, frame_id: str, T: Array, twist: tuple[float, float], variances: NDArray[Any]
) -> Any:
    """Return a nav_msgs Odometry of base_link with forward speed and yaw rate."""
    forward = vector(np.array([twist[0], 0.0, 0.0]))
    turning = vector(np.array([0.0, 0.0, twist[1]]))
    motion = _type("geometry_msgs/msg/Twist")(forward, turning)
    with_covariance = _type("geometry_msgs/msg/TwistWithCovariance")
    return _type("nav_msgs/msg/Odometry")(
        header(stamp_ns, frame_id),
        "base_link",
        pose_with_covariance(T, variances),
        with_covariance(motion, np.diag(variances).reshape(-1)),
    )


def static_transforms(stamp_ns: int, transforms: Mapping[tuple[str, str], Array]) -> Any:
    """Return a tf2_msgs TFMessage of (parent, child) -> T_parent_child."""
    stamped = [
        _type("geometry_msgs/msg/TransformStamped")(
            header(stamp_ns, parent),
            child,
            _type("geometry_msgs/msg/Transform")(vector(T[:3, 3]), pose(T).orientation),
        )
        for (parent, child), T in transforms.items()
    ]
    return _type("tf2_msgs/msg/TFMessage")(stamped)


def tracked_objects(stamp_ns: int, objects: Sequence[TrueObject]) -> Any:
    """Return a pervformer_msgs TrackedObjectArray in the map frame."""
    listed = [_tracked_object(thing) for thing in objects]
    head = header(stamp_ns, "map")
    return _type("pervformer_msgs/msg/TrackedObjectArray")(header=head, objects=listed)


def semantic_event(event: TrueEvent) -> Any:
    """Return a pervformer_msgs SemanticEvent in the map frame."""
    return _type("pervformer_msgs/msg/SemanticEvent")(
        header=header(event.stamp_ns, "map"),
        sequence=event.sequence,
        type=int(event.type),
        object_id=event.object_id,
        object_label=event.label,
        agent_id=event.agent_id,
        agent_label=event.agent_label,
        from_pose=pose(event.T_from),
        to_pose=pose(event.T_to),
        path_name=event.path_name,
        confidence=1.0,
    )


def _tracked_object(thing: TrueObject) -> Any:
    return _type("pervformer_msgs/msg/TrackedObject")(
        id=thing.id,
        label=thing.label,
        score=1.0,
        state=int(thing.state),
        moving=thing.moving,
        motion_probability=float(thing.moving),
        roi=region(*thing.roi),
        pose=pose_with_covariance(thing.T_map_object, np.zeros(6)),
        size=vector(thing.size),
        velocity=vector(thing.velocity),
        first_seen=time(thing.first_seen_ns),
        last_seen=time(thing.last_seen_ns),
        embedding=np.empty(0, np.float32),
    )
