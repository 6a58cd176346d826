# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The whole line on a real recording: image by image, in real time, and through the live nodes."""

import ctypes
from pathlib import Path

import numpy as np
import pytest

from pervformer_ros.bags.reader import BagReader
from pervformer_ros.evaluation.drift import measure_drift
from pervformer_ros.evaluation.replay import Replay, replay
from pervformer_ros.geometry import Trajectory
from pervformer_ros.nodes.live import LiveOptions, run_live
from pervformer_ros.pipeline import PipelineConfig


def give_back(*_: object) -> None:
    """Return to the system what is free: else malloc's store of it would count as growth."""
    ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="module")
def offline(redkitchen_a: Path) -> Replay:
    return replay(redkitchen_a, BagReader(redkitchen_a), PipelineConfig(), hear=give_back)


@pytest.fixture(scope="module")
def in_real_time(redkitchen_a: Path) -> Replay:
    bag = BagReader(redkitchen_a)
    return replay(redkitchen_a, bag, PipelineConfig(), realtime=True, hear=give_back)


@pytest.fixture(scope="module")
def live(redkitchen_a: Path, tmp_path_factory: pytest.TempPathFactory) -> Replay:
    """The recording through the nodes, half as fast as recorded.

    What is tested is the way through the nodes, not how busy the machine is. `pervformer live` at
    full speed tells that.
    """
    logs = tmp_path_factory.mktemp("logs")
    return run_live(BagReader(redkitchen_a), LiveOptions(rate=0.5), logs)


@pytest.fixture(params=["offline", "in_real_time"])
def replayed(request: pytest.FixtureRequest) -> Replay:
    result: Replay = request.getfixturevalue(request.param)
    return result


def at_stamps(poses: Trajectory, stamps_ns: np.ndarray) -> Trajectory:
    """Return the poses of these stamps alone."""
    kept = np.isin(poses.stamps_ns, stamps_ns)
    return Trajectory(poses.stamps_ns[kept], poses.poses[kept])


def test_slam_drifts_much_less_than_odometry(replayed: Replay) -> None:
    drift = replayed.drift()
    assert drift["slam"].ate_rmse_m <= 0.35 * drift["odometry"].ate_rmse_m
    assert drift["slam_online"].ate_rmse_m <= 0.35 * drift["odometry"].ate_rmse_m


def test_every_image_is_accounted_for(replayed: Replay) -> None:
    assert len(replayed.records) + replayed.dropped == 250
    assert not replayed.faults
    assert replayed.truncated is None
    if not replayed.realtime:
        assert replayed.dropped == 0


def test_memory_does_not_grow_with_the_recording(replayed: Replay) -> None:
    """Fifty megabytes in 250 frames would be a leak; the map itself is a few."""
    assert replayed.rss_mb[-1] - replayed.rss_mb[len(replayed.rss_mb) // 4] < 50


def test_the_live_pose_drifts_as_little_as_the_offline_one(live: Replay, offline: Replay) -> None:
    assert len(live.slam_online) >= 0.25 * len(offline.slam_online)
    ate_live = live.drift()["slam_online"].ate_rmse_m
    ate_offline = offline.drift()["slam_online"].ate_rmse_m
    assert ate_live == pytest.approx(ate_offline, rel=0.2)


def test_the_live_map_is_as_good_as_the_offline_one(live: Replay, offline: Replay) -> None:
    shared = at_stamps(offline.slam, live.slam.stamps_ns)
    ate_offline = measure_drift(offline.truth, shared).ate_rmse_m
    assert live.drift()["slam"].ate_rmse_m == pytest.approx(ate_offline, rel=0.2)


def test_the_live_pose_beats_odometry(live: Replay) -> None:
    drift = live.drift()
    assert drift["slam_online"].ate_rmse_m <= 0.35 * drift["odometry"].ate_rmse_m
