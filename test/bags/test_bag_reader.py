# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import shutil
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Rosbag2Writer
from synthetic import (
    CAMERA,
    COLOUR,
    DEPTH,
    INFO,
    ODOMETRY,
    START_NS,
    T_BASE_CAMERA,
    TRUTH,
    Messages,
    Recipe,
    recording,
    wall_shots,
    write_all,
)

from pervformer_ros.bags.intake import IntakeConfig
from pervformer_ros.bags.reader import BagError, BagReader, TopicNames
from pervformer_ros.frame import Fault

KINDS = ("mcap", "sqlite3", "ros1")
COUNT = 12


def read(path, **options):
    """Return the frames of a bag, its faults, and why it broke off, if it did."""
    frames, broken = [], None
    with BagReader(path, **options) as bag:
        try:
            frames.extend(bag.frames())
        except BagError as error:
            broken = str(error)
        return frames, bag.faults.counts, broken


def refusal(path, **options) -> str:
    with pytest.raises(BagError) as caught, BagReader(path, **options):
        pass
    assert str(path) in str(caught.value)
    return str(caught.value)


def data_file(bag: Path) -> Path:
    """Return the file with the messages."""
    return next(f for f in bag.iterdir() if f.name != "metadata.yaml") if bag.is_dir() else bag


def without(*topics):
    return lambda recorded: [r for r in recorded if r[0] not in topics]


