# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Who a find is: told by its own pixels and nothing else."""

import pytest
import torch
from model_clips import stirred_model

from pervformer_ros.model.identity import IdentityHead
from pervformer_ros.model.looks import GRID, Found, Picture

ROWS, COLUMNS, PROTOTYPES = 64, 96, 8
BOX = (0.25, 0.25, 0.5, 0.75)


@pytest.fixture
def head() -> IdentityHead:
    return stirred_model("tiny").heads.identity


def picture(rgb: torch.Tensor) -> Picture:
    """All that is in a box is the thing's own."""
    depth = torch.ones(1, 1, ROWS, COLUMNS)
    return Picture(
        rgb[None], depth, depth, torch.zeros(1, 24, 8, 12), torch.ones(1, PROTOTYPES, 16, 24)
    )


def found(category: int = 0) -> Found:
    return Found(
        torch.full((1, 1), 0.8),
        torch.full((1, 1), category),
        torch.tensor(BOX)[None, None],
        torch.full((1, 1, PROTOTYPES), 2.0),
    )


def colours(seed: int = 0) -> torch.Tensor:
    return torch.rand(3, ROWS, COLUMNS, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_embeddings_are_of_unit_length_and_differ_by_colours_and_class(head: IdentityHead) -> None:
    one, other = (head(picture(colours(seed)), found()) for seed in (0, 1))
    another_class = head(picture(colours()), found(3))
    assert one.shape == (1, 1, 16)
    assert torch.linalg.norm(one, dim=-1).item() == pytest.approx(1.0, abs=1e-5)
    assert (one - other).abs().max() > 1e-4
    assert (one - another_class).abs().max() > 1e-4


@torch.inference_mode()
def test_what_stands_around_does_not_matter(head: IdentityHead) -> None:
    first, second = colours(0), colours(1)
    left, top, right, bottom = (
        round(x * size) for x, size in zip(BOX, (COLUMNS, ROWS) * 2, strict=True)
    )
    own = slice(top - 1, bottom + 1), slice(left - 1, right + 1)  # a pixel is between its middles
    second[:, own[0], own[1]] = first[:, own[0], own[1]]
    assert not torch.equal(first, second)
    torch.testing.assert_close(*(head(picture(rgb), found()) for rgb in (first, second)))
    second[:, own[0], left + 4 : right - 4] = 0.9
    one, other = (head(picture(rgb), found()) for rgb in (first, second))
    assert (one - other).abs().max() > 1e-4


@torch.inference_mode()
def test_a_crop_is_colour_and_what_is_its_own(head: IdentityHead) -> None:
    rgb = torch.zeros(3, ROWS, COLUMNS)
    rgb[0] = 1.0
    crop = head.crop(picture(rgb), found())[0, 0]
    assert crop.shape == (4, GRID, GRID)
    assert (crop[0] == 1).all()
    assert (crop[1:3] == 0).all()
    inner = crop[3, 1:-1, 1:-1]
    assert (inner > 0.99).all()
    assert (crop[3, 0] == 0).all()  # above the box
