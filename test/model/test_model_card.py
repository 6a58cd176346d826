# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Model cards, and the weights that ship."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pervformer_ros.model import (
    CheckpointError,
    Metrics,
    card_path,
    create_model,
    find_weights,
    load_model,
    read_card,
    save_model,
    shipped,
    shipped_weights,
    write_card,
)

MODELS = Path(__file__).parents[2] / "models"
FACTS = {"data": "noise", "seeds": [0, 1], "steps": 7, "date": "2026-01-31", "note": "by hand"}
LARGEST = 12_000_000  # bytes


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "pervformer_tiny.safetensors"
    save_model(path, create_model("tiny"), trained=True, card=FACTS)
    return path


# The card ----------------------------------------------------------------------------------------


def test_a_card_tells_all_that_the_header_does_and_what_was_measured(checkpoint: Path) -> None:
    metrics = Metrics("pervformer evaluate model --seeds 3", {"ap50": 0.5, "hota": None})
    path = write_card(checkpoint, [metrics])
    assert path == card_path(checkpoint) == checkpoint.with_suffix(".json")
    card = read_card(checkpoint)
    assert card == json.loads(path.read_text())
    assert {name: card[name] for name in FACTS} == FACTS
    assert card["trained"] is True
    assert card["classes"][0] == "person"
    assert card["config"]["width"] == 48
    assert card["parameters"] == sum(p.numel() for p in create_model("tiny").parameters())
    (measured,) = card["metrics"]
    assert measured == {"command": metrics.command, "figures": {"ap50": 0.5, "hota": None}}


def test_a_header_cannot_speak_for_what_is_computed(tmp_path: Path) -> None:
    path = tmp_path / "liar.safetensors"
    save_model(path, create_model("tiny"), trained=False, card={**FACTS, "trained": True})
    write_card(path)
    assert read_card(path)["trained"] is False


def test_a_header_that_does_not_tell_of_the_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "silent.safetensors"
    save_model(path, create_model("tiny"), trained=True, card={"data": "noise"})
    with pytest.raises(CheckpointError, match="does not tell seeds, steps, date: give them"):
        write_card(path)
    write_card(path, facts={"seeds": [3], "steps": 1, "date": "2026-01-31"})
    card = read_card(path)
    assert (card["data"], card["seeds"]) == ("noise", [3])


def _remove(card: Path) -> None:
    card.unlink()


def _break(card: Path) -> None:
    card.write_text(card.read_text()[:40])


def _forget(card: Path) -> None:
    card.write_text(json.dumps({**json.loads(card.read_text()), "schema": 0}))


def _list(card: Path) -> None:
    card.write_text("[]")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_remove, "there is no model card"),
        (_break, "there is no model card"),
        (_forget, "no model card of schema 1"),
        (_list, "no model card of schema 1"),
    ],
)
def test_a_card_that_cannot_be_used_says_how_to_write_it(
    checkpoint: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    spoil(write_card(checkpoint))
    with pytest.raises(CheckpointError, match=rf"{message}.*write it with `write_card"):
        read_card(checkpoint)


def test_a_card_of_other_weights_is_refused(checkpoint: Path) -> None:
    write_card(checkpoint)
    save_model(checkpoint, create_model("tiny"), trained=True, card={**FACTS, "steps": 8})
    with pytest.raises(CheckpointError, match="speaks of other weights"):
        read_card(checkpoint)


# The weights that ship ---------------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint", sorted(MODELS.glob("*.safetensors")), ids=lambda p: p.stem)
def test_what_ships_is_small_and_has_its_card(checkpoint: Path) -> None:
    assert checkpoint.stat().st_size < LARGEST
    loaded = load_model(checkpoint)
    assert loaded.info.trained
    card = read_card(checkpoint)
    assert card["metrics"]
    assert all(measured["command"] for measured in card["metrics"])


@pytest.mark.parametrize(
    ("package", "folder"),
    [
        ("checkout/pervformer_ros", "checkout/models"),
        (
            "prefix/lib/python3.12/site-packages/pervformer_ros",
            "prefix/share/pervformer_ros/models",
        ),
        ("usr/lib/python3/dist-packages/pervformer_ros", "usr/share/pervformer_ros/models"),
    ],
)
def test_shipped_weights_are_found_wherever_the_package_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, folder: str
) -> None:
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / package / "model" / "shipped.py"))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "elsewhere"))
    assert shipped_weights("small") is None
    assert find_weights("") is None
    weights = tmp_path / folder / "pervformer_small.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    assert shipped_weights("small") == find_weights("") == weights
    assert find_weights("", "tiny") is None


def test_shipped_weights_are_found_under_the_prefix_of_the_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "a/pervformer_ros/model/shipped.py"))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "b"))
    weights = tmp_path / "b/share/pervformer_ros/models/pervformer_small.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    assert shipped_weights() == weights


def test_a_path_and_untrained_are_taken_at_their_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/robot")
    assert find_weights("untrained") is None
    assert find_weights("some.safetensors") == Path("some.safetensors")
    assert find_weights("~/some.safetensors") == Path("/home/robot/some.safetensors")
