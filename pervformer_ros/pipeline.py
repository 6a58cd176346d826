# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The line everything runs through: Frame to percept, memory, features and a corrected pose.

The live node, bag replay and evaluation all drive this one class.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.features import (
    MOTION_THRESHOLD,
    STATIC,
    FeatureSet,
    OrbExtractor,
    place_features,
    share_out,
    static_mask,
    widen,
)
from pervformer_ros.frame import NANOSECONDS, Frame
from pervformer_ros.geometry import Array
from pervformer_ros.memory import (
    Calibration,
    Corridor,
    Event,
    MemoryConfig,
    Sighting,
    Snapshot,
    SnapshotError,
    WorkingMemory,
    WorldObject,
    box_overlaps,
    place_sightings,
)
from pervformer_ros.model import (
    CheckpointError,
    LoadedModel,
    Perceiver,
    PerceptArrays,
    ProbeUpdate,
    StateError,
    card_path,
    find_weights,
    forget_patches,
    load_model,
    read_card,
    state_bytes,
)
from pervformer_ros.model.probes import EXPLAINED_IOU
from pervformer_ros.whereabouts import Whereabouts

if TYPE_CHECKING:
    from pervformer_ros.slam import SlamBackend, SlamUpdate

FEATURES = ("auto", "orb", "pervformer")
# Detections that score less are not even looked at; the memory knows which begin something.
FAINT_SCORE = 0.2
# Seconds after which the patches' memory begins anew. It was trained on streams of 5 to 18 s, and
# what it has gathered over minutes blurs what it sees; probes, which hold one thing each, go on.
PATCH_MEMORY_S = 60.0
# What is restored goes on with its own clock where the next image is no farther than this from it.
RESUMED_S = 1.0


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """How to see and what to hand on.

    checkpoint: a .safetensors file; "" for the weights that ship for the size `model`; "untrained"
        for random ones of that size.
    features: "pervformer", "orb" (OpenCV, the baseline), or "auto": the former where the weights
        were trained, else the latter.
    motion_threshold: motion probability from which a pixel does not count as static.
    mask_margin_px: by how much moving regions are widened, so that their edges grow no features.
    paths: corridors to watch, in the map frame of SLAM; without SLAM that is odom.
    """

    checkpoint: str = ""
    model: str = "small"
    features: str = "auto"
    max_features: int = 600
    device: str = "cpu"
    motion_threshold: float = MOTION_THRESHOLD
    mask_margin_px: int = 4
    paths: tuple[Corridor, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an unknown kind of features (ValueError)."""
        if self.features not in FEATURES:
            raise ValueError(f"features is '{self.features}': use one of {', '.join(FEATURES)}")


@dataclass(frozen=True, slots=True, eq=False)
class PipelineOutput:
    """What one frame gave.

    T_odom_base: where the robot is taken to be, as objects are placed.
    percept: what the model says, in the pixels of the frame's image.
    static_mask: (H, W) uint8, 255 = static and usable for SLAM, 0 = moving.
    static_depth: (H, W) float32 metres with moving pixels 0, or None without depth.
    slam: None where no back end is attached.
    """

    stamp_ns: int
    T_odom_base: Array
    percept: PerceptArrays
    objects: list[WorldObject]
    events: list[Event]
    features: FeatureSet
    static_mask: NDArray[np.uint8]
    static_depth: NDArray[np.float32] | None
    slam: "SlamUpdate | None"
    latency_ms: float


class Pipeline:
    """Perception with memory, and SLAM where a back end is given.

    Weights that were never trained mean nothing: with them the features are handed on, but there is
    no object and no event, and everything counts as static.
    """

    def __init__(self, config: PipelineConfig | None = None, slam: "SlamBackend | None" = None):
        self.config = config or PipelineConfig()
        weights = find_weights(self.config.checkpoint, self.config.model)
        self.loaded: LoadedModel = load_model(weights, self.config.model)
        self.perceiver = Perceiver(
            self.loaded.model, self.config.device, score_threshold=FAINT_SCORE
        )
        calibration = event_calibration(weights)
        self.memory = WorkingMemory(MemoryConfig(paths=self.config.paths, calibration=calibration))
        self.slam = slam
        self._orb = OrbExtractor(self.config.max_features)
        self.reset()

    def reset(self) -> None:
        """Forget everything: neural state, objects, events, and the map of the back end."""
        self._state = self.perceiver.init_state()
        self._probe_update: ProbeUpdate | None = None
        self._newest_ns: int | None = None
        self._state_ns: int | None = None
        self._patches_since_ns: int | None = None
        self._whereabouts = Whereabouts()
        self._T_map_odom: Array | None = None
        self.frames = self.probes_in_use = 0
        self.memory.reset()
        if self.slam is not None:
            self.slam.reset()

    def step(self, frame: Frame) -> PipelineOutput:
        """Take one frame."""
        started = time.perf_counter()
        # Start anew where time went backwards
        if self._newest_ns is not None and frame.stamp_ns < self._newest_ns:
            self.reset()
        elapsed_s = self._elapsed_s(frame.stamp_ns)
        self._newest_ns = self._state_ns = frame.stamp_ns
        self._refresh(frame.stamp_ns)
        # Look at the frame with what the probes remember
        percept = self._perceive(frame, elapsed_s)
        # Tell what moves from what stands still
        motion = percept.motion_probability if self.trained else _nothing_moves(frame)
        motion = widen(motion, self.config.mask_margin_px)
        mask = static_mask(motion, self.config.motion_threshold)
        self._whereabouts.note(frame, mask)
        # Find features, place them in space and weigh them by how static they are
        features = self._features(frame, percept, motion, mask)
        # Correct the pose
        slam = None
        if self.slam is not None:
            slam = self.slam.update(features, frame.camera, frame.T_base_camera, frame.T_odom_base)
        # Remember things, and tell what changed; who does not know where he is places nothing
        placed = self._whereabouts.locate(frame, slam)
        T_odom_base = self._whereabouts.T_odom_base
        sightings = self._sightings(frame, T_odom_base, percept) if self.trained and placed else []
        shown = frame if placed else replace(frame, depth=None)
        remembered = self.memory.update(shown, T_odom_base, sightings, self._T_map_odom)
        if slam is not None:
            self._T_map_odom = slam.T_map_odom
        self.frames += 1
        return PipelineOutput(
            stamp_ns=frame.stamp_ns,
            T_odom_base=T_odom_base,
            percept=percept,
            objects=remembered.objects,
            events=remembered.events,
            features=features,
            static_mask=mask,
            static_depth=_masked(frame.depth, mask),
            slam=slam,
            latency_ms=1e3 * (time.perf_counter() - started),
        )

    def correct(self, T_map_odom: Array) -> None:
        """Take where odom lies in map from a SLAM elsewhere; it counts from the next frame on.

        So it does with a back end of one's own.
        """
        self._T_map_odom = T_map_odom

    # What is remembered ---------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return what is remembered, to be written to disk."""
        state = self.perceiver.state_to_arrays(self._state)
        return Snapshot.of(self.loaded.info.identity, self._state_ns, self.memory, state)

    def restore(self, path: Path) -> Snapshot:
        """Remember what a snapshot holds, as if its last image had just been seen.

        The stamps to come may be of another clock. On an error nothing changes.

        Raises:
            SnapshotError: if the file does not fit.
        """
        snapshot = Snapshot.read(path, self.loaded.info.identity)
        try:
            self._state = self.perceiver.state_from_arrays(snapshot.state)
        except StateError as error:
            raise SnapshotError(f"{path}: {error}") from error
        self._probe_update = None  # the next image proposes the same again
        self._whereabouts.part()
        self._newest_ns, self._state_ns = None, snapshot.stamp_ns
        self._patches_since_ns = None
        snapshot.restore(self.memory)
        return snapshot

    @property
    def trained(self) -> bool:
        """Whether the weights were ever trained."""
        return self.loaded.info.trained

    @property
    def feature_kind(self) -> str:
        """What features are extracted with: "orb" or "pervformer"."""
        if self.config.features != "auto":
            return self.config.features
        return "pervformer" if self.trained else "orb"

    @property
    def model_name(self) -> str:
        """What the weights are called in reports and diagnostics."""
        return self.loaded.info.name

    @property
    def probes(self) -> int:
        """How many memory probes the model has."""
        return self.loaded.model.config.probes

    @property
    def state_bytes(self) -> int:
        """The size of the neural state, which never changes."""
        return state_bytes(self._state)

    # The steps ------------------------------------------------------------------------------

    def _elapsed_s(self, stamp_ns: int) -> float:
        """Return the time since the frame before; what was restored was just seen."""
        if self._state_ns is None:
            return 0.0
        elapsed_s = (stamp_ns - self._state_ns) / NANOSECONDS
        restored = self._newest_ns is None
        return 0.0 if restored and not 0 <= elapsed_s <= RESUMED_S else elapsed_s

    def _refresh(self, stamp_ns: int) -> None:
        """Let the patches forget what is older than all that they were trained on."""
        if self._patches_since_ns is None:
            self._patches_since_ns = stamp_ns
        elif stamp_ns - self._patches_since_ns >= PATCH_MEMORY_S * NANOSECONDS:
            self._state = forget_patches(self._state)
            self._patches_since_ns = stamp_ns

    def _perceive(self, frame: Frame, dt_s: float) -> PerceptArrays:
        percept, self._state = self.perceiver.perceive(
            frame.rgb,
            frame.depth,
            dt_s,
            self._state,
            self._probe_update,
            K=frame.camera.K,
            T_now_before=self._whereabouts.camera_motion(frame),
        )
        # Probes born at detections that mean nothing would mean nothing either.
        self._probe_update = percept.update if self.trained else None
        self.probes_in_use = int(percept.probes.alive.sum())
        return percept

    def _features(
        self,
        frame: Frame,
        percept: PerceptArrays,
        motion: NDArray[np.float32],
        mask: NDArray[np.uint8],
    ) -> FeatureSet:
        if self.feature_kind == "orb":
            found = self._orb(frame.rgb, mask)
        else:
            found = share_out(percept.keypoints, mask, self.config.max_features)
        return place_features(frame, found, motion, percept.place_descriptor)

    def _sightings(
        self, frame: Frame, T_odom_base: Array, percept: PerceptArrays
    ) -> list[Sighting]:
        found = percept.detections
        classes = self.loaded.model.config.classes
        return place_sightings(
            frame,
            T_odom_base,
            labels=[classes[i] for i in found.class_index],
            scores=found.score,
            boxes=found.box,
            masks=found.mask,
            embeddings=found.embedding,
            motion=found.motion,
            probes=_explaining_probes(percept),
        )


def event_calibration(weights: Path | None) -> Calibration:
    """Return what beliefs are worth that rest on these weights, by their card; it need not tell.

    Raises:
        CheckpointError: if what it tells is no calibration.
    """
    if weights is None or not card_path(weights).is_file():
        return Calibration()
    told = read_card(weights).get("event_confidence")
    try:
        return Calibration.of(told) if told else Calibration()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"event_confidence of {card_path(weights)} is no calibration ({error}): fit it again "
            "with python -m pervformer_ros.evaluation.memory.calibration"
        ) from error


def _explaining_probes(percept: PerceptArrays) -> list[int]:
    """Return the number of the probe that explains each detection, -1 where none does."""
    probes, boxes = percept.probes, percept.detections.box
    usable = np.flatnonzero(probes.alive & (probes.visible > 0.5))
    if not len(usable):
        return [-1] * len(boxes)
    overlap = box_overlaps(_as_sizes(boxes), _as_sizes(probes.box[usable]))
    best = overlap.argmax(axis=1)
    return [
        int(usable[i]) if row[i] > EXPLAINED_IOU else -1
        for i, row in zip(best, overlap, strict=True)
    ]


def _as_sizes(box: NDArray[np.float32]) -> Array:
    """Turn boxes (K, 4) from left, top, right, bottom to left, top, width, height."""
    return np.concatenate([box[:, :2], box[:, 2:] - box[:, :2]], axis=1).astype(float)


def _nothing_moves(frame: Frame) -> NDArray[np.float32]:
    return np.zeros(frame.rgb.shape[:2], np.float32)


def _masked(
    depth: NDArray[np.float32] | None, mask: NDArray[np.uint8]
) -> NDArray[np.float32] | None:
    return None if depth is None else np.where(mask == STATIC, depth, np.float32(0))
