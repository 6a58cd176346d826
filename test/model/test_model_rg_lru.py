# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The recurrence against its published equations, written again in float64 NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pervformer_ros.model.blocks import Block, RecurrentBlock, RecurrentState
from pervformer_ros.model.config import create_config
from pervformer_ros.model.rg_lru import (
    RGLRU,
    BlockDiagonalLinear,
    CausalConv1d,
    bounded_sqrt,
    linear_scan,
    scan_in_order,
    scan_in_parallel,
)

Array = NDArray[np.float64]


def array(x: torch.Tensor) -> Array:
    return x.detach().double().numpy()


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def gelu(x: Array) -> Array:
    return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))


def block_diagonal(layer: BlockDiagonalLinear, x: Array) -> Array:
    w, b = array(layer.w), array(layer.b)
    parts = np.split(x, len(w), axis=-1)
    return np.concatenate([p @ w[i] + b[i] for i, p in enumerate(parts)], axis=-1)


def reference(block: RecurrentBlock, x: Array, elapsed: Array, reset: NDArray[np.bool_]) -> Array:
    """Griffin's recurrent block for one token, (T, D) -> (T, D), frame after frame."""
    width = len(block.rg_lru.a_param)
    both = x @ array(block.linear_in.weight).T + array(block.linear_in.bias)
    branch, gate = both[:, :width], gelu(both[:, width:])
    taps, bias = array(block.conv.w), array(block.conv.b)
    softplus = np.log1p(np.exp(array(block.rg_lru.a_param)))
    h = np.zeros(width)
    out, start = [], 0
    for t in range(len(x)):
        if reset[t]:
            start = t
        u = bias.copy()
        for back in range(len(taps)):
            if t - back >= start:
                u += taps[-1 - back] * branch[t - back]
        r = sigmoid(block_diagonal(block.rg_lru.a_gate, u))
        i = sigmoid(block_diagonal(block.rg_lru.input_gate, u))
        a = np.exp(-8.0 * r * softplus * elapsed[t])
        h = i * u if reset[t] else a * h + np.sqrt(1.0 - a**2) * (i * u)
        out.append((h * gate[t]) @ array(block.linear_out.weight).T + array(block.linear_out.bias))
    return np.stack(out)


