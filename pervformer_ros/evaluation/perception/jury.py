# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a report says of perception, where the weights are trained and the bag tells the truth."""

from contextlib import ExitStack
from types import TracebackType
from typing import Any

from pervformer_ros.bags.ground_truth import GroundTruth
from pervformer_ros.bags.reader import BagReader
from pervformer_ros.evaluation.perception.observer import Observer
from pervformer_ros.evaluation.perception.records import Record
from pervformer_ros.evaluation.perception.rows import judge
from pervformer_ros.frame import Frame
from pervformer_ros.pipeline import Pipeline, PipelineOutput

SECTIONS = {
    "detection": ("ap50", "ap50_any_class"),
    "tracking": ("hota", "idf1", "reid", "reid_spells"),
    "motion_mask": ("motion_iou", "flicker", "false_alarm"),
}


class Jury:
    """Compares what a pipeline tells with what is true. Use as a context manager."""

    def __init__(self, pipeline: Pipeline, bag: BagReader):
        self._observer = Observer(pipeline)
        self._truth = GroundTruth(bag.path, bag.topics, bag.faults)
        self._records: list[Record] = []

    def __enter__(self) -> "Jury":
        with ExitStack() as stack:
            stack.enter_context(self._truth)
            stack.enter_context(self._observer)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def start_anew(self) -> None:
        """Forget what was told: time went back, and so did the pipeline."""
        self._records.clear()

    def hear(self, frame: Frame, output: PipelineOutput) -> None:
        """Take what the pipeline gave for a frame."""
        truth = self._truth.at(frame.stamp_ns)
        self._records.append(self._observer.record(frame, output, truth))

    def verdict(self) -> dict[str, dict[str, Any]]:
        """Return the sections of the report that this bag can fill."""
        told = {
            "detection": self._truth.has_objects,
            "tracking": self._truth.has_objects,
            "motion_mask": self._truth.has_motion,
        }
        if not any(told.values()):
            return {}
        verdict = judge([self._records])
        sections: dict[str, dict[str, Any]] = {
            name: {key: _rounded(verdict.figures[key]) for key in keys}
            for name, keys in SECTIONS.items()
            if told[name]
        }
        if "detection" in sections:
            by_class = {label: _rounded(ap50) for label, ap50 in verdict.ap50.items()}
            sections["detection"]["ap50_by_class"] = by_class
        return sections


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 4)
