# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Probes are born one frame after their object was seen, keep it, and are released."""

import numpy as np
import pytest

from pervformer_ros.training.lives import BORN_PIXELS, HOLD, ProbeTargets
from pervformer_ros.training.recording import Recording
from pervformer_ros.training.segments import Segment, Window
from pervformer_ros.training.streams import Stream

WHOLE = Window(0, 0, 240, 320)
PROBES = 12


def lives_of(recording: Recording, seed: int, mirrored: bool = False) -> ProbeTargets:
    segment = Segment(recording, np.arange(len(recording)), WHOLE, mirrored)
    stream = Stream(np.random.default_rng(seed), segment, PROBES)
    assert stream.lives is not None
    return stream.lives


@pytest.mark.parametrize("seed", range(4))
def test_a_probe_is_alive_from_birth_to_release(recordings: list[Recording], seed: int) -> None:
    for recording in recordings:
        t = lives_of(recording, seed, mirrored=bool(seed % 2))
        assert t.birth.any()
        alive = np.zeros(PROBES, bool)
        for frame in range(len(t.alive)):
            alive = (alive & ~t.release[frame]) | t.birth[frame]
            assert (alive == t.alive[frame]).all()
        # A probe holds one object from its birth on, and no object has two.
        for frame in range(1, len(t.alive)):
            same = t.alive[frame] & ~t.birth[frame]
            assert (t.body[frame][same] == t.body[frame - 1][same]).all()
            held = t.body[frame][t.body[frame] > 0]
            assert len(np.unique(held)) == len(held)


def test_births_follow_sightings(recordings: list[Recording]) -> None:
    recording = recordings[0]
    t = lives_of(recording, 1)
    for frame, probe in zip(*np.nonzero(t.birth & (t.body > 0)), strict=True):
        body = t.body[frame, probe] - 1
        assert recording.pixels[frame - 1, body] >= BORN_PIXELS
        rows, columns = np.nonzero(recording.instance[frame - 1] == body + 1)
        middle = (columns.min() + columns.max()) / 640, (rows.min() + rows.max()) / 480
        assert np.abs(t.birth_box[frame, probe, :2] - middle).max() < 0.5


def test_positions_project_into_boxes_of_what_is_seen(recordings: list[Recording]) -> None:
    recording = recordings[0]
    for mirrored in (False, True):
        segment = Segment(recording, np.arange(len(recording)), WHOLE, mirrored)
        stream = Stream(np.random.default_rng(3), segment, PROBES)
        assert stream.lives is not None
        t = stream.lives
        # The middle of what is partly outside the image may be outside its visible box.
        inside = (t.visible > 0) & (np.abs(t.box[..., :2] - 0.5) < 0.3).all(axis=-1)
        position, box = t.position[inside], t.box[inside]
        uv = position[:, :2] / position[:, 2:] * stream.K[0, 0] + stream.K[:2, 2]
        off = np.abs((uv + 0.5) / (320, 240) - box[:, :2]) / box[:, 2:]
        assert (off < 0.5).all(axis=1).mean() > 0.9


def test_a_short_disappearance_is_kept(recordings: list[Recording]) -> None:
    t = lives_of(recordings[0], 2)
    hidden = t.alive & (t.body > 0) & (t.visible == 0)
    assert len(t.alive) / 15 < HOLD
    assert (t.presence[hidden] == 1).mean() > 0.8
