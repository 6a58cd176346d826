# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_scene import AT_ORIGIN, LOOKING_BACK, SECOND, Watch, looking_at, sighting

from pervformer_ros.frame import CameraModel
from pervformer_ros.memory import (
    Corridor,
    Event,
    EventLog,
    EventType,
    MemoryConfig,
    ObjectState,
    PathState,
    WorkingMemory,
)
from pervformer_ros.memory.events import NOWHERE

APPEARED, REMOVED, MOVED = EventType.APPEARED, EventType.REMOVED, EventType.MOVED
STARTED, STOPPED = EventType.STARTED_MOVING, EventType.STOPPED
BLOCKED, CLEARED = EventType.PATH_BLOCKED, EventType.PATH_CLEARED
LONG_ENOUGH = 10  # images for anything to be believed


# Appearing ---------------------------------------------------------------------------------------


def test_a_thing_appears_once_when_it_is_certain():
    watch = Watch().see(sighting(), times=2)
    assert watch.events == watch.objects == []
    watch.see(sighting(), times=10)
    (thing,) = watch.objects
    assert watch.told == [(APPEARED, thing.id)]
    (event,) = watch.events
    assert event.stamp_ns == 2 * SECOND // 10
    assert (event.label, event.sequence) == ("box", 1)
    assert 0.9 < event.confidence < 1
    np.testing.assert_allclose(event.to_position, (2, 0, 1))
    assert np.isnan(event.from_position).all()


def test_of_what_was_never_certain_nothing_is_told():
    watch = Watch().see(sighting(), times=2).see(depth=9.0, times=20)
    assert watch.events == watch.objects == []
    assert len(watch.memory.map) == 0


def test_what_flickers_for_single_images_never_appears():
    watch = Watch()
    for _ in range(20):
        watch.see(sighting()).see(times=5)
    assert watch.events == []


# Staying -----------------------------------------------------------------------------------------

