# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Replay of a bag through the line: what is measured on the way, and what the report says."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

from pervformer_ros.bags.intake import MessageBundle
from pervformer_ros.bags.reader import BagError, BagReader
from pervformer_ros.evaluation.drift import Drift, measure_drift
from pervformer_ros.evaluation.memory.jury import EventJury
from pervformer_ros.evaluation.pace import Pace
from pervformer_ros.features import MOVING, FeatureSet
from pervformer_ros.frame import Frame, InputError
from pervformer_ros.geometry import Array, Trajectory
from pervformer_ros.memory import corridors_of_bag
from pervformer_ros.pipeline import Pipeline, PipelineConfig, PipelineOutput
from pervformer_ros.slam import SlamBackend

if TYPE_CHECKING:
    from pervformer_ros.evaluation.perception.jury import Jury

SCHEMA = 1
THUMBNAILS = 6
MEGABYTE = 2**20
# What perception is judged with; a robot need not have it.
METRICS = ("torchmetrics", "pycocotools", "trackeval")


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """What is kept of one frame, besides its pose; inliers is None where nobody told."""

    stamp_ns: int
    latency_ms: float
    features: int
    features_with_depth: int
    inliers: int | None
    is_keyframe: bool


@dataclass(slots=True)
class Replay:
    """A bag's way through the line: records frame by frame, trajectories, and the summary."""

    bag: str
    features: str
    realtime: bool
    records: list[FrameRecord] = field(default_factory=list)
    dropped: int = 0
    faults: dict[str, str] = field(default_factory=dict)
    truncated: str | None = None
    rss_mb: list[float] = field(default_factory=list)
    thumbnails: list[NDArray[np.uint8]] = field(default_factory=list)
    odometry: Trajectory | None = None
    slam: Trajectory | None = None
    slam_online: Trajectory | None = None
    truth: Trajectory | None = None
    loop_closures: int = 0
    state_bytes: int = 0
    checkpoint: str = ""
    trained: bool = False
    perception: dict[str, Any] = field(default_factory=dict)
    events: dict[str, Any] | None = None

    def drift(self) -> dict[str, Drift]:
        """Return the drift of odometry and SLAM against the truth, all None without truth."""
        return {
            name: measure_drift(self.truth, poses) if self.truth and poses else Drift()
            for name, poses in (
                ("odometry", self.odometry),
                ("slam", self.slam),
                ("slam_online", self.slam_online),
            )
        }

    def report(self) -> dict[str, Any]:
        """Return report.json; null = this bag, or these weights, cannot tell."""
        latencies = [r.latency_ms for r in self.records]
        quantiles = np.percentile(latencies, (50, 95, 99)) if latencies else (None,) * 3
        counts = np.array([(r.features, r.features_with_depth) for r in self.records])
        inliers = [r.inliers for r in self.records if r.inliers is not None]
        return {
            "schema": SCHEMA,
            "bag": self.bag,
            "realtime": self.realtime,
            "truncated": self.truncated,
            "frames": len(self.records),
            "frames_dropped": self.dropped,
            "faults": self.faults,
            "latency_ms": dict(zip(("p50", "p95", "p99"), map(_rounded, quantiles), strict=True)),
            "drift": {name: asdict(drift) for name, drift in self.drift().items()},
            "loop_closures": self.loop_closures,
            "features": {
                "kind": self.features,
                "per_frame": _rounded(counts[:, 0].mean()) if len(counts) else None,
                "with_depth": _rounded(counts[:, 1].mean()) if len(counts) else None,
                "inliers": _rounded(np.mean(inliers)) if inliers else None,
                "keyframes": sum(r.is_keyframe for r in self.records),
            },
            "detection": self.perception.get("detection"),
            "tracking": self.perception.get("tracking"),
            "motion_mask": self.perception.get("motion_mask"),
            "events": self.events,
            "memory": {
                "state_bytes": self.state_bytes,
                "rss_mb_first": self.rss_mb[0] if self.rss_mb else None,
                "rss_mb_last": self.rss_mb[-1] if self.rss_mb else None,
            },
            "checkpoint": self.checkpoint,
            "trained": self.trained,
        }


