# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Decoding of maps made by hand, of a model image 64 pixels high and 96 wide."""

import pytest
import torch
import torch.nn.functional as F
from model_clips import random_clip, stirred_model

from pervformer_ros.model import Percept
from pervformer_ros.model.decode import (
    LookAgain,
    box_iou,
    centre_to_corners,
    detections,
    keypoints,
    motion_probability,
)
from pervformer_ros.model.fit import Fit
from pervformer_ros.model.looks import Corrected, Found
from pervformer_ros.model.probes import corners_to_centre

ROWS, COLUMNS, CLASSES, PROBES = 8, 12, 3, 2
IMAGE = torch.tensor([96.0, 64.0, 96.0, 64.0])


def empty_percept() -> Percept:
    """Return the percept of a frame in which there is nothing."""
    return Percept(
        heat=torch.full((1, CLASSES, ROWS, COLUMNS), -9.0),
        box=torch.full((1, 4, ROWS, COLUMNS), 0.1),
        mask_coefficients=torch.zeros(1, 2, ROWS, COLUMNS),
        mask_prototypes=torch.zeros(1, 2, 2 * ROWS, 2 * COLUMNS),
        embedding=torch.zeros(1, 4, ROWS, COLUMNS),
        motion=torch.full((1, 2 * ROWS, 2 * COLUMNS), -9.0),
        cells=torch.zeros(1, 5, ROWS, COLUMNS),
        keypoints=torch.zeros(1, 65, ROWS, COLUMNS),
        descriptors=torch.ones(1, 4, ROWS, COLUMNS) / 2,
        alive=torch.zeros(1, PROBES, dtype=torch.bool),
        presence=torch.zeros(1, PROBES),
        visible=torch.zeros(1, PROBES),
        probe_classes=torch.zeros(1, PROBES, CLASSES),
        probe_box=torch.zeros(1, PROBES, 4),
        probe_position=torch.zeros(1, PROBES, 3),
        probe_motion=torch.zeros(1, PROBES),
        probe_velocity=torch.zeros(1, PROBES, 3),
        probe_gain=torch.zeros(1, PROBES),
        probe_attention=torch.full((1, PROBES, ROWS, COLUMNS), 1 / (ROWS * COLUMNS)),
        place=torch.ones(1, 1),
    )


