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
from pervformer_ros.memory.placing import fit_footprint

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


def place(frame, label, box, moving=0.0):
    """Return the sightings of something that fills a box of left, top, right, bottom."""
    left, top, right, bottom = box
    mask = np.zeros((1, *frame.rgb.shape[:2]), bool)
    mask[0, top:bottom, left:right] = True
    one, looks = np.ones(1, np.float32), np.zeros((1, 4), np.float32)
    boxes = np.array([box], np.float32)
    return place_sightings(frame, np.eye(4), [label], one, boxes, mask, looks, moving * one)


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


@pytest.mark.parametrize("yaw", [0.0, np.pi / 2])
def test_beyond_the_reach_of_depth_a_long_thing_is_placed_whichever_way_it_stands(yaw):
    size = 2.5, 1.1, 2.2
    (seen,) = see(standing(10.0, 0.0, yaw, size), size, "forklift", reach=6.0)
    assert seen.position[0] == pytest.approx(10.0, abs=0.5)


def test_a_thing_of_which_one_corner_stands_free_is_placed_by_that():
    depth = np.zeros((CAMERA.height, CAMERA.width), np.float32)
    depth[60:, 70:] = 3.0  # goods that hide most of its lower edge
    mask = np.zeros((1, CAMERA.height, CAMERA.width), bool)
    mask[0, 56:60, 60:80] = mask[0, 60:72, 60:70] = True
    one, looks = np.ones(1, np.float32), np.zeros((1, 4), np.float32)
    box = np.array([[60, 56, 80, 72]], np.float32)
    frame = replace(looking_at(0, None), depth=depth)
    (seen,) = place_sightings(frame, np.eye(4), ["pallet"], one, box, mask, looks, 0 * one)
    # A ray that falls 12 pixels in 120 meets the floor, 1 m below, at 10 m.
    assert seen.position[0] == pytest.approx(10.4, abs=0.5)


def test_of_a_forklift_whose_forks_alone_are_seen_nobody_knows_the_middle():
    forks, whole = (1.1, 0.6, 0.1), (2.5, 1.1, 2.2)
    (low,) = see(standing(4.0, 0.0, 0.0, forks), forks, "forklift")
    (all_of_it,) = see(standing(4.0, 0.0, 0.0, whole), whole, "forklift")
    doubt = [np.sqrt(s.covariance[:2, :2].max()) for s in (low, all_of_it)]
    assert doubt[0] > 1.0 > 2 * doubt[1]


@pytest.mark.parametrize("times", [8, 12])
def test_a_large_image_places_things_where_a_small_one_does(times):
    v, u = np.mgrid[30:90, 50:110]
    depth = np.full((CAMERA.height, CAMERA.width), FAR_WALL, np.float32)
    depth[v, u] = 3.0 + 0.008 * (u - 50)
    small = replace(looking_at(0, 3.0), depth=depth)
    large = replace(
        small,
        rgb=enlarged(small.rgb, times),
        depth=enlarged(depth, times),
        camera=CAMERA.scaled(times * CAMERA.width, times * CAMERA.height),
    )
    (near,) = place(small, "pallet", (50, 30, 110, 90))
    (far,) = place(large, "pallet", tuple(times * edge for edge in (50, 30, 110, 90)))
    np.testing.assert_allclose(far.position, near.position, atol=0.03)
    np.testing.assert_allclose(far.covariance, near.covariance, atol=0.01)
    np.testing.assert_array_equal(far.box, times * near.box)


def enlarged(image, times):
    return np.repeat(np.repeat(image, times, axis=0), times, axis=1)


def test_without_depth_nothing_is_placed():
    frame = looking_at(0, None)
    none = np.zeros((0, 4), np.float32)
    scores = np.zeros(0, np.float32)
    masks = np.zeros((0, CAMERA.height, CAMERA.width), bool)
    assert place_sightings(frame, np.eye(4), [], scores, none, masks, none, scores) == []
    assert (
        place_sightings(looking_at(0, 3.0), np.eye(4), [], scores, none, masks, none, scores) == []
    )


