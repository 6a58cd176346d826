# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""All methods along one recording, frame by frame side by side, and how far each drifted."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pervformer_ros.bags.ground_truth import GroundTruth
from pervformer_ros.bags.reader import BagError, BagReader
from pervformer_ros.evaluation.cut import Taken, cut
from pervformer_ros.evaluation.drift import measure_drift, poses_at
from pervformer_ros.evaluation.pace import Pace
from pervformer_ros.evaluation.slam.carried import carried_off, found_again_s, sees
from pervformer_ros.evaluation.slam.closures import judge_closures
from pervformer_ros.evaluation.slam.live import Corrections
from pervformer_ros.evaluation.slam.methods import Method
from pervformer_ros.evaluation.slam.sight import Sight
from pervformer_ros.evaluation.table import Row
from pervformer_ros.features import FeatureSet
from pervformer_ros.frame import NANOSECONDS, Fault, Frame, InputError
from pervformer_ros.geometry import Array, Trajectory
from pervformer_ros.pipeline import PipelineConfig
from pervformer_ros.slam import SlamBackend, SlamUpdate, TrackingState

if TYPE_CHECKING:
    from pervformer_ros.evaluation.slam.open3d_odometry import Open3dOdometry

# Of so many parts of a run the first and the last are compared: 5 minutes of half an hour's.
PARTS = 6
LEAST_FRAMES = 100  # of a part, for a 99th percentile


@dataclass(frozen=True, slots=True)
class Recording:
    """A bag with ground truth and what its rows are called by; seed None = not simulated."""

    path: Path
    scenario: str
    seed: int | None


@dataclass(slots=True, eq=False)
class Run:
    """One method's way along a recording."""

    method: Method
    backend: SlamBackend | None = None
    poses: list[tuple[int, Array]] = field(default_factory=list)  # where there is no back end
    milliseconds: list[float] = field(default_factory=list)
    lost: int = 0
    corrections: Corrections = field(default_factory=Corrections)
    online: Trajectory | None = None
    final: Trajectory | None = None

    def step(self, frame: Frame, features: FeatureSet) -> SlamUpdate:
        """Give the back end a frame."""
        assert self.backend is not None
        T_odom_base = frame.T_odom_base if self.method.odometry else None
        started = time.thread_time()  # which other work on the machine disturbs little
        update = self.backend.update(features, frame.camera, frame.T_base_camera, T_odom_base)
        self.milliseconds.append(1e3 * (time.thread_time() - started))
        self.lost += update.state is TrackingState.LOST
        return update


