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
        self._lines = {
            odometry: Pipeline(self.config)
            for learned, masked, odometry in sorted(self._kinds)
            if learned or (masked and masks == "model")
        }
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
        nothing = np.zeros(frame.rgb.shape[:2], np.float32)
        true = nothing if moving is None else moving.astype(np.float32)
        unaware = replace(frame, T_odom_base=None)
        percepts = {
            odometry: line.step(frame if odometry else unaware).percept
            for odometry, line in self._lines.items()
        }
        seen = {}
        for learned, masked, odometry in self._kinds:
            percept = percepts.get(odometry)
            motion = true
            if percept is not None and self._masks == "model":
                motion = percept.motion_probability
            widened = widen(motion if masked else nothing, self.config.mask_margin_px)
            mask = static_mask(widened, self.config.motion_threshold) if masked else None
            if learned and percept is not None:
                found, place = percept.keypoints, percept.place_descriptor
                shared = share_out(found, mask, self.config.max_features)
                features = place_features(frame, shared, widened, place)
            else:
                features = place_features(frame, self._orb(frame.rgb, mask), widened)
            seen[learned, masked, odometry] = features
        return seen
