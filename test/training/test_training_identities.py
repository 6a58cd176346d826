# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Identities are learned from how the same things look from moment to moment."""

import math
from pathlib import Path

import pytest
import torch
from changed_weights import changed_weights

from pervformer_ros.model import create_model, load_model, save_model
from pervformer_ros.model.identity import IdentityHead
from pervformer_ros.model.looks import GRID
from pervformer_ros.training import identities
from pervformer_ros.training.identities import (
    RIVALS,
    TIMES,
    VIEWS,
    Lives,
    Who,
    changed,
    identity_loss,
    learn,
    look,
)
from pervformer_ros.training.recording import Recording

RED, BLUE = (0.9, 0.2, 0.2), (0.2, 0.2, 0.9)
PERSON, CONE = 0, 6


def head() -> IdentityHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create_model("tiny").heads.identity


def crops(colour: tuple[float, float, float], count: int, seed: int = 0) -> torch.Tensor:
    """Return looks (count, 4, GRID, GRID) at something of a colour before any ground."""
    generator = torch.Generator().manual_seed(seed)
    looks = torch.rand(count, 4, GRID, GRID, generator=generator)
    looks[:, :3, 2:-2, 4:-4] = torch.tensor(colour)[:, None, None]
    looks[:, 3] = 0.0
    looks[:, 3, 2:-2, 4:-4] = 1.0
    return looks


def lives(category: int = PERSON, times: int = 6, world: int = 0) -> Lives:
    """Two things of one class, one red and one blue."""
    seen = torch.cat([crops(RED, times), crops(BLUE, times, 1)])
    return Lives(
        seen[:, None].expand(-1, VIEWS, -1, -1, -1).half(),
        torch.arange(2).repeat_interleave(times),
        torch.full((2 * times,), category),
        world,
    )


def test_the_right_likeness_costs_least() -> None:
    pairs, one = torch.tensor([0, 0, 1, 1]), torch.zeros(4, dtype=torch.int64)
    x, y = torch.eye(2)
    right, wrong, same = (torch.stack(e) for e in ([x, x, y, y], [x, y, x, y], [x, x, x, x]))
    people = Who(pairs, one, one, one)
    assert identity_loss(right, people) < 0.01 < 1 < identity_loss(wrong, people)
    # Things of another class, or of another recording of the same hall, are not to be told apart.
    assert identity_loss(same, people) > 1
    assert identity_loss(same, people._replace(category=pairs)) < 1e-5
    assert identity_loss(same, people._replace(life=pairs)) < 1e-5
    elsewhere = people._replace(life=pairs, world=pairs)
    assert 1 < identity_loss(same, elsewhere) < identity_loss(same, people) - 1


def test_people_are_told_apart_by_their_colours() -> None:
    model = head()
    told: list[float] = []
    learn(model, [lives()], 150, report=lambda step, loss: told.append(loss))
    # At first all looks are the same.
    assert told[0] > math.log(TIMES - 1 + RIVALS * TIMES) - 0.1
    assert told[-1] < math.log(TIMES - 1) + 0.01  # the least: looks at one body are all the same
    with torch.inference_mode():
        kinds = torch.zeros(3, dtype=torch.int64)
        red, blue = (model.tell(crops(colour, 3, seed=7), kinds) for colour in (RED, BLUE))
    assert (red @ red.T).min() > 0.8
    assert (red @ blue.T).max() < 0.5


def test_what_is_changed_stays_an_image() -> None:
    before = crops(RED, 200)
    after = changed(before, torch.Generator().manual_seed(0))
    assert after.shape == before.shape
    assert ((after >= 0) & (after <= 1)).all()
    shown = after[:, 3].flatten(1).sum(1) / before[:, 3].flatten(1).sum(1)
    assert 0.1 < (shown < 0.99).float().mean() < 0.4
    assert shown.min() > 0.2


def test_the_same_seed_learns_the_same() -> None:
    weights = []
    for _ in range(2):
        model = head()
        learn(model, [lives(), lives(CONE)], 3, seed=5)
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_who_was_found_too_seldom_teaches_nothing() -> None:
    with pytest.raises(ValueError, match=f"nothing was found {TIMES} times in a shard"):
        learn(head(), [lives(times=TIMES - 1)], 1)


def test_a_recording_gives_looks_at_what_is_found(
    recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "FOUND_IOU", 0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create_model("tiny").eval()
    with torch.no_grad():  # it has learned nothing, and finds something everywhere
        model.heads.patches.out.bias[: len(model.config.classes)] = -1.0
    seen = look(model, recordings[0])
    assert len(seen.crops) > 0
    assert seen.world == recordings[0].world
    assert len(seen.crops) == len(seen.body) == len(seen.category)
    assert seen.crops.shape[1:] == (VIEWS, 4, GRID, GRID)
    assert seen.crops.dtype == torch.float16
    assert torch.isfinite(seen.crops).all()


def test_the_command_changes_the_head_for_identities_alone(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_model(first, create_model("tiny"), trained=True, card={"seeds": "0 to 1"})
    monkeypatch.setattr(identities, "look", lambda model, recording: lives())
    arguments = [str(shards), "--init", str(first), "--out", str(second), "--steps", "2"]
    monkeypatch.setattr("sys.argv", ["identities", *arguments])
    identities.main()
    names = changed_weights(first, second)
    assert names
    assert all(name.startswith("heads.identity.") for name in names)
    card = load_model(second).info.card
    assert card["seeds"] == "0 to 1"
    assert card["identity"]["bodies"] == 2 * len(list(shards.glob("*.npz")))
