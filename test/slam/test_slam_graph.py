# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

import gtsam
import numpy as np
import pytest
from gtsam_poses import from_values, to_values

from pervformer_ros.geometry import invert, make_rotation, make_transform
from pervformer_ros.slam import Edge, EdgeKind, se3
from pervformer_ros.slam import graph as graph_module
from pervformer_ros.slam.factors import UP
from pervformer_ros.slam.graph import GraphOptimiser
from pervformer_ros.slam.odometry import OdometryNoise, Way

TIGHT, LOOSE = se3.isotropic(0.002, 0.005), se3.isotropic(0.02, 0.05)


def ring(count=20):
    """Poses round a circle, all off the plane by a little."""
    step = se3.exp(np.array([0.02, -0.01, 2 * np.pi / count, 0.5, 0.0, 0.02]))
    poses = [np.eye(4)]
    for _ in range(count - 1):
        poses.append(poses[-1] @ step)
    return poses


def between(truth, first, second, kind, covariance, rng=None):
    T = invert(truth[first]) @ truth[second]
    if rng is not None:
        T = T @ se3.exp(rng.multivariate_normal(np.zeros(6), covariance))
    return Edge(first, second, kind, T, covariance)


def build(truth, rng=None, views=3):
    """A graph that is told true relative poses, or noisy ones, and starts from a bad guess."""
    graph = GraphOptimiser()
    poses = graph.add(0, truth[0], [])
    for i in range(1, len(truth)):
        odometry = between(truth, i - 1, i, EdgeKind.ODOMETRY, LOOSE, rng)
        seen = range(max(0, i - views), i)
        visual = [between(truth, j, i, EdgeKind.VISUAL, TIGHT, rng) for j in seen]
        guess = poses[-1] @ odometry.T_first_second @ se3.exp(np.full(6, 0.02))
        poses = graph.add(i, guess, [odometry, *visual])
    return graph


def test_true_edges_have_the_true_poses_as_their_optimum():
    truth = ring()
    np.testing.assert_allclose(build(truth).snapshot().poses, truth, atol=1e-5)


def test_levenberg_marquardt_finds_the_same_optimum_of_the_same_factors():
    truth = ring()
    graph = build(truth, np.random.default_rng(0))
    snapshot = graph.snapshot()
    start = to_values(truth)
    solved = gtsam.LevenbergMarquardtOptimizer(graph.factors(), start).optimize()
    np.testing.assert_allclose(snapshot.poses, from_values(solved), atol=2e-3)


def test_noisy_views_beat_noisy_odometry():
    truth, rng = ring(40), np.random.default_rng(1)
    offsets = [
        invert(a) @ b for a, b in zip(build(truth, rng).snapshot().poses, truth, strict=True)
    ]
    assert np.linalg.norm(offsets[-1][:3, 3]) < 0.1


def test_a_wrong_view_is_overruled():
    truth, rng = ring(), np.random.default_rng(2)
    graph = build(truth, rng)
    moved = truth[-1] @ se3.exp(np.array([0, 0, 0.5, 1.0, 0, 0]))
    extended = [*truth, truth[-1] @ invert(truth[-2]) @ truth[-1]]
    edges = [between(extended, i, 20, EdgeKind.VISUAL, TIGHT, rng) for i in (17, 18, 19)]
    edges.append(Edge(2, 20, EdgeKind.VISUAL, invert(truth[2]) @ moved, TIGHT))
    poses = graph.add(20, extended[-1], edges)
    assert np.linalg.norm((invert(poses[-1]) @ extended[-1])[:3, 3]) < 0.08


def test_the_first_keyframe_stays_where_the_map_begins():
    truth = [se3.exp(np.array([0.1, 0.2, 0.3, 4.0, 5.0, 6.0])) @ T for T in ring()]
    np.testing.assert_allclose(
        build(truth, np.random.default_rng(3)).snapshot().poses[0], truth[0], atol=1e-6
    )


