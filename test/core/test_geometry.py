# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pervformer_ros.geometry import (
    interpolate,
    invert,
    make_rotation,
    make_transform,
    quaternion,
    rotation_angle,
    rotation_vector,
    transform_points,
)

metres = st.floats(-100, 100)
# Short of half a turn, where the way round is not ambiguous.
turns = st.tuples(*[st.floats(-1.7, 1.7)] * 3).map(np.array)


@st.composite
def transforms(draw):
    T = make_rotation(draw(turns))
    T[:3, 3] = draw(st.tuples(metres, metres, metres))
    return T


@given(transforms())
def test_a_transform_times_its_inverse_is_the_identity(T):
    np.testing.assert_allclose(T @ invert(T), np.eye(4), atol=1e-9)


@given(transforms(), transforms())
def test_the_inverse_of_a_chain_is_the_chain_of_the_inverses(T_a_b, T_b_c):
    np.testing.assert_allclose(invert(T_a_b @ T_b_c), invert(T_b_c) @ invert(T_a_b), atol=1e-9)


@given(transforms(), transforms(), st.tuples(metres, metres, metres))
def test_a_chain_moves_points_as_its_links_do_one_after_the_other(T_a_b, T_b_c, point):
    points = np.array([point])
    one_by_one = transform_points(T_a_b, transform_points(T_b_c, points))
    np.testing.assert_allclose(transform_points(T_a_b @ T_b_c, points), one_by_one, atol=1e-9)


@given(transforms(), transforms())
def test_interpolation_begins_and_ends_at_its_ends(T_0, T_1):
    np.testing.assert_allclose(interpolate(T_0, T_1, 0.0), T_0, atol=1e-9)
    np.testing.assert_allclose(interpolate(T_0, T_1, 1.0), T_1, atol=1e-9)


@given(transforms(), transforms(), st.floats(0, 1))
def test_interpolation_is_the_same_from_either_end(T_0, T_1, fraction):
    there, back = interpolate(T_0, T_1, fraction), interpolate(T_1, T_0, 1 - fraction)
    np.testing.assert_allclose(there, back, atol=1e-7)


@given(st.tuples(metres, metres, metres).map(np.array), turns, st.floats(-2, 3))
def test_steady_motion_is_interpolated_and_extrapolated_exactly(velocity, turn_rate, time):
    def pose(t):
        T = make_rotation(turn_rate * t)
        T[:3, 3] = velocity * t
        return T

    np.testing.assert_allclose(interpolate(pose(0), pose(1), time), pose(time), atol=1e-7)


@given(transforms())
def test_quaternion_and_translation_make_the_same_transform(T):
    np.testing.assert_allclose(make_transform(T[:3, 3], quaternion(T)), T, atol=1e-9)


@given(turns)
def test_rotation_vector_and_angle_are_those_of_the_rotation(turn):
    np.testing.assert_allclose(rotation_vector(make_rotation(turn)), turn, atol=1e-9)
    assert rotation_angle(make_rotation(turn)) == pytest.approx(np.linalg.norm(turn), abs=1e-9)


def test_quaternions_are_normalised():
    np.testing.assert_allclose(make_transform((1, 2, 3), (0, 0, 0, 2))[:3, :3], np.eye(3))


@pytest.mark.parametrize(
    ("translation", "rotation", "words"),
    [
        ((0, 0, 0), (0, 0, 0, 0), r"zero quaternion: fill in its orientation \(w = 1\)"),
        ((np.nan, 0, 0), (0, 0, 0, 1), "not finite"),
        ((0, 0, 0), (0, np.inf, 0, 1), "not finite"),
    ],
)
def test_a_pose_that_is_none_is_refused(translation, rotation, words):
    with pytest.raises(ValueError, match=words):
        make_transform(translation, rotation)
