# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A sequence in one call, in k calls and frame by frame: the same numbers."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from model_clips import (
    largest_difference,
    random_clip,
    run_by_frames,
    run_clip,
    run_in_calls,
    stirred_model,
)

from pervformer_ros.model import MemoryState, Percept, PervFormer, VideoInput, state_bytes

# The three ways add up the same numbers in another order. A float32 sum of n terms of size s is
# then off by about s * sqrt(n) * 6e-8: for the largest outputs, logits of some ten units out of
# some hundred terms, 1e-5. Blocks are residual: they add such errors up, they do not multiply them.
TOLERANCE = 2e-5

VARIANTS = [{}, {"probes": 0}, {"recurrence": False}, {"class_token": True, "stem": "patch"}]
IDS = ["full", "no_probes", "per_frame", "patch_stem"]


def assert_same(a: tuple[Percept, MemoryState], b: tuple[Percept, MemoryState]) -> None:
    assert largest_difference(a[0], b[0]) <= TOLERANCE
    assert largest_difference(a[1], b[1]) <= TOLERANCE


def changed_at(clip: VideoInput, t: int) -> VideoInput:
    """Return the clip with everything in frame t another."""
    clip = VideoInput(*(x.clone() for x in clip))
    for x in clip:
        x[:, t] = ~x[:, t] if x.dtype == torch.bool else 1.0 - x[:, t]
    return clip


@st.composite
def split_clips(draw: st.DrawFn) -> tuple[int, int, float, list[int]]:
    """Draw a number of frames, a seed, a rate of events and where to cut."""
    frames = draw(st.integers(1, 11))
    cuts = draw(st.sets(st.integers(1, frames), max_size=4))
    return (
        frames,
        draw(st.integers(0, 2**16)),
        draw(st.sampled_from([0.0, 0.2, 0.7])),
        sorted(cuts | {frames}),
    )


@pytest.mark.parametrize("overrides", VARIANTS, ids=IDS)
@settings(max_examples=12)
@given(drawn=split_clips())
def test_one_call_k_calls_and_frame_by_frame_agree(
    overrides: dict[str, object], drawn: tuple[int, int, float, list[int]]
) -> None:
    frames, seed, events, stops = drawn
    model = stirred_model("tiny", **overrides)
    clip = random_clip(model, 2, frames, seed, events)
    whole = run_clip(model, clip)
    assert_same(whole, run_in_calls(model, clip, stops))
    assert_same(whole, run_by_frames(model, clip))


@settings(max_examples=3)
@example(drawn=(5, 1, 0.2, [2, 5]))
@given(drawn=split_clips())
def test_the_shipped_size_agrees_too(drawn: tuple[int, int, float, list[int]]) -> None:
    frames, seed, events, stops = drawn
    model = stirred_model("small")
    clip = random_clip(model, 1, frames, seed, events)
    whole = run_clip(model, clip)
    assert_same(whole, run_in_calls(model, clip, stops))
    assert_same(whole, run_by_frames(model, clip))


@torch.inference_mode()
def test_after_ten_thousand_frames_the_memory_is_finite_and_no_larger() -> None:
    model = stirred_model("tiny")
    clip = random_clip(model, 1, 20, events=0.1)._replace(reset=torch.zeros(1, 20, dtype=bool))
    state = model.init_state(1)
    bytes_at_first = state_bytes(state)
    for t in range(10_000):
        _, state = model.encode_step(clip.at(t % 20), state)
    percept, state = model.step(clip.at(0), state)
    assert state_bytes(state) == bytes_at_first
    assert all(torch.isfinite(x.float()).all() for x in (*percept, *state))
    assert state.h.abs().max() < 1e3


@pytest.mark.parametrize("changed", [1, 4, 6])
def test_a_frame_changes_nothing_before_it(changed: int) -> None:
    model = stirred_model("tiny")
    clip = random_clip(model, 1, 7, events=0.0)
    before, _ = run_clip(model, clip)
    after, _ = run_clip(model, changed_at(clip, changed))
    for x, y in zip(before, after, strict=True):
        assert torch.equal(x[:, :changed], y[:, :changed])
    assert not torch.equal(before.heat[:, changed:], after.heat[:, changed:])