@dataclass(slots=True, eq=False)
class _Drive:
    """What all methods have of a recording, or of what comes after time went back in it.

    epoch: how often it went back before. stamps_ns: of the images taken. seeing: of those whose
    camera was uncovered. told: of how many of them the truth says what moves.
    """

    epoch: int
    runs: list[Run]
    baseline: "Open3dOdometry | None"
    stamps_ns: list[int] = field(default_factory=list)
    seeing: list[int] = field(default_factory=list)
    odometry: list[tuple[int, Array]] = field(default_factory=list)
    told: int = 0

    def note(self, frame: Frame) -> None:
        """Keep what drift is judged by of a frame that was taken."""
        self.stamps_ns.append(frame.stamp_ns)
        if frame.T_odom_base is not None:
            self.odometry.append((frame.stamp_ns, frame.T_odom_base))
        if sees(frame):
            self.seeing.append(frame.stamp_ns)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What became of a recording: one run and one row for each method.

    truncated: why there is no more of it, None where it was read to its end.
    """

    recording: Recording
    truth: Trajectory
    runs: list[Run]
    rows: list[Row]
    truncated: str | None = None


def run_methods(
    recording: Recording,
    methods: Sequence[Method],
    masks: str,
    config: PipelineConfig | None = None,
    seconds: float | None = None,
    every: int = 1,
    realtime: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Drive all methods along a recording, or those for which it has what they need.

    Where it breaks off, they have been driven up to there. Where time goes back in it, they begin
    anew, and what comes after is judged.

    Args:
        recording: with the true poses.
        methods: to compare.
        masks: "model" or "truth", see Sight.
        config: of the line.
        seconds: stop after so many.
        every: take every so many-th image, as a machine does that is too slow for all.
        realtime: play at the recorded pace and drop the images that come too late for all methods
            together.
        progress: called with (images done, images in all).

    Raises:
        BagError: if the bag cannot be read, has no usable image, no true poses of the same time
            or no true mask of any image where one is to be used.
        ValueError: see Sight; or if the masks are to be the truth's, and the bag tells none.
    """
    sight = Sight(methods, masks, config)
    truncated, pace = None, Pace()
    with (
        BagReader(recording.path) as bag,
        GroundTruth(recording.path, faults=bag.faults) as truth,
    ):
        driven = [method for method in methods if _has_what_it_needs(bag, method)]
        needs_masks = masks == "truth" and any(method.is_masked for method in driven)
        if needs_masks and not truth.has_motion:
            raise ValueError(f"{recording.path} does not tell what moves: use --masks model")
        needs_features = any(method.uses_back_end for method in driven)
        drive = _begin(driven)
        wheels: defaultdict[int, list[tuple[int, Array]]] = defaultdict(list)

        def take(taken: Taken) -> None:
            nonlocal drive
            if taken.epoch != drive.epoch:
                drive = _begin(driven, taken.epoch)
            frame = taken.frame
            if needs_features:
                moment = truth.at(frame.stamp_ns)
                moving = None if moment is None else moment.moving
                drive.told += moving is not None
                if needs_masks and moving is None:
                    bag.faults.add(Fault.INVALID_TRUTH, f"no true mask of {frame.stamp_ns}")
                seen = sight.look(frame, moving)
                try:
                    for run in drive.runs:
                        if run.backend is not None:
                            update = run.step(frame, seen[run.method.kind])
                            if realtime and run.method.odometry:
                                run.corrections.add(
                                    frame.stamp_ns, pace.now_ns(), update.T_map_odom
                                )
                except InputError as error:
                    bag.faults.add(error.fault, str(error))
                    return
            if drive.baseline is not None:
                drive.baseline.step(frame)
            drive.note(frame)

        def frames() -> Iterator[Taken]:
            for done, taken in enumerate(cut(bag.frames(), seconds), 1):
                progress(done, bag.image_count)
                if taken.frame.T_odom_base is not None:
                    wheels[taken.epoch].append((taken.stamp_ns, taken.frame.T_odom_base))
                if (done - 1) % every == 0:
                    yield taken

        try:
            if realtime:
                pace.play(frames(), take)
            else:
                for taken in frames():
                    take(taken)
        except BagError as error:
            truncated = str(error)
        true_poses = bag.ground_truth(None if seconds is None else drive.epoch)
    if not drive.stamps_ns:
        raise bag.no_usable_image(truncated)
    if needs_masks and not drive.told:
        raise BagError(
            f"{recording.path} has no true mask that is mono8 and has the stamp of an image: "
            "use --masks model"
        )
    true_poses = _of_these_images(true_poses, drive.stamps_ns, recording.path)
    runs, odometry, seeing = drive.runs, drive.odometry, drive.seeing
    for run in runs:
        if run.backend is not None:
            run.online, run.final = run.backend.online_trajectory(), run.backend.trajectory()
        elif run.method.name == "open3d" and drive.baseline is not None:
            run.online = run.final = drive.baseline.trajectory()
        else:
            run.online = run.final = _trajectory(odometry)
    of_odometry = measure_drift(true_poses, _trajectory(odometry)).ate_rmse_m
    rows = [_row(recording, run, true_poses, masks, of_odometry, seeing) for run in runs]
    read = {
        "realtime": realtime,
        "frames_dropped": pace.dropped,
        "truncated": truncated is not None,
        "faults": bag.faults.total,
    }
    live = _trajectory(wheels[drive.epoch])
    rows = [
        {**row, **read, **_live(run, live, true_poses)} for run, row in zip(runs, rows, strict=True)
    ]
    return Outcome(recording, true_poses, runs, rows, truncated)


def _begin(methods: Sequence[Method], epoch: int = 0) -> _Drive:
    """Return methods that have seen nothing yet."""
    baseline = None
    if any(method.name == "open3d" for method in methods):
        from pervformer_ros.evaluation.slam.open3d_odometry import Open3dOdometry

        baseline = Open3dOdometry()
    runs = [Run(method, SlamBackend() if method.uses_back_end else None) for method in methods]
    return _Drive(epoch, runs, baseline)


