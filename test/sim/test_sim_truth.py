# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Geometry of the ground truth: depth, poses, boxes and instance ids tell one story."""

import cv2
import numpy as np
import pytest

from pervformer_ros.geometry import invert, transform_points
from pervformer_ros.memory.objects import ObjectState
from pervformer_ros.sim.episode import TICKS_PER_FRAME, Episode
from pervformer_ros.sim.truth import Observer

PAIRS = ((300, 310), (300, 345), (700, 730), (1100, 1120))


@pytest.fixture(scope="module", params=[0, 7])
def episode(request):
    return Episode("busy_aisle", request.param)


def _points(episode, sight):
    """World points (H, W, 3) that the pixels see."""
    camera = episode.camera
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    uv = np.stack([u, v], axis=-1).reshape(-1, 2)
    local = camera.back_project(uv, sight.depth.ravel())
    T = sight.T_map_base @ episode.T_base_camera
    return transform_points(T, local).reshape(*sight.depth.shape, 3)


def _landing_errors(episode, first, second):
    """Distances between static points of one sight and where another sees them."""
    a, b = episode.sight(first), episode.sight(second)
    static = (a.instance == 0) & (a.depth > 0)
    points = _points(episode, a)[static][::3]  # cv2.remap takes fewer than 32768 at once
    T = b.T_map_base @ episode.T_base_camera
    local = transform_points(invert(T), points)
    uv = episode.camera.project(local).astype(np.float32)
    inside = (uv >= 0).all(axis=1) & (uv < np.array([319, 239])).all(axis=1)
    seen = cv2.remap(b.depth, uv[inside, 0], uv[inside, 1], cv2.INTER_LINEAR)
    landed = episode.camera.back_project(uv[inside], seen.ravel())
    moving = cv2.remap(b.instance, uv[inside, 0], uv[inside, 1], cv2.INTER_NEAREST).ravel() > 0
    return np.linalg.norm(landed - local[inside], axis=1)[~moving]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_static_pixels_moved_by_depth_and_pose_land_within_2_cm(episode, first, second):
    errors = _landing_errors(episode, first, second)
    assert len(errors) > 1000
    print(f"median {np.median(errors) * 100:.2f} cm over {len(errors)} pixels")
    assert np.median(errors) < 0.02


def test_they_land_through_a_distorting_lens_too():
    bent = Episode("static_loop", 3, 12.0, distortion=(-0.25, 0.08, 0.001, -0.001, 0.0))
    assert np.median(_landing_errors(bent, 300, 330)) < 0.02


def test_every_pixel_of_an_instance_lies_in_its_objects_box(episode):
    observer = Observer(episode)
    checked = 0
    for tick in range(0, 1200, 60):
        sight = episode.sight(tick)
        points = _points(episode, sight)
        objects, _ = observer.observe(sight)
        for thing in objects:
            mask = sight.instance == thing.id
            assert int(mask.sum()) == thing.pixels
            if not mask.any():
                continue
            local = transform_points(invert(thing.T_map_object), points[mask])
            assert (np.abs(local) <= thing.size / 2 + 0.02).all()
            checked += 1
    assert checked > 20


def test_a_box_projects_around_its_instances_pixels(episode):
    observer = Observer(episode)
    corners = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3), axis=-1).reshape(-1, 3)
    for tick in range(0, 900, 90):
        sight = episode.sight(tick)
        T_camera_map = invert(sight.T_map_base @ episode.T_base_camera)
        for thing in observer.observe(sight)[0]:
            local = transform_points(T_camera_map @ thing.T_map_object, corners * thing.size)
            if not thing.pixels or local[:, 2].min() < 0.1:
                continue
            uv = episode.camera.project(local)
            rows, columns = np.nonzero(sight.instance == thing.id)
            assert columns.min() >= uv[:, 0].min() - 1
            assert columns.max() <= uv[:, 0].max() + 1
            assert rows.min() >= uv[:, 1].min() - 1
            assert rows.max() <= uv[:, 1].max() + 1


def test_a_covered_camera_shows_nothing():
    episode = Episode("kidnapped", 30)
    covered = [t for t in range(0, len(episode.log), TICKS_PER_FRAME) if episode.is_covered(t)]
    observer = Observer(episode)
    for tick in range(0, covered[0], 150):
        observer.observe(episode.sight(tick))
    objects, changes = observer.observe(episode.sight(covered[0]))
    assert objects
    assert not any(thing.state is ObjectState.VISIBLE for thing in objects)
    assert not changes
    shot = next(iter(episode.shots(first=covered[0] // TICKS_PER_FRAME)))
    assert not shot.sight.instance.any()
    assert not shot.frame.depth.any()


def test_velocities_are_the_slopes_of_poses(episode):
    observer = Observer(episode)
    before, now = episode.sight(899), episode.sight(900)
    old = {o.id: o for o in observer.observe(before)[0]}
    for thing in observer.observe(now)[0]:
        if thing.id in old:
            slope = (thing.T_map_object[:3, 3] - old[thing.id].T_map_object[:3, 3]) * 30
            np.testing.assert_allclose(thing.velocity, slope, atol=1e-6)
            assert thing.moving or np.linalg.norm(slope) < 0.05


def test_movers_fill_much_of_the_view_where_it_is_busy(episode):
    share = [(episode.sight(t).instance > 0).mean() for t in range(0, len(episode.log), 45)]
    print(f"share of movers: median {np.median(share):.2f}")
    assert np.mean([0.2 < s < 0.5 for s in share]) > 0.25
