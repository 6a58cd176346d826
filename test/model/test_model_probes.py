# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A probe's life: born, kept, released."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_clips import largest_difference, random_clip, run_by_frames, run_clip, stirred_model
from test_model_decode import empty_percept

from pervformer_ros.model import Percept, ProbeUpdate, propose
from pervformer_ros.model.decode import Detections, centre_to_corners
from pervformer_ros.model.probes import alive_after, alive_through

BOX = [0.5, 0.5, 0.4, 0.4]
ELSEWHERE = [0.1, 0.1, 0.1, 0.1]
SURE, UNSURE = 5.0, -5.0


def percept_of(
    alive: list[bool],
    presence: list[float],
    visible: list[float],
    boxes: list[list[float]],
    x: list[float] | None = None,
) -> Percept:
    """Return probes that stand x metres aside, 10 m from each other if nothing is said."""
    count = len(alive)
    position = torch.zeros(1, count, 3)
    position[0, :, 0] = torch.tensor(x) if x else 10.0 * torch.arange(count)
    return empty_percept()._replace(
        probe_position=position,
        probe_classes=torch.zeros(1, count, 3),
        alive=torch.tensor([alive]),
        presence=torch.tensor([presence]),
        visible=torch.tensor([visible]),
        probe_box=torch.tensor([boxes]),
    )


def detections_of(boxes: list[list[float]], scores: list[float]) -> Detections:
    count = len(boxes)
    return Detections(
        valid=torch.tensor([scores]) >= 0.3,
        score=torch.tensor([scores]),
        class_index=torch.zeros(1, count, dtype=torch.int64),
        box=centre_to_corners(torch.tensor([boxes])),
        mask=torch.zeros(1, count, 2, 2),
        embedding=torch.zeros(1, count, 4),
        motion=torch.zeros(1, count),
    )


def test_a_new_object_takes_the_first_free_probe() -> None:
    percept = percept_of([True, False, False], [SURE] * 3, [SURE] * 3, [ELSEWHERE, BOX, BOX])
    update = propose(detections_of([BOX], [0.9]), percept)
    assert update.birth.tolist() == [[False, True, False]]
    torch.testing.assert_close(update.birth_box[0, 1], torch.tensor(BOX))
    assert not update.release.any()


def test_an_object_that_a_probe_explains_needs_no_other() -> None:
    percept = percept_of([True, False], [SURE] * 2, [SURE] * 2, [BOX, ELSEWHERE])
    assert not propose(detections_of([BOX], [0.9]), percept).birth.any()


def test_a_probe_explains_what_it_points_at_even_if_its_box_is_wrong() -> None:
    small = [0.55, 0.45, 0.05, 0.05]
    percept = percept_of([True, False], [SURE] * 2, [SURE] * 2, [small, ELSEWHERE])
    assert not propose(detections_of([BOX], [0.9]), percept).birth.any()
    percept.probe_classes[0, 0, 1] = 1.0  # it holds something else, before or behind that
    assert propose(detections_of([BOX], [0.9]), percept).birth.any()


def test_a_hidden_object_does_not_explain_what_is_seen_in_its_place() -> None:
    percept = percept_of([True, False], [SURE] * 2, [UNSURE] * 2, [BOX, ELSEWHERE])
    assert propose(detections_of([BOX], [0.9]), percept).birth.tolist() == [[False, True]]


def test_a_weak_detection_is_not_born() -> None:
    percept = percept_of([False], [SURE], [SURE], [BOX])
    assert not propose(detections_of([BOX], [0.29]), percept).birth.any()


def test_a_probe_is_released_when_it_no_longer_believes_in_its_object() -> None:
    percept = percept_of([True, True, False], [UNSURE, SURE, UNSURE], [SURE] * 3, [BOX] * 3)
    update = propose(detections_of([ELSEWHERE], [0.1]), percept)
    assert update.release.tolist() == [[True, False, False]]


def test_of_two_probes_in_one_place_the_unseen_one_is_released() -> None:
    boxes, x = [ELSEWHERE] * 4, [1.0, 1.3, 1.3, 2.0]
    percept = percept_of([True] * 4, [SURE] * 4, [UNSURE, SURE, SURE, UNSURE], boxes, x)
    nothing = detections_of([ELSEWHERE], [0.1])
    assert propose(nothing, percept).release.tolist() == [[True, False, False, False]]
    percept.probe_classes[0, 0, 1] = 1.0  # of another class, it is something else
    assert not propose(nothing, percept).release.any()


def test_the_best_detections_come_first_when_probes_are_few() -> None:
    percept = percept_of([False, True, False], [SURE] * 3, [SURE] * 3, [ELSEWHERE] * 3)
    boxes = [[0.5, 0.5, 0.2, 0.2], [0.8, 0.5, 0.2, 0.2], [0.5, 0.8, 0.2, 0.2]]
    update = propose(detections_of(boxes, [0.9, 0.8, 0.7]), percept)
    assert update.birth.tolist() == [[True, False, True]]
    torch.testing.assert_close(update.birth_box[0, 0], torch.tensor(boxes[0]))
    torch.testing.assert_close(update.birth_box[0, 2], torch.tensor(boxes[1]))


