# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Drift of a trajectory against the truth, measured by evo."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from evo.core import metrics, sync, trajectory
from evo.core.filters import FilterException
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pervformer_ros.files import write_whole
from pervformer_ros.frame import NANOSECONDS
from pervformer_ros.geometry import Array, Trajectory, quaternion

RPE_DELTA_M = 1.0
SAME_STAMP_S = 0.01
LEAST_PAIRS = 3


@dataclass(frozen=True, slots=True)
class Drift:
    """ATE (RMSE after rigid alignment, no scale) and RPE over 1 m of path; None = cannot tell.

    Sturm et al. 2012, "A benchmark for the evaluation of RGB-D SLAM systems".
    """

    ate_rmse_m: float | None = None
    rpe_trans_m_per_m: float | None = None
    rpe_rot_deg_per_m: float | None = None


def measure_drift(truth: Trajectory, estimate: Trajectory) -> Drift:
    """Compare poses of equal stamps. What the data cannot tell (too short, no overlap) is None."""
    try:
        reference, measured = _pair(truth, estimate)
    except sync.SyncException:
        return Drift()
    _align(reference, measured)
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    ape.process_data((reference, measured))
    return Drift(
        ate_rmse_m=float(ape.get_statistic(metrics.StatisticsType.rmse)),
        rpe_trans_m_per_m=_rpe(reference, measured, metrics.PoseRelation.translation_part),
        rpe_rot_deg_per_m=_rpe(reference, measured, metrics.PoseRelation.rotation_angle_deg),
    )


def position_errors(truth: Trajectory, estimate: Trajectory) -> tuple[Array, Array]:
    """Return stamps (N,) in seconds and the position errors (N,) in metres that ATE sums up."""
    try:
        reference, measured = _pair(truth, estimate)
    except sync.SyncException:
        return np.empty(0), np.empty(0)
    _align(reference, measured)
    offsets = measured.positions_xyz - reference.positions_xyz
    return measured.timestamps, np.linalg.norm(offsets, axis=1)


def align(truth: Trajectory, estimate: Trajectory) -> Trajectory:
    """Return the estimate moved onto the truth as ATE does it; as it is where that cannot be."""
    try:
        T = _align(*_pair(truth, estimate))
    except sync.SyncException:
        return estimate
    return Trajectory(estimate.stamps_ns, T @ estimate.poses)


def poses_at(truth: Trajectory, stamps_ns: NDArray[np.int64]) -> list[Array | None]:
    """Return the true pose at each stamp, paired as drift is; None where there is none."""
    if not len(truth):
        return [None] * len(stamps_ns)
    after = np.searchsorted(truth.stamps_ns, stamps_ns).clip(1, max(1, len(truth) - 1))
    either = np.stack([after - 1, np.minimum(after, len(truth) - 1)])
    apart = np.abs(truth.stamps_ns[either] - stamps_ns)
    nearest, gap = either[apart.argmin(axis=0), np.arange(len(stamps_ns))], apart.min(axis=0)
    return [
        truth.poses[i] if ns <= SAME_STAMP_S * NANOSECONDS else None
        for i, ns in zip(nearest, gap, strict=True)
    ]


def to_evo(poses: Trajectory) -> trajectory.PoseTrajectory3D:
    """Return the same poses as evo's type."""
    return trajectory.PoseTrajectory3D(
        poses_se3=list(poses.poses), timestamps=poses.stamps_ns / NANOSECONDS
    )


def write_tum(path: Path, poses: Trajectory) -> None:
    """Write `stamp tx ty tz qx qy qz qw` lines, the stamp exact to the nanosecond."""
    lines = ["# stamp tx ty tz qx qy qz qw"]
    for stamp, T in zip(poses.stamps_ns.tolist(), poses.poses, strict=True):
        seconds, nanoseconds = divmod(stamp, NANOSECONDS)
        numbers = " ".join(f"{x:.6f}" for x in (*T[:3, 3], *quaternion(T)))
        lines.append(f"{seconds}.{nanoseconds:09d} {numbers}")
    write_whole(path, ("\n".join(lines) + "\n").encode())


def _pair(
    truth: Trajectory, estimate: Trajectory
) -> tuple[trajectory.PoseTrajectory3D, trajectory.PoseTrajectory3D]:
    """Return the poses of equal stamps (SyncException where they are too few to compare)."""
    if min(len(truth), len(estimate)) < LEAST_PAIRS:
        raise sync.SyncException("too few poses")
    pairs = sync.associate_trajectories(to_evo(truth), to_evo(estimate), max_diff=SAME_STAMP_S)
    if pairs[0].num_poses < LEAST_PAIRS:
        raise sync.SyncException("too few poses of equal stamps")
    return pairs


def _align(reference: trajectory.PoseTrajectory3D, measured: trajectory.PoseTrajectory3D) -> Array:
    """Move `measured` onto `reference` by the best rigid transform, and return that.

    evo does the same (Umeyama 1991) but not for a path that is a point or a straight line. There
    several rotations are the best; ATE is the same with each.
    """
    onto, moved = reference.positions_xyz, measured.positions_xyz
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Optimal rotation is not uniquely")
        rotation, _ = Rotation.align_vectors(onto - onto.mean(axis=0), moved - moved.mean(axis=0))
    T = np.eye(4)
    T[:3, :3] = rotation.as_matrix()
    T[:3, 3] = onto.mean(axis=0) - T[:3, :3] @ moved.mean(axis=0)
    measured.transform(T)
    return T


def _rpe(
    reference: trajectory.PoseTrajectory3D,
    measured: trajectory.PoseTrajectory3D,
    relation: metrics.PoseRelation,
) -> float | None:
    # Metres of the true path: a trembling estimate covers fewer of them in a metre of its own.
    rpe = metrics.RPE(
        relation, RPE_DELTA_M, metrics.Unit.meters, all_pairs=True, pairs_from_reference=True
    )
    try:
        rpe.process_data((reference, measured))
    except (FilterException, metrics.MetricsException):
        return None
    return float(rpe.get_statistic(metrics.StatisticsType.rmse)) / RPE_DELTA_M
