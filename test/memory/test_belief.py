# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pervformer_ros.memory import Calibration, EventType
from pervformer_ros.memory.belief import place_belief

beliefs = st.floats(0, 1)


calibrations = st.builds(
    Calibration,
    st.floats(0.01, 3),
    st.dictionaries(st.sampled_from(EventType), st.floats(-3, 3)),
)


@given(calibrations, st.sampled_from(EventType), beliefs, beliefs)
def test_more_belief_is_never_less_confidence(calibration, kind, one, other):
    low, high = sorted((one, other))
    assert 0 < calibration.confidence(kind, low) <= calibration.confidence(kind, high) < 1


@given(st.sampled_from(EventType), st.floats(0.02, 0.98))
def test_uncalibrated_a_belief_is_taken_as_it_is(kind, belief):
    assert Calibration().confidence(kind, belief) == pytest.approx(belief)


@given(calibrations)
def test_a_calibration_is_read_as_it_was_written(calibration):
    read = Calibration.of(calibration.to_json())
    assert read.slope == pytest.approx(calibration.slope, abs=1e-3)
    assert read.offsets == pytest.approx(calibration.offsets, abs=1e-3)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"slope": 0.0, "offsets": {}},
        {"slope": 1.0, "offsets": {"FELL": 1.0}},
        {"slope": 1.0, "offsets": {"MOVED": float("nan")}},
        {"slope": "steep", "offsets": {}},
    ],
)
def test_what_is_no_calibration_is_refused(values):
    with pytest.raises((ValueError, KeyError)):
        Calibration.of(values)


def test_a_place_is_believed_by_its_doubt_against_what_counts_as_right():
    assert place_belief(0.5, 3.0) == pytest.approx(0.683, abs=1e-3), "one deviation"
    assert place_belief(1.0, 20.0) == pytest.approx(0.954, abs=1e-3), "a tenth of 20 m is two"
    assert place_belief(0.0, 3.0) == 1.0
    assert place_belief(9.0, 3.0) < 0.05
