# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path
from shutil import copy

import numpy as np
import pytest

from pervformer_ros.evaluation.memory.calibration import (
    fit,
    main,
    read_confidences,
    write_confidences,
)
from pervformer_ros.evaluation.memory.scoring import EventScore, Happening
from pervformer_ros.evaluation.memory.suite import development
from pervformer_ros.memory import Calibration, EventType
from pervformer_ros.memory.belief import log_odds
from pervformer_ros.model import (
    CheckpointError,
    card_path,
    create_model,
    save_model,
    shipped_weights,
    write_card,
)
from pervformer_ros.pipeline import event_calibration

NOWHERE = np.full(2, np.nan)
USED = Calibration(0.6, {EventType.APPEARED: 0.5})


@pytest.mark.parametrize("used", [Calibration(), USED])
def test_the_curve_is_found_from_which_events_were_drawn(used):
    rng = np.random.default_rng(0)
    true = {EventType.APPEARED: 0.7, EventType.MOVED: -1.2}
    rows = []
    for kind, offset in true.items():
        for belief in rng.uniform(0.1, 0.95, 4000):
            chance = 1 / (1 + np.exp(-(offset + 0.8 * log_odds(belief))))
            rows.append((kind.name, used.confidence(kind, belief), bool(rng.random() < chance)))
    found = fit(rows, used)
    assert found.slope == pytest.approx(0.8, abs=0.08)
    assert found.offsets == {kind: pytest.approx(offset, abs=0.1) for kind, offset in true.items()}


def test_without_much_to_learn_from_belief_is_nearly_taken_as_it_is():
    found = fit([("STOPPED", 0.8, True)], Calibration())
    assert found.slope == pytest.approx(1.0, abs=0.2)
    assert abs(found.offsets[EventType.STOPPED]) < 0.3


def test_nothing_is_fitted_to_nothing():
    with pytest.raises(ValueError, match="no event"):
        fit([], Calibration())


# What was believed more was true less often.
UPSIDE_DOWN = [
    ("APPEARED", belief, true)
    for belief, true, count in [(0.9, False, 12), (0.9, True, 8), (0.4, True, 12), (0.4, False, 8)]
    for _ in range(count)
]


def test_the_curve_rises_whatever_was_told():
    found = fit(UPSIDE_DOWN, Calibration())
    assert found.slope == pytest.approx(0.05)
    assert Calibration.of(found.to_json()).slope > 0


def test_fitted_twice_to_the_same_events_the_curve_is_the_same(tmp_path, monkeypatch):
    weights, file = tmp_path / "weights.safetensors", tmp_path / "confidences.json"
    save_model(weights, create_model("tiny"), trained=True)
    write_card(weights, facts=dict.fromkeys(("data", "seeds", "steps", "date"), "none"))
    told = {True: [], False: []}
    for kind, confidence, true in UPSIDE_DOWN:
        ends = {"start": NOWHERE, "end": NOWHERE, "away_m": 3.0}
        event = Happening(0, EventType[kind], 1, "pallet", **ends, confidence=confidence)
        told[true].append(event)
    write_confidences(EventScore([(e, e) for e in told[True]], told[False]), USED, file)
    rows, used = read_confidences(file)
    assert (sorted(rows), used) == (sorted(UPSIDE_DOWN), USED)
    monkeypatch.setattr("sys.argv", ["calibration", str(file), str(weights)])
    found = []
    for _ in range(2):
        main()
        found.append(event_calibration(weights))
    assert found[0] == found[1]
    file.write_text(json.dumps(UPSIDE_DOWN))  # as it once was
    with pytest.raises(ValueError, match=r"with which curve .* write it again"):
        main()
    assert event_calibration(weights) == found[0]


def test_the_curve_of_the_weights_that_ship_is_in_their_card():
    weights = shipped_weights("small")
    assert event_calibration(weights).slope > 0
    assert event_calibration(weights) != Calibration()
    assert event_calibration(None) == Calibration()


def test_weights_need_no_card_but_a_wrong_one_is_refused(tmp_path):
    weights = Path(copy(shipped_weights("small"), tmp_path))
    assert event_calibration(weights) == Calibration()
    card = json.loads(card_path(shipped_weights("small")).read_text())
    card_path(weights).write_text(json.dumps({**card, "event_confidence": {"slope": -1}}))
    with pytest.raises(CheckpointError, match="is no calibration"):
        event_calibration(weights)


def test_nothing_is_tuned_on_held_out_seeds():
    assert development("occlusion", [11, 12]) == [("occlusion", 11), ("occlusion", 12)]
    assert ("long_shift", 11) not in development("", [11])
    with pytest.raises(ValueError, match="are held out"):
        development("", [11, 900000])


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), ([], 2), (["one"], 2)])
def test_its_arguments_are_explained(arguments, code, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["calibration", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == code
    said = capsys.readouterr()
    assert "confidences weights" in said.out + said.err
