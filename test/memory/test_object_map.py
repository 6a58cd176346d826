# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_scene import SECOND, sighting

from pervformer_ros.memory import ObjectMap, ObjectState


def detections(counts: list[int], seed: int):
    """Return as many detections for each image, near enough to each other to be mixed up."""
    rng = np.random.default_rng(seed)  # no two distances and no two scores are the same
    return [
        [
            sighting(
                rng.uniform(-1.5, 1.5, 3),
                rng.choice(["box", "pallet"]),
                rng.uniform(0.3, 1),
                variance=rng.uniform(0.001, 0.1),
            )
            for _ in range(count)
        ]
        for count in counts
    ]


images = st.builds(
    detections,
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
    st.integers(0, 10**6),
)


def content(things: ObjectMap):
    """Return all that a map knows but the ids, in an order of its own."""
    return sorted(
        (
            o.label,
            *o.position.round(9),
            round(o.variance, 12),
            round(o.score, 12),
            o.first_seen_ns,
            o.last_seen_ns,
            o.sightings,
            o.state,
        )
        for o in things.objects.values()
    )


@given(images, st.randoms(use_true_random=False), st.integers(2, 8))
def test_the_order_of_detections_makes_no_difference_but_to_ids(images, random, capacity):
    one, other = ObjectMap(capacity=capacity), ObjectMap(capacity=capacity)
    for i, seen in enumerate(images):
        one.update(i * SECOND, seen)
        other.update(i * SECOND, random.sample(seen, len(seen)))
    assert content(one) == content(other)


@given(images, st.integers(1, 8))
def test_an_id_is_for_life_and_never_given_again(images, capacity):
    things, ever = ObjectMap(capacity=capacity), set()
    for i, seen in enumerate(images):
        known = set(things.objects)
        things.update(i * SECOND, seen)
        new = set(things.objects) - known
        assert not new & ever
        ever |= new
        assert all(o.id == number for number, o in things.objects.items())
    things.clear()
    things.update(0, [sighting()])
    assert not set(things.objects) & ever


@given(images, st.integers(1, 8))
def test_there_are_never_more_objects_than_the_capacity(images, capacity):
    things = ObjectMap(capacity=capacity)
    for i, seen in enumerate(images):
        sighted = things.update(i * SECOND, seen)
        assert len(things) <= capacity
        assert all(things.objects[o.id] is o for o in sighted)


@given(images)
def test_objects_of_an_image_are_as_many_as_its_detections(images):
    """No detection is lost, and no two make one object."""
    things = ObjectMap()
    for i, seen in enumerate(images):
        assert len({o.id for o in things.update(i * SECOND, seen)}) == len(seen)


def test_a_thing_that_is_seen_again_keeps_its_id_and_becomes_surer():
    things = ObjectMap()
    (first,) = things.update(0, [sighting((0, 0, 2.0))])
    before = first.variance
    (again,) = things.update(SECOND, [sighting((0.2, 0, 2.0))])
    assert again.id == first.id
    assert again.variance < before
    assert 0.05 < again.position[0] < 0.15
    assert (again.first_seen_ns, again.last_seen_ns, again.sightings) == (0, SECOND, 2)


@pytest.mark.parametrize(
    "other",
    [sighting((0.9, 0.9, 2.0)), sighting(label="pallet")],
    ids=["far away", "another label"],
)
def test_what_is_far_away_or_of_another_label_is_another_thing(other):
    things = ObjectMap(gate_m=1.0)
    things.update(0, [sighting()])
    things.update(SECOND, [other])
    assert len(things) == 2


def test_two_things_side_by_side_are_not_exchanged():
    """The nearest pair first would join left to right here, and leave right alone."""
    things = ObjectMap(gate_m=1.0)
    left, right = things.update(0, [sighting((0.0, 0, 2)), sighting((0.6, 0, 2))])
    things.update(SECOND, [sighting((0.5, 0, 2)), sighting((1.1, 0, 2))])
    assert len(things) == 2
    assert left.position[0] < right.position[0]


def test_what_was_seen_least_and_longest_ago_is_forgotten_first():
    things = ObjectMap(capacity=3)
    well_known, old, recent = (sighting((x, 0, 2)) for x in (0, 5, 10))
    for second, seen in enumerate([[well_known], [well_known], [old], [recent], []]):
        things.update(second * SECOND, seen)
    things.update(5 * SECOND, [sighting((15, 0, 2))])
    assert {o.position[0] for o in things.objects.values()} == {0, 10, 15}
    things.update(6 * SECOND, [sighting((20, 0, 2))])
    assert {o.position[0] for o in things.objects.values()} == {0, 15, 20}
    assert things.forgotten == 2


def test_a_full_map_still_learns_what_is_new():
    things = ObjectMap(capacity=3)
    for second in range(10):
        things.update(second * SECOND, [sighting((x, 0, 2)) for x in (0, 5, 10)])
    for second in range(10, 30):
        things.update(second * SECOND, [sighting((20, 0, 2))])
    (new,) = (o for o in things.objects.values() if o.position[0] == 20)
    assert new.sightings == 20


def test_a_place_becomes_less_sure_over_time_but_not_beyond_the_gate():
    things = ObjectMap(gate_m=1.0)
    (thing,) = things.update(0, [sighting()])
    variances = []
    for i in range(10_000):
        things.update(i, [])
        variances.append(thing.variance)
    assert variances == sorted(variances)
    assert variances[-1] <= 0.25 + things.process_variance


def test_only_what_is_seen_in_the_last_image_is_visible():
    things = ObjectMap()
    things.update(0, [sighting((0, 0, 2)), sighting((5, 0, 2))])
    things.update(SECOND, [sighting((5, 0, 2))])
    states = {o.position[0]: o.state for o in things.objects.values()}
    assert states == {0: ObjectState.REMEMBERED, 5: ObjectState.VISIBLE}
