# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Plays a bag at its recorded pace, with /clock; for where `ros2 bag play` is not.

What these nodes and ROS's own tools once published is left out, so that it does not mix with what
they publish now: /pervformer/*, /slam/*, map -> odom, /diagnostics, /rosout, /parameter_events.
"""

import argparse
import itertools
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import rclpy
from rclpy.serialization import deserialize_message, serialize_message
from rclpy.utilities import remove_ros_args
from tf2_msgs.msg import TFMessage

from pervformer_ros.bags.reader import TF_STATIC, BagError, BagReader
from pervformer_ros.nodes.playback import CLOCK, Playback, add_arguments

TF = "/tf"
# The exit code where a recording was played as far as it goes.
BROKEN_OFF = 3
# What these nodes publish, and what the tools of ROS do.
OURS = ("/pervformer/", "/slam/")
TOOLS = (CLOCK, "/diagnostics", "/rosout", "/parameter_events")


def main(args: list[str] | None = None) -> None:
    """Play a bag, then leave."""
    rclpy.init(args=args)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bag", type=Path, help="rosbag2 folder or ROS 1 bag")
    parser.add_argument("--topics", nargs="+", metavar="TOPIC", help="play these alone")
    add_arguments(parser)
    given = parser.parse_args(remove_ros_args(args)[1:])
    try:
        with BagReader(given.bag, required=()) as bag:
            types = {t: kind for t, kind in bag.types.items() if is_played(t, given.topics)}
            player = Playback("bag_player", types, given.rate)
            player.wait_for(given.wait_for, given.timeout)
            start_ns = bag.start_ns
            # Static transforms come first, as their latched publisher would have had them.
            static = ((topic, start_ns, data) for topic, data in _static(bag))
            rest = bag.serialised(set(types) - {TF_STATIC})
            try:
                player.play(without_map_to_odom(itertools.chain(static, rest)))
            except BagError as error:
                print(error, file=sys.stderr)
                raise SystemExit(BROKEN_OFF) from error
            player.destroy_node()
    except (BagError, TimeoutError) as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        pass
    finally:
        rclpy.try_shutdown()


def _static(bag: BagReader) -> Iterator[tuple[str, bytes]]:
    """Yield (topic, CDR bytes) of static transforms; where it breaks off, the rest tells."""
    with suppress(BagError):
        for topic, _, data in bag.serialised([TF_STATIC]):
            yield topic, data


def is_played(topic: str, wanted: list[str] | None) -> bool:
    """Return whether a topic is played: a wanted one, or else one of the robot's own."""
    if wanted is not None:
        return topic in wanted
    return topic not in TOOLS and not topic.startswith(OURS)


def without_map_to_odom(
    messages: Iterable[tuple[str, int, bytes]],
) -> Iterator[tuple[str, int, bytes]]:
    """Yield (topic, time, CDR bytes) without the transforms that a SLAM node once published."""
    for topic, time_ns, data in messages:
        if topic != TF:
            yield topic, time_ns, data
            continue
        message = deserialize_message(data, TFMessage)
        kept = [t for t in message.transforms if _edge(t) != ("map", "odom")]
        if kept:
            yield topic, time_ns, serialize_message(TFMessage(transforms=kept))


def _edge(transform: Any) -> tuple[str, str]:
    return transform.header.frame_id.lstrip("/"), transform.child_frame_id.lstrip("/")


if __name__ == "__main__":
    main()
