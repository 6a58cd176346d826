# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ROS messages in, Frames out: the same intake for a live robot and for a bag.

Messages are taken by their fields, so those of rclpy and those of rosbags both do.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.assembly import AssemblyConfig, Bundle, FrameAssembler
from pervformer_ros.bags.images import decode_colour, decode_depth
from pervformer_ros.frame import (
    DISTORTION_MODELS,
    NANOSECONDS,
    CameraModel,
    Fault,
    FaultLog,
    Frame,
    InputError,
)
from pervformer_ros.geometry import Array, invert, make_transform

MessageBundle: TypeAlias = Bundle[Any, Any]

FISHEYE_MODELS = ("equidistant", "fisheye")
# Two frames are one if nothing moves by more than this between them (metres, and sines of angles).
SAME_FRAME = 1e-3


@dataclass(frozen=True, slots=True)
class IntakeConfig:
    """What the robot is like.

    base_frame: the frame whose pose odometry and SLAM speak of.
    T_base_camera: extrinsics of the optical frame; None takes them from /tf_static.
    rectified: colour and depth are rectified already, so camera_info's P counts and not K and D.
    """

    base_frame: str = "base_link"
    T_base_camera: Array | None = None
    rectified: bool = False
    assembly: AssemblyConfig = field(default_factory=AssemblyConfig)


class StaticTransforms:
    """The tree of /tf_static; leading slashes of frames, as in ROS 1, make no difference."""

    def __init__(self) -> None:
        self._edges: dict[str, dict[str, Array]] = {}

    def add(self, parent: str, child: str, T_parent_child: Array) -> None:
        """Take one transform; a newer one for the same pair replaces it."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        self._edges.setdefault(parent, {})[child] = T_parent_child
        self._edges.setdefault(child, {})[parent] = invert(T_parent_child)

    def lookup(self, target: str, source: str) -> Array | None:
        """Return T_target_source along the tree, or None if the two are not connected."""
        target, source = target.lstrip("/"), source.lstrip("/")
        reached = {target: np.eye(4)}
        queue = deque([target])
        while queue:
            frame = queue.popleft()
            if frame == source:
                return reached[frame]
            for neighbour, T in self._edges.get(frame, {}).items():
                if neighbour not in reached:
                    reached[neighbour] = reached[frame] @ T
                    queue.append(neighbour)
        return None


class Intake:
    """Collects a camera's and a robot's messages and builds Frames of them.

    The `on_*` methods are cheap and never raise: what is wrong is counted in `faults`. They return
    the bundles that became ready; `build` decodes one, which is the expensive part and may be left
    out for a bundle that is dropped.
    """

    def __init__(self, config: IntakeConfig | None = None, faults: FaultLog | None = None):
        self.config = config or IntakeConfig()
        self.faults = faults or FaultLog()
        self.transforms = StaticTransforms()
        self.camera: CameraModel | None = None
        self._assembler: FrameAssembler[Any, Any] = FrameAssembler(
            self.config.assembly, self.faults
        )

    def on_colour(self, message: Any) -> list[MessageBundle]:
        """Take an Image or CompressedImage (or any stamped message to pair with odometry)."""
        return self._assembler.add_colour(stamp_of(message.header), message)

    def on_depth(self, message: Any) -> list[MessageBundle]:
        """Take a depth Image, raw or compressedDepth."""
        return self._assembler.add_depth(stamp_of(message.header), message)

    def on_odometry(self, message: Any) -> list[MessageBundle]:
        """Take an Odometry message, whose child frame may be any frame fixed to the base."""
        try:
            T_odom_base = self.pose_of_base(message)
        except ValueError as error:
            self.faults.add(Fault.INVALID_ODOMETRY, f"odometry: {error}")
            return []
        return self._assembler.add_odometry(stamp_of(message.header), T_odom_base)

    @property
    def newest_odometry_ns(self) -> int | None:
        """The stamp of the odometry that was taken last, None where there is none."""
        return self._assembler.odometry.newest_ns

    def odometry_at(self, stamp_ns: int) -> Array | None:
        """Return T_odom_base at a stamp, interpolated; None where that is not known (any more)."""
        return self._assembler.odometry.at(stamp_ns)

    def on_camera_info(self, message: Any) -> None:
        """Take a CameraInfo."""
        try:
            self.camera = camera_model(message, self.config.rectified)
        except InputError as error:
            self.faults.add(error.fault, str(error))

    def on_tf_static(self, message: Any) -> None:
        """Take a TFMessage of /tf_static."""
        for stamped in message.transforms:
            try:
                T = transform_of(stamped.transform)
            except ValueError as error:
                self.faults.add(Fault.NO_EXTRINSICS, f"/tf_static: {error}")
                continue
            self.transforms.add(stamped.header.frame_id, stamped.child_frame_id, T)

    def flush(self) -> list[MessageBundle]:
        """Return what still waits for depth or odometry, at the end of a recording."""
        return self._assembler.flush()

    def extrinsics(self, optical_frame: str) -> Array:
        """Return T_base_camera from the parameter or from /tf_static.

        Raises:
            InputError: NO_EXTRINSICS.
        """
        if self.config.T_base_camera is not None:
            return self.config.T_base_camera
        T = self.transforms.lookup(self.config.base_frame, optical_frame)
        if T is None:
            raise InputError(
                Fault.NO_EXTRINSICS,
                f"/tf_static has no path from '{self.config.base_frame}' to '{optical_frame}': "
                "publish it or set camera_extrinsics (--extrinsics) or base_frame (--base-frame)",
            )
        return T

    def build(self, bundle: MessageBundle) -> Frame:
        """Decode a bundle. Unusable depth is counted and left out; the image still counts.

        Raises:
            InputError: if there is no usable colour image, camera model or extrinsics.
        """
        if self.camera is None:
            raise InputError(Fault.NO_CAMERA_INFO, "no camera_info yet: is it published?")
        frame_id = bundle.colour.header.frame_id
        parts = {
            "stamp_ns": bundle.stamp_ns,
            "rgb": decode_colour(bundle.colour),
            "camera": self.camera,
            "T_base_camera": self.extrinsics(frame_id),
            "T_odom_base": bundle.T_odom_base,
            "frame_id": frame_id,
        }
        self._check_alignment(bundle.depth, frame_id)
        try:
            return Frame(depth=self._decode_depth(bundle.depth), **parts)
        except InputError as error:
            frame = Frame(depth=None, **parts)
            self.faults.add(error.fault, str(error))
            return frame

    def _check_alignment(self, depth: Any, frame_id: str) -> None:
        """Count depth that is of another frame than colour: its pixels are those of another eye."""
        if depth is None or depth.header.frame_id in ("", frame_id):
            return
        T = self.transforms.lookup(frame_id, depth.header.frame_id)
        if T is None or not np.allclose(T, np.eye(4), atol=SAME_FRAME):
            self.faults.add(
                Fault.DEPTH_NOT_ALIGNED,
                f"depth is of frame '{depth.header.frame_id}', colour of '{frame_id}': publish "
                "depth that is aligned (registered) to colour",
            )

    def _decode_depth(self, message: Any) -> NDArray[np.float32] | None:
        return None if message is None else decode_depth(message)

    def pose_of_base(self, message: Any) -> Array:
        """Return the base's pose of an Odometry message, whose child may be fixed to the base.

        Raises:
            ValueError: if nothing joins its child frame to the base, or it holds no pose.
        """
        T_odom_child = pose_of(message.pose.pose)
        child = message.child_frame_id or self.config.base_frame
        if child == self.config.base_frame:
            return T_odom_child
        T_child_base = self.transforms.lookup(child, self.config.base_frame)
        if T_child_base is None:
            raise ValueError(
                f"child frame is '{child}' and /tf_static does not join it to "
                f"'{self.config.base_frame}': set base_frame (--base-frame)"
            )
        return T_odom_child @ T_child_base


def stamp_of(header: Any) -> int:
    """Return a header's stamp in nanoseconds."""
    return int(header.stamp.sec) * NANOSECONDS + int(header.stamp.nanosec)


