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


def test_the_way_there_and_back_counts_in_full():
    odometer = Odometer()
    readings = [odometer.read(i * SECOND, at(x)) for i, x in enumerate([0.0, 1.0, 0.0])]
    way = link(readings[0], readings[2])
    np.testing.assert_allclose(way.T_first_second, np.eye(4), atol=1e-12)
    assert way.path == pytest.approx(2.0)
    assert NOISE.of(way)[3, 3] > 0.1**2


def test_a_gap_is_bridged_but_a_jump_is_not():
    odometer = Odometer()
    first = odometer.read(0, at(0.0))
    assert odometer.read(SECOND, None) is None
    after_gap = odometer.read(2 * SECOND, at(1.0))
    assert link(first, after_gap) is not None
    after_jump = odometer.read(3 * SECOND, at(50.0))
    assert odometer.jumped
    assert link(after_gap, after_jump) is None
    assert link(after_jump, odometer.read(4 * SECOND, at(50.5))) is not None
    assert not odometer.jumped


def test_a_turn_that_no_robot_makes_is_a_jump():
    odometer = Odometer()
    odometer.read(0, at(0.0))
    odometer.read(SECOND // 10, at(0.0, yaw=3.0))
    assert odometer.jumped


def test_no_reading_links_to_nothing():
    assert link(None, Odometer().read(0, make_transform([0, 0, 0], [0, 0, 0, 1]))) is None


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 20.0), st.floats(0.0, 6.0), st.floats(0.01, 5.0))
def test_noise_grows_with_path_and_turn(path, turn, more):
    for noise in (NOISE.of, NOISE.of_chained):
        here = np.diag(noise(Way(np.eye(4), path, turn)))
        assert (np.diag(noise(Way(np.eye(4), path + more, turn))) > here).all()
        assert (np.diag(noise(Way(np.eye(4), path, turn + more)))[:3] > here[:3]).all()


def test_a_chain_of_short_ways_is_no_more_exact_than_one_long_way():
    whole = NOISE.of(Way(np.eye(4), 3.0, 0.0))[3, 3]
    chain = 30 * NOISE.of_chained(Way(np.eye(4), 0.1, 0.0))[3, 3]
    assert whole < chain < 3 * whole
    assert 30 * NOISE.of(Way(np.eye(4), 0.1, 0.0))[3, 3] < 0.2 * whole
