# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from evo.core import metrics
from evo.tools import file_interface
from hypothesis import given, settings
from hypothesis import strategies as st

from pervformer_ros.evaluation.drift import (
    Drift,
    align,
    measure_drift,
    position_errors,
    to_evo,
    write_tum,
)
from pervformer_ros.geometry import Trajectory, invert, make_rotation, rotation_angle

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 66_666_667


def trajectory(positions, turns=None, first=0) -> Trajectory:
    """Return poses at 15 Hz; `turns` are rotation vectors."""
    positions = np.asarray(positions, float)
    turns = np.zeros_like(positions) if turns is None else turns
    poses = np.stack([make_rotation(turn) for turn in turns])
    poses[:, :3, 3] = positions
    return Trajectory(START_NS + (first + np.arange(len(poses))) * PERIOD_NS, poses)


def helix(count=150) -> Trajectory:
    """Return a path without symmetries, 5 m in all."""
    t = np.linspace(0, 4, count)
    positions = np.stack([np.cos(t), np.sin(t), 0.1 * t**2], axis=1)
    return trajectory(positions, np.stack([0 * t, 0.1 * t, t], axis=1))


def moved(T, estimate: Trajectory) -> Trajectory:
    return Trajectory(estimate.stamps_ns, T @ estimate.poses)


def line(metres, count=101) -> Trajectory:
    return trajectory(np.linspace(0, metres, count)[:, None] * [0, 1, 0])


# Figures that are known beforehand ---------------------------------------------------------------


def test_the_truth_has_no_drift():
    drift = measure_drift(helix(), helix())
    assert drift.ate_rmse_m == pytest.approx(0, abs=1e-9)
    assert drift.rpe_trans_m_per_m == pytest.approx(0, abs=1e-9)
    assert drift.rpe_rot_deg_per_m == pytest.approx(0, abs=1e-4)


def test_ate_is_the_rmse_after_alignment():
    """Every other pose of a square of 2 m is 0.1 m out, to either side in turn: no turn helps."""
    corners = np.array([[1, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]], float)
    truth = np.repeat(corners, 10, axis=0)
    wrong = truth + np.tile([[0, 0, 0.1], [0, 0, -0.1]], (20, 1))
    drift = measure_drift(trajectory(truth), trajectory(wrong))
    assert drift.ate_rmse_m == pytest.approx(0.1)


def test_a_constant_scale_error_is_the_relative_error_per_metre():
    drift = measure_drift(line(10), line(11))
    assert drift.rpe_trans_m_per_m == pytest.approx(0.1, rel=0.02)
    assert drift.rpe_rot_deg_per_m == pytest.approx(0, abs=1e-6)
    # Uniform along 10 m, the error of scale is +-0.5 m at the ends once the middles meet.
    assert drift.ate_rmse_m == pytest.approx(1 / np.sqrt(12), rel=0.02)


def test_a_constant_yaw_drift_is_the_relative_turn_per_metre():
    truth = line(10)
    degrees = np.linspace(0, 30, 101)
    turning = trajectory(truth.poses[:, :3, 3], np.deg2rad(degrees)[:, None] * [0, 0, 1])
    assert measure_drift(truth, turning).rpe_rot_deg_per_m == pytest.approx(3, rel=0.02)


# Laws --------------------------------------------------------------------------------------------

poses = st.tuples(*[st.floats(-3, 3)] * 3, *[st.floats(-50, 50)] * 3).map(np.array)


@settings(max_examples=20)
@given(poses, st.integers(0, 1000))
def test_where_the_estimates_world_lies_makes_no_difference(pose, seed):
    noise = np.random.default_rng(seed).normal(0, 0.05, (150, 3))
    truth = helix()
    estimate = trajectory(truth.poses[:, :3, 3] + noise)
    T = make_rotation(pose[:3])
    T[:3, 3] = pose[3:]
    one, other = measure_drift(truth, estimate), measure_drift(truth, moved(T, estimate))
    assert other.ate_rmse_m == pytest.approx(one.ate_rmse_m, abs=1e-6)
    assert other.rpe_trans_m_per_m == pytest.approx(one.rpe_trans_m_per_m, abs=1e-6)
    assert other.rpe_rot_deg_per_m == pytest.approx(one.rpe_rot_deg_per_m, abs=1e-3)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_ate_is_evos_own(seed):
    noise = np.random.default_rng(seed).normal(0, 0.05, (150, 3))
    truth = helix()
    estimate = trajectory(truth.poses[:, :3, 3] + noise)
    reference, measured = to_evo(truth), to_evo(estimate)
    measured.align(reference)
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    ape.process_data((reference, measured))
    expected = ape.get_statistic(metrics.StatisticsType.rmse)
    assert measure_drift(truth, estimate).ate_rmse_m == pytest.approx(expected, abs=1e-9)
    _, errors = position_errors(truth, estimate)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(expected, abs=1e-9)