WIDE = CameraModel(160, 120, 120.0, 120.0, 79.5, 59.5, (-0.3, 0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    "absence",
    [
        {"depth": 1.0},  # something stands before it
        {"depth": 2.0},  # its surface is seen, only not recognised
        {"depth": None},
        {"depth": 0.0},
        {"depth": 9.0, "T_odom_base": LOOKING_BACK},
    ],
    ids=["hidden", "not recognised", "no depth camera", "no return", "out of view"],
)
def test_what_is_not_seen_but_not_seen_through_is_kept(absence):
    watch = Watch().see(sighting(), times=3).see(**absence, times=200)
    (thing,) = watch.objects
    assert thing.state is ObjectState.REMEMBERED
    assert thing.last_seen_ns == 2 * SECOND // 10
    assert watch.told == [(APPEARED, thing.id)]


def test_a_wide_lens_does_not_see_through_what_is_far_aside():
    aside = sighting((1.0, 1.8, 1.0))  # the polynomial of the lens folds this back into the image
    watch = Watch().see(aside, times=3).see(depth=9.0, camera=WIDE, times=50)
    assert len(watch.objects) == 1


def test_neither_a_noisy_image_nor_another_side_of_it_moves_a_thing():
    rng = np.random.default_rng(1)
    watch = Watch().see(sighting(), times=5)
    for i in range(100):
        watch.see(sighting(np.array([2, 0, 1]) + rng.normal(0, 0.08, 3) + (0, 0.002 * i, 0)))
    watch.see(sighting((2.0, 0.9, 1.0))).see(sighting((2, 0.2, 1)), times=LONG_ENOUGH)
    assert watch.kinds == [APPEARED]


# Going -------------------------------------------------------------------------------------------


def test_what_is_seen_through_often_enough_is_removed_once():
    watch = Watch().see(sighting(), times=3).see(depth=9.0, times=3)
    (thing,) = watch.objects
    while watch.objects[0].state is not ObjectState.GONE:
        watch.see(depth=9.0)
    assert watch.images < 12
    watch.see(depth=9.0, times=20)
    assert watch.objects == []
    assert watch.told == [(APPEARED, thing.id), (REMOVED, thing.id)]
    gone = watch.events[-1]
    np.testing.assert_allclose(gone.from_position, (2, 0, 1))
    assert np.isnan(gone.to_position).all()


def test_what_is_seen_again_was_not_seen_through():
    watch = Watch().see(sighting(), times=5)
    for _ in range(10):
        watch.see(depth=9.0, times=3).see(sighting(), times=3)
    assert watch.kinds == [APPEARED]


def test_what_went_while_nobody_looked_is_removed_on_return():
    watch = Watch().see(sighting(), times=3).see(T_odom_base=LOOKING_BACK, times=1000)
    watch.see(depth=4.5, times=LONG_ENOUGH)
    assert watch.kinds == [APPEARED, REMOVED]


def test_what_comes_back_after_it_was_gone_is_the_same_thing():
    watch = Watch().see(sighting(), times=3).see(depth=9.0, times=LONG_ENOUGH)
    watch.see(sighting((3, 1.0, 1)), times=LONG_ENOUGH)
    assert watch.kinds == [APPEARED, REMOVED, MOVED]
    assert len({e.object_id for e in watch.events}) == 1
    assert watch.objects[0].state is ObjectState.VISIBLE


def test_what_is_seen_again_where_it_was_told_to_be_gone_is_told_to_be_there():
    watch = Watch().see(sighting(), times=3).see(depth=9.0, times=LONG_ENOUGH)
    watch.see(sighting(), times=2 * LONG_ENOUGH)
    assert watch.kinds == [APPEARED, REMOVED, MOVED]
    back = watch.events[-1]
    assert back.object_id == watch.events[0].object_id
    np.testing.assert_allclose(back.to_position, watch.events[0].to_position, atol=0.1)


# Moving ------------------------------------------------------------------------------------------


def carried(watch: Watch, steps=20, fork=True):
    """Carry a pallet along y by 0.1 m an image, with a forklift behind it."""
    pallet, truck = (3.0, -1.0, 0.5), (4.6, -1.0, 1.0)
    truck_size = {"label": "forklift", "size": np.array([3.0, 1.1, 2.0]), "embedding": OTHER}
    for i in range(steps):
        y = np.array([0, 0.1 * i, 0])
        seen = [sighting(pallet + y, "pallet", moving=1.0)]
        if fork:
            seen.append(sighting(truck + y, moving=1.0, **truck_size))
        watch.see(*seen)
    end = np.array([0, 0.1 * (steps - 1), 0])
    rest = [sighting(pallet + end, "pallet")]
    return rest + ([sighting(truck + end, **truck_size)] if fork else [])


OTHER = np.array([0, 1], np.float32)


def test_a_carried_thing_sets_off_stops_and_has_moved_and_who_did_it_is_known():
    watch = Watch().see(
        sighting((3.0, -1.0, 0.5), "pallet"),
        sighting((4.6, -1.0, 1.0), "forklift", size=np.array([3.0, 1.1, 2.0]), embedding=OTHER),
        times=5,
    )
    pallet, truck = (next(o.id for o in watch.objects if o.label == n) for n in PAIR)
    rest = carried(watch)
    watch.see(*rest, times=LONG_ENOUGH)
    of_pallet = [e for e in watch.events if e.object_id == pallet]
    assert [e.type for e in of_pallet] == [APPEARED, STARTED, STOPPED, MOVED]
    moved = of_pallet[-1]
    assert (moved.agent_id, moved.agent_label) == (truck, "forklift")
    np.testing.assert_allclose(moved.from_position, (3, -1, 0.5), atol=0.1)
    np.testing.assert_allclose(moved.to_position, (3, 0.9, 0.5), atol=0.1)


PAIR = ("pallet", "forklift")


def test_what_moves_alone_has_no_agent():
    watch = Watch().see(sighting((3.0, -1.0, 0.5), "pallet"), times=5)
    watch.see(*carried(watch, fork=False), times=LONG_ENOUGH)
    assert watch.kinds == [APPEARED, STARTED, STOPPED, MOVED]
    assert {e.agent_id for e in watch.events} == {0}


def test_who_went_by_long_ago_did_not_do_it():
    """A motion mask bleeds onto a pallet while a forklift creeps by; later it moves unseen."""
    size = np.array([1.2, 0.8, 1.1])
    truck = {"label": "forklift", "size": np.array([2.5, 1.1, 2.0]), "embedding": OTHER}
    here, there = (sighting((4.0, y, 0.55), "pallet", size=size) for y in (0.0, 2.0))
    other = sighting((3.5, -1.9, 0.55), "pallet", size=size, embedding=OTHER)
    watch = Watch().see(here, other, times=3 * LONG_ENOUGH)
    for i in range(12):
        by = sighting((5.8, 0.03 * i - 0.1, 1.0), moving=1.0, **truck)
        watch.see(replace(here, motion_probability=float(i < 5)), by, other, depth=1.0)
    watch.see(here, other, depth=1.0, times=LONG_ENOUGH)
    watch.see(T_odom_base=LOOKING_BACK, depth=1.0, times=50)
    watch.see(there, other, depth=1.0, times=2 * LONG_ENOUGH)
    (moved,) = (e for e in watch.events if e.type is MOVED and e.label == "pallet")
    assert moved.agent_id == 0


def test_a_move_that_nobody_saw_has_no_agent_and_is_believed_less():
    other = sighting((2.5, -1.2, 1.0), embedding=OTHER)  # from which it can be told apart
    watch = Watch().see(sighting(), other, times=300).see(T_odom_base=LOOKING_BACK, times=50)
    watch.see(sighting((2.5, 1.2, 1.0)), other, times=2 * LONG_ENOUGH)
    assert watch.kinds == [APPEARED, APPEARED, MOVED]
    moved = watch.events[-1]
    assert moved.agent_id == 0
    assert moved.confidence < 0.8
    assert len(watch.objects) == 2


def test_what_nobody_can_place_is_not_told_until_somebody_can():
    watch = Watch().see(sighting((4, 0, 0.5), "person", variance=100.0), times=10)
    assert watch.kinds == []
    watch.see(sighting((4, 0, 0.5), "person"), times=2)
    assert watch.kinds == [APPEARED]


def test_what_sets_off_from_where_nobody_knows_is_not_told():
    watch = Watch().see(sighting((4, 0, 0.5), "person", variance=4.0), times=LONG_ENOUGH)
    for i in range(20):  # seen better only when it is on its way
        variance = 4.0 if i < 5 else 0.0025
        watch.see(sighting((4, 0.15 * i, 0.5), "person", variance=variance, moving=1.0))
    assert watch.kinds == [APPEARED]


def test_who_turns_at_the_edge_of_the_view_has_not_set_off():
    watch = Watch().see(sighting((4, 0, 0.5), "robot"), times=LONG_ENOUGH)
    for i in range(20):  # less and less of it is seen, and its place is less and less sure
        seen = sighting((4, 0.03 * i, 0.5), "robot", variance=(0.03 * i) ** 2 + 0.01, moving=1.0)
        watch.see(seen)
    assert watch.kinds == [APPEARED]


def test_a_short_stop_is_none():
    watch = Watch()
    for i in range(20):
        watch.see(sighting((3, -1 + 0.1 * i, 0.5), "person", moving=1.0))
    watch.see(sighting((3, 0.9, 0.5), "person"), times=4)
    for i in range(10):
        watch.see(sighting((3, 0.9 + 0.1 * i, 0.5), "person", moving=1.0))
    assert watch.kinds == [APPEARED]


@pytest.mark.parametrize("rate", [5, 10, 30])
def test_how_soon_motion_is_believed_does_not_depend_on_the_rate_of_images(rate):
    memory = WorkingMemory()

    def motion(moving, images):
        nonlocal stamp_s
        for _ in range(images):
            stamp_s += 1 / rate
            seen = sighting((3, 0, 0.5), "person", moving=moving)
            memory.update(looking_at(stamp_s, 9.0), AT_ORIGIN, [seen])
        (thing,) = memory.map.objects.values()
        return thing.motion

    stamp_s = 0.0
    assert motion(1.0, 3 * rate) == pytest.approx(4.0)
    # What was believed to move surely rests after two fifths of a second.
    assert motion(0.02, 2 * rate // 5) == pytest.approx(-4.0, abs=1.9)


def test_how_far_a_thing_gets_says_whether_it_moves():
    """Motion that is told late, or still told of what stands, gives way to where the thing is."""

    def motion(step, told):
        watch = Watch()
        for i in range(20):
            watch.see(sighting((3, step * i, 0.5), "pallet", moving=told))
        (thing,) = watch.objects
        return thing.motion

    assert motion(0.05, told=0.4) > 0 > motion(0.0, told=0.6)
    assert motion(0.0, told=0.95) > 0 > motion(0.05, told=0.05)


@pytest.mark.parametrize(("label", "told"), [("pallet", [STARTED]), ("person", [])])
def test_what_cannot_turn_on_the_spot_has_set_off_when_it_moves_for_long(label, told):
    watch = Watch().see(sighting((4, 0, 0.5), label), times=LONG_ENOUGH)
    watch.see(sighting((4.05, 0, 0.5), label, moving=1.0), times=12)
    assert watch.kinds == [APPEARED, *told]


def test_how_long_a_thing_has_rested_begins_anew_when_it_was_out_of_sight():
    watch = Watch().see(sighting(), times=LONG_ENOUGH).see(times=4, depth=1.0).see(sighting())
    (thing,) = watch.objects
    assert thing.same_s(watch.images * SECOND // 10) == pytest.approx(1.5)
    watch.see(times=5, depth=1.0).see(sighting(), times=3)
    assert thing.same_s(watch.images * SECOND // 10) == pytest.approx(0.3)


def test_what_is_seen_vaguely_again_and_again_stays_where_it_was_seen_well():
    watch = Watch().see(sighting((4, 0, 0.5), "pallet"), times=LONG_ENOUGH)
    watch.see(sighting((4.6, 0, 0.5), "pallet", variance=0.5), times=50)
    (thing,) = watch.objects
    np.testing.assert_allclose(thing.position[:2], (4, 0), atol=0.05)
    assert watch.kinds == [APPEARED]


def test_called_another_class_for_once_a_thing_stays_where_it_is():
    watch = Watch().see(sighting((4, 0, 0.5), "pallet"), times=LONG_ENOUGH)
    # A box is put down 0.3 m before the middle of a pallet, and seems surer.
    watch.see(sighting((3.7, 0, 0.5), "box", variance=0.001))
    (thing,) = watch.objects
    assert thing.label == "pallet"
    np.testing.assert_allclose(thing.position[:2], (4, 0), atol=0.05)
    np.testing.assert_allclose(thing.size, 0.4)
    assert watch.kinds == [APPEARED]


# The map moves -----------------------------------------------------------------------------------


def test_a_correction_of_the_map_makes_no_duplicate_and_no_event():
    """The robot has drifted by 2 m when it comes back; SLAM closes the loop."""
    watch = Watch().see(sighting(), times=5, T_map_odom=np.eye(4))
    watch.see(T_odom_base=LOOKING_BACK, times=50, T_map_odom=np.eye(4))
    drifted, T_map_odom = np.eye(4), np.eye(4)
    drifted[1, 3], T_map_odom[1, 3] = 2.0, -2.0
    watch.see(sighting((2, 2.0, 1)), T_odom_base=drifted, times=LONG_ENOUGH, T_map_odom=T_map_odom)
    assert watch.kinds == [APPEARED]
    (thing,) = watch.objects
    np.testing.assert_allclose(thing.position, (2, 2, 1), atol=0.05)


def test_drift_of_odometry_alone_is_not_taken_for_motion():
    """After 20 m it is off by 0.5 m: three things seem to have moved by the same step."""
    things = [sighting((x, y, 1)) for x, y in ((2, 0), (3, 1), (3, -1))]
    watch = Watch().see(*things, times=5)
    for i in range(200):
        away = LOOKING_BACK.copy()
        away[0, 3] = -10 + abs(i - 100) / 10
        watch.see(T_odom_base=away)
    drifted = np.eye(4)
    drifted[:2, 3] = 0.3, 0.4
    seen = [sighting((x + 0.3, y + 0.4, 1)) for x, y in ((2, 0), (3, 1), (3, -1))]
    watch.see(*seen, T_odom_base=drifted, times=2 * LONG_ENOUGH)
    assert watch.kinds == [APPEARED] * 3
    assert len(watch.objects) == 3


def test_what_becomes_surer_of_its_own_place_drags_nothing_along():
    watch = Watch().see(sighting((2, 0, 0.5)), times=LONG_ENOUGH)
    (box,) = watch.objects
    for i in range(20):  # the robot drives on, and sees better and better where a pallet stands
        x, variance = (6, 1.0) if i < 10 else (5, 0.01)
        seen = sighting((x, 1, 0.5), "pallet", variance=variance)
        T = np.eye(4)
        T[0, 3] = 0.05 * i
        watch.see(seen, depth=1.0, T_odom_base=T)
    there = next(o for o in watch.objects if o.id == box.id)
    np.testing.assert_allclose(there.position[:2], (2, 0), atol=0.1)


def test_events_stay_where_they_were_in_the_map():
    watch = Watch().see(sighting(), times=5)
    moved, driven = AT_ORIGIN.copy(), AT_ORIGIN.copy()
    driven[0, 3] = 1.5
    watch.see(depth=None, T_odom_base=driven)
    moved[0, 3] = -3.0  # odom turns out to lie elsewhere: all that was seen is 3 m farther on in it
    watch.see(depth=None, times=2, T_map_odom=moved, T_odom_base=driven)
    (thing,), (event,) = watch.memory.query("box", np.array([5.0, 0, 0]), 0.5, 0)
    np.testing.assert_allclose(thing.position[:2], (5, 0), atol=0.1)
    np.testing.assert_allclose(event.to_position[:2], (5, 0), atol=0.1)


def test_odometry_drifts_again_once_slam_is_silent():
    watch = Watch()
    for i in range(60):
        T_odom_base, T_map_odom = AT_ORIGIN.copy(), AT_ORIGIN.copy()
        T_odom_base[0, 3], T_map_odom[1, 3] = i, 0.001 * min(i, 30)
        watch.see(T_odom_base=T_odom_base, T_map_odom=T_map_odom, depth=None)
        if i == 30:
            followed = watch.memory.map.drift.sigma(np.zeros(1))
    alone = watch.memory.map.drift.sigma(np.zeros(1))
    assert followed <= 0.15
    assert 0.7 < alone < 1.1, "by 3 % of the last 29 m"


# Corridors ---------------------------------------------------------------------------------------

AISLE = Corridor("aisle_a", np.array([[1.0, 0.0], [5.0, 0.0]]))


def test_a_corridor_is_blocked_and_cleared_by_what_stands_on_it():
    watch = Watch(MemoryConfig(paths=(AISLE,)))
    watch.see(sighting(), times=5).see(depth=9.0, times=LONG_ENOUGH)
    assert watch.kinds == [APPEARED, BLOCKED, REMOVED, CLEARED]
    assert {e.path_name for e in watch.events if e.type in (BLOCKED, CLEARED)} == {"aisle_a"}


def test_who_walks_through_a_corridor_does_not_block_it():
    watch = Watch(MemoryConfig(paths=(AISLE,)))
    for i in range(40):
        watch.see(sighting((3, -2 + 0.1 * i, 0.9), "person", moving=1.0))
    assert watch.kinds == [APPEARED]


def test_what_sets_off_before_it_is_certain_stood_where_it_was_seen_first():
    watch = Watch(MemoryConfig(paths=(AISLE,)))
    for i in range(30):
        y = 0.0 if i < 2 else 0.1 * (i - 1)
        seen = sighting((3, y, 0.9), "forklift", moving=1.0 if i >= 1 else 0.0)
        watch.see(seen, depth=8.0)  # behind the aisle, which is free without it
    assert watch.kinds == [APPEARED, BLOCKED, STARTED, CLEARED]
    (start,) = (e for e in watch.events if e.type is STARTED)
    np.testing.assert_allclose(start.from_position, (3, 0, 0.9), atol=0.1)


def test_confidence_is_less_where_the_place_is_less_sure():
    near = Watch().see(sighting(variance=0.01), times=5)
    rough = Watch().see(sighting(variance=0.2), times=5)
    assert [near.kinds, rough.kinds] == [[APPEARED], [APPEARED]]
    assert near.events[0].confidence > rough.events[0].confidence + 0.05


def test_what_may_be_anywhere_has_not_left_a_corridor():
    watch = Watch(MemoryConfig(paths=(AISLE,)))
    watch.see(sighting((3, 0, 0.5), "pallet"), times=LONG_ENOUGH)
    assert watch.kinds[-1] is BLOCKED
    for i in range(6):
        watch.see(sighting((3, 0.1 * i, 0.5), "pallet", moving=1.0))
    watch.see(times=20, depth=1.0)  # hidden, it goes on somewhere
    watch.see(sighting((3, 1.5, 0.5), "pallet", variance=25.0, moving=1.0))
    (thing,) = watch.objects
    assert thing.sigma > 1.5
    assert CLEARED not in watch.kinds
    watch.see(sighting((3, 1.5, 0.5), "pallet", moving=1.0))
    assert watch.kinds[-1] is CLEARED


def test_what_stands_beside_a_corridor_does_not_block_it():
    watch = Watch(MemoryConfig(paths=(AISLE,))).see(sighting((2.0, 0.75, 1)), times=LONG_ENOUGH)
    assert watch.kinds == [APPEARED]


def test_what_nobody_knows_blocks_a_corridor_too_and_is_told_without_an_id():
    watch = Watch(MemoryConfig(paths=(AISLE,))).see(depth=3.0, times=15)
    assert watch.events == []
    assert watch.memory.paths.state("aisle_a", 0) is PathState.UNKNOWN
    watch.see(depth=3.0, times=15)
    assert watch.told == [(BLOCKED, 0)]
    assert watch.memory.paths.state("aisle_a", 0) is PathState.BLOCKED
    watch.see(depth=None, times=15)
    assert watch.kinds == [BLOCKED]
    watch.see(depth=9.0, times=5)
    assert watch.kinds == [BLOCKED, CLEARED]


def test_a_corridor_is_clear_only_where_all_of_it_was_seen():
    watch = Watch(MemoryConfig(paths=(AISLE,))).see(T_odom_base=LOOKING_BACK, depth=9.0, times=5)
    assert watch.memory.paths.state("aisle_a", 0) is PathState.UNKNOWN
    behind = AT_ORIGIN.copy()
    behind[0, 3] = -1.0
    watch.see(T_odom_base=behind, depth=9.0, times=5)
    assert watch.memory.paths.state("aisle_a", 0) is PathState.CLEAR


def test_a_corridor_may_be_laid_while_the_memory_lives():
    watch = Watch().see(sighting(), times=5)
    watch.memory.paths.lay(AISLE)
    watch.see(sighting(), times=5)
    assert watch.kinds == [APPEARED, BLOCKED]
    watch.memory.paths.lift("aisle_a")
    watch.see(depth=9.0, times=LONG_ENOUGH)
    assert watch.kinds == [APPEARED, BLOCKED, REMOVED]


def test_a_corridor_that_is_laid_again_a_little_beside_tells_nothing_twice():
    watch = Watch(MemoryConfig(paths=(AISLE,))).see(sighting(), times=5)
    beside = Corridor("aisle_a", AISLE.centre_line + np.array([0.1, 0.1]))
    watch.memory.paths.lay(beside)
    watch.see(sighting(), times=5)
    assert watch.kinds == [APPEARED, BLOCKED]
    assert [c.centre_line.tolist() for c in watch.memory.paths.corridors] == [
        beside.centre_line.tolist()
    ]
    watch.see(depth=9.0, times=LONG_ENOUGH)
    assert watch.kinds == [APPEARED, BLOCKED, REMOVED, CLEARED]


def test_a_corridor_that_is_laid_elsewhere_is_not_known_there():
    behind = AT_ORIGIN.copy()
    behind[0, 3] = -1.0
    watch = Watch(MemoryConfig(paths=(AISLE,)))
    watch.see(T_odom_base=behind, depth=9.0, times=5)
    assert watch.memory.paths.state("aisle_a", 0) is PathState.CLEAR
    watch.memory.paths.lay(Corridor("aisle_a", AISLE.centre_line + np.array([0.05, 0.0])))
    assert watch.memory.paths.state("aisle_a", 0) is PathState.CLEAR
    watch.memory.paths.lay(Corridor("aisle_a", AISLE.centre_line + np.array([0.0, 9.0])))
    assert watch.memory.paths.state("aisle_a", 0) is PathState.UNKNOWN


@pytest.mark.parametrize("line", [[[0, 0]], [[0, 0], [1, np.nan]], [[0, 0, 0], [1, 1, 1]]])
def test_what_is_no_corridor_is_refused(line):
    with pytest.raises(ValueError, match="path 'x' has a centre line of shape"):
        Corridor("x", np.array(line, float))
    with pytest.raises(ValueError, match="path 'x' has no length"):
        Corridor("x", np.ones((3, 2)))


def test_who_walked_away_hides_no_obstacle():
    """Where he is by now nobody knows; what stands on the corridor is not him."""
    watch = Watch(MemoryConfig(paths=(AISLE,)))
    for i in range(20):
        watch.see(sighting((4, -1 + 0.1 * i, 0.9), "person", moving=1.0), depth=9.0)
    watch.see(T_odom_base=LOOKING_BACK, depth=9.0, times=50)
    watch.see(depth=3.0, times=30)
    assert watch.told[-1] == (BLOCKED, 0)


def test_what_set_off_while_nobody_looked_blocks_no_longer_once_its_place_is_seen_empty():
    watch = Watch(MemoryConfig(paths=(AISLE,)))
    watch.see(sighting((3, 0, 0.9), "forklift"), times=LONG_ENOUGH)
    watch.see(sighting((3.05, 0, 0.9), "forklift", moving=1.0), times=12)
    assert watch.kinds == [APPEARED, BLOCKED, STARTED]
    watch.see(T_odom_base=LOOKING_BACK, depth=9.0, times=30)
    assert watch.kinds == [APPEARED, BLOCKED, STARTED]
    watch.see(depth=9.0, times=5)
    assert watch.kinds == [APPEARED, BLOCKED, STARTED, CLEARED]


def test_what_drives_along_a_corridor_and_is_missed_for_an_image_blocks_it_still():
    watch = Watch(MemoryConfig(paths=(AISLE,)))
    watch.see(sighting((2, 0, 0.9), "forklift"), times=LONG_ENOUGH)
    for i in range(1, 25):
        seen = [sighting((2 + 0.1 * i, 0, 0.9), "forklift", moving=1.0)] if i % 6 else []
        watch.see(*seen, depth=9.0)  # behind it, and behind where it stood
    assert watch.kinds == [APPEARED, BLOCKED, STARTED]


def test_a_plan_that_comes_again_and_again_is_blocked_by_what_nobody_knows():
    watch = Watch(MemoryConfig(paths=(AISLE,)))
    for _ in range(4):
        watch.see(depth=3.0, times=10)
        watch.memory.paths.lay(AISLE)
    assert watch.told == [(BLOCKED, 0)]
    watch.memory.paths.lay(Corridor("aisle_a", AISLE.centre_line + np.array([0.0, 5.0])))
    watch.see(depth=3.0)
    assert watch.told == [(BLOCKED, 0), (CLEARED, 0)], "the new plan leads round it"


def test_doubt_about_who_walked_away_ends_somewhere():
    watch = Watch()
    for i in range(20):
        watch.see(sighting((4, -1 + 0.1 * i, 0.9), "person", moving=1.0))
    watch.see(T_odom_base=LOOKING_BACK, depth=None, times=3000)
    (thing,) = watch.objects
    assert 20 < thing.sigma < 65


# Invariants --------------------------------------------------------------------------------------

happenings = st.lists(
    st.tuples(
        st.sampled_from([None, (2.0, 0.0), (2.0, 0.3), (2.5, 1.2), (4.0, -1.5)]),
        st.sampled_from([None, 0.0, 1.0, 2.0, 9.0]),
        st.sampled_from([0.0, 0.2, 1.0]),
        st.sampled_from(["pallet", "person"]),
        st.integers(1, 12),
    ),
    max_size=12,
)


@given(happenings)
def test_whatever_happens_the_events_make_sense(happenings):
    watch = Watch(MemoryConfig(paths=(AISLE,)))
    for place, depth, moving, label, times in happenings:
        seen = [] if place is None else [sighting((*place, 1.0), label, moving=moving)]
        watch.see(*seen, depth=depth, times=times)
    assert [e.sequence for e in watch.events] == list(range(1, len(watch.events) + 1))
    assert all(a.stamp_ns <= b.stamp_ns for a, b in pairwise(watch.events))
    known, moving, blocked = set(), {}, set()
    for event in watch.events:
        assert 0 < event.confidence <= 1
        number = event.object_id
        if event.path_name:
            assert (event.type is BLOCKED) == (event.path_name not in blocked)
            blocked ^= {event.path_name}
        elif event.type is APPEARED:
            assert number not in known
            known.add(number)
        else:
            assert number in known
        if event.type is STARTED:
            assert not moving.get(number)
            moving[number] = True
        if event.type is STOPPED:
            assert moving.get(number) is not False
            moving[number] = False
        if event.type is MOVED:
            assert np.linalg.norm(event.to_position - event.from_position) > 0.3


def test_a_reset_forgets_all_but_no_number_is_given_twice():
    watch = Watch().see(sighting(), times=3)
    watch.memory.reset()
    assert watch.memory.query("", np.zeros(3), 0, 0) == ([], [])
    watch.see(sighting(), times=3)
    (first, before), (second, after) = ((e.object_id, e.sequence) for e in watch.events)
    assert second > first
    assert after == before + 1


# Asking ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known() -> WorkingMemory:
    """A box ahead, seen until image 2; a pallet beside it until image 5; a doubtful cone."""
    watch = Watch().see(sighting(), times=3)
    watch.see(sighting((2, -1.5, 1), "pallet", embedding=OTHER), depth=1.0, times=3)
    watch.see(sighting((2, 1.5, 1), "cone"), depth=1.0)
    return watch.memory


@pytest.mark.parametrize(
    ("label", "centre", "radius", "since", "found"),
    [
        ("", (0, 0, 0), 0, 0, ["box", "pallet"]),
        ("box", (0, 0, 0), 0, 0, ["box"]),
        ("cone", (0, 0, 0), 0, 0, []),
        ("", (2, -1.5, 1), 0.5, 0, ["pallet"]),
        ("", (2, -0.7, 1), 1.0, 0, ["box", "pallet"]),
        ("", (2, -0.7, 0), 1.0, 0, ["box", "pallet"]),  # asked on the floor
        ("", (9, 9, 9), 1, 0, []),
        ("", (0, 0, 0), 0, 3, ["pallet"]),
        ("box", (2, -1.5, 1), 0.5, 0, []),
    ],
)
def test_questions_by_label_place_and_time_hold_together(
    known, label, centre, radius, since, found
):
    things, events = known.query(label, np.array(centre, float), radius, since * SECOND // 10)
    assert [o.label for o in things] == found
    assert [e.label for e in events] == found


def test_the_log_keeps_the_recent_events_only():
    log = EventLog(capacity=10)
    for second in range(25):
        kind = EventType.APPEARED
        event = Event(second * SECOND, kind, second, "box", 0.9, NOWHERE, np.zeros(3))
        log.add(event, AT_ORIGIN)
    assert [e.sequence for e in log.recent(AT_ORIGIN)] == list(range(16, 26))
    assert [e.object_id for e in log.recent(AT_ORIGIN, "box", 22 * SECOND)] == [22, 23, 24]
    assert log.recent(AT_ORIGIN, "cone") == []
