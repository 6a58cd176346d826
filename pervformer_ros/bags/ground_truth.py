# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is true of a recording, image by image, read in step with the images.

Simulated bags tell which object every pixel shows and what is true of each object. Recordings of
the real world may tell which pixels move, or only where the robot was.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from pervformer_ros.bags.intake import pose_of, stamp_of
from pervformer_ros.bags.reader import BagError, BagReader, TopicNames
from pervformer_ros.bags.timeline import JUMP_AHEAD_NS, JUMP_BACK_NS, Placed, Timeline
from pervformer_ros.frame import Fault, FaultLog
from pervformer_ros.geometry import Array

INSTANCES = "/ground_truth/instance"
OBJECTS = "/ground_truth/objects"
EVENTS = "/ground_truth/events"
MOTION_MASK = "/ground_truth/motion_mask"
# What is true of an image has been recorded when messages this much younger have.
SLACK_NS = JUMP_BACK_NS
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class TrueThing:
    """One object at one image.

    state: a number of pervformer_msgs/TrackedObject.
    T_map_object: pose of the middle of its box; size: (3,) extents along its own axes, metres.
    velocity: (3,) m/s in map.
    pixels: how many show it.
    box: (4,) left, top, right, bottom of those, NaN where none does.
    """

    id: int
    label: str
    state: int
    moving: bool
    T_map_object: Array
    size: Array
    velocity: Array
    pixels: int
    box: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class TrueChange:
    """One event. type: a number of pervformer_msgs/SemanticEvent; poses in map."""

    stamp_ns: int
    type: int
    object_id: int
    label: str
    T_from: Array
    T_to: Array
    agent_id: int
    agent_label: str
    path_name: str


@dataclass(frozen=True, slots=True, eq=False)
class TrueMoment:
    """What is true of one image; None = the bag does not tell.

    T_map_base: pose of the robot.
    instances: (H, W) uint16, the id of the object in every pixel, 0 = the static world.
    moving: (H, W) bool, what is seen there moves in the world.
    things: every object seen so far.
    changes: events told with this image, or with one before it that was not asked for.
    """

    stamp_ns: int
    T_map_base: Array | None
    instances: NDArray[np.uint16] | None
    moving: NDArray[np.bool_] | None
    things: list[TrueThing] | None
    changes: list[TrueChange]


@dataclass(slots=True, eq=False)
class _Told:
    """The messages about one image, as they were recorded."""

    by_topic: dict[str, Any] = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)


