# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import gtsam
import numpy as np
import pytest
from gtsam_poses import from_values, to_values

from pervformer_ros.geometry import invert
from pervformer_ros.slam import Edge, EdgeKind, se3
from pervformer_ros.slam.factors import graph_factors
from pervformer_ros.slam.graph import GraphOptimiser
from pervformer_ros.slam.neighbourhood import MOST_FACTORS, MOST_KEYFRAMES, Neighbourhoods

COVARIANCE = se3.isotropic(0.005, 0.01)
LAP = 40


def laps(count):
    """A robot that goes round and round, on each lap a little beside the last."""
    angle = 2 * np.pi * np.arange(count) / LAP
    poses = [se3.exp(np.array([0, 0, a + np.pi / 2, 0, 0, 0])) for a in angle]
    for pose, a, lap in zip(poses, angle, np.arange(count) // LAP, strict=True):
        pose[:2, 3] = (5.0 + 0.1 * lap) * np.array([np.cos(a), np.sin(a)])
    return np.array(poses)


def edge(truth, first, second, rng=None):
    T = invert(truth[first]) @ truth[second]
    if rng is not None:
        T = T @ se3.exp(rng.multivariate_normal(np.zeros(6), COVARIANCE))
    return Edge(first, second, EdgeKind.VISUAL, T, COVARIANCE)


def edges_of(truth, keyframe, rng=None):
    """To the two before it, and to where it was on two laps before."""
    old = [keyframe - 1, keyframe - 2, keyframe - LAP, keyframe % LAP]
    seen = sorted({i for i in old if 0 <= i < keyframe})
    return [edge(truth, i, keyframe, rng) for i in seen]


def chain(poses, edges):
    near = Neighbourhoods()
    near.add(graph_factors(poses, edges, []))
    return near


def cost(near, poses):
    return near.factors.error(to_values(poses))


def test_only_the_neighbourhood_moves_and_the_whole_fits_better():
    truth = laps(100)
    edges = [e for i in range(100) for e in edges_of(truth, i)]
    near = chain(truth, edges)
    poses = truth.copy()
    poses[70] = poses[70] @ se3.exp(np.full(6, 0.05))
    solved = near.solve(70, poses)
    moved = np.flatnonzero(np.abs(solved - poses).max(axis=(1, 2)) > 0)
    assert set(moved.tolist()) <= near.around(70)[0]
    assert cost(near, solved) < 0.01 * cost(near, poses)
    np.testing.assert_allclose(solved, truth, atol=2e-3)


def test_what_is_small_is_solved_as_a_whole():
    rng, truth = np.random.default_rng(0), laps(12)
    edges = [e for i in range(12) for e in edges_of(truth, i, rng)]
    near, start = chain(truth, edges), to_values(truth)
    exactly = gtsam.LevenbergMarquardtParams()
    exactly.setRelativeErrorTol(1e-9)
    best = gtsam.LevenbergMarquardtOptimizer(near.factors, start, exactly).optimize()
    solved = near.solve(11, near.solve(11, truth))
    np.testing.assert_allclose(solved, from_values(best), atol=1e-3)


@pytest.mark.parametrize("asked", [0, 3, 50, 399])
def test_a_neighbourhood_is_never_larger_than_it_may_be(asked):
    """Also where one keyframe, number 0, has been seen again by all others."""
    truth = laps(400)
    edges = [e for i in range(400) for e in edges_of(truth, i)]
    edges += [edge(truth, 0, i) for i in range(2, 400)]
    near = chain(truth, edges)
    moving, holding = near.around(asked)
    ties = sum(any(key in moving for key in (e.first, e.second)) for e in edges)
    assert asked in moving
    assert len(moving) <= MOST_KEYFRAMES
    assert ties < len(holding)
    assert asked == 0 or len(holding) <= MOST_FACTORS
    assert asked == 0 or 0 not in moving


def test_lap_after_lap_the_map_stays_near_the_optimum_of_the_whole():
    rng, truth = np.random.default_rng(1), laps(200)
    graph, poses = GraphOptimiser(), []
    for i, T in enumerate(truth):
        edges = edges_of(truth, i, rng)
        poses = graph.add(i, poses[edges[-1].first] @ edges[-1].T_first_second if i else T, edges)
    start = to_values(poses)
    best = gtsam.LevenbergMarquardtOptimizer(graph.factors(), start).optimize()
    theirs = from_values(best)
    assert np.linalg.norm(poses[:, :3, 3] - theirs[:, :3, 3], axis=1).max() < 0.01
    assert graph.factors().error(start) < 1.01 * graph.factors().error(best)


@pytest.mark.parametrize("step", [[0, 0, 2 * np.pi / 100, 0, 0, 0], [0, 0, 0.0628, 0.4, 0, 0]])
def test_where_a_robot_turns_or_drives_back_to_the_beginning_the_whole_follows_at_once(step):
    rng, truth = np.random.default_rng(2), [np.eye(4)]
    for _ in range(99):
        truth.append(truth[-1] @ se3.exp(np.array(step, float)))
    graph, poses = GraphOptimiser(), []
    for i, T in enumerate(truth):
        edges = [edge(truth, i - 1, i, rng)] if i else []
        poses = graph.add(i, poses[-1] @ edges[0].T_first_second if i else T, edges)
    drifted = poses[-1]
    again = Edge(0, 100, EdgeKind.VISUAL, np.eye(4), se3.isotropic(0.001, 0.001))
    truth.append(np.eye(4))
    poses = graph.add(100, poses[-1], [edge(truth, 99, 100, rng), again])
    assert np.linalg.norm(poses[99] - drifted) > 0.02
    start = to_values(poses)
    best = gtsam.LevenbergMarquardtOptimizer(graph.factors(), start).optimize()
    assert graph.factors().error(start) < 1.1 * graph.factors().error(best)
    theirs = from_values(best)
    np.testing.assert_allclose(poses, theirs, atol=0.03)
