# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Does memory grow while PervFormer looks on? Resident set size over many frames.

    python benchmarks/step_memory.py [--variant small] [--steps 20000] [--threads N] [--json]

Every frame is a new image, handed to a Perceiver together with what the frame before proposed.
The growth printed is from the end of the warm-up, by when every allocator has what it needs.
"""

import argparse
import statistics
import sys

import numpy as np
import psutil

import pervformer_ros  # noqa: F401  first: it sets how torch's threads wait

# isort: split
import torch
from bench import tell

from pervformer_ros.model import Perceiver, load_model, state_bytes

WARM_UP = 500
IMAGE = (240, 320)
BAR = 40


def show(done: int, total: int, mebibytes: float) -> None:
    """Draw the progress bar on a terminal."""
    if sys.stderr.isatty():
        bar = "#" * (BAR * done // total)
        print(f"\r[{bar:{BAR}}] {done}/{total}  {mebibytes:.1f} MiB", end="", file=sys.stderr)


def main() -> None:
    """Run the frames; print the median size of the first and of the last twentieth of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="small")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    options = parser.parse_args()

    warm_up = min(WARM_UP, options.steps // 2)
    process = psutil.Process()
    perceiver = Perceiver(load_model(None, options.variant).model, threads=options.threads)
    random = np.random.default_rng(0)
    state, update = perceiver.init_state(), None
    bytes_at_first = state_bytes(state)
    sizes = []  # MiB after each frame since the warm-up
    for step in range(1, options.steps + 1):
        rgb = random.integers(0, 256, (*IMAGE, 3), np.uint8)
        depth = random.uniform(0.5, 6.0, IMAGE).astype(np.float32)
        percept, state = perceiver.perceive(rgb, depth, 1 / 15, state, update)
        update = percept.update
        size = process.memory_info().rss / 2**20
        if step > warm_up:
            sizes.append(size)
        if step % 50 == 0:
            show(step, options.steps, size)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    # One sample moves by megabytes with what the allocator holds back at the moment.
    window = max(1, len(sizes) // 20)
    first, last = statistics.median(sizes[:window]), statistics.median(sizes[-window:])
    result = {
        "steps": options.steps,
        "warm_up": warm_up,
        "first_mib": round(first, 1),
        "last_mib": round(last, 1),
        "largest_mib": round(max(sizes), 1),
        "growth_percent": round(100.0 * (last / first - 1.0), 2),
        "state_bytes_first": bytes_at_first,
        "state_bytes_last": state_bytes(state),
        "state_finite": all(bool(torch.isfinite(x.float()).all()) for x in state),
    }
    tell(result, options.json)


if __name__ == "__main__":
    main()
