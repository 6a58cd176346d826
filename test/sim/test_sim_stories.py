# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Motion in every scenario: human-like speeds, no collisions, stories that come to their end."""

import numpy as np
import pytest

from pervformer_ros.sim.episode import Episode
from pervformer_ros.sim.layout import UPRIGHT
from pervformer_ros.sim.scenario import find, names
from pervformer_ros.sim.stage import TICK

SEEDS = (0, 11)
CUT = {"long_shift": 240.0}


@pytest.fixture(scope="module", params=[(n, s) for n in names() for s in SEEDS], ids=str)
def episode(request):
    name, seed = request.param
    return Episode(name, seed, CUT.get(name))


def _robot_steps(episode):
    step = np.diff(episode.log.pose[:, 0], axis=0)
    return step[~episode.log.lifted[1:]]


def test_the_robot_drives_at_human_speed_and_turns_smoothly(episode):
    step = _robot_steps(episode)
    speed = np.hypot(step[:, 0], step[:, 1]) / TICK
    turn = np.abs((step[:, 3] + np.pi) % (2 * np.pi) - np.pi) / TICK
    assert speed.max() < 1.3
    assert turn.max() < 1.2
    moving = speed[speed > 0.01]
    if episode.scenario.name not in ("occlusion", "camouflage"):
        assert 0.6 < np.median(moving) < 1.25


def _assert_nobody_jumps(episode):
    log = episode.log
    there = log.present[1:] & log.present[:-1]
    there[:, 0] &= ~log.lifted[1:]
    step = np.abs(np.diff(log.pose, axis=0))
    turn = (step[..., 3] + np.pi) % (2 * np.pi) - np.pi
    # What is carried moves 2 m beside the wheels that turn.
    assert np.hypot(step[..., 0], step[..., 1])[there].max() < 4.0 * TICK
    assert np.abs(turn)[there].max() < 2.5 * TICK


def test_nobody_jumps(episode):
    _assert_nobody_jumps(episode)


@pytest.mark.parametrize(("name", "seed"), [("path_clears", 42), ("shift", 53)])
def test_nobody_jumps_where_lanes_are_narrow_or_corners_near(name, seed):
    _assert_nobody_jumps(Episode(name, seed))


def test_furniture_beside_a_lane_stops_no_truck_for_ever():
    cleared = Episode("path_clears", 38)
    assert len(cleared.log) * TICK < cleared.scenario.seconds
    place = Episode("busy_aisle", 37, 60).log.pose[:, 0, :2]
    assert np.hypot(*(place[600:] - place[:-600]).T).min() > 1.0  # in 20 s


def test_nobody_runs_into_anybody(episode):
    log = episode.log
    carried = log.carrier
    for tick in range(0, len(log), 15):
        discs, owner = _discs(episode, tick)
        gap = np.hypot(*(discs[:, None, :2] - discs[None, :, :2]).transpose(2, 0, 1))
        gap -= discs[:, None, 2] + discs[None, :, 2]
        label = np.array([episode.bodies[i].kind.label for i in owner])
        apart = owner[:, None] != owner[None]
        joined = (carried[tick, owner][:, None] == owner[None]) & (owner[None] > 0)
        # Forks lie under a pallet before they lift it.
        forks = (label[:, None] == "forklift") & (label[None] == "pallet")
        excused = joined | joined.T | forks | forks.T | _same_carrier(carried[tick, owner])
        assert (gap > -0.12)[apart & ~excused].all()


def _same_carrier(carrier):
    return (carrier[:, None] == carrier[None]) & (carrier[None] > 0)


def _discs(episode, tick):
    discs, owner = [], []
    for body in episode.bodies:
        if episode.log.present[tick, body.id]:
            x, y, _, yaw = episode.log.pose[tick, body.id]
            for along, radius in body.kind.discs:
                discs.append((x + np.cos(yaw) * along, y + np.sin(yaw) * along, radius))
                owner.append(body.id)
    return np.array(discs), np.array(owner)


def test_nobody_walks_through_racks_or_walls(episode):
    layout = episode.layout
    for tick in range(0, len(episode.log), 30):
        discs, _ = _discs(episode, tick)
        x, y, r = discs.T
        inside = (x > 0.2) & (x < layout.width - 0.2) & (y > 0.2) & (y < layout.depth - 0.2)
        assert inside.all()
        for rack in layout.racks:
            deep = (x > rack.x + UPRIGHT) & (x < rack.x + 1.0) & (y > rack.y + r)
            assert not (deep & (y < rack.y + rack.length - r)).any()


def test_the_story_ends_before_the_clock(episode):
    limit = CUT.get(episode.scenario.name, find(episode.scenario.name).seconds)
    if episode.scenario.name != "long_shift":
        assert len(episode.log) * TICK < limit


def test_what_is_carried_stays_where_it_is_on_its_carrier(episode):
    log = episode.log
    for body in range(1, len(episode.bodies)):
        held = np.flatnonzero((log.carrier[1:, body] > 0) & (log.carrier[:-1, body] > 0)) + 1
        if len(held) == 0:
            continue
        carrier = log.carrier[held, body]
        gap = log.pose[held, body, :2] - log.pose[held, carrier, :2]
        yaw = -log.pose[held, carrier, 3]
        local = np.stack([
            np.cos(yaw) * gap[:, 0] - np.sin(yaw) * gap[:, 1],
            np.sin(yaw) * gap[:, 0] + np.cos(yaw) * gap[:, 1],
        ])  # fmt: skip
        breaks = np.flatnonzero((np.diff(held) > 1) | (np.diff(carrier) != 0)) + 1
        for piece in np.split(local, breaks, axis=1):
            assert np.ptp(piece, axis=1).max() < 1e-6


@pytest.mark.parametrize("seed", range(3000, 3004))
def test_a_throng_is_full_of_all_classes_and_some_of_it_moves(seed):
    assert "throng" not in names()  # nothing is evaluated on it
    episode = Episode("throng", seed, 10.0)
    labels = {body.kind.label for body in episode.bodies[1:]}
    assert len(labels) >= 4
    moved = np.ptp(episode.log.pose[:, 1:, :2], axis=0).max(axis=-1)
    assert (moved > 0.3).any()
    assert (moved < 0.01).any()
    assert np.isfinite(episode.log.pose).all()
