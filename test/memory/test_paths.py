# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Corridors as planners lay them, and what stands on them that no detector knows."""

import numpy as np
import pytest
from memory_scene import AT_ORIGIN, CAMERA, Watch, sighting

from pervformer_ros.memory import Corridor, EventType, MemoryConfig, PathState

APPEARED = EventType.APPEARED
BLOCKED, CLEARED = EventType.PATH_BLOCKED, EventType.PATH_CLEARED
AHEAD = np.array([[1.0, 0.0], [5.0, 0.0]])
AISLE = Corridor("aisle", AHEAD)
BESIDE = Corridor("aisle", np.add(AHEAD, (0.0, 8.0)))
LONG_ENOUGH = 30  # images in which something unknown is believed


def watching(*corridors: Corridor) -> Watch:
    return Watch(MemoryConfig(paths=corridors))


def obstacle(low: float, high: float, distance: float = 3.0, width: float = 0.6) -> np.ndarray:
    """Return a depth image of something so high above the floor (m), and nothing else near."""
    depth = np.full((CAMERA.height, CAMERA.width), 9.0, np.float32)
    rows = [round(CAMERA.cy - CAMERA.fy * (z - 1.0) / distance) for z in (high, low)]
    half = round(CAMERA.fx * width / 2 / distance)
    depth[max(rows[0], 0) : rows[1], 80 - half : 80 + half] = distance
    return depth


def blockers(watch: Watch) -> list[EventType]:
    return [kind for kind in watch.kinds if kind in (BLOCKED, CLEARED)]


@pytest.mark.parametrize("points", [2, 17, 81, 401])
def test_a_line_is_the_same_strip_by_however_many_points(points):
    line = np.linspace(*AHEAD, points)
    plan = Corridor("plan", line)
    asked = np.random.default_rng(0).uniform((-1, -2), (7, 2), (200, 2))
    np.testing.assert_allclose(plan.depth_inside(asked), AISLE.depth_inside(asked), atol=1e-9)
    for middle in asked:
        thing = middle + 0.3 * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1], [0, 0]])
        assert plan.overlap(thing) == pytest.approx(AISLE.overlap(thing), abs=1e-9)
    np.testing.assert_allclose(plan.pieces(), AISLE.pieces(), atol=1e-9)
    assert blockers(watching(plan).see(depth=obstacle(0.2, 1.0), times=LONG_ENOUGH)) == [BLOCKED]


def test_a_strip_goes_round_a_bend_and_ends_where_its_line_does():
    bend = Corridor("bend", np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 3.0]]), 0.5)
    at = [(2.9, 0.0), (3.0, 0.1), (3.3, -0.3), (3.4, -0.4), (3.0, 2.9), (3.0, 3.2), (-0.3, 0.0)]
    inside = bend.depth_inside(np.array(at))
    expected = [0.5, 0.5, 0.5 - 0.18**0.5, 0.5 - 0.32**0.5, 0.1, -0.2, -0.3]
    np.testing.assert_allclose(inside, expected, atol=1e-9)


def test_a_curve_is_followed_to_two_centimetres():
    angle = np.linspace(0, np.pi, 200)
    arc = Corridor("arc", 2.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1), 0.4)
    middle = np.linspace(0.3, np.pi - 0.3, 50)
    for radius in (1.7, 2.0, 2.3):
        points = radius * np.stack([np.cos(middle), np.sin(middle)], axis=1)
        np.testing.assert_allclose(arc.depth_inside(points), 0.4 - abs(radius - 2.0), atol=0.021)
    beside = np.array([1.0, 2.35])  # on the tangent, from which the arc bends away
    box = beside + 0.15 * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1], [0, 0]])
    assert arc.overlap(box) < 0.1


