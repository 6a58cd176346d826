# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The true events of every scenario, checked against poses and visibility alone.

Nothing here reads a script or the observer's beliefs: from which pixels showed a body, and where it
was, follows what must have been reported.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from pervformer_ros.memory.events import EventType
from pervformer_ros.memory.objects import ObjectState
from pervformer_ros.sim.episode import Episode
from pervformer_ros.sim.kinds import extents
from pervformer_ros.sim.truth import MIN_PIXELS, Observer

# Scenario, seed, seconds: the long shift's first minutes.
CASES = (
    ("static_loop", 3, 50),
    ("forklift_moves_pallet", 1, None),
    ("forklift_moves_pallet", 2, None),
    ("path_clears", 3, None),
    ("busy_aisle", 2, 60),
    ("occlusion", 4, None),
    ("camouflage", 1, None),
    ("lights", 2, 40),
    ("kidnapped", 1, 60),
    ("shift", 1, None),
    ("long_shift", 5, 120),
)
EVERY = 10  # ticks: three sights a second
SMALL = (128, 96)
CARRIERS = ("forklift", "person")


@dataclass
class Seen:
    """Everything that was there to see: S sights, B bodies."""

    episode: Episode
    ticks: np.ndarray
    visible: np.ndarray  # (S, B) whether enough pixels show it
    place: np.ndarray  # (S, B, 2) middle of its box
    resting: np.ndarray  # (S, B) stood still around the sight, judged from poses
    depth: list
    events: list
    states: list

    def of(self, kind, body):
        return [(s, e) for s, e in self.events if e.type is kind and e.object_id == body]

    def bodies(self):
        return range(1, self.place.shape[1])


@pytest.fixture(scope="module", params=CASES, ids=lambda c: f"{c[0]}-{c[1]}")
def seen(request):
    scenario, seed, seconds = request.param
    episode = Episode(scenario, seed, seconds)
    episode.camera = episode.camera.scaled(*SMALL)
    observer = Observer(episode)
    ticks = np.arange(0, len(episode.log), EVERY)
    least = MIN_PIXELS * SMALL[0] * SMALL[1] / (320 * 240)
    visible, depth, events, states = [], [], [], []
    for index, tick in enumerate(ticks.tolist()):
        sight = episode.sight(tick)
        count = np.bincount(sight.instance.ravel(), minlength=len(episode.bodies))
        visible.append(count >= least)
        depth.append(sight.depth.astype(np.float16))
        objects, changes = observer.observe(sight)
        events += [(index, e) for e in changes]
        states.append({o.id: o.state for o in objects})
    return Seen(
        episode,
        ticks,
        np.array(visible),
        _middles(episode, ticks),
        _resting(episode.log.pose, ticks),
        depth,
        events,
        states,
    )


def _middles(episode, ticks):
    """The middle of each body's box, which is off its origin where forks reach forward."""
    pose = episode.log.pose[ticks]
    low, high = np.transpose([extents(b.model) for b in episode.bodies[1:]], (1, 0, 2))
    middle = np.concatenate([np.zeros((1, 3)), (low + high) / 2])
    c, s = np.cos(pose[..., 3]), np.sin(pose[..., 3])
    x, y = middle[:, 0], middle[:, 1]
    return pose[..., :2] + np.stack([c * x - s * y, s * x + c * y], axis=-1)


def _resting(pose, ticks):
    """Whether each body keeps its pose for a second that includes the sight."""
    last = len(pose) - 1
    rest = np.zeros((len(ticks), pose.shape[1]), bool)
    for start in range(-30, 1, 3):
        a, b = np.clip(ticks + start, 0, last), np.clip(ticks + start + 30, 0, last)
        rest |= np.abs(pose[a] - pose[b]).max(axis=2) < 1e-3
    return rest


def test_what_is_seen_first_appears_then_and_once(seen):
    for body in seen.bodies():
        first = np.flatnonzero(seen.visible[:, body])
        reported = [s for s, _ in seen.of(EventType.APPEARED, body)]
        assert reported == ([first[0]] if len(first) else [])


def test_moved_is_reported_for_every_pair_of_resting_places_that_were_seen(seen):
    for body in seen.bodies():
        shown = np.flatnonzero(seen.visible[:, body] & seen.resting[:, body])
        places = seen.place[shown, body]
        hops = []
        for s, here in zip(shown, places, strict=True):
            if not hops or np.hypot(*(here - hops[-1][1])) > 0.32:
                hops.append((s, here))
        reported = seen.of(EventType.MOVED, body)
        assert len(reported) == max(len(hops) - 1, 0)
        for (s, event), (_, before), (at, after) in zip(reported, hops[:-1], hops[1:], strict=True):
            assert abs(s - at) <= 3  # a rest counts from its start; three sights are one second
            assert np.hypot(*(event.T_from[:2, 3] - before)) < 0.35
            assert np.hypot(*(event.T_to[:2, 3] - after)) < 0.35


def test_an_agent_is_named_exactly_where_it_was_seen_carrying(seen):
    for body in seen.bodies():
        if seen.episode.bodies[body].kind.label in CARRIERS:
            continue
        for index, event in seen.of(EventType.MOVED, body):
            start = max((s for s, _ in seen.of(EventType.APPEARED, body)), default=0)
            earlier = [s for s, _ in seen.of(EventType.MOVED, body) if s < index]
            span = slice(max([start, *earlier]), index + 1)
            carriers = _companions(seen, body, span)
            if event.agent_id:
                assert event.agent_id in carriers
                assert event.agent_label in CARRIERS
            else:
                assert not carriers


