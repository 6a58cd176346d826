# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from slam_room import CAMERA

from pervformer_ros.geometry import invert, make_transform, rotation_angle, transform_points
from pervformer_ros.slam import se3
from pervformer_ros.slam.matches import Matches, SensorNoise, point_covariances
from pervformer_ros.slam.registration import register

NOISE = SensorNoise(pixel=1.0, depth=0.002)
T_KEYFRAME_CAMERA = se3.exp(np.array([0.02, -0.15, 0.03, 0.2, -0.05, 0.15]))


def scene(rng, count=120, depth=(1.5, 5.0), spread=1.0):
    """True points in the keyframe's camera, spread over this part of its image."""
    half = np.array([CAMERA.width, CAMERA.height]) / 2
    uv = half + rng.uniform(-1, 1, (count, 2)) * half * spread
    return CAMERA.back_project(uv, rng.uniform(*depth, count))


def measure(rng, points, T_keyframe_camera=T_KEYFRAME_CAMERA, noise=1.0, with_depth=True):
    """What a noisy sensor makes of true points, once in the keyframe and once in the view."""

    def sense(true):
        uv = CAMERA.project(true) + noise * NOISE.pixel * rng.normal(size=(len(true), 2))
        sigma = np.sqrt(NOISE.depth_variance(true[:, 2]))
        return uv, true[:, 2] + noise * sigma * rng.normal(size=len(true))

    seen = CAMERA.back_project(*sense(points))
    pixels, depths = sense(transform_points(invert(T_keyframe_camera), points))
    return Matches(
        seen,
        point_covariances(seen, CAMERA, NOISE),
        pixels,
        depths if with_depth else np.full(len(points), np.nan),
        np.ones(len(points)),
    )


def error(found, truth=T_KEYFRAME_CAMERA):
    return se3.log(invert(found.T_keyframe_camera) @ truth)


def sigmas(found):
    """The largest standard deviations of rotation (radians) and of translation (metres)."""
    blocks = found.covariance[:3, :3], found.covariance[3:, 3:]
    return [np.sqrt(np.linalg.eigvalsh(block)[-1]) for block in blocks]


@pytest.mark.parametrize("with_depth", [True, False])
def test_exact_matches_give_the_exact_pose(with_depth):
    rng = np.random.default_rng(0)
    found = register(measure(rng, scene(rng), noise=0.0, with_depth=with_depth), CAMERA, NOISE, 12)
    assert np.abs(error(found)).max() < 1e-5
    assert found.inliers.all()


def test_a_pose_is_found_among_outliers_and_they_are_named():
    rng = np.random.default_rng(1)
    matches = measure(rng, scene(rng, 200))
    wrong = rng.permutation(200)[:100]
    matches.pixels[wrong] = rng.uniform([0, 0], [CAMERA.width, CAMERA.height], (100, 2))
    found = register(matches, CAMERA, NOISE, 12)
    assert rotation_angle(invert(found.T_keyframe_camera) @ T_KEYFRAME_CAMERA) < 0.01
    assert np.linalg.norm(error(found)[3:]) < 0.03
    assert found.inliers[wrong].sum() <= 3
    assert np.delete(found.inliers, wrong).mean() > 0.95


def test_a_match_whose_depth_is_wrong_is_an_outlier_though_its_pixel_is_right():
    rng = np.random.default_rng(2)
    matches = measure(rng, scene(rng))
    matches.depths[:10] += 1.0
    found = register(matches, CAMERA, NOISE, 12)
    assert not found.inliers[:10].any()
    assert found.inliers[10:].mean() > 0.95


@pytest.mark.parametrize("with_depth", [True, False])
@pytest.mark.parametrize("count", [30, 150])
def test_covariance_predicts_the_scatter(with_depth, count):
    rng = np.random.default_rng(3)
    normalised = []
    for seed in range(80):
        matches = measure(rng, scene(rng, count), with_depth=with_depth)
        found = register(matches, CAMERA, NOISE, 12, seed)
        normalised.append(se3.mahalanobis_squared(error(found), found.covariance))
    # Of 6 degrees of freedom; the mean of 80 has a standard deviation of 0.39. Robust weights
    # leave the covariance a little on the safe side.
    assert 3.5 < np.mean(normalised) < 7.5


def test_neighbours_taken_for_the_point_hardly_shorten_the_way():
    """A third of the matches lags by two to four pixels behind where the room goes."""
    T_keyframe_camera = make_transform([0.0, 0.0, 1.5], [0, 0, 0, 1])
    short = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        points = scene(rng, depth=(3.0, 8.0))
        matches = measure(rng, points, T_keyframe_camera, noise=0.4)
        flow = matches.pixels - CAMERA.project(points)
        behind = rng.uniform(2.0, 4.0, (40, 1)) * flow[:40]
        behind /= np.linalg.norm(flow[:40], axis=1, keepdims=True)
        matches.pixels[:40] -= behind
        found = register(matches, CAMERA, SensorNoise(0.4, 0.002), 12)
        short.append(1.5 - found.T_keyframe_camera[2, 3])
    assert np.mean(short) < 0.006


