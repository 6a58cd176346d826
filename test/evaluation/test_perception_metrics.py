# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every figure of perception against cases that can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from perception_records import FRAMES_PER_S, box, frame, renamed

from pervformer_ros.evaluation.perception import hidden
from pervformer_ros.evaluation.perception.detection import average_precision
from pervformer_ros.evaluation.perception.motion import measure_motion, score
from pervformer_ros.evaluation.perception.records import as_boxes, overlaps, pair
from pervformer_ros.evaluation.perception.tracking import measure_tracking

NEAR = (0.0, 0.0, 2.0)
PERSON, BOX = (1, "person", 400, box(10), NEAR), (2, "box", 400, box(60), NEAR)
SMALL = (3, "cone", 100, box(110, size=10), NEAR)


def said_of(record, *said):
    """The record with other detections: (label, box, score)."""
    labels, boxes, scores = zip(*said, strict=True)
    return replace(record, detections=as_boxes(range(len(said)), labels, boxes, scores))


# Boxes -------------------------------------------------------------------------------------------


def test_overlaps_are_shares_of_the_union_or_of_the_first():
    first, second = np.array([box(0)]), np.array([box(10), box(100)])
    np.testing.assert_allclose(overlaps(first, second), [[1 / 3, 0.0]])
    np.testing.assert_allclose(overlaps(first, second, of_first=True), [[0.5, 0.0]])


def test_pairs_are_as_many_as_possible():
    # The first of each would fit best to each other, but then the others would stay alone.
    first, second = np.array([box(0), box(6)]), np.array([box(1), box(-5)])
    assert sorted(zip(*(i.tolist() for i in pair(first, second)), strict=True)) == [(0, 1), (1, 0)]


# Detection ---------------------------------------------------------------------------------------


def test_the_truth_detected_is_perfect():
    records = [frame(t, [PERSON, BOX, SMALL]) for t in range(3)]
    assert average_precision(records) == pytest.approx({"person": 1.0, "box": 1.0})
    assert average_precision(records, any_class=True) == pytest.approx({"object": 1.0})


def test_half_found_with_a_mistake_before_it():
    # Of two true persons one is found, after a mistake of a higher score: precision is 1/2 up to
    # recall 1/2 and 0 beyond, so 51 of 101 recall levels have 1/2.
    record = frame(0, [PERSON, (4, "person", 400, box(60), NEAR)])
    record = said_of(record, ("person", box(200), 0.9), ("person", box(10), 0.8))
    assert average_precision([record])["person"] == pytest.approx(0.5 * 51 / 101)


def test_a_wrong_class_counts_in_its_class_and_not_without_classes():
    record = said_of(frame(0, [PERSON]), ("box", box(10), 0.9))
    assert average_precision([record]) == {"person": 0.0}
    assert average_precision([record], any_class=True) == pytest.approx({"object": 1.0})


def test_what_shows_too_little_is_neither_required_nor_punished():
    small = box(110, size=10)
    record = said_of(frame(0, [PERSON, SMALL]), ("box", small, 0.95), ("person", box(10), 0.9))
    assert average_precision([record]) == pytest.approx({"person": 1.0})


def test_nothing_detected_and_nothing_true():
    assert average_precision([frame(0, [PERSON], said=[])]) == {"person": 0.0}
    assert average_precision([frame(0, [])]) == {}


# Tracking ----------------------------------------------------------------------------------------


def test_the_truth_published_is_tracked_perfectly():
    run = [frame(t, [PERSON, BOX, SMALL]) for t in range(6)]
    figures = measure_tracking([run, run])
    assert figures.keys() == {"all", "person", "box"}
    for tracking in figures.values():
        assert (tracking.hota, tracking.idf1) == pytest.approx((1.0, 1.0))


def test_other_names_do_not_matter_but_a_change_of_name_does():
    run = [frame(t, [PERSON]) for t in range(8)]
    other = [renamed(r, {1: 77}) for r in run]
    assert measure_tracking([other])["all"].idf1 == pytest.approx(1.0)
    # From the middle on it is somebody else: half is identified, and half of what was told is:
    # IDF1 = 1/2. Association: each half shares 4 of 8 frames, AssA = 1/2, HOTA = sqrt(1 * 1/2).
    changed = run[:4] + other[4:]
    figures = measure_tracking([changed])["person"]
    assert figures.idf1 == pytest.approx(0.5)
    assert figures.hota == pytest.approx(np.sqrt(0.5))


