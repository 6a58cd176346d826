# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What likeness says is learnt from what is seen."""

import numpy as np
import pytest
from memory_scene import sighting

from pervformer_ros.memory.appearance import Appearance
from pervformer_ros.memory.association import alike
from pervformer_ros.memory.objects import WorldObject


@pytest.mark.parametrize("again", [False, True])
def test_the_more_alike_the_likelier_one(again):
    said = Appearance().log_odds(np.linspace(-1, 1, 41), again)
    assert (np.diff(said) >= 0).all()
    assert said[0] < -1 < 1 < said[-1]


def test_after_a_while_less_likeness_is_enough():
    looks = Appearance()
    looks.learn(np.random.default_rng(0).normal(0.9, 0.05, 500), np.zeros(0))
    assert looks.log_odds(np.array(0.7)) < 0 < looks.log_odds(np.array(0.7), again=True)
    assert looks.log_odds(np.array(0.6), again=True) < 0


def test_embeddings_that_tell_nothing_apart_say_little():
    looks = Appearance()
    values = np.random.default_rng(0).normal(0.8, 0.1, 1000)
    looks.learn(values[:500], values[500:])
    assert abs(looks.log_odds(np.array(0.8))) < 0.5


def test_likeness_is_weighed_by_what_was_met_of_the_class():
    values = np.random.default_rng(0).normal(0.8, 0.1, 1000)
    looks = {"pallet": Appearance()}
    looks["pallet"].learn(values[:500], values[500:])  # all pallets look the same
    embedding, other = np.array([[1.0, 0.0], [0.8, 0.6]], np.float32)
    things = [
        WorldObject.of(n, sighting((3, 0, 0.5), label, embedding=embedding), 0, 0.0)
        for n, label in enumerate(("pallet", "person"))
    ]
    said = alike(things, [sighting((3, 0, 0.5), embedding=other)], looks)
    assert said.shape == (2, 1)
    assert abs(said[0, 0]) < 0.5
    assert said[1, 0] > 1
