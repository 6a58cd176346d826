# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is judged of a recording that is not as it should be."""

from synthetic import COLOUR, PERIOD_NS, START_NS, TRUTH, wall_frames

from pervformer_ros.evaluation.perception.suite import evaluate_model
from pervformer_ros.evaluation.perception.variants import Variant, variants_of
from pervformer_ros.evaluation.perception.watch import Bag, watch
from pervformer_ros.pipeline import Pipeline, PipelineConfig


def test_where_time_goes_back_what_comes_after_is_judged(synthetic_bag):
    def twice(recorded):
        return recorded + [(topic, stamp + 10**9, message) for topic, stamp, message in recorded]

    pipeline = Pipeline(PipelineConfig("untrained", "tiny"))
    once, again = (
        watch(pipeline, Bag(bag, "wall"), baselines=False)
        for bag in (synthetic_bag(count=12), synthetic_bag(change=twice, count=12))
    )
    stamps = [record.stamp_ns for record in again.records]
    assert stamps == [record.stamp_ns for record in once.records]
    for run in (once, again):
        assert {name: len(scores) for name, scores in run.matching.scores.items()} == {
            "orb": 1,
            "pervformer": 1,
        }
    assert (once.faults, again.faults) == (0, 1)


def test_every_variant_is_judged_with_the_map_that_corrects_where_things_are():
    for variant in variants_of(["untrained"], "tiny"):
        pipeline = variant.make(max_features=200)
        outputs = [pipeline.step(frame) for frame in wall_frames(2)]
        assert [output.slam.state.value for output in outputs] == ["visual", "visual"]


def test_faults_of_the_truth_count_and_few_images_are_no_error(synthetic_bag, tmp_path):
    def spoil(recorded):
        for topic, stamp, message in recorded:
            if topic == COLOUR and stamp >= START_NS + 3 * PERIOD_NS:
                message.encoding = "8UC3"
            if topic == TRUTH and stamp == START_NS:
                message.pose.pose.orientation.w = 0.0
        return recorded

    bag = Bag(synthetic_bag(change=spoil, count=40), "wall")
    rows = evaluate_model([Variant("full", "untrained", "tiny")], [bag], tmp_path)
    assert (rows[0]["frames"], rows[0]["faults"]) == (3, 38)
    assert not list(tmp_path.glob("*.jpg")), "no picture was due"
