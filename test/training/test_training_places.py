# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Places are learned from tours, and told by points that stand still."""

from pathlib import Path

import numpy as np
import pytest
import torch
from changed_weights import changed_weights

from pervformer_ros.model import create_model, load_model, save_model
from pervformer_ros.training import places
from pervformer_ros.training.places import Tour, learn, look, place_loss
from pervformer_ros.training.recording import Recording


def poses(*along_x: float) -> torch.Tensor:
    T = torch.eye(4).repeat(len(along_x), 1, 1)
    T[:, 0, 3] = torch.tensor(along_x)
    return T


def on_circle(*degrees: float) -> torch.Tensor:
    angle = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([torch.cos(angle), torch.sin(angle)], dim=1)


def test_what_is_near_is_to_look_alike_and_what_is_far_is_not() -> None:
    T, hall = poses(0.0, 1.0, 10.0, 11.0), torch.zeros(4)
    right = place_loss(on_circle(0, 5, 90, 95), T, hall)
    wrong = place_loss(on_circle(0, 90, 5, 95), T, hall)
    assert right < 0.01 < wrong


def test_between_near_and_far_nothing_is_asked() -> None:
    """Two metres off the same way: neither the same place nor another."""
    T, hall = poses(0.0, 1.0, 2.0), torch.zeros(3)
    alike, different = on_circle(0, 5, 0), on_circle(0, 5, 180)
    first = [place_loss(x, T, hall) for x in (alike, different)]
    assert torch.isfinite(torch.stack(first)).all()
    elsewhere = [place_loss(x, poses(0.0, 1.0, 4.0), hall) for x in (alike, different)]
    assert elsewhere[0] > elsewhere[1] + 0.1


def test_places_of_other_halls_are_others_wherever_they_are() -> None:
    T = poses(0.0, 0.5, 0.0, 0.5)
    told_apart, mixed = on_circle(0, 5, 90, 95), on_circle(0, 90, 5, 95)
    hall = torch.tensor([1, 1, 2, 2])
    assert place_loss(told_apart, T, hall) < place_loss(mixed, T, hall)


def test_a_head_learns_to_find_places_again() -> None:
    """Random points of 20 places, each seen twice: afterwards each finds its other view."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = create_model("tiny")
    size, cells = model.config.descriptor_size, 30
    tours = []
    for hall in (1, 2):
        there = torch.randn(20, cells, size, generator=generator).repeat(2, 1, 1)
        noise = torch.randn(there.shape, generator=generator)
        seen = torch.nn.functional.normalize(there + noise, dim=-1)
        T = poses(*(5.0 * np.tile(np.arange(20), 2)))
        tours.append(Tour(seen.half(), torch.ones(40, cells).half(), T, hall))

    def found(tour: Tour) -> float:
        with torch.inference_mode():
            place = model.heads.place(tour.descriptors.float(), tour.weight.float())
        best = (place[20:] @ place[:20].T).argmax(dim=1)
        return float((best == torch.arange(20)).float().mean())

    before = np.mean([found(tour) for tour in tours])
    learn(model.heads.place, tours, 60)
    after = np.mean([found(tour) for tour in tours])
    assert after > 0.9 > before


def test_points_on_what_moves_do_not_count(recordings: list[Recording]) -> None:
    """A forklift drives ahead: its are the cells that lose their weight."""
    model = create_model("tiny")
    recording = recordings[0]
    tour = look(model, recording)
    still = Recording(recording.path)
    still.moving[:] = False
    same = look(model, still)
    assert recording.moving.any()
    assert torch.equal(tour.descriptors, same.descriptors)
    assert (tour.weight <= same.weight).all()
    assert (tour.weight < 0.1 * same.weight).any()
    assert len(tour) == len(recording)


def test_places_of_one_hall_alone_teach_nothing(recordings: list[Recording]) -> None:
    model = create_model("tiny")
    tours = [look(model, recordings[0])]
    with pytest.raises(ValueError, match="tours of 1 hall"):
        learn(model.heads.place, tours, 1)


def test_the_command_changes_the_head_for_places_alone(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tours = tmp_path / "tours"
    tours.mkdir()
    for seed, path in enumerate(sorted(shards.glob("*.npz")), 4):  # as if of two halls
        np.savez(tours / path.name, **{**np.load(path), "seed": np.int64(seed)})
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_model(first, create_model("tiny"), trained=True, card={"seeds": "0 to 1"})
    arguments = [str(tours), "--init", str(first), "--out", str(second), "--steps", "2"]
    monkeypatch.setattr("sys.argv", ["places", *arguments])
    places.main()
    changed, b = changed_weights(first, second), load_model(second)
    assert changed
    assert all(name.startswith("heads.place.") for name in changed)
    assert b.info.trained
    assert b.info.card["seeds"] == "0 to 1"
    assert b.info.card["places"]["seeds"] == "4 to 5"
