# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Time and memory of a call, and what the machine itself can do."""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.profiler import ProfilerActivity, profile

MATRIX = 1024
PRODUCTS = 20


def milliseconds(call: Callable[[], object], count: int) -> list[float]:
    """Return the milliseconds that each of `count` calls takes; warming up is the caller's."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def matrix_rate() -> float:
    """Return the float32 matrix products of this machine in GFLOP/s, the median of some.

    It tells a slow machine from a slow program.
    """
    a, b = torch.rand(2, MATRIX, MATRIX)
    times = milliseconds(lambda: torch.mm(a, b), 2 * PRODUCTS)[PRODUCTS:]
    return 2 * MATRIX**3 / statistics.median(times) / 1e6


def peak_bytes(call: Callable[[], object]) -> int:
    """Return the most memory a call holds at a time on the CPU, beyond what there was before it.

    It is what torch's allocator gave out and got back, as its profiler records it: every tensor and
    every operation's scratch space, to the byte, whatever the C library keeps for later use.
    """
    with TemporaryDirectory() as folder, _quiet():
        trace = Path(folder) / "trace.json"
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            call()
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = [(e["ts"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]"]
    changes.sort(key=lambda change: change[0])
    return max(accumulate((size for _, size in changes), initial=0))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep from the terminal what the profiler's C++ writes to standard error of its own accord."""
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)
