# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Streams that several processes prepare, and that are learned from more than once.

A CPU core draws, paints and labels forty images a second; a GPU learns from thousands. So the last
streams that came are kept where they are learned from, and every batch is drawn from them (data
echoing, Choi et al. 2019, https://arxiv.org/abs/1907.05550).
"""

import multiprocessing
import pickle
import queue
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from pervformer_ros.model.config import PervFormerConfig
from pervformer_ros.training.recording import Recording, shards_in
from pervformer_ros.training.segments import draw_segment
from pervformer_ros.training.streams import Batch, Stream, check_size, collate, each

HELD = 24  # shards in the memory of each process
FRESH = 2  # of them that are exchanged at a time,
STREAMS_OF_A_TURN = 6  # after so many streams
NEW_SHARE = 1 / 6  # of a batch's streams that are taken anew in a round: to fetch them takes time
IMAGE_LIKE = 4096  # numbers of a chunk from which on a tensor is kept in 16 bits
ALIVE_S = 5.0


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """Which streams are prepared; as the arguments of `streams.batches`.

    seed: numbers, of which another list gives other streams: also of the round, or a run that goes
    on would learn the same ones again.
    """

    folder: Path
    seed: Sequence[int]
    segment: int
    chunk: int
    size: tuple[int, int]
    config: PervFormerConfig
    shrink: int = 1
    points: bool = False

    def streams(self, worker: int) -> Iterator[Batch]:
        """Yield one stream after the other, its chunks along the first axis, without end.

        Shards that appear in the folder meanwhile are taken too.

        Raises:
            FileNotFoundError: if the folder has no shards.
            ValueError: if their images are not those of the model.
        """
        rng = np.random.default_rng([*self.seed, worker])
        probes = 0 if self.points else self.config.probes
        for recordings in _turns(self.folder, rng):
            check_size(recordings, self.config)
            for _ in range(STREAMS_OF_A_TURN):
                drawn = draw_segment(rng, recordings, self.segment, self.size, self.shrink)
                stream = Stream(rng, drawn, probes, self.points)
                starts = range(0, self.segment, self.chunk)
                yield collate([stream.chunk(s, s + self.chunk) for s in starts])


def echoed_batches(
    plan: StreamPlan,
    first_round: int,
    rounds: int,
    streams: int,
    workers: int,
    kept: int,
    device: str,
) -> Iterator[tuple[int, int, Batch]]:
    """Yield (round, chunk number, batch) on the device, as `streams.batches` does.

    Which streams come when depends on how fast they are prepared: no two runs are the same.

    Args:
        plan: of the streams.
        first_round: to begin with.
        rounds: the number of the last one + 1.
        streams: in a batch.
        workers: processes that prepare them.
        kept: streams to be drawn from, the last that came; about 0.8 MB an image.
        device: where they are kept.

    Raises:
        FileNotFoundError: if there are no shards.
        ValueError: if their images are not those of the model.
        ChildProcessError: if a process was killed.
    """
    rng = np.random.default_rng(plan.seed)
    held: deque[Batch] = deque(maxlen=max(kept, streams))
    chunks = -(-plan.segment // plan.chunk)
    new = max(1, round(NEW_SHARE * streams))
    with _Workers(plan, workers) as prepared:
        for number in range(first_round, rounds):
            for batch in prepared.take(streams - len(held), new):
                held.append(each(lambda x: _to(device, torch.from_numpy(x)), batch))
            chosen = [held[i] for i in rng.choice(len(held), streams, replace=False)]
            for index in range(chunks):
                parts = [each(lambda x, i=index: x[i], stream) for stream in chosen]
                yield number, index, each(lambda *x: unpack(torch.stack(x)), *parts)


def pack(x: Tensor) -> Tensor:
    """Return a tensor in 16 bits where it is image-like: a camera's values have no more digits.

    Raises:
        ValueError: if its whole numbers need more.
    """
    if x[0].numel() < IMAGE_LIKE:
        return x
    if x.dtype == torch.float32:
        return x.half()
    if x.dtype == torch.int64:
        if int(x.max()) > torch.iinfo(torch.int16).max:
            raise ValueError(f"{int(x.max())} does not fit 16 bits")
        return x.short()
    return x


def unpack(x: Tensor) -> Tensor:
    """Return what was packed in the type that it had."""
    return {torch.float16: x.float, torch.int16: x.long}.get(x.dtype, lambda: x)()


def _to(device: str, x: Tensor) -> Tensor:
    """Return a tensor on a device, without waiting for what that has yet to compute."""
    if torch.device(device).type != "cuda":
        return x.to(device)
    with torch.cuda.stream(_aside(device)):
        there = x.to(device)
    there.record_stream(torch.cuda.default_stream(device))
    return there


@cache
def _aside(device: str) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


class _Workers:
    """Processes that prepare streams for as long as the context lasts.

    They hand them over as files: through a pipe, a stream would come in a thousand pieces, and
    for each the thread that learns would be stopped.
    """

    def __init__(self, plan: StreamPlan, count: int):
        # Neither CUDA nor OpenMP survives a fork.
        context = multiprocessing.get_context("spawn")
        self._ready: Any = context.Queue(2 * count)
        self._folder = TemporaryDirectory(prefix="pervformer-streams-")
        self._processes = [
            context.Process(
                target=_work, args=(plan, i, Path(self._folder.name), self._ready), daemon=True
            )
            for i in range(count)
        ]

    def __enter__(self) -> "_Workers":
        for process in self._processes:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        self._folder.cleanup()

    def take(self, least: int, most: int) -> Iterator[Any]:
        """Yield streams packed in NumPy arrays: `least`, which are waited for, or up to `most`."""
        taken = 0
        while taken < max(least, most):
            waits = taken < least
            try:
                item = self._ready.get(waits, ALIVE_S)
            except queue.Empty:
                if not waits:
                    return
                if not all(process.is_alive() for process in self._processes):
                    raise ChildProcessError(
                        "a process that prepares streams has ended: out of memory?"
                    ) from None
                continue
            if isinstance(item, Exception):
                raise item
            taken += 1
            yield pickle.loads(item.read_bytes())
            item.unlink()


def _work(plan: StreamPlan, worker: int, folder: Path, ready: Any) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        for number, batch in enumerate(plan.streams(worker)):
            path = folder / f"{worker}-{number}"
            path.write_bytes(pickle.dumps(each(lambda x: pack(x).numpy(), batch)))
            if not _handed_over(path, ready):
                break
    except Exception as error:
        ready.put(error)
        return
    # Nobody is left to do so.
    shutil.rmtree(folder, ignore_errors=True)
    ready.cancel_join_thread()


def _handed_over(path: Path, ready: Any) -> bool:
    """Hand over a file as soon as there is room; return whether there is anybody to take it."""
    parent = multiprocessing.parent_process()
    while parent is None or parent.is_alive():
        try:
            ready.put(path, timeout=ALIVE_S)
            return True
        except queue.Full:
            continue
    return False


def _turns(folder: Path, rng: Generator) -> Iterator[list[Recording]]:
    """Yield the recordings that are in memory, of which the oldest leave bit by bit."""
    held: deque[Recording] = deque(maxlen=HELD)
    while True:
        others = sorted(set(shards_in(folder)) - {recording.path for recording in held})
        wanted = HELD - len(held) or FRESH
        for path in rng.permutation(np.array(others, object))[:wanted]:
            held.append(Recording(path))
        yield list(held)
