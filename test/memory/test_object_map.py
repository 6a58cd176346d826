# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_scene import SECOND, sighting

from pervformer_ros.geometry import make_rotation
from pervformer_ros.memory import ObjectMap, ObjectState, object_map

PERIOD = SECOND // 10


def detections(counts: list[int], seed: int):
    """Return as many detections for each image, near enough to each other to be mixed up."""
    rng = np.random.default_rng(seed)  # no two distances and no two scores are the same
    return [
        [
            sighting(
                (*rng.uniform((1, -2), (5, 2)), 0.3),
                rng.choice(["box", "pallet"]),
                rng.uniform(0.3, 1),
                variance=rng.uniform(0.001, 0.1),
                moving=rng.uniform(),
            )
            for _ in range(count)
        ]
        for count in counts
    ]


images = st.builds(
    detections,
    st.lists(st.integers(0, 5), min_size=1, max_size=8),
    st.integers(0, 10**6),
)


def see(things: ObjectMap, *images) -> ObjectMap:
    """Show images a tenth of a second apart."""
    start = max((o.last_seen_ns for o in things.objects.values()), default=-PERIOD)
    for i, seen in enumerate(images, 1):
        things.update(start + i * PERIOD, seen)
    return things


def content(things: ObjectMap):
    """Return all that a map knows, in an order of its own."""
    return sorted(
        (o.label, *o.position.round(9), o.score, o.first_seen_ns, o.sightings, o.state, o.id)
        for o in things.objects.values()
    )


@given(images, st.randoms(use_true_random=False), st.integers(2, 8))
def test_the_order_of_detections_makes_no_difference(images, random, capacity):
    shuffled = [random.sample(seen, len(seen)) for seen in images]
    assert content(see(ObjectMap(capacity), *images)) == content(
        see(ObjectMap(capacity), *shuffled)
    )


@given(images, st.integers(1, 8))
def test_an_id_is_for_life_and_never_given_again(images, capacity):
    things, ever = ObjectMap(capacity=capacity), set()
    for i, seen in enumerate(images):
        known = set(things.objects)
        things.update(i * PERIOD, seen)
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
        things.update(i * PERIOD, seen)
        assert len(things) <= capacity
        assert all(things.objects[o.id] is o for o in things.sighted)


@given(images)
def test_no_two_detections_are_one_object(images):
    things = ObjectMap()
    for i, seen in enumerate(images):
        things.update(i * PERIOD, seen)
        assert len({o.id for o in things.sighted}) == len(things.sighted) <= len(seen)


# Staying the same --------------------------------------------------------------------------------


def test_a_thing_that_is_seen_again_keeps_its_id_and_becomes_surer():
    things = see(ObjectMap(), [sighting()])
    (first,) = things.sighted
    before = first.covariance[0, 0]
    (again,) = see(things, [sighting((2.05, 0, 1))]).sighted
    assert again.id == first.id
    assert again.covariance[0, 0] < before
    assert 2.0 < again.position[0] < 2.05
    assert (again.first_seen_ns, again.last_seen_ns, again.sightings) == (0, PERIOD, 2)


def test_what_is_far_away_is_another_thing():
    things = see(ObjectMap(), [sighting()], [sighting((2.0, 1.5, 1.0))])
    assert len(things) == 2


def test_a_thing_that_is_taken_for_another_class_now_and_then_stays_one():
    images = [[sighting(label="box" if i % 4 else "pallet")] for i in range(20)]
    things = see(ObjectMap(), *images)
    (thing,) = things.objects.values()
    assert thing.label == "box"
    assert thing.votes["pallet"] < thing.votes["box"]


def test_a_thing_that_is_detected_twice_is_one():
    twice = [sighting(score=0.8), sighting((2.02, 0.02, 1), "pallet", score=0.6)]
    things = see(ObjectMap(), *[twice] * 5)
    (thing,) = things.objects.values()
    assert thing.label == "box"


def test_two_parts_of_one_vehicle_are_one():
    """Two of a class cannot stand in each other, however little their boxes overlap."""
    size = np.array([2.5, 1.1, 2.2])
    front = sighting((5, 0.0, 1), "forklift", size=size)
    rear = sighting((5, 0.7, 1), "forklift", score=0.6, size=size)
    assert len(see(ObjectMap(), *[[front, rear]] * 5)) == 1
    beside = sighting((5, 1.2, 1), "forklift", score=0.6, size=size)
    assert len(see(ObjectMap(), *[[front, beside]] * 5)) == 2
    person = sighting((5, 0.7, 1), "person", score=0.6)  # at the wheel
    assert len(see(ObjectMap(), *[[front, person]] * 5)) == 2


