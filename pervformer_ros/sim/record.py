# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Record an episode as a bag with its ground truth."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pervformer_ros.bags.writer import BagWriter
from pervformer_ros.sim import messages
from pervformer_ros.sim.episode import FRAME_RATE, TICKS_PER_FRAME, Episode, Shot, frames_apart
from pervformer_ros.sim.stage import TICK
from pervformer_ros.sim.truth import Observer

COLOUR = "/camera/color/image_raw"
COLOUR_JPEG = "/camera/color/image_raw/compressed"
CAMERA_INFO = "/camera/color/camera_info"
DEPTH = "/camera/depth/image_raw"
ODOMETRY = "/odom"
TF_STATIC = "/tf_static"
TRUE_ODOMETRY = "/ground_truth/odom"
TRUE_INSTANCES = "/ground_truth/instance"
TRUE_OBJECTS = "/ground_truth/objects"
TRUE_EVENTS = "/ground_truth/events"
# The type of each message of a live stream.
TYPES = {
    COLOUR: "sensor_msgs/msg/Image",
    CAMERA_INFO: "sensor_msgs/msg/CameraInfo",
    DEPTH: "sensor_msgs/msg/Image",
    ODOMETRY: "nav_msgs/msg/Odometry",
    TF_STATIC: "tf2_msgs/msg/TFMessage",
    TRUE_ODOMETRY: "nav_msgs/msg/Odometry",
    TRUE_INSTANCES: "sensor_msgs/msg/Image",
    TRUE_OBJECTS: "pervformer_msgs/msg/TrackedObjectArray",
    TRUE_EVENTS: "pervformer_msgs/msg/SemanticEvent",
}
_EXACT = np.full(6, 1e-9)
_WHEELS = np.array([1e-3, 1e-3, 1e6, 1e6, 1e6, 3e-3])


def simulate(
    scenario: str,
    seed: int,
    out: Path,
    duration: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    raw: bool = False,
    rate: int = FRAME_RATE,
) -> Path:
    """Simulate a scenario into a bag.

    Args:
        scenario: its name.
        seed: decides layout, textures, light, camera, routes and noise.
        out: the bag's directory, which appears when it is complete.
        duration: cut off after this many seconds.
        progress: called with frames done and frames in all.
        raw: write colour as Image instead of JPEG.
        rate: images per second, 15 or a part of it; the wheels report as often as ever.

    Returns:
        `out`.

    Raises:
        ValueError: if there is no such scenario or rate.
        BagWriteError: if `out` exists.
    """
    every = frames_apart(rate)
    episode = Episode(scenario, seed, duration)
    with BagWriter(out, _notes(episode)) as bag:
        for shot, messages_of_shot in stream(episode, raw, every):
            for topic, stamp_ns, message in messages_of_shot:
                bag.write(topic, message, stamp_ns)
            if progress is not None:
                progress(shot.index + 1, len(episode))
    return out


def stream(
    episode: Episode, raw: bool = False, every: int = 1
) -> Iterator[tuple[Shot, list[tuple[str, int, Any]]]]:
    """Yield one of so many frames with the (topic, stamp, message) of it: sensors and truth."""
    start = episode.stamp_ns(0)
    T = {("base_link", "camera_color_optical_frame"): episode.T_base_camera}
    first = [(TF_STATIC, start, messages.static_transforms(start, T))]
    observer = Observer(episode)
    for shot in episode.shots(every=every):
        stamp = shot.frame.stamp_ns
        last = min(shot.tick + every * TICKS_PER_FRAME, len(episode.log))
        ticks = range(shot.tick, last)
        wheels = [(ODOMETRY, episode.stamp_ns(t), wheel_message(episode, t)) for t in ticks]
        seen = [(t, stamp, m) for t, m in shot_messages(episode, shot, raw).items()]
        objects, events = observer.observe(shot.sight)
        truth = [(TRUE_OBJECTS, stamp, messages.tracked_objects(stamp, objects))]
        truth += [(TRUE_EVENTS, stamp, messages.semantic_event(event)) for event in events]
        yield shot, [*first, *wheels, *seen, *truth]
        first = []


def wheel_message(episode: Episode, tick: int) -> Any:
    """Return the odometry message of a tick."""
    before = episode.odometry[max(tick - 1, 0)]
    step = (episode.odometry[tick] - before) / TICK
    speed = float(np.hypot(step[0], step[1]))
    stamp, T = episode.stamp_ns(tick), episode.T_odom_base(tick)
    return messages.odometry(stamp, "odom", T, (speed, float(step[2])), _WHEELS)


def shot_messages(episode: Episode, shot: Shot, raw: bool) -> dict[str, Any]:
    """Return topic -> message of one frame."""
    frame = shot.frame
    stamp, optical = frame.stamp_ns, frame.frame_id
    assert frame.depth is not None
    millimetres = np.rint(frame.depth * 1000).astype(np.uint16)
    colour = (
        {COLOUR: messages.image(stamp, optical, frame.rgb, "rgb8")}
        if raw
        else {COLOUR_JPEG: messages.jpeg(stamp, optical, frame.rgb)}
    )
    twist = _true_twist(episode, shot.tick)
    return {
        **colour,
        CAMERA_INFO: messages.camera_info(stamp, optical, frame.camera),
        DEPTH: messages.image(stamp, optical, millimetres, "16UC1"),
        TRUE_ODOMETRY: messages.odometry(stamp, "map", shot.T_map_base, twist, _EXACT),
        TRUE_INSTANCES: messages.image(stamp, optical, shot.render.instance, "16UC1"),
    }


def _true_twist(episode: Episode, tick: int) -> tuple[float, float]:
    step = (episode.log.pose[tick, 0] - episode.log.pose[max(tick - 1, 0), 0]) / TICK
    return float(np.hypot(step[0], step[1])), float(step[3])


def _notes(episode: Episode) -> dict[str, str]:
    """Return what a reader may want to know: where the bag is from, and the named paths."""
    paths = [
        {"name": p.name, "centre_line": p.centre_line.tolist(), "half_width": p.half_width}
        for p in episode.layout.paths()
    ]
    T_map_odom = episode.T_map_base(0).tolist()
    return {
        "scenario": episode.scenario.name,
        "seed": str(episode.seed),
        "paths": json.dumps(paths),
        "T_map_odom": json.dumps(T_map_odom),
    }
