# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_scene import CAMERA, T_BASE_CAMERA, looking_at

from pervformer_ros.geometry import make_rotation, transform_points
from pervformer_ros.memory import place_sightings
from pervformer_ros.memory.classes import prior_of

FAR_WALL = 8.0


def see(T_odom_thing, size, label="pallet", T_odom_base=None, reach=20.0, cut=None):
    """Return the sightings of a box-shaped thing on the floor, in front of a wall."""
    T_odom_base = np.eye(4) if T_odom_base is None else T_odom_base
    v, u = np.mgrid[0 : CAMERA.height, 0 : CAMERA.width]
    rays = CAMERA.back_project(np.stack([u.ravel(), v.ravel()], 1).astype(float), np.ones(u.size))
    T_thing_camera = np.linalg.inv(T_odom_thing) @ T_odom_base @ T_BASE_CAMERA
    origin, directions = T_thing_camera[:3, 3], rays @ T_thing_camera[:3, :3].T
    half = np.array(size) / 2
    with np.errstate(divide="ignore"):
        both = np.stack([(-half - origin) / directions, (half - origin) / directions])
    enter, leave = both.min(axis=0).max(axis=1), both.max(axis=0).min(axis=1)
    hit = ((enter < leave) & (enter > 0)).reshape(u.shape)
    depth = np.where(hit, enter.reshape(u.shape), FAR_WALL).astype(np.float32)
    if cut is not None:  # something stands before the image's left part
        hit[:, :cut], depth[:, :cut] = False, 0.8
    depth[depth > reach] = 0
    rows, columns = np.nonzero(hit)
    box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    frame = replace(looking_at(0, 3.0), depth=depth)
    return place_sightings(
        frame,
        T_odom_base,
        [label],
        np.full(1, 0.8, np.float32),
        box,
        hit[None],
        np.zeros((1, 4), np.float32),
        np.full(1, 0.25, np.float32),
    )


def standing(x, y, yaw, size):
    T = make_rotation([0, 0, yaw])
    T[:3, 3] = x, y, size[2] / 2
    return T


PALLET = (1.2, 0.8, 1.1)


@given(st.floats(3.0, 6.0), st.floats(-0.8, 0.8), st.floats(0, np.pi))
def test_the_middle_of_a_thing_is_found_from_the_faces_that_are_seen(x, y, yaw):
    (seen,) = see(standing(x, y, yaw, PALLET), PALLET)
    np.testing.assert_allclose(seen.position[:2], (x, y), atol=0.2)
    assert seen.position[2] == pytest.approx(0.55, abs=0.1)


@pytest.mark.parametrize("label", ["person", "cone", "roll_cage", "box", "robot"])
def test_things_of_all_classes_are_placed(label):
    prior = prior_of(label)
    size = prior.length, prior.width, prior.height
    (seen,) = see(standing(3.0, 0.2, 0.4, size), size, label)
    np.testing.assert_allclose(seen.position[:2], (3.0, 0.2), atol=0.12)


def test_it_is_placed_in_odom_by_where_the_robot_is():
    T_odom_base = make_rotation([0, 0, np.pi / 2])
    T_odom_base[:3, 3] = (10, 20, 0)
    T = T_odom_base @ standing(3.0, 0.0, 0.3, PALLET)
    (seen,) = see(T, PALLET, T_odom_base=T_odom_base)
    there = transform_points(T_odom_base, np.array([3.0, 0.0, 0.0]))
    np.testing.assert_allclose(seen.position[:2], there[:2], atol=0.12)
    assert (seen.label, seen.motion_probability) == ("pallet", 0.25)
    assert seen.score == pytest.approx(0.8)


def test_what_is_half_hidden_is_less_sure():
    T = standing(3.0, 0.0, 0.0, PALLET)
    (whole,), (half,) = see(T, PALLET), see(T, PALLET, cut=80)
    assert half.covariance[:2, :2].trace() > whole.covariance[:2, :2].trace()


@given(st.floats(7.0, 12.0), st.floats(-1, 1))
def test_beyond_the_reach_of_depth_it_is_placed_by_where_it_stands(x, y):
    (seen,) = see(standing(x, y, 0.0, PALLET), PALLET, reach=6.0)
    sigma = np.sqrt(np.linalg.eigvalsh(seen.covariance[:2, :2])[-1])
    assert sigma > 0.3
    assert np.linalg.norm(seen.position[:2] - (x, y)) < 3 * sigma


def test_without_depth_nothing_is_placed():
    frame = looking_at(0, None)
    none = np.zeros((0, 4), np.float32)
    scores = np.zeros(0, np.float32)
    masks = np.zeros((0, CAMERA.height, CAMERA.width), bool)
    assert place_sightings(frame, np.eye(4), [], scores, none, masks, none, scores) == []
    assert (
        place_sightings(looking_at(0, 3.0), np.eye(4), [], scores, none, masks, none, scores) == []
    )
