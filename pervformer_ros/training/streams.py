# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Streams become batches of chunks: what goes into the model and what should come out."""

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from pervformer_ros.geometry import Array, invert
from pervformer_ros.model.config import PATCH, PervFormerConfig
from pervformer_ros.training import targets
from pervformer_ros.training.augment import draw_curtains, draw_look, recolour
from pervformer_ros.training.clutter import Layer, draw_boxes, render
from pervformer_ros.training.correspondence import PointTargets, View, point_targets
from pervformer_ros.training.lives import ProbeTargets, live
from pervformer_ros.training.paint import paint
from pervformer_ros.training.recording import Pool, Recording
from pervformer_ros.training.segments import Segment, Window, draw_segment

MOST_FRESH = 4  # shards that are read in a round, and fewer
FRAMES_OF_A_SHARD = 40  # where not so many frames of each would be learned from
CURTAINS = 0.4  # share of streams in which something is hidden on purpose
NO_ODOMETRY = 0.1  # share of streams whose camera moves nobody knows how
# Odometry may be this much off between two frames: rad and m, of a camera in the hand.
LARGEST_SHAKE = (0.006, 0.015)
_MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])


class Batch(NamedTuple):
    """One chunk of B streams, T frames; lower-case letters as in targets.DenseTargets."""

    rgb: Tensor  # (B, T, 3, H, W)
    inverse_depth: Tensor  # (B, T, 1, H, W)
    depth_valid: Tensor  # (B, T, 1, H, W)
    dt: Tensor  # (B, T)
    camera: Tensor  # (B, T, 4) fx, fy, cx, cy
    ego: Tensor  # (B, T, 3, 4) from the camera of the frame before to this one's
    tokens: Tensor  # (B, n, k) the patches of the whole image that each of the window's covers
    dense: targets.DenseTargets | None  # of tensors (B, T, ...), where objects are learned
    points: PointTargets | None  # of tensors (B, ...), where points are learned
    world: Tensor  # (B,) which warehouse
    probes: ProbeTargets  # of tensors (B, T, P, ...)


