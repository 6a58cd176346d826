# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Results of the line to ROS messages, and feature messages back."""

import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion, Transform, Vector3
from numpy.typing import NDArray
from pervformer_msgs.msg import FeatureArray, SemanticEvent, TrackedObject, TrackedObjectArray
from sensor_msgs.msg import Image, RegionOfInterest
from std_msgs.msg import Header

from pervformer_ros.features import FeatureSet
from pervformer_ros.frame import NANOSECONDS
from pervformer_ros.geometry import Array, make_rotation, quaternion
from pervformer_ros.memory import Event, ObjectState, WorldObject

# Radians: how exactly things are known to stand upright, and which way those lie that are longer
# than wide by this factor.
TILT_SIGMA, HEADING_SIGMA = 0.05, 0.35
OBLONG = 1.2


def time_message(stamp_ns: int) -> Time:
    """Return a stamp as a message, exact to the nanosecond."""
    seconds, nanoseconds = divmod(stamp_ns, NANOSECONDS)
    return Time(sec=seconds, nanosec=nanoseconds)


def nanoseconds(stamp: Time) -> int:
    """Return a message's time in nanoseconds."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def header(stamp_ns: int, frame_id: str) -> Header:
    """Return a header."""
    return Header(stamp=time_message(stamp_ns), frame_id=frame_id)


def pose_message(T: Array) -> Pose:
    """Return a rigid transform as a Pose."""
    x, y, z = T[:3, 3].tolist()
    qx, qy, qz, qw = quaternion(T).tolist()
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def transform_message(T: Array) -> Transform:
    """Return a rigid transform as a Transform."""
    pose = pose_message(T)
    return Transform(translation=vector_message(T[:3, 3]), rotation=pose.orientation)


def vector_message(vector: NDArray[np.floating]) -> Vector3:
    """Return (3,) as a Vector3."""
    x, y, z = np.asarray(vector, float).tolist()
    return Vector3(x=x, y=y, z=z)


def position_message(position: Array) -> Pose:
    """Return a place without a known orientation as a Pose; NaN where the place is unknown."""
    x, y, z = position.tolist()
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=1.0))


def image_message(pixels: NDArray[Any], encoding: str, stamp_ns: int, frame_id: str) -> Image:
    """Return an array (H, W) or (H, W, C) as an Image of this encoding."""
    pixels = np.ascontiguousarray(pixels)
    return Image(
        header=header(stamp_ns, frame_id),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels.strides[0],
        data=array.array("B", pixels.tobytes()),
    )


def depth_message(depth: NDArray[np.float32], encoding: str, stamp_ns: int, frame_id: str) -> Image:
    """Return depth in metres as an Image, 16UC1 (mm) or 32FC1 (m), 0 = none."""
    if encoding == "16UC1":
        pixels: NDArray[Any] = np.clip(np.rint(depth * 1000), 0, 65535).astype(np.uint16)
    else:
        pixels = depth.astype(np.float32)
    return image_message(pixels, encoding, stamp_ns, frame_id)


def feature_message(features: FeatureSet, frame_id: str) -> FeatureArray:
    """Return a feature set as a message."""
    descriptors = np.ascontiguousarray(features.descriptors, np.float16)
    return FeatureArray(
        header=header(features.stamp_ns, frame_id),
        width=features.width,
        height=features.height,
        uv=_floats(features.uv),
        points=_floats(features.points),
        score=_floats(features.score),
        static_probability=_floats(features.static_probability),
        descriptor_size=descriptors.shape[1],
        descriptors=array.array("B", descriptors.tobytes()),
        place_descriptor=_floats(features.place_descriptor),
    )


def feature_set(message: FeatureArray) -> FeatureSet:
    """Return a message as a feature set.

    Raises:
        ValueError: if its arrays do not fit each other.
    """
    count = len(message.score)
    uv, points, score, static, place = (
        np.array(values, np.float32)
        for values in (
            message.uv,
            message.points,
            message.score,
            message.static_probability,
            message.place_descriptor,
        )
    )
    descriptors = np.frombuffer(bytes(message.descriptors), np.float16)
    return FeatureSet(
        stamp_ns=nanoseconds(message.header.stamp),
        width=message.width,
        height=message.height,
        uv=uv.reshape(-1, 2),
        points=points.reshape(-1, 3),
        score=score,
        static_probability=static,
        descriptors=descriptors.reshape(count, message.descriptor_size),
        place_descriptor=place,
    )


def objects_message(objects: list[WorldObject], stamp_ns: int, frame_id: str) -> TrackedObjectArray:
    """Return what is remembered as a message, poses in `frame_id`."""
    return TrackedObjectArray(
        header=header(stamp_ns, frame_id), objects=[object_message(o) for o in objects]
    )


def object_message(thing: WorldObject) -> TrackedObject:
    """Return one object as a message."""
    message = TrackedObject(
        id=thing.id,
        label=thing.label,
        score=float(thing.score),
        state=int(thing.state),
        moving=thing.moving,
        motion_probability=float(thing.motion_probability),
        size=vector_message(thing.size),
        velocity=vector_message(thing.velocity),
        first_seen=time_message(thing.first_seen_ns),
        last_seen=time_message(thing.last_seen_ns),
        embedding=_floats(thing.embedding),
    )
    if thing.state is ObjectState.VISIBLE:
        x, y, width, height = (max(0, round(float(v))) for v in thing.box)
        message.roi = RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height)
    T = make_rotation((0.0, 0.0, thing.heading))
    T[:3, 3] = thing.position
    message.pose.pose = pose_message(T)
    # Of what is as wide as it is long nobody knows which way it faces.
    length, width = thing.size[:2]
    turned = HEADING_SIGMA if length > OBLONG * width else np.pi
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = thing.covariance[:3, :3]
    covariance[3:, 3:] = np.diag(np.square([TILT_SIGMA, TILT_SIGMA, turned]))
    message.pose.covariance = covariance.ravel()
    return message


def event_message(event: Event, frame_id: str) -> SemanticEvent:
    """Return an event as a message."""
    return SemanticEvent(
        header=header(event.stamp_ns, frame_id),
        sequence=event.sequence,
        type=int(event.type),
        object_id=event.object_id,
        object_label=event.label,
        agent_id=event.agent_id,
        agent_label=event.agent_label,
        from_pose=position_message(event.from_position),
        to_pose=position_message(event.to_position),
        path_name=event.path_name,
        confidence=float(event.confidence),
    )


def _floats(values: NDArray[np.floating]) -> "array.array[float]":
    # array.array goes into a message as one copy; a list would be checked number by number.
    return array.array("f", np.ascontiguousarray(values, np.float32).tobytes())
