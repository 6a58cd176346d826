# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from pervformer_ros.geometry import invert, make_rotation
from pervformer_ros.slam import se3
from pervformer_ros.slam.calibration import OdometryCalibration
from pervformer_ros.slam.odometry import Odometer, OdometryNoise, link

PRIOR = OdometryNoise(0.05, 0.05, 0.02)
SEEN = se3.isotropic(np.radians(0.2), 0.02)
FRAME_NS = 66_666_667


def driven(count, seed=0, scale=0.08, track=-0.04, heading=0.01):
    """True poses of a robot that drives in bends, and what wheels with these errors report."""
    rng = np.random.default_rng(seed)
    truth, odometry = [np.eye(4)], [np.eye(4)]
    for i in range(count):
        turn = 0.03 * np.sin(i / 20) + rng.normal(0, 0.001)
        for poses, length, angle in (
            (truth, 0.07, turn),
            (odometry, 0.07 / (1 + scale), (turn - 0.07 * heading) / (1 + track)),
        ):
            step = make_rotation([0, 0, angle])
            step[0, 3] = length
            poses.append(poses[-1] @ step)
    return truth, odometry


def learn(calibration, truth, odometry, every=12, seed=1, wrong=0.0):
    """Let every so many frames be seen, some of them quite wrongly."""
    rng = np.random.default_rng(seed)
    odometer, last = Odometer(calibration.correct), None
    for i, (T_true, T_odom) in enumerate(zip(truth, odometry, strict=True)):
        reading = odometer.read((i + 1) * FRAME_NS, T_odom)
        if i % every:
            continue
        if last is not None:
            T = invert(last[0]) @ T_true @ se3.exp(rng.multivariate_normal(np.zeros(6), SEEN))
            if rng.random() < wrong:
                T = T @ se3.exp(rng.normal(0, 1.0, 6))
            calibration.observe(link(last[1], reading), T, SEEN)
        last = T_true, reading
    return calibration


@pytest.mark.parametrize("wrong", [0.0, 0.15])
def test_the_errors_that_wheels_repeat_are_learned(wrong):
    calibration = learn(OdometryCalibration(PRIOR), *driven(1500), wrong=wrong)
    scale, track, heading = calibration.errors
    assert scale == pytest.approx(0.08, abs=0.01)
    assert track == pytest.approx(-0.04, abs=0.03)
    assert heading == pytest.approx(0.01 * (1 + 0.08), abs=0.005)


def test_calibrated_odometry_drifts_far_less():
    truth, odometry = driven(1500)
    calibration = learn(OdometryCalibration(PRIOR), truth, odometry)
    odometer = Odometer(calibration.correct)
    readings = [odometer.read((i + 1) * FRAME_NS, T) for i, T in enumerate(odometry)]
    off = np.linalg.norm(readings[-1].T_start_base[:3, 3] - truth[-1][:3, 3])
    assert off < 0.4 * np.linalg.norm(odometry[-1][:3, 3] - truth[-1][:3, 3])


def test_what_has_proved_itself_is_believed_more_but_never_without_limit():
    truth, odometry = driven(3000)
    calibration = OdometryCalibration(PRIOR)
    assert calibration.noise.level == pytest.approx((1, 1, 1))
    level = learn(calibration, truth, odometry).noise.level
    assert all(0.1 <= part < 0.5 for part in level)


def test_wheels_that_nobody_watches_are_left_as_they_are():
    _, odometry = driven(100)
    calibration = OdometryCalibration(PRIOR)
    odometer = Odometer(calibration.correct)
    for i, T in enumerate(odometry):
        reading = odometer.read((i + 1) * FRAME_NS, T)
    np.testing.assert_allclose(reading.T_start_base, odometry[-1], atol=1e-9)
    assert (
        calibration.noise.of(link(reading, reading))[3, 3] == PRIOR.of(link(reading, reading))[3, 3]
    )
