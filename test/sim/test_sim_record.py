# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated bag: read back by the project's own reader, and there only when complete."""

import json

import numpy as np
import pytest
import yaml
from rosbags.highlevel import AnyReader

from pervformer_ros.bags.reader import BagReader
from pervformer_ros.bags.writer import BagWriteError
from pervformer_ros.geometry import invert
from pervformer_ros.sim import simulate


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return simulate("static_loop", 4, tmp_path_factory.mktemp("bags") / "loop", duration=2.0)


def test_every_frame_is_usable_and_has_odometry_depth_and_extrinsics(bag):
    with BagReader(bag) as reader:
        frames = list(reader.frames())
        assert len(frames) == reader.image_count == 30
        assert not reader.faults.counts
    for frame in frames:
        assert frame.T_odom_base is not None
        assert (frame.depth > 0).mean() > 0.3
        assert 20 < frame.rgb.mean() < 220
    assert frames[0].T_base_camera[2, 3] > 0.8


def test_ground_truth_has_the_images_own_stamps(bag):
    with BagReader(bag) as reader:
        stamps = [frame.stamp_ns for frame in reader.frames()]
        truth = reader.ground_truth()
    assert truth.stamps_ns.tolist() == stamps


def test_objects_and_events_are_told_with_the_images_stamps(tmp_path):
    path = simulate("occlusion", 1, tmp_path / "bag", duration=1.0)
    with AnyReader([path]) as reader:
        told = {"/ground_truth/objects": [], "/ground_truth/events": []}
        images = set()
        for connection, _, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            if connection.topic in told:
                told[connection.topic].append(message)
            if connection.topic.endswith("/compressed"):
                images.add((message.header.stamp.sec, message.header.stamp.nanosec))
        objects, events = told.values()
    for message in (*objects, *events):
        assert (message.header.stamp.sec, message.header.stamp.nanosec) in images
        assert message.header.frame_id == "map"
    assert len(objects) == len(images) == 15
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    listed = {thing.id: thing for thing in objects[-1].objects}
    assert list(listed) == sorted(listed)
    assert {event.object_id for event in events} == set(listed)
    assert {"person", "pallet", "roll_cage"} <= {thing.label for thing in listed.values()}


def test_the_bag_says_where_its_paths_are(bag):
    information = yaml.safe_load((bag / "metadata.yaml").read_text())
    notes = information["rosbag2_bagfile_information"]["custom_data"]
    paths = json.loads(notes["paths"])
    assert {"aisle_a", "front", "back"} <= {path["name"] for path in paths}
    assert (notes["scenario"], notes["seed"]) == ("static_loop", "4")


def test_odometry_starts_at_its_origin_and_follows_the_truth_at_first(bag):
    with BagReader(bag) as reader:
        frames, truth = list(reader.frames()), reader.ground_truth()
    np.testing.assert_allclose(frames[0].T_odom_base, np.eye(4), atol=1e-9)
    moved = invert(truth.poses[0]) @ truth.poses[-1]
    assert np.linalg.norm(moved[:2, 3]) > 0.5
    np.testing.assert_allclose(frames[-1].T_odom_base[:2, 3], moved[:2, 3], atol=0.1)


def test_an_interrupted_recording_leaves_nothing(tmp_path):
    class StopError(Exception):
        pass

    def interrupt(done: int, total: int) -> None:
        raise StopError

    with pytest.raises(StopError):
        simulate("static_loop", 0, tmp_path / "bag", duration=1.0, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bag_is_not_overwritten(bag):
    with pytest.raises(BagWriteError, match="exists already"):
        simulate("static_loop", 0, bag, duration=0.1)


def test_a_slower_camera_takes_every_third_image_and_wheels_report_as_ever(bag, tmp_path):
    slow = simulate("static_loop", 4, tmp_path / "slow", duration=2.0, rate=5)
    with BagReader(bag) as reader:
        frames = list(reader.frames())[::3]
    with BagReader(slow) as reader:
        seldom = list(reader.frames())
    assert [f.stamp_ns for f in seldom] == [f.stamp_ns for f in frames]
    for one, other in zip(seldom, frames, strict=True):
        assert abs(one.rgb - other.rgb.astype(float)).mean() < 5  # exposure adapts image by image
        np.testing.assert_array_equal(one.depth, other.depth)
        np.testing.assert_array_equal(one.T_odom_base, other.T_odom_base)
    assert stamps_of(slow, "/odom") == stamps_of(bag, "/odom")


def stamps_of(path, topic):
    with AnyReader([path]) as reader:
        chosen = [c for c in reader.connections if c.topic == topic]
        return [stamp for _, stamp, _ in reader.messages(chosen)]


@pytest.mark.parametrize("rate", [0, 4, 30])
def test_a_rate_that_the_camera_cannot_have_is_refused(tmp_path, rate):
    with pytest.raises(ValueError, match="use 15, 5 or 3"):
        simulate("static_loop", 0, tmp_path / "bag", duration=1.0, rate=rate)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_scenario_is_refused_with_the_known_names(tmp_path):
    with pytest.raises(ValueError, match="static_loop"):
        simulate("no_such", 0, tmp_path / "bag")
