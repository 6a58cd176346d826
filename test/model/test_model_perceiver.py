# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From arrays to arrays, in the pixels of whatever image is given."""

import copy
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from model_clips import stirred_model
from numpy.typing import NDArray

from pervformer_ros.model import (
    MemoryState,
    Perceiver,
    Percept,
    PerceptArrays,
    ProbeUpdate,
    StateError,
    VideoInput,
)
from pervformer_ros.model.decode import detections
from pervformer_ros.model.looks import Picture


@pytest.fixture
def perceiver() -> Perceiver:
    return Perceiver(stirred_model("tiny"), score_threshold=0.05)


def image(height: int = 64, width: int = 96, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def depth_map(height: int = 64, width: int = 96) -> NDArray[np.float32]:
    depth = np.random.default_rng(1).uniform(0.5, 6.0, (height, width)).astype(np.float32)
    depth[: height // 4] = 0.0
    return depth


def corner_of(size: tuple[int, int]) -> tuple[int, int]:
    """Return at which row and column of (64, 96) an image lies in the middle."""
    return (64 - size[0]) // 2, (96 - size[1]) // 2


def padded(picture: NDArray[Any]) -> NDArray[Any]:
    """Return a picture (h, w, ...) in the middle of zeros (64, 96, ...)."""
    height, width = picture.shape[:2]
    top, left = corner_of((height, width))
    whole = np.zeros((64, 96, *picture.shape[2:]), picture.dtype)
    whole[top : top + height, left : left + width] = picture
    return whole


def camera(height: int, width: int) -> NDArray[np.float64]:
    return np.array([[0.9 * width, 0, 0.48 * width], [0, 0.9 * width, 0.53 * height], [0, 0, 1]])


def same(a: PerceptArrays, b: PerceptArrays) -> bool:
    return np.array_equal(a.motion_probability, b.motion_probability) and np.array_equal(
        a.keypoints.uv, b.keypoints.uv
    )


@pytest.mark.parametrize(
    "size", [(64, 96), (128, 192), (150, 200), (40, 60), (100, 177), (150, 120)]
)
def test_results_are_in_the_pixels_of_the_image(
    perceiver: Perceiver, size: tuple[int, int]
) -> None:
    height, width = size
    percept, _ = perceiver.perceive(image(*size), depth_map(*size), 0.1, perceiver.init_state())
    found, points = percept.detections, percept.keypoints
    count = len(found.score)
    assert count > 0
    assert found.mask.shape == (count, height, width)
    assert found.mask.dtype == np.bool_
    assert found.box.shape == (count, 4)
    assert (found.box >= 0).all()
    assert (found.box <= [width, height, width, height]).all()
    assert (found.class_index < 8).all()
    assert len(points.uv) > 0
    assert (points.uv > -1).all()
    assert (points.uv < [width, height]).all()
    assert points.uv.dtype == points.score.dtype == np.float32
    assert points.descriptors.dtype == np.float16
    length = np.linalg.norm(points.descriptors.astype(np.float32), axis=1)
    np.testing.assert_allclose(length, 1.0, atol=1e-3)
    assert percept.motion_probability.shape == size
    assert percept.place_descriptor.shape == (32,)
    assert percept.probes.box.shape == (6, 4)


def test_an_enlarged_image_gives_enlarged_coordinates(perceiver: Perceiver) -> None:
    small, depth = image(), depth_map()
    large, large_depth = (x.repeat(2, axis=0).repeat(2, axis=1) for x in (small, depth))
    a, _ = perceiver.perceive(small, depth, 0.1, perceiver.init_state())
    b, _ = perceiver.perceive(large, large_depth, 0.1, perceiver.init_state())
    np.testing.assert_allclose(2 * a.detections.box, b.detections.box, atol=1e-2)
    np.testing.assert_allclose(2 * a.probes.box, b.probes.box, atol=1e-2)
    # Pixel i of the small image is the pixels 2i and 2i + 1 of the large one: centre 2i + 0.5.
    np.testing.assert_allclose(2 * a.keypoints.uv + 0.5, b.keypoints.uv, atol=1e-2)


def with_and_without_padding(
    perceiver: Perceiver, size: tuple[int, int]
) -> tuple[PerceptArrays, PerceptArrays]:
    """Return the percept of the model's whole image with padding in it, and of what it pads."""
    (top, left), K, T = corner_of(size), camera(*size), np.eye(4)
    shifted = K + np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
    rgb, depth, state = image(*size), depth_map(*size), perceiver.init_state()
    whole, a = perceiver.perceive(padded(rgb), padded(depth), 0.1, state, None, False, shifted, T)
    part, b = perceiver.perceive(rgb, depth, 0.1, state, None, False, K, T)
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y)
    return whole, part


@pytest.mark.parametrize("size", [(48, 96), (64, 48)])
def test_maps_of_another_aspect_leave_out_the_padding(
    perceiver: Perceiver, size: tuple[int, int]
) -> None:
    (height, width), (top, left) = size, corner_of(size)
    whole, part = with_and_without_padding(perceiver, size)
    expected = whole.motion_probability[top : top + height, left : left + width]
    np.testing.assert_allclose(part.motion_probability, expected, atol=1e-5)
    rows, columns = slice(top // 8, (top + height) // 8), slice(left // 8, (left + width) // 8)
    expected = whole.probes.attention[:, rows, columns]
    np.testing.assert_allclose(part.probes.attention, expected, atol=1e-6)
    np.testing.assert_allclose(whole.probes.attention.sum(axis=(1, 2)), 1.0, atol=1e-5)


@pytest.mark.parametrize("size", [(48, 96), (64, 48)])
def test_objects_of_another_aspect_are_moved_and_cut_at_the_image(
    perceiver: Perceiver, size: tuple[int, int]
) -> None:
    (height, width), (top, left) = size, corner_of(size)
    whole, part = with_and_without_padding(perceiver, size)
    box = whole.detections.box - [left, top] * 2
    shown = (box[:, :2] < [width, height]).all(axis=1) & (box[:, 2:] > 0).all(axis=1)
    expected = box[shown].clip(0, [width, height] * 2)
    np.testing.assert_allclose(part.detections.box, expected, atol=1e-4)
    mask = whole.detections.mask[shown, top : top + height, left : left + width]
    np.testing.assert_array_equal(part.detections.mask, mask)
    assert mask.any()
    np.testing.assert_allclose(part.probes.box, whole.probes.box - [left, top] * 2, atol=1e-4)


@pytest.mark.parametrize("size", [(48, 96), (64, 48)])
def test_keypoints_of_another_aspect_keep_from_the_images_edge(
    perceiver: Perceiver, size: tuple[int, int]
) -> None:
    (height, width), (top, left) = size, corner_of(size)
    whole, part = with_and_without_padding(perceiver, size)
    uv = whole.keypoints.uv - np.array([left, top])
    peak = uv.round()
    inner = ((peak >= 16) & (peak < np.array([width, height]) - 16)).all(axis=1)
    np.testing.assert_allclose(part.keypoints.uv, uv[inner], atol=1e-4)
    assert 0 < inner.sum() < len(inner)


@pytest.mark.parametrize("size", [(480, 848), (360, 640), (640, 360), (50, 90)])
def test_the_model_sees_square_pixels_where_its_camera_sees_them(
    perceiver: Perceiver, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bright square with depth is shown where its middle is projected, and stays a square."""
    seen: list[VideoInput] = []
    step = perceiver.model.step

    def watched(frame: VideoInput, state: MemoryState) -> tuple[Percept, MemoryState]:
        seen.append(frame)
        return step(frame, state)

    monkeypatch.setattr(perceiver.model, "step", watched)
    reach, K = max(size) // 8, camera(*size)
    u, v = reach + 1, reach + 2
    rgb, depth = np.zeros((*size, 3), np.uint8), np.zeros(size, np.float32)
    there = np.s_[v - reach : v + reach + 1, u - reach : u + reach + 1]
    rgb[there], depth[there] = 255, 2.0
    perceiver.perceive(rgb, depth, 0.1, perceiver.init_state(), K=K)
    fx, fy, cx, cy = seen[0].camera[0].tolist()
    expected = (u - K[0, 2]) / K[0, 0] * fx + cx, (v - K[1, 2]) / K[1, 1] * fy + cy
    for shown, tolerance in ((seen[0].rgb[0, 0], 0.1), (seen[0].depth_valid[0, 0], 0.6)):
        weight = shown.numpy() / shown.sum().item()
        row, column = (np.indices((64, 96)) * weight).sum(axis=(1, 2))
        np.testing.assert_allclose((column, row), expected, atol=tolerance)
        across, down = ((weight.sum(axis=axis) > 0).sum() for axis in (0, 1))
        assert abs(down - across) <= 2


@pytest.mark.parametrize("size", [(480, 848), (480, 720), (720, 600)])
def test_corners_are_found_where_the_image_has_them(
    perceiver: Perceiver, size: tuple[int, int]
) -> None:
    rgb = np.full((*size, 3), 60, np.uint8)
    pixels = max(size[0] / 64, size[1] / 96)  # of the image's, in one of the model's
    u, v = (int(side / 2 - 4 * pixels) for side in size[::-1])
    side = int(8 * pixels)
    rgb[v : v + side, u : u + side] = 200
    percept, _ = perceiver.perceive(rgb, None, 0.1, perceiver.init_state())
    found = percept.keypoints.uv
    for corner in ((u, v), (u + side, v), (u, v + side), (u + side, v + side)):
        nearest = np.abs(found - (np.array(corner) - 0.5)).max(axis=1).min()
        assert nearest < 1.5 * pixels


@pytest.mark.parametrize("size", [(480, 848), (150, 120), (100, 160)])
def test_nothing_is_reported_beside_the_image(perceiver: Perceiver, size: tuple[int, int]) -> None:
    height, width = size
    sure = copy.deepcopy(perceiver.model)
    with torch.no_grad():
        sure.heads.patches.out.bias[:8] += 4.0
    perceiver = Perceiver(sure, score_threshold=0.0)
    percept, _ = perceiver.perceive(image(*size), None, 0.1, perceiver.init_state())
    box, uv = percept.detections.box, percept.keypoints.uv
    assert len(box) > 0
    assert (box >= 0).all()
    assert (box <= [width, height] * 2).all()
    assert (box[:, 2:] > box[:, :2]).all()
    margin = 15.5 * max(height / 64, width / 96)
    assert len(uv) > 0
    assert (uv > margin - 1.0).all()
    assert (uv < np.array([width, height]) - margin).all()


def test_of_many_depths_one_is_taken_never_a_mixture(perceiver: Perceiver) -> None:
    rgb = image().repeat(2, axis=0).repeat(2, axis=1)
    depth = np.random.default_rng(3).choice([0.0, 1.0, 6.0], rgb.shape[:2]).astype(np.float32)
    large, _ = perceiver.perceive(rgb, depth, 0.1, perceiver.init_state())
    taken, _ = perceiver.perceive(image(), depth[1::2, 1::2], 0.1, perceiver.init_state())
    np.testing.assert_array_equal(large.detections.score, taken.detections.score)


def test_a_mask_stays_in_its_box(perceiver: Perceiver) -> None:
    percept, _ = perceiver.perceive(image(128, 192), None, 0.1, perceiver.init_state())
    for mask, box in zip(percept.detections.mask, percept.detections.box, strict=True):
        rows, columns = np.nonzero(mask)
        if len(rows):
            assert columns.min() >= box[0] - 1
            assert rows.min() >= box[1] - 1
            assert columns.max() <= box[2]
            assert rows.max() <= box[3]


def test_masks_are_enlarged_bilinearly(perceiver: Perceiver) -> None:
    rgb, model = image(), perceiver.model
    percept, _ = perceiver.perceive(rgb, None, 0.1, perceiver.init_state())
    nothing = torch.zeros(1, 1, 64, 96)
    frame = VideoInput(
        rgb=torch.from_numpy(rgb).permute(2, 0, 1)[None] / 255,
        inverse_depth=nothing,
        depth_valid=nothing,
        camera=torch.ones(1, 4),
        ego=torch.zeros(1, 3, 4),
        dt=torch.zeros(1),
        reset=torch.ones(1, dtype=torch.bool),
        **ProbeUpdate.none(1, 6)._asdict(),
    )
    with torch.inference_mode():
        raw, _ = model.step(frame, model.init_state())
        seen = Picture(*frame[:3], raw.cells, raw.mask_prototypes)
        found = detections(raw, 0.05, look_again=partial(model.heads.boxes, seen))
    expected = F.interpolate(found.mask[found.valid][None], (64, 96), mode="bilinear")[0] > 0.5
    for mask, box in zip(expected, percept.detections.box, strict=True):
        left, top = np.floor(box[:2]).astype(int)
        right, bottom = np.ceil(box[2:]).astype(int)
        inside = torch.zeros_like(mask)
        inside[top:bottom, left:right] = True
        mask &= inside
    assert percept.detections.mask.any()
    differing = (percept.detections.mask != expected.numpy()).mean()
    assert differing < 1e-3  # where a probability is one half


def test_no_depth_is_depth_without_a_measurement(perceiver: Perceiver) -> None:
    state = perceiver.init_state()
    absent, _ = perceiver.perceive(image(), None, 0.1, state)
    empty, _ = perceiver.perceive(image(), np.zeros((64, 96), np.float32), 0.1, state)
    unknown, _ = perceiver.perceive(image(), np.full((64, 96), np.nan, np.float32), 0.1, state)
    given, _ = perceiver.perceive(image(), depth_map(), 0.1, state)
    assert same(absent, empty)
    assert same(absent, unknown)
    assert not same(absent, given)


def test_images_may_be_read_only_or_mirrored_views(perceiver: Perceiver) -> None:
    rgb = image()
    view = rgb[:, :, ::-1]
    view.flags.writeable = False
    a, _ = perceiver.perceive(view, None, 0.1, perceiver.init_state())
    b, _ = perceiver.perceive(np.ascontiguousarray(view), None, 0.1, perceiver.init_state())
    assert same(a, b)


def test_the_memory_that_was_given_is_left_as_it_was(perceiver: Perceiver) -> None:
    _, state = perceiver.perceive(image(), None, 0.1, perceiver.init_state())
    before = perceiver.state_to_arrays(state)
    a, after = perceiver.perceive(image(seed=2), None, 0.1, state)
    b, _ = perceiver.perceive(image(seed=2), None, 0.1, state)
    for name, x in perceiver.state_to_arrays(state).items():
        np.testing.assert_array_equal(x, before[name])
    assert same(a, b)
    assert not torch.equal(after.h, state.h)


def test_a_proposal_handed_back_is_carried_out(perceiver: Perceiver) -> None:
    model = perceiver.model
    birth = torch.tensor([[True, False, False, False, False, False]])
    update = ProbeUpdate.none(1, model.config.probes)._replace(
        birth=birth, birth_box=torch.full((1, 6, 4), 0.5)
    )
    percept, state = perceiver.perceive(image(), None, 0.1, perceiver.init_state(), update)
    assert percept.probes.born.tolist() == percept.probes.alive.tolist() == birth[0].tolist()
    percept, state = perceiver.perceive(image(), None, 0.1, state)
    assert percept.probes.alive.tolist() == birth[0].tolist()
    assert not percept.probes.born.any()
    release = update._replace(birth=torch.zeros_like(birth), release=birth)
    percept, _ = perceiver.perceive(image(), None, 0.1, state, release)
    assert not percept.probes.alive.any()


def test_detections_become_probes_by_themselves(perceiver: Perceiver) -> None:
    sure = copy.deepcopy(perceiver.model)
    with torch.no_grad():
        sure.heads.patches.out.bias[:8] += 4.0
    perceiver = Perceiver(sure)
    first, state = perceiver.perceive(image(), None, 0.1, perceiver.init_state())
    second, _ = perceiver.perceive(image(), None, 0.1, state, first.update)
    assert len(first.detections.score) > 0
    assert not first.probes.alive.any()
    assert second.probes.alive.any()


def test_a_reset_forgets_everything(perceiver: Perceiver) -> None:
    _, state = perceiver.perceive(image(), None, 0.1, perceiver.init_state())
    poisoned = state._replace(h=torch.full_like(state.h, float("nan")))
    again, after = perceiver.perceive(image(seed=2), None, 0.1, poisoned, reset=True)
    first, fresh = perceiver.perceive(image(seed=2), None, 0.1, perceiver.init_state())
    assert same(again, first)
    assert torch.equal(after.h, fresh.h)


def test_a_memory_survives_being_saved(perceiver: Perceiver) -> None:
    _, state = perceiver.perceive(image(), depth_map(), 0.1, perceiver.init_state())
    restored = perceiver.state_from_arrays(perceiver.state_to_arrays(state))
    a, _ = perceiver.perceive(image(seed=2), None, 0.1, state)
    b, _ = perceiver.perceive(image(seed=2), None, 0.1, restored)
    assert same(a, b)


def _without_alive(arrays: dict[str, NDArray[np.generic]]) -> None:
    del arrays["alive"]


def _of_another_size(arrays: dict[str, NDArray[np.generic]]) -> None:
    arrays["h"] = arrays["h"][:, :, :-1]


def _of_another_type(arrays: dict[str, NDArray[np.generic]]) -> None:
    arrays["h"] = arrays["h"].astype(np.float64)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_alive, "a saved memory has"),
        (_of_another_size, r"h is float32 \(2, 1, 29, 48\), this model's is float32"),
        (_of_another_type, "h is float64"),
    ],
)
def test_a_memory_of_another_model_is_refused(
    perceiver: Perceiver, spoil: object, message: str
) -> None:
    arrays = perceiver.state_to_arrays(perceiver.init_state())
    spoil(arrays)  # type: ignore[operator]
    with pytest.raises(StateError, match=message):
        perceiver.state_from_arrays(arrays)


def test_images_that_do_not_fit_are_refused(perceiver: Perceiver) -> None:
    state: MemoryState = perceiver.init_state()
    with pytest.raises(ValueError, match="aligned to colour"):
        perceiver.perceive(image(), depth_map(32, 48), 0.1, state)
    with pytest.raises(ValueError, match="float32 metres"):
        perceiver.perceive(image(), depth_map().astype(np.float64), 0.1, state)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8"):
        perceiver.perceive(image()[..., :1], None, 0.1, state)
    with pytest.raises(ValueError, match="seconds"):
        perceiver.perceive(image(), None, float("nan"), state)


def test_a_model_without_probes_perceives_too() -> None:
    perceiver = Perceiver(stirred_model("tiny", probes=0))
    percept, state = perceiver.perceive(image(), None, 0.1, perceiver.init_state())
    assert percept.probes.alive.shape == (0,)
    _, _ = perceiver.perceive(image(), None, 0.1, state, percept.update)
