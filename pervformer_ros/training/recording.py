# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A shard of the simulator, opened for training, and a bounded pool of them."""

from collections import OrderedDict
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import NANOSECONDS
from pervformer_ros.geometry import Array
from pervformer_ros.model.config import CLASSES

MILLIMETRE = np.float32(1e-3)


class Recording:
    """F frames of one scenario with their truth; bodies are numbered 0 to B - 1 here.

    Attributes:
        depth: (F, H, W) uint16 millimetres, as measured.
        instance: (F, H, W) uint16, 0 = the static world, else body + 1.
        time: (F,) seconds from the first frame.
        K: (3, 3).
        T_map_camera, T_odom_camera: (F, 4, 4), true and as the wheels report.
        classes: (B,) index into CLASSES.
        centre: (F, B, 3) metres in the map; size: (B, 3).
        T_map_object: (F, B, 4, 4).
        moving: (F, B) bool; pixels: (F, B) how many show it.
        world: the seed, which decides the warehouse.
    """

    def __init__(self, path: Path):
        with np.load(path) as file:
            shard = dict(file)
        self.path = path
        self._jpeg: NDArray[np.uint8] = shard["jpeg"]
        self._ends = np.concatenate([[0], shard["jpeg_ends"]])
        self.depth: NDArray[np.uint16] = shard["depth"]
        self.instance: NDArray[np.uint16] = shard["instance"]
        stamps = shard["stamp_ns"]
        self.time: Array = (stamps - stamps[0]) / NANOSECONDS
        self.K: Array = shard["K"]
        T_base_camera = shard["T_base_camera"]
        self.T_map_camera: Array = shard["T_map_base"] @ T_base_camera
        self.T_odom_camera: Array = shard["T_odom_base"] @ T_base_camera
        self.classes = np.array([CLASSES.index(label) for label in shard["labels"]], np.int64)
        self.T_map_object: Array = shard["T_map_object"]
        self.centre: Array = self.T_map_object[..., :3, 3]
        self.size: Array = shard["size"]
        self.moving: NDArray[np.bool_] = shard["moving"].astype(bool)
        self.pixels: NDArray[np.int64] = shard["pixels"].astype(np.int64)
        self.world = int(shard["seed"])

    def __len__(self) -> int:
        return len(self.depth)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of its images."""
        return self.depth.shape[1], self.depth.shape[2]

    def rgb(self, frame: int) -> NDArray[np.uint8]:
        """Return an image (H, W, 3)."""
        jpeg = self._jpeg[self._ends[frame] : self._ends[frame + 1]]
        return cv2.cvtColor(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def metres(self, frame: int) -> NDArray[np.float32]:
        """Return depth (H, W), 0 = none."""
        return self.depth[frame].astype(np.float32) * MILLIMETRE

    @cached_property
    def seen(self) -> NDArray[np.int64]:
        """Bodies that some frame shows."""
        return np.flatnonzero(self.pixels.any(axis=0))


def shards_in(folder: Path) -> list[Path]:
    """Return the shards of a folder, sorted.

    Raises:
        FileNotFoundError: if there are none.
    """
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise FileNotFoundError(
            f"{folder} holds no shards: make some with `python -m pervformer_ros.sim.shards`"
        )
    return paths


class Pool:
    """Shards in memory, `capacity` at once, in an order that the seed decides.

    Every `advance` lets `fresh` new ones in and the oldest out, so that reading costs little and
    batches mix many worlds.
    """

    def __init__(self, folder: Path, seed: int, capacity: int = 24, fresh: int = 4):
        self._folder = folder
        self._seed = seed
        self._capacity = capacity
        self._fresh = fresh
        self._held: OrderedDict[Path, Recording] = OrderedDict()

    def at(self, turn: int) -> list[Recording]:
        """Return the recordings of a turn: the same for the same turn, seed and folder.

        Raises:
            FileNotFoundError: if the folder has no shards.
        """
        last = (turn + 1) * self._fresh + self._capacity
        names = [self._name(i) for i in range(last - self._capacity, last)]
        wanted = list(dict.fromkeys(names))
        for path in [p for p in self._held if p not in wanted]:
            del self._held[path]
        for path in wanted:
            if path not in self._held:
                self._held[path] = Recording(path)
        return [self._held[path] for path in wanted]

    @cached_property
    def _paths(self) -> list[Path]:
        return shards_in(self._folder)

    def _name(self, index: int) -> Path:
        paths = self._paths
        lap, place = divmod(index, len(paths))
        return paths[np.random.default_rng([self._seed, lap]).permutation(len(paths))[place]]
