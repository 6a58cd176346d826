# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pervformer_ros.memory import EventType
from pervformer_ros.memory.belief import confidence, place_belief

beliefs = st.floats(0, 1)


@given(st.sampled_from(EventType), beliefs, beliefs)
def test_more_belief_is_never_less_confidence(kind, one, other):
    low, high = sorted((one, other))
    assert 0 < confidence(kind, low) <= confidence(kind, high) < 1


def test_a_place_is_believed_by_its_doubt_against_what_counts_as_right():
    assert place_belief(0.5, 3.0) == pytest.approx(0.683, abs=1e-3), "one deviation"
    assert place_belief(1.0, 20.0) == pytest.approx(0.954, abs=1e-3), "a tenth of 20 m is two"
    assert place_belief(0.0, 3.0) == 1.0
    assert place_belief(9.0, 3.0) < 0.05
