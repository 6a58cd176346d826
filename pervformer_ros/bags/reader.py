# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A recording as frames: rosbag2 (MCAP or SQLite) and ROS 1 bags, through rosbags."""

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.convert.converter import migrate_bytes
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from pervformer_ros.bags.intake import Intake, IntakeConfig, MessageBundle, pose_of
from pervformer_ros.bags.salvage import missing_parts, salvage
from pervformer_ros.bags.timeline import Placed, Timeline
from pervformer_ros.frame import Fault, FaultLog, Frame, InputError
from pervformer_ros.geometry import Array, Trajectory

TF_STATIC = "/tf_static"


class BagError(RuntimeError):
    """A recording that cannot be read; the text says what to do."""


@dataclass(frozen=True, slots=True)
class TopicNames:
    """Where a recording keeps its streams. Compressed variants are found by their suffix."""

    colour: str = "/camera/color/image_raw"
    camera_info: str = "/camera/color/camera_info"
    depth: str = "/camera/depth/image_raw"
    odometry: str = "/odom"
    truth_odometry: str = "/ground_truth/odom"


SUFFIXES = {"colour": ("", "/compressed"), "depth": ("", "/compressedDepth", "/compressed")}
IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
TYPES = {
    "colour": IMAGES,
    "depth": IMAGES,
    "camera_info": ("sensor_msgs/msg/CameraInfo",),
    "odometry": ("nav_msgs/msg/Odometry",),
    "truth_odometry": ("nav_msgs/msg/Odometry",),
}
OPTIONS = {
    "colour": "--colour-topic",
    "camera_info": "--info-topic",
    "depth": "--depth-topic",
    "odometry": "--odom-topic",
}
# What a recording need not have, and what becomes of it then.
OPTIONAL = {
    "depth": (Fault.DEPTH_MISSING, "without depth SLAM is odometry alone"),
    "odometry": (Fault.ODOMETRY_GAP, "without odometry SLAM is by sight alone"),
}
TRUTH = "/ground_truth/"


