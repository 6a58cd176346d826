# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Attention that training runs frame by frame is torch's own, forth and back."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pervformer_ros.model.attention import attend


def draw(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(3, 2, 7, 4, dtype=dtype, requires_grad=True) for _ in range(3)]


def test_its_gradient_is_that_of_its_values() -> None:
    assert torch.autograd.gradcheck(attend, draw())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.bfloat16, 0.03)])
def test_it_is_torchs_own(dtype: torch.dtype, tolerance: float) -> None:
    mine, theirs = draw(dtype), draw(dtype)
    a, b = attend(*mine), F.scaled_dot_product_attention(*theirs)
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)
    for y in (a, b):
        y.square().sum().backward()
    for x, y in zip(mine, theirs, strict=True):
        torch.testing.assert_close(x.grad, y.grad, atol=tolerance, rtol=tolerance)


def test_inputs_need_not_be_contiguous() -> None:
    q, k, v = draw()
    across = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    torch.testing.assert_close(attend(*across), attend(q, k, v))
