# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The parts a world is made of: routes, meshes, textures, floor plans."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pervformer_ros.sim import movables
from pervformer_ros.sim.atlas import Atlas, bilinear
from pervformer_ros.sim.kinds import extents
from pervformer_ros.sim.layout import plan
from pervformer_ros.sim.mesh import beam, box, cylinder, lathe
from pervformer_ros.sim.raycast import RayScene
from pervformer_ros.sim.rng import stream
from pervformer_ros.sim.route import STEP, Route
from pervformer_ros.sim.textures import LAYER, NAMES, SIZE, TILE, paint_all
from pervformer_ros.sim.world import build

# Class -> lowest and highest length, width, height in metres: sizes as in life.
SIZES = {
    "person": ((0.3, 0.4, 1.5), (1.2, 0.9, 2.0)),
    "forklift": ((2.8, 0.9, 2.0), (3.8, 1.3, 2.4)),
    "pallet_jack": ((1.4, 0.4, 1.0), (1.9, 0.7, 1.4)),
    "pallet": ((1.15, 0.75, 0.14), (1.25, 0.85, 2.2)),
    "box": ((0.3, 0.2, 0.2), (0.8, 0.6, 0.6)),
    "roll_cage": ((0.7, 0.6, 1.5), (0.9, 0.8, 1.8)),
    "cone": ((0.3, 0.3, 0.4), (0.4, 0.4, 0.8)),
    "robot": ((0.8, 0.5, 0.3), (1.1, 0.8, 1.4)),
}
KINDS = (
    movables.PERSON,
    movables.camouflaged((0.4, 0.4, 0.4)),
    movables.FORKLIFT,
    movables.PALLET_JACK,
    movables.LOADED_PALLET,
    movables.EMPTY_PALLET,
    movables.TALL_PALLET,
    movables.BOX,
    movables.ROLL_CAGE,
    movables.CONE,
    movables.ROBOT,
)
points = st.tuples(st.floats(-20, 20), st.floats(-20, 20))


@given(st.lists(points, min_size=2, max_size=8, unique=True), st.floats(0.3, 1.5))
@settings(max_examples=60, deadline=None)
def test_a_route_keeps_its_ends_and_its_speed_limits(waypoints, speed):
    waypoints = np.array(waypoints)
    if np.hypot(*np.diff(waypoints, axis=0).T).min() < 0.5:
        return
    route = Route(waypoints, speed)
    np.testing.assert_allclose(route.points[[0, -1]], waypoints[[0, -1]], atol=1e-6)
    assert np.hypot(*np.diff(route.points, axis=0).T).max() < 1.5 * STEP
    for s in np.linspace(0, route.length, 17):
        assert 0 <= route.speed_limit(float(s), 0.8) <= speed + 1e-9
    assert route.speed_limit(route.length, 0.8) == pytest.approx(0.0, abs=1e-6)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_paths_are_wide_free_and_reach_every_aisle(seed):
    layout = plan(seed)
    assert 3 <= len(layout.aisles) <= 4
    for path in layout.paths():
        for x, y in np.linspace(*path.centre_line[[0, -1]], 40):
            assert 0.8 < x < layout.width - 0.8
            assert 0.8 < y < layout.depth - 0.8
            for rack in layout.racks:
                beside = not rack.x - 0.8 < x < rack.x + 1.9
                assert beside or not rack.y - 0.5 < y < rack.y + rack.length + 0.5
            for cx, cy in layout.columns:
                assert np.hypot(x - cx, y - cy) > 0.8


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_built_in_stands_on_a_path(seed):
    layout = plan(seed)
    scene = RayScene(build(layout, seed))
    for path in layout.paths():
        start, end = path.centre_line
        along = (end - start) / np.linalg.norm(end - start)
        across = np.array([-along[1], along[0]])
        for side in np.linspace(-path.half_width, path.half_width, 5):
            for z in (0.1, 0.6, 1.5):
                origin = np.array([[*(start + side * across), z]], np.float32)
                way = np.array([[*(end - start), 0.0]], np.float32)
                assert not scene.occluded(origin, way, 1.0)[0]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.build.__class__.__name__ + k.label)
@pytest.mark.parametrize("seed", range(3))
def test_things_have_their_size_in_life_and_stand_on_the_floor(kind, seed):
    low, high = extents(kind.build(stream(seed, "size")))
    least, most = SIZES[kind.label]
    assert (high - low >= least).all(), high - low
    assert (high - low <= most).all(), high - low
    assert -0.01 < low[2] < 0.03


def test_a_walking_persons_outline_changes():
    person = movables.PERSON.build(stream(0, "walk"))
    standing, striding = person.posed(0.0, 0.0), person.posed(np.pi / 2, 0.0)
    assert np.ptp(striding.corners[..., 0]) > np.ptp(standing.corners[..., 0]) + 0.3


def test_forks_lift():
    truck = movables.FORKLIFT.build(stream(0, "forks"))
    down, up = truck.posed(0.0, 0.0), truck.posed(0.0, 0.5)
    moved = np.abs(down.corners - up.corners).max(axis=(1, 2)) > 0.4
    assert 0.02 < moved.mean() < 0.5
    assert down.corners[moved][..., 0].max() > 1.9


@pytest.mark.parametrize(
    "solid",
    [
        box((1, 2, 3)),
        cylinder(0.5, 1.0),
        beam((0, 0, 0), (1, 1, 1), 0.1),
        lathe([(0, 1), (0.5, 0), (0, -1)], 9),
    ],
)
def test_normals_of_solids_point_outwards(solid):
    middle = solid.corners.reshape(-1, 3).mean(axis=0)
    outward = solid.corners.mean(axis=1) - middle
    assert (np.einsum("ij,ij->i", solid.normals(), outward) > 0).all()


@pytest.fixture(scope="module")
def textures():
    return paint_all(3)


def test_textures_are_albedo(textures):
    for name, texture in zip(NAMES, textures, strict=True):
        assert texture.shape == (SIZE, SIZE, 3), name
        assert texture.dtype == np.float32, name
        assert texture.min() >= -1e-5, name
        assert texture.max() <= 1 + 1e-5, name


def test_a_tiled_noise_texture_has_no_seam(textures):
    for name in ("wall", "roof", "steel"):
        texture = textures[LAYER[name]]
        assert TILE[name] > 0
        across = np.abs(texture[:, 0] - texture[:, -1]).mean()
        inside = np.abs(np.diff(texture, axis=1)).mean()
        assert across < 3 * inside + 0.02, name


def test_a_large_footprint_sees_the_mean_and_a_small_one_the_texel(textures):
    atlas = Atlas(textures)
    layer = np.full(64, LAYER["hazard"])
    uv = np.random.default_rng(0).uniform(-3, 3, (64, 2)).astype(np.float32)
    mean = textures[LAYER["hazard"]].mean(axis=(0, 1))
    far = atlas.sample(layer, uv, np.full(64, 4.0, np.float32))
    assert np.abs(far - mean).max() < 0.12
    texel = (np.floor(uv % 1 * SIZE) + 0.5) / SIZE
    near = atlas.sample(layer, texel.astype(np.float32), np.zeros(64, np.float32))
    v, u = (texel[:, 1] * SIZE).astype(int), (texel[:, 0] * SIZE).astype(int)
    np.testing.assert_allclose(near, textures[LAYER["hazard"]][v, u], atol=0.03)


def test_no_samples_of_a_picture_are_none():
    nowhere = np.empty(0, np.float32)
    assert bilinear(np.ones((4, 5, 3), np.float32), nowhere, nowhere).shape == (0, 3)