@dataclass
class BagReader:
    """Reads a bag as a robot would live it. Use as a context manager.

    required: streams without which a bag is of no use.

    Example:
        with BagReader(Path("recording")) as bag:
            for frame in bag.frames():
                ...

    Raises:
        BagError: on opening, if the bag is missing, damaged or lacks what is required or a topic
            that is not the usual one, or if a topic is of another type than its stream.
    """

    path: Path
    topics: TopicNames = field(default_factory=TopicNames)
    config: IntakeConfig = field(default_factory=IntakeConfig)
    faults: FaultLog = field(default_factory=FaultLog)
    required: tuple[str, ...] = ("colour", "camera_info")

    def __enter__(self) -> "BagReader":
        self._reader, self._lacks = _open(self.path)
        try:
            self._streams = {f.name: self._find(f.name) for f in fields(self.topics)}
            for stream in self.required:
                if not self._streams[stream]:
                    raise BagError(self._missing(stream))
            for stream in self._named():
                if not self._has(stream):
                    raise BagError(self._missing(stream))
        except BagError:
            self._reader.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.close()

    @property
    def duration_s(self) -> float:
        """Length of the recording in seconds."""
        return self._reader.duration / 1e9

    @property
    def start_ns(self) -> int:
        """When the first message was recorded, in nanoseconds."""
        return int(self._reader.start_time)

    @property
    def image_count(self) -> int:
        """How many colour images the bag says it holds."""
        return sum(c.msgcount for c in self._streams["colour"])

    def topic(self, stream: str) -> str | None:
        """Return the topic found for a stream of TopicNames, its transport's suffix included."""
        connections = self._streams[stream]
        return str(connections[0].topic) if connections else None

    @property
    def has_depth(self) -> bool:
        """Whether the bag has a depth stream that is not silent."""
        return self._has("depth")

    @property
    def has_odometry(self) -> bool:
        """Whether the bag has an odometry stream that is not silent."""
        return self._has("odometry")

    def count_absent(self) -> None:
        """Count depth and odometry as missing, once each, where the bag has none."""
        for stream, (fault, then) in OPTIONAL.items():
            if not self._has(stream):
                self.faults.add(fault, f"{then}: {self._missing(stream)}")

    @property
    def types(self) -> dict[str, str]:
        """The message type of every topic, such as "sensor_msgs/msg/Image"."""
        return {c.topic: c.msgtype for c in self._reader.connections}

    def has_messages(self, topic: str) -> bool:
        """Return whether a topic is there, and not only listed, as by `ros2 bag record -a`."""
        return any(c.msgcount for c in self._reader.connections if c.topic == topic)

    def serialised(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """Yield (topic, time of recording in ns, CDR bytes) of these topics, in recorded order.

        Raises:
            BagError: where the recording breaks off.
        """
        connections = [c for c in self._reader.connections if c.topic in topics]
        ros1, ros2 = self._reader.typestore, self._ros2_types()
        cache: dict[str, object] = {}
        for connection, time_ns, data in self._raw(connections):
            if not self._reader.is2:
                kind = connection.msgtype
                data = migrate_bytes(
                    ros1, ros2, kind, kind, cache, data, src_is2=False, dst_is2=True
                )
            yield connection.topic, time_ns, bytes(data)

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, Any]]:
        """Yield (topic, time of recording in ns, message) of these topics, in recorded order.

        Raises:
            BagError: where the recording breaks off.
        """
        yield from self._read([c for c in self._reader.connections if c.topic in topics])

    def bundles(self, intake: Intake) -> Iterator[MessageBundle]:
        """Feed the recorded messages to `intake` and yield the bundles that become ready.

        Raises:
            BagError: where the recording breaks off, after all bundles before that place.
        """
        self._prime(intake)
        handlers = {
            "colour": intake.on_colour,
            "depth": intake.on_depth,
            "odometry": intake.on_odometry,
            "camera_info": intake.on_camera_info,
        }
        connections = [c for stream in handlers for c in self._streams[stream]]
        by_topic = {c.topic: handlers[s] for s in handlers for c in self._streams[s]}
        broken = None
        try:
            for topic, _, message in self._read(connections):
                yield from by_topic[topic](message) or ()
        except BagError as error:
            broken = error
        yield from intake.flush()
        if broken:
            raise broken

    def intake(self) -> Intake:
        """Return an intake that expects just the streams this bag has."""
        assembly = replace(
            self.config.assembly,
            expect_depth=self.has_depth,
            expect_odometry=self.has_odometry,
        )
        return Intake(replace(self.config, assembly=assembly), self.faults)

    def frames(self) -> Iterator[Frame]:
        """Yield every usable frame; what is not usable is counted in `faults`.

        Raises:
            BagError: where the recording breaks off.
        """
        intake = self.intake()
        for bundle in self.bundles(intake):
            try:
                yield intake.build(bundle)
            except InputError as error:
                self.faults.add(error.fault, str(error))

    def no_usable_image(self, truncated: str | None = None) -> "BagError":
        """Return the error that says why not one image could be used."""
        reasons = [f"{fault.value}: {text}" for fault, text in self.faults.latest.items()]
        if truncated:
            reasons.append(truncated)
        return BagError(f"{self.path} has no usable image. {'; '.join(reasons)}")

    def ground_truth(self, jumps: int | None = None) -> Trajectory | None:
        """Return the true poses of base_link in map, or None if the bag has none.

        Of a recording that breaks off, those before that place. Where time goes back, those after.

        Args:
            jumps: stop before time goes back once more than so often.
        """
        poses: dict[int, Array] = {}
        # What is wrong with the truth is told by those who read it in step with the images.
        timeline, epoch = Timeline(self.topics.truth_odometry, FaultLog()), 0
        for placed in self._placed(timeline):
            if jumps is not None and placed.epoch > jumps:
                break
            if placed.epoch != epoch:
                epoch = placed.epoch
                poses.clear()
            with suppress(ValueError):  # what is no pose is no truth
                poses.setdefault(placed.stamp_ns, pose_of(placed.message.pose.pose))
        return Trajectory.of((s, poses[s]) for s in sorted(poses)) if poses else None

    def _placed(self, timeline: Timeline) -> Iterator[Placed]:
        """Yield the true poses that are not of a time of their own."""
        with suppress(BagError):
            for _, _, message in self._read(self._streams["truth_odometry"]):
                yield from timeline.add(message)
        yield from timeline.close()

    def _prime(self, intake: Intake) -> None:
        """Give the intake what a latched publisher would: static transforms and the camera.

        Where the recording breaks off is told by those who read on.
        """
        static = [c for c in self._reader.connections if c.topic == TF_STATIC]
        with suppress(BagError):
            for _, _, message in self._read(static):
                intake.on_tf_static(message)
        with suppress(BagError):
            for _, _, message in self._read(self._streams["camera_info"]):
                intake.on_camera_info(message)
                break

    def _read(self, connections: list[Connection]) -> Iterator[tuple[str, int, Any]]:
        for connection, time_ns, data in self._raw(connections):
            try:
                message = self._reader.deserialize(data, connection.msgtype)
            except Exception as error:  # rosbags raises many kinds on damaged bytes
                raise self._damaged(error) from error
            yield connection.topic, time_ns, message

    def _ros2_types(self) -> Typestore:
        """Return the types of ROS 2, and those of this bag that ROS 2 does not know."""
        types = get_typestore(Stores.ROS2_JAZZY)
        of_bag = self._reader.typestore.fielddefs
        types.register({n: d for n, d in of_bag.items() if n not in types.fielddefs})
        return types

    def _raw(self, connections: list[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        if not connections:
            return
        try:
            yield from self._reader.messages(connections)
        except Exception as error:  # rosbags and the codecs under it raise many kinds
            raise self._damaged(error) from error
        if self._lacks:
            raise BagError(
                f"{self.path} lacks {', '.join(self._lacks)}, listed in its metadata.yaml: copy it "
                "there, or run `ros2 bag reindex` to do without"
            )

    def _damaged(self, error: Exception) -> BagError:
        return BagError(f"{self.path} is damaged after what was read: {str(error) or repr(error)}")

    def _find(self, stream: str) -> list[Connection]:
        """Return the connections of a stream's topic: one for each publisher there was."""
        name = getattr(self.topics, stream)
        found = [
            [c for c in self._reader.connections if c.topic == name + suffix]
            for suffix in SUFFIXES.get(stream, ("",))
        ]
        # A transport that nobody used may be there all the same, without messages.
        chosen = max(found, key=lambda some: (any(c.msgcount for c in some), bool(some)))
        for connection in chosen:
            if connection.msgtype not in TYPES[stream]:
                raise BagError(
                    f"{connection.topic} is of type {connection.msgtype}, not {TYPES[stream][-1]}: "
                    f"name the topic of {stream} with an option"
                )
        return chosen

    def _has(self, stream: str) -> bool:
        return any(c.msgcount for c in self._streams[stream])

    def _named(self) -> list[str]:
        """Return the streams whose topic is not the usual one: somebody has named it."""
        usual = TopicNames()
        names = (f.name for f in fields(usual))
        return [name for name in names if getattr(self.topics, name) != getattr(usual, name)]

    def _missing(self, stream: str) -> str:
        lack = "messages on" if self._streams[stream] else "topic"
        topic, of_use = getattr(self.topics, stream), self._of_use(stream)
        hint = f"{', '.join(of_use)}: name the right one with {OPTIONS.get(stream, 'an option')}"
        return (
            f"{self.path} has no {lack} {topic} ({stream}); it has "
            f"{hint if of_use else 'none of its type'}"
        )

    def _of_use(self, stream: str) -> list[str]:
        """Return the topics that may be a stream: of its type, and not known as another."""
        others = {"colour": "depth", "depth": "colour"}
        other = getattr(self.topics, others[stream]) if stream in others else None
        known = {f"{other}{suffix}" for some in SUFFIXES.values() for suffix in some}
        of_type = {c.topic for c in self._reader.connections if c.msgtype in TYPES[stream]}
        return sorted(
            topic
            for topic in of_type - known
            if not topic.startswith(TRUTH) and not (stream == "colour" and "depth" in topic.lower())
        )


def _open(path: Path) -> tuple[AnyReader, list[str]]:
    """Return a reader, and which files it has to do without."""
    if not path.exists():
        raise BagError(f"{path} does not exist")
    default_types = get_typestore(Stores.ROS2_JAZZY)
    try:
        reader = AnyReader([path], default_typestore=default_types)
        reader.open()
    except Exception as error:  # rosbags and the codecs under it raise many kinds
        salvaged = salvage(path, default_types)
        if salvaged is None and not _may_be_bag(path):
            raise BagError(
                f"{path} is no bag: give the folder that holds metadata.yaml, an .mcap, .db3 or "
                ".bag"
            ) from error
        if salvaged is None:
            raise BagError(
                f"{path} cannot be opened as a bag ({error}): if its recorder was killed, try "
                "`ros2 bag reindex`, `sqlite3 FILE .recover` or, for ROS 1, `rosbag reindex`"
            ) from error
        return salvaged, missing_parts(path)
    return reader, []


def _may_be_bag(path: Path) -> bool:
    """Tell by the names of files whether a path is a recording, be it a broken one."""
    if not path.is_dir():
        return path.suffix in (".mcap", ".db3", ".bag")
    parts = {suffix for file in path.iterdir() for suffix in file.suffixes}
    return (path / "metadata.yaml").exists() or bool(parts & {".mcap", ".db3"})
