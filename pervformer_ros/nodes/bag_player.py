# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Plays a bag at its recorded pace, with /clock; for where `ros2 bag play` is not."""

import argparse
import itertools
from pathlib import Path

import rclpy
from rclpy.utilities import remove_ros_args

from pervformer_ros.bags.reader import TF_STATIC, BagError, BagReader
from pervformer_ros.nodes.playback import CLOCK, Playback, add_arguments


def main(args: list[str] | None = None) -> None:
    """Play a bag, then leave."""
    rclpy.init(args=args)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bag", type=Path, help="rosbag2 folder or ROS 1 bag")
    add_arguments(parser)
    given = parser.parse_args(remove_ros_args(args)[1:])
    try:
        with BagReader(given.bag, required=()) as bag:
            player = Playback("bag_player", bag.types, given.rate)
            player.wait_for(given.wait_for, given.timeout)
            start_ns = bag.start_ns
            # Static transforms come first, as their latched publisher would have had them.
            static = ((topic, start_ns, data) for topic, _, data in bag.serialised([TF_STATIC]))
            player.play(
                itertools.chain(static, bag.serialised(set(bag.types) - {TF_STATIC, CLOCK}))
            )
            player.destroy_node()
    except (BagError, TimeoutError) as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