@pytest.mark.parametrize(("label", "count"), [("roll_cage", 1), ("person", 2), ("forklift", 2)])
def test_goods_do_not_stand_in_goods(label, count):
    """Called a pallet from afar and a cage from near, it is one; who stands there is another."""
    pallet = sighting((5, 0, 0.5), "pallet", size=np.array([1.2, 0.8, 1.1]))
    size = np.array([0.8, 0.7, 1.7])
    embedding = np.array([0, 1], np.float32)
    near = sighting((5.5, 0.1, 0.8), label, 0.8, variance=1e-4, size=size, embedding=embedding)
    assert len(see(ObjectMap(), *[[pallet]] * 8, *[[]] * 4, *[[near]] * 5)) == count


def test_two_things_side_by_side_are_not_exchanged():
    """The nearest pair first would join left to right here, and leave right alone."""
    things = see(ObjectMap(), [sighting((2, 0.0, 1)), sighting((2, 0.45, 1))])
    left, right = sorted(things.objects.values(), key=lambda o: o.position[1])
    see(things, [sighting((2, 0.24, 1)), sighting((2, 0.69, 1))])
    assert len(things) == 2
    assert left.position[1] < right.position[1]


def test_only_what_is_seen_in_the_last_image_is_visible():
    both, one = [sighting((2, 0, 1)), sighting((2, 1, 1))], [sighting((2, 1, 1))]
    things = see(ObjectMap(), both, both, both, one)
    states = {round(o.position[1]): o.state for o in things.objects.values()}
    assert states == {0: ObjectState.REMEMBERED, 1: ObjectState.VISIBLE}


# Moving and coming back --------------------------------------------------------------------------


def walker(i: int, looks=(1.0, 0.0), start=-2.0):
    """Someone who walks across at 1 m/s, a tenth of a second between images."""
    return sighting((4, start + 0.1 * i, 0.9), "person", moving=1.0, embedding=_unit(looks))


def _unit(looks):
    return (np.array(looks) / np.linalg.norm(looks)).astype(np.float32)


def test_the_speed_of_what_moves_is_found():
    things = see(ObjectMap(), *[[walker(i)] for i in range(20)])
    (thing,) = things.objects.values()
    np.testing.assert_allclose(thing.velocity, (0, 1, 0), atol=0.1)


@pytest.mark.parametrize("hidden", [3, 20, 60])
def test_a_walker_who_was_hidden_for_a_while_is_the_same(hidden):
    things = see(ObjectMap(), *[[walker(i)] for i in range(20)])
    (known,) = things.objects
    for i in range(hidden):
        things.update((20 + i) * PERIOD, [])
    for i in range(20 + hidden, 26 + hidden):
        things.update(i * PERIOD, [walker(i)])
    assert list(things.objects) == [known]


def test_two_walkers_who_cross_keep_their_ids():
    one, other = (1.0, 0.1), (0.1, 1.0)
    things = ObjectMap()
    for i in range(40):
        there = sighting((4.3, 2.0 - 0.1 * i, 0.9), "person", moving=1.0, embedding=_unit(other))
        things.update(i * PERIOD, [walker(i, one), there])
        if i == 10:
            first = {o.id: o.embedding.argmax() for o in things.objects.values()}
    assert {o.id: o.embedding.argmax() for o in things.objects.values()} == first


def test_nobody_is_faster_than_he_can_run():
    things = see(ObjectMap(), *[[walker(i)] for i in range(20)])
    far = [[sighting((4, 30.0, 0.9), "person", moving=1.0)]] * 5
    assert len(see(things, *far)) == 2


# The map moves -----------------------------------------------------------------------------------


def at(x: float) -> np.ndarray:
    """Return the pose of a robot that has driven so many metres along x."""
    T = np.eye(4)
    T[0, 3] = x
    return T


def places(things: ObjectMap) -> list[list[float]]:
    return sorted(o.position.round(2).tolist() for o in things.objects.values())


def test_what_is_out_of_view_moves_with_the_map_and_what_is_seen_does_not():
    unseen, seen = sighting((2, 2, 1)), sighting((2, 0, 1))
    things = see(ObjectMap(), *[[unseen]] * 3)
    for x in (0.0, 1.0):
        things.drift.travel(at(x))
    things = see(things, *[[seen]] * 3)
    T = make_rotation([0, 0, np.pi / 2])
    T[:3, 3] = (1, 0, 0)
    things.correct(T)
    assert places(things) == [[-1.0, 2.0, 1.0], [2.0, 0.0, 1.0]]


def test_what_was_seen_on_the_way_moves_by_its_share_of_the_way():
    """The longer ago, the more of the drift came after it; what one image missed saw none."""
    things = ObjectMap()
    for i in range(7):  # 9 m
        things.drift.travel(at(1.5 * i))
        if i in (0, 3, 6):
            see(things, *[[sighting((3.0 * i, 2, 1))]] * 5)
    things.update(SECOND, [])
    things.correct(at(3.0))
    assert places(things) == [[3.0, 2.0, 1.0], [10.5, 2.0, 1.0], [18.0, 2.0, 1.0]]


