# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What goes into the model, and what may be missing from it."""

import pytest
import torch
from model_clips import largest_difference, random_clip, run_clip, stirred_model

from pervformer_ros.model import create_model
from pervformer_ros.model.sampling import sample_bilinear

BOTH_STEMS = pytest.mark.parametrize("stem", ["conv", "patch"])


@BOTH_STEMS
def test_colour_alone_is_enough(stem: str) -> None:
    model = stirred_model("tiny", stem=stem)
    clip = random_clip(model, 1, 3)
    clip = clip._replace(depth_valid=torch.zeros_like(clip.depth_valid))
    percept, state = run_clip(model, clip)
    assert all(torch.isfinite(x.float()).all() for x in (*percept, *state))


@BOTH_STEMS
@pytest.mark.parametrize("content", [0.0, 3.0, float("nan"), float("inf")])
def test_depth_is_not_read_where_it_is_not_valid(stem: str, content: float) -> None:
    model = stirred_model("tiny", stem=stem)
    clip = random_clip(model, 1, 3)
    other = clip.inverse_depth.masked_fill(clip.depth_valid == 0, content)
    given, _ = run_clip(model, clip)
    changed, _ = run_clip(model, clip._replace(inverse_depth=other))
    assert largest_difference(given, changed) == 0.0


@BOTH_STEMS
def test_depth_counts_where_it_is_valid(stem: str) -> None:
    model = stirred_model("tiny", stem=stem)
    clip = random_clip(model, 1, 1)
    with_depth, _ = run_clip(model, clip)
    without, _ = run_clip(model, clip._replace(depth_valid=torch.zeros_like(clip.depth_valid)))
    assert largest_difference(with_depth, without) > 1e-3


def test_an_untrained_patch_stem_gives_depth_no_say_in_the_tokens() -> None:
    model = create_model("tiny", stem="patch")
    clip = random_clip(model, 1, 2)
    other = clip._replace(depth_valid=torch.zeros_like(clip.depth_valid))
    with torch.inference_mode():
        given, changed = (model.encode(x, model.init_state())[0] for x in (clip, other))
    assert torch.equal(given.tokens, changed.tokens)
    assert not torch.equal(given.skip, changed.skip)


def test_outputs_have_the_shapes_they_say() -> None:
    model = stirred_model("tiny")
    percept, _ = run_clip(model, random_clip(model, 2, 3))
    shapes = {name: tuple(x.shape[2:]) for name, x in percept._asdict().items()}
    assert {x.shape[:2] for x in percept} == {(2, 3)}
    assert shapes == {
        "heat": (8, 8, 12),
        "box": (4, 8, 12),
        "mask_coefficients": (8, 8, 12),
        "mask_prototypes": (8, 16, 24),
        "embedding": (16, 8, 12),
        "motion": (16, 24),
        "cells": (24, 8, 12),
        "keypoints": (65, 8, 12),
        "descriptors": (32, 16, 24),
        "alive": (6,),
        "presence": (6,),
        "visible": (6,),
        "probe_classes": (6, 8),
        "probe_box": (6, 4),
        "probe_position": (6, 3),
        "probe_motion": (6,),
        "probe_velocity": (6, 3),
        "probe_gain": (6,),
        "probe_attention": (6, 8, 12),
        "place": (32,),
    }


def test_what_is_called_unit_has_length_one() -> None:
    model = stirred_model("tiny")
    percept, _ = run_clip(model, random_clip(model, 1, 2))
    for x in (percept.embedding, percept.descriptors, percept.place):
        length = x.norm(dim=2)
        torch.testing.assert_close(length, torch.ones_like(length))


def test_untrained_heads_expect_little() -> None:
    model = create_model("tiny")
    percept, _ = run_clip(model, random_clip(model, 1, 2))
    assert torch.sigmoid(percept.heat).mean() < 0.1
    assert torch.sigmoid(percept.presence).mean() < 0.3
    assert (percept.box > 0).all()
    cell = torch.tensor([12.0, 8.0, 12.0, 8.0])[:, None, None]
    assert (percept.box * cell).log().mean().abs() < 0.3  # about a cell to each side
    assert ((percept.probe_box > 0) & (percept.probe_box < 1)).all()


def test_what_a_token_knows_comes_out_where_the_token_is() -> None:
    model = stirred_model("tiny")
    tokens, skip = torch.randn(1, 4 * 6, 48), torch.randn(1, 24, 8, 12)
    other = tokens.clone()
    other[:, 2 * 6 + 4] += 1.0  # row 2, column 4
    with torch.inference_mode():
        heat, changed = (model.heads.patches(x, skip)[0]["heat"] for x in (tokens, other))
    rows, columns = (heat != changed)[0].any(dim=0).nonzero().unbind(dim=1)
    # Cells 4 and 5 by 8 and 9 are its own; two 3x3 convolutions reach two cells beyond.
    assert (rows.min(), rows.max()) == (4 - 2, 5 + 2)
    assert (columns.min(), columns.max()) == (8 - 2, 9 + 2)


def test_between_its_cells_a_map_is_read_linearly() -> None:
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    maps = torch.stack([columns, rows, torch.ones(4, 6)])[None]
    where = torch.tensor([[[0.25, 0.25], [2.6 / 6, 1.7 / 4], [0.0, 0.0], [1.0, 1.0]]])
    expected = torch.tensor([[1.0, 0.5, 1.0], [2.1, 1.2, 1.0], [0.0, 0.0, 1.0], [5.0, 3.0, 1.0]])
    torch.testing.assert_close(sample_bilinear(maps, where), expected[None])
