# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training shards: complete or absent, the same from any number of workers, resumable."""

import numpy as np
import pytest

from pervformer_ros.sim.shards import make_shards, plan, read_colour

PLANS = plan(["busy_aisle", "camouflage"], [1], 0.4)


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory):
    return make_shards(PLANS, tmp_path_factory.mktemp("one"))


def test_a_shard_holds_consistent_arrays(one_worker):
    shard = dict(np.load(one_worker[0]))
    frames, bodies = shard["moving"].shape
    assert frames == 6
    assert shard["depth"].shape == shard["instance"].shape == (frames, 240, 320)
    assert shard["T_map_object"].shape == (frames, bodies, 4, 4)
    assert len(shard["labels"]) == len(shard["ids"]) == len(shard["size"]) == bodies
    for frame in range(frames):
        assert read_colour(shard, frame).shape == (240, 320, 3)
        counted = np.bincount(shard["instance"][frame].ravel(), minlength=bodies + 1)
        np.testing.assert_array_equal(counted[shard["ids"]], shard["pixels"][frame])


def test_two_workers_make_the_same_bytes(one_worker, tmp_path):
    for mine, other in zip(make_shards(PLANS, tmp_path, workers=2), one_worker, strict=True):
        assert mine.read_bytes() == other.read_bytes()


def test_what_exists_is_not_made_again(one_worker):
    before = [path.stat().st_mtime_ns for path in one_worker]
    counts = []
    make_shards(PLANS, one_worker[0].parent, progress=lambda *c: counts.append(c))
    assert counts == [(2, 2)]
    assert [path.stat().st_mtime_ns for path in one_worker] == before
    assert sorted(p.name for p in one_worker[0].parent.iterdir()) == sorted(
        p.name for p in one_worker
    )


def test_a_tour_takes_every_so_many_th_frame():
    (tour,) = plan(["static_loop"], [7], 30.0, every=5)
    assert (tour.every, tour.span) == (5, 150.0)
    (part,) = plan(["static_loop"], [7], 30.0)
    assert part.file_name != tour.file_name, "one would be taken for the other"
    assert [p.every for p in plan(["static_loop"], [6, 7], 30.0)] == [1, 2]
    with pytest.raises(ValueError, match="every is 0"):
        plan(["static_loop"], [6], 30.0, every=0)


def test_held_out_seeds_are_not_made_into_training_data():
    with pytest.raises(ValueError, match=r"\[900000\] are held out"):
        plan(["occlusion"], [4, 900000], 1.0)
