# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a node says of itself on /diagnostics, once a second, and in its log."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from pervformer_ros.frame import Fault, FaultLog

LOG_PERIOD_S = 5.0
OK, WARN, ERROR, STALE = (
    DiagnosticStatus.OK,
    DiagnosticStatus.WARN,
    DiagnosticStatus.ERROR,
    DiagnosticStatus.STALE,
)


class FaultReporter:
    """Logs each kind of fault at most every few seconds and tells which are recent."""

    def __init__(self, node: Node, faults: FaultLog):
        self._node = node
        self._faults = faults
        self._known: Counter[Fault] = Counter()
        self._logged: dict[Fault, float] = {}

    def recent(self) -> list[Fault]:
        """Return the kinds counted since the last call, logging them (throttled)."""
        counts = Counter(self._faults.counts)
        news = [fault for fault in Fault if counts[fault] > self._known[fault]]
        self._known = counts
        now = time.monotonic()
        for fault in news:
            if now - self._logged.get(fault, -LOG_PERIOD_S) >= LOG_PERIOD_S:
                self._logged[fault] = now
                text = f"{fault.value} ({counts[fault]} so far): {self._faults.latest[fault]}"
                self._node.get_logger().warning(text)
        return news

    def values(self) -> dict[str, str]:
        """Return count and latest words of every kind that ever occurred."""
        return self._faults.summary()


def status(name: str, level: bytes, message: str, values: Mapping[str, Any]) -> DiagnosticStatus:
    """Return one status; values are turned to text."""
    return DiagnosticStatus(
        name=name,
        level=level,
        message=message,
        values=[KeyValue(key=k, value=str(v)) for k, v in values.items()],
    )


def bad_input(recent: list[Fault], works: bool, what: str) -> tuple[bytes, str]:
    """Return level and words of faults: an error where no `what` works at all."""
    words = ", ".join(fault.value for fault in recent)
    return (WARN, f"bad input: {words}") if works else (ERROR, f"no {what} works: {words}")


def array(node: Node, statuses: list[DiagnosticStatus]) -> DiagnosticArray:
    """Return the message for /diagnostics, stamped now."""
    message = DiagnosticArray(status=statuses)
    message.header.stamp = node.get_clock().now().to_msg()
    return message