def test_more_noise_than_expected_widens_the_covariance():
    rng = np.random.default_rng(4)
    points = scene(rng)
    expected = register(measure(rng, points), CAMERA, NOISE, 12)
    noisy = register(measure(rng, points, noise=1.7), CAMERA, NOISE, 12)
    assert np.trace(noisy.covariance) > 1.3 * np.trace(expected.covariance)


@pytest.mark.parametrize(
    ("geometry", "grows"),
    [
        ({"depth": (15.0, 18.0)}, (1.0, 10.0)),  # far: no translation
        ({"spread": 0.1, "depth": (2.9, 3.1)}, (6.0, 6.0)),  # one small thing
        ({"count": 16}, (2.0, 2.0)),  # few
    ],
)
def test_poor_geometry_gets_a_large_covariance_or_is_refused(geometry, grows):
    rng = np.random.default_rng(5)
    good = sigmas(register(measure(rng, scene(rng)), CAMERA, NOISE, 12))
    poor = register(measure(rng, scene(rng, **geometry)), CAMERA, NOISE, 8)
    if poor is not None:
        rotation, translation = sigmas(poor)
        assert rotation > grows[0] * good[0]
        assert translation > grows[1] * good[1]


def test_points_on_one_line_are_refused():
    rng = np.random.default_rng(6)
    points = np.array([0.0, 0.0, 3.0]) + np.outer(rng.uniform(-1, 1, 60), [1.0, 0.2, 0.3])
    found = register(measure(rng, points), CAMERA, NOISE, 12)
    # What is left is the turn about the line, which only the noise of the points seems to tell.
    assert found is None or sigmas(found)[0] > 0.05


def test_too_few_or_unrelated_matches_are_refused():
    rng = np.random.default_rng(7)
    assert register(measure(rng, scene(rng, 11)), CAMERA, NOISE, 12) is None
    chance = measure(rng, scene(rng, 60))
    chance.pixels[:] = rng.uniform([0, 0], [CAMERA.width, CAMERA.height], (60, 2))
    assert register(chance, CAMERA, NOISE, 12) is None


def test_what_likely_moves_has_no_say_against_what_does_not():
    rng = np.random.default_rng(8)
    matches = measure(rng, scene(rng))
    moving = slice(0, 80)  # most of them, and they agree on another pose
    matches.pixels[moving] += 8.0
    matches.static_probability[moving] = 0.02
    rest = matches.take(np.arange(80, 120))
    found = register(matches, CAMERA, NOISE, 12)
    assert not found.inliers[moving].any()
    np.testing.assert_allclose(
        found.T_keyframe_camera, register(rest, CAMERA, NOISE, 12).T_keyframe_camera, atol=1e-4
    )


def test_what_moves_and_fills_the_view_does_not_outvote_the_room():
    rng = np.random.default_rng(11)
    matches = measure(rng, scene(rng, 240))
    along = measure(rng, scene(rng, 240), se3.exp(np.zeros(6)))  # drives along with the camera
    moving = slice(0, 210)
    for name in ("points", "point_covariances", "pixels", "depths"):
        getattr(matches, name)[moving] = getattr(along, name)[moving]
    matches.static_probability[moving] = 0.02
    found = register(matches, CAMERA, NOISE, 12)
    assert found.inliers[210:].mean() > 0.8
    assert np.linalg.norm(error(found)[3:]) < 0.03


@pytest.mark.parametrize("hidden", [60, 115])
def test_what_fits_is_used_though_it_was_taken_for_moving(hidden):
    rng = np.random.default_rng(9)
    matches = measure(rng, scene(rng))
    matches.static_probability[:hidden] = 0.02
    found = register(matches, CAMERA, NOISE, 12)
    assert found.inliers[:hidden].mean() > 0.8
    assert np.linalg.norm(error(found)[3:]) < 0.02


def test_a_mask_that_hides_the_room_and_not_what_moves_is_outvoted():
    rng = np.random.default_rng(10)
    matches = measure(rng, scene(rng))
    matches.pixels[:15] += 12.0  # moves, and is taken for static
    matches.static_probability[15:] = 0.3
    found = register(matches, CAMERA, NOISE, 12)
    assert not found.inliers[:15].any()
    assert np.linalg.norm(error(found)[3:]) < 0.02


def test_the_same_seed_gives_the_same_pose():
    rng = np.random.default_rng(9)
    matches = measure(rng, scene(rng))
    first, second = (register(matches, CAMERA, NOISE, 12, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.T_keyframe_camera, second.T_keyframe_camera)
    np.testing.assert_array_equal(first.covariance, second.covariance)
