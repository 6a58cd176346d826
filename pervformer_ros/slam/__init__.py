# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SLAM: features and odometry in, a corrected pose for every frame out."""

from pervformer_ros.geometry import Trajectory
from pervformer_ros.slam.backend import SlamBackend, SlamUpdate, TrackingState
from pervformer_ros.slam.config import SlamConfig
from pervformer_ros.slam.factors import Edge, EdgeKind
from pervformer_ros.slam.graph import PoseGraph
from pervformer_ros.slam.saved_map import MapError, SavedMap

__all__ = [
    "Edge",
    "EdgeKind",
    "MapError",
    "PoseGraph",
    "SavedMap",
    "SlamBackend",
    "SlamConfig",
    "SlamUpdate",
    "TrackingState",
    "Trajectory",
]