def put_landmark(percept: Percept, u: int, v: int, logit: float) -> None:
    percept.keypoints[0, (v % 8) * 8 + u % 8, v // 8, u // 8] = logit


def corners(*corners: tuple[float, float, float]) -> torch.Tensor:
    """Return contrast (1, 1, 64, 96) with bells at corners (x, y, height)."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    bells = [h * torch.exp(-((x - u) ** 2 + (y - v) ** 2) / 4) for u, v, h in corners]
    return torch.stack(bells).amax(0)[None, None]


def two_pallets() -> Percept:
    """Return a percept with two objects of one class, the better one on the left."""
    percept = empty_percept()
    for n, column in enumerate((2, 9)):
        percept.heat[0, 2, 3, column] = 2.0 - n
        percept.box[0, :, 3, column] = 10.0 / IMAGE
        percept.embedding[0, n, 3, column] = 1.0
    return percept


def second_look(**at: float | tuple[float, ...]) -> LookAgain:
    """Return what corrects the n-th find of a frame: its `score_n`, `box_n` or `kind_n`."""

    def look(found: Found) -> Corrected:
        box, score, kind = found.box.clone(), found.score.clone(), found.class_index.clone()
        for name, value in at.items():
            what, n = name.split("_")
            {"box": box, "score": score, "kind": kind}[what][0, int(n)] = torch.tensor(value)
        return Corrected(box, torch.logit(score), F.one_hot(kind, CLASSES).float())

    return look


def test_a_second_look_corrects_boxes_and_scores() -> None:
    percept = two_pallets()
    first = detections(percept, count=4)
    box = 0.1, 0.2, 0.3, 0.4
    found = detections(percept, count=4, look_again=second_look(box_1=box, score_0=0.1))
    assert found.valid.sum() == first.valid.sum() == 2
    assert torch.allclose(found.box[0, 0], torch.tensor(box))
    assert torch.allclose(found.box[0, 1], first.box[0, 0])
    # Of the first one (logit 2) both opinions count alike.
    both = torch.sigmoid((2.0 + torch.logit(torch.tensor(0.1))) / 2)
    assert found.score[0, :2].tolist() == pytest.approx([float(first.score[0, 1]), float(both)])
    assert torch.equal(found.embedding[0, 0], first.embedding[0, 1]), "all else goes with it"


def test_a_second_look_tells_what_it_is() -> None:
    percept = two_pallets()
    found = detections(percept, count=4, look_again=second_look(kind_1=0))
    assert found.valid.sum() == 2
    assert found.class_index[0, :2].tolist() == [2, 0]
    # Two of one class in one place are one: so are two that become so.
    percept.box[0, :, 3, 2] = percept.box[0, :, 3, 9] = 0.5
    percept.heat[0, 1, 3, 9] = 1.5
    assert detections(percept, count=4).valid.sum() == 2
    assert detections(percept, count=4, look_again=second_look(kind_1=2)).valid.sum() == 1


def test_two_finds_that_a_second_look_makes_one_are_one() -> None:
    percept = two_pallets()
    first = detections(percept, count=4)
    one = tuple(first.box[0, 0].tolist())
    found = detections(percept, count=4, look_again=second_look(box_1=one))
    assert found.valid.sum() == 1
    assert torch.allclose(found.box[0, 0], first.box[0, 0])


def test_what_hardly_scores_is_not_looked_at_again() -> None:
    looked_at = []

    def look(found: Found) -> Corrected:
        looked_at.append(found.score.shape[1])
        return second_look()(found)

    found = detections(two_pallets(), score_threshold=0.0, count=4, look_again=look)
    assert looked_at == [2]
    assert found.score.shape == (1, 4)
    detections(empty_percept(), look_again=look)
    assert looked_at == [2]


def test_who_it_is_is_asked_of_what_is_reported_alone() -> None:
    asked = []

    def recognise(found: Found) -> torch.Tensor:
        asked.append(found.score.shape[1])
        return torch.full((*found.score.shape, 4), 0.5)

    percept = two_pallets()
    told = detections(percept, score_threshold=0.8, count=4, recognise=recognise)
    assert asked == [1]
    assert (told.embedding[0, 0] == 0.5).all()
    assert torch.equal(told.embedding[0, 1], detections(percept, count=4).embedding[0, 1])
    detections(empty_percept(), recognise=recognise)
    assert asked == [1]


def test_a_peak_is_an_object_with_everything_of_its_cell() -> None:
    percept = empty_percept()
    percept.heat[0, 2, 3, 5] = 4.0
    percept.box[0, :, 3, 5] = torch.tensor([12.0, 6.0, 20.0, 10.0]) / IMAGE
    percept.embedding[0, :, 3, 5] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    found = detections(percept, count=4)
    assert found.valid.tolist() == [[True, False, False, False]]
    assert found.class_index[0, 0] == 2
    torch.testing.assert_close(found.score[0, 0], torch.sigmoid(torch.tensor(4.0)))
    # The cell's centre is at pixel (5.5 * 8, 3.5 * 8) = (44, 28).
    torch.testing.assert_close(found.box[0, 0] * IMAGE, torch.tensor([32.0, 22.0, 64.0, 38.0]))
    assert found.embedding[0, 0].tolist() == [0.0, 1.0, 0.0, 0.0]


def test_a_box_is_what_the_cells_around_agree_on() -> None:
    percept = empty_percept()
    logit = torch.tensor(0.25).logit()
    percept.heat[0, 2, 3, 4:7] = torch.tensor([0.0, torch.tensor(0.64).logit(), logit])
    sides = {4: (8.0, 10.0, 28.0, 10.0), 5: (16.0, 10.0, 20.0, 10.0), 6: (20.0, 10.0, 12.0, 10.0)}
    for column, side in sides.items():
        percept.box[0, :, 3, column] = torch.tensor(side) / IMAGE
    percept.heat[0, 2, 3, 4] = -1e4  # no heat, no say
    percept.box[0, :, 2, 5] = 1.0 / IMAGE  # nor where it is of something else
    percept.heat[0, 2, 2, 5] = 0.0
    box = detections(percept, count=1).box[0, 0] * IMAGE
    # The cells' middles are at x = 44 and 52: 28 to 64 with weight 0.8, 32 to 64 with 0.5.
    left = (0.8 * 28 + 0.5 * 32) / 1.3
    torch.testing.assert_close(box, torch.tensor([left, 18.0, 64.0, 38.0]), atol=1e-3, rtol=0)


def test_two_peaks_of_one_object_are_one() -> None:
    percept = empty_percept()
    sides = {3: (14.0, 20.0), 5: (30.0, 4.0)}  # the same box from two cells, 16 pixels apart
    for column, (left, right) in sides.items():
        percept.heat[0, 2, 3, column] = float(column)
        percept.box[0, :, 3, column] = torch.tensor([left, 10.0, right, 10.0]) / IMAGE
    found = detections(percept, count=4)
    assert found.valid.tolist() == [[True, False, False, False]]
    assert found.score[0, 0] == torch.sigmoid(torch.tensor(5.0))
    percept.heat[0, 1, 3, 3] = 3.0  # of another class it may well be another object
    assert detections(percept, count=4).valid.sum() == 2


def test_objects_come_best_first_and_neighbours_give_way() -> None:
    percept = empty_percept()
    percept.heat[0, 0, 2, 2] = 2.0
    percept.heat[0, 0, 2, 3] = 1.5  # beside a better one of its class
    percept.heat[0, 1, 2, 3] = 1.0  # another class there
    percept.heat[0, 0, 6, 9] = 3.0
    found = detections(percept, score_threshold=0.5, count=6)
    assert found.class_index[0, found.valid[0]].tolist() == [0, 0, 1]
    scores = found.score[0]
    assert (scores[:-1] >= scores[1:]).all()


def test_a_box_ends_at_the_edge_of_the_image() -> None:
    percept = empty_percept()
    percept.heat[0, 0, 0, 11] = 4.0
    percept.box[0, :, 0, 11] = 50.0 / IMAGE
    box = detections(percept).box[0, 0] * IMAGE
    torch.testing.assert_close(box, torch.tensor([42.0, 0.0, 96.0, 54.0]))


def test_a_mask_is_coefficients_times_prototypes_in_and_around_the_box() -> None:
    percept = empty_percept()
    percept.heat[0, 0, 3, 5] = 4.0
    percept.box[0, :, 3, 5] = 12.0 / IMAGE  # x from 32 to 56, y from 16 to 40
    percept.mask_coefficients[0, :, 3, 5] = torch.tensor([9.0, -9.0])
    percept.mask_prototypes[0, 0, :, :11] = 1.0  # left of x = 44
    percept.mask_prototypes[0, 1, :, 11:] = 1.0
    mask = detections(percept).mask[0, 0]
    on = torch.zeros(2 * ROWS, 2 * COLUMNS, dtype=torch.bool)
    on[3:11, 7:11] = True  # and the cells around it
    assert torch.equal(mask > 0.5, on)
    assert mask[on].min() > 0.99


def test_an_object_moves_as_its_mask_does() -> None:
    percept = empty_percept()
    for column, motion in ((2, 9.0), (9, -9.0)):
        percept.heat[0, 0, 4, column] = 4.0 - column / 10
        percept.mask_coefficients[0, 0, 4, column] = 9.0
        percept.motion[0, :, 2 * column - 4 : 2 * column + 6] = motion
    percept.mask_prototypes[0, 0] = 1.0
    found = detections(percept, count=2)
    assert found.motion[0, 0] > 0.99
    assert found.motion[0, 1] < 0.01


def test_more_objects_than_cells_are_not_asked_for() -> None:
    assert detections(empty_percept(), count=10_000).score.shape == (1, ROWS * COLUMNS * CLASSES)


def test_a_keypoint_is_where_the_image_has_a_corner_to_a_fraction_of_a_pixel() -> None:
    percept = empty_percept()
    put_landmark(percept, 40, 21, 9.0)
    u, v = keypoints(percept, corners((41.3, 22.6, 0.2)), count=1).uv[0, 0].tolist()
    assert u == pytest.approx(41.3, abs=0.05)
    assert v == pytest.approx(22.6, abs=0.05)


def test_of_corners_alike_those_that_the_network_takes_for_landmarks_come_first() -> None:
    percept = empty_percept()
    places = [(20, 20), (40, 20), (60, 20), (70, 40)]
    for (u, v), logit in zip(places, (1.0, 9.0, -9.0, 5.0), strict=True):
        put_landmark(percept, u + 1, v - 1, logit)
    found = keypoints(percept, corners(*((u, v, 0.2) for u, v in places)), count=3)
    assert [tuple(uv) for uv in found.uv[0].round().int().tolist()][:2] == [(40, 20), (70, 40)]
    assert (found.score[0, :-1] >= found.score[0, 1:]).all()


def test_of_landmarks_alike_the_sharper_corners_come_first() -> None:
    found = keypoints(empty_percept(), corners((30, 30, 0.1), (60, 30, 0.3)), count=2)
    assert found.uv[0, :, 0].round().tolist() == [60.0, 30.0]


def test_where_the_network_says_none_there_is_no_keypoint() -> None:
    percept = empty_percept()
    percept.keypoints[:, 64] = 15.0
    assert not keypoints(percept, corners((30, 30, 0.3))).valid.any()


def test_where_the_image_has_no_corner_there_is_no_keypoint() -> None:
    percept = empty_percept()
    put_landmark(percept, 40, 21, 9.0)
    assert not keypoints(percept, torch.zeros(1, 1, 64, 96)).valid.any()


def test_keypoints_keep_away_from_the_edge() -> None:
    places = ((3, 30), (15, 30), (80, 30), (50, 15), (50, 48), (50, 30))
    found = keypoints(empty_percept(), corners(*((u, v, 0.3) for u, v in places)), count=2)
    assert found.uv[0, 0].round().tolist() == [50.0, 30.0]
    assert not found.valid[0, 1]


def test_keypoints_keep_their_distance() -> None:
    contrast = corners((20, 20, 0.30), (22, 20, 0.28), (26, 20, 0.26))
    found = keypoints(empty_percept(), contrast, count=3)
    assert sorted(round(u) for u in found.uv[0, found.valid[0], 0].tolist()) == [20, 26]


def test_a_descriptor_is_read_between_cells_and_has_length_one() -> None:
    percept = empty_percept()
    percept.descriptors[:] = 0.0
    percept.descriptors[0, 0, :, :6] = 1.0
    percept.descriptors[0, 1, :, 6:] = 1.0
    contrast = corners((19, 28, 0.3), (47, 28, 0.25), (76, 28, 0.2))
    left, middle, right = keypoints(percept, contrast, count=3).descriptors[0]
    torch.testing.assert_close(left, torch.tensor([1.0, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(right, torch.tensor([0.0, 1.0, 0.0, 0.0]))
    torch.testing.assert_close(middle[:2], torch.full((2,), 0.5**0.5), atol=0.1, rtol=0.0)
    torch.testing.assert_close(middle.norm(), torch.tensor(1.0))


def test_motion_covers_the_image_it_is_asked_for() -> None:
    percept = empty_percept()
    percept.motion[0, :, COLUMNS:] = 9.0
    probability = motion_probability(percept, Fit((128, 192), (64, 96)))
    assert probability.shape == (1, 128, 192)
    assert probability[0, :, :90].max() < 0.01
    assert probability[0, :, 102:].min() > 0.99


def test_overlap_over_union() -> None:
    a = torch.tensor([[[0.0, 0.0, 2.0, 2.0], [5.0, 5.0, 5.0, 5.0]]])
    b = torch.tensor([[[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0], [4.0, 4.0, 6.0, 6.0]]])
    expected = torch.tensor([[[1.0, 1 / 3, 0.0], [0.0, 0.0, 0.0]]])
    torch.testing.assert_close(box_iou(a, b), expected)


def test_corners_and_centre_say_the_same() -> None:
    box = torch.tensor([0.1, 0.2, 0.5, 0.8])
    torch.testing.assert_close(corners_to_centre(box), torch.tensor([0.3, 0.5, 0.4, 0.6]))
    torch.testing.assert_close(centre_to_corners(corners_to_centre(box)), box)


def test_videos_are_decoded_one_by_one() -> None:
    model = stirred_model("tiny")
    clip = random_clip(model, 2, 1)
    with torch.inference_mode():
        both, _ = model.step(clip.at(0), model.init_state(2))
    contrast = torch.rand(2, 1, 64, 96)
    for b in range(2):
        alone = Percept(*(x[b : b + 1] for x in both))
        for x, y in zip(detections(both), detections(alone), strict=True):
            torch.testing.assert_close(x[b], y[0])
        for x, y in zip(
            keypoints(both, contrast), keypoints(alone, contrast[b : b + 1]), strict=True
        ):
            torch.testing.assert_close(x[b], y[0])