def test_a_known_vertical_takes_the_tilt_out():
    truth, rng = ring(), np.random.default_rng(4)
    graph = GraphOptimiser()
    poses = graph.add(0, truth[0], [], truth[0][2, :3], 0.01)
    for i in range(1, len(truth)):
        edge = between(truth, i - 1, i, EdgeKind.VISUAL, LOOSE, rng)
        poses = graph.add(i, poses[-1] @ edge.T_first_second, [edge], truth[i][2, :3], 0.01)
    ups = np.sum(poses[:, 2, :3] * np.array(truth)[:, 2, :3], axis=1)
    assert np.arccos(np.clip(ups, -1, 1)).max() < 0.03


def test_views_that_all_see_the_floor_sink_do_not_sink_the_map():
    """Each view puts the robot 4 mm lower for each metre: odometry knows that it is not."""
    step = make_transform([0.7, 0, 0], [0, 0, 0, 1])
    sunk = make_transform([0.7, 0, -0.004 * 0.7], [0, 0, 0, 1])
    ends = []
    for with_level in (False, True):
        graph, poses = GraphOptimiser(), [np.eye(4)]
        for i in range(40):
            edges = [Edge(i - 1, i, EdgeKind.VISUAL, sunk, se3.isotropic(0.002, 0.005))]
            if with_level:
                edges.append(level(i, step))
            poses = graph.add(i, poses[-1] @ sunk if i else np.eye(4), edges if i else [])
        ends.append(poses[-1][2, 3])
    assert ends[0] < -0.1
    assert abs(ends[1]) < 0.3 * abs(ends[0])


def level(second, step):
    """What odometry on a level floor says of a keyframe's height over the one before."""
    way = Way(step, step, float(np.linalg.norm(step[:3, 3])), 0.0)
    return Edge(second - 1, second, EdgeKind.LEVEL, step, OdometryNoise.of_level(way))


def test_a_long_ramp_that_odometry_knows_nothing_of_is_not_flattened():
    ahead, uphill = make_transform([0.4, 0, 0], [0, 0, 0, 1]), make_rotation([0, -np.radians(5), 0])
    truth = [np.eye(4)]
    for i in range(40):
        bend = {8: uphill, 33: invert(uphill)}.get(i, np.eye(4))
        truth.append(truth[-1] @ ahead @ bend)
    graph, rng = GraphOptimiser(), np.random.default_rng(6)
    poses = graph.add(0, truth[0], [], UP, 0.02)
    for i in range(1, len(truth)):
        views = range(max(0, i - 3), i)
        edges = [between(truth, j, i, EdgeKind.VISUAL, TIGHT, rng) for j in views]
        edges.append(Edge(i - 1, i, EdgeKind.ODOMETRY, ahead, se3.isotropic(0.01, 0.02)))
        guess = poses[-1] @ edges[-2].T_first_second
        poses = graph.add(i, guess, [*edges, level(i, ahead)], UP, 0.02)
    assert truth[-1][2, 3] > 0.8
    assert abs(poses[-1, 2, 3] - truth[-1][2, 3]) < 0.1


def test_a_keyframe_that_nothing_holds_is_an_error():
    graph = GraphOptimiser()
    graph.add(0, np.eye(4), [])
    with pytest.raises(ValueError, match="keyframe 1 is not linked"):
        graph.add(1, np.eye(4), [])


def test_a_snapshot_does_not_change_afterwards():
    truth = ring(4)
    graph = build(truth)
    before = graph.snapshot()
    poses, edges = before.poses.copy(), len(before.edges)
    graph.add(4, truth[-1], [Edge(3, 4, EdgeKind.GAP, np.eye(4), LOOSE)])
    np.testing.assert_array_equal(before.poses, poses)
    assert len(before.edges) == edges
    assert list(before.keyframe_ids) == [0, 1, 2, 3]
    assert list(before.stamps_ns) == [0, 1, 2, 3]