def test_a_track_on_what_shows_too_little_does_not_count():
    tracked = [*((s[0], s[1], s[3]) for s in (PERSON, SMALL)), (9, "person", box(112, size=6))]
    run = [frame(t, [PERSON, SMALL], said=tracked) for t in range(4)]
    assert measure_tracking([run])["all"].idf1 == pytest.approx(1.0)


def test_a_ghost_counts_against_precision():
    told = [(1, "person", box(10)), (9, "person", box(200))]
    run = [frame(t, [PERSON], said=told) for t in range(4)]
    assert measure_tracking([run])["all"].idf1 == pytest.approx(2 / 3)  # precision 1/2, recall 1


# Hidden ------------------------------------------------------------------------------------------


def hide_and_seek(hidden_frames, before=8, after=8, place=NEAR):
    """A person is seen, hidden and seen again; a box is always seen."""
    hidden_person = (1, "person", 0, None, place)
    persons = [PERSON] * before + [hidden_person] * hidden_frames + [PERSON] * after
    return [frame(t, [person, BOX]) for t, person in enumerate(persons)]


def reid(run):
    return hidden.summarise(hidden.find_spells(run, "published"), *hidden.REID_S)


def test_who_is_known_again_is_known_again():
    run = hide_and_seek(3 * FRAMES_PER_S)
    assert (reid(run).spells, reid(run).recovered) == (1, 1.0)
    whole = [renamed(r, {1: 5}) for r in run]
    assert reid(whole).recovered == 1.0


def test_who_gets_another_name_is_not():
    run = hide_and_seek(3 * FRAMES_PER_S)
    assert reid([*run[:-8], *(renamed(r, {1: 5}) for r in run[-8:])]).recovered == 0.0
    # Who was never told of before cannot be known again either.
    unknown = [frame(t, [PERSON, BOX], [], []) for t in range(8)]
    assert reid([*unknown, *run[8:]]).recovered == 0.0


@pytest.mark.parametrize(("seconds", "spells"), [(1, 0), (3, 1), (14, 1), (17, 0)])
def test_only_2_to_15_seconds_count(seconds, spells):
    assert reid(hide_and_seek(seconds * FRAMES_PER_S)).spells == spells


def test_a_glimpse_is_not_being_seen():
    assert reid(hide_and_seek(30, before=3)).spells == 0
    assert reid(hide_and_seek(30, after=3)).spells == 0


def test_memory_of_the_hidden_is_judged_by_presence_and_place():
    run = hide_and_seek(20)
    # For the last 10 of 20 hidden frames it is forgotten, before that 0.5 m and then 3 m off.
    for k, t in enumerate(range(8, 28)):
        claims = run[t].claims["probes"]
        off = 0.5 if k < 5 else 3.0
        position = claims.position + np.where(claims.id[:, None] == 1, off, 0) * [1, 0, 0]
        kept = (claims.id != 1) | (k < 10)
        moved = replace(claims, id=claims.id[kept], box=claims.box[kept], position=position[kept])
        run[t] = replace(run[t], claims={**run[t].claims, "probes": moved})
    found = hidden.summarise(hidden.find_spells(run, "probes"))
    assert (found.spells, found.recovered, found.moments) == (1, 1.0, 20)
    assert (found.present, found.near) == (0.5, 0.25)
    assert found.position_m == pytest.approx(1.75)  # between 0.5 and 3


def test_a_memory_that_never_had_it_is_not_asked_where_it_is():
    run = [replace(r, claims={"probes": frame(0, []).claims["probes"]}) for r in hide_and_seek(20)]
    found = hidden.summarise(hidden.find_spells(run, "probes"))
    assert (found.spells, found.recovered, found.moments) == (1, 0.0, 0)
    assert (found.present, found.position_m) == (None, None)


# Motion ------------------------------------------------------------------------------------------


def test_motion_is_judged_where_something_moves_and_false_alarms_where_nothing_does():
    true, none = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    true[:10] = True  # 200 pixels
    half = true.copy()
    half[5:] = False
    some = none.copy()
    some[:1, :4] = True
    run = [
        replace(frame(t, []), motion={"model": score(said, truth)})
        for t, (said, truth) in enumerate(
            [(true, true), (half, true), (true, true), (some, none), (none, none)]
        )
    ]
    motion = measure_motion([run], "model")
    assert motion.iou == pytest.approx((1 + 0.5 + 1) / 3)
    assert motion.flicker == pytest.approx(0.5)
    assert motion.false_alarm == pytest.approx(0.01 / 2)
    assert measure_motion([run], "other") == measure_motion([], "model")
    assert measure_motion([run[3:]], "model").iou is None
