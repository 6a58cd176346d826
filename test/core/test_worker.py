# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import threading

import pytest

from pervformer_ros.worker import LatestWorker


class Bench:
    """Work that takes until it is told to finish."""

    def __init__(self):
        self.done = []
        self.begun = threading.Semaphore(0)
        self.finish = threading.Semaphore(0)
        self.failures = []

    def work(self, item):
        self.begun.release()
        self.finish.acquire()
        if item == "bad":
            raise RuntimeError("bad item")
        self.done.append(item)


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def worker(bench):
    worker = LatestWorker(bench.work, bench.failures.append, "test")
    yield worker
    bench.finish.release(100)
    worker.stop()


def test_the_newest_item_wins_and_the_others_are_counted(bench, worker):
    worker.offer("in flight")
    bench.begun.acquire()
    for item in ("late", "later", "latest"):
        worker.offer(item)
    bench.finish.release(2)
    worker.drain()
    assert bench.done == ["in flight", "latest"]
    assert worker.dropped == 2


def test_a_failure_is_reported_and_the_next_item_is_worked_on(bench, worker):
    bench.finish.release(2)
    worker.offer("bad")
    worker.drain()
    worker.offer("good")
    worker.drain()
    assert [str(e) for e in bench.failures] == ["bad item"]
    assert bench.done == ["good"]


def test_a_report_that_fails_is_logged_and_the_next_item_is_worked_on(bench, caplog):
    def refuse(error):
        raise OSError("nowhere to report to")

    worker = LatestWorker(bench.work, refuse, "test")
    bench.finish.release(2)
    worker.offer("bad")
    worker.drain()
    worker.offer("good")
    assert bench.begun.acquire(timeout=10)
    assert bench.begun.acquire(timeout=10), "the thread lives on"
    worker.stop()
    assert bench.done == ["good"]
    assert "could not report RuntimeError('bad item')" in caplog.text
    assert "nowhere to report to" in caplog.text


def test_stopping_lets_the_item_in_flight_finish(bench, worker):
    worker.offer("in flight")
    bench.begun.acquire()
    bench.finish.release()
    worker.stop()
    assert bench.done == ["in flight"]


def test_what_waits_or_comes_when_it_is_stopped_is_dropped_and_counted(bench, worker):
    worker.offer("in flight")
    bench.begun.acquire()
    worker.offer("waiting")
    threading.Timer(0.5, bench.finish.release).start()
    worker.stop()
    assert worker.dropped == 1
    worker.offer("too late")
    worker.drain()
    assert worker.dropped == 2
    assert bench.done == ["in flight"]