@settings(max_examples=25)
@given(frames=st.integers(1, 12), seed=st.integers(0, 2**16), resets=st.sampled_from([0, 0.3, 1]))
def test_recurrent_block_computes_the_published_equations(
    frames: int, seed: int, resets: float
) -> None:
    torch.manual_seed(seed)
    config = create_config("tiny", width=16, lru_width=24)
    block = RecurrentBlock(config)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    tokens = 3
    x = torch.randn(1, frames, tokens, 16)
    elapsed = 3.0 * torch.rand(1, frames)
    reset = torch.rand(1, frames, tokens) < resets
    reset[:, 0] = True
    state = RecurrentState(torch.randn(1, tokens, 24), torch.randn(1, 3, tokens, 24))
    clip, end = block(x, elapsed, reset, state)
    stepped = []
    for t in range(frames):
        y, state = block.step(x[:, t], elapsed[:, t], reset[:, t], state)
        stepped.append(y)
    for token in range(tokens):
        expected = reference(
            block, array(x[0, :, token]), array(elapsed[0]), reset[0, :, token].numpy()
        )
        np.testing.assert_allclose(array(clip[0, :, token]), expected, atol=2e-5)
        np.testing.assert_allclose(array(torch.stack(stepped, 1)[0, :, token]), expected, atol=2e-5)
    for a, b in zip(state, end, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@settings(max_examples=25)
@given(frames=st.integers(1, 70), seed=st.integers(0, 2**16))
def test_all_scans_are_the_loop(frames: int, seed: int) -> None:
    torch.manual_seed(seed)
    a = torch.rand(2, frames, 3) * (torch.rand(2, frames, 3) < 0.9)
    x, h = torch.randn(2, frames, 3), torch.randn(2, 3)
    expected = []
    y = h.double()
    for t in range(frames):
        y = a[:, t].double() * y + x[:, t].double()
        expected.append(y)
    for scan in (linear_scan, scan_in_order, scan_in_parallel):
        torch.testing.assert_close(
            scan(a, x, h).double(), torch.stack(expected, 1), atol=1e-5, rtol=1e-5
        )


def test_parallel_scan_stays_finite_where_a_product_of_decays_vanishes() -> None:
    a = torch.full((1, 4096, 1), 1e-4, requires_grad=True)
    y = scan_in_parallel(a, torch.ones(1, 4096, 1), torch.zeros(1, 1))
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(a.grad).all()


def test_one_step_of_twice_the_time_fades_like_two_steps() -> None:
    layer = RGLRU(8, 2, min_rad=0.5)
    h, nothing = torch.randn(1, 5, 8), torch.zeros(1, 5, 8)
    going_on = torch.zeros(1, 5, dtype=torch.bool)
    once, twice = torch.tensor([1.0]), torch.tensor([2.0])
    _, halfway = layer.step(nothing, once, going_on, h)
    _, in_two = layer.step(nothing, once, going_on, halfway)
    _, in_one = layer.step(nothing, twice, going_on, h)
    assert not torch.allclose(halfway, h)
    torch.testing.assert_close(in_one, in_two)


def test_no_time_no_change() -> None:
    layer = RGLRU(8, 2, min_rad=0.5)
    x, h = torch.randn(2, 1, 5, 8)
    _, after = layer.step(x, torch.zeros(1), torch.zeros(1, 5, dtype=torch.bool), h)
    torch.testing.assert_close(after, h)


def test_on_reset_the_gated_input_is_taken_unscaled() -> None:
    layer = RGLRU(8, 2, min_rad=0.5)
    x, h = torch.randn(2, 1, 5, 8)
    _, after = layer.step(x, torch.ones(1), torch.ones(1, 5, dtype=torch.bool), h)
    torch.testing.assert_close(after, torch.sigmoid(layer.input_gate(x)) * x)


@pytest.mark.parametrize("frame", range(4))
def test_convolution_does_not_look_across_a_reset(frame: int) -> None:
    conv = CausalConv1d(4, 4)
    reset = torch.zeros(1, 6, 2, dtype=torch.bool)
    reset[0, frame, 0] = True  # of the first token alone
    x, past = torch.randn(1, 6, 2, 4), torch.randn(1, 3, 2, 4)
    y, kept = conv(x, reset, past)
    other_x, other_past = x.clone(), torch.randn(1, 3, 2, 4)
    other_x[:, :frame] = 7.0
    other_y, other_kept = conv(other_x, reset, other_past)
    assert torch.equal(y[0, frame:, 0], other_y[0, frame:, 0])
    assert torch.equal(kept[:, :, 0], other_kept[:, :, 0])
    assert not torch.equal(y[0, frame, 1], other_y[0, frame, 1])


def test_square_root_has_a_bounded_derivative() -> None:
    x = torch.tensor([0.0, 1e-12, 1e-4, 4.0], requires_grad=True)
    y = bounded_sqrt(x)
    y.sum().backward()
    torch.testing.assert_close(y, x.sqrt())
    torch.testing.assert_close(x.grad, torch.tensor([1000.0, 1000.0, 50.0, 0.25]))


def test_decays_start_on_the_ring() -> None:
    layer = RGLRU(4096, 4, min_rad=0.5)
    radius = torch.exp(-torch.nn.functional.softplus(layer.a_param))
    assert radius.min() >= 0.5
    assert radius.max() <= 0.999
    # Uniform by area: half of it lies beyond the radius whose square is the middle one.
    assert abs((radius**2 > (0.5**2 + 0.999**2) / 2).float().mean() - 0.5) < 0.05


@pytest.mark.parametrize("elapsed", [0.0, 1.0])
def test_a_block_passes_finite_gradients_back_through_time(elapsed: float) -> None:
    config = create_config("tiny")
    block = Block(config)
    x = torch.randn(1, 9, 4, config.width, requires_grad=True)
    state = RecurrentState(torch.zeros(1, 4, 48), torch.zeros(1, 3, 4, 48))
    going_on = torch.zeros(1, 9, 4, dtype=torch.bool)
    y, _ = block(x, torch.full((1, 9), elapsed), going_on, state)
    y[:, -1].sum().backward()
    assert torch.isfinite(x.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in block.parameters())
    # Where no time passes the recurrence takes nothing in, so that there is nothing to pass back.
    assert bool(x.grad[:, 1].any()) is (elapsed > 0)
