# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes are learned from what a model finds along shards."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from changed_weights import changed_weights

from pervformer_ros.model import PervFormer, create_model, load_model, save_model
from pervformer_ros.model.decode import LOOKED_AT
from pervformer_ros.model.looks import Corrected, Found
from pervformer_ros.training import boxes
from pervformer_ros.training.boxes import (
    LOOKS,
    Asked,
    Scene,
    box_losses,
    draw,
    learn,
    look,
    overlap,
)
from pervformer_ros.training.recording import Recording


@pytest.fixture
def model() -> PervFormer:
    """A model that finds something everywhere: it has learned nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create_model("tiny")
    with torch.no_grad():
        model.heads.patches.out.bias[: len(model.config.classes)] = -1.0
    return model.eval()


def scene(at: float = 0.4, category: int = 2, pixels: int = 900, aside: float = 0.06) -> Scene:
    """A bright square on a dark ground, found a bit aside, as a pallet."""
    model = create_model("tiny")
    rows, columns = model.config.image_size
    box = torch.tensor([at, 0.3, at + 0.3, 0.7])
    left, top, right, bottom = (box * torch.tensor([columns, rows] * 2)).round().int().tolist()
    rgb = torch.full((3, rows, columns), 40, dtype=torch.uint8)
    rgb[:, top:bottom, left:right] = 200
    return Scene(
        rgb=rgb,
        inverse_depth=(rgb[:1] / 400).half(),
        cells=torch.zeros(model.config.neck_width, rows // 8, columns // 8).bfloat16(),
        prototypes=torch.zeros(model.config.mask_size, rows // 4, columns // 4).bfloat16(),
        found=Found(
            torch.full((1, 1), 0.5),
            torch.full((1, 1), 2),
            (box + torch.tensor([aside, -0.05, aside + 0.04, 0.04]))[None, None],
            torch.zeros(1, 1, model.config.mask_size),
        ),
        box=box[None],
        category=torch.tensor([category]),
        pixels=torch.tensor([pixels]),
        body=torch.tensor([0]),
    )


def test_overlaps_are_told_one_by_one() -> None:
    a = torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.0, 0.0, 0.2, 0.2]])
    b = torch.tensor([[0.2, 0.0, 0.6, 0.4], [0.5, 0.5, 0.6, 0.6]])
    assert overlap(a, b).tolist() == pytest.approx([1 / 3, 0.0])


def test_the_right_box_with_the_right_score_costs_least() -> None:
    true = torch.tensor([[[0.2, 0.2, 0.6, 0.5]]])
    asked = Asked(true, torch.full((1, 1), 2), torch.ones(1, 1), torch.ones(1, 1))

    def loss(box: torch.Tensor, logit: float, asked: Asked, kind: int = 2) -> float:
        kinds = 9.0 * torch.eye(8)[kind]
        said = Corrected(box, torch.full((1, 1), logit), kinds[None, None])
        return float(box_losses(said, asked))

    aside = true + 0.1
    assert loss(true, 8.0, asked) < 0.01
    assert loss(true, -8.0, asked) > loss(true, 8.0, asked) + 1
    assert loss(aside, 8.0, asked) > loss(true, 8.0, asked) + 0.3
    assert loss(true, 8.0, asked, kind=3) > loss(true, -8.0, asked, kind=3) + 1 > 2, "unsure, then"
    nothing = asked._replace(true=torch.zeros(1, 1))
    assert loss(aside, -8.0, nothing) < 0.01 < 1 < loss(aside, 8.0, nothing)
    ignored = nothing._replace(counts=torch.zeros(1, 1))
    assert loss(aside, 8.0, ignored) == 0


@pytest.mark.parametrize(
    ("there", "true", "counts"),
    [
        (scene(), 1.0, 1.0),
        (scene(aside=0.0, category=3), 1.0, 1.0),
        (scene(aside=0.2, category=3), 0.0, 1.0),
        (scene(aside=0.1), 1.0, 1.0),
        (scene(pixels=20), 0.0, 0.0),
        (replace(scene(), box=torch.zeros(0, 4), category=torch.zeros(0).long(),
                 pixels=torch.zeros(0).long(), body=torch.zeros(0).long()), 0.0, 1.0),
    ],
    ids=["an object", "misnamed", "beside another", "aside", "too little of it", "nothing"],
)  # fmt: skip
def test_what_is_asked_of_a_find(there: Scene, true: float, counts: float) -> None:
    _, found, asked = draw([there], torch.Generator().manual_seed(0))
    assert found.box.shape == asked.box.shape == (1, LOOKS, 4)
    assert asked.true.unique().tolist() == [true]
    if true:
        assert asked.category.unique().tolist() == there.category.tolist()
    assert asked.counts.unique().tolist() == [counts]


def test_what_is_mirrored_is_mirrored_throughout() -> None:
    """Whatever is drawn, what is asked for is where the image is bright."""
    seen = set()
    for seed in range(12):
        picture, _, asked = draw([scene(at=0.1)], torch.Generator().manual_seed(seed))
        columns = picture.rgb[0].mean((0, 1))
        bright = torch.nonzero(columns > columns.mean()).flatten() / len(columns)
        assert float(bright[0]) == pytest.approx(float(asked.box[0, 0, 0]), abs=0.02)
        seen.add(round(float(asked.box[0, 0, 0]), 1))
    assert seen == {0.1, 0.6}


def test_a_head_learns_where_things_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "IMAGES", 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = create_model("tiny").heads.boxes
    told: list[dict[str, float]] = []
    scenes = [scene(at) for at in (0.1, 0.3, 0.5)]
    learn(head, scenes, 200, report=lambda step, found: told.append(found))
    before = sum(x["before"] for x in told[-20:]) / 20
    after = sum(x["after"] for x in told[-20:]) / 20
    assert before < 0.6
    assert after > 0.8


def test_the_same_seed_learns_the_same() -> None:
    weights = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            head = create_model("tiny").heads.boxes
        learn(head, [scene(), scene(0.1)], 3, seed=5)
        weights.append(torch.cat([p.flatten() for p in head.parameters()]))
    assert torch.equal(*weights)


def test_a_recording_gives_what_is_found_and_what_is_there(
    model: PervFormer, recordings: list[Recording]
) -> None:
    recording = recordings[0]
    scenes = look(model, recording, model.heads.boxes, LOOKED_AT)
    assert scenes
    rows, columns = model.config.image_size
    for one in scenes:
        assert one.rgb.shape == (3, rows, columns)
        assert (one.found.score >= LOOKED_AT).all()
        assert len(one.box) == len(one.category) == len(one.pixels) > 0
        assert ((one.box >= 0) & (one.box <= 1)).all()
        assert (one.box[:, 2:] > one.box[:, :2]).all()
    assert not model.heads.boxes._forward_pre_hooks


def test_who_finds_nothing_learns_nothing() -> None:
    with pytest.raises(ValueError, match="nothing was found"):
        learn(create_model("tiny").heads.boxes, [], 1)


def test_the_command_changes_the_head_for_boxes_alone(
    model: PervFormer, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_model(first, model, trained=True, card={"seeds": "0 to 1"})
    arguments = [str(shards), "--init", str(first), "--out", str(second), "--steps", "2"]
    monkeypatch.setattr("sys.argv", ["boxes", *arguments])
    boxes.main()
    changed, b = changed_weights(first, second), load_model(second)
    assert changed
    assert all(name.startswith("heads.boxes.") for name in changed)
    assert b.info.card["seeds"] == "0 to 1"
    assert b.info.card["boxes"]["seeds"] == "4 to 4"
    monkeypatch.setattr("sys.argv", ["boxes", *arguments, "--half"])
    boxes.main()
    assert second.stat().st_size < 0.7 * first.stat().st_size
