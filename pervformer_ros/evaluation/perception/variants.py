# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The models under test: what a checkpoint is, and the same with a memory that forgets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pervformer_ros.model import (
    MemoryState,
    Perceiver,
    PerceptArrays,
    PervFormerConfig,
    forget_probes,
)
from pervformer_ros.pipeline import Pipeline, PipelineConfig
from pervformer_ros.slam import SlamBackend

FULL, NO_PROBES, PER_FRAME, FULL_RESET = "full", "no_probes", "per_frame", "full_reset"
VARIANTS = (FULL, FULL_RESET, NO_PROBES, PER_FRAME)


@dataclass(frozen=True, slots=True)
class Variant:
    """One model under test.

    name: what it is, read from its configuration: "full", "no_probes" or "per_frame"; or
        "full_reset", which is "full" with the probes' memory emptied before every frame.
    checkpoint: a file, "" for the weights that ship, or "untrained".
    """

    name: str
    checkpoint: str
    size: str = "small"

    def make(self, max_features: int) -> Pipeline:
        """Return a pipeline of it, with SLAM: who drifts does not know things again."""
        config = PipelineConfig(self.checkpoint, self.size, max_features=max_features)
        pipeline = Pipeline(config, SlamBackend())
        if self.name == FULL_RESET:
            pipeline.perceiver = ForgetfulPerceiver(
                pipeline.loaded.model,
                config.device,
                score_threshold=pipeline.perceiver.score_threshold,
            )
        return pipeline


class ForgetfulPerceiver(Perceiver):
    """A perceiver whose probes remember nothing: only that they hold an object."""

    def perceive(
        self, rgb: Any, depth: Any, dt_s: float, state: MemoryState, *rest: Any, **more: Any
    ) -> tuple[PerceptArrays, MemoryState]:
        """Perceive one image, see Perceiver.perceive."""
        return super().perceive(rgb, depth, dt_s, forget_probes(state), *rest, **more)


def name_of(config: PervFormerConfig) -> str:
    """Return what a configuration is called."""
    if not config.recurrence:
        return PER_FRAME
    return FULL if config.probes else NO_PROBES


def variants_of(
    checkpoints: Sequence[str], size: str = "small", wanted: Sequence[str] = VARIANTS
) -> list[Variant]:
    """Return the variants under test; a full model is also tested with a memory that forgets.

    Args:
        checkpoints: files, "" or "untrained"; several of one variant show its spread.
        size: of the weights that ship, or are untrained.
        wanted: leave out the others.

    Raises:
        CheckpointError: if one cannot be loaded.
        ValueError: if none of the wanted variants is there.
    """
    found = []
    for checkpoint in checkpoints:
        name = name_of(Pipeline(PipelineConfig(checkpoint, size)).loaded.model.config)
        found.append(Variant(name, checkpoint, size))
        if name == FULL:
            found.append(Variant(FULL_RESET, checkpoint, size))
    chosen = [variant for variant in found if variant.name in wanted]
    if not chosen:
        raise ValueError(
            f"the checkpoints are {', '.join(v.name for v in found)}, none of which is "
            f"{', '.join(wanted)}: name others with --variants or --checkpoint"
        )
    return chosen
