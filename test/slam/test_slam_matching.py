# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from slam_room import signs

from pervformer_ros.slam.matching import match


def pairs(first, second, min_similarity=0.5, max_ratio=0.9, allowed=None):
    found = match(
        first, second, min_similarity=min_similarity, max_ratio=max_ratio, allowed=allowed
    )
    return {(int(a), int(b)) for a, b in found}


def unit_vectors(seed, count, size=8):
    vectors = np.random.default_rng(seed).normal(size=(count, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 30), st.integers(0, 30))
def test_the_order_of_the_two_sets_does_not_matter(seed, a, b):
    first, second = unit_vectors(seed, a), unit_vectors(seed + 1, b)
    there = pairs(first, second, min_similarity=0.0)
    back = pairs(second, first, min_similarity=0.0)
    assert there == {(a, b) for b, a in back}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(1, 30))
def test_every_pair_is_mutually_nearest_and_passes_the_ratio_test(seed, a, b):
    first, second = unit_vectors(seed, a), unit_vectors(seed + 1, b)
    similarity = first.astype(np.float32) @ second.astype(np.float32).T
    distance = np.sqrt(np.maximum(2 - 2 * similarity, 0))
    for i, j in pairs(first, second, min_similarity=0.2, max_ratio=0.8):
        others = np.concatenate([np.delete(distance[i], j), np.delete(distance[:, j], i)])
        assert similarity[i, j] >= 0.2
        assert (others >= distance[i, j] / 0.8 - 1e-3).all()


def test_a_shuffled_noisy_copy_is_matched_in_full():
    rng = np.random.default_rng(3)
    first = signs(rng, 200)
    order = rng.permutation(200)
    flips = np.where(rng.random((200, 256)) < 0.08, -1, 1).astype(np.float16)
    assert pairs(first, first[order] * flips) == {(int(o), i) for i, o in enumerate(order)}


def test_what_looks_like_two_things_matches_neither():
    rng = np.random.default_rng(4)
    thing, other = signs(rng, 1), signs(rng, 1)
    assert pairs(thing, np.vstack([thing, other])) == {(0, 0)}
    assert pairs(thing, np.vstack([thing, thing, other])) == set()


def test_unlike_descriptors_do_not_match():
    rng = np.random.default_rng(5)
    assert pairs(signs(rng, 50), signs(rng, 50)) == set()


def test_pairs_that_are_not_allowed_neither_match_nor_compete():
    rng = np.random.default_rng(6)
    thing = signs(rng, 1)
    twins = np.vstack([thing, thing])
    assert pairs(thing, twins, allowed=np.array([[True, False]])) == {(0, 0)}
    assert pairs(thing, twins, allowed=np.zeros((1, 2), bool)) == set()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.0, 1.0), st.sampled_from([64, 100, 256]))
def test_however_many_pairs_are_allowed_the_same_ones_match(seed, part, size):
    """Few are compared one by one, by bits where descriptors are signs; many as a matrix."""
    rng = np.random.default_rng(seed)
    first = (rng.integers(0, 2, (40, size)) * 2 - 1) / np.sqrt(size)
    second = first[rng.permutation(40)] * np.where(rng.random((40, size)) < 0.15, -1, 1)
    allowed = rng.random((40, 40)) < part
    for kind in (np.float16, np.float32):
        ours, theirs = first.astype(kind), second.astype(kind)
        similarity = np.where(allowed, ours.astype(float) @ theirs.astype(float).T, -1.0)
        found = pairs(ours, theirs, 0.3, 0.9, allowed)
        assert clearly_nearest(similarity, 0.81 - 1e-4) <= found
        assert found <= clearly_nearest(similarity, 0.81 + 1e-4)


def clearly_nearest(similarity, squared_ratio):
    """The pairs of at least 0.3 that are nearer than all others of their row and column."""
    found = set()
    for i, j in zip(*np.nonzero(similarity >= 0.3), strict=True):
        others = np.concatenate([np.delete(similarity[i], j), np.delete(similarity[:, j], i)])
        if 1 - similarity[i, j] < squared_ratio * (1 - others.max()):
            found.add((int(i), int(j)))
    return found


def test_empty_sets_match_nothing():
    some, none = signs(np.random.default_rng(7), 5), np.empty((0, 256), np.float16)
    assert pairs(some, none) == pairs(none, some) == pairs(none, none) == set()
