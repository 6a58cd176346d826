# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Scaled dot-product attention, by what is fastest where it runs."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q k^T / sqrt(D)) v of each (M, heads, N, D)."""
    if q.device.type == "cpu" and torch.is_grad_enabled() and q.requires_grad:
        attended: Tensor = _FrameByFrame.apply(q, k, v)  # type: ignore[no-untyped-call]
        return attended
    return F.scaled_dot_product_attention(q, k, v)


class _FrameByFrame(torch.autograd.Function):
    """One of the M after the other, so that the weights of one stay in a CPU's cache.

    torch's fused kernel is slow backwards on CPUs, and all M at once wait for memory.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (q * q.shape[-1] ** -0.5).contiguous(), k.contiguous(), v.contiguous()
        out = torch.empty_like(v)
        weights = v.new_empty(*q.shape[:3], k.shape[2])
        for m in range(len(q)):
            torch.softmax(q[m] @ k[m].transpose(1, 2), dim=-1, out=weights[m])
            torch.bmm(weights[m], v[m], out=out[m])
        ctx.save_for_backward(q, k, v, weights, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, weights, out = ctx.saved_tensors
        grad = grads[0].contiguous()
        along = (grad * out).sum(dim=-1, keepdim=True)  # what softmax's rows sum up to
        to_q, to_k, to_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for m in range(len(q)):
            torch.bmm(weights[m].transpose(1, 2), grad[m], out=to_v[m])
            to_scores = (grad[m] @ v[m].transpose(1, 2)).sub_(along[m]).mul_(weights[m])
            torch.bmm(to_scores, k[m], out=to_q[m])
            torch.bmm(to_scores.transpose(1, 2), q[m], out=to_k[m])
        return to_q * q.shape[-1] ** -0.5, to_k, to_v
