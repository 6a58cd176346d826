# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""nav_msgs/Path to corridors, and blocked corridors to closed edges."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry, Path

from pervformer_ros.assembly import AssemblyConfig
from pervformer_ros.bags.intake import Intake, IntakeConfig
from pervformer_ros.geometry import make_transform
from pervformer_ros.memory import read_edges
from pervformer_ros.nodes import conversions
from pervformer_ros.nodes.corridors import UnknownFrameError, corridor_of
from pervformer_ros.nodes.edges import EdgeRelay

FRAMES = ("map", "odom")
STAMP_NS = 1_000_000_000
LEFT = (0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5))  # a quarter turn to the left
T_MAP_ODOM = make_transform((1.0, 0, 0), LEFT)


@pytest.fixture
def intake() -> Intake:
    """Return an intake that knows the robot at 2 m along odom's y, turned to the left."""
    intake = Intake(IntakeConfig(assembly=AssemblyConfig(expect_odometry=True)))
    message = Odometry(header=conversions.header(STAMP_NS, "odom"), child_frame_id="base_link")
    message.pose.pose = conversions.pose_message(make_transform((0, 2.0, 0), LEFT))
    intake.on_odometry(message)
    return intake


def path(frame: str, *places: tuple[float, float]) -> Path:
    header = conversions.header(STAMP_NS, frame)
    poses = [
        PoseStamped(pose=conversions.pose_message(make_transform((x, y, 0), (0, 0, 0, 1))))
        for x, y in places
    ]
    return Path(header=header, poses=poses)


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        ("map", [[3, 0], [4, 0]]),
        ("odom", [[1, 3], [1, 4]]),
        ("base_link", [[-4, 0], [-5, 0]]),
    ],
)
def test_a_path_is_laid_where_its_frame_says(intake, frame, line):
    corridor = corridor_of("plan", path(frame, (3, 0), (4, 0)), 0.6, FRAMES, T_MAP_ODOM, intake)
    assert (corridor.name, corridor.half_width) == ("plan", 0.6)
    np.testing.assert_allclose(corridor.centre_line, line, atol=1e-9)


def test_poses_at_one_place_make_one_point(intake):
    twice = path("map", (0, 0), (2, 0), (2, 0))
    corridor = corridor_of("plan", twice, 0.6, FRAMES, T_MAP_ODOM, intake)
    np.testing.assert_array_equal(corridor.centre_line, [[0, 0], [2, 0]])


def test_a_path_without_poses_is_no_corridor(intake):
    assert corridor_of("plan", path("map"), 0.6, FRAMES, T_MAP_ODOM, intake) is None


def test_a_path_that_cannot_be_laid_is_refused(intake):
    with pytest.raises(UnknownFrameError, match="its frame is 'elsewhere'"):
        corridor_of("plan", path("elsewhere", (0, 0), (1, 0)), 0.6, FRAMES, T_MAP_ODOM, intake)
    late = path("base_link", (0, 0), (1, 0))
    late.header.stamp.sec = 99
    with pytest.raises(UnknownFrameError, match="no odometry at its stamp"):
        corridor_of("plan", late, 0.6, FRAMES, T_MAP_ODOM, intake)
    with pytest.raises(ValueError, match="two points"):
        corridor_of("plan", path("map", (1, 1), (1, 1)), 0.6, FRAMES, T_MAP_ODOM, intake)


class Server:
    """A route server that answers when it is told to."""

    def __init__(self) -> None:
        self.ready = True
        self.asked: list[tuple[list[int], list[int]]] = []

    def adjust(
        self, closed: Sequence[int], opened: Sequence[int], answered: Callable[[bool], None]
    ) -> None:
        self.asked.append((list(closed), list(opened)))
        self.answer = answered

    def give_up(self) -> None:
        """Nobody waits any longer; an answer that comes nonetheless is for the relay to ignore."""


def test_edges_close_with_the_first_corridor_that_names_them_and_open_with_the_last():
    server = Server()
    relay = EdgeRelay({"a": (1, 2), "b": (2, 3)}, server)
    for blocked, told in (
        (["a"], ([1, 2], [3])),  # which a node before this one may have left closed
        (["a", "b"], ([3], [])),
        (["b", "other"], ([], [1])),
        ([], ([], [2, 3])),
    ):
        relay.update(blocked, 0.0)
        assert server.asked[-1] == told
        server.answer(True)
        relay.update(blocked, 0.0)
    assert len(server.asked) == 4, "what is done is not asked for again"


def test_what_was_refused_or_could_not_be_asked_is_asked_again():
    server = Server()
    relay = EdgeRelay({"a": (1,), "b": (2,)}, server)
    server.ready = False  # no route server runs yet
    relay.update(["a"], 0.0)
    assert server.asked == []
    server.ready = True
    relay.update(["a"], 0.0)
    relay.update(["a", "b"], 1.0)
    assert server.asked == [([1], [2])], "one call at a time"
    server.answer(False)
    relay.update(["a", "b"], 2.0)
    assert server.asked[-1] == ([1, 2], [])
    server.answer(True)
    relay.update([], 3.0)
    assert server.asked[-1] == ([], [1, 2])


def test_what_was_never_answered_is_told_again_and_all_of_it():
    server = Server()
    relay = EdgeRelay({"a": (1,), "b": (2,)}, server)
    relay.update(["a"], 0.0)
    server.answer(True)
    relay.update(["a", "b"], 1.0)  # a call that hangs, and may have been done or not
    late = server.answer
    relay.update([], 2.0)
    assert server.asked == [([1], [2]), ([2], [])]
    relay.update([], 7.0)
    assert server.asked[-1] == ([], [1, 2])
    late(True)  # says nothing of the call that is waited for now
    server.answer(True)
    relay.update([], 8.0)
    assert len(server.asked) == 3


def test_a_route_server_that_was_started_anew_is_told_all():
    server = Server()
    relay = EdgeRelay({"a": (1,), "b": (2,)}, server)
    relay.update(["a"], 0.0)
    server.answer(True)
    server.ready = False
    relay.update(["a"], 1.0)
    server.ready = True
    relay.update(["a"], 2.0)
    assert server.asked == [([1], [2])] * 2


def test_edges_are_read_from_the_file_of_corridors(tmp_path):
    file = tmp_path / "paths.yaml"
    line = "centre_line: [[0, 0], [1, 0]]"
    file.write_text(f"paths: [{{name: a, edges: [3, 4], {line}}}, {{name: b, {line}}}]")
    assert read_edges(file) == {"a": (3, 4)}
    file.write_text(f"paths: [{{name: a, edges: [70000], {line}}}]")
    with pytest.raises(ValueError, match="give ids from 0 to 65535"):
        read_edges(file)
