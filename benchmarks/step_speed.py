# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frames per second of PervFormer on this machine, next to what the machine itself can do.

    python benchmarks/step_speed.py [--variant small] [--threads 2] [--frames 200] [--json]

Every head is on. "step" is the network alone; "perceive" is everything from a camera's uint8
640x480 image and depth to objects, keypoints, motion and the memory's births and releases. Frame n
is given the memory that frame n - 1 left, and it is told who 32 finds are. "second_look", where 32
finds end, is by itself: weights that were never trained find nothing worth it, so it is no part of
"perceive"; an image has half as many as a rule. The rate of float32 matrix products tells a slow
machine from a slow program; the load average tells a busy machine from both.
"""

import argparse
import os
import statistics
from typing import Any

import numpy as np

import pervformer_ros  # noqa: F401  first: it sets how torch's threads wait

# isort: split
import torch
from bench import tell

from pervformer_ros.evaluation.speed import perceiving, still_frame
from pervformer_ros.evaluation.stopwatch import matrix_rate, milliseconds
from pervformer_ros.model import Perceiver, load_model, state_bytes
from pervformer_ros.model.config import FINE, FINEST
from pervformer_ros.model.looks import Found, Picture

WARM_UP = 20
FINDS = 32


def time_step(perceiver: Perceiver, count: int) -> list[float]:
    """Time the network alone."""
    frame, state = still_frame(perceiver.model.config), perceiver.init_state()

    @torch.inference_mode()
    def step() -> None:
        nonlocal state
        _, state = perceiver.model.step(frame, state)

    return milliseconds(step, WARM_UP + count)[WARM_UP:]


def time_perceive(perceiver: Perceiver, count: int) -> list[float]:
    """Time everything from arrays to arrays."""
    return milliseconds(perceiving(perceiver), WARM_UP + count)[WARM_UP:]


def time_second_look(perceiver: Perceiver, count: int) -> list[float]:
    """Time the second look at as many finds as an image may have."""
    config, noise = perceiver.model.config, torch.rand
    height, width = config.image_size
    picture = Picture(
        noise(1, 3, height, width),
        noise(1, 1, height, width),
        torch.ones(1, 1, height, width),
        noise(1, config.neck_width, height // FINE, width // FINE),
        noise(1, config.mask_size, height // FINEST, width // FINEST),
    )
    low = 0.7 * noise(1, FINDS, 2)
    found = Found(
        noise(1, FINDS),
        torch.zeros(1, FINDS, dtype=torch.long),
        torch.cat([low, low + 0.3 * noise(1, FINDS, 2)], dim=-1),
        noise(1, FINDS, config.mask_size),
    )

    @torch.inference_mode()
    def look() -> None:
        perceiver.model.heads.boxes(picture, found)

    return milliseconds(look, WARM_UP + count)[WARM_UP:]


def summarise(name: str, milliseconds: list[float]) -> dict[str, Any]:
    """Return one row of the table."""
    median = statistics.median(milliseconds)
    return {
        "what": name,
        "ms_median": round(median, 2),
        "ms_p95": round(float(np.percentile(milliseconds, 95)), 2),
        "ms_min": round(min(milliseconds), 2),
        "frames_per_s": round(1e3 / median, 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="small")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    loaded = load_model(None, options.variant)
    perceiver = Perceiver(loaded.model, score_threshold=0.0)  # 32 objects
    rate = matrix_rate()
    rows = [
        summarise("step", time_step(perceiver, options.frames)),
        summarise("perceive", time_perceive(perceiver, options.frames)),
        summarise("second_look", time_second_look(perceiver, options.frames)),
    ]
    about = {
        "model": loaded.info.name,
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "state_bytes": state_bytes(perceiver.init_state()),
        "threads": options.threads,
        "matrix_gflop_per_s": round(rate, 1),
        "load_average_1min": round(os.getloadavg()[0], 2),
    }
    tell(about, options.json, rows, ("median ms", "p95 ms", "min ms", "frames/s"))


if __name__ == "__main__":
    main()
