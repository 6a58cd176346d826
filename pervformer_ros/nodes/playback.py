# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes stamped, serialised messages at their own pace, with /clock.

They go out as the bytes they come as, so nothing is lost on the way.
"""

import argparse
import time
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from pervformer_ros.bags.writer import LATCHED_TOPICS
from pervformer_ros.frame import NANOSECONDS
from pervformer_ros.nodes.conversions import time_message
from pervformer_ros.nodes.lifecycle import LATCHED

CLOCK = "/clock"
RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
CLOCK_PERIOD_NS = 10_000_000


class Playback(Node):
    """A node that publishes a stream once, `rate` times as fast as its stamps say.

    Where the stream itself comes slower, so does /clock.

    Args:
        name: of the node.
        types: message type by topic, such as "sensor_msgs/msg/Image".
        rate: how many times as fast.
    """

    def __init__(self, name: str, types: Mapping[str, str], rate: float, **node_options: Any):
        super().__init__(name, **node_options)
        self._rate = rate
        self._clock_publisher = self.create_publisher(Clock, CLOCK, 10)
        self._topics = {}
        for topic, kind in types.items():
            try:
                package, _, message = kind.split("/")
                message_type = getattr(import_module(f"{package}.msg"), message)
            except (ImportError, AttributeError):
                self.get_logger().warning(f"{topic} is left out: {kind} is not installed")
                continue
            qos = LATCHED if topic in LATCHED_TOPICS else RELIABLE
            self._topics[topic] = self.create_publisher(message_type, topic, qos)

    def wait_for(self, topics: Iterable[str], timeout_s: float) -> None:
        """Wait until every one of these topics has a subscriber.

        Args:
            topics: names, or alternatives such as "a|b" of which one must have a subscriber; what
                is not published is not waited for.
            timeout_s: the longest wait.

        Raises:
            TimeoutError: if that does not come true.
        """
        deadline = time.monotonic() + timeout_s
        wanted = [[t for t in item.split("|") if t in self._topics] for item in topics]
        waiting = [item for item in wanted if item]
        while waiting := [item for item in waiting if not any(map(self._is_heard, item))]:
            if time.monotonic() > deadline:
                missing = ", ".join("|".join(item) for item in waiting)
                raise TimeoutError(
                    f"nobody subscribed to {missing} within {timeout_s:g} s: are the nodes active? "
                    "--timeout waits longer"
                )
            time.sleep(0.05)

    def _is_heard(self, topic: str) -> bool:
        """Tell whether every subscriber that is known of is connected, and there is one."""
        connected = self._topics[topic].get_subscription_count()
        return bool(connected > 0 and connected >= self.count_subscribers(topic))

    def play(self, messages: Iterable[tuple[str, int, bytes]]) -> None:
        """Publish (topic, time in ns, CDR bytes), in order of time."""
        started = time.monotonic()
        first_ns = clock_ns = None
        for topic, time_ns, data in messages:
            if first_ns is None or clock_ns is None:
                first_ns = clock_ns = time_ns
            while clock_ns <= time_ns:
                self._sleep_until(started, clock_ns - first_ns)
                self._clock_publisher.publish(Clock(clock=time_message(clock_ns)))
                clock_ns += CLOCK_PERIOD_NS
            self._sleep_until(started, time_ns - first_ns)
            if topic in self._topics:
                self._topics[topic].publish(data)

    def _sleep_until(self, started: float, offset_ns: int) -> None:
        due = started + offset_ns / NANOSECONDS / self._rate
        time.sleep(max(0.0, due - time.monotonic()))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every player takes on its command line."""
    parser.add_argument("--rate", type=_positive, default=1.0, help="how many times as fast")
    parser.add_argument(
        "--wait-for",
        nargs="*",
        default=[],
        metavar="TOPIC[|TOPIC]",
        help="start once these are subscribed to",
    )
    parser.add_argument("--timeout", type=float, default=60.0, help="longest wait for it [s]")


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no rate: give a number above 0")
    return value
