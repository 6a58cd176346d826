# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is least where: the losses reward what they are to reward."""

import numpy as np
import pytest
import torch

from pervformer_ros.model.config import CLASSES
from pervformer_ros.training.losses import box_overlap, heat_loss, identity_loss
from pervformer_ros.training.recording import Recording
from pervformer_ros.training.targets import DenseTargets, dense_targets


@pytest.fixture
def asked(recordings: list[Recording]) -> DenseTargets:
    """Return the targets of one frame, with axes (1, 1, ...)."""
    nothing = np.zeros(recordings[0].shape, bool)
    found = dense_targets(
        np.random.default_rng(0), recordings[0], recordings[0].instance[10], nothing, nothing
    )
    return DenseTargets(*(torch.as_tensor(x)[None, None] for x in found))


def scores(asked: DenseTargets, inside: float, outside: float = 1e-6) -> torch.Tensor:
    """Return logits (1, 1, C, h, w) that say one score in objects, another everywhere else."""
    ours = torch.nn.functional.one_hot(asked.category, len(CLASSES)).movedim(-1, 2)
    ours = ours * (asked.box_weight > 0)[:, :, None]
    return torch.logit(torch.where(ours > 0, inside, outside))


@pytest.mark.parametrize("quality", [0.3, 0.6, 0.9])
def test_the_best_score_is_how_good_the_box_is(asked: DenseTargets, quality: float) -> None:
    good = torch.full_like(asked.box_weight, quality)
    best = heat_loss(scores(asked, quality), good, asked)
    for other in (quality - 0.1, quality + 0.09):
        assert heat_loss(scores(asked, other), good, asked) > best


def test_an_object_where_there_is_none_costs_unless_nobody_can_tell(asked: DenseTargets) -> None:
    good = torch.ones_like(asked.box_weight)
    quiet, loud = scores(asked, 0.9), scores(asked, 0.9, outside=0.5)
    assert heat_loss(loud, good, asked) > 10 * heat_loss(quiet, good, asked)
    nobody = asked._replace(heat_weight=asked.heat_weight * 0)
    assert heat_loss(loud, good, nobody) == 0


def test_the_same_object_in_two_streams_of_one_hall_is_not_told_from_itself(
    asked: DenseTargets,
) -> None:
    twice = DenseTargets(
        *(x.repeat(2, 2, *[1] * (x.dim() - 2)) for x in asked)
    )  # two of two frames
    rows, columns = asked.box.shape[-2:]
    embedding = torch.zeros(2, 2, int(asked.body.max()) + 1, rows * columns)
    for body, cell in zip(
        asked.body.flatten().tolist(), asked.cell.flatten().tolist(), strict=True
    ):
        embedding[:, :, body, cell] = float(body > 0)
    embedding = embedding.unflatten(3, (rows, columns))
    perfect = identity_loss(embedding, twice, torch.tensor([4, 4]))
    of_others = identity_loss(embedding, twice, torch.tensor([4, 5]))
    assert perfect < 0.01 < 0.5 < of_others


def test_overlap_is_that_of_the_boxes() -> None:
    a = torch.tensor([2.0, 1.0, 2.0, 1.0])[None, None, :, None, None]  # 4 x 2
    b = torch.tensor([1.0, 1.0, 1.0, 3.0])[None, None, :, None, None]  # 2 x 4
    assert box_overlap(a, b).item() == pytest.approx(4 / 12)
    assert box_overlap(a, a).item() == pytest.approx(1.0)
