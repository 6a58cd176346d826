# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pervformer_ros.geometry import make_rotation, make_transform
from pervformer_ros.slam.odometry import Odometer, OdometryNoise, Way, link

NOISE = OdometryNoise(translation=0.05, rotation=0.05, heading=0.02)
SECOND = 1_000_000_000


def at(x, yaw=0.0):
    T = make_rotation([0, 0, yaw])
    T[0, 3] = x
    return T


def way(path, turn=0.0, slip=0.0):
    return Way(np.eye(4), np.eye(4), path, turn, 0.0, slip)


def test_the_way_there_and_back_counts_in_full():
    odometer = Odometer()
    readings = [odometer.read(i * SECOND, at(x)) for i, x in enumerate([0.0, 1.0, 0.0])]
    way = link(readings[0], readings[2])
    np.testing.assert_allclose(way.T_first_second, np.eye(4), atol=1e-12)
    assert way.path == pytest.approx(2.0)
    assert NOISE.of(way)[3, 3] > 0.1**2


def test_a_short_gap_is_bridged_but_a_jump_is_not():
    odometer = Odometer()
    first = odometer.read(0, at(0.0))
    assert odometer.read(SECOND // 5, None) is None
    after_gap = odometer.read(2 * SECOND // 5, at(1.0))
    assert link(first, after_gap) is not None
    after_jump = odometer.read(3 * SECOND, at(50.0))
    assert odometer.jumped
    assert link(after_gap, after_jump) is None
    assert link(after_jump, odometer.read(4 * SECOND, at(50.5))) is not None
    assert not odometer.jumped


def test_after_a_long_gap_odometry_may_have_started_anew():
    odometer = Odometer()
    before = odometer.read(0, at(6.0))
    assert odometer.read(SECOND, None) is None
    after = odometer.read(2 * SECOND, at(0.0))
    assert odometer.jumped
    assert link(before, after) is None
    assert link(after, odometer.read(3 * SECOND, at(0.5))) is not None


def test_images_that_come_late_are_no_gap_of_odometry():
    odometer = Odometer()
    first = odometer.read(0, at(0.0))
    assert link(first, odometer.read(2 * SECOND, at(1.0))) is not None


def test_the_first_reading_after_the_robot_was_carried_is_linked_to_the_next():
    odometer = Odometer()
    odometer.part()
    assert link(odometer.read(0, at(0.0)), odometer.read(SECOND, at(0.5))) is not None


def test_a_turn_that_no_robot_makes_is_a_jump():
    odometer = Odometer()
    odometer.read(0, at(0.0))
    odometer.read(SECOND // 10, at(0.0, yaw=3.0))
    assert odometer.jumped


def test_a_turn_out_of_nothing_is_told_from_one_that_grows():
    yaws = [0.0, 0.0, 0.02, 0.06, 0.12, 0.18, 0.34, 0.40]
    odometer, twitched = Odometer(), []
    for i, yaw in enumerate(yaws):
        odometer.read(i * SECOND // 10, at(0.0, yaw))
        twitched.append(odometer.twitched)
    assert twitched == [False] * 6 + [True, True]  # and that it ends as suddenly


def test_odometry_that_is_cut_is_not_linked_to_before():
    odometer = Odometer()
    assert odometer.cut() is None
    first = odometer.read(0, at(0.0))
    odometer.read(SECOND, at(1.0))
    second = odometer.cut()
    assert link(first, second) is None
    way = link(second, odometer.read(2 * SECOND, at(2.0)))
    assert way.T_first_second[0, 3] == pytest.approx(1.0)


def test_no_reading_links_to_nothing():
    assert link(None, Odometer().read(0, make_transform([0, 0, 0], [0, 0, 0, 1]))) is None


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 20.0), st.floats(0.0, 6.0), st.floats(0.01, 5.0))
def test_noise_grows_with_path_and_turn(path, turn, more):
    for noise in (NOISE.of, NOISE.of_chained):
        here = np.diag(noise(way(path, turn)))
        assert (np.diag(noise(way(path + more, turn))) > here).all()
        assert (np.diag(noise(way(path, turn + more)))[:3] > here[:3]).all()


def test_a_chain_of_short_ways_is_no_more_exact_than_one_long_way():
    whole = NOISE.of(way(3.0))[3, 3]
    chain = 30 * NOISE.of_chained(way(0.1))[3, 3]
    assert whole < chain < 3 * whole
    assert 30 * NOISE.of(way(0.1))[3, 3] < 0.2 * whole


def test_wheels_that_spin_give_themselves_away():
    odometer, frame = Odometer(), SECOND // 15
    x, readings = 0.0, []
    for i in range(10):
        x += 0.07 if i != 6 else 0.5
        readings.append(odometer.read(i * frame, at(x)))
    gone = link(readings[0], readings[-1])
    assert gone.slip == pytest.approx(0.43, abs=1e-6)
    assert gone.T_first_second[0, 3] == pytest.approx(9 * 0.07)
    assert gone.T_as_it_came[0, 3] == pytest.approx(8 * 0.07 + 0.5)
    assert link(readings[7], readings[-1]).slip == 0
    assert NOISE.of(gone)[3, 3] > 0.43**2


def test_odometry_that_hangs_for_a_moment_counts_again_soon_after():
    odometer, frame = Odometer(), SECOND // 10
    ways = [0.15 * i if i not in (10, 11) else 0.15 * 9 for i in range(50)]
    readings = [odometer.read(i * frame, at(x)) for i, x in enumerate(ways)]
    assert link(readings[20], readings[-1]).slip == 0
    assert link(readings[0], readings[-1]).T_first_second[0, 3] > ways[-1] - 0.6


@settings(max_examples=40, deadline=None)
@given(st.floats(-2.0, 2.0), st.floats(0.02, 0.2))
def test_a_robot_that_accelerates_does_not_slip(acceleration, seconds):
    odometer, x, speed, slips = Odometer(), 0.0, 1.0, 0.0
    for i in range(20):
        slips += odometer.read(round(i * seconds * SECOND), at(x)).slip
        speed = np.clip(speed + acceleration * seconds, -2.0, 2.0)
        x += speed * seconds
    assert slips == 0


def test_what_nobody_confirms_may_have_slipped():
    confirmed, later = NOISE.of_unconfirmed(way(0.2), 0.0), NOISE.of_unconfirmed(way(0.2), 3.0)
    np.testing.assert_allclose(confirmed, NOISE.of(way(0.2)))
    assert later[3, 3] > 0.15**2


def test_wheels_slip_no_farther_than_they_turn():
    standing = NOISE.of_unconfirmed(way(0.0), 3.0)
    creeping = NOISE.of_unconfirmed(way(0.05), 3.0)
    assert standing[3, 3] < 0.001**2
    assert standing[0, 0] < np.radians(0.05) ** 2
    assert 0.05**2 < creeping[3, 3] < 0.1**2
    on_the_spot = NOISE.of_unconfirmed(way(0.0, turn=0.1), 3.0)
    assert on_the_spot[3, 3] > 0.03**2


def test_encoders_tremble_less_while_the_wheels_stand():
    standing, driving = NOISE.of(way(0.0)), NOISE.of(way(0.01))
    assert (np.diag(standing) < np.diag(driving) / 50).all()
    assert (np.diag(standing) > 0).all()
