# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One thread that works on the newest item: one in flight, one waiting, the rest dropped."""

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class LatestWorker(Generic[Item]):
    """Calls `work(item)` in its own thread; an item that arrives while one waits replaces it.

    What `work` raises goes to `on_error`, and the thread lives on; what that raises is logged.
    """

    def __init__(
        self, work: Callable[[Item], None], on_error: Callable[[Exception], None], name: str
    ):
        self._work = work
        self._on_error = on_error
        self._condition = threading.Condition()
        self._waiting: list[Item] = []
        self._busy = self._stopping = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, item: Item) -> None:
        """Hand over an item; whatever still waited is dropped and counted."""
        with self._condition:
            self._drop()
            self._waiting = [item]
            if self._stopping:
                self._drop()
            self._condition.notify_all()

    def drain(self) -> None:
        """Wait until nothing waits and nothing is in flight."""
        with self._condition:
            self._condition.wait_for(lambda: not self._waiting and not self._busy)

    def stop(self) -> None:
        """End the thread after the item in flight; what waits, or comes later, is dropped."""
        with self._condition:
            self._stopping = True
            self._drop()
            self._condition.notify_all()
        self._thread.join()

    def _drop(self) -> None:
        self.dropped += len(self._waiting)
        self._waiting = []

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._stopping)
                if self._stopping:
                    return
                item, self._busy = self._waiting.pop(), True
            try:
                self._work(item)
            except Exception as error:
                self._report(error)
            finally:
                with self._condition:
                    self._busy = False
                    self._condition.notify_all()

    def _report(self, error: Exception) -> None:
        try:
            self._on_error(error)
        except Exception:
            logging.getLogger(__name__).exception("could not report %r", error)