def _companions(seen, body, span):
    """Bodies that kept their place relative to this one while both moved and were seen."""
    found = set()
    for other in seen.bodies():
        if seen.episode.bodies[other].kind.label not in CARRIERS:
            continue
        gap = seen.place[span, other] - seen.place[span, body]
        distance = np.hypot(*gap.T)
        step = np.hypot(*np.diff(seen.place[span, body], axis=0).T)
        together = (np.abs(np.diff(distance)) < 0.01) & (step > 0.1) & (distance[1:] < 1.8)
        both = seen.visible[span, other] & seen.visible[span, body]
        if (together & both[1:]).any():
            found.add(other)
    return found


def test_stops_and_starts_alternate_and_are_seen(seen):
    for body in seen.bodies():
        kinds = (EventType.STARTED_MOVING, EventType.STOPPED)
        turns = sorted((s, e.type) for k in kinds for s, e in seen.of(k, body))
        assert all(a[1] is not b[1] for a, b in pairwise(turns))
        for s, kind in turns:
            assert seen.visible[s, body]
            ahead = slice(s, s + 4)
            if kind is EventType.STOPPED:
                assert seen.resting[ahead, body].any()
            else:
                assert not seen.resting[s, body] or _was_elsewhere(seen, body, s)


def _was_elsewhere(seen, body, s):
    return np.hypot(*(seen.place[:s, body] - seen.place[s, body]).T).max() > 0.1


def test_removed_means_gone_from_a_place_that_is_in_view_and_empty(seen):
    for body in seen.bodies():
        for s, event in seen.of(EventType.REMOVED, body):
            assert not seen.visible[s, body]
            home = event.T_from[:2, 3]
            there = seen.episode.log.present[seen.ticks[s], body]
            assert not there or np.hypot(*(seen.place[s, body] - home)) > 0.3
            assert _depth_behind(seen, s, event.T_from[:3, 3])
            assert seen.states[s][body] is ObjectState.GONE
            if s + 1 < len(seen.states):
                assert body not in seen.states[s + 1] or seen.visible[s + 1, body]


def _depth_behind(seen, s, point):
    """Whether the picture looks past a point in the map frame."""
    episode = seen.episode
    T = episode.T_map_base(int(seen.ticks[s])) @ episode.T_base_camera
    p = np.linalg.inv(T) @ np.append(point, 1.0)
    u, v = np.rint(episode.camera.project(p[None, :3])[0]).astype(int)
    if not (0 <= u < SMALL[0] and 0 <= v < SMALL[1]):
        return True  # the middle of a box may be out of view while most of it is in view
    return seen.depth[s][v, u] > p[2] - 0.05


def test_a_path_is_blocked_and_cleared_in_turn_by_what_stood_on_it(seen):
    by_path = defaultdict(list)
    for s, event in seen.events:
        if event.path_name:
            by_path[event.path_name].append((s, event))
    centre = {p.name: p for p in seen.episode.layout.paths()}
    for name, changes in by_path.items():
        kinds = [e.type for _, e in changes]
        expected = [EventType.PATH_BLOCKED, EventType.PATH_CLEARED] * len(kinds)
        assert kinds == expected[: len(kinds)]
        for s, event in changes:
            a, b = centre[name].centre_line
            line = (b - a) / np.linalg.norm(b - a)
            across = abs((event.T_to[:2, 3] - a) @ (-line[1], line[0]))
            assert across < centre[name].half_width + 1.6  # half of the longest body's diagonal
            if event.type is EventType.PATH_BLOCKED:
                assert seen.visible[s, event.object_id]
                assert seen.resting[s : s + 4, event.object_id].any()


def test_states_say_what_is_visible(seen):
    for s, states in enumerate(seen.states):
        for body, state in states.items():
            assert (state is ObjectState.VISIBLE) == bool(seen.visible[s, body])
        assert {int(b) for b in np.flatnonzero(seen.visible[s])} - {0} <= set(states)


def test_the_story_is_the_scenarios(seen):
    """Every scenario shows what it is for."""
    name = seen.episode.scenario.name
    kinds = {(e.type, e.label) for _, e in seen.events}
    moved = [e for _, e in seen.events if e.type is EventType.MOVED and e.label == "pallet"]
    if name in ("static_loop", "lights", "kidnapped"):
        assert {e.type for _, e in seen.events} <= {
            EventType.APPEARED,
            EventType.PATH_BLOCKED,
        }
    if name == "forklift_moves_pallet":
        watched = seen.episode.seed % 2 == 1
        assert [e.agent_label for e in moved] == ["forklift" if watched else ""]
    if name == "path_clears":
        paths = [(e.type, e.path_name, e.label) for _, e in seen.events if e.path_name]
        aisle = next(p for k, p, what in paths if what == "pallet" and p.startswith("aisle"))
        first, *later = [k for k, p, _ in paths if p == aisle]
        assert first is EventType.PATH_BLOCKED
        assert later[-1] is EventType.PATH_CLEARED
    if name in ("occlusion", "camouflage", "busy_aisle"):
        assert {(EventType.STARTED_MOVING, "person"), (EventType.STOPPED, "person")} & kinds
    if name == "occlusion":
        assert _longest_hiding(seen, "person") >= 2.0


def _longest_hiding(seen, label):
    """The longest time for which a body is unseen between two sights of it, seconds, up to 15."""
    longest = 0.0
    for body in seen.bodies():
        if seen.episode.bodies[body].kind.label == label:
            gaps = np.diff(np.flatnonzero(seen.visible[:, body])) * EVERY / 30
            longest = max([longest, *gaps[gaps <= 15.5]])
    return longest