@pytest.mark.parametrize(("low", "high"), [(1.2, 1.6), (0.15, 0.5), (1.05, 1.4), (0.2, 1.5)])
def test_what_nobody_knows_blocks_for_as_long_as_it_is_seen(low, high):
    """A raised load, a plank, a beam: what is looked past above or below it is no evidence."""
    watch = watching(AISLE).see(depth=obstacle(low, high), times=3 * LONG_ENOUGH)
    assert watch.kinds == [BLOCKED]
    watch.see(depth=9.0, times=3)
    assert watch.kinds == [BLOCKED, CLEARED]


def test_a_faint_detection_of_it_does_not_make_an_obstacle_go_away():
    faint = sighting((3.1, 0.0, 0.6), score=0.35)
    watch = watching(AISLE).see(faint, depth=obstacle(0.2, 1.0), times=2 * LONG_ENOUGH)
    assert blockers(watch) == [BLOCKED]


def test_nor_does_a_thing_that_is_known_and_stands_beside_the_strip():
    pallet = sighting((3.2, 1.0, 0.3), "pallet", size=np.array([1.2, 0.8, 0.6]))
    watch = watching(AISLE).see(pallet, depth=obstacle(0.2, 1.0, width=0.3), times=LONG_ENOUGH)
    assert blockers(watch) == [BLOCKED]
    assert watch.events[-1].object_id == 0


def test_what_is_known_is_no_second_obstacle():
    box = sighting((3.2, 0.0, 0.6), size=np.array([0.6, 0.6, 0.8]))
    watch = watching(AISLE).see(box, depth=obstacle(0.2, 1.0), times=2 * LONG_ENOUGH)
    assert watch.told == [(APPEARED, 1), (BLOCKED, 1)]


# Corridors that come and go -----------------------------------------------------------------------


def test_a_corridor_through_what_is_remembered_is_blocked():
    watch = watching().see(sighting((3, 0, 0.3)), times=5).see(depth=1.0, times=20)
    watch.memory.paths.lay(AISLE)
    watch.see(depth=1.0)
    assert blockers(watch) == [BLOCKED]
    assert watch.memory.paths.state("aisle", watch.images) is PathState.BLOCKED


def test_a_corridor_that_is_laid_elsewhere_twice_tells_once_that_it_is_clear():
    watch = watching(AISLE).see(sighting((3, 0, 0.3)), times=5)
    further = Corridor("aisle", np.add(AHEAD, (0.0, 9.0)))
    for corridor in (BESIDE, further):
        watch.memory.paths.lay(corridor)
    watch.see(sighting((3, 0, 0.3)), times=3)
    assert blockers(watch) == [BLOCKED, CLEARED]


def test_the_same_corridor_laid_twice_changes_nothing():
    watch = watching(AISLE).see(sighting((3, 0, 0.3)), times=5)
    watch.memory.paths.lay(BESIDE)
    watch.memory.paths.lay(Corridor("aisle", np.add(AHEAD, (0.0, 8.0))))
    watch.see(sighting((3, 0, 0.3)), times=3)
    assert blockers(watch) == [BLOCKED, CLEARED]


def test_from_one_blocker_to_another_a_corridor_stays_blocked():
    things = sighting((3, 0, 0.3)), sighting((3, 8, 0.3), embedding=np.array([0, 1], np.float32))
    watch = watching(AISLE).see(*things, times=5)
    watch.memory.paths.lay(BESIDE)
    watch.see(*things, times=5)
    assert blockers(watch) == [BLOCKED]


def test_what_stood_on_a_corridor_is_kept_until_that_is_laid():
    before = watching(AISLE).see(depth=obstacle(0.2, 1.0), times=LONG_ENOUGH).memory.paths
    watch = watching()
    watch.memory.paths.restore(before.blockers)
    assert set(watch.memory.paths.blockers) == {"aisle"}, "it may be saved once more"
    watch.memory.paths.lay(AISLE)
    watch.see(depth=1.0, T_odom_base=AT_ORIGIN)
    assert watch.memory.paths.state("aisle", watch.images) is PathState.BLOCKED
    assert watch.kinds == [], "it was told in another run"
