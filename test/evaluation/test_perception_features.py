# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Descriptors, places and the motion baseline, on a wall and on poses made by hand."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import CAMERA, METRES_PER_FRAME, wall_frames

from pervformer_ros.bags.ground_truth import GroundTruth
from pervformer_ros.bags.reader import BagReader
from pervformer_ros.evaluation.perception.homography import HomographyMotion
from pervformer_ros.evaluation.perception.matching import MatchingBench, summarise
from pervformer_ros.evaluation.perception.motion import measure_motion, score
from pervformer_ros.evaluation.perception.places import PlaceBench, precision_recall, recall_at_1
from pervformer_ros.evaluation.perception.records import Record, no_boxes
from pervformer_ros.features import Keypoints, OrbExtractor
from pervformer_ros.geometry import make_rotation

SECOND = 10**9


def drive(spoil=lambda found: found):
    """Take views of a wall; `spoil` changes what the second method finds."""
    bench, orb = MatchingBench(), OrbExtractor(300)
    for i, frame in enumerate(wall_frames(20)):
        if bench.wants(frame):
            T_map_base = np.eye(4)
            T_map_base[1, 3] = METRES_PER_FRAME * i
            found = orb(frame.rgb)
            bench.add(frame, T_map_base, {"orb": found, "other": spoil(found)})
    return {method: summarise(scores) for method, scores in bench.scores.items()}


def test_on_a_wall_most_matches_are_true_and_give_the_pose():
    figures = drive()
    assert figures["orb"] == figures["other"]
    assert figures["orb"].pairs == 3  # frames 0, 8 and 16
    assert figures["orb"].inlier_ratio > 0.8
    assert figures["orb"].pose_error_m < 0.02
    assert figures["orb"].pose_good == 1.0


def test_descriptors_that_say_nothing_give_no_matches_that_are_true():
    rng = np.random.default_rng(0)

    def shuffle(found):
        return replace(found, descriptors=rng.permutation(found.descriptors))

    figures = drive(shuffle)
    assert figures["other"].inlier_ratio < 0.05
    assert figures["other"].pose_good == 0.0


def test_each_method_gives_as_many_keypoints_as_the_one_with_fewest():
    def fewer(found):
        best = np.argsort(-found.score)[:40]
        return Keypoints(found.uv[best], found.score[best], found.descriptors[best])

    figures = drive(fewer)
    assert figures["orb"] == figures["other"]
    assert figures["orb"].inliers <= 40


# Places ------------------------------------------------------------------------------------------


def lap(bench, start_s, descriptors, x=0.0):
    for i, descriptor in enumerate(descriptors):
        T_map_base = make_rotation((0, 0, 0))
        T_map_base[:2, 3] = x, 3.0 * i
        bench.add(round((start_s + i) * SECOND), T_map_base, np.asarray(descriptor, np.float32))


def test_a_place_is_known_again_by_its_descriptor():
    places = np.eye(5)
    bench = PlaceBench()
    lap(bench, 0, places)
    lap(bench, 30, places)
    queries = bench.queries()
    assert len(queries) == 5
    assert recall_at_1(queries) == 1.0
    precision, recall = precision_recall(queries)
    assert precision.min() == 1.0
    assert recall.max() == 1.0


def test_an_aisle_that_looks_like_another_is_not_that_one():
    bench = PlaceBench()
    lap(bench, 0, np.eye(5))
    lap(bench, 30, np.roll(np.eye(5), 1, axis=0))  # each looks like the place before it
    assert recall_at_1(bench.queries()) == 0.0
    elsewhere = PlaceBench()
    lap(elsewhere, 0, np.eye(5))
    lap(elsewhere, 30, np.eye(5), x=10.0)  # the same looks, but no revisit
    assert recall_at_1(elsewhere.queries()) is None


def test_what_was_seen_just_now_is_no_revisit():
    bench = PlaceBench()
    lap(bench, 0, np.eye(5))
    lap(bench, 10, np.eye(5))
    assert bench.queries() == []


def test_recall_counts_the_revisits_that_are_not_found():
    bench = PlaceBench()
    lap(bench, 0, np.eye(5))
    confused = np.eye(5)[[0, 1, 3, 2, 4]] * 0.9
    lap(bench, 30, confused)
    queries = bench.queries()
    assert recall_at_1(queries) == pytest.approx(3 / 5)
    assert precision_recall(queries)[1].max() == pytest.approx(3 / 5)


# Motion by a homography --------------------------------------------------------------------------


def judged(frames, truths):
    """Run the baseline and return records."""
    baseline = HomographyMotion()
    return [
        Record(
            frame.stamp_ns,
            None,
            no_boxes(),
            no_boxes(),
            motion={"homography": score(baseline(frame.rgb), true)},
        )
        for frame, true in zip(frames, truths, strict=True)
    ]


def test_the_homography_follows_the_camera():
    frames = wall_frames(6, CAMERA.scaled(320, 240))
    still = [np.zeros((240, 320), bool)] * len(frames)
    assert measure_motion([judged(frames, still)], "homography").false_alarm < 0.02


def test_the_homography_is_the_baseline_that_the_recording_tells_of(redkitchen_a):
    name = f"{redkitchen_a.name}_dynamic"
    path = redkitchen_a.parents[1] / name / name
    if not path.is_dir():
        pytest.skip(f"no recording {path}")
    with BagReader(path) as bag, GroundTruth(path) as truth:
        assert truth.has_motion
        assert not truth.has_objects
        frames = list(bag.frames())
        records = judged(frames, [truth.at(frame.stamp_ns).moving for frame in frames])
    motion = measure_motion([records], "homography", least=1)
    # Its PROVENANCE.md: .240, .105, 4.9 %, by other code.
    assert motion.iou == pytest.approx(0.240, abs=0.01)
    assert motion.flicker == pytest.approx(0.105, abs=0.015)
    assert motion.false_alarm == pytest.approx(0.049, abs=0.003)
