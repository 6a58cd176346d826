# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the model is asked to say is what the recording shows."""

import numpy as np
import pytest

from pervformer_ros.geometry import transform_points
from pervformer_ros.training.correspondence import View, correspond
from pervformer_ros.training.recording import Recording
from pervformer_ros.training.segments import Segment, Window, draw_segment
from pervformer_ros.training.streams import Stream
from pervformer_ros.training.targets import LEAST_PIXELS, corner_cells, dense_targets

WHOLE = Window(0, 0, 240, 320)


def targets_of(recording: Recording, frame: int, hidden: np.ndarray | None = None) -> tuple:
    instance = recording.instance[frame]
    nowhere = np.zeros(instance.shape, bool) if hidden is None else hidden
    rng = np.random.default_rng(0)
    moving = np.concatenate([[False], recording.moving[frame]])[instance]
    return dense_targets(rng, recording, instance, nowhere, moving)


def test_each_object_has_a_peak_of_its_class_and_its_box(recordings: list[Recording]) -> None:
    for recording in recordings:
        found = targets_of(recording, 10)
        counts = np.bincount(recording.instance[10].ravel())
        expected = {b for b in range(1, len(counts)) if counts[b] >= LEAST_PIXELS}
        assert {b for b in found.body if b} == expected
        assert expected
        for body, corners in zip(found.body, found.corners, strict=True):
            if not body:
                continue
            rows, columns = np.nonzero(recording.instance[10] == body)
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert corners * (320, 240, 320, 240) == pytest.approx(np.array(box, float), abs=1e-3)
            heat = found.heat[recording.classes[body - 1]]
            peaks = np.argwhere(heat == 1.0) * 8
            assert any(
                (recording.instance[10][v : v + 8, u : u + 8] == body).any() for v, u in peaks
            )


def test_a_peak_is_on_the_object_nearest_its_middle(recordings: list[Recording]) -> None:
    recording = recordings[0]
    instance = np.zeros((240, 320), np.uint16)
    instance[80:160, 80:160] = 1  # whole: the peak is in its middle
    instance[40:200, 240:256] = 2  # an L: its middle shows something else
    instance[184:200, 160:256] = 2
    nowhere = np.zeros(instance.shape, bool)
    found = dense_targets(np.random.default_rng(0), recording, instance, nowhere, nowhere)
    heat = found.heat.max(axis=0)
    assert heat[15, 15] == 1.0
    row, column = 15, 26  # the cell of the second one's middle
    assert heat[row, column] < 0.3
    assert not found.box_weight[row, column]
    rows, columns = np.nonzero(found.box_weight)
    for v, u in zip(rows * 8, columns * 8, strict=True):
        assert (instance[v : v + 8, u : u + 8] > 0).mean() >= 0.3
    assert sum(heat[row, column] == 1.0 for row, column in zip(rows, columns, strict=True)) == 2


def test_sides_lead_from_the_cell_to_the_box(recordings: list[Recording]) -> None:
    found = targets_of(recordings[0], 10)
    boxes = [c for b, c in zip(found.body, found.corners, strict=True) if b]
    rows, columns = np.nonzero(found.box_weight)
    assert len(rows) > len(boxes)
    for row, column in zip(rows, columns, strict=True):
        centre = (np.array([column, row]) + 0.5) / (40, 30)
        left, top, right, bottom = found.box[:, row, column]
        box = [centre[0] - left, centre[1] - top, centre[0] + right, centre[1] + bottom]
        assert min(np.abs(np.array(box) - b).max() for b in boxes) < 1e-5
    assert found.box_weight.sum() == pytest.approx(len(boxes), abs=1.0)


def test_what_is_hidden_is_not_asked_for(recordings: list[Recording]) -> None:
    found = targets_of(recordings[0], 10, np.ones((240, 320), bool))
    assert not found.body.any()
    assert not found.heat_weight.any()
    assert not found.motion_weight.any()


def test_motion_is_that_of_bodies_that_move(recordings: list[Recording]) -> None:
    recording = next(r for r in recordings if "busy" in r.path.name)
    frame = int(np.argmax((recording.pixels * recording.moving).sum(axis=1)))
    found = targets_of(recording, frame)
    expected = np.isin(recording.instance[frame], np.flatnonzero(recording.moving[frame]) + 1)
    assert found.motion.mean() == pytest.approx(expected.mean(), abs=0.01)
    assert found.motion.any()


def test_keypoints_are_corners_of_surfaces(recordings: list[Recording]) -> None:
    recording = recordings[0]
    depth = recording.metres(5)
    still = np.ones(depth.shape, bool)
    still[:, :160] = False
    labels = corner_cells(recording.rgb(5), depth, still)
    rows, columns = np.nonzero(labels < 64)
    assert len(rows) > 20
    assert columns.min() >= 20
    v, u = rows * 8 + labels[rows, columns] // 8, columns * 8 + labels[rows, columns] % 8
    assert (depth[v, u] > 0).all()


