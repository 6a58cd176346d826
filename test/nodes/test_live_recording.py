# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The real recording through the live nodes, over DDS, against the same line offline."""

import numpy as np
import pytest

from pervformer_ros.bags.reader import BagReader
from pervformer_ros.evaluation.drift import measure_drift
from pervformer_ros.evaluation.replay import replay
from pervformer_ros.geometry import Trajectory
from pervformer_ros.nodes.live import LiveOptions, run_live
from pervformer_ros.pipeline import PipelineConfig


@pytest.fixture(scope="module")
def runs(redkitchen_a, tmp_path_factory):
    """The recording once offline and once live, with the shipped defaults.

    Half as fast as recorded: what is tested is the way through the nodes, not how busy the machine
    is. `pervformer live` at full speed tells that.
    """
    path = redkitchen_a
    logs = tmp_path_factory.mktemp("logs")
    live = run_live(BagReader(path), LiveOptions(rate=0.5), logs)
    offline = replay(path, BagReader(path), PipelineConfig())
    return live, offline


def at_stamps(poses: Trajectory, stamps_ns) -> Trajectory:
    """Return the poses of these stamps alone."""
    kept = np.isin(poses.stamps_ns, stamps_ns)
    return Trajectory(poses.stamps_ns[kept], poses.poses[kept])


def test_the_live_pose_drifts_as_little_as_the_offline_one(runs):
    live, offline = runs
    assert len(live.slam_online) >= 0.25 * len(offline.slam_online)
    ate_live = live.drift()["slam_online"].ate_rmse_m
    ate_offline = offline.drift()["slam_online"].ate_rmse_m
    assert ate_live == pytest.approx(ate_offline, rel=0.2)


def test_the_live_map_is_as_good_as_the_offline_one(runs):
    live, offline = runs
    shared = at_stamps(offline.slam, live.slam.stamps_ns)
    ate_offline = measure_drift(offline.truth, shared).ate_rmse_m
    assert live.drift()["slam"].ate_rmse_m == pytest.approx(ate_offline, rel=0.2)


def test_the_live_pose_beats_odometry(runs):
    live, _ = runs
    drift = live.drift()
    assert drift["slam_online"].ate_rmse_m <= 0.35 * drift["odometry"].ate_rmse_m
