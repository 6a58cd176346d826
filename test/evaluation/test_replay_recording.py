# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The whole line on a real recording, as `pervformer replay` runs it with its defaults."""

import pytest

from pervformer_ros.bags.reader import BagReader
from pervformer_ros.evaluation.replay import Replay, replay
from pervformer_ros.pipeline import PipelineConfig


@pytest.fixture(scope="module", params=[False, True], ids=["one by one", "real time"])
def result(request, redkitchen_a) -> Replay:
    return replay(redkitchen_a, BagReader(redkitchen_a), PipelineConfig(), realtime=request.param)


def test_slam_drifts_much_less_than_odometry(result):
    drift = result.drift()
    assert drift["slam"].ate_rmse_m <= 0.35 * drift["odometry"].ate_rmse_m
    assert drift["slam_online"].ate_rmse_m <= 0.35 * drift["odometry"].ate_rmse_m


def test_every_image_is_accounted_for(result):
    assert len(result.records) + result.dropped == 250
    assert not result.faults
    assert result.truncated is None
    if not result.realtime:
        assert result.dropped == 0


def test_memory_does_not_grow_with_the_recording(result):
    """A hundred megabytes in 250 frames would be a leak; the map itself is a few."""
    assert result.rss_mb[-1] - result.rss_mb[len(result.rss_mb) // 4] < 100
