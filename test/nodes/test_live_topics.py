# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A recording that calls its topics otherwise, played to the real nodes over DDS."""

import pytest

from pervformer_ros.bags.reader import BagReader, TopicNames
from pervformer_ros.evaluation.replay import THUMBNAILS
from pervformer_ros.nodes.live import LiveError, LiveOptions, run_live

NAMES = TopicNames("/kinect/rgb", "/kinect/rgb_info", "/kinect/depth", "/wheels/odometry")


def renamed(recorded):
    usual = TopicNames()
    names = {getattr(usual, s): getattr(NAMES, s) for s in NAMES.__slots__}
    return [(names.get(topic, topic), stamp, message) for topic, stamp, message in recorded]


def test_the_nodes_listen_to_what_the_recording_has(synthetic_bag, tmp_path):
    # Long enough for a start at which the first seconds pass unheard.
    bag = synthetic_bag(count=75, change=renamed)
    heard = run_live(BagReader(bag, NAMES), LiveOptions({"model": "tiny"}), tmp_path)
    assert len(heard.slam_online) >= 10
    assert len(heard.odometry) == 75


def test_the_name_of_a_compressed_topic_may_be_given_in_full(synthetic_bag, tmp_path):
    usual = TopicNames()
    names = TopicNames(colour=usual.colour + "/compressed", depth=usual.depth + "/compressedDepth")
    bag = synthetic_bag(colour="jpeg", depth="compressedDepth", count=75)
    heard = run_live(BagReader(bag, names), LiveOptions({"model": "tiny"}), tmp_path)
    assert len(heard.slam_online) >= 10
    assert sum(record.features_with_depth for record in heard.records)


def test_a_process_that_leaves_is_reported_with_its_last_words(synthetic_bag, tmp_path):
    options = LiveOptions({"model": "tiny"}, rate=-1.0)
    with pytest.raises(LiveError, match=r"bag_player left with code 2: .*-1.0 is no rate"):
        run_live(BagReader(synthetic_bag(count=3)), options, tmp_path)


def test_a_recording_that_breaks_off_is_played_up_to_there_and_reported(synthetic_bag, tmp_path):
    bag = synthetic_bag(colour="raw", count=100)
    file = bag / f"{bag.name}.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 8 // 10])
    heard = run_live(BagReader(bag), LiveOptions({"model": "tiny"}), tmp_path)
    assert "breaks off here" in heard.truncated
    assert 10 < len(heard.records) < 100
    assert 0 < len(heard.thumbnails) <= THUMBNAILS
    assert len(heard.odometry) >= len(heard.records)


def test_a_node_that_cannot_be_configured_says_why_at_once(synthetic_bag, tmp_path):
    options = LiveOptions(parameters={"checkpoint": "nowhere.safetensors"})
    with pytest.raises(LiveError, match=r"cannot configure: .*nowhere.safetensors"):
        run_live(BagReader(synthetic_bag()), options, tmp_path)
