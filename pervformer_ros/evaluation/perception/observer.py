# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Watches a pipeline at work and writes down, frame by frame, what is judged later."""

from functools import partial
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pervformer_ros.bags.ground_truth import TrueMoment, boxes_of
from pervformer_ros.evaluation.perception.motion import score
from pervformer_ros.evaluation.perception.records import (
    Boxes,
    Claims,
    MotionScore,
    Record,
    Truth,
    as_boxes,
)
from pervformer_ros.frame import Frame
from pervformer_ros.geometry import Array, invert, transform_points
from pervformer_ros.memory import ObjectState, WorldObject
from pervformer_ros.model import Percept
from pervformer_ros.model.decode import LookAgain, detections
from pervformer_ros.model.fit import Fit
from pervformer_ros.model.perceiver import ProbeArrays
from pervformer_ros.pipeline import Pipeline, PipelineOutput

MODEL = "model"
# Average precision asks for the whole curve, not for what is good enough to be published.
LEAST_SCORE, MOST_DETECTIONS = 0.05, 64
PRESENT = VISIBLE = 0.5


class Observer:
    """Turns what a pipeline gives for a frame into a record. Use as a context manager."""

    def __init__(self, pipeline: Pipeline):
        self._pipeline = pipeline
        self._lives = np.zeros(pipeline.probes, np.int64)  # how often each probe was born
        self._raw: Percept | None = None
        self._look_again: LookAgain | None = None

    def __enter__(self) -> "Observer":
        heads = self._pipeline.loaded.model.heads
        self._hooks = [
            heads.register_forward_hook(self._keep),
            heads.boxes.register_forward_pre_hook(self._keep_picture),
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def record(
        self,
        frame: Frame,
        output: PipelineOutput,
        moment: TrueMoment | None,
        motion: dict[str, NDArray[np.bool_]] | None = None,
    ) -> Record:
        """Return the record of a frame.

        Args:
            frame: what the pipeline was given in its last step.
            output: what it gave.
            moment: what is true of it, None = nobody tells.
            motion: masks (H, W) of other methods, by name.
        """
        said = output.percept.motion_probability >= self._pipeline.config.motion_threshold
        return Record(
            stamp_ns=frame.stamp_ns,
            truth=None if moment is None else truth_of(frame, moment),
            detections=self._detections(frame),
            published=_visible(output.objects),
            claims={
                "probes": self._probe_claims(output.percept.probes),
                "published": _claims(output.objects, output.T_odom_base @ frame.T_base_camera),
            },
            motion=_motion(moment, {MODEL: said, **(motion or {})}),
            state_bytes=self._pipeline.state_bytes,
        )

    def _keep(self, module: Any, arguments: Any, percept: Percept) -> None:
        self._raw = percept

    def _keep_picture(self, module: Any, arguments: Any) -> None:
        self._look_again = partial(module, arguments[0])

    @torch.inference_mode()
    def _detections(self, frame: Frame) -> Boxes:
        assert self._raw is not None
        config = self._pipeline.loaded.model.config
        fit = Fit((frame.camera.height, frame.camera.width), config.image_size)
        found = detections(self._raw, LEAST_SCORE, MOST_DETECTIONS, fit, self._look_again)
        valid = found.valid[0]
        names = np.array(config.classes, np.str_)
        box = found.box[0][valid].float().cpu().numpy()
        return Boxes(
            np.arange(len(box)),
            names[found.class_index[0][valid].cpu().numpy()],
            fit.boxes_within(box),
            found.score[0][valid].float().cpu().numpy(),
        )

    def _probe_claims(self, probes: ProbeArrays) -> Claims:
        """Return what the probes claim; one that is born anew is somebody else."""
        self._lives += probes.born
        identity = np.arange(len(self._lives)) + len(self._lives) * self._lives
        there = probes.alive & (probes.presence >= PRESENT)
        box = np.where((probes.visible >= VISIBLE)[:, None], probes.box, np.nan)
        return Claims(identity[there], box[there], probes.position[there].astype(float))


def truth_of(frame: Frame, moment: TrueMoment) -> Truth | None:
    """Return the true objects of a frame, None where the bag does not tell."""
    if moment.things is None or moment.instances is None or moment.T_map_base is None:
        return None
    things = moment.things
    places = np.array([t.T_map_object[:3, 3] for t in things]).reshape(-1, 3)
    T_camera_map = invert(moment.T_map_base @ frame.T_base_camera)
    named = {t.id for t in things}
    others = {i: seen for i, seen in boxes_of(moment.instances).items() if i not in named}
    return Truth(
        id=np.array([*(t.id for t in things), *others], np.int64),
        label=np.array([*(t.label for t in things), *("" for _ in others)], np.str_),
        pixels=np.array([*(t.pixels for t in things), *(n for n, _ in others.values())], np.int64),
        box=np.array(
            [*(t.box for t in things), *(box for _, box in others.values())], np.float32
        ).reshape(-1, 4),
        position=np.concatenate(
            [transform_points(T_camera_map, places), np.full((len(others), 3), np.nan)]
        ),
    )


def _visible(objects: list[WorldObject]) -> Boxes:
    seen = [thing for thing in objects if thing.state is ObjectState.VISIBLE]
    return as_boxes(
        [thing.id for thing in seen],
        [thing.label for thing in seen],
        [_corners(thing) for thing in seen],
        [1.0 for _ in seen],
    )


def _claims(objects: list[WorldObject], T_odom_camera: Array) -> Claims:
    there = [thing for thing in objects if thing.state is not ObjectState.GONE]
    boxes = [
        _corners(thing) if thing.state is ObjectState.VISIBLE else np.full(4, np.nan)
        for thing in there
    ]
    places = np.array([thing.position for thing in there], float).reshape(-1, 3)
    return Claims(
        np.array([thing.id for thing in there], np.int64),
        np.array(boxes, float).reshape(-1, 4),
        transform_points(invert(T_odom_camera), places),
    )


def _corners(thing: WorldObject) -> NDArray[np.float32]:
    x, y, width, height = thing.box
    return np.array([x, y, x + width, y + height], np.float32)


def _motion(
    moment: TrueMoment | None, said: dict[str, NDArray[np.bool_]]
) -> dict[str, MotionScore]:
    if moment is None or moment.moving is None:
        return {}
    true = moment.moving
    return {method: score(mask, true) for method, mask in said.items()}
