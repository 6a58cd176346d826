# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from memory_scene import CAMERA, looking_at

from pervformer_ros.geometry import make_rotation
from pervformer_ros.memory import place_sightings


def mask_of(left, top, right, bottom):
    mask = np.zeros((CAMERA.height, CAMERA.width), bool)
    mask[top:bottom, left:right] = True
    return mask


def place(frame, *masks, T_odom_base=None):
    boxes = [(c.min(), r.min(), c.max() + 1, r.max() + 1) for r, c in map(np.nonzero, masks)]
    count = len(masks)
    return place_sightings(
        frame,
        np.eye(4) if T_odom_base is None else T_odom_base,
        ["box"] * count,
        np.full(count, 0.8, np.float32),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(masks).reshape(-1, CAMERA.height, CAMERA.width),
        np.zeros((count, 4), np.float32),
        np.full(count, 0.25, np.float32),
    )


CENTRED = mask_of(60, 50, 100, 70)


def test_a_detection_is_placed_where_its_surface_is_seen():
    (seen,) = place(looking_at(0, 3.0), CENTRED)
    np.testing.assert_allclose(seen.position, (0, 0, 3), atol=1e-6)
    np.testing.assert_allclose(seen.size[[0, 2]], (1.0, 0.5), atol=1e-6)
    np.testing.assert_array_equal(seen.box, (60, 50, 40, 20))
    assert (seen.label, seen.motion_probability) == ("box", 0.25)
    assert seen.score == pytest.approx(0.8)


def test_it_is_placed_in_odom_by_where_the_robot_and_its_camera_are():
    frame = replace(looking_at(0, 3.0), T_base_camera=make_rotation([0, np.pi / 2, 0]))
    T_odom_base = make_rotation([0, 0, np.pi / 2])
    T_odom_base[:3, 3] = (10, 20, 0)
    (seen,) = place(frame, CENTRED, T_odom_base=T_odom_base)
    np.testing.assert_allclose(seen.position, (10, 23, 0), atol=1e-6)


def test_the_background_around_and_behind_makes_no_difference():
    """Masks overlap the background by a pixel or two, and depth cameras mix the two there."""
    frame = looking_at(0, 3.0)
    depth = np.full_like(frame.depth, 9.0)
    depth[51:69, 61:99] = 3.0
    (seen,) = place(replace(frame, depth=depth), CENTRED)
    np.testing.assert_allclose(seen.position, (0, 0, 3), atol=1e-6)


def test_what_has_no_depth_is_not_placed():
    holes = looking_at(0, 3.0)
    holes.depth[50:70, 60:100] = 0
    assert place(looking_at(0, None), CENTRED) == []
    assert place(holes, CENTRED) == []


def test_what_is_too_small_is_not_placed_and_the_others_are():
    (seen,) = place(looking_at(0, 3.0), mask_of(10, 10, 14, 14), CENTRED)
    np.testing.assert_array_equal(seen.box, (60, 50, 40, 20))


def test_nothing_detected_is_nothing_placed():
    assert place(looking_at(0, 3.0)) == []
