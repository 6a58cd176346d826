# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from slam_room import CAMERA, T_BASE_CAMERA, make_features, signs

from pervformer_ros.geometry import make_transform
from pervformer_ros.slam.keyframe import KeyframeMap, make_keyframe
from pervformer_ros.slam.view import make_view


def features(points, **kwargs):
    uv = np.tile([10.0, 20.0], (len(points), 1))
    return make_features(7, uv, points, signs(np.random.default_rng(0), len(points)), **kwargs)


def view_of(points, **kwargs):
    return make_view(features(points, **kwargs), CAMERA, T_BASE_CAMERA, None)


def facing(x, yaw_quaternion=(0.0, 0.0, 0.0, 1.0)):
    return make_transform([x, 0.0, 0.0], yaw_quaternion)


def wall(distance=3.0, count=60):
    """Points on a wall ahead, in the optical frame."""
    rng = np.random.default_rng(1)
    return np.column_stack([rng.uniform(-1, 1, (count, 2)), np.full(count, distance)])


def test_a_view_takes_nothing_for_moving_for_certain():
    view = view_of(wall(count=3), static_probability=[0.9, 0.0, np.nan])
    assert len(view.pixels) == len(view.points) == len(view.descriptors) == 2
    assert view.static_probability[0] == np.float32(0.9)
    assert 0 < view.static_probability[1] < 0.1


def test_a_feature_whose_descriptor_is_no_number_is_left_out():
    found = features(wall(count=3))
    found.descriptors[1, 0] = np.nan
    assert len(make_view(found, CAMERA, T_BASE_CAMERA, None).pixels) == 2


@pytest.mark.parametrize("z", [1e4, 1e12, np.finfo(np.float32).max])
def test_a_depth_that_no_camera_measures_is_none(z):
    assert view_of(np.array([[0, 0, 2.0], [0, 0, z]])).has_point.tolist() == [True, False]


def test_a_keyframe_keeps_what_has_a_point():
    points = np.array([[0, 0, 2.0], [0, 0, -2.0], [0, 0, 0], [np.nan] * 3, [0, np.inf, 2.0]])
    keyframe = make_keyframe(3, view_of(points))
    np.testing.assert_array_equal(keyframe.points, [[0, 0, 2.0]])
    assert keyframe.looking_distance == 2.0
    assert keyframe.descriptors.dtype == np.float16
    assert (keyframe.id, keyframe.stamp_ns) == (3, 7)


def fill(poses, drift=None, budget=1000):
    keyframes, view = KeyframeMap(budget), view_of(wall())
    for i in range(len(poses)):
        known = np.zeros((i + 1, 2)) if drift is None else np.array(drift[: i + 1])
        keyframes.add(make_keyframe(i, view), np.array(poses[: i + 1]), known)
    return keyframes


def ids(keyframes, T_map_base, count, among=None):
    if among is None:
        among = np.ones(len(keyframes), bool)
    found = keyframes.overlapping(T_map_base @ T_BASE_CAMERA, CAMERA, count, among)
    return [k.id for k in found]


def test_those_that_see_most_come_first():
    backwards = facing(0.0, (0.0, 0.0, 1.0, 0.0))
    keyframes = fill([facing(0.0), facing(-0.1), backwards, facing(30.0), facing(-1.3)])
    assert ids(keyframes, facing(0.0), 4) == [0, 1, 4]
    assert ids(keyframes, facing(0.0), 2) == [0, 1]


def test_of_equals_the_oldest_comes_first():
    assert ids(fill([facing(0.0)] * 5), facing(0.0), 3) == [0, 1, 2]


def test_only_those_asked_for_are_offered():
    asked = np.array([False, True, False, True])
    assert ids(fill([facing(0.0)] * 4), facing(0.0), 3, asked) == [1, 3]


def test_keyframes_that_the_way_drifted_from_are_not_tied():
    drift = [(0.0, 0.4**2), (np.radians(5.0) ** 2, 0.0), (0.001**2, 0.05**2), (0.0, 0.0)]
    assert fill([facing(0.0)] * 4, drift).is_tied.tolist() == [False, False, True, True]


def test_an_empty_map_offers_nothing():
    assert ids(KeyframeMap(), facing(0.0), 3) == []


def test_what_is_forgotten_is_given_back():
    emptied = make_keyframe(0, view_of(wall())).emptied()
    for array in (emptied.points, emptied.static_probability, emptied.descriptors):
        assert len(array) == 0
        assert array.base is None, "a view would keep the whole array"


@pytest.mark.parametrize("budget", [1, 5, 10, 24])
def test_any_budget_is_kept_to(budget):
    keyframes = fill([facing(0.5 * i) for i in range(60)], budget=budget)
    assert keyframes.remembers.sum() == budget


def test_a_map_that_is_resumed_comes_down_to_the_budget():
    whole, keyframes = fill([facing(0.5 * i) for i in range(60)]), KeyframeMap(25)
    keyframes.restore(list(whole), whole.poses, whole.drift)
    assert keyframes.remembers.sum() == 25
    assert keyframes.remembers[-20:].all()


def test_beyond_the_budget_those_forget_that_others_stand_in_for():
    places = [facing(0.5 * i) for i in range(30)]
    keyframes = fill([*places, *(facing(0.5 * i + 0.01) for i in range(60))], budget=40)
    remembers = keyframes.remembers
    assert remembers.sum() == 40
    assert remembers[-20:].all()  # where the robot is now
    assert len(keyframes) == len(keyframes.poses) == 90
    forgotten = np.flatnonzero(~remembers)
    assert all(len(keyframes[int(i)]) == 0 for i in forgotten)
    assert not set(forgotten) & set(ids(keyframes, facing(0.0), 90))
