# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The floor as a level: wheel odometry knows nothing of how a robot pitches and rolls."""

import numpy as np

from pervformer_ros.frame import Frame
from pervformer_ros.geometry import Array, make_rotation, transform_points

# Every so many pixels along both axes, one is looked at; of those, so many must lie on the floor.
STRIDE, LEAST_POINTS = 8, 40
NEAR_M, FAR_M = 0.8, 6.0
# Points this near to where the floor should be may belong to it: metres, and per metre of distance.
BAND_M, BAND_PER_M = 0.05, 0.03
INLIER_M = 0.04
# No robot on wheels tilts by more, radians.
MOST_TILT = 0.04


def level(frame: Frame, T_odom_base: Array) -> Array:
    """Return T_odom_camera, tilted so that the floor that depth shows is level.

    A plane is fitted to the points near the floor, by least squares, twice; where too little of
    the floor is seen, nothing is changed.
    """
    T_odom_camera = np.asarray(T_odom_base @ frame.T_base_camera)
    if frame.depth is None:
        return T_odom_camera
    v, u = np.mgrid[0 : frame.camera.height : STRIDE, 0 : frame.camera.width : STRIDE]
    depth = frame.depth[v, u].ravel()
    some = (depth > NEAR_M) & (depth < FAR_M)
    uv = np.stack([u.ravel(), v.ravel()], axis=1)[some].astype(float)
    points = transform_points(T_odom_camera, frame.camera.back_project(uv, depth[some]))
    offset = points - T_odom_base[:3, 3]
    away = np.linalg.norm(offset[:, :2], axis=1)
    belongs = np.abs(offset[:, 2]) < BAND_M + BAND_PER_M * away
    slope = np.zeros(2)
    for _ in range(2):
        if belongs.sum() < LEAST_POINTS:
            return T_odom_camera
        on_floor = offset[belongs]
        slope = np.linalg.lstsq(on_floor[:, :2], on_floor[:, 2], rcond=None)[0]
        belongs = np.abs(offset[:, 2] - offset[:, :2] @ slope) < INLIER_M
    if np.abs(slope).max() > MOST_TILT:
        return T_odom_camera
    # Turn the plane's normal (-a, -b, 1) up, about where the robot stands.
    T = make_rotation((-slope[1], slope[0], 0.0))
    base = T_odom_base[:3, 3]
    T[:3, 3] = base - T[:3, :3] @ base
    return np.asarray(T @ T_odom_camera)
