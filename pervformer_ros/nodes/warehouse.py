# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The simulated warehouse, live: a robot's camera and odometry, ground truth and /clock.

Time runs as fast as frames can be rendered, at most `--rate` times real time; whoever takes it from
/clock (use_sim_time) does not notice.
"""

import argparse
from collections.abc import Iterator

import rclpy
from rclpy.utilities import remove_ros_args

from pervformer_ros.bags.writer import typestore
from pervformer_ros.nodes.playback import Playback, add_arguments
from pervformer_ros.sim import Episode, stream
from pervformer_ros.sim.record import TYPES


def serialised(episode: Episode) -> Iterator[tuple[str, int, bytes]]:
    """Yield (topic, stamp in ns, CDR bytes) of an episode, rendered as it goes."""
    store = typestore()
    for _, messages in stream(episode, raw=True):
        for topic, stamp_ns, message in sorted(messages, key=lambda m: m[1]):
            yield topic, stamp_ns, bytes(store.serialize_cdr(message, message.__msgtype__))


def main(args: list[str] | None = None) -> None:
    """Run one scenario to its end."""
    rclpy.init(args=args)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", help="name of the scenario; a wrong one lists all")
    parser.add_argument("--seed", type=int, default=0, help="decides everything random")
    parser.add_argument("--duration", type=float, help="cut off after so many seconds")
    add_arguments(parser)
    given = parser.parse_args(remove_ros_args(args)[1:])
    try:
        episode = Episode(given.scenario, given.seed, given.duration)
        node = Playback("warehouse", TYPES, given.rate)
        node.wait_for(given.wait_for, given.timeout)
        node.play(serialised(episode))
        node.destroy_node()
    except (ValueError, TimeoutError) as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
