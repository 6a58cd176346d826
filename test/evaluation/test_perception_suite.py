# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A short simulated bag from its ground truth to the table, and what the model has no part in."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from rosbags.highlevel import AnyReader
from synthetic import TRUTH, wall_frames
from typer.testing import CliRunner

from pervformer_ros.bags.ground_truth import GroundTruth
from pervformer_ros.bags.intake import stamp_of
from pervformer_ros.bags.reader import BagReader
from pervformer_ros.cli import app
from pervformer_ros.evaluation.episodes import episode_bag, held_out, parse_seeds
from pervformer_ros.evaluation.perception.observer import LEAST_SCORE, Observer
from pervformer_ros.evaluation.perception.rows import judge, spread_rows
from pervformer_ros.evaluation.perception.variants import name_of, variants_of
from pervformer_ros.evaluation.replay import replay
from pervformer_ros.evaluation.report import write_report
from pervformer_ros.frame import CameraModel, Fault
from pervformer_ros.memory import ObjectState
from pervformer_ros.model import create_config, create_model, forget_probes, save_model
from pervformer_ros.pipeline import Pipeline, PipelineConfig
from pervformer_ros.sim.scenario import names

SCENARIO, SEED, SECONDS = "busy_aisle", 900_000, 1.4
FRAMES = 21


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A folder of bags that holds the one that is evaluated."""
    folder = tmp_path_factory.mktemp("bags")
    episode_bag(folder, SCENARIO, SEED, SECONDS)
    return folder


@pytest.fixture(scope="module")
def bag(cache):
    return episode_bag(cache, SCENARIO, SEED, SECONDS)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Random weights that claim to be trained, so that everything is judged."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "claimed.safetensors"
    save_model(path, create_model("tiny"), trained=True)
    return path


# Ground truth ------------------------------------------------------------------------------------


def test_the_truth_of_every_image_is_what_was_recorded(bag):
    told = {}
    with AnyReader([bag]) as reader:
        for connection, _, data in reader.messages():
            if connection.topic in ("/ground_truth/objects", "/ground_truth/instance"):
                message = reader.deserialize(data, connection.msgtype)
                told.setdefault(stamp_of(message.header), {})[connection.topic] = message
    with BagReader(bag) as reader, GroundTruth(bag) as truth:
        assert truth.has_objects
        assert truth.has_motion
        assert truth.has_poses
        moments = [truth.at(frame.stamp_ns) for frame in reader.frames()]
    assert len(moments) == FRAMES
    for moment in moments:
        objects = told[moment.stamp_ns]["/ground_truth/objects"].objects
        assert [t.id for t in moment.things] == [o.id for o in objects]
        ids = np.frombuffer(told[moment.stamp_ns]["/ground_truth/instance"].data, np.uint16)
        assert moment.instances.ravel().tolist() == ids.tolist()
        for thing, message in zip(moment.things, objects, strict=True):
            assert thing.pixels == (ids == thing.id).sum()
            if message.state == ObjectState.VISIBLE:
                roi = message.roi
                low = [roi.x_offset, roi.y_offset]
                corners = [*low, low[0] + roi.width, low[1] + roi.height]
                assert thing.box.tolist() == corners
    assert any(moment.moving.sum() > 1000 for moment in moments)
    assert any(moment.changes for moment in moments)


def test_images_may_be_left_out_and_unknown_stamps_have_no_truth(bag):
    with BagReader(bag) as reader:
        stamps = [frame.stamp_ns for frame in reader.frames()]
    with GroundTruth(bag) as truth:
        assert truth.at(stamps[5]).stamp_ns == stamps[5]
        assert truth.at(stamps[5] + 1) is None
        assert truth.at(stamps[12]).stamp_ns == stamps[12]
        assert len(truth._waiting) < len(stamps)


def test_events_of_images_that_are_left_out_are_told_with_the_next(bag):
    with BagReader(bag) as reader:
        stamps = [frame.stamp_ns for frame in reader.frames()]

    def told(wanted):
        with GroundTruth(bag) as truth:
            return [c for ns in wanted if (m := truth.at(ns)) is not None for c in m.changes]

    every, few = told(stamps), told(stamps[3::7] + stamps[-1:])
    assert [(c.stamp_ns, c.type, c.object_id) for c in few] == [
        (c.stamp_ns, c.type, c.object_id) for c in every
    ]
    assert any(c.stamp_ns not in stamps[3::7] for c in few)


def test_where_time_goes_back_the_truth_does_too(synthetic_bag):
    def twice(recorded):
        return recorded + [(topic, stamp + 10**9, message) for topic, stamp, message in recorded]

    path = synthetic_bag(change=twice, count=12)
    with BagReader(path) as reader, GroundTruth(path) as truth:
        moments = [(frame.stamp_ns, truth.at(frame.stamp_ns)) for frame in reader.frames()]
    assert len(moments) == 24
    assert all(m is not None and m.T_map_base is not None for _, m in moments)
    assert [m.stamp_ns for _, m in moments] == [ns for ns, _ in moments]


def test_what_is_no_truth_is_not_told_and_the_rest_is(synthetic_bag):
    def spoil(recorded):
        broken = next(m for topic, _, m in recorded[30:] if topic == TRUTH)
        broken.pose.pose.orientation.w = 0.0
        return recorded

    path = synthetic_bag(change=spoil, count=12)
    with BagReader(path) as reader, GroundTruth(path) as truth:
        moments = [truth.at(frame.stamp_ns) for frame in reader.frames()]
    assert [m.T_map_base is None for m in moments].count(True) == 1
    assert truth.faults.counts == {Fault.INVALID_TRUTH: 1}


# From the bag to the figures ---------------------------------------------------------------------


def test_a_pipeline_that_tells_the_truth_is_perfect(bag):
    pipeline = Pipeline(PipelineConfig("untrained", "tiny"))
    records = []
    with BagReader(bag) as reader, GroundTruth(bag) as truth, Observer(pipeline) as observer:
        for frame in reader.frames():
            moment = truth.at(frame.stamp_ns)
            output = pipeline.step(frame)
            record = observer.record(frame, output, moment, {"model": moment.moving})
            seen = record.truth.boxes(record.truth.seen)
            records.append(replace(record, detections=seen, published=seen))
    figures = judge([records]).figures
    assert figures["frames"] == FRAMES
    for name in ("ap50", "ap50_any_class", "hota", "idf1", "motion_iou"):
        assert figures[name] == pytest.approx(1.0), name
    assert figures["flicker"] == pytest.approx(0.0)


@pytest.mark.parametrize("size", [(160, 120), (160, 60), (90, 160)])
def test_detections_are_where_they_are_reported_whatever_the_images_aspect(checkpoint, size):
    width, height = size
    camera = CameraModel(width, height, 120.0, 120.0, width / 2, height / 2)
    pipeline = Pipeline(PipelineConfig(checkpoint))
    pipeline.perceiver.score_threshold = LEAST_SCORE
    with torch.no_grad():
        pipeline.loaded.model.heads.patches.out.bias[:8] += 4.0
    with Observer(pipeline) as observer:
        for frame in wall_frames(2, camera):
            output = pipeline.step(frame)
            reported = output.percept.detections.box
            box = observer.record(frame, output, None).detections.box
            assert len(reported) > 0
            # The pipeline reports fewer than the record holds, the best of them.
            np.testing.assert_array_equal(box[: len(reported)], reported)


def test_the_command_writes_a_row_for_everything_it_is_asked_for(cache, checkpoint, tmp_path):
    out = tmp_path / "out"
    arguments = [
        "evaluate", "model", "--out", out, "--bags", cache, "--seconds", SECONDS,
        "--scenarios", SCENARIO, "--seeds", SEED, "--checkpoint", checkpoint, "--model", "tiny",
        "--checkpoint", "untrained",
    ]  # fmt: skip
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    table = json.loads((out / "table.json").read_text())
    assert (table["schema"], table["suite"]) == (1, "model")
    rows = [row for row in table["rows"] if row["about"] == "perception"]
    assert [row["variant"] for row in rows].count("full") == 2
    assert {row["variant"] for row in rows} == {"full", "full_reset", "homography"}
    first = rows[0]
    assert (first["scenario"], first["seed"], first["frames"]) == (SCENARIO, SEED, FRAMES)
    assert first.keys() >= {"ap50", "hota", "idf1", "reid", "motion_iou", "flicker", "recall_at_1"}
    assert first["state_constant"] is True
    assert first["recall_at_1"] is None  # nothing is visited twice
    matching = [row["method"] for row in table["rows"] if row["about"] == "matching"]
    assert sorted(set(matching)) == ["orb", "pervformer"]
    assert {row["about"] for row in table["rows"]} >= {"perception", "class", "matching", "spread"}
    assert len(list(out.glob("sheet_*.jpg"))) == 4


def test_a_replay_with_trained_weights_reports_what_the_bag_can_tell(bag, checkpoint, tmp_path):
    result = replay(bag, BagReader(bag), PipelineConfig(str(checkpoint)))
    report = write_report(result, tmp_path)
    assert 0.0 <= report["detection"]["ap50"] <= 1.0
    assert report["tracking"].keys() == {"hota", "idf1", "reid", "reid_spells"}
    assert 0.0 <= report["motion_mask"]["motion_iou"] <= 1.0
    assert report["events"]["true"] > 0
    assert "Perception, against the ground truth" in (tmp_path / "report.html").read_text()


def test_a_replay_of_a_bag_without_such_truth_reports_none(wall_bag, checkpoint):
    report = replay(wall_bag, BagReader(wall_bag), PipelineConfig(str(checkpoint))).report()
    assert [report[k] for k in ("detection", "tracking", "motion_mask")] == [None] * 3


# What is evaluated -------------------------------------------------------------------------------


def test_seeds_are_a_list_or_a_range_of_held_out_ones():
    assert parse_seeds("900000,900005") == [900000, 900005]
    assert parse_seeds("900000:900002") == [900000, 900001]
    assert parse_seeds("900001,900000,900001") == [900001, 900000]
    assert held_out("lights,lights", [900000]) == [("lights", 900000)]
    for text in ("", "a", "3:3", "1-2"):
        with pytest.raises(ValueError, match="give 900000"):
            parse_seeds(text)
    assert held_out("occlusion,lights", [900000]) == [("occlusion", 900000), ("lights", 900000)]
    assert {s for s, _ in held_out("", [900000])} == set(names()) - {"long_shift"}
    assert held_out("none", [900000]) == []
    with pytest.raises(ValueError, match="may have been trained on"):
        held_out("occlusion", [7])
    with pytest.raises(ValueError, match="there is no scenario"):
        held_out("occlusions", [900000])


def test_what_a_checkpoint_is_follows_from_its_configuration():
    assert name_of(create_config("tiny")) == "full"
    assert name_of(create_config("tiny", probes=0)) == "no_probes"
    assert name_of(create_config("tiny", recurrence=False)) == "per_frame"
    assert [v.name for v in variants_of(["untrained"], "tiny")] == ["full", "full_reset"]
    with pytest.raises(ValueError, match="none of which is per_frame"):
        variants_of(["untrained"], "tiny", ["per_frame"])


def test_only_the_probes_forget():
    state = create_model("tiny").init_state()
    state = state._replace(**{
        name: torch.ones_like(x) for name, x in state._asdict().items() if x.is_floating_point()
    })  # fmt: skip
    forgot, probes = forget_probes(state), state.alive.shape[1]
    for axis, name in ((2, "h"), (3, "conv")):
        rows = getattr(forgot, name).movedim(axis, 0)
        assert rows[:-probes].min() == 1.0
        assert rows[-probes:].max() == 0.0
    assert forgot.position.abs().max() == 0.0
    assert state.h.min() == state.position.min() == 1.0  # what was given is left as it was


def test_the_spread_is_over_the_checkpoints_of_a_variant():
    row = {"about": "perception", "variant": "full", "scenario": "all", "seed": None, "hota": 0.5}
    other = {**row, "variant": "no_probes"}
    first, second = ({**row, "checkpoint": name} for name in ("a", "b"))
    (spread,) = spread_rows([{**first, "ap50": 0.6}, other, {**second, "ap50": 0.8}])
    assert (spread["variant"], spread["checkpoints"]) == ("full", 2)
    assert (spread["ap50"], spread["ap50_std"]) == pytest.approx((0.7, np.sqrt(0.02)))
    assert (spread["hota"], spread["hota_std"]) == pytest.approx((0.5, 0.0))
    # Two recordings of one name, seen by one checkpoint, are no spread.
    assert spread_rows([{**first, "ap50": 0.6}, {**first, "ap50": 0.8}]) == []
