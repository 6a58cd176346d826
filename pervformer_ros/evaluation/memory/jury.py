# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a report says of events, where the weights are trained and the bag tells the truth."""

from types import TracebackType
from typing import Any

from pervformer_ros.bags.ground_truth import EVENTS, GroundTruth
from pervformer_ros.bags.reader import BagReader
from pervformer_ros.evaluation.memory.record import EventRecord
from pervformer_ros.frame import Frame
from pervformer_ros.geometry import Array
from pervformer_ros.pipeline import PipelineOutput


class EventJury:
    """Compares the events that a pipeline tells with those that took place. A context manager."""

    def __init__(self, bag: BagReader):
        self._truth = GroundTruth(bag.path, bag.topics, bag.faults)
        self._record = EventRecord()
        self._T_map_base: Array | None = None

    def __enter__(self) -> "EventJury":
        self._truth.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._truth.__exit__(kind, error, trace)

    @staticmethod
    def can_judge(bag: BagReader) -> bool:
        """Whether the bag tells which events took place, and where the robot was."""
        return EVENTS in bag.types and bag.has_messages(bag.topics.truth_odometry)

    def start_anew(self) -> None:
        """Forget what was told: time went back, and so did the pipeline."""
        self._record = EventRecord()

    def hear(self, frame: Frame, output: PipelineOutput) -> None:
        """Take what the pipeline gave for a frame."""
        truth = self._truth.at(frame.stamp_ns)
        if truth is not None and truth.T_map_base is not None:
            self._T_map_base = truth.T_map_base
        if self._T_map_base is None:
            return
        self._record.hear(
            frame.stamp_ns,
            self._T_map_base,
            output.T_odom_base,
            output.objects,
            output.events,
            [] if truth is None else truth.things or [],
            [] if truth is None else truth.changes,
        )

    def verdict(self) -> dict[str, Any]:
        """Return the report's section."""
        score = self._record.events()
        figures = {
            "precision": score.precision,
            "recall": score.recall,
            "f1": score.f1,
            "latency_s_p50": score.latency_s,
        }
        return {
            "told": len(score.right) + len(score.false),
            "true": len(score.right) + len(score.missed),
            **{k: None if v is None else round(v, 4) for k, v in figures.items()},
        }
