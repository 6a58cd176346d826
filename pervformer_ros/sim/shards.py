# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training data: one compact file per episode, made by several processes, resumable.

A shard is a NumPy .npz of F frames of one scenario and seed, from a moment drawn from the seed. Of
odd seeds it holds every other frame: twice the world for the same work, at two frame rates. Whole
tours of a hall are made with `--every 5`, three frames a second.

    jpeg, jpeg_ends   colour images one after the other (uint8), and where each ends (F,)
    depth             (F, H, W) uint16 millimetres, as measured
    instance          (F, H, W) uint16, 0 = the static world
    stamp_ns          (F,) int64
    K                 (3, 3); width and height are those of `depth`
    T_base_camera     (4, 4)
    T_map_base        (F, 4, 4) true; T_odom_base (F, 4, 4) from the wheels
    ids, labels       (B,) of every body: its instance id and class
    T_map_object      (F, B, 4, 4); size (B, 3); velocity (F, B, 3)
    moving, pixels    (F, B) whether it moves, how many pixels show it
    scenario, seed    where it is from

Shards appear under their name when complete; what exists already is not made again.

    python -m pervformer_ros.sim.shards out/shards --seeds 0:200 --seconds 30 --workers 2
"""

import argparse
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import Progress

from pervformer_ros.geometry import Array
from pervformer_ros.sim.boxes import BodyBoxes
from pervformer_ros.sim.episode import FRAME_RATE, Episode
from pervformer_ros.sim.messages import JPEG_QUALITY
from pervformer_ros.sim.rng import stream
from pervformer_ros.sim.scenario import find, names
from pervformer_ros.sim.seeds import refuse_held_out

# No shard needs a story to be told for longer than this, in seconds.
LATEST_END = 150.0


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One shard to be made."""

    scenario: str
    seed: int
    seconds: float  # as long as its frames would take if each followed the last
    every: int  # how many frames the next one is away

    @property
    def file_name(self) -> str:
        """Name of the file within its folder."""
        step = "" if self.every == _usual_step(self.seed) else f"-every{self.every}"
        return f"{self.scenario}-{self.seed:06d}-{self.seconds:g}s{step}.npz"

    @property
    def span(self) -> float:
        """Seconds of the scenario that the shard's frames are spread over."""
        return self.seconds * self.every

    @property
    def start(self) -> float:
        """Seconds into the scenario at which it begins."""
        latest = min(find(self.scenario).seconds, LATEST_END) - self.span
        return float(stream(self.seed, "shard").uniform(0.0, max(latest, 0.0)))


def plan(
    scenarios: Sequence[str], seeds: Sequence[int], seconds: float, every: int | None = None
) -> list[ShardPlan]:
    """Return a shard for every scenario and seed, seeds outermost, so that a part is varied.

    Args:
        scenarios: their names.
        seeds: for each of them.
        seconds: see ShardPlan.
        every: how many frames the next one is away, None = one, and two of odd seeds.

    Raises:
        ValueError: if a seed is held out, or no frame follows another.
    """
    refuse_held_out(seeds)
    if every is not None and every < 1:
        raise ValueError(f"every is {every}: give 1 for all frames, 5 for three a second")
    return [
        ShardPlan(scenario, seed, seconds, every or _usual_step(seed))
        for seed in seeds
        for scenario in scenarios
    ]


def _usual_step(seed: int) -> int:
    return 1 + seed % 2


def make_shards(
    plans: Sequence[ShardPlan],
    out: Path,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Make all shards that do not exist yet, and return the paths of all.

    Args:
        plans: what to make.
        out: folder, made if missing.
        workers: how many processes.
        progress: called with shards done and shards in all.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / p.file_name for p in plans]
    missing = [(p, path) for p, path in zip(plans, paths, strict=True) if not path.exists()]
    done = len(plans) - len(missing)
    if progress is not None:
        progress(done, len(plans))
    for _ in _run(missing, workers):
        done += 1
        if progress is not None:
            progress(done, len(plans))
    return paths


