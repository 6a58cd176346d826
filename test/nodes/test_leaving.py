# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How a node ends."""

from collections.abc import Callable

import pytest
import rclpy
from rclpy.node import Node

from pervformer_ros.nodes.lifecycle import run


class Failing(Node):
    """Fails in its first callback, after something else has happened there."""

    def __init__(self, before: Callable[[], object]):
        super().__init__("failing")
        self._before = before

    def autostart(self) -> None:
        self.create_timer(0.01, self._fail)

    def stop(self) -> None:
        """Nothing is running."""

    def _fail(self) -> None:
        self._before()
        raise RuntimeError("no publisher")


def test_a_callback_that_fails_because_the_node_was_asked_to_leave_is_no_error():
    run(lambda: Failing(rclpy.shutdown))
    with pytest.raises(RuntimeError, match="no publisher"):
        run(lambda: Failing(lambda: None))