def replay(
    path: Path,
    reader: BagReader,
    config: PipelineConfig,
    realtime: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    hear: Callable[[Frame, PipelineOutput], None] = lambda frame, output: None,
) -> Replay:
    """Run a bag through perception and SLAM.

    Args:
        path: what the report calls the bag.
        reader: the bag, not yet opened.
        config: of the line.
        realtime: play at the recorded pace and drop the frames that come too late.
        progress: called with (images read, images in all).
        hear: called with every frame and what the line gave for it.

    Raises:
        BagError: if the bag cannot be opened or has no usable image. A bag that breaks off is
            evaluated up to there, and the report says so.
    """
    backend = SlamBackend()
    config = replace(config, paths=config.paths or corridors_of_bag(path))
    pipeline = Pipeline(config, backend)
    result = Replay(str(path), pipeline.feature_kind, realtime)
    result.checkpoint, result.trained = pipeline.model_name, pipeline.trained
    odometry: list[tuple[int, Array]] = []
    with reader as bag, ExitStack() as stack:
        bag.count_absent()
        jury = _jury(pipeline, bag)
        events = EventJury(bag) if pipeline.trained and EventJury.can_judge(bag) else None
        asked: list[Jury | EventJury | None] = [jury, events]
        judges = [judge for judge in asked if judge is not None]
        for judge in judges:
            stack.enter_context(judge)
        intake = bag.intake()
        every = max(1, bag.image_count // THUMBNAILS)

        epoch, pace = 0, Pace()

        def work(bundle: MessageBundle) -> None:
            nonlocal epoch
            if bundle.epoch != epoch:
                epoch = bundle.epoch
                pipeline.reset()
                odometry.clear()
                for judge in judges:
                    judge.start_anew()
            try:
                frame = intake.build(bundle)
                output = pipeline.step(frame)
            except InputError as error:
                bag.faults.add(error.fault, str(error))
                return
            with pace.stopped():
                note(frame, output)

        def note(frame: Frame, output: PipelineOutput) -> None:
            if frame.T_odom_base is not None:
                odometry.append((frame.stamp_ns, frame.T_odom_base))
            if len(result.records) % every == every // 2:
                result.thumbnails.append(draw(frame.rgb, output.features, output.static_mask))
            for judge in judges:
                judge.hear(frame, output)
            hear(frame, output)
            result.records.append(_record(output))
            result.rss_mb.append(psutil.Process().memory_info().rss / MEGABYTE)

        def bundles() -> Iterator[MessageBundle]:
            for done, bundle in enumerate(bag.bundles(intake), 1):
                progress(done, bag.image_count)
                yield bundle

        try:
            if realtime:
                pace.play(bundles(), work)
            else:
                for bundle in bundles():
                    work(bundle)
        except BagError as error:
            result.truncated = str(error)
        result.dropped = pace.dropped
        result.truth = bag.ground_truth()
        if not result.records:
            raise bag.no_usable_image(result.truncated)
        result.faults = bag.faults.summary()
        if jury is not None:
            result.perception = jury.verdict()
        if events is not None:
            result.events = events.verdict()
    result.odometry = Trajectory.of(odometry) if odometry else None
    result.slam, result.slam_online = backend.trajectory(), backend.online_trajectory()
    result.loop_closures = backend.loop_closures
    result.state_bytes = pipeline.state_bytes
    return result


def _jury(pipeline: Pipeline, bag: BagReader) -> "Jury | None":
    """Return who judges perception, where that means something and can be measured."""
    if not pipeline.trained or not all(map(find_spec, METRICS)):
        return None
    from pervformer_ros.evaluation.perception.jury import Jury  # brings torchmetrics: seconds

    return Jury(pipeline, bag)


def draw(
    rgb: NDArray[np.uint8], features: FeatureSet, static_mask: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Return the image (H, W, 3) with its features (with depth: green, without: yellow).

    Where the mask (H, W) says moving, it is tinted red.
    """
    picture = rgb.copy()
    moving = static_mask == MOVING
    picture[moving] = picture[moving] // 2 + np.array([127, 0, 0], np.uint8)
    known = np.isfinite(features.points[:, 2])
    for (u, v), has_depth in zip(features.uv, known, strict=True):
        colour = (60, 220, 80) if has_depth else (240, 200, 40)
        cv2.circle(picture, (round(float(u)), round(float(v))), 2, colour, 1, cv2.LINE_AA)
    return picture


def _record(output: PipelineOutput) -> FrameRecord:
    assert output.slam is not None
    return FrameRecord(
        stamp_ns=output.stamp_ns,
        latency_ms=output.latency_ms,
        features=len(output.features),
        features_with_depth=int(np.isfinite(output.features.points[:, 2]).sum()),
        inliers=output.slam.inliers,
        is_keyframe=output.slam.is_keyframe,
    )


def _rounded(number: Any) -> float | None:
    return None if number is None else round(float(number), 3)