class GroundTruth:
    """Reads the truth of a bag alongside its images. Use as a context manager.

    However long the bag, only what was recorded around the last image asked for is held. What is
    no pose or no image of its encoding, or has a stamp far from those around it, counts as not
    told, and is noted in `faults`.

    Raises:
        BagError: on opening, if the bag cannot be read.
    """

    def __init__(
        self, path: Path, topics: TopicNames | None = None, faults: FaultLog | None = None
    ):
        self.faults = faults or FaultLog()
        self._bag = BagReader(path, topics or TopicNames())
        self._poses = self._bag.topics.truth_odometry

    def __enter__(self) -> "GroundTruth":
        self._bag.__enter__()
        self._messages = self._read()
        self._timelines: dict[str, Timeline] = {}
        # By how often time went back before, and by stamp.
        self._waiting: dict[tuple[int, int], _Told] = {}
        self._late: list[Any] = []  # events older than what was read: of before or after a jump
        self._read_to = self._asked_for = (0, 0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bag.__exit__(kind, error, trace)

    @property
    def has_objects(self) -> bool:
        """Whether the bag says what every pixel shows."""
        return all(map(self._bag.has_messages, (INSTANCES, OBJECTS)))

    @property
    def has_motion(self) -> bool:
        """Whether the bag says which pixels move."""
        return self.has_objects or self._bag.has_messages(MOTION_MASK)

    @property
    def has_poses(self) -> bool:
        """Whether the bag says where the robot was."""
        return self._bag.has_messages(self._poses)

    def at(self, stamp_ns: int) -> TrueMoment | None:
        """Return what is true of the image with this stamp, or None if nothing was recorded.

        Args:
            stamp_ns: not before that of the call before, unless time went back in the recording.
        """
        epoch, last_ns = self._asked_for
        if stamp_ns < last_ns:  # the truth may go back somewhat later, or not at all
            self._read_on(epoch, self._read_to[1] + JUMP_AHEAD_NS)
            epoch = min(epoch + 1, self._read_to[0])
        asked = self._asked_for = epoch, stamp_ns
        self._read_on(epoch, stamp_ns + SLACK_NS)
        if self._read_to < (epoch, stamp_ns - JUMP_AHEAD_NS):
            return None  # it is a stray, or the truth gets there later
        missed: list[Any] = []
        for past in sorted(key for key in self._waiting if key < asked):
            events = self._waiting.pop(past).events
            missed += events if past[0] == asked[0] else []
        told = self._waiting.pop(asked, _Told() if missed else None)
        return None if told is None else self._moment(stamp_ns, told, missed + told.events)

    def _read_on(self, epoch: int, stamp_ns: int) -> None:
        """Read until the truth is past a stamp, or has gone back in time, or for a while."""
        if newest_ns := self._read_to[1]:
            stamp_ns = min(stamp_ns, newest_ns + JUMP_AHEAD_NS)
        while self._read_to <= (epoch, stamp_ns):
            if (message := next(self._messages, None)) is None:
                self._finish()
                break
            self._file(*message)

    def _read(self) -> Iterator[tuple[str, Any]]:
        topics = (INSTANCES, OBJECTS, EVENTS, MOTION_MASK, self._poses)
        with suppress(BagError):  # those who read the images tell where it breaks off
            for topic, _, message in self._bag.messages(topics):
                yield topic, message

    def _file(self, topic: str, message: Any) -> None:
        """Put a message to its image, once it is known how often time went back before it."""
        epoch, newest_ns = self._read_to
        if topic != EVENTS:
            timeline = self._timelines.setdefault(topic, Timeline(topic, self.faults, epoch))
            self._place(topic, timeline.add(message))
        elif stamp_of(message.header) <= newest_ns - SLACK_NS:
            self._late.append(message)
        else:
            self._file_event(epoch, message)

    def _place(self, topic: str, known: list[Placed]) -> None:
        """Put messages to their images, and old events to the time that goes on."""
        for epoch, stamp_ns, message in known:
            self._read_to = max(self._read_to, (epoch, stamp_ns))
            self._waiting.setdefault((epoch, stamp_ns), _Told()).by_topic[topic] = message
        while known and self._late:
            self._file_event(self._read_to[0], self._late.pop(0))

    def _file_event(self, epoch: int, event: Any) -> None:
        key = epoch, stamp_of(event.header)
        self._waiting.setdefault(key, _Told()).events.append(event)

    def _finish(self) -> None:
        """Put what still waits to its image: there is no more."""
        for topic, timeline in self._timelines.items():
            self._place(topic, timeline.close())

    def _moment(self, stamp_ns: int, told: _Told, events: list[Any]) -> TrueMoment:
        pose, image, mask, objects = (
            told.by_topic.get(topic) for topic in (self._poses, INSTANCES, MOTION_MASK, OBJECTS)
        )
        instances = self._known(_pixels, image, "16UC1", np.uint16)
        moving = self._known(_pixels, mask, "mono8", np.uint8)
        moving = None if moving is None else moving > 127
        things = None
        if instances is not None:
            things = self._known(_things, objects, instances)
            if things is not None and moving is None:
                moving = np.isin(instances, [t.id for t in things if t.moving])
        changes = (self._known(_change, event) for event in events)
        return TrueMoment(
            stamp_ns=stamp_ns,
            T_map_base=self._known(_robot, pose),
            instances=instances,
            moving=moving,
            things=things,
            changes=[change for change in changes if change is not None],
        )

    def _known(self, read: Callable[..., T], message: Any, *how: Any) -> T | None:
        """Return what a message tells, None where there is none or it is no truth."""
        if message is None:
            return None
        try:
            return read(message, *how)
        except ValueError as error:
            self.faults.add(Fault.INVALID_TRUTH, str(error))
            return None


def boxes_of(instances: NDArray[np.uint16]) -> dict[int, tuple[int, NDArray[np.float32]]]:
    """Return how many pixels show each object and the box (4,) around them, by id.

    Args:
        instances: (H, W), 0 = no object.
    """
    pixels = np.bincount(instances.ravel())
    found = {}
    for index, area in enumerate(find_objects(instances.astype(np.int32)), 1):
        if area is not None:
            rows, columns = area
            corners = (columns.start, rows.start, columns.stop, rows.stop)
            found[index] = int(pixels[index]), np.array(corners, np.float32)
    return found


def _things(message: Any, instances: NDArray[np.uint16]) -> list[TrueThing]:
    shown = boxes_of(instances)
    nowhere = 0, np.full(4, np.nan, np.float32)
    things = []
    for thing in message.objects:
        pixels, box = shown.get(int(thing.id), nowhere)
        things.append(
            TrueThing(
                id=int(thing.id),
                label=str(thing.label),
                state=int(thing.state),
                moving=bool(thing.moving),
                T_map_object=pose_of(thing.pose.pose),
                size=_vector(thing.size),
                velocity=_vector(thing.velocity),
                pixels=pixels,
                box=box,
            )
        )
    return things


def _robot(message: Any) -> Array:
    return pose_of(message.pose.pose)


def _change(event: Any) -> TrueChange:
    return TrueChange(
        stamp_ns=stamp_of(event.header),
        type=int(event.type),
        object_id=int(event.object_id),
        label=str(event.object_label),
        T_from=pose_of(event.from_pose),
        T_to=pose_of(event.to_pose),
        agent_id=int(event.agent_id),
        agent_label=str(event.agent_label),
        path_name=str(event.path_name),
    )


def _vector(message: Any) -> Array:
    return np.array([message.x, message.y, message.z], float)


def _pixels(message: Any, encoding: str, kind: type[np.generic]) -> NDArray[Any]:
    """Return an Image's pixels (H, W).

    Raises:
        ValueError: if they are of another encoding than the topic's, or not all there.
    """
    if message.encoding != encoding:
        raise ValueError(f"a ground truth image is {message.encoding}: record it as {encoding}")
    item = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    rows = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.step)
    used = np.ascontiguousarray(rows[:, : message.width * item.itemsize])
    return used.view(item).astype(kind)
