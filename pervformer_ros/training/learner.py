# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The model as training runs it: through a window, in mixed precision."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pervformer_ros.model.heads import Percept
from pervformer_ros.model.pervformer import MemoryState, PervFormer, VideoInput
from pervformer_ros.model.points import Points
from pervformer_ros.training.losses import (
    dense_losses,
    point_losses,
    probe_losses,
)
from pervformer_ros.training.streams import Batch


class Learner(nn.Module):
    """A PervFormer that looks through windows of one size.

    Its weights are the whole model's; the position of each patch is that in the whole image. So
    what is learned from a window, at a fraction of the cost, holds for the image.
    """

    def __init__(self, model: PervFormer, window: tuple[int, int]):
        super().__init__()
        self.model = model
        config = replace(model.config, image_size=window)
        # A shell of the window's shape: it lends its code, never its weights.
        with torch.device("meta"):
            self._shell = [PervFormer(config)]

    def init_state(self, streams: int) -> MemoryState:
        """Return the empty memory of so many streams."""
        device = self.model.position.device
        state = self._shell[0].init_state(streams)
        return MemoryState(*(torch.zeros_like(x, device=device) for x in state))._replace(
            fresh=torch.ones(streams, dtype=torch.bool, device=device)
        )

    def forward(self, batch: Batch, state: MemoryState) -> tuple[Percept, MemoryState]:
        """Perceive a chunk."""
        frames = batch.dt.shape[1]
        position = self.model.position[batch.tokens].mean(dim=2).repeat_interleave(frames, dim=0)
        weights = {**dict(self.model.named_parameters()), "position": position}
        result: tuple[Percept, MemoryState] = functional_call(
            self._shell[0], weights, (self.clip(batch), state)
        )
        return result

    def clip(self, batch: Batch) -> VideoInput:
        """Return what the model is shown of a chunk."""
        return VideoInput(
            rgb=batch.rgb,
            inverse_depth=batch.inverse_depth,
            depth_valid=batch.depth_valid,
            camera=batch.camera,
            ego=batch.ego,
            dt=batch.dt,
            reset=torch.zeros_like(batch.dt, dtype=torch.bool),
            birth=batch.probes.birth,
            birth_box=batch.probes.birth_box,
            release=batch.probes.release,
        )

    def points(self, batch: Batch, state: MemoryState) -> tuple[Points, MemoryState]:
        """Look at the points of a chunk alone; they remember nothing."""
        points: Points = self.model.heads.points(batch.rgb.flatten(0, 1))
        return Points(*(torch.unflatten(x, 0, batch.dt.shape) for x in points)), state

    def losses(self, batch: Batch, said: Percept | Points) -> dict[str, Tensor]:
        """Return the losses of all that the batch asks."""
        if isinstance(said, Points):
            assert batch.points is not None
            return point_losses(said, batch.points)
        assert batch.dense is not None
        losses = dense_losses(said, batch.dense, batch.world)
        if self.model.config.probes:
            losses |= probe_losses(said, batch.probes, batch.dense)
        return losses
