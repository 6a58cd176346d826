# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The recorded pace, as a robot would meet it: the clock stands still for what no robot does."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pervformer_ros.frame import NANOSECONDS


class Pace:
    """Tells when the image of a stamp is due."""

    def __init__(self) -> None:
        self._judging = threading.Lock()
        self._began_s = 0.0
        self._first_ns = 0

    def begin(self, stamp_ns: int) -> None:
        """Let the image of a stamp be due now."""
        with self._judging:
            self._began_s, self._first_ns = time.monotonic(), stamp_ns

    def wait_for(self, stamp_ns: int) -> None:
        """Wait until the image of a stamp is due."""
        while (left_s := self._left_s(stamp_ns)) > 0:
            time.sleep(left_s)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the clock: nothing becomes due meanwhile."""
        with self._judging:
            started = time.monotonic()
            try:
                yield
            finally:
                self._began_s += time.monotonic() - started

    def _left_s(self, stamp_ns: int) -> float:
        with self._judging:
            due_s = self._began_s + (stamp_ns - self._first_ns) / NANOSECONDS
            return due_s - time.monotonic()