def test_without_probes_nothing_is_born() -> None:
    model = stirred_model("tiny", probes=0)
    percept, _ = run_clip(model, random_clip(model, 1, 1))
    update = propose(detections_of([BOX], [0.9]), percept.at(0))
    assert [tuple(x.shape) for x in update] == [(1, 0), (1, 0, 4), (1, 0)]


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Detections, Percept]:
    """Draw detections in order of score, and probes in any condition."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    count, probes = draw(st.integers(1, 9)), draw(st.integers(1, 7))
    boxes = (torch.rand(count, 4) * 0.5 + 0.2).tolist()
    scores = sorted(torch.rand(count).tolist(), reverse=True)
    return detections_of(boxes, scores), percept_of(
        (torch.rand(probes) < draw(st.sampled_from([0.0, 0.5, 1.0]))).tolist(),
        (4.0 * torch.randn(probes)).tolist(),
        (4.0 * torch.randn(probes)).tolist(),
        (torch.rand(probes, 4) * 0.5 + 0.2).tolist(),
    )


@settings(max_examples=100)
@given(scene=scenes())
def test_births_and_releases_keep_to_the_rules(scene: tuple[Detections, Percept]) -> None:
    detections, percept = scene
    update = propose(detections, percept)
    alive = percept.alive
    worthy = detections.valid & (detections.score >= 0.3)
    assert not (update.birth & alive).any()  # only free probes are taken
    assert not (update.release & ~alive).any()  # only living ones are released
    assert update.birth.sum() <= worthy.sum()
    assert update.birth.sum() <= (~alive).sum()
    born = update.birth_box[update.birth]
    assert len(born.unique(dim=0)) == len(born)  # one probe to a detection
    corners = centre_to_corners(born)
    for box in corners:
        distance = (detections.box[0] - box).abs().amax(dim=-1)
        assert bool(worthy[0, distance.argmin()])
        assert distance.min() < 1e-6
    again = propose(detections, percept)
    assert all(torch.equal(x, y) for x, y in zip(update, again, strict=True))


@settings(max_examples=100)
@given(seed=st.integers(0, 2**16), frames=st.integers(1, 12))
def test_who_is_alive_follows_from_every_event_before(seed: int, frames: int) -> None:
    torch.manual_seed(seed)
    alive = torch.rand(2, 5) < 0.5
    reset = torch.rand(2, frames, 1) < 0.2
    birth, release = torch.rand(2, 2, frames, 5) < 0.3
    through = alive_through(alive, reset, birth, release)
    for t in range(frames):
        alive = alive_after(alive, reset[:, t], birth[:, t], release[:, t])
        assert torch.equal(through[:, t], alive)
        assert alive[birth[:, t]].all()
        assert not alive[(release[:, t] | reset[:, t]) & ~birth[:, t]].any()


def test_a_birth_begins_with_what_is_at_its_box() -> None:
    model = stirred_model("tiny")
    clip = random_clip(model, 1, 4, events=0.0)
    birth = torch.zeros(1, 4, 6, dtype=torch.bool)
    birth[0, 1, 2] = True
    here = clip._replace(birth=birth)
    there = here._replace(birth_box=1.0 - here.birth_box)
    with torch.inference_mode():
        none, at_here, at_there = (
            model.encode(x, model.init_state())[0].tokens[:, :, -6:] for x in (clip, here, there)
        )
    others = [0, 1, 3, 4, 5]
    assert torch.equal(at_here[:, 1, others], none[:, 1, others])  # nothing else is touched
    assert torch.equal(at_here[:, 0], none[:, 0])
    assert not torch.equal(at_here[:, 1, 2], at_there[:, 1, 2])
    assert torch.equal(at_here[:, 2:, 2], at_there[:, 2:, 2])  # its place is told it only once
    assert not torch.equal(at_here[:, 2:, 2], none[:, 2:, 2])  # but that it lives, always


def test_a_born_probe_forgets_what_it_held() -> None:
    model = stirred_model("tiny", depth=1)
    clip = random_clip(model, 1, 5, events=0.0)
    first = torch.zeros(1, 5, 6, dtype=torch.bool)
    first[0, 0, 2] = True
    second = first.clone()
    second[0, 3, 2] = True
    _, once = run_by_frames(model, clip._replace(birth=second).between(0, 4))
    _, twice = run_by_frames(model, clip._replace(birth=second & ~first).between(0, 4))
    probe = model.config.patches + 2
    assert torch.equal(once.h[:, :, probe], twice.h[:, :, probe])
    _, kept = run_by_frames(model, clip._replace(birth=first).between(0, 4))
    assert not torch.equal(kept.h[:, :, probe], once.h[:, :, probe])


def test_a_released_probe_is_free_and_empty() -> None:
    model = stirred_model("tiny", depth=1)
    clip = random_clip(model, 1, 3, events=0.0)
    birth, release = torch.zeros(2, 1, 3, 6, dtype=torch.bool)
    birth[0, 0], release[0, 2, 4] = True, True
    percept, state = run_by_frames(model, clip._replace(birth=birth, release=release))
    assert percept.alive[0].sum(dim=-1).tolist() == [6, 6, 5]
    assert not state.alive[0, 4]
    _, never = run_by_frames(model, clip.between(2, 3))
    token = model.config.patches + 4
    assert torch.equal(state.h[:, :, token], never.h[:, :, token])


def test_the_update_that_changes_nothing_changes_nothing() -> None:
    model = stirred_model("tiny")
    clip = random_clip(model, 1, 1, events=0.0).at(0)
    none = ProbeUpdate.none(1, 6)
    with torch.inference_mode():
        given, _ = model.step(clip, model.init_state())
        other, _ = model.step(clip._replace(**none._asdict()), model.init_state())
    assert largest_difference(given, other) == 0.0