class Stream:
    """One segment with its looks, frame by frame."""

    def __init__(self, rng: Generator, segment: Segment, probes: int, points: bool = False):
        self.rng = rng
        self.segment = segment
        self.points = points
        recording, frames = segment.recording, segment.frames
        self._look = draw_look(rng)
        width = recording.shape[1]
        # Time as it passed on the way there; where the recording is watched backwards too.
        self.time = recording.time[frames]
        self.dt = np.abs(np.diff(self.time, prepend=self.time[0])).astype(np.float32)
        clock, window = np.cumsum(self.dt), segment.window
        # Only probes can tell what is behind a curtain.
        self.hidden = draw_curtains(rng, clock, window.shape, CURTAINS if probes else 0)
        left = width - window.left - window.width if segment.mirrored else window.left
        self.tokens = _tokens(window, window.top // PATCH, left // PATCH, width // PATCH)
        self.K = recording.K.copy()
        self.K[:2, 2] -= window.left, window.top
        self.K[:2] /= window.shrink
        self.K[:2, 2] += 0.5 / window.shrink - 0.5
        self._mirror = mirror = _MIRROR if segment.mirrored else np.eye(4)
        if segment.mirrored:
            self.K[0, 2] = window.shape[1] - 1 - self.K[0, 2]
        self.T_map_camera: Array = mirror @ recording.T_map_camera[frames] @ mirror
        T_odom_camera = mirror @ recording.T_odom_camera[frames] @ mirror
        self.ego = np.stack([np.eye(4), *map(_between, T_odom_camera[:-1], T_odom_camera[1:])])
        self.ego[1:] = self.ego[1:] @ _shakes(rng, len(frames) - 1)
        if rng.random() < NO_ODOMETRY:
            self.ego[:] = 0.0
        self.layers: list[Layer] = []
        if self._look.cluttered:
            self.layers = self._clutter(clock)
        self.lives: ProbeTargets | None = None
        if probes:
            unseen = self.hidden
            if self.layers:
                unseen = unseen | np.stack([layer.covered for layer in self.layers])
            self.lives = live(rng, segment, clock, unseen, self.K, self.T_map_camera, probes)

    def chunk(self, start: int, stop: int) -> dict[str, Any]:
        """Return the arrays of the frames from start to before stop."""
        frames = [self._frame(t) for t in range(start, stop)]
        asked = [f.pop("asked") for f in frames]
        return {
            **{key: np.stack([f[key] for f in frames]) for key in frames[0]},
            "dense": None
            if self.points
            else targets.DenseTargets(*map(np.stack, zip(*asked, strict=True))),
            "points": point_targets(self.rng, asked) if self.points else None,
            "dt": self.dt[start:stop],
            "camera": np.tile(self.K[[0, 1, 0, 1], [0, 1, 2, 2]], (stop - start, 1)).astype(
                np.float32
            ),
            "ego": self.ego[start:stop, :3].astype(np.float32),
            "tokens": self.tokens,
            "world": np.array(self.segment.recording.world),
            "probes": self.lives.between(start, stop)
            if self.lives
            else ProbeTargets.none(stop - start),
        }

    def _clutter(self, clock: NDArray[np.float32]) -> list[Layer]:
        """Return what is put into every frame."""
        recording = self.segment.recording
        metres = [self.segment.see(recording.metres(int(f))) for f in self.segment.frames]
        time = clock.astype(np.float64)
        boxes = draw_boxes(self.rng, metres, self.K, self.T_map_camera, time)
        views = zip(metres, self.T_map_camera, time, strict=True)
        return [render(self.rng, boxes, z, self.K, T, float(t)) for z, T, t in views]

    def _frame(self, t: int) -> dict[str, Any]:
        segment, look, hidden = self.segment, self._look, self.hidden[t]
        recording, frame = segment.recording, int(segment.frames[t])
        images = (recording.rgb(frame), recording.metres(frame), recording.instance[frame])
        rgb, metres, instance = map(segment.see, images)
        moving = np.concatenate([[False], recording.moving[frame]])[instance]
        colour = rgb.astype(np.float32) / 255.0
        if look.paint:
            T_map_object = self._mirror @ recording.T_map_object[frame] @ self._mirror
            scene = metres, instance, self.K, self.T_map_camera[t], T_map_object
            colour = paint(look.paint, colour, *scene)
        if self.layers:
            layer = self.layers[t]
            colour = np.where(layer.covered[..., None], layer.rgb, colour)
            metres = np.where(layer.covered, layer.metres, metres)
            instance = np.where(layer.covered, 0, instance).astype(instance.dtype)
            moving = np.where(layer.covered, layer.moving, moving)
        asked: View | targets.DenseTargets
        if self.points:
            rgb = np.asarray(255 * np.clip(colour, 0, 1), np.uint8)
            keypoint = targets.corner_cells(rgb, metres, ~moving)
            asked = View(metres, ~moving, keypoint, self.K, self.T_map_camera[t])
        else:
            asked = targets.dense_targets(
                self.rng, recording, instance, hidden, moving, segment.cut
            )
        colour = recolour(self.rng, look, colour)
        colour[hidden] = 0.0
        given = look.depth.apply(self.rng, metres) if look.depth else np.zeros_like(metres)
        valid = (given > 0) & ~hidden
        inverse = np.where(valid, 1.0 / np.maximum(given, 0.1), 0.0).astype(np.float32)
        return {
            "rgb": colour.transpose(2, 0, 1),
            "inverse_depth": inverse[None],
            "depth_valid": valid[None].astype(np.float32),
            "asked": asked,
        }


def batches(
    folder: Path,
    seed: int,
    first_round: int,
    rounds: int,
    streams: int,
    segment: int,
    chunk: int,
    size: tuple[int, int],
    config: PervFormerConfig,
    shrink: int = 1,
    points: bool = False,
) -> Iterator[tuple[int, int, Batch]]:
    """Yield (round, chunk number, batch); in each round all streams begin anew.

    A round depends on the seed and its own number alone, so training goes on after any of them as
    if it had never stopped.

    Args:
        folder: of the shards.
        seed: decides everything that is drawn.
        first_round: to begin with.
        rounds: the number of the last one + 1.
        streams: B.
        segment: frames of a stream.
        chunk: T.
        size: (height, width) of the window.
        config: of the model.
        shrink: by how much what is seen through the window is made smaller.
        points: ask for points alone, else for all but them.

    Raises:
        FileNotFoundError: if there are no shards.
        ValueError: if their images are not those of the model.
    """
    fresh = max(1, min(MOST_FRESH, streams * segment // FRAMES_OF_A_SHARD))
    pool, probes = Pool(folder, seed, fresh=fresh), 0 if points else config.probes
    for number in range(first_round, rounds):
        recordings = pool.at(number)
        check_size(recordings, config)
        sources = []
        for i in range(streams):
            rng = np.random.default_rng([seed, number, i])
            drawn = draw_segment(rng, recordings, segment, size, shrink)
            sources.append(Stream(rng, drawn, probes, points))
        for index, start in enumerate(range(0, segment, chunk)):
            yield number, index, collate([s.chunk(start, start + chunk) for s in sources])


def check_size(recordings: list[Recording], config: PervFormerConfig) -> None:
    """Refuse recordings whose images are not those of the model.

    Raises:
        ValueError: then.
    """
    if any(r.shape != config.image_size for r in recordings):
        raise ValueError(f"the shards' images are not {config.image_size}, as the model's are")


JOIN_S = 30.0


def in_background(make: Callable[[], Iterator[Any]], ahead: int = 3) -> Iterator[Any]:
    """Yield what the iterator yields, which a thread works out ahead."""
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(ahead)
    stop = threading.Event()

    def put(kind: str, value: Any) -> None:
        while not stop.is_set():
            try:
                ready.put((kind, value), timeout=0.5)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in make():
                put("item", item)
                if stop.is_set():
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stop.set()
        thread.join(JOIN_S)  # one that computes while the process ends takes it down


def _tokens(window: Window, row: int, column: int, columns: int) -> NDArray[np.int64]:
    """Return (n, k): the patches of the whole image, `columns` wide, under each of the window's."""
    step = window.shrink
    rows = row + np.arange(window.height // PATCH).reshape(-1, 1, step, 1)
    across = column + np.arange(window.width // PATCH).reshape(1, -1, 1, step)
    covered: NDArray[np.int64] = (rows * columns + across).reshape(-1, step * step)
    return covered


def _shakes(rng: Generator, count: int) -> Array:
    """Draw small transforms (count, 4, 4), all of one strength: odometry is never exact."""
    strength = rng.uniform(0.0, 1.0) ** 2
    shakes = np.tile(np.eye(4), (count, 1, 1))
    shakes[:, :3, :3] = Rotation.from_rotvec(
        rng.normal(0.0, strength * LARGEST_SHAKE[0], (count, 3))
    ).as_matrix()
    shakes[:, :3, 3] = rng.normal(0.0, strength * LARGEST_SHAKE[1], (count, 3))
    return shakes


def _between(before: Array, after: Array) -> Array:
    """Return the transform of points from the camera at `before` to that at `after`."""
    return invert(after) @ before


def collate(chunks: list[dict[str, Any]]) -> Batch:
    """Return chunks of `Stream.chunk` as one batch of tensors, the chunks along its first axis."""
    batches = [Batch(**chunk) for chunk in chunks]
    joined: Batch = each(lambda *arrays: torch.from_numpy(np.stack(arrays)), *batches)
    return joined


def each(function: Callable[..., Any], *batches: Any) -> Any:
    """Return a batch of what a function makes of each tensor, or of that of several batches."""
    first = batches[0]
    if first is None:
        return None
    if hasattr(first, "_fields"):
        parts = zip(*batches, strict=True)
        return type(first)(*(each(function, *part) for part in parts))
    return function(*batches)
