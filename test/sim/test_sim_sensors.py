# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the camera adds to an ideal picture, and what movers do to the light."""

from dataclasses import replace

import numpy as np
import pytest

from pervformer_ros.sim.episode import Episode
from pervformer_ros.sim.render import Movers, Render
from pervformer_ros.sim.sensors import IDEAL, Sensor, SensorConfig


@pytest.fixture(scope="module")
def episode():
    return Episode("occlusion", 2)


@pytest.fixture(scope="module")
def render(episode):
    return episode.render(600)


def _flat(depth, shape=(240, 320)):
    ones = np.ones(shape, np.float32)
    colour = np.full((*shape, 3), 0.4, np.float32)
    return Render(colour, depth * ones, np.zeros(shape, np.uint16), ones)


def test_an_ideal_sensor_passes_depth_through(episode, render):
    np.testing.assert_array_equal(Sensor(IDEAL, episode.camera, 0).depth(render, 3), render.depth)


@pytest.mark.parametrize("z", [1.0, 2.0, 4.0])
def test_depth_noise_grows_with_the_square_of_the_distance(episode, z):
    config = replace(IDEAL, depth_noise=0.002)
    noisy = Sensor(config, episode.camera, 0).depth(_flat(z), 0)
    measured = (noisy[noisy > 0] - z).std()
    assert measured == pytest.approx(0.002 * z * z, rel=0.1)


@pytest.mark.parametrize("z", [2.0, 5.0])
def test_depth_comes_in_disparity_steps(episode, z):
    config = replace(IDEAL, depth_noise=0.003, depth_steps=600.0)
    values = np.unique(Sensor(config, episode.camera, 0).depth(_flat(z), 0))
    values = values[values > 0]
    assert np.median(np.diff(values)) == pytest.approx(z * z / 600, rel=0.1)


def test_nothing_is_measured_out_of_range(episode):
    sensor = Sensor(SensorConfig(), episode.camera, 0)
    assert (sensor.depth(_flat(0.2), 0) == 0).all()
    assert (sensor.depth(_flat(12.0), 0) == 0).all()


def test_grazing_and_dark_surfaces_have_holes(episode):
    sensor = Sensor(SensorConfig(), episode.camera, 0)
    good = _flat(3.0)
    grazing = replace(good, grazing=np.full((240, 320), 0.02, np.float32))
    dark = replace(good, colour=good.colour * 0.01)
    assert (sensor.depth(good, 0) > 0).mean() > 0.99
    assert (sensor.depth(grazing, 0) == 0).mean() > 0.4
    assert (sensor.depth(dark, 0) == 0).mean() > 0.2


def test_exposure_follows_the_light_with_a_lag(episode):
    sensor = Sensor(SensorConfig(), episode.camera, 0)
    bright, dim = _flat(3.0), replace(_flat(3.0), colour=_flat(3.0).colour * 0.3)
    before = sensor.colour(bright, 0).mean()
    means = [sensor.colour(dim, i).mean() for i in range(1, 90)]
    assert means[0] < 0.8 * before
    assert means[-1] > 0.97 * before
    assert np.all(np.diff(means) > -1.0)


def test_a_covered_lens_is_dark_whatever_is_before_it(episode):
    sensor = Sensor(SensorConfig(), episode.camera, 0)
    sensor.colour(_flat(3.0), 0)
    assert sensor.colour(_flat(3.0), 1, cover=1.0).mean() < 40


def test_turning_smears_along_the_rows(episode, render):
    config = replace(IDEAL, shutter=0.02)
    still = Sensor(config, episode.camera, 0).colour(render, 0).astype(float)
    turning = Sensor(config, episode.camera, 0).colour(render, 0, yaw_rate=1.0).astype(float)
    assert np.abs(np.diff(turning, axis=1)).mean() < 0.8 * np.abs(np.diff(still, axis=1)).mean()


def test_movers_cast_shadows_and_hide_what_is_behind(episode, render):
    T = episode.T_map_base(600) @ episode.T_base_camera
    empty = episode.renderer.render(T, Movers())
    ground = render.instance == 0
    assert (empty.depth[~ground] > render.depth[~ground] - 1e-4).all()
    darker = empty.colour[ground].sum(axis=1) - render.colour[ground].sum(axis=1)
    assert (darker > 0.1).mean() > 0.005
    assert np.median(darker) == pytest.approx(0.0, abs=0.02)


def test_a_lamp_that_fails_takes_light_away_and_gives_none():
    episode = Episode("lights", 4, 0.2)
    lamps = {f"lamp_{i}": 0.0 for i in episode._stage.failing}
    T = episode.T_map_base(0) @ episode.T_base_camera
    lit = episode.renderer.render(T, Movers(), {})
    unlit = episode.renderer.render(T, Movers(), lamps)
    # All but pixels at edges, which are sampled twice where the contrast is high.
    assert (unlit.colour <= lit.colour + 1e-4).mean() > 0.98
    assert lit.colour.dtype == unlit.colour.dtype == np.float32
