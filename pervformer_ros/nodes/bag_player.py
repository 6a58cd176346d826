# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Plays a bag's messages at their recorded pace, with /clock; for where `ros2 bag play` is not.

Messages are published as the bytes they were recorded as, so nothing is lost on the way.
"""

import argparse
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from rosgraph_msgs.msg import Clock

from pervformer_ros.bags.reader import TF_STATIC, BagError, BagReader
from pervformer_ros.frame import NANOSECONDS

RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
CLOCK_PERIOD_NS = 10_000_000


class BagPlayer(Node):
    """Publishes one bag once, `rate` times as fast as it was recorded."""

    def __init__(self, bag: BagReader, rate: float, **node_options: Any):
        super().__init__("bag_player", **node_options)
        self._bag = bag
        self._rate = rate
        self._clock_publisher = self.create_publisher(Clock, "/clock", 10)
        self._topics = {}
        for topic, kind in bag.types.items():
            try:
                package, _, name = kind.split("/")
                message_type = getattr(import_module(f"{package}.msg"), name)
            except (ImportError, AttributeError):
                self.get_logger().warning(f"{topic} is left out: {kind} is not installed")
                continue
            qos = LATCHED if topic == TF_STATIC else RELIABLE
            self._topics[topic] = self.create_publisher(message_type, topic, qos)

    def wait_for(self, topics: list[str], timeout_s: float) -> bool:
        """Wait until every one of these topics has a subscriber; return whether that came true."""
        deadline = time.monotonic() + timeout_s
        waiting = [self._topics[t] for t in topics if t in self._topics]
        while any(p.get_subscription_count() == 0 for p in waiting):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def play(self) -> None:
        """Publish everything, /tf_static first as its publisher would have."""
        for _, _, data in self._bag.serialised([TF_STATIC] if TF_STATIC in self._topics else []):
            self._topics[TF_STATIC].publish(data)
        started = time.monotonic()
        first_ns = clock_ns = self._bag.start_ns
        for topic, time_ns, data in self._bag.serialised(set(self._topics) - {TF_STATIC}):
            while clock_ns <= time_ns:
                self._sleep_until(started, clock_ns - first_ns)
                seconds, nanoseconds = divmod(clock_ns, NANOSECONDS)
                self._clock_publisher.publish(Clock(clock=Time(sec=seconds, nanosec=nanoseconds)))
                clock_ns += CLOCK_PERIOD_NS
            self._sleep_until(started, time_ns - first_ns)
            self._topics[topic].publish(data)

    def _sleep_until(self, started: float, offset_ns: int) -> None:
        due = started + offset_ns / NANOSECONDS / self._rate
        time.sleep(max(0.0, due - time.monotonic()))


def main(args: list[str] | None = None) -> None:
    """Play a bag, then leave."""
    rclpy.init(args=args)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bag", type=Path, help="rosbag2 folder or ROS 1 bag")
    parser.add_argument("--rate", type=float, default=1.0, help="how many times as fast")
    parser.add_argument(
        "--wait-for", nargs="*", default=[], metavar="TOPIC", help="start once it is subscribed to"
    )
    parser.add_argument("--timeout", type=float, default=60.0, help="longest wait for it [s]")
    given = parser.parse_args(remove_ros_args(args)[1:])
    try:
        with BagReader(given.bag) as bag:
            player = BagPlayer(bag, given.rate)
            if not player.wait_for(given.wait_for, given.timeout):
                raise SystemExit(f"nobody subscribed to {', '.join(given.wait_for)}")
            player.play()
            player.destroy_node()
    except BagError as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
