# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import tracemalloc

import cv2
import numpy as np
import pytest

from pervformer_ros.features import (
    FeatureSet,
    Keypoints,
    OrbExtractor,
    lift,
    share_out,
    static_mask,
)
from pervformer_ros.frame import CameraModel

CAMERA = CameraModel(160, 120, 120.0, 120.0, 79.5, 59.5)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    blocks = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    return cv2.resize(blocks, (640, 480), interpolation=cv2.INTER_NEAREST)


def test_orb_similarity_is_one_minus_twice_the_share_of_differing_bits(picture):
    found = OrbExtractor(100)(picture)
    bits = np.unpackbits(
        cv2.ORB.create(100, fastThreshold=5).detectAndCompute(
            cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), None
        )[1],
        axis=1,
    )
    hamming = (bits[:, None] != bits[None]).sum(axis=2)
    vectors = found.descriptors.astype(np.float32)
    np.testing.assert_array_equal(vectors @ vectors.T, 1 - 2 * hamming / 256)


def test_orb_keeps_within_its_limit_and_inside_the_image(picture):
    found = OrbExtractor(50)(picture)
    assert 0 < len(found.uv) <= 50
    assert (found.uv >= 0).all()
    assert (found.uv < (640, 480)).all()


def test_corners_of_a_small_image_are_found_where_they_are(picture):
    small = cv2.resize(picture, (320, 240), interpolation=cv2.INTER_AREA)
    large, found = OrbExtractor(200)(picture), OrbExtractor(200)(small)
    assert (found.uv >= 0).all()
    assert (found.uv < (320, 240)).all()
    expected = (large.uv + 0.5) / 2 - 0.5
    nearest = np.linalg.norm(found.uv[:, None] - expected[None], axis=2).min(axis=1)
    assert np.median(nearest) < 0.5


def test_what_the_mask_hides_takes_no_room_from_the_rest(picture):
    mask = np.full((480, 640), 255, np.uint8)
    mask[:, 200:] = 0
    found = OrbExtractor(100)(picture, mask)
    hidden = found.uv[:, 0] >= 200
    alone = OrbExtractor(100)(picture[:, :200])
    assert np.count_nonzero(~hidden) > 0.7 * len(alone.uv) > 50
    assert 0 < np.count_nonzero(hidden) <= 33


def test_what_reaches_the_threshold_is_masked_and_what_is_not_known_is_not():
    motion = np.array([[0.0, 0.29, 0.3, 1.0, np.nan]], np.float32)
    mask = static_mask(motion, 0.3)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, [[255, 255, 0, 0, 255]])


def test_a_mask_takes_a_few_bytes_a_pixel():
    motion = np.zeros((480, 640), np.float32)
    tracemalloc.start()
    static_mask(motion, 0.5)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 * motion.size


def test_of_keypoints_the_best_are_kept_and_of_what_moves_a_third_as_many():
    count = 40
    uv = np.column_stack([np.arange(count) * 2, np.full(count, 5)]).astype(np.float32)
    score = np.linspace(1, 0, count, dtype=np.float32)
    found = Keypoints(uv, score, np.eye(count, dtype=np.float16))
    mask = np.full((10, 2 * count), 255, np.uint8)
    mask[:, :40] = 0  # the best half
    assert share_out(found, mask, 12).uv[:, 0].tolist() == [0, 2, 4, 6, *range(40, 64, 2)]
    assert share_out(found, None, 12).uv[:, 0].tolist() == list(range(0, 24, 2))


@pytest.mark.parametrize("size", [(240, 320), (16, 16)])
def test_where_nothing_stands_out_there_are_no_keypoints(size):
    found = OrbExtractor()(np.full((*size, 3), 90, np.uint8))
    assert found.uv.shape == (0, 2)
    assert found.score.shape == (0,)
    assert found.descriptors.shape == (0, 256)


def test_features_are_lifted_to_where_the_depth_says():
    depth = np.full((120, 160), 2.0, np.float32)
    uv = np.array([[79.5, 59.5], [139.5, 59.5]], np.float32)
    np.testing.assert_allclose(lift(uv, depth, CAMERA), [[0, 0, 2], [1, 0, 2]], atol=1e-6)


@pytest.mark.parametrize("columns_away", range(-3, 4))
def test_features_at_a_depth_edge_are_of_the_nearer_thing(columns_away):
    depth = np.full((120, 160), 4.0, np.float32)
    depth[:, :80] = 2.0  # the edge runs between columns 79 and 80
    uv = np.array([[80 + columns_away, 60]], np.float32)
    nearer = columns_away <= 0  # 5 x 5 pixels hold two columns of the nearer thing
    assert lift(uv, depth, CAMERA)[0, 2] == pytest.approx(2.0 if nearer else 4.0, abs=1e-3)


def test_single_pixels_of_another_depth_are_not_a_surface():
    depth = np.full((120, 160), 4.0, np.float32)
    depth[58:62:3, 78:82:2] = [[1.0, 2.0], [3.0, 0.0]]
    uv = np.array([[80.0, 60.0]], np.float32)
    assert lift(uv, depth, CAMERA)[0, 2] == pytest.approx(4.0, abs=1e-3)


def test_noise_of_depth_is_averaged():
    rng = np.random.default_rng(0)
    depth = (2.0 + rng.normal(0, 0.01, (120, 160))).astype(np.float32)
    uv = rng.uniform(10, 100, (200, 2)).astype(np.float32)
    assert lift(uv, depth, CAMERA)[:, 2].std() < 0.004


def test_features_on_a_slanting_floor_are_lifted():
    rows = np.arange(120, dtype=np.float32)[:, None]
    depth = np.tile(1.0 / (0.1 + 0.003 * rows), (1, 160)).astype(np.float32)  # a plane
    uv = np.array([[80.0, 60.4]], np.float32)
    assert lift(uv, depth, CAMERA)[0, 2] == pytest.approx(1.0 / (0.1 + 0.003 * 60.4), rel=1e-4)


def test_features_in_a_hole_of_depth_are_not_lifted():
    depth = np.full((120, 160), 2.0, np.float32)
    depth[50:70, 70:90] = 0
    uv = np.array([[80, 60], [70, 60], [68, 60]], np.float32)
    assert np.isnan(lift(uv, depth, CAMERA)).all(axis=1).tolist() == [True, False, False]


def test_features_in_the_corners_are_lifted():
    depth = np.full((120, 160), 2.0, np.float32)
    uv = np.array([[0, 0], [159.4, 119.4]], np.float32)
    assert np.isfinite(lift(uv, depth, CAMERA)).all()


def test_without_depth_no_point_is_known():
    uv = np.array([[80, 60]], np.float32)
    assert np.isnan(lift(uv, None, CAMERA)).all()
    assert lift(uv[:0], None, CAMERA).shape == (0, 3)


def test_parts_of_different_numbers_are_refused():
    two, three = np.zeros((2, 2), np.float32), np.zeros((3, 3), np.float32)
    with pytest.raises(ValueError, match="do not fit each other"):
        FeatureSet(0, 9, 9, two, three, two[:, 0], two[:, 0], np.zeros((2, 8), np.float16))
    with pytest.raises(ValueError, match="2 features have descriptors"):
        FeatureSet(0, 9, 9, two, three[:2], two[:, 0], two[:, 0], np.zeros((3, 8), np.float16))
