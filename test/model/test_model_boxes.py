# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The second look: what it looks at, and that it leaves alone what it knows nothing of."""

import copy

import pytest
import torch
from model_clips import stirred_model

from pervformer_ros.model import create_model
from pervformer_ros.model.boxes import LEAST, WIDER, BoxHead
from pervformer_ros.model.looks import GRID, Found, Picture, sample, window_of

ROWS, COLUMNS, NECK, PROTOTYPES = 64, 96, 24, 8


def picture(count: int = 1, seed: int = 0) -> Picture:
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.rand(count, *shape, generator=generator)

    return Picture(
        noise(3, ROWS, COLUMNS),
        noise(1, ROWS, COLUMNS),
        (noise(1, ROWS, COLUMNS) < 0.8).float(),
        noise(NECK, 8, 12),
        noise(PROTOTYPES, 16, 24),
    )


def finds(count: int = 1, each: int = 5, seed: int = 0) -> Found:
    generator = torch.Generator().manual_seed(seed)
    low = 0.6 * torch.rand(count, each, 2, generator=generator)
    size = 0.05 + 0.3 * torch.rand(count, each, 2, generator=generator)
    return Found(
        torch.rand(count, each, generator=generator),
        torch.randint(8, (count, each), generator=generator),
        torch.cat([low, low + size], dim=-1),
        torch.randn(count, each, PROTOTYPES, generator=generator),
    )


@pytest.fixture
def head() -> BoxHead:
    return stirred_model("tiny").heads.boxes


def test_untrained_it_leaves_finds_as_they_are() -> None:
    found = finds()
    with torch.inference_mode():
        box, logits, kinds = create_model("tiny").heads.boxes(picture(), found)
    assert torch.equal(kinds.argmax(dim=-1), found.class_index)
    assert torch.allclose(box, found.box)
    assert torch.allclose(torch.sigmoid(logits), found.score.clamp(1e-3, 1 - 1e-3), atol=1e-6)


def test_a_look_is_wider_than_the_box_and_never_too_small() -> None:
    wide, tiny = torch.tensor([[[0.2, 0.2, 0.6, 0.8], [0.5, 0.5, 0.51, 0.51]]])[0]
    looks = window_of(torch.stack([wide, tiny])[None], torch.Size((ROWS, COLUMNS)), WIDER, LEAST)[0]
    size = (looks[:, 2:] - looks[:, :2]) * torch.tensor([COLUMNS, ROWS])
    assert torch.allclose(size[0], WIDER * torch.tensor([0.4 * COLUMNS, 0.6 * ROWS]))
    assert torch.allclose(size[1], torch.tensor([LEAST, LEAST]).float())
    middle = (looks[:, :2] + looks[:, 2:]) / 2
    assert torch.allclose(middle, torch.tensor([[0.4, 0.5], [0.505, 0.505]]))


def test_maps_are_read_where_the_points_are() -> None:
    """Of a map that holds its own x and y, whatever its size, the points themselves are read."""
    points = 0.2 + 0.6 * torch.rand(2, 3, GRID, GRID, 2, generator=torch.Generator().manual_seed(0))
    for rows, columns in ((20, 30), (8, 12)):
        x = (torch.arange(columns) + 0.5) / columns
        y = ((torch.arange(rows) + 0.5) / rows)[:, None]
        maps = torch.stack([x.expand(rows, columns), y.expand(rows, columns)]).repeat(2, 1, 1, 1)
        read = sample(maps, points).permute(0, 1, 3, 4, 2)
        assert torch.allclose(read, points, atol=1e-5)


def test_each_find_is_looked_at_by_itself(head: BoxHead) -> None:
    images, found = picture(2), finds(2)
    order = torch.tensor([3, 0, 4, 2, 1])
    with torch.inference_mode():
        said = head(images, found)
        other = head(images, Found(*(x[:, order] for x in found)))
        alone = head(Picture(*(x[1:] for x in images)), Found(*(x[1:, 2:3] for x in found)))
    assert not torch.allclose(said.box, found.box)
    for x, in_other_order, by_itself, near in zip(
        said, other, alone, (1e-5, 1e-4, 1e-4), strict=True
    ):
        assert torch.allclose(in_other_order, x[:, order], atol=near)
        assert torch.allclose(by_itself[0, 0], x[1, 2], atol=near)


def test_depth_counts_only_where_it_is_valid(head: BoxHead) -> None:
    images, found = picture(), finds()
    invalid = images.depth_valid == 0
    other = images._replace(inverse_depth=images.inverse_depth.masked_fill(invalid, 7.0))
    none = images._replace(depth_valid=torch.zeros_like(images.depth_valid))
    with torch.inference_mode():
        box, otherwise, without = (head(x, found).box for x in (images, other, none))
    assert torch.equal(box, otherwise)
    assert torch.isfinite(without).all()
    assert not torch.allclose(box, without)


def test_weights_in_bfloat16_see_the_same(head: BoxHead) -> None:
    images, found = picture(), finds()
    with torch.inference_mode():
        said = head(images, found)
        rough = copy.deepcopy(head).bfloat16()(images, found)
    torch.testing.assert_close(rough.box, said.box, atol=0.01, rtol=0)
    torch.testing.assert_close(rough.logits, said.logits, atol=0.1, rtol=0.05)
    torch.testing.assert_close(rough.kinds, said.kinds, atol=0.1, rtol=0.05)


def test_a_box_never_ends_before_it_begins(head: BoxHead) -> None:
    with torch.no_grad():
        head.out.bias[:4] = torch.tensor([9.0, 9.0, -9.0, -9.0])
        box = head(picture(), finds()).box
    assert (box[..., 2:] >= box[..., :2]).all()


def test_finds_beyond_the_edge_are_looked_at_without_error(head: BoxHead) -> None:
    found = finds()._replace(box=torch.tensor([[[-0.2, 0.9, 0.1, 1.3]] * 5]))
    with torch.inference_mode():
        said = head(picture(), found)
    assert all(torch.isfinite(x).all() for x in said)
