# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Points are told from brightness nearby, relative to what is around."""

import pytest
import torch
from model_clips import random_clip, run_clip, stirred_model

from pervformer_ros.model import create_model
from pervformer_ros.model.config import create_config
from pervformer_ros.model.points import PointHeads, relative_brightness
from pervformer_ros.model.stems import MAX_INVERSE_DEPTH


def picture() -> torch.Tensor:
    """A coarse random pattern (1, 3, 64, 96) in [0.2, 0.8], always the same."""
    torch.manual_seed(0)
    return torch.rand(1, 3, 16, 24).repeat_interleave(4, 2).repeat_interleave(4, 3) * 0.6 + 0.2


@pytest.mark.parametrize("change", [lambda x: 0.7 * x, lambda x: x * 0.7 + 0.25])
def test_gain_and_offset_hardly_count(change) -> None:
    x = picture()
    before, after = relative_brightness(x), relative_brightness(change(x))
    assert (before - after).abs().mean() < 0.12 * before.abs().mean()


def test_a_plain_surface_has_no_contrast() -> None:
    assert relative_brightness(torch.full((1, 3, 64, 96), 0.4)).abs().max() < 1e-2


def test_what_is_far_away_in_the_image_does_not_count() -> None:
    heads = PointHeads(create_config("tiny"))
    one, other = picture(), picture()
    other[..., 80:] = 0.0
    with torch.no_grad():
        a, b = heads(one), heads(other)
    for x, y in zip(a, b, strict=True):
        columns = x.shape[-1] // 3  # the left third
        torch.testing.assert_close(x[..., :columns], y[..., :columns])
        assert not torch.allclose(x, y)


def test_neither_depth_nor_the_past_counts() -> None:
    model = stirred_model("tiny")
    clip = random_clip(model, 1, 3)
    far = clip._replace(inverse_depth=(clip.inverse_depth + 1).clamp(max=MAX_INVERSE_DEPTH))
    whole, _ = run_clip(model, clip)
    deeper, _ = run_clip(model, far)
    alone, _ = run_clip(model, clip.between(2, 3))
    for name in ("keypoints", "descriptors"):
        torch.testing.assert_close(getattr(whole, name), getattr(deeper, name))
        torch.testing.assert_close(getattr(whole, name)[:, 2:], getattr(alone, name))
    assert not torch.allclose(whole.heat, deeper.heat)


def test_they_are_a_small_part_of_the_model() -> None:
    model = create_model("small")
    points = sum(p.numel() for p in model.heads.points.parameters())
    assert points < 0.05 * sum(p.numel() for p in model.parameters())
