# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Open3D's RGB-D odometry, frame to frame, as a baseline that everyone has."""

from typing import Any

import numpy as np
import open3d as o3d
from numpy.typing import NDArray

from pervformer_ros.frame import Frame
from pervformer_ros.geometry import Array, Trajectory, invert
from pervformer_ros.slam import se3

DEPTH_LIMIT = 8.0


class Open3dOdometry:
    """Aligns each frame's colours and depths with the last one's (Park et al. 2017, hybrid)."""

    def __init__(self) -> None:
        self._last: o3d.geometry.RGBDImage | None = None
        self._stamps: list[int] = []
        self._poses: list[Array] = []

    def step(self, frame: Frame) -> None:
        """Take the next frame; where it cannot be aligned, the last step is taken once more."""
        if frame.depth is None:
            return
        image = o3d.geometry.RGBDImage.create_from_color_and_depth(
            _image(frame.rgb),
            _image(frame.depth),
            depth_scale=1.0,
            depth_trunc=DEPTH_LIMIT,
            convert_rgb_to_intensity=True,
        )
        T_map_base = np.eye(4)
        if self._last is not None:
            T_map_base = se3.normalise(self._poses[-1] @ self._motion(image, frame))
        self._last = image
        self._stamps.append(frame.stamp_ns)
        self._poses.append(T_map_base)

    def trajectory(self) -> Trajectory:
        """Return T_map_base of every frame."""
        return Trajectory.of(zip(self._stamps, self._poses, strict=True))

    def _motion(self, image: o3d.geometry.RGBDImage, frame: Frame) -> Array:
        """Return the pose of base in the base of the last frame."""
        c = frame.camera
        camera = o3d.camera.PinholeCameraIntrinsic(c.width, c.height, c.fx, c.fy, c.cx, c.cy)
        last_step = np.eye(4)
        if len(self._poses) > 1:
            last_step = invert(self._poses[-2]) @ self._poses[-1]
        guess = invert(frame.T_base_camera) @ last_step @ frame.T_base_camera
        found, T_last_camera, _ = o3d.pipelines.odometry.compute_rgbd_odometry(
            image,
            self._last,
            camera,
            guess,
            o3d.pipelines.odometry.RGBDOdometryJacobianFromHybridTerm(),
            o3d.pipelines.odometry.OdometryOption(depth_max=DEPTH_LIMIT),
        )
        # Where few pixels overlap it may claim to have found a matrix that is no pose.
        if not found or not _is_pose(np.asarray(T_last_camera)):
            return last_step
        return frame.T_base_camera @ np.asarray(T_last_camera) @ invert(frame.T_base_camera)


def _is_pose(T: Array) -> bool:
    R = T[:3, :3]
    return bool(np.allclose(R @ R.T, np.eye(3), atol=1e-6) and np.isfinite(T).all())


def _image(pixels: NDArray[Any]) -> o3d.geometry.Image:
    buffer: Any = np.ascontiguousarray(pixels)  # numpy does not declare that it is a buffer
    return o3d.geometry.Image(buffer)
