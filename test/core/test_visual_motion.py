# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How the camera moved is read off what stands still."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from pervformer_ros.frame import CameraModel, Frame
from pervformer_ros.visual_motion import visual_motion

CAMERA = CameraModel(320, 240, 280.0, 280.0, 159.5, 119.5)
WALL_M, BOX_M = 4.0, 2.0
BOX = (slice(60, 200), slice(20, 140))  # where the box is in the image of a camera at the origin


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).random((400, 480), np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 2.0)


def shifted(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """Return the part that a camera sees which is so many pixels to the right and below."""
    M = np.array([[1.0, 0.0, -80.0 - x], [0.0, 1.0, -80.0 - y]])
    return cv2.warpAffine(image, M, (CAMERA.width, CAMERA.height))


def frame_at(x: float, y: float, box_moved: float = 0.0, empty: bool = False) -> Frame:
    """Return what a camera x, y metres beside the origin sees: a wall, and a box before it."""
    grey = shifted(texture(0), CAMERA.fx * x / WALL_M, CAMERA.fy * y / WALL_M)
    depth = np.full(grey.shape, WALL_M, np.float32)
    right, down = CAMERA.fx * (x - box_moved) / BOX_M, CAMERA.fy * y / BOX_M
    there = np.zeros((400, 480), np.float32)
    there[80 + BOX[0].start : 80 + BOX[0].stop, 80 + BOX[1].start : 80 + BOX[1].stop] = 1.0
    is_box = shifted(there, right, down) > 0.5
    grey = np.where(is_box, shifted(texture(1), right, down), grey)
    depth[is_box] = BOX_M
    if empty:
        grey = np.full_like(grey, 0.5)
    low, high = 0.35, 0.65
    rgb = np.repeat(
        np.clip((grey - low) / (high - low) * 255, 0, 255).astype(np.uint8)[..., None], 3, 2
    )
    return Frame(0, rgb, depth, CAMERA, np.eye(4), None)


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (0.1, 0.0), (-0.05, 0.04)])
def test_what_stands_still_tells_how_the_camera_moved(x, y):
    T = visual_motion(frame_at(0, 0), frame_at(x, y))
    assert T is not None
    np.testing.assert_allclose(T[:3, 3], (-x, -y, 0), atol=0.01)
    np.testing.assert_allclose(T[:3, :3], np.eye(3), atol=0.004)


def larger(frame: Frame, times: int) -> Frame:
    """Return what a camera of so many times as many pixels sees."""
    rgb, depth = (x.repeat(times, 0).repeat(times, 1) for x in (frame.rgb, frame.depth))
    camera = CAMERA.scaled(CAMERA.width * times, CAMERA.height * times)
    return replace(frame, rgb=rgb, depth=depth, camera=camera)


def test_large_images_tell_the_same():
    still = np.full((5 * CAMERA.height, 5 * CAMERA.width), 255, np.uint8)
    before, now = (larger(frame_at(x, 0), 5) for x in (0.0, 0.1))
    T = visual_motion(before, now, still)
    assert T is not None
    np.testing.assert_allclose(T[:3, 3], (-0.1, 0, 0), atol=0.015)


def test_what_moves_is_left_out():
    before, now = frame_at(0, 0), frame_at(0.05, 0, box_moved=0.12)
    still = np.full((CAMERA.height, CAMERA.width), 255, np.uint8)
    still[BOX] = 0
    T = visual_motion(before, now, still)
    assert T is not None
    np.testing.assert_allclose(T[:3, 3], (-0.05, 0, 0), atol=0.01)


def test_without_corners_or_depth_nobody_can_tell():
    assert visual_motion(frame_at(0, 0, empty=True), frame_at(0, 0)) is None
    blind = frame_at(0, 0)
    blind.depth[:] = 0
    assert visual_motion(blind, frame_at(0.05, 0)) is None
    assert visual_motion(frame_at(0, 0), frame_at(0, 0, empty=True)) is None
    nothing_still = np.zeros((CAMERA.height, CAMERA.width), np.uint8)
    assert visual_motion(frame_at(0, 0), frame_at(0, 0), nothing_still) is None
