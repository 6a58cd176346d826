# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pervformer_ros.bags.ground_truth import TrueChange, TrueThing
from pervformer_ros.evaluation.memory.record import EventRecord
from pervformer_ros.evaluation.memory.scoring import Happening, score_events, score_map
from pervformer_ros.evaluation.memory.suite import _story, evaluate_memory
from pervformer_ros.memory import EventType

SECOND = 1_000_000_000
NOWHERE = np.full(2, np.nan)


def happening(second=10.0, kind=EventType.APPEARED, thing=1, end=(3.0, 0.0), **changes):
    values = {"start": NOWHERE, "label": "pallet", "away_m": 3.0, **changes}
    return Happening(round(second * SECOND), kind, thing, end=np.array(end), **values)


def test_what_is_told_right_counts_with_its_latency():
    score = score_events([happening(10.5, end=(3.2, 0.1))], [happening()])
    assert (score.precision, score.recall, score.f1, score.latency_s) == (1, 1, 1, 0.5)


@pytest.mark.parametrize(
    "told",
    [
        happening(12.5),
        happening(8.5),
        happening(thing=2),
        happening(kind=EventType.STOPPED),
        happening(end=(3.6, 0.0)),
        happening(path="aisle_a"),
    ],
    ids=["late", "early", "another object", "another type", "elsewhere", "of a path"],
)
def test_what_is_told_wrongly_is_false_and_what_took_place_is_missed(told):
    score = score_events([told], [happening()])
    assert (len(score.right), len(score.false), len(score.missed)) == (0, 1, 1)


def test_what_is_told_late_is_false_but_true():
    told = [happening(12.5, confidence=0.9), happening(13.0, thing=2, confidence=0.1)]
    score = score_events(told, [happening()])
    assert score.late == told[:1]
    assert score.confidence_error == pytest.approx(0.1)
    assert score_events([happening(8.5)], [happening()]).late == [], "before it took place"
    assert score_events([happening(10.5), *told], [happening()]).late == [], "told twice"


def test_places_that_are_far_away_need_not_be_right_to_half_a_metre():
    told, true = happening(end=(21.5, 0.0), away_m=20.0), happening(end=(20.0, 0.0), away_m=20.0)
    assert score_events([told], [true]).recall == 1


def test_what_walked_into_view_is_right_where_it_is_when_it_is_told():
    told = happening(11.0, end=(4.5, 0.0), whereabouts=np.array([4.4, 0.0]))
    assert score_events([told], [happening()]).recall == 1
    still_there = happening(11.0, whereabouts=np.array([4.4, 0.0]))
    assert score_events([still_there], [happening()]).recall == 0


def test_there_is_time_to_tell_from_when_it_is_shown_plainly():
    true = happening(10.0, plain_ns=15 * SECOND)
    assert score_events([happening(16.5)], [true]).recall == 1
    assert score_events([happening(17.5)], [true]).recall == 0


def test_what_is_never_shown_plainly_may_be_told_but_need_not():
    true = happening(optional=True)
    assert score_events([happening(10.5)], [true]).precision == 1
    score = score_events([happening(10.5, end=(9.0, 0.0))], [true])
    assert (len(score.false), len(score.missed)) == (1, 0)


PLAINLY = np.repeat([False, True], [10, 5])  # a second hidden, half a second in view


@pytest.mark.parametrize(
    ("shows", "plain", "missed"),
    [(PLAINLY, True, 1), (PLAINLY & False, True, 0), (PLAINLY & False, False, 1)],
    ids=["in view for long enough", "never in plain view", "in view at all"],
)
def test_an_event_must_be_told_once_images_show_its_thing_plainly(shows, plain, missed):
    record = EventRecord()
    for image, shown in enumerate(shows):
        stamp_ns = image * SECOND // 10
        box = np.zeros(4, np.float32)
        thing = TrueThing(1, "pallet", 0, False, np.eye(4), np.ones(3), np.zeros(3), 99, box)
        kind = int(EventType.APPEARED)
        change = TrueChange(stamp_ns, kind, 1, "pallet", np.eye(4), np.eye(4), 0, "", "")
        changes = [change] if image == 0 else []
        record.hear(stamp_ns, np.eye(4), np.eye(4), [], [], [thing], changes, {1} if shown else ())
    assert len(record.events(plain).missed) == missed


@pytest.mark.parametrize(("shown_before", "missed"), [(True, 1), (False, 0)])
@pytest.mark.parametrize("kind", [EventType.STARTED_MOVING, EventType.PATH_CLEARED])
def test_what_left_must_be_told_where_it_was_plainly_known_to_be(kind, shown_before, missed):
    record = EventRecord()
    box, T = np.zeros(4, np.float32), np.eye(4)
    for image in range(30):
        stamp_ns, moving = image * SECOND // 10, image >= 15
        here = T.copy()
        here[0, 3] = 0.1 * max(0, image - 15)
        thing = TrueThing(1, "pallet", 0, moving, here, np.ones(3), np.zeros(3), 99, box)
        change = TrueChange(stamp_ns, int(kind), 1, "pallet", T, here, 0, "", "")
        changes = [change] if image == 17 else []
        plain = {1} if moving or shown_before else set()
        record.hear(stamp_ns, T, T, [], [], [thing], changes, plain)
    assert len(record.events(plain=True).missed) == missed
    assert len(record.events().missed) == 1


def test_an_event_that_is_told_twice_is_right_once():
    score = score_events([happening(10.1), happening(10.9)], [happening()])
    assert (len(score.right), len(score.false)) == (1, 1)
    assert score.latency_s == pytest.approx(0.1)


seconds = st.lists(st.floats(0, 30), max_size=6)


@given(seconds, seconds)
def test_every_event_counts_once(told, true):
    score = score_events([happening(s) for s in told], [happening(s) for s in true])
    assert len(score.right) + len(score.false) == len(told)
    assert len(score.right) + len(score.missed) == len(true)


def test_objects_are_right_where_class_and_place_are():
    places = np.array([[0, 0], [0.3, 0], [5, 0], [9, 9]], float)
    labels = ["box", "box", "pallet", "cone"]
    score = score_map(places, labels, np.array([[0.1, 0], [5, 0.5]]), ["box", "box"])
    assert (score.remembered, score.true, score.right, score.duplicates) == (4, 2, 1, 1)
    assert score.position_m == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("told", "story"),
    [([], False), ([happening()], True), ([happening(), happening(kind=EventType.MOVED)], False)],
    ids=["nothing", "what appeared", "a move, too"],
)
def test_the_story_of_a_still_world_is_not_told_by_silence(told, story):
    assert _story("static_loop", score_events(told, [happening()])) is story


def test_the_command_judges_an_episode(tmp_path):
    episode, total = evaluate_memory(
        ["truth"], [("path_clears", 900_000)], tmp_path, seconds=4.0, rate=3
    )
    assert (episode["scenario"], episode["method"], total["scenario"]) == (
        "path_clears",
        "truth",
        "all",
    )
    assert episode["events"] == episode["right"] + episode["missed"]
    assert (tmp_path / "table.json").exists()


def test_what_cannot_be_judged_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no source"):
        evaluate_memory(["dream"], [], tmp_path)
    with pytest.raises(ValueError, match="no pose"):
        evaluate_memory(["truth"], [], tmp_path, pose="guess")
    with pytest.raises(ValueError, match="cannot be taken"):
        evaluate_memory(["truth"], [], tmp_path, rate=4)
