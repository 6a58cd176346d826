# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The gated linear recurrence: RG-LRU and the causal convolution in front of it.

Griffin (De et al. 2024, https://arxiv.org/abs/2402.19427), equations 1 to 4, as used by TRecViT
(Patraucean et al. 2024, https://arxiv.org/abs/2412.14294), and one thing more: real elapsed time.
Each module computes a clip at once (`forward`) or one frame (`step`), to the same numbers.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pervformer_ros.model.config import MAX_RAD

DECAY_POWER = 8.0  # Griffin's constant c
RESET_LOG_A = -1e4
MAX_SQRT_DERIVATIVE = 1000.0


class BlockDiagonalLinear(nn.Module):
    """A linear layer of R inputs and outputs whose matrix is `blocks` equal diagonal blocks."""

    def __init__(self, width: int, blocks: int):
        super().__init__()
        self.blocks = blocks
        self.w = nn.Parameter(torch.empty(blocks, width // blocks, width // blocks))
        self.b = nn.Parameter(torch.zeros(blocks, width // blocks))
        nn.init.normal_(self.w, std=math.sqrt(blocks / width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., R) to (..., R)."""
        rows = x.reshape(-1, self.blocks, self.w.shape[1]).transpose(0, 1)
        y = torch.baddbmm(self.b[:, None], rows, self.w)  # (blocks, rows, R / blocks)
        return y.transpose(0, 1).reshape(x.shape)


class CausalConv1d(nn.Module):
    """A depthwise convolution over the current frame and the K - 1 before it."""

    def __init__(self, width: int, taps: int):
        super().__init__()
        self.w = nn.Parameter(torch.empty(taps, width))  # the last tap is the current frame
        self.b = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.w, std=math.sqrt(0.01 / taps))

    def forward(self, x: Tensor, reset: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve a clip, never looking across a reset.

        Args:
            x: (B, T, N, R).
            reset: (B, T, N) bool, True where a token's past ends before this frame.
            past: (B, K - 1, N, R) float32, the inputs before the clip.

        Returns:
            (B, T, N, R), and the past of the next frame.
        """
        taps, frames = self.w.shape[0], x.shape[1]
        x = torch.cat([past.to(x.dtype), x], dim=1)
        # Two frames of one token see each other if no reset lies between them.
        segment = F.pad(reset.cumsum(dim=1), (0, 0, taps - 1, 0))  # (B, K - 1 + T, N)
        current = segment[:, taps - 1 :]
        y = torch.addcmul(self.b, self.w[-1], x[:, taps - 1 :])
        for tap in range(taps - 1):
            same = segment[:, tap : tap + frames] == current
            y = y + self.w[tap] * x[:, tap : tap + frames] * same[..., None]
        kept = segment[:, frames:] == segment[:, -1:]
        return y, (x[:, frames:] * kept[..., None]).float()

    def step(self, x: Tensor, reset: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve one frame (B, N, R); `reset` is (B, N), the rest as in `forward`."""
        past = past * (~reset)[:, None, :, None].float()
        y = torch.addcmul(self.b, self.w[-1], x)
        for tap in range(self.w.shape[0] - 1):
            y = torch.addcmul(y, self.w[tap], past[:, tap].to(x.dtype))
        return y, torch.cat([past[:, 1:], x[:, None].float()], dim=1)


class RGLRU(nn.Module):
    """The real-gated linear recurrent unit. Its hidden state is float32 whatever the weights are.

        r = sigmoid(W_a x + b_a)             i = sigmoid(W_x x + b_x)
        log a = -8 r softplus(L) dt / dt_ref
        h_t = a h_{t-1} + sqrt(1 - a^2) (i x)

    On reset a = 0 and the gated input is not scaled. Where two frames are twice as far apart as
    usual the state decays as much as over two frames (Griffin has no dt: it is 1 there).
    """

    def __init__(self, width: int, blocks: int, min_rad: float):
        super().__init__()
        self.a_param = nn.Parameter(_ring(width, min_rad))
        self.input_gate = BlockDiagonalLinear(width, blocks)
        self.a_gate = BlockDiagonalLinear(width, blocks)

    def forward(
        self, x: Tensor, elapsed: Tensor, reset: Tensor, h: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run over a clip, in parallel over time.

        Args:
            x: (B, T, N, R).
            elapsed: (B, T) float32, time since the frame before, in units of dt_ref.
            reset: (B, T, N) bool.
            h: (B, N, R) float32, the state before the clip.

        Returns:
            (B, T, N, R), and the state after the clip.
        """
        a, gated = self._gates(x, elapsed[:, :, None, None], reset[..., None])
        y = linear_scan(a, gated, h)
        return y.to(x.dtype), y[:, -1]

    def step(self, x: Tensor, elapsed: Tensor, reset: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Run over one frame (B, N, R); `elapsed` is (B,), `reset` (B, N), h as in `forward`."""
        a, gated = self._gates(x, elapsed[:, None, None], reset[..., None])
        h = torch.addcmul(gated, a, h)
        return h.to(x.dtype), h

    def _gates(self, x: Tensor, elapsed: Tensor, reset: Tensor) -> tuple[Tensor, Tensor]:
        """Return the decay and the gated, scaled input, both float32 and shaped as x."""
        r = torch.sigmoid(self.a_gate(x)).float()
        gated = (torch.sigmoid(self.input_gate(x)) * x).float()
        rate = -DECAY_POWER * F.softplus(self.a_param.float()) * elapsed
        # On reset exp(log a) is exactly 0 and the scale exactly 1.
        log_a = torch.addcmul(RESET_LOG_A * reset.float(), r, rate)
        return torch.exp(log_a), gated * bounded_sqrt(-torch.expm1(2.0 * log_a))


def linear_scan(a: Tensor, x: Tensor, h: Tensor) -> Tensor:
    """Return all h_t = a_t h_{t-1} + x_t of a clip.

    Args:
        a: (B, T, ...) in [0, 1].
        x: (B, T, ...).
        h: (B, ...), the state before the clip.
    """
    return scan_in_order(a, x, h) if x.device.type == "cpu" else scan_in_parallel(a, x, h)


def scan_in_order(a: Tensor, x: Tensor, h: Tensor) -> Tensor:
    """Scan with the least work: one pass in all, frame by frame."""
    states = []
    for decay, gated in zip(a.unbind(1), x.unbind(1), strict=True):
        h = torch.addcmul(gated, decay, h)
        states.append(h)
    return torch.stack(states, dim=1)


def scan_in_parallel(a: Tensor, x: Tensor, h: Tensor) -> Tensor:
    """Scan in log2 T passes over the clip (Hillis-Steele), each parallel over time.

    After the pass with shift s each frame holds what the 2s frames up to it add up to. There is no
    division, and products of decays in [0, 1] can only fade: nothing overflows.
    """
    x = torch.cat([torch.addcmul(x[:, :1], a[:, :1], h[:, None]), x[:, 1:]], dim=1)
    shift = 1
    while shift < x.shape[1]:
        x = torch.cat([x[:, :shift], torch.addcmul(x[:, shift:], a[:, shift:], x[:, :-shift])], 1)
        a = torch.cat([a[:, :shift], a[:, shift:] * a[:, :-shift]], dim=1)
        shift *= 2
    return x


class _BoundedSqrt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.sqrt(x)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grads[0] * (0.5 * torch.rsqrt(x)).clamp(max=MAX_SQRT_DERIVATIVE)


def bounded_sqrt(x: Tensor) -> Tensor:
    """Return sqrt(x); its derivative, infinite at 0, is cut so that training stays finite."""
    if not (torch.is_grad_enabled() and x.requires_grad):
        return torch.sqrt(x)
    root: Tensor = _BoundedSqrt.apply(x)  # type: ignore[no-untyped-call]
    return root


def _ring(width: int, min_rad: float) -> Tensor:
    """Draw L so that exp(-softplus(L)) is uniform by area between the radii min_rad and MAX_RAD."""
    radius = torch.empty(width).uniform_(min_rad**2, MAX_RAD**2).sqrt()
    return torch.log(torch.expm1(-torch.log(radius)))