def test_videos_side_by_side_do_not_mix() -> None:
    model = stirred_model("tiny")
    clip = random_clip(model, 3, 5)
    together = run_clip(model, clip)
    for b in range(3):
        alone = run_clip(model, VideoInput(*(x[b : b + 1] for x in clip)))
        percept = Percept(*(x[b : b + 1] for x in together[0]))
        h, conv, *rest = together[1]
        only = slice(b, b + 1)
        state = MemoryState(h[:, only], conv[:, only], *(x[only] for x in rest))
        assert_same(alone, (percept, state))


@pytest.mark.parametrize("run", [run_clip, run_by_frames])
def test_a_reset_is_a_fresh_start(run: object) -> None:
    model = stirred_model("tiny")
    clip = random_clip(model, 1, 8, events=0.2)
    reset = torch.zeros(1, 8, dtype=torch.bool)
    reset[:, 5] = True
    clip = clip._replace(reset=reset)
    percept, state = run(model, clip)  # type: ignore[operator]
    tail = clip.between(5, 8)._replace(reset=torch.zeros(1, 3, dtype=torch.bool))
    fresh_percept, fresh_state = run(model, tail)  # type: ignore[operator]
    assert_same((Percept(*(x[:, 5:] for x in percept)), state), (fresh_percept, fresh_state))


def test_the_time_before_the_first_frame_does_not_matter() -> None:
    model = stirred_model("tiny")
    clip = random_clip(model, 1, 1, events=0.0)
    soon, late = (clip._replace(dt=torch.full((1, 1), dt)) for dt in (0.0, 9.0))
    assert largest_difference(run_clip(model, soon)[0], run_clip(model, late)[0]) == 0.0


def test_memory_reaches_back_unless_the_model_is_per_frame() -> None:
    for overrides, remembers in (({}, True), ({"recurrence": False}, False)):
        model: PervFormer = stirred_model("tiny", **overrides)
        clip = random_clip(model, 1, 7, events=0.0)
        for run in (run_clip, run_by_frames):
            last, _ = run(model, clip)
            for earlier in (0, 5):
                other, _ = run(model, changed_at(clip, earlier)._replace(birth=clip.birth))
                same = torch.equal(last.heat[:, -1], other.heat[:, -1])
                assert same is not remembers


def test_without_probes_the_percept_has_none() -> None:
    model = stirred_model("tiny", probes=0)
    percept, state = run_clip(model, random_clip(model, 1, 2))
    assert percept.presence.shape == (1, 2, 0)
    assert percept.probe_box.shape == (1, 2, 0, 4)
    assert state.alive.shape == (1, 0)
    assert torch.isfinite(percept.place).all()


def test_a_model_keeps_nothing_between_calls() -> None:
    model = stirred_model("tiny")
    clip = random_clip(model, 1, 3)
    weights = {name: x.clone() for name, x in model.state_dict().items()}
    first, state = run_by_frames(model, clip)
    run_by_frames(model, clip, state)
    again, _ = run_by_frames(model, clip)
    assert largest_difference(first, again) == 0.0
    assert all(torch.equal(x, weights[name]) for name, x in model.state_dict().items())


def test_hidden_state_is_float32_whatever_the_weights_are() -> None:
    model = stirred_model("tiny")
    half = type(model)(model.config).to(torch.bfloat16)
    half.load_state_dict(model.state_dict())
    clip = random_clip(model, 1, 3)
    percept, state = run_clip(half, clip)
    stepped, stepped_state = run_by_frames(half, clip)
    assert percept.heat.dtype == stepped.heat.dtype == torch.bfloat16
    for x in (state, stepped_state):
        assert x.h.dtype == x.conv.dtype == torch.float32
        assert state_bytes(x) == state_bytes(model.init_state(1))
    exact = run_clip(model, clip)[0].heat
    assert (percept.heat.float() - exact).abs().mean() < 0.1 * exact.abs().mean()
