# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""All methods along one recording, and how far each drifted."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pervformer_ros.bags.ground_truth import GroundTruth
from pervformer_ros.bags.reader import BagError, BagReader
from pervformer_ros.evaluation.cut import Taken, cut
from pervformer_ros.evaluation.pace import Pace
from pervformer_ros.evaluation.slam.drive import Drive, Run
from pervformer_ros.evaluation.slam.methods import Method
from pervformer_ros.evaluation.slam.rows import rows_of
from pervformer_ros.evaluation.slam.sight import Sight
from pervformer_ros.evaluation.table import Row
from pervformer_ros.features import FeatureSet
from pervformer_ros.frame import NANOSECONDS, Fault, Frame, InputError
from pervformer_ros.geometry import Array, Trajectory
from pervformer_ros.pipeline import PipelineConfig


@dataclass(frozen=True, slots=True)
class Recording:
    """A bag with ground truth and what its rows are called by; seed None = not simulated."""

    path: Path
    scenario: str
    seed: int | None


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
        drive, masked = Drive.begin(driven), False
        wheels: defaultdict[int, list[tuple[int, Array]]] = defaultdict(list)

        def look(frame: Frame) -> Mapping[tuple[bool, bool, bool], FeatureSet]:
            nonlocal masked
            if not needs_features:
                return {}
            moment = truth.at(frame.stamp_ns)
            moving = None if moment is None else moment.moving
            masked |= moving is not None
            if needs_masks and moving is None:
                bag.faults.add(Fault.INVALID_TRUTH, f"no true mask of {frame.stamp_ns}")
            return sight.look(frame, moving)

        def take(taken: Taken) -> None:
            nonlocal drive, masked
            if taken.epoch != drive.epoch:
                drive, masked = Drive.begin(driven, taken.epoch), False
            try:
                drive.step(taken.frame, look(taken.frame), pace.now_ns if realtime else None)
            except InputError as error:
                bag.faults.add(error.fault, str(error))

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
    if needs_masks and not masked:
        raise BagError(
            f"{recording.path} has no true mask that is mono8 and has the stamp of an image: "
            "use --masks model"
        )
    true_poses = _of_these_images(true_poses, drive.stamps_ns, recording.path)
    drive.end()
    about: Row = {"scenario": recording.scenario, "seed": recording.seed}
    read: Row = {
        "realtime": realtime,
        "frames_dropped": pace.dropped,
        "truncated": truncated is not None,
        "faults": bag.faults.total,
    }
    measured = rows_of(drive, true_poses, Trajectory.of(wheels[drive.epoch]), masks)
    rows: list[Row] = [{**about, **row, **read} for row in measured]
    return Outcome(recording, true_poses, drive.runs, rows, truncated)


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
