# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Blocked corridors close edges of nav2's route graph, and open them again."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

from rclpy.node import Node

SERVICE = "route_server/DynamicEdgesScorer/adjust_edges"
# Seconds after which an answer is not waited for any longer.
ANSWER_S = 5.0


class RouteServer(Protocol):
    """What closes and opens edges, one call at a time."""

    @property
    def ready(self) -> bool:
        """Whether there is anybody to answer."""

    def adjust(
        self, closed: Sequence[int], opened: Sequence[int], answered: Callable[[bool], None]
    ) -> None:
        """Ask for edges to be closed and opened; `answered` hears whether that was done."""

    def give_up(self) -> None:
        """Wait no longer for an answer: it will not be heard."""


class EdgeRelay:
    """Keeps the edges of blocked corridors closed: tells changes, and again until it is done.

    An edge is closed while any corridor that it belongs to is blocked. Edges that no corridor names
    are never touched. What the others are is not known at first (a node before this one may have
    closed them), after a call that was refused or never answered, and after the server was away
    (a new one knows of none): then all of them are told.
    """

    def __init__(self, edges: Mapping[str, Sequence[int]], server: RouteServer):
        """Take the edges of every corridor, by its name, and who is to be told."""
        self._edges, self._server = edges, server
        self._all = frozenset(edge for corridor in edges.values() for edge in corridor)
        self._closed: frozenset[int] | None = None  # nobody knows yet
        self._asked_s: float | None = None  # since when an answer is waited for

    def update(self, blocked: Iterable[str], now_s: float) -> None:
        """Take the names of the corridors that are blocked now, by a steady clock in seconds."""
        if not self._server.ready:
            self._forget()
            return
        if self._asked_s is not None:
            if now_s - self._asked_s < ANSWER_S:
                return
            self._forget()
        wanted = frozenset(edge for name in blocked for edge in self._edges.get(name, ()))
        if self._closed is None:
            closed, opened = wanted, self._all - wanted
        else:
            closed, opened = wanted - self._closed, self._closed - wanted
        if not (closed or opened):
            return

        def answered(done: bool) -> None:
            if self._asked_s == now_s:  # it is still waited for
                self._asked_s = None
                self._closed = wanted if done else None

        self._asked_s = now_s
        self._server.adjust(sorted(closed), sorted(opened), answered)

    def _forget(self) -> None:
        if self._asked_s is not None:
            self._server.give_up()
        self._closed = self._asked_s = None


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
    def ready(self) -> bool:
        """Whether the route server runs."""
        return bool(self._client.service_is_ready())

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

    def give_up(self) -> None:
        """Drop the call that waits for its answer."""
        self._node.get_logger().warning(
            "the route server did not answer: edges are told again", throttle_duration_sec=5.0
        )
        self._client.remove_pending_request(self._waiting)
        self._waiting = None

    def close(self) -> None:
        """Let go of the client."""
        self._node.destroy_client(self._client)
