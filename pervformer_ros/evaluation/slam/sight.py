# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What each method sees of a frame: one look, shared by all of them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.evaluation.slam.methods import MASKS, Method
from pervformer_ros.features import (
    FeatureSet,
    OrbExtractor,
    place_features,
    share_out,
    static_mask,
    widen,
)
from pervformer_ros.frame import Frame
from pervformer_ros.model import PerceptArrays
from pervformer_ros.pipeline import Pipeline, PipelineConfig


class Sight:
    """Looks at the frames of one recording, in order, for several methods.

    The network runs only if some method needs it, and by itself for those that know no odometry:
    for what moves it asks how the camera moved.
    """

    def __init__(self, methods: Sequence[Method], masks: str, config: PipelineConfig | None = None):
        """Make ready for the methods.

        Args:
            methods: that will be asked for.
            masks: "model", PervFormer's own, or "truth".
            config: of the line, for the network's weights and the limits of features and masks.

        Raises:
            ValueError: if there are no such masks, or the model is needed and was never trained.
        """
        if masks not in MASKS:
            raise ValueError(f"masks are '{masks}': use {' or '.join(MASKS)}")
        self.config = config or PipelineConfig()
        self._masks = masks
        self._orb = OrbExtractor(self.config.max_features)
        self._kinds = {m.kind for m in methods if m.uses_back_end}
        knowing = {kind[2] for kind in self._kinds if self._asks_network(*kind[:2])}
        self._lines = {odometry: Pipeline(self.config) for odometry in sorted(knowing)}
        for line in self._lines.values():
            if not line.trained:
                raise ValueError(
                    "the model was never trained, so it has no features or masks to speak of: name "
                    "weights by --checkpoint, or ask for --methods odometry,orb,orb_masked "
                    "--masks truth"
                )

    def look(
        self, frame: Frame, moving: NDArray[np.bool_] | None
    ) -> dict[tuple[bool, bool, bool], FeatureSet]:
        """Return the features of a frame by `Method.kind`, as far as methods need them.

        Args:
            frame: the next one.
            moving: (H, W) what truly moves in it, None where the recording does not tell.
        """
        if moving is None:
            moving = np.zeros(frame.rgb.shape[:2], np.bool_)
        unaware = replace(frame, T_odom_base=None)
        percepts = {
            odometry: line.step(frame if odometry else unaware).percept
            for odometry, line in self._lines.items()
        }
        looks: dict[tuple[bool, bool, bool | None], FeatureSet] = {}
        seen = {}
        for learned, masked, odometry in self._kinds:
            # Who asks no network sees the same with odometry and without.
            look = learned, masked, odometry if self._asks_network(learned, masked) else None
            if look not in looks:
                percept = None if look[2] is None else percepts[look[2]]
                motion = moving.astype(np.float32)
                if percept is not None and self._masks == "model":
                    motion = percept.motion_probability
                looks[look] = self._features(frame, learned, motion if masked else None, percept)
            seen[learned, masked, odometry] = looks[look]
        return seen

    def _asks_network(self, learned: bool, masked: bool) -> bool:
        return learned or (masked and self._masks == "model")

    def _features(
        self,
        frame: Frame,
        learned: bool,
        motion: NDArray[np.float32] | None,
        percept: PerceptArrays | None,
    ) -> FeatureSet:
        """Return the features of a frame; motion (H, W) is what is left out, if anything."""
        nothing = np.zeros(frame.rgb.shape[:2], np.float32)
        widened = widen(nothing if motion is None else motion, self.config.mask_margin_px)
        mask = None if motion is None else static_mask(widened, self.config.motion_threshold)
        if not learned or percept is None:
            return place_features(frame, self._orb(frame.rgb, mask), widened)
        shared = share_out(percept.keypoints, mask, self.config.max_features)
        return place_features(frame, shared, widened, percept.place_descriptor)
