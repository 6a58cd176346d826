# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What holds keyframes where they are, and the factors of gtsam that say so."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import gtsam
import numpy as np

from pervformer_ros.geometry import Array

# The first keyframe defines the map.
ORIGIN_SIGMA = 1e-4
# Where all edges of a keyframe contradict each other, robust kernels may leave nothing to hold it:
# then its first guess does (radians, metres).
FAINT_ROTATION, FAINT_POSITION = 3.0, 100.0
# In units of the whitened error's length, of which the expected one is sqrt(6) = 2.45.
ROBUST_SCALE = 3.0
# The same for the vertical, of sqrt(2), and for heights: what drift does stays below it, a ramp
# does not.
LEVEL_SCALE = 1.5
UP = np.array([0.0, 0.0, 1.0])


class EdgeKind(str, Enum):
    """What tells two keyframes' relative pose."""

    ODOMETRY = "odometry"
    VISUAL = "visual"
    LOOP = "loop"
    GAP = "gap"  # nothing but the guess that the robot did not go far
    LEVEL = "level"  # how much higher the second is, and nothing else


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """The measured pose of keyframe `second` in keyframe `first`, with its covariance (6, 6)."""

    first: int
    second: int
    kind: EdgeKind
    T_first_second: Array
    covariance: Array


@dataclass(frozen=True, slots=True, eq=False)
class Vertical:
    """The direction `up` (3,) of the map's z in a keyframe's base, to `sigma` radians."""

    keyframe: int
    up: Array
    sigma: float


def keyframe_factors(key: int, T_map_base: Array) -> gtsam.NonlinearFactorGraph:
    """Return what holds a keyframe faintly at its first guess; the first defines the map."""
    factors = gtsam.NonlinearFactorGraph()
    pose = gtsam.Pose3(T_map_base)
    if key == 0:
        origin = gtsam.noiseModel.Isotropic.Sigma(6, ORIGIN_SIGMA)
        factors.add(gtsam.PriorFactorPose3(key, pose, origin))
    sigmas = np.array([FAINT_ROTATION] * 3 + [FAINT_POSITION] * 3)
    noise = gtsam.noiseModel.Diagonal.Sigmas(sigmas)
    factors.add(gtsam.PriorFactorPose3(key, pose, noise))
    return factors


def edge_factors(edges: Sequence[Edge]) -> gtsam.NonlinearFactorGraph:
    """Return the factors of edges, with their robust kernels."""
    factors = gtsam.NonlinearFactorGraph()
    for edge in edges:
        factors.add(_edge_factor(edge))
    return factors


def _edge_factor(edge: Edge) -> gtsam.BetweenFactorPose3:
    noise: gtsam.noiseModel.Base = gtsam.noiseModel.Gaussian.Covariance(edge.covariance)
    if edge.kind in (EdgeKind.ODOMETRY, EdgeKind.LOOP):
        # Wheels slip now and then, and by any amount; a loop was verified, however far it pulls.
        noise = _robust(gtsam.noiseModel.mEstimator.Huber.Create(ROBUST_SCALE), noise)
    elif edge.kind is EdgeKind.LEVEL:
        # Odometry does not tell of ramps, either.
        noise = _robust(gtsam.noiseModel.mEstimator.Cauchy.Create(LEVEL_SCALE), noise)
    else:
        # A wrong view is wrong altogether: its weight vanishes as its error grows. So is the guess
        # of a gap, once the place is recognised.
        noise = _robust(gtsam.noiseModel.mEstimator.Cauchy.Create(ROBUST_SCALE), noise)
    pose = gtsam.Pose3(edge.T_first_second)
    return gtsam.BetweenFactorPose3(edge.first, edge.second, pose, noise)


def vertical_factor(vertical: Vertical) -> gtsam.AttitudeFactorPose3:
    """Return the factor of a known vertical, with its robust kernel."""
    # Odometry does not tell the slope of a ramp, and all keyframes on it err alike: with Huber's
    # kernel, which never lets go, they would flatten it together. Those that let go sooner than
    # Cauchy's would not get a map back that has tilted once.
    kernel = gtsam.noiseModel.mEstimator.Cauchy.Create(LEVEL_SCALE)
    noise = _robust(kernel, gtsam.noiseModel.Isotropic.Sigma(2, vertical.sigma))
    return gtsam.AttitudeFactorPose3(
        vertical.keyframe, gtsam.Unit3(UP), noise, gtsam.Unit3(vertical.up)
    )


def graph_factors(
    poses: Array, edges: Sequence[Edge], verticals: Sequence[Vertical]
) -> gtsam.NonlinearFactorGraph:
    """Return what holds keyframes that are about at these poses (N, 4, 4)."""
    factors = gtsam.NonlinearFactorGraph()
    for key, pose in enumerate(poses):
        factors.push_back(keyframe_factors(key, pose))
    factors.push_back(edge_factors(edges))
    for vertical in verticals:
        factors.add(vertical_factor(vertical))
    return factors


def _robust(
    kernel: gtsam.noiseModel.mEstimator.Base, noise: gtsam.noiseModel.Base
) -> gtsam.noiseModel.Base:
    return gtsam.noiseModel.Robust.Create(kernel, noise)
