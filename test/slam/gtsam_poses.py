# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Poses for gtsam's own optimisers, which the graph is held against, and poses from them."""

import gtsam
import numpy as np


def to_values(poses):
    """Return poses (N, 4, 4), numbered from 0, as gtsam has them."""
    values = gtsam.Values()
    for key, pose in enumerate(poses):
        values.insert(key, gtsam.Pose3(pose))
    return values


def from_values(values):
    """Return the poses (N, 4, 4) of values numbered from 0."""
    return np.array([values.atPose3(i).matrix() for i in range(values.size())])
