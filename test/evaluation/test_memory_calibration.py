# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from pervformer_ros.evaluation.memory.calibration import fit
from pervformer_ros.evaluation.memory.suite import development
from pervformer_ros.memory import EventType
from pervformer_ros.memory.belief import OFFSETS, SLOPE, confidence, log_odds


def test_the_curve_is_found_from_which_events_were_drawn():
    rng = np.random.default_rng(0)
    true = {EventType.APPEARED: 0.7, EventType.MOVED: -1.2}
    rows = []
    for kind, offset in true.items():
        for belief in rng.uniform(0.1, 0.95, 4000):
            chance = 1 / (1 + np.exp(-(offset + 0.8 * log_odds(belief))))
            rows.append((kind.name, confidence(kind, belief), bool(rng.random() < chance)))
    slope, offsets = fit(rows)
    assert slope == pytest.approx(0.8, abs=0.08)
    assert offsets == {kind: pytest.approx(offset, abs=0.1) for kind, offset in true.items()}


def test_without_much_to_learn_from_belief_is_nearly_taken_as_it_is():
    slope, offsets = fit([("STOPPED", confidence(EventType.STOPPED, 0.8), True)])
    assert slope == pytest.approx(1.0, abs=0.2)
    assert abs(offsets[EventType.STOPPED]) < 0.3


def test_nothing_is_fitted_to_nothing():
    with pytest.raises(ValueError, match="no event"):
        fit([])


def test_the_constants_in_use_are_a_curve_that_rises():
    assert SLOPE > 0
    assert set(OFFSETS) <= set(EventType)


def test_nothing_is_tuned_on_held_out_seeds():
    assert development("occlusion", [11, 12]) == [("occlusion", 11), ("occlusion", 12)]
    assert ("long_shift", 11) not in development("", [11])
    with pytest.raises(ValueError, match="are held out"):
        development("", [11, 900000])
