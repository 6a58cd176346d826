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
import json
import os
import statistics
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2

import pervformer_ros  # noqa: F401  first: it sets how torch's threads wait

# isort: split
import torch

from pervformer_ros.bags.reader import BagReader
from pervformer_ros.frame import Frame
from pervformer_ros.pipeline import Pipeline, PipelineConfig
from pervformer_ros.slam import SlamBackend

SIZES = ((640, 480), (848, 480), (1280, 720), (1920, 1080))
WARM_UP = 10


def resized(frame: Frame, width: int, height: int) -> Frame:
    """Return the frame as a camera with an image of another size would have it."""
    camera = frame.camera
    rows = min(camera.height, round(camera.width * height / width))
    top = (camera.height - rows) // 2
    depth = frame.depth
    if depth is not None:
        depth = cv2.resize(
            depth[top : top + rows], (width, height), interpolation=cv2.INTER_NEAREST
        )
    return replace(
        frame,
        rgb=cv2.resize(frame.rgb[top : top + rows], (width, height)),
        depth=depth,
        camera=replace(camera, height=rows, cy=camera.cy - top).scaled(width, height),
    )


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
    result = {
        "threads": options.threads,
        "load_average_1min": round(os.getloadavg()[0], 2),
        "rows": rows,
    }
    if options.json:
        print(json.dumps(result))
        return
    for name, value in list(result.items())[:-1]:
        print(f"{name:20} {value}")
    print(f"{'':20} {'images':>10} {'median ms':>10} {'times':>10}")
    for row in rows:
        size, *figures = row.values()
        print(f"{size:20} " + " ".join(f"{figure:10}" for figure in figures))


if __name__ == "__main__":
    main()
