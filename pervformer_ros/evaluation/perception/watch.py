# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One variant along one bag: the records and whatever else is measured on the way."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pervformer_ros.bags.ground_truth import GroundTruth, TrueMoment
from pervformer_ros.bags.reader import BagError, BagReader
from pervformer_ros.evaluation.cut import cut
from pervformer_ros.evaluation.perception.homography import HomographyMotion
from pervformer_ros.evaluation.perception.matching import MatchingBench
from pervformer_ros.evaluation.perception.observer import Observer
from pervformer_ros.evaluation.perception.picture import Picture, draw_pair
from pervformer_ros.evaluation.perception.places import PlaceBench, Query
from pervformer_ros.evaluation.perception.records import Record
from pervformer_ros.features import OrbExtractor
from pervformer_ros.frame import Frame
from pervformer_ros.geometry import Array
from pervformer_ros.pipeline import Pipeline, PipelineOutput

ORB, LEARNED, HOMOGRAPHY = "orb", "pervformer", "homography"
MAX_FEATURES = 512
PICTURES = 4  # of each run


@dataclass(frozen=True, slots=True)
class Bag:
    """What to watch, or the first seconds of it.

    scenario: or the name of a recording, which has no seed.
    """

    path: Path
    scenario: str
    seed: int | None = None
    seconds: float | None = None

    @property
    def title(self) -> str:
        """What it is called in pictures."""
        return self.scenario if self.seed is None else f"{self.scenario} {self.seed}"


@dataclass(slots=True, eq=False)
class Run:
    """What one variant gave on one bag, or on what comes after time went back in it.

    truncated: why there is no more of it, None where it was read to its end.
    faults: how often something was wrong with what it holds.
    """

    bag: Bag
    records: list[Record] = field(default_factory=list)
    matching: MatchingBench = field(default_factory=MatchingBench)
    queries: list[Query] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    truncated: str | None = None
    faults: int = 0

    def start_anew(self) -> None:
        """Forget what is to be judged: time went back, and so did the pipeline."""
        self.records.clear()
        self.pictures.clear()
        self.matching = MatchingBench()


def watch(
    pipeline: Pipeline, bag: Bag, baselines: bool, progress: Callable[[], None] = lambda: None
) -> Run:
    """Run a pipeline along a bag, or as far as that can be read, and return what is to be judged.

    Where time goes back in it, what comes after is.

    Args:
        pipeline: fresh or not; it is reset.
        bag: with some ground truth.
        baselines: mask motion by a homography too.
        progress: called after each frame.

    Raises:
        BagError: if the bag cannot be read, or has no usable image.
    """
    pipeline.reset()
    run, places, orb = Run(bag), PlaceBench(), OrbExtractor(MAX_FEATURES)
    by_homography = HomographyMotion() if baselines else None
    with BagReader(bag.path) as reader, GroundTruth(bag.path, faults=reader.faults) as truth:
        every = max(1, _images_in(bag, reader) // PICTURES)
        steps = _steps(pipeline, reader, truth, bag.seconds, run)
        with Observer(pipeline) as observer:
            for index, (frame, output, moment) in enumerate(steps):
                if run.records and frame.stamp_ns < run.records[-1].stamp_ns:
                    run.start_anew()
                    places, by_homography = PlaceBench(), HomographyMotion() if baselines else None
                others = {HOMOGRAPHY: by_homography(frame.rgb)} if by_homography else {}
                record = observer.record(frame, output, moment, others)
                run.records.append(record)
                if moment is not None and moment.T_map_base is not None:
                    T_map_base = moment.T_map_base
                    places.add(frame.stamp_ns, T_map_base, output.percept.place_descriptor)
                    _match(run.matching, frame, orb, output, T_map_base)
                if index % every == every // 2:
                    threshold = pipeline.config.motion_threshold
                    picture = draw_pair(frame, moment, output, record, threshold, bag.title)
                    run.pictures.append(picture)
                progress()
    if not run.records:
        raise reader.no_usable_image(run.truncated)
    run.faults, run.queries = reader.faults.total, places.queries()
    return run


def images_of(bag: Bag) -> int:
    """Return about how many images will be watched."""
    with BagReader(bag.path) as reader:
        return _images_in(bag, reader)


def has_objects(bag: Bag) -> bool:
    """Return whether it tells what every pixel shows."""
    with GroundTruth(bag.path) as truth:
        return truth.has_objects


def _images_in(bag: Bag, reader: BagReader) -> int:
    part = 1.0 if bag.seconds is None else min(1.0, bag.seconds / max(reader.duration_s, 1e-9))
    return round(reader.image_count * part)


def _steps(
    pipeline: Pipeline, reader: BagReader, truth: GroundTruth, seconds: float | None, run: Run
) -> Iterator[tuple[Frame, PipelineOutput, TrueMoment | None]]:
    try:
        for frame, _ in cut(reader.frames(), seconds):
            yield frame, pipeline.step(frame), truth.at(frame.stamp_ns)
    except BagError as error:
        run.truncated = str(error)


def _match(
    bench: MatchingBench,
    frame: Frame,
    orb: OrbExtractor,
    output: PipelineOutput,
    T_map_base: Array,
) -> None:
    """Take a view, where one is due; ORB by itself, without the model's motion mask."""
    if not bench.wants(frame):
        return
    bench.add(frame, T_map_base, {ORB: orb(frame.rgb), LEARNED: output.percept.keypoints})