def make_shard(task: tuple[ShardPlan, Path]) -> Path:
    """Render one shard into its file."""
    shard, path = task
    cv2.setNumThreads(1)
    episode = Episode(shard.scenario, shard.seed, shard.start + shard.span)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("wb") as file:
            np.savez_compressed(file, **_render(episode, shard))
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    return path


def _run(tasks: list[tuple[ShardPlan, Path]], workers: int) -> Iterator[Path]:
    if workers <= 1:
        yield from map(make_shard, tasks)
        return
    # Open3D's threads do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(workers, maxtasksperchild=20) as pool:
        yield from pool.imap_unordered(make_shard, tasks)


def _render(episode: Episode, shard: ShardPlan) -> dict[str, Any]:
    """Return the arrays of a shard."""
    boxes = BodyBoxes(episode.bodies, episode.log)
    bodies = range(1, len(episode.bodies))
    jpegs, frames = [], []
    # A scenario may end before its time: then the shard is its last part.
    first = min(round(shard.start * FRAME_RATE), len(episode) - round(shard.span * FRAME_RATE))
    for shot in episode.shots(max(first, 0), shard.every):
        assert shot.frame.depth is not None
        bgr = cv2.cvtColor(shot.frame.rgb, cv2.COLOR_RGB2BGR)
        jpegs.append(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1])
        instance, tick = shot.render.instance, shot.tick
        frames.append({
            "depth": np.rint(shot.frame.depth * 1000).astype(np.uint16),
            "instance": instance,
            "stamp_ns": np.int64(shot.frame.stamp_ns),
            "T_map_base": shot.T_map_base,
            "T_odom_base": shot.frame.T_odom_base,
            "T_map_object": _stack([boxes.pose(tick, b) for b in bodies], (4, 4)),
            "velocity": _stack([boxes.velocity(tick, b) for b in bodies], (3,)),
            "moving": boxes.moving[tick, 1:],
            "pixels": np.bincount(instance.ravel(), minlength=len(bodies) + 1)[1:],
        })  # fmt: skip
    return {
        **{key: np.stack([frame[key] for frame in frames]) for key in frames[0]},
        "jpeg": np.concatenate([j.ravel() for j in jpegs]),
        "jpeg_ends": np.cumsum([j.size for j in jpegs]),
        "K": episode.camera.K,
        "T_base_camera": episode.T_base_camera,
        "ids": np.array(bodies, np.uint16),
        "labels": np.array([episode.bodies[b].kind.label for b in bodies], "U16"),
        "size": boxes.size[1:],
        "scenario": np.array(episode.scenario.name),
        "seed": np.int64(episode.seed),
    }


def _stack(values: list[Array], shape: tuple[int, ...]) -> Array:
    return np.array(values).reshape(-1, *shape)


def read_colour(shard: Any, frame: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Return a frame's image (H, W, 3) RGB of a shard that was read as `dict(numpy.load(path))`."""
    ends = shard["jpeg_ends"]
    start = int(ends[frame - 1]) if frame else 0
    bgr = cv2.imdecode(shard["jpeg"][start : int(ends[frame])], cv2.IMREAD_COLOR)
    return np.ascontiguousarray(np.asarray(bgr, np.uint8)[..., ::-1])


def main() -> None:
    """Make shards, with a progress bar; run again, it goes on where it was stopped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for the shards")
    parser.add_argument(
        "--scenarios", default=",".join(names(practice=True)), help="comma-separated"
    )
    parser.add_argument("--seeds", default="0:10", help="first:end, the end not included")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each")
    parser.add_argument("--every", type=int, help="take every so many-th frame")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    arguments = parser.parse_args()
    scenarios = arguments.scenarios.split(",")
    try:
        seeds = range(*(int(number) for number in arguments.seeds.split(":")))
        for scenario in scenarios:
            find(scenario)
        plans = plan(scenarios, seeds, arguments.seconds, arguments.every)
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    with Progress() as bar:
        task = bar.add_task("shards")
        make_shards(
            plans,
            arguments.out,
            arguments.workers,
            lambda done, total: bar.update(task, completed=done, total=total),
        )


if __name__ == "__main__":
    main()
