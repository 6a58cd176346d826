# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What likeness says is learnt from what is seen."""

import numpy as np
import pytest

from pervformer_ros.memory.appearance import Appearance


@pytest.mark.parametrize("again", [False, True])
def test_the_more_alike_the_likelier_one(again):
    said = Appearance().log_odds(np.linspace(-1, 1, 41), again)
    assert (np.diff(said) >= 0).all()
    assert said[0] < -1 < 1 < said[-1]


def test_after_a_while_less_likeness_is_enough():
    looks = Appearance()
    looks.learn(np.random.default_rng(0).normal(0.9, 0.05, 500), np.zeros(0))
    assert looks.log_odds(np.array(0.65)) < 0 < looks.log_odds(np.array(0.65), again=True)


def test_embeddings_that_tell_nothing_apart_say_little():
    looks = Appearance()
    values = np.random.default_rng(0).normal(0.8, 0.1, 1000)
    looks.learn(values[:500], values[500:])
    assert abs(looks.log_odds(np.array(0.8))) < 0.5
