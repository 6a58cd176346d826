# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np

from pervformer_ros.geometry import invert, make_transform
from pervformer_ros.slam import Edge, EdgeKind, se3
from pervformer_ros.slam.loops import AGREEING, REMEMBERED, Candidate, LoopVerifier

NOISE = se3.isotropic(0.003, 0.02)


def aisle(count=30, step=0.5):
    """True poses up an aisle and once more along it, and a map that has drifted on the way."""
    up = [make_transform([i * step, 0, 0], [0, 0, 0, 1]) for i in range(count)]
    truth = np.array(up + up)
    drift = [se3.exp(np.array([0, 0, 0.001 * i, 0.01 * i, 0, 0])) for i in range(2 * count)]
    return truth, truth @ np.array(drift)


def closure(truth, first, second, rng, wrong=None):
    T = invert(truth[first]) @ truth[second]
    T = T @ se3.exp(rng.multivariate_normal(np.zeros(6), NOISE))
    if wrong is not None:
        T = wrong @ T
    return Candidate(Edge(first, second, EdgeKind.LOOP, T, NOISE), 40)


def test_closures_that_agree_are_believed_once_there_are_enough():
    truth, poses = aisle()
    rng, verifier = np.random.default_rng(0), LoopVerifier()
    for i in range(AGREEING):
        accepted = verifier.add([closure(truth, i, 30 + i, rng)], poses[: 31 + i])
        assert len(accepted) == (AGREEING if i == AGREEING - 1 else 0)
    assert verifier.refused == 0


def test_many_closures_of_one_view_are_not_enough():
    truth, poses = aisle()
    rng, verifier = np.random.default_rng(1), LoopVerifier()
    assert not verifier.add([closure(truth, i, 31, rng) for i in range(4)], poses)


def test_wrong_closures_do_not_confirm_each_other():
    """Shelves that look alike: each view fits some other bay, a different one each time."""
    truth, poses = aisle()
    rng, verifier = np.random.default_rng(2), LoopVerifier()
    for i in range(12):
        bay = make_transform([2.7 * rng.choice([-2, -1, 1, 2]) + 0.3 * i, 0, 0], [0, 0, 0, 1])
        assert not verifier.add([closure(truth, i, 30 + i, rng, bay)], poses)


def test_a_wrong_closure_among_right_ones_is_left_out():
    truth, poses = aisle()
    rng, verifier = np.random.default_rng(3), LoopVerifier()
    bay = make_transform([2.7, 0, 0], [0, 0, 0, 1])
    verifier.add([closure(truth, 1, 31, rng, bay)], poses)
    verifier.add([closure(truth, 2, 32, rng)], poses)
    verifier.add([closure(truth, 3, 33, rng)], poses)
    accepted = verifier.add([closure(truth, 4, 34, rng)], poses)
    assert sorted(edge.first for edge in accepted) == [2, 3, 4]
    assert verifier.refused == 1


def test_between_two_bays_that_look_alike_more_evidence_decides():
    truth, poses = aisle()
    rng, verifier = np.random.default_rng(5), LoopVerifier()
    bay = make_transform([2.7, 0, 0], [0, 0, 0, 1])
    for i in range(2):
        verifier.add([closure(truth, i, 30 + i, rng, bay), closure(truth, i, 30 + i, rng)], poses)
    assert not verifier.add([closure(truth, 2, 32, rng, bay)], poses)
    assert not verifier.add([closure(truth, 3, 33, rng)], poses)
    assert not verifier.add([closure(truth, 4, 34, rng)], poses)
    accepted: list[Edge] = []
    for i in range(5, 8):
        accepted = accepted or verifier.add([closure(truth, i, 30 + i, rng)], poses)
    assert len(accepted) == 6
    for edge in accepted:
        T = invert(truth[edge.first]) @ truth[edge.second]
        assert np.linalg.norm(edge.T_first_second[:3, 3] - T[:3, 3]) < 0.2


def test_what_nobody_confirms_is_forgotten():
    truth, poses = aisle()
    rng, verifier = np.random.default_rng(4), LoopVerifier()
    for i in range(20):
        far = make_transform([3.0 * i, 2.0 * i, 0], [0, 0, 0, 1])
        verifier.add([closure(truth, i, 30 + i, rng, far)], poses)
    assert verifier.refused == 20 - REMEMBERED