def test_a_strip_of_a_thing_that_is_all_edge_is_placed_by_its_depth():
    frame = looking_at(0, 5.0)
    depth = frame.depth.copy()
    depth[42:] = 3.0
    # Two rows show above what stands before it.
    (seen,) = place(replace(frame, depth=depth), "roll_cage", (60, 40, 90, 42))
    assert seen.position[0] == pytest.approx(5.0, abs=0.5), "at its depth, half a cage behind it"
    assert np.sqrt(np.linalg.eigvalsh(seen.covariance[:2, :2])[-1]) < 0.5


def test_pixels_of_which_half_lie_far_before_the_rest_place_nothing_by_depth():
    frame = looking_at(0, 5.0)
    depth = frame.depth.copy()
    depth[40, :] = 1.0
    seen = place(replace(frame, depth=depth), "cone", (60, 40, 90, 42))
    assert all(s.covariance[:2, :2].max() > 0.2**2 for s in seen)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_what_goes_on_beyond_the_image_is_placed_beyond_its_edge(side):
    # A forklift across the view, of which the image shows two thirds.
    prior = prior_of("forklift")
    y = side * np.linspace(-0.4, -0.4 + prior.length * 2 / 3, 40)
    points = np.stack([np.full(40, 2.0), y], axis=1)
    found = fit_footprint(points, np.zeros(2), prior, np.array([0.0, side]))
    assert found.middle[1] == pytest.approx(side * (-0.4 + prior.length / 2), abs=0.1)
    whole = fit_footprint(points, np.zeros(2), prior)
    assert whole.middle[1] == pytest.approx(y.mean(), abs=0.05)


def test_a_long_thing_with_something_before_its_top_is_not_placed_by_how_high_it_seems():
    frame = looking_at(0, None)
    depth = np.zeros((CAMERA.height, CAMERA.width), np.float32)
    depth[57:, :] = 3.0

    def sigma(depth):
        # Its lower edge is hidden.
        (seen,) = place(replace(frame, depth=depth), "forklift", (70, 46, 90, 56))
        return float(np.sqrt(np.linalg.eigvalsh(seen.covariance[:2, :2])[-1]))

    open_above = sigma(depth)
    shelf = depth.copy()
    shelf[:46, :] = 3.0
    assert sigma(shelf) > 1.5 * open_above


def test_a_few_pixels_of_what_stands_before_a_far_thing_do_not_place_it():
    depth = np.zeros((CAMERA.height, CAMERA.width), np.float32)
    depth[40:, 60:67] = 3.0  # a post, in the left fifth of its box
    seen = place(replace(looking_at(0, None), depth=depth), "pallet", (60, 52, 90, 68))
    assert all(s.position[0] > 5 for s in seen)


@pytest.mark.parametrize(("moving", "metres"), [(0.0, None), (1.0, 3.0)])
def test_what_floats_is_not_where_depth_says_unless_it_is_lifted(moving, metres):
    # A beam across the view at 3 m, before a thing that depth does not reach.
    depth = np.zeros((CAMERA.height, CAMERA.width), np.float32)
    depth[40:56, :] = 3.0
    frame = replace(looking_at(0, None), depth=depth)
    seen = place(frame, "pallet", (60, 40, 90, 56), moving)
    if metres is None:
        assert all(np.sqrt(s.covariance[:2, :2].max()) > 1 for s in seen)
    else:
        assert seen[0].position[0] == pytest.approx(metres + 0.5, abs=0.3)


def test_what_lies_far_behind_the_rest_does_not_stretch_a_thing():
    depth = np.full((CAMERA.height, CAMERA.width), 3.0, np.float32)
    depth[:, 84:] = 8.0  # a tenth of its mask shows the wall
    (seen,) = place(replace(looking_at(0, None), depth=depth), "box", (60, 90, 87, 118))
    assert seen.position[0] == pytest.approx(3.2, abs=0.3)
    assert seen.size[:2].max() < 0.8
