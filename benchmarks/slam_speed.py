# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What SLAM with ORB takes of one core for each frame of a recording, part by part.

    python benchmarks/slam_speed.py BAG [--seconds 20] [--width 640] [--visual] [--json]

The figures are processor time, all threads together, so another program on the machine disturbs
them little; those of the warm-up are left out. A frame that becomes a keyframe also moves the
graph, and is told apart. "share" is the median of each part divided by that of an ordinary frame in
the same run: it holds on a faster or busier machine too. The load average tells a busy one.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from bench import resized, tell

from pervformer_ros.bags.reader import BagReader
from pervformer_ros.features import OrbExtractor, place_features, static_mask, widen
from pervformer_ros.slam import SlamBackend

WARM_UP = 20
THRESHOLD, MARGIN = 0.5, 4


def measure(bag: Path, seconds: float, width: int, visual: bool) -> dict[str, list[float]]:
    """Return the milliseconds of each part in each frame after the warm-up."""
    orb, backend = OrbExtractor(), SlamBackend()
    parts: dict[str, list[float]] = {
        name: [] for name in ("orb", "place", "back end", "back end, keyframe", "ordinary frame")
    }
    with BagReader(bag) as reader:
        first_ns = None
        for count, recorded in enumerate(reader.frames()):
            first_ns = recorded.stamp_ns if first_ns is None else first_ns
            if recorded.stamp_ns - first_ns > seconds * 1e9:
                break
            height = round(recorded.camera.height * width / recorded.camera.width)
            frame = resized(recorded, width, height)
            motion = widen(np.zeros(frame.rgb.shape[:2], np.float32), MARGIN)
            mask = static_mask(motion, THRESHOLD)
            marks = [time.process_time()]
            found = orb(frame.rgb, mask)
            marks.append(time.process_time())
            features = place_features(frame, found, motion)
            marks.append(time.process_time())
            T_odom_base = None if visual else frame.T_odom_base
            update = backend.update(features, frame.camera, frame.T_base_camera, T_odom_base)
            marks.append(time.process_time())
            if count < WARM_UP:
                continue
            detected, placed, tracked = (1e3 * np.diff(marks)).tolist()
            parts["orb"].append(detected)
            parts["place"].append(placed)
            parts["back end, keyframe" if update.is_keyframe else "back end"].append(tracked)
            if not update.is_keyframe:
                parts["ordinary frame"].append(detected + placed + tracked)
    return parts


def summarise(name: str, milliseconds: list[float], whole: float) -> dict[str, Any]:
    """Return one row of the table."""
    median = float(np.median(milliseconds)) if milliseconds else float("nan")
    return {
        "what": name,
        "frames": len(milliseconds),
        "ms_median": round(median, 2),
        "ms_p90": round(float(np.percentile(milliseconds, 90)), 2) if milliseconds else None,
        "share": round(median / whole, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bag", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--width", type=int, default=640, help="images are scaled to it")
    parser.add_argument("--visual", action="store_true", help="without odometry")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    options = parser.parse_args()

    cv2.setNumThreads(1)
    parts = measure(options.bag, options.seconds, options.width, options.visual)
    whole = float(np.median(parts["ordinary frame"]))
    rows = [summarise(name, times, whole) for name, times in parts.items()]
    about = {
        "bag": options.bag.name,
        "width": options.width,
        "cores": os.cpu_count(),
        "load_average_1min": round(os.getloadavg()[0], 2),
    }
    tell(about, options.json, rows, ("frames", "median ms", "p90 ms", "share"))


if __name__ == "__main__":
    main()