# Whole bags --------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", ["raw", "compressedDepth"])
@pytest.mark.parametrize("colour", ["raw", "jpeg", "png"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_bag_and_transport_gives_the_same_frames(synthetic_bag, kind, colour, depth):
    frames, faults, broken = read(synthetic_bag(kind, colour=colour, depth=depth, count=COUNT))
    assert broken is None
    assert not faults
    assert len(frames) == COUNT
    for frame, shot in zip(frames, wall_shots(COUNT), strict=True):
        assert frame.stamp_ns == shot.stamp_ns
        assert frame.camera == CAMERA
        np.testing.assert_allclose(frame.T_base_camera, T_BASE_CAMERA, atol=1e-12)
        np.testing.assert_allclose(frame.T_odom_base, shot.T_odom_base, atol=1e-12)
        np.testing.assert_allclose(frame.depth, shot.millimetres / 1000)
        difference = np.abs(frame.rgb.astype(int) - shot.rgb)
        assert difference.mean() < (20 if colour == "jpeg" else 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_extrinsics_may_be_given_instead(synthetic_bag, kind):
    bag = synthetic_bag(kind, tf_static=False, count=3)
    frames, faults, _ = read(bag)
    assert not frames
    assert faults == {Fault.NO_EXTRINSICS: 3}
    frames, faults, _ = read(bag, config=IntakeConfig(T_base_camera=T_BASE_CAMERA))
    assert len(frames) == 3
    assert not faults


@pytest.mark.parametrize("kind", KINDS)
def test_a_bag_tells_what_is_in_it(synthetic_bag, kind):
    with BagReader(synthetic_bag(kind, depth="compressedDepth", count=COUNT)) as bag:
        assert bag.image_count == COUNT
        assert bag.has_depth
        assert bag.has_odometry
        assert bag.start_ns == START_NS
        assert bag.duration_s == pytest.approx((COUNT - 1) / 15, abs=1e-6)
        assert bag.topic("colour") == COLOUR
        assert bag.topic("depth") == DEPTH + "/compressedDepth"
        assert bag.types[ODOMETRY] == "nav_msgs/msg/Odometry"


@pytest.mark.parametrize("left_out", ["depth", "odometry"])
def test_a_bag_without_depth_or_odometry_works_and_waits_for_neither(synthetic_bag, left_out):
    frames, faults, _ = read(synthetic_bag(**{left_out: None}, count=COUNT))
    assert len(frames) == COUNT
    assert not faults
    assert all((f.depth is None) == (left_out == "depth") for f in frames)
    assert all((f.T_odom_base is None) == (left_out == "odometry") for f in frames)


@pytest.mark.parametrize(
    ("topic", "fault", "option"),
    [
        (DEPTH, Fault.DEPTH_MISSING, "--depth-topic"),
        (ODOMETRY, Fault.ODOMETRY_GAP, "--odom-topic"),
    ],
)
def test_what_a_bag_lacks_is_counted_with_what_it_has_instead(synthetic_bag, topic, fault, option):
    def moved(recorded):
        return [("/elsewhere" if t == topic else t, *rest) for t, *rest in recorded]

    with BagReader(synthetic_bag(change=moved, count=3)) as bag:
        bag.count_absent()
        assert bag.faults.counts == {fault: 1}
        assert "SLAM is" in bag.faults.latest[fault]
        assert f"it has /elsewhere: name the right one with {option}" in bag.faults.latest[fault]


@pytest.mark.parametrize("kind", KINDS)
def test_ground_truth_comes_with_its_stamps(synthetic_bag, kind):
    with BagReader(synthetic_bag(kind, count=COUNT)) as bag:
        truth = bag.ground_truth()
    shots = wall_shots(COUNT)
    assert truth.stamps_ns.tolist() == [s.stamp_ns for s in shots]
    np.testing.assert_allclose(truth.poses, [s.T_map_base for s in shots], atol=1e-12)


def test_a_bag_without_ground_truth_has_none(synthetic_bag):
    with BagReader(synthetic_bag(truth=False)) as bag:
        assert bag.ground_truth() is None


@pytest.mark.parametrize("kind", KINDS)
def test_messages_can_be_had_as_the_bytes_a_ros_2_node_would_publish(synthetic_bag, kind):
    with BagReader(synthetic_bag(kind, count=3)) as bag:
        played = list(bag.serialised([ODOMETRY]))
    store = Messages().store
    poses = [store.deserialize_cdr(data, "nav_msgs/msg/Odometry") for _, _, data in played]
    assert [(topic, stamp) for topic, stamp, _ in played] == [
        (ODOMETRY, s.stamp_ns) for s in wall_shots(3)
    ]
    expected = [s.T_odom_base[1, 3] for s in wall_shots(3)]
    assert [p.pose.pose.position.y for p in poses] == pytest.approx(expected)


def test_camera_info_may_come_after_the_first_images(synthetic_bag):
    """A robot's driver is up before the recorder; the camera is the same all along."""

    def late(recorded):
        return [r for r in recorded if r[0] != INFO or r[1] > START_NS + 300_000_000]

    frames, faults, _ = read(synthetic_bag(change=late, count=COUNT))
    assert len(frames) == COUNT
    assert not faults


def test_time_that_goes_back_is_counted_and_read_on(synthetic_bag):
    """As when a simulation starts anew while it is recorded."""

    def twice(recorded):
        later = 10**9
        return recorded + [(topic, stamp + later, message) for topic, stamp, message in recorded]

    frames, faults, _ = read(synthetic_bag(change=twice, count=COUNT))
    assert len(frames) == 2 * COUNT
    assert faults == {Fault.TIME_JUMP_BACK: 1}
    assert all(f.T_odom_base is not None and f.depth is not None for f in frames)


def elsewhere(recorded):
    """The same once more, but for the true way, which is another."""
    messages, again = Messages(), []
    for topic, stamp, message in recorded:
        if topic == TRUTH:
            T = np.eye(4)
            T[0, 3] = 50.0 + (stamp - START_NS) / 1e9
            message = messages.odometry(stamp + 10**6, T, parent="map")
        again.append((topic, stamp + 10**9, message))
    return recorded + again


def test_where_time_goes_back_the_true_poses_are_those_after(synthetic_bag):
    with BagReader(synthetic_bag(change=elsewhere, count=COUNT)) as bag:
        after, before = bag.ground_truth(), bag.ground_truth(jumps=0)
    assert (len(after), len(before)) == (COUNT, COUNT)
    assert after.poses[:, 0, 3].min() >= 50.0
    assert before.poses[:, 0, 3].max() < 1.0


@pytest.mark.parametrize("second", [-START_NS // 10**9, -5, 100])
def test_a_true_pose_of_a_time_of_its_own_is_left_out_and_no_jump(synthetic_bag, second):
    def stray(recorded):
        next(m for t, _, m in recorded[30:] if t == TRUTH).header.stamp.sec += second
        return recorded

    with BagReader(synthetic_bag(change=stray, count=COUNT)) as bag:
        assert len(bag.ground_truth()) == COUNT - 1


def test_images_whose_depth_is_still_to_come_at_the_end_are_read_without(synthetic_bag):
    def last(recorded):
        end = wall_shots(COUNT)[-2].stamp_ns
        return [r for r in recorded if r[0] != DEPTH or r[1] < end]

    frames, faults, _ = read(synthetic_bag(change=last, count=COUNT))
    assert [f.depth is None for f in frames] == [False] * (COUNT - 2) + [True] * 2
    assert faults == {Fault.DEPTH_MISSING: 2}


def test_one_unusable_image_is_counted_and_read_on(synthetic_bag):
    def spoil(recorded):
        broken = next(m for topic, _, m in recorded[20:] if topic == COLOUR)
        broken.encoding = "yuv422"
        return recorded

    frames, faults, broken = read(synthetic_bag(change=spoil, count=COUNT))
    assert len(frames) == COUNT - 1
    assert faults == {Fault.WRONG_ENCODING: 1}
    assert broken is None


def test_a_transport_without_messages_gives_way_to_one_with(tmp_path):
    """`ros2 bag record -a` notes every topic, also where nobody published."""
    messages, path = Messages(), tmp_path / "bag"
    with Rosbag2Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.add_connection(COLOUR, "sensor_msgs/msg/Image", typestore=messages.store)
        write_all(writer, messages, recording(messages, Recipe(count=3, colour="jpeg")))
    with BagReader(path) as bag:
        assert bag.topic("colour") == COLOUR + "/compressed"
        assert len(list(bag.frames())) == 3


def test_a_topic_without_messages_is_not_waited_for(tmp_path):
    messages, path = Messages(), tmp_path / "bag"
    listed = {ODOMETRY: "nav_msgs/msg/Odometry", DEPTH: "sensor_msgs/msg/Image"}
    with Rosbag2Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, kind in listed.items():
            writer.add_connection(topic, kind, typestore=messages.store)
        write_all(
            writer, messages, recording(messages, Recipe(count=3, depth=None, odometry=False))
        )
    with BagReader(path) as bag:
        assert not bag.has_odometry
        assert not bag.has_depth
        assert bag.has_messages(TRUTH)
        assert len(list(bag.frames())) == 3
        assert not bag.faults.counts


def test_every_publisher_of_a_ros_1_topic_is_heard(tmp_path):
    """A node that was started again is another connection of the same topic."""
    messages = Messages(ros1=True)
    path = tmp_path / "restarted.bag"
    with Rosbag1Writer(path) as writer:
        connections = {}
        for topic, stamp, message in recording(messages, Recipe(count=COUNT)):
            name = message.__msgtype__
            caller = "second" if stamp > START_NS + 400_000_000 else "first"
            if (topic, caller) not in connections:
                connections[topic, caller] = writer.add_connection(
                    topic, name, typestore=messages.store, callerid=caller
                )
            data = messages.store.serialize_ros1(message, name)
            writer.write(connections[topic, caller], stamp, data)
    frames, faults, _ = read(path)
    assert len(frames) == COUNT
    assert not faults


# Bags that cannot be read ------------------------------------------------------------------------


def test_a_missing_topic_is_named_with_those_there_are(synthetic_bag):
    bag = synthetic_bag(count=3)
    text = refusal(bag, topics=TopicNames(colour="/kinect/rgb"))
    assert "has no topic /kinect/rgb (colour)" in text
    assert f"it has {COLOUR}: name the right one with --colour-topic" in text


@pytest.mark.parametrize(("topic", "stream"), [(COLOUR, "colour"), (INFO, "camera_info")])
def test_a_bag_without_images_or_camera_info_is_refused(synthetic_bag, topic, stream):
    text = refusal(synthetic_bag(change=without(topic), count=3))
    assert f"has no topic {topic} ({stream})" in text


def test_a_bag_with_neither_says_so(synthetic_bag):
    text = refusal(synthetic_bag(change=without(COLOUR, INFO, DEPTH), count=3))
    assert text.endswith("it has none of its type"), "there is nothing to name"


@pytest.mark.parametrize(
    ("topics", "words"),
    [
        ({"odometry": "/wheels"}, f"no topic /wheels (odometry); it has {ODOMETRY}: name"),
        ({"depth": "/far"}, f"no topic /far (depth); it has {DEPTH}: name"),
    ],
)
def test_a_topic_that_somebody_names_must_be_there(synthetic_bag, topics, words):
    assert words in refusal(synthetic_bag(count=3), topics=TopicNames(**topics))


@pytest.mark.parametrize(
    ("topics", "words"),
    [
        ({"odometry": COLOUR}, f"{COLOUR} is of type sensor_msgs/msg/Image, not nav_msgs/msg/Odo"),
        (
            {"colour": ODOMETRY},
            f"{ODOMETRY} is of type nav_msgs/msg/Odometry, not sensor_msgs/msg/",
        ),
        ({"camera_info": DEPTH}, "not sensor_msgs/msg/CameraInfo: name the topic of camera_info"),
    ],
)
def test_a_topic_of_another_type_is_refused(synthetic_bag, topics, words):
    with (
        pytest.raises(BagError, match=words),
        BagReader(synthetic_bag(count=3), topics=TopicNames(**topics)),
    ):
        pass


def test_what_is_no_bag_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("not a bag")
    (tmp_path / "empty").mkdir()
    assert "does not exist" in refusal(tmp_path / "nowhere")
    for name in ("notes.txt", "empty"):
        text = refusal(tmp_path / name)
        assert "is no bag: give the folder that holds metadata.yaml" in text
        assert "reindex" not in text, "there is nothing to mend"


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\x89MCAP0\r\n", b"SQLite format 3\0", b"\0" * 5000]
)
@pytest.mark.parametrize("name", ["bag.mcap", "bag.db3", "bag.bag"])
def test_a_file_of_rubbish_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "cannot be opened as a bag" in refusal(tmp_path / name)


# Bags that break off -----------------------------------------------------------------------------

# Enough for several chunks of a megabyte.
LONG = {"colour": "raw", "count": 40}


def cut(bag: Path, folder: Path, share: float) -> Path:
    """Return a copy of which only this share of the messages' file is left."""
    copy = folder / bag.name
    shutil.copytree(bag, copy) if bag.is_dir() else shutil.copy(bag, copy)
    file = data_file(copy)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    return copy


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_frames_before_the_break_are_read_and_the_break_is_told(synthetic_bag, tmp_path, share):
    bag = cut(synthetic_bag("mcap", **LONG), tmp_path, share)
    frames, faults, broken = read(bag)
    assert len(frames) == pytest.approx(40 * share, abs=14)
    assert [f.stamp_ns for f in frames] == [s.stamp_ns for s in wall_shots(len(frames))]
    assert str(bag) in broken
    assert "damaged after what was read" in broken
    assert not set(faults) - {Fault.DEPTH_MISSING, Fault.ODOMETRY_GAP}


def test_ground_truth_before_the_break_is_read(synthetic_bag, tmp_path):
    with BagReader(cut(synthetic_bag("mcap", **LONG), tmp_path, 0.7)) as bag:
        truth = bag.ground_truth()
    assert 10 < len(truth) < 40


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_zeros_after_the_break_as_of_a_power_cut_change_nothing(synthetic_bag, tmp_path, share):
    bag = synthetic_bag("mcap", **LONG)
    whole = data_file(bag).stat().st_size
    broken_off = cut(bag, tmp_path, share)
    frames, _, _ = read(broken_off)
    file = data_file(broken_off)
    for zeros in (4096, whole):
        file.write_bytes(file.read_bytes() + bytes(zeros))
        again, _, broken = read(broken_off)
        assert [f.stamp_ns for f in again] == [f.stamp_ns for f in frames]
        assert "breaks off here" in broken


def test_a_part_that_is_missing_is_named_after_the_rest_was_read(synthetic_bag, tmp_path):
    bag = cut(synthetic_bag("mcap", count=COUNT), tmp_path, 1.0)
    metadata = bag / "metadata.yaml"
    name = data_file(bag).name
    listed = metadata.read_text().replace(f"- {name}\n", f"- {name}\n  - lost_1.mcap\n", 1)
    metadata.write_text(listed)
    assert "lost_1.mcap" in listed
    frames, _, broken = read(bag)
    assert len(frames) == COUNT
    assert "lacks lost_1.mcap, listed in its metadata.yaml" in broken


@pytest.mark.parametrize("kind", ["mcap", "sqlite3"])
def test_a_folder_without_its_metadata_is_read(synthetic_bag, tmp_path, kind):
    bag = cut(synthetic_bag(kind, count=COUNT), tmp_path, 1.0)
    (bag / "metadata.yaml").unlink()
    frames, _, broken = read(bag)
    assert len(frames) == COUNT
    assert broken is None


def test_a_folder_without_its_metadata_whose_last_file_breaks_off_is_read(synthetic_bag, tmp_path):
    """What a recorder that splits its files leaves behind when it is killed."""

    def from_half(recorded):
        middle = START_NS + 20 * 66_666_667
        return [r for r in recorded if r[1] >= middle]

    first = synthetic_bag("mcap", colour="raw", count=20)
    second = cut(synthetic_bag("mcap", change=from_half, **LONG), tmp_path, 0.7)
    shutil.copy(data_file(first), tmp_path / second.name / "a_first.mcap")
    (second / "metadata.yaml").unlink()
    frames, _, broken = read(second)
    assert 20 < len(frames) < 40
    assert [f.stamp_ns for f in frames] == [s.stamp_ns for s in wall_shots(len(frames))]
    assert "breaks off here" in broken


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.3, 0.6, 0.95, 0.999])
def test_wherever_a_bag_is_cut_the_error_is_a_bag_error(synthetic_bag, tmp_path, kind, share):
    bag = cut(synthetic_bag(kind, count=COUNT), tmp_path, share)
    try:
        frames, _, _ = read(bag)
    except BagError:
        frames = []
    assert len(frames) <= COUNT


@pytest.mark.parametrize(
    ("kind", "advice"), [("ros1", "rosbag reindex"), ("sqlite3", "sqlite3 FILE .recover")]
)
def test_a_cut_bag_whose_format_allows_no_more_is_refused_with_advice(
    synthetic_bag, tmp_path, kind, advice
):
    assert advice in refusal(cut(synthetic_bag(kind, **LONG), tmp_path, 0.7))


def test_a_spoilt_chunk_ends_the_recording_there(synthetic_bag, tmp_path):
    bag = cut(synthetic_bag("mcap", **LONG), tmp_path, 1.0)
    content = bytearray(data_file(bag).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 500] = b"\xff" * 500
    data_file(bag).write_bytes(content)
    frames, _, broken = read(bag)
    assert 0 < len(frames) < 40
    assert "damaged after what was read" in broken


def test_ground_truth_that_is_no_pose_is_left_out(synthetic_bag):
    def spoil(recorded):
        broken = next(m for topic, _, m in recorded[20:] if topic == TRUTH)
        broken.pose.pose.orientation.w = 0.0
        return recorded

    with BagReader(synthetic_bag(change=spoil, count=COUNT)) as bag:
        assert len(bag.ground_truth()) == COUNT - 1