@pytest.mark.parametrize("mirrored", [False, True])
def test_corresponding_pixels_are_one_point(recordings: list[Recording], mirrored: bool) -> None:
    recording = recordings[0]
    window = Window(32, 48, 160, 192)
    segment = Segment(recording, np.array([0, 8, 20]), window, mirrored)
    stream = Stream(np.random.default_rng(0), segment, 0)

    def view(t: int) -> View:
        depth = recording.metres(int(segment.frames[t]))
        depth = window.cut(depth)[:, ::-1] if mirrored else window.cut(depth)
        still = np.ones(depth.shape, bool)
        keypoint = np.full((20, 24), -1)
        return View(depth.copy(), still, keypoint, stream.K, stream.T_map_camera[t])

    a, b = view(0), view(1)
    pair = correspond(np.random.default_rng(1), a, b)
    assert pair.valid.sum() > 30

    def in_map(view: View, points: np.ndarray) -> np.ndarray:
        uv = points * (192, 160) - 0.5
        z = view.depth[tuple(np.rint(uv[:, ::-1]).astype(int).T)]
        ray = np.column_stack([(uv - view.K[:2, 2]) / view.K[0, 0], np.ones(len(uv))])
        return transform_points(view.T_map_camera, ray * z[:, None])

    first, second = in_map(a, pair.first[pair.valid]), in_map(b, pair.second[pair.valid])
    apart = np.linalg.norm(first - second, axis=1)
    assert np.median(apart) < 0.05
    assert apart.max() < 0.6


def test_segments_stay_within_recording_and_image(recordings: list[Recording]) -> None:
    for seed in range(50):
        segment = draw_segment(np.random.default_rng(seed), recordings, 48, (128, 160))
        assert len(segment.frames) == 48
        assert segment.frames.min() >= 0
        assert segment.frames.max() < len(segment.recording)
        image = segment.window.cut(segment.recording.depth[0])
        assert image.shape == (128, 160)
        assert segment.window.top % 16 == segment.window.left % 16 == 0


def test_a_shrunken_window_is_the_image_made_smaller(recordings: list[Recording]) -> None:
    recording = recordings[0]
    rng = np.random.default_rng(0)
    for mirrored in (False, True):
        segment = Segment(recording, np.arange(3), Window(16, 0, 224, 320, shrink=2), mirrored)
        chunk = Stream(rng, segment, 0).chunk(0, 3)
        assert chunk["rgb"].shape == (3, 3, 112, 160)
        # Each of its tokens stands for four of the whole image's, beside and below each other.
        assert chunk["tokens"].shape == (7 * 10, 4)
        assert chunk["tokens"][11].tolist() == [62, 63, 82, 83]
        # A point keeps its direction: f and c are halved about the corner of the image.
        K = chunk["camera"][0]
        assert K[0] == pytest.approx(recording.K[0, 0] / 2)
        x = (320 - 1 - recording.K[0, 2]) if mirrored else recording.K[0, 2]
        assert K[2] == pytest.approx((x + 0.5) / 2 - 0.5)
        assert K[3] == pytest.approx((recording.K[1, 2] - 16 + 0.5) / 2 - 0.5)


def test_what_the_window_cuts_off_is_neither_asked_for_nor_held_against(
    recordings: list[Recording],
) -> None:
    recording = recordings[0]
    whole = targets_of(recording, 10)
    body = whole.body[0]
    _, columns = np.nonzero(recording.instance[10] == body)
    # A window whose left edge goes through the largest object.
    left = (columns.min() + columns.max()) // 2
    instance = recording.instance[10][:, left:].copy()
    instance = instance[:, : instance.shape[1] // 8 * 8]
    nothing = np.zeros(instance.shape, bool)
    found = [
        dense_targets(np.random.default_rng(0), recording, instance, nothing, nothing, cut)
        for cut in ((True, False, False, False), (False, False, False, False))
    ]
    assert body not in found[0].body
    assert body in found[1].body
    cells = instance[4::8, 4::8] == body
    alone = cells & (found[0].box_weight == 0)
    assert alone.any()
    assert not found[0].heat_weight[alone].any()
    assert found[1].heat_weight[alone].any()


def test_a_segment_knows_at_which_edges_its_image_goes_on(recordings: list[Recording]) -> None:
    frames = np.array([0])
    assert Segment(recordings[0], frames, WHOLE, False).cut == (False, False, False, False)
    window = Window(16, 0, 128, 160)
    assert Segment(recordings[0], frames, window, False).cut == (False, True, True, True)
    assert Segment(recordings[0], frames, window, True).cut == (True, True, False, True)


def test_windows_are_laid_around_whole_things(recordings: list[Recording]) -> None:
    fitting = whole = 0
    for seed in range(60):
        segment = draw_segment(np.random.default_rng(seed), recordings, 1, (128, 160))
        image = segment.recording.instance[int(segment.frames[0])]
        inside = segment.window.cut(image)
        shown = [b for b in np.unique(image) if b and (image == b).sum() >= 150]
        small = [b for b in shown if (np.ptp(np.argwhere(image == b), axis=0) < (112, 144)).all()]
        fitting += bool(small)
        whole += any((inside == b).sum() == (image == b).sum() for b in small)
    assert fitting > 20
    assert whole > 0.7 * fitting