def grid(rng, side=20, cells=25):
    """A robot in a city of blocks (as the Manhattan worlds of the literature): truth and edges.

    It drives cell by cell at random and recognises places where it has been before.
    """
    cell, heading, truth, edges, seen = np.array([side // 2, side // 2]), 0, [], [], {}
    kinds = EdgeKind.ODOMETRY, EdgeKind.VISUAL
    noise = se3.isotropic(np.radians(1.0), 0.03)
    for i in range(side * cells):
        T = make_rotation([0, 0, heading * np.pi / 2])
        T[:2, 3] = cell
        truth.append(T)
        if i:
            edges.append(between(truth, i - 1, i, kinds[0], noise, rng))
        before = seen.setdefault(tuple(cell), [])
        edges += [between(truth, j, i, kinds[1], noise, rng) for j in before[:2] if j < i - 3]
        before.append(i)
        turns = [turn for turn in (-1, 0, 0, 0, 1) if inside(cell, heading + turn, side)] or [2]
        heading = (heading + int(rng.choice(turns))) % 4
        cell = cell + STEPS[heading]
    return truth, edges


STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])


def inside(cell, heading, side):
    return bool(((cell + STEPS[heading % 4] >= 0) & (cell + STEPS[heading % 4] < side)).all())


def test_a_standard_pose_graph_is_solved_as_well_as_by_the_batch_optimisers_of_gtsam():
    truth, edges = grid(np.random.default_rng(7))
    graph, poses = GraphOptimiser(), []
    for i, T in enumerate(truth):
        mine = [edge for edge in edges if edge.second == i]
        guess = poses[-1] @ mine[0].T_first_second if mine else T
        poses = graph.add(i, guess, mine)
    assert sum(edge.kind is EdgeKind.VISUAL for edge in edges) > 300
    chained = gtsam.Values()
    T = truth[0]
    for i in range(len(truth)):
        T = T if i == 0 else T @ next(e for e in edges if e.second == i).T_first_second
        chained.insert(i, gtsam.Pose3(T))
    factors, ours = graph.factors(), to_values(poses)
    costs = [
        factors.error(solver(factors, start).optimize())
        for solver in (gtsam.LevenbergMarquardtOptimizer, gtsam.DoglegOptimizer)
        for start in (chained, ours)
    ]
    assert factors.error(ours) < 1.01 * min(costs)
    assert np.linalg.norm(poses[:, :3, 3] - np.array(truth)[:, :3, 3], axis=1).max() < 0.5


def test_a_loop_closed_later_moves_what_lies_between():
    truth, rng = ring(40), np.random.default_rng(5)
    graph, poses = GraphOptimiser(), []
    for i, T in enumerate(truth):
        edges = [between(truth, i - 1, i, EdgeKind.ODOMETRY, LOOSE, rng)] if i else []
        poses = graph.add(i, poses[-1] @ edges[0].T_first_second if i else T, edges)
    far = np.linalg.norm((invert(poses[39]) @ truth[39])[:3, 3])
    closed = graph.close([between(truth, 0, i, EdgeKind.LOOP, TIGHT, rng) for i in (37, 38, 39)])
    near = np.linalg.norm((invert(closed[39]) @ truth[39])[:3, 3])
    assert near < 0.03 < far
    np.testing.assert_array_equal(graph.snapshot().poses, closed)
    assert len(graph.edges) == 39 + 3