def pose_of(pose: Any) -> Array:
    """Return a geometry_msgs Pose as a transform (ValueError if it is none)."""
    p, q = pose.position, pose.orientation
    return make_transform((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))


def transform_of(transform: Any) -> Array:
    """Return a geometry_msgs Transform as a transform (ValueError if it is none)."""
    p, q = transform.translation, transform.rotation
    return make_transform((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))


def camera_model(message: Any, rectified: bool = False) -> CameraModel:
    """Return the camera of a CameraInfo message (fields lower case in ROS 2, upper case in ROS 1).

    It speaks of the whole sensor: of that the image may be a region, and of the region pixels may
    be binned.

    Raises:
        InputError: INVALID_CAMERA_INFO.
    """
    K, D, P = (
        np.asarray(getattr(message, name, getattr(message, name.upper(), ())), float)
        for name in ("k", "d", "p")
    )
    if rectified:
        K, D = P[[0, 1, 2, 4, 5, 6, 8, 9, 10]], np.empty(0)
    # Without coefficients most models are a pinhole; a fisheye's lens bends all the same.
    bends = D.any() or message.distortion_model in FISHEYE_MODELS
    if message.distortion_model not in DISTORTION_MODELS and bends and not rectified:
        raise InputError(
            Fault.INVALID_CAMERA_INFO,
            f"distortion model '{message.distortion_model}' is not supported: rectify the images "
            "(image_proc) and set rectified (--rectified)",
        )
    region = message.roi
    across, down = max(1, int(message.binning_x)), max(1, int(message.binning_y))
    return CameraModel(
        width=int(region.width or message.width) // across,
        height=int(region.height or message.height) // down,
        fx=float(K[0]) / across,
        fy=float(K[4]) / down,
        cx=(float(K[2]) - region.x_offset + 0.5) / across - 0.5,
        cy=(float(K[5]) - region.y_offset + 0.5) / down - 0.5,
        distortion=tuple(float(d) for d in D) if D.any() else (),
    )
