# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The recorded pace, as a robot would meet it: the clock stands still for what no robot does."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from pervformer_ros.frame import NANOSECONDS
from pervformer_ros.worker import LatestWorker


class Stamped(Protocol):
    """What becomes due at its stamp; where time goes back, a new epoch begins."""

    @property
    def stamp_ns(self) -> int:
        """When it was taken."""

    @property
    def epoch(self) -> int:
        """How often time went back before it."""


Item = TypeVar("Item", bound=Stamped)


class Pace:
    """Tells when the image of a stamp is due.

    Attributes:
        dropped: items that came while another one waited, and took its place.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._judging = threading.Lock()
        self._began_s = 0.0
        self._first_ns = 0

    def play(self, items: Iterable[Item], work: Callable[[Item], None]) -> None:
        """Hand over each item to `work`, in a thread of its own, when it is due.

        Raises:
            Exception: what `items` or `work` raise; what was handed over is worked on to its end.
        """
        failures: list[Exception] = []
        worker = LatestWorker(work, failures.append, "real time")
        epoch = None
        try:
            for item in items:
                if item.epoch != epoch:
                    self.begin(item.stamp_ns)
                    epoch = item.epoch
                self.wait_for(item.stamp_ns)
                worker.offer(item)
                if failures:
                    break
        finally:
            worker.drain()
            worker.stop()
            self.dropped += worker.dropped
        if failures:
            raise failures[0]

    def begin(self, stamp_ns: int) -> None:
        """Let the image of a stamp be due now."""
        with self._judging:
            self._began_s, self._first_ns = time.monotonic(), stamp_ns

    def now_ns(self) -> int:
        """Return the stamp of an image that would be due now."""
        with self._judging:
            return self._first_ns + round((time.monotonic() - self._began_s) * NANOSECONDS)

    def wait_for(self, stamp_ns: int) -> None:
        """Wait until the image of a stamp is due."""
        while (left_ns := stamp_ns - self.now_ns()) > 0:
            time.sleep(left_ns / NANOSECONDS)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the clock: nothing becomes due meanwhile."""
        with self._judging:
            started = time.monotonic()
            try:
                yield
            finally:
                self._began_s += time.monotonic() - started
