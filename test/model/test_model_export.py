# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The model can be trained, and can leave PyTorch."""

import pytest
import torch
from model_clips import largest_difference, random_clip, stirred_model
from torch import Tensor, nn

from pervformer_ros.model import MemoryState, Percept, PervFormer, VideoInput, create_model


class Step(nn.Module):
    """A model's step as a module's forward over plain tensors, which is what can be exported."""

    def __init__(self, model: PervFormer):
        super().__init__()
        self.model = model

    def forward(self, *tensors: Tensor) -> tuple[Percept, MemoryState]:
        given = len(VideoInput._fields)
        return self.model.step(VideoInput(*tensors[:given]), MemoryState(*tensors[given:]))


def test_a_step_is_exported_as_one_graph_that_computes_the_same() -> None:
    model = stirred_model("tiny")
    clip = random_clip(model, 1, 2)
    with torch.no_grad():
        _, state = model.step(clip.at(0), model.init_state())
        exported = torch.export.export(Step(model), (*clip.at(0), *model.init_state()))
        a = exported.module()(*clip.at(1), *state)
        b = model.step(clip.at(1), state)
    for x, y in zip(a, b, strict=True):
        assert largest_difference(x, y) <= 1e-5


@pytest.mark.parametrize("overrides", [{}, {"probes": 0}, {"stem": "patch", "class_token": True}])
def test_every_weight_gets_a_finite_gradient(overrides: dict[str, object]) -> None:
    model = create_model("tiny", **overrides)
    clip = random_clip(model, 2, 5)
    percept, state = model(clip, model.init_state(2))
    loss: Tensor = torch.stack([x.float().square().mean() for x in percept if x.numel()]).sum()
    (loss + state.h.square().mean()).backward()
    for name, parameter in model.named_parameters():
        if name.startswith("heads.probes") and not model.config.probes:
            continue
        if name.startswith(("heads.boxes", "heads.identity")):  # look at what is found, once it is
            continue
        gradient = parameter.grad
        assert gradient is not None, name
        assert torch.isfinite(gradient).all(), name
        assert gradient.any(), name
