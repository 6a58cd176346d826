# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_scene import CAMERA, SECOND, looking_at, sighting

from pervformer_ros.frame import CameraModel
from pervformer_ros.geometry import make_rotation
from pervformer_ros.memory import (
    Event,
    EventLog,
    EventType,
    MemoryConfig,
    ObjectState,
    WorkingMemory,
)
from pervformer_ros.memory.events import NOWHERE

CONFIG = MemoryConfig(confirm_sightings=3, removal_evidence=5)
AT_ORIGIN = np.eye(4)
LOOKING_BACK = make_rotation([0, np.pi, 0])


class Watch:
    """Feeds a memory with images a second apart and collects what it tells."""

    def __init__(self, config: MemoryConfig = CONFIG):
        self.memory = WorkingMemory(config)
        self.seconds = 0
        self.events = []
        self.objects = []

    def see(self, *sightings, depth=3.0, T_odom_base=AT_ORIGIN, camera=CAMERA, times=1) -> "Watch":
        for _ in range(times):
            frame = looking_at(self.seconds, depth, camera)
            update = self.memory.update(frame, T_odom_base, list(sightings))
            self.seconds += 1
            self.events += update.events
            self.objects = update.objects
        return self

    @property
    def told(self):
        return [(e.type, e.object_id) for e in self.events]


# Appearing ---------------------------------------------------------------------------------------


def test_a_thing_appears_once_when_it_is_certain():
    watch = Watch().see(sighting(), times=2)
    assert watch.events == watch.objects == []
    watch.see(sighting(), times=10)
    (thing,) = watch.objects
    assert watch.told == [(EventType.APPEARED, thing.id)]
    (event,) = watch.events
    assert event.stamp_ns == 2 * SECOND
    assert (event.label, event.sequence) == ("box", 1)
    assert event.confidence == pytest.approx(0.9)
    np.testing.assert_allclose(event.to_position, (0, 0, 2))
    assert np.isnan(event.from_position).all()


def test_of_what_was_never_certain_nothing_is_told():
    watch = Watch().see(sighting(), times=2).see(depth=9.0, times=20)
    assert watch.events == watch.objects == []
    assert len(watch.memory.map) == 0


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([None, 0.0, 1.0, 2.0, 9.0])), max_size=60),
)
def test_whatever_happens_each_thing_appears_once_and_is_removed_at_most_once(happenings):
    watch = Watch()
    for is_seen, depth in happenings:
        watch.see(*[sighting()] * is_seen, depth=depth)
    appeared = [i for kind, i in watch.told if kind is EventType.APPEARED]
    removed = [i for kind, i in watch.told if kind is EventType.REMOVED]
    assert len(appeared) == len(set(appeared))
    assert len(removed) == len(set(removed))
    assert set(removed) <= set(appeared)
    assert {o.id for o in watch.objects} == set(appeared) - set(removed)
    assert [e.sequence for e in watch.events] == list(range(1, len(watch.events) + 1))


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
    assert thing.last_seen_ns == 2 * SECOND
    assert watch.told == [(EventType.APPEARED, thing.id)]


def test_a_wide_lens_does_not_see_through_what_is_far_aside():
    aside = sighting((1.8, 0, 1.0))  # the polynomial of the lens folds this back into the image
    watch = Watch().see(aside, times=3).see(depth=9.0, camera=WIDE, times=50)
    assert len(watch.objects) == 1


@pytest.mark.parametrize(("variance", "kept"), [(0.0001, False), (0.25, True)])
def test_the_less_sure_a_place_is_the_farther_behind_it_must_be_seen(variance, kept):
    watch = Watch().see(sighting(variance=variance), times=3).see(depth=2.6, times=10)
    assert bool(watch.objects) == kept


# Going -------------------------------------------------------------------------------------------


def test_what_is_seen_through_often_enough_is_removed_once():
    watch = Watch().see(sighting(), times=3).see(depth=9.0, times=CONFIG.removal_evidence - 1)
    (thing,) = watch.objects
    watch.see(depth=9.0)
    assert [(o.id, o.state) for o in watch.objects] == [(thing.id, ObjectState.GONE)]
    watch.see(depth=9.0)
    assert watch.objects == []
    watch.see(depth=9.0, times=20)
    assert watch.told == [(EventType.APPEARED, thing.id), (EventType.REMOVED, thing.id)]
    gone = watch.events[-1]
    assert gone.stamp_ns == 7 * SECOND
    np.testing.assert_allclose(gone.from_position, (0, 0, 2))
    assert np.isnan(gone.to_position).all()


def test_what_is_seen_again_was_not_seen_through():
    watch = Watch().see(sighting(), times=3)
    for _ in range(10):
        watch.see(depth=9.0, times=CONFIG.removal_evidence - 1).see(sighting())
    assert len(watch.objects) == 1


def test_what_went_while_nobody_looked_is_removed_on_return():
    """However long that was: a place does not become so unsure that nothing counts as behind it."""
    watch = Watch().see(sighting(), times=3).see(T_odom_base=LOOKING_BACK, times=10_000)
    watch.see(depth=4.5, times=CONFIG.removal_evidence)
    assert [kind for kind, _ in watch.told] == [EventType.APPEARED, EventType.REMOVED]


def test_what_comes_back_is_another_thing():
    watch = Watch().see(sighting(), times=3).see(depth=9.0, times=10).see(sighting(), times=3)
    first, removed, second = watch.told
    assert [k for k, _ in watch.told] == [
        EventType.APPEARED,
        EventType.REMOVED,
        EventType.APPEARED,
    ]
    assert first[1] == removed[1] != second[1]


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
    """A box ahead, seen until second 2; a pallet beside it until second 5; a doubtful cone."""
    watch = Watch().see(sighting((0, 0, 2)), times=3)
    watch.see(sighting((2, 0, 2), "pallet"), depth=1.0, times=3)
    watch.see(sighting((-2, 0, 2), "cone"), depth=1.0)
    return watch.memory


@pytest.mark.parametrize(
    ("label", "centre", "radius", "since_s", "found"),
    [
        ("", (0, 0, 0), 0, 0, ["box", "pallet"]),
        ("box", (0, 0, 0), 0, 0, ["box"]),
        ("cone", (0, 0, 0), 0, 0, []),
        ("", (2, 0, 2), 0.5, 0, ["pallet"]),
        ("", (1, 0, 2), 1.5, 0, ["box", "pallet"]),
        ("", (9, 9, 9), 1, 0, []),
        ("", (0, 0, 0), 0, 3, ["pallet"]),
        ("box", (2, 0, 2), 0.5, 0, []),
    ],
)
def test_questions_by_label_place_and_time_hold_together(
    known, label, centre, radius, since_s, found
):
    things, events = known.query(label, np.array(centre, float), radius, since_s * SECOND)
    assert [o.label for o in things] == found
    assert [e.label for e in events] == found


def test_the_log_keeps_the_recent_events_only():
    log = EventLog(capacity=10)
    for second in range(25):
        log.add(
            Event(second * SECOND, EventType.APPEARED, second, "box", 0.9, NOWHERE, np.zeros(3))
        )
    assert [e.sequence for e in log.recent()] == list(range(16, 26))
    assert [e.object_id for e in log.recent("box", 22 * SECOND)] == [22, 23, 24]
    assert log.recent("cone") == []
