# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is done to pictures leaves the world as it is."""

import numpy as np
import pytest

from pervformer_ros.training.augment import DepthFaults, draw_faults, draw_look, recolour
from pervformer_ros.training.correspondence import View, correspond
from pervformer_ros.training.paint import draw_paint, paint
from pervformer_ros.training.recording import Recording

WHITE = np.ones((240, 320, 3), np.float32)


def painted(texture, recording: Recording, frame: int) -> np.ndarray:
    scene = recording.metres(frame), recording.instance[frame], recording.K
    poses = recording.T_map_camera[frame], recording.T_map_object[frame]
    return paint(texture, WHITE, *scene, *poses)


def test_a_painted_point_of_the_hall_keeps_its_colour(recordings: list[Recording]) -> None:
    recording = recordings[0]
    texture = draw_paint(np.random.default_rng(2))
    still = [recording.instance[f] == 0 for f in (0, 8)]
    nowhere = np.full((30, 40), 64)
    views = [
        View(recording.metres(f), s, nowhere, recording.K, recording.T_map_camera[f])
        for f, s in zip((0, 8), still, strict=True)
    ]
    pair = correspond(np.random.default_rng(0), *views)
    assert pair.valid.sum() > 40
    colours = []
    for frame, points in ((0, pair.first), (8, pair.second)):
        uv = np.rint(points[pair.valid] * (320, 240) - 0.5).astype(int)
        colours.append(np.log(painted(texture, recording, frame)[uv[:, 1], uv[:, 0]]))
    first, second = colours
    assert first.std() > 0.05
    apart = np.median(np.abs(first - second))
    assert apart < 0.25 * np.median(np.abs(first - np.roll(second, 7, axis=0)))


def test_paint_goes_with_the_body_that_it_is_on() -> None:
    texture = draw_paint(np.random.default_rng(5))
    K = np.array([[100.0, 0, 159.5], [0, 100.0, 119.5], [0, 0, 1]])
    near, far = np.full((240, 320), 2.0, np.float32), np.full((240, 320), 4.0, np.float32)
    body = np.ones((240, 320), np.uint16)
    camera, poses = np.eye(4), [np.eye(4), np.eye(4)]
    poses[1][2, 3] = 2.0  # it has gone away from the camera
    before = paint(texture, WHITE, near, body, K, camera, np.stack(poses[:1]))
    after = paint(texture, WHITE, far, body, K, camera, np.stack(poses[1:]))
    # What was 40 pixels from the middle is now 20 pixels from it.
    u, v = np.meshgrid(np.arange(-40, 41, 4), np.arange(-40, 41, 4))
    seen = before[120 + v, 160 + u]
    again = after[120 + v // 2, 160 + u // 2]
    assert np.log(seen).std() > 0.05
    assert np.median(np.abs(np.log(seen) - np.log(again))) < 0.03
    on_the_hall = paint(texture, WHITE, far, 0 * body, K, camera, np.stack(poses[1:]))
    assert np.median(np.abs(np.log(seen) - np.log(on_the_hall[120 + v // 2, 160 + u // 2]))) > 0.05


def test_faults_of_depth_are_what_they_say() -> None:
    rng = np.random.default_rng(0)
    metres = np.tile(np.linspace(1.0, 9.0, 100, dtype=np.float32), (80, 1))
    assert (DepthFaults().apply(rng, metres) == metres).all()
    moved = DepthFaults(shift=(3, 0)).apply(rng, metres)
    assert (moved[:, 3:] == metres[:, :-3]).all()
    short = DepthFaults(reach=5.0).apply(rng, metres)
    assert (short == np.where(metres > 5.0, 0.0, metres)).all()
    framed = DepthFaults(margin=(0.1, 0.25, 0.2, 0.05)).apply(rng, metres)
    assert (framed[20:76, 10:80] > 0).all()
    assert np.count_nonzero(framed) == 56 * 70
    holed = DepthFaults(holes=200).apply(rng, metres)
    assert 0 < np.count_nonzero(holed == 0) < holed.size
    assert ((holed == 0) | (holed == metres)).all()


@pytest.mark.parametrize("seed", range(20))
def test_any_look_gives_a_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = rng.uniform(0, 3, (24, 32, 3)).astype(np.float32)
    seen = recolour(rng, draw_look(rng), picture)
    assert seen.dtype == np.float32
    assert seen.min() >= 0
    assert seen.max() <= 1
    depth = draw_faults(rng).apply(rng, np.full((24, 32), 2.0, np.float32))
    assert set(np.unique(depth)) <= {0.0, 2.0}
