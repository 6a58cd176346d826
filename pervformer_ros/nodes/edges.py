# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Blocked corridors close edges of nav2's route graph, and open them again."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

from rclpy.node import Node

SERVICE = "route_server/DynamicEdgesScorer/adjust_edges"


class RouteServer(Protocol):
    """What closes and opens edges. One call at a time: `busy` until it is answered."""

    @property
    def busy(self) -> bool:
        """Whether a call waits for its answer, or nobody is there to answer."""

    def adjust(
        self, closed: Sequence[int], opened: Sequence[int], answered: Callable[[bool], None]
    ) -> None:
        """Ask for edges to be closed and opened; `answered` hears whether that was done."""


class EdgeRelay:
    """Keeps the edges of blocked corridors closed: tells changes, and again until it is done.

    An edge is closed while any corridor that it belongs to is blocked. Edges that no corridor names
    are never touched. The others may have been left closed by a node before this one: they are
    opened first.
    """

    def __init__(self, edges: Mapping[str, Sequence[int]], server: RouteServer):
        """Take the edges of every corridor, by its name, and who is to be told."""
        self._edges, self._server = edges, server
        self._all = frozenset(edge for corridor in edges.values() for edge in corridor)
        self._closed: frozenset[int] | None = None  # nobody knows yet

    def update(self, blocked: Iterable[str]) -> None:
        """Take the names of the corridors that are blocked now."""
        wanted = frozenset(edge for name in blocked for edge in self._edges.get(name, ()))
        if self._closed is None:
            closed, opened = wanted, self._all - wanted
        else:
            closed, opened = wanted - self._closed, self._closed - wanted
        if not (closed or opened) or self._server.busy:
            return

        def answered(done: bool) -> None:
            if done:
                self._closed = wanted

        self._server.adjust(sorted(closed), sorted(opened), answered)


class Nav2RouteServer:
    """nav2's route server, through its service nav2_msgs/DynamicEdges."""

    def __init__(self, node: Node):
        """Make the client; nav2_msgs must be there."""
        from nav2_msgs.srv import DynamicEdges

        self._request = DynamicEdges.Request
        self._node = node
        self._client = node.create_client(DynamicEdges, SERVICE)
        self._waiting: Any = None

    @staticmethod
    def installed() -> bool:
        """Return whether nav2's messages are there."""
        return find_spec("nav2_msgs") is not None

    @property
    def busy(self) -> bool:
        """Whether a call waits for its answer, or the route server does not run."""
        waits = self._waiting is not None and not self._waiting.done()
        return waits or not self._client.service_is_ready()

    def adjust(
        self, closed: Sequence[int], opened: Sequence[int], answered: Callable[[bool], None]
    ) -> None:
        """Call the service; what it refuses is logged."""

        def hear(future: Any) -> None:
            answer = future.result()
            done = answer is not None and bool(answer.success)
            if not done:
                self._node.get_logger().warning(
                    "the route server refused to adjust edges", throttle_duration_sec=5.0
                )
            answered(done)

        request = self._request(closed_edges=list(closed), opened_edges=list(opened))
        self._waiting = self._client.call_async(request)
        self._waiting.add_done_callback(hear)

    def close(self) -> None:
        """Let go of the client."""
        self._node.destroy_client(self._client)
