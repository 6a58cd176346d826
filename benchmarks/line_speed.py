# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a frame costs from image to objects, events and pose, by the size of the camera's image.

    python benchmarks/line_speed.py BAG [--frames 60] [--threads 2] [--json]

The line with the weights that ship and SLAM, as `pervformer replay` runs it. Every image of the
recording is enlarged, and cut above and below where a size is flatter, and each size has a line of
its own; they take turns on every image. "times" is the median over images of what a size takes of
the first one's time for the same image: it holds on a faster or busier machine too. The load
average tells a busy one.
"""

import argparse
import os
import statistics
from itertools import islice
from pathlib import Path

import pervformer_ros  # noqa: F401  first: it sets how torch's threads wait

# isort: split
import torch
from bench import resized, tell

from pervformer_ros.bags.reader import BagReader
from pervformer_ros.pipeline import Pipeline, PipelineConfig
from pervformer_ros.slam import SlamBackend

SIZES = ((640, 480), (848, 480), (1280, 720), (1920, 1080))
WARM_UP = 10


def measure(bag: Path, count: int) -> dict[str, list[float]]:
    """Return the milliseconds of each image after the warm-up, by size."""
    lines = {size: Pipeline(PipelineConfig(), SlamBackend()) for size in SIZES}
    taken: dict[str, list[float]] = {f"{width}x{height}": [] for width, height in SIZES}
    with BagReader(bag) as reader:
        for frame in islice(reader.frames(), WARM_UP + count):
            for (size, line), milliseconds in zip(lines.items(), taken.values(), strict=True):
                milliseconds.append(line.step(resized(frame, *size)).latency_ms)
    return {size: milliseconds[WARM_UP:] for size, milliseconds in taken.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bag", type=Path)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    taken = measure(options.bag, options.frames)
    first = next(iter(taken.values()))
    if not first:
        parser.error(f"{options.bag} has no more images than the {WARM_UP} to warm up with")
    rows = [
        {
            "size": size,
            "images": len(milliseconds),
            "ms_median": round(statistics.median(milliseconds), 1),
            "times": round(
                statistics.median(a / b for a, b in zip(milliseconds, first, strict=True)), 2
            ),
        }
        for size, milliseconds in taken.items()
    ]
    about = {
        "threads": options.threads,
        "load_average_1min": round(os.getloadavg()[0], 2),
    }
    tell(about, options.json, rows, ("images", "median ms", "times"))


if __name__ == "__main__":
    main()