@given(poses)
def test_alignment_undoes_a_rigid_transform(pose):
    T = make_rotation(pose[:3])
    T[:3, 3] = pose[3:]
    aligned = align(helix(), moved(T, helix()))
    np.testing.assert_allclose(aligned.poses, helix().poses, atol=1e-6)


# What cannot be told -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("truth", "estimate"),
    [
        (helix(2), helix(2)),
        (helix(), trajectory(np.zeros((10, 3)), first=5000)),
        (helix(), trajectory(np.zeros((1, 3)))),
    ],
    ids=["two poses", "no stamp in common", "one pose"],
)
def test_what_is_too_short_or_of_another_time_tells_nothing(truth, estimate):
    assert measure_drift(truth, estimate) == Drift(None, None, None)


def test_a_path_of_less_than_a_metre_has_ate_but_no_rpe():
    drift = measure_drift(line(0.5), line(0.6))
    assert drift.ate_rmse_m > 0.01
    assert drift.rpe_trans_m_per_m is None
    assert drift.rpe_rot_deg_per_m is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("truth", [line(5), line(0)], ids=["straight line", "standing still"])
def test_a_path_without_width_is_aligned_all_the_same(truth):
    T = make_rotation([0.3, -0.2, 1.0])
    T[:3, 3] = (3, 4, 5)
    assert measure_drift(truth, moved(T, truth)).ate_rmse_m == pytest.approx(0, abs=1e-6)


def test_only_common_stamps_count():
    """The back end starts later and leaves frames out."""
    truth = helix()
    some = Trajectory(truth.stamps_ns[20::3], truth.poses[20::3])
    assert measure_drift(truth, some).ate_rmse_m == pytest.approx(0, abs=1e-9)
    stamps, errors = position_errors(truth, some)
    assert len(stamps) == len(errors) == len(some)
    np.testing.assert_allclose(stamps, some.stamps_ns / 1e9)


def test_what_has_no_stamp_in_common_stays_where_it_is():
    elsewhere = trajectory(np.ones((10, 3)), first=5000)
    np.testing.assert_allclose(align(helix(), elsewhere).poses, elsewhere.poses)
    assert [len(x) for x in position_errors(helix(), elsewhere)] == [0, 0]


# Files -------------------------------------------------------------------------------------------


def test_tum_files_have_exact_stamps_and_evo_reads_them(tmp_path):
    stamps = [0, 999_999_999, 1_000_000_001, START_NS + 7, START_NS + 123_456_789]
    poses = Trajectory(np.array(stamps), helix(5).poses)
    write_tum(tmp_path / "path.tum", poses)
    lines = (tmp_path / "path.tum").read_text().splitlines()
    assert lines[0] == "# stamp tx ty tz qx qy qz qw"
    written = [text.split()[0] for text in lines[1:]]
    assert written == [
        "0.000000000",
        "0.999999999",
        "1.000000001",
        "1700000000.000000007",
        "1700000000.123456789",
    ]
    read = file_interface.read_tum_trajectory_file(tmp_path / "path.tum")
    np.testing.assert_allclose(read.positions_xyz, poses.poses[:, :3, 3], atol=1e-6)
    for T, again in zip(poses.poses, read.poses_se3, strict=True):
        assert rotation_angle(invert(T) @ again) < 1e-5


def test_poses_that_are_too_few_to_compare_tell_nothing():
    truth = helix()
    one = Trajectory(truth.stamps_ns[:5] + np.array([0, 1, 2, 3, 4]) * 20_000_000, truth.poses[:5])
    for estimate in (one, Trajectory(np.empty(0, np.int64), np.empty((0, 4, 4)))):
        assert measure_drift(truth, estimate) == Drift()
        assert len(position_errors(truth, estimate)[0]) == 0
        assert align(truth, estimate) is estimate
