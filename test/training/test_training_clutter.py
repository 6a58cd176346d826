# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes that are put into a stream are things of its world."""

from dataclasses import replace

import numpy as np
import pytest

from pervformer_ros.geometry import invert, transform_points
from pervformer_ros.training.clutter import Box, draw_boxes, render
from pervformer_ros.training.paint import draw_paint
from pervformer_ros.training.recording import Recording
from pervformer_ros.training.segments import Segment, Window
from pervformer_ros.training.streams import Stream

K = np.array([[100.0, 0, 79.5], [0, 100.0, 59.5], [0, 0, 1]])
FAR = np.full((120, 160), 8.0, np.float32)


def box_at(z: float, **more: object) -> Box:
    pose = np.eye(4)
    pose[2, 3] = z
    box = Box(
        T_map_box=pose,
        since=0.0,
        half=np.array([0.4, 0.2, 0.5]),
        velocity=np.zeros(3),
        spin=np.zeros(3),
        colour=np.full(3, 0.5, np.float32),
        paint=draw_paint(np.random.default_rng(0)),
        shades=np.ones(3, np.float32),
    )
    return replace(box, **more)


def seen(boxes: list[Box], metres: np.ndarray = FAR, pose: np.ndarray | None = None, time=0.0):
    camera = np.eye(4) if pose is None else pose
    return render(np.random.default_rng(0), boxes, metres, K, camera, time)


def test_a_box_is_seen_where_its_front_projects() -> None:
    layer = seen([box_at(2.5)])
    # Its front is 2 m away, 0.8 m wide and 0.4 m high: 40 by 20 pixels.
    assert layer.covered.sum() == pytest.approx(40 * 20, rel=0.1)
    assert layer.covered[59, 79]
    assert not layer.moving.any()
    assert np.median(layer.metres[layer.covered]) == pytest.approx(2.0, abs=0.01)
    assert layer.metres[layer.covered].std() == pytest.approx(0.01, rel=0.3)


def test_what_is_in_front_hides_it_and_the_nearer_of_two_is_seen() -> None:
    assert not seen([box_at(2.5)], np.full_like(FAR, 1.0)).covered.any()
    both = seen([box_at(2.5), box_at(4.5)])
    assert (both.covered == seen([box_at(2.5)]).covered).all()
    assert both.metres[59, 79] == pytest.approx(2.0, abs=0.1)


def test_a_camera_inside_does_not_see_it() -> None:
    assert not seen([box_at(0.3)]).covered.any()


def test_what_moves_is_elsewhere_later_and_said_to_move() -> None:
    box = box_at(2.5, velocity=np.array([0.5, 0.0, 0.0]))
    before, after = seen([box]), seen([box], time=1.0)
    assert (after.moving == after.covered).all()
    shift = np.argwhere(after.covered).mean(0) - np.argwhere(before.covered).mean(0)
    assert shift == pytest.approx([0, 25], abs=1.5)


def test_what_stands_keeps_its_place_and_colour_while_the_camera_moves() -> None:
    pose = np.eye(4)
    pose[0, 3] = 0.2  # 10 pixels at 2 m
    before, after = seen([box_at(2.5)]), seen([box_at(2.5)], pose=pose)
    u = np.arange(72, 88)
    np.testing.assert_allclose(before.rgb[59, u], after.rgb[59, u - 10], rtol=1e-3)


def test_boxes_are_drawn_into_what_is_seen(recordings: list[Recording]) -> None:
    recording = recordings[0]
    frames = range(0, len(recording), 5)
    poses = recording.T_map_camera[list(frames)]
    metres = [recording.metres(f) for f in frames]
    time = recording.time[list(frames)]
    for seed in range(20):
        for box in draw_boxes(np.random.default_rng(seed), metres, recording.K, poses, time):
            frame = int(np.argmin(np.abs(time - box.since)))
            centre = transform_points(invert(poses[frame]), box.at(box.since)[None, :3, 3])[0]
            uv = centre[:2] / centre[2] * recording.K[[0, 1], [0, 1]] + recording.K[:2, 2]
            assert centre[2] > 0.4
            assert ((uv > -1) & (uv < (320, 240))).all()


def test_a_stream_with_clutter_asks_for_what_is_still_seen(recordings: list[Recording]) -> None:
    segment = Segment(recordings[0], np.arange(12), Window(0, 0, 240, 320), False)
    streams = (Stream(np.random.default_rng(seed), segment, 6) for seed in range(40))
    stream = next(s for s in streams if s.layers and s.layers[5].moving.sum() > 400)
    dense = stream.chunk(5, 6)["dense"]
    layer = stream.layers[5]
    fourth = (slice(2, None, 4),) * 2
    shown = ~stream.hidden[5][fourth]
    assert (dense.motion[0][layer.moving[fourth] & shown] == 1).all()
    assert (dense.instance[0][layer.covered[fourth]] == 0).all()
