# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How fast the simulator renders on one core, all effects on, beside the raw ray-cast rate.

    python benchmarks/render_speed.py [--frames 150] [--scenarios static_loop,busy_aisle]

Wall and processor time are both shown: on a busy machine they differ, and the fastest tenth of the
frames is nearest to what an idle core would do. The target is 15 frames per second and core.
"""

import argparse
import time
from itertools import islice

import cv2
import numpy as np

from pervformer_ros.sim.episode import Episode
from pervformer_ros.sim.truth import Observer


def measure_frames(episode: Episode, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return wall and processor seconds of each of `count` frames with their ground truth."""
    observer = Observer(episode)
    wall, processor = [], []
    shots = islice(episode.shots(), count + 1)
    observer.observe(next(shots).sight)  # builds and lights the world
    mark = time.perf_counter(), time.process_time()
    for shot in shots:
        observer.observe(shot.sight)
        now = time.perf_counter(), time.process_time()
        wall.append(now[0] - mark[0])
        processor.append(now[1] - mark[1])
        mark = now
    return np.array(wall), np.array(processor)


def measure_rays(episode: Episode, repeats: int = 20) -> float:
    """Return the best rate of casting a picture's rays at the static world, pictures per second."""
    best = np.inf
    for tick in np.linspace(0, len(episode.log) - 1, repeats).astype(int).tolist():
        rays = episode.renderer.rays(episode.T_map_base(tick) @ episode.T_base_camera)
        start = time.process_time()
        episode.scene.cast(rays)
        best = min(best, time.process_time() - start)
    return 1.0 / best


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--scenarios", default="static_loop,busy_aisle")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    columns = ("wall fps", "core fps", "best core fps", "rays only fps")
    print(f"{'scenario':<16}" + "".join(f"{name:>15}" for name in columns))
    for scenario in arguments.scenarios.split(","):
        episode = Episode(scenario, 1)
        wall, processor = measure_frames(episode, arguments.frames)
        best = 1.0 / np.percentile(processor, 10)
        rays = measure_rays(episode)
        figures = (1 / wall.mean(), 1 / processor.mean(), best, rays)
        print(f"{scenario:<16}" + "".join(f"{figure:>15.1f}" for figure in figures))


if __name__ == "__main__":
    main()