def _of_these_images(truth: Trajectory | None, stamps_ns: list[int], bag: Path) -> Trajectory:
    """Return the true poses up to the last image.

    Raises:
        BagError: if there are none, or none of the time of the images.
    """
    if truth is None:
        raise BagError(f"{bag} has no true poses: drift cannot be told")
    first, last = stamps_ns[0], stamps_ns[-1]
    if truth.stamps_ns[-1] < first or truth.stamps_ns[0] > last:
        poses, images = (
            f"{start / NANOSECONDS:.3f} to {end / NANOSECONDS:.3f} s"
            for start, end in ((truth.stamps_ns[0], truth.stamps_ns[-1]), (first, last))
        )
        raise BagError(f"{bag} has true poses of {poses}, images of {images}: use one clock")
    there = truth.stamps_ns <= last
    return Trajectory(truth.stamps_ns[there], truth.poses[there])


def _has_what_it_needs(bag: BagReader, method: Method) -> bool:
    """Return whether a method can be driven; without odometry, fused is visual only."""
    if method.name == "open3d":
        return bag.has_depth
    return bag.has_odometry or not method.odometry


def _row(
    recording: Recording,
    run: Run,
    truth: Trajectory,
    masks: str,
    of_odometry: float | None,
    seeing: list[int],
) -> Row:
    assert run.online is not None
    assert run.final is not None
    online, final = measure_drift(truth, run.online), measure_drift(truth, run.final)
    row: dict[str, str | int | float | bool | None] = {
        "scenario": recording.scenario,
        "seed": recording.seed,
        "method": run.method.name,
        "odometry": run.method.odometry,
        "masks": masks if run.method.is_masked else None,
        "statistic": None,
        "ate_rmse_m": final.ate_rmse_m,
        "ate_online_rmse_m": online.ate_rmse_m,
        "ate_online_to_odometry": _ratio(online.ate_rmse_m, of_odometry),
        "rpe_trans_m_per_m": final.rpe_trans_m_per_m,
        "rpe_rot_deg_per_m": final.rpe_rot_deg_per_m,
        "rpe_online_trans_m_per_m": online.rpe_trans_m_per_m,
        "frames": len(run.online),
        "poses_compared": sum(T is not None for T in poses_at(truth, run.online.stamps_ns)),
    }
    if run.backend is not None:
        closures = judge_closures(run.backend.graph(), truth)
        row |= {
            "lost": run.lost,
            "keyframes": len(run.backend.graph().poses),
            "loop_closures": closures.accepted,
            "loop_closures_false": closures.false,
            "loop_recall": closures.recall,
            "slam_ms_p50": float(np.percentile(run.milliseconds, 50)),
            "slam_ms_p99": float(np.percentile(run.milliseconds, 99)),
            "slam_ms_max": float(np.max(run.milliseconds)),
            "slam_ms_p99_growth": _growth(run.milliseconds),
            "carried_off": carried_off(truth) is not None,
            "found_again_s": found_again_s(truth, run.online, seeing),
        }
    return row


def _live(run: Run, wheels: Trajectory, truth: Trajectory) -> Row:
    """Return how far off the robot is at any image, dropped ones too, and what it waits for."""
    corrections = run.corrections
    return {
        "ate_live_rmse_m": measure_drift(truth, corrections.carry(wheels)).ate_rmse_m,
        "latency_ms_p50": corrections.latency_ms,
    }


def _growth(milliseconds: list[float]) -> float | None:
    """Return the p99 of the last of PARTS by that of the first, None where they are too short."""
    part = len(milliseconds) // PARTS
    if part < LEAST_FRAMES:
        return None
    first, last = milliseconds[:part], milliseconds[-part:]
    return float(np.percentile(last, 99) / np.percentile(first, 99))


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None


def _trajectory(poses: list[tuple[int, Array]]) -> Trajectory:
    stamps = np.array([stamp for stamp, _ in poses], np.int64)
    return Trajectory(stamps, np.array([T for _, T in poses]).reshape(-1, 4, 4))