def test_a_piece_of_map_from_far_away_does_not_pull_at_the_map_it_joins():
    truth = ring()
    graph = build(truth)
    away = make_rotation([0, 0, 2.0])
    away[0, 3] = 1e5
    anywhere = se3.isotropic(2.0, 1000.0)
    T = invert(graph.snapshot().poses[-1]) @ away @ truth[0]
    poses = graph.add(20, away @ truth[0], [Edge(19, 20, EdgeKind.GAP, T, anywhere)])
    for i in range(1, 20):
        edge = between(truth, i - 1, i, EdgeKind.VISUAL, TIGHT)
        edge = Edge(19 + i, 20 + i, edge.kind, edge.T_first_second, TIGHT)
        poses = graph.add(20 + i, poses[-1] @ edge.T_first_second, [edge])
    loops = [Edge(i, 20 + i, EdgeKind.LOOP, np.eye(4), TIGHT) for i in (17, 18, 19)]
    poses = graph.close(loops, np.array([*poses[:20], *truth]))
    np.testing.assert_allclose(poses, [*truth, *truth], atol=0.01)


def test_drift_grows_along_the_way_and_shrinks_with_a_loop():
    truth = ring(40)
    graph = GraphOptimiser()
    for i, T in enumerate(truth):
        graph.add(i, T, [between(truth, i - 1, i, EdgeKind.ODOMETRY, LOOSE)] if i else [])
    drift = graph.drift_from(39)
    assert drift.shape == (40, 2)
    assert (np.diff(drift, axis=0) < 0).all()
    assert (drift[39] == 0).all()
    graph.close([between(truth, 0, 39, EdgeKind.LOOP, TIGHT)])
    assert (graph.drift_from(39)[0] < 0.05 * drift[0]).all()


def test_drift_holds_what_a_wrong_heading_does_over_a_large_loop():
    """By Monte Carlo: edges err exactly as the graph is told."""
    side = np.linspace(0, 1, 30, endpoint=False)[:, None]
    corners = np.array([[0, 0], [60, 0], [60, 40], [0, 40], [0, 0]], float)
    xy = np.concatenate([a + side * (b - a) for a, b in pairwise(corners)])
    truth = np.tile(np.eye(4), (len(xy), 1, 1))
    truth[:, :2, 3] = xy
    exact = np.diag(np.square([0.004] * 3 + [0.02] * 3))
    rng, ends = np.random.default_rng(0), []
    for _ in range(40):
        T = truth[0]
        for i in range(1, len(truth)):
            T = T @ between(truth, i - 1, i, EdgeKind.ODOMETRY, exact, rng).T_first_second
        ends.append((T - truth[-1])[:3, 3])
    rms = np.sqrt(np.mean(np.square(ends)))
    graph = GraphOptimiser()
    for i, T in enumerate(truth):
        graph.add(i, T, [between(truth, i - 1, i, EdgeKind.ODOMETRY, exact)] if i else [])
    told = np.sqrt(graph.drift_from(len(truth) - 1)[0, 1])
    assert rms < told < 3 * rms


def test_where_cholesky_gives_up_the_graph_is_solved_all_the_same(monkeypatch):
    """Edges that contradict each other may weigh too little for it: QR takes over."""
    steady, shaken = GraphOptimiser(), GraphOptimiser()
    T, covariance = make_transform([0.5, 0.1, 0], [0, 0, 0, 1]), 1e-4 * np.eye(6)
    for graph in (steady, shaken):
        graph.add(0, np.eye(4), [])
        graph.add(1, T, [Edge(0, 1, EdgeKind.VISUAL, T, covariance)])

    class GivesUp:
        def update(self, *_):
            raise RuntimeError("Indeterminate linear system detected")

    make = graph_module._make_isam
    monkeypatch.setattr(
        graph_module, "_make_isam", lambda m: GivesUp() if m == "CHOLESKY" else make(m)
    )
    monkeypatch.setattr(shaken, "_isam", GivesUp())
    edges = [Edge(1, 2, EdgeKind.VISUAL, T, covariance), Edge(0, 2, EdgeKind.VISUAL, T, covariance)]
    poses = [graph.add(2, T @ T, edges) for graph in (steady, shaken)]
    np.testing.assert_allclose(*poses, atol=1e-3)
    np.testing.assert_allclose(
        *[graph.close([Edge(2, 0, EdgeKind.LOOP, T, covariance)]) for graph in (steady, shaken)],
        atol=5e-3,
    )