def test_what_another_run_knew_moves_with_the_map():
    things = see(ObjectMap(), *[[sighting((2, 2, 1))]] * 3, [])
    things.restore(list(things.objects.values()), things.next_id, things.drift.odometer)
    things.correct(at(3.0))
    assert places(things) == [[5.0, 2.0, 1.0]]


def test_a_doubt_that_is_longer_than_wide_turns_with_the_world():
    (thing,) = see(ObjectMap(), [sighting()]).objects.values()
    thing.covariance[:3, :3] = np.diag([0.09, 0.01, 0.01])
    thing.shift(make_rotation([0, 0, np.pi / 2]))
    np.testing.assert_allclose(np.diag(thing.covariance)[:2], [0.01, 0.09], atol=1e-9)


def test_who_stands_still_drags_nothing_along():
    """A box seems to creep while the robot stands: that is no drift of odometry."""
    pallet = sighting((5, -1.5, 1), "pallet")
    things = see(ObjectMap(), *[[sighting(), pallet]] * 5)
    for i in range(200):
        things.drift.travel(at(0.0))
        things.update((5 + i) * PERIOD, [sighting((2, 0.003 * i, 1))])
    (there,) = (o for o in things.objects.values() if o.label == "pallet")
    np.testing.assert_allclose(there.position[:2], (5, -1.5), atol=1e-6)


def test_what_is_set_down_where_another_was_remembered_stays_itself():
    """A slot's pallet was taken away unseen; another is brought there in view."""
    slot, other = (4.0, 1.5, 0.5), (4.0, -1.5, 0.5)
    things = see(ObjectMap(), *[[sighting(slot, "pallet")]] * 5, *[[]] * 5)
    (old,) = things.objects.values()
    for i in range(5):
        things.update((10 + i) * PERIOD, [sighting(other, "pallet")])
    (new,) = (o for o in things.objects.values() if o is not old)
    new.announced = new.in_motion = True
    way = [*np.linspace(other[1], slot[1], 30), *[slot[1]] * 5]
    for i, y in enumerate(way):
        moving = float(i < 30)
        things.update((15 + i) * PERIOD, [sighting((4.0, y, 0.5), "pallet", moving=moving)])
    assert things.sighted == [new]
    assert things.displaced == [old]
    assert old.state is ObjectState.GONE


def test_many_remembered_things_cost_no_look_at_each():
    """Whoever asks each pair by itself takes a hundred times as long as this counts."""
    rng = np.random.default_rng(0)
    things = ObjectMap()
    far = [sighting((*rng.uniform(50, 200, 2), 1.0)) for _ in range(300)]
    see(things, *[far] * 3, [])
    with mock.patch.object(object_map, "_in_one_place", wraps=object_map._in_one_place) as asked:
        see(things, *[[sighting()]] * 3)
    assert asked.call_count == 0


# Forgetting --------------------------------------------------------------------------------------


def test_what_was_seen_least_and_longest_ago_is_forgotten_first():
    things = ObjectMap(capacity=3)
    known = [sighting((x, 0, 1)) for x in (2, 5, 8)]
    see(things, *[known[:1]] * 6, *[known[1:]] * 4, *[known[2:]] * 3)
    see(things, *[[sighting((11, 0, 1))]] * 3)
    assert {round(o.position[0]) for o in things.objects.values()} == {2, 8, 11}
    assert things.forgotten == 1


def test_a_full_map_still_learns_what_is_new():
    things = ObjectMap(capacity=3)
    see(things, *[[sighting((x, 0, 1)) for x in (2, 5, 8)]] * 10, *[[sighting((11, 0, 1))]] * 20)
    (new,) = (o for o in things.objects.values() if round(o.position[0]) == 11)
    assert new.sightings == 20


def test_a_faint_sighting_goes_on_with_what_is_in_view_but_begins_nothing():
    things = ObjectMap()
    for i in range(12):
        things.update(i * SECOND // 10, [sighting(score=0.15)])
    assert not things.objects
    for i in range(12, 18):
        things.update(i * SECOND // 10, [sighting()])
    (number,) = things.objects
    for i in range(18, 24):
        things.update(i * SECOND // 10, [sighting(score=0.15)])
    assert [o.id for o in things.sighted] == [number]
    things.update(30 * SECOND // 10, [])
    things.update(31 * SECOND // 10, [sighting(score=0.15)])
    assert not things.sighted, "it is out of view"


def test_what_a_detector_is_never_sure_of_is_not_believed_however_often_it_says_so():
    doubtful = see(ObjectMap(), *[[sighting(score=0.38)]] * 60)
    assert not any(thing.confirmed for thing in doubtful.objects.values())
    seen_better = see(ObjectMap(), *[[sighting(score=0.38)]] * 20, *[[sighting(score=0.6)]] * 3)
    assert [thing.confirmed for thing in seen_better.objects.values()] == [True]
