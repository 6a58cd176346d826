# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The comparison of SLAM methods: what is compared, counted and summed up."""

import json

import numpy as np
import pytest
from synthetic import DEPTH, ODOMETRY, TF_STATIC

from pervformer_ros.bags.reader import BagError
from pervformer_ros.evaluation.slam.carried import carried_off, found_again_s
from pervformer_ros.evaluation.slam.closures import judge_closures
from pervformer_ros.evaluation.slam.methods import METHODS, Method, methods_of
from pervformer_ros.evaluation.slam.runs import Recording, run_methods
from pervformer_ros.evaluation.slam.sight import Sight
from pervformer_ros.evaluation.slam.suite import evaluate_slam, shown, summarise
from pervformer_ros.geometry import Trajectory, invert, make_transform
from pervformer_ros.pipeline import PipelineConfig
from pervformer_ros.sim import simulate
from pervformer_ros.slam import Edge, EdgeKind, PoseGraph, se3


def test_every_method_is_compared_fused_and_visual_only_where_both_make_sense():
    methods = methods_of("")
    assert {method.name for method in methods} == set(METHODS)
    assert Method("odometry", False) not in methods
    assert Method("open3d", True) not in methods
    assert {Method("orb", True), Method("orb", False)} <= set(methods)
    assert methods_of("orb") == [Method("orb", True), Method("orb", False)]
    with pytest.raises(ValueError, match="no method 'sift'"):
        methods_of("orb,sift")


def test_masks_of_a_model_that_was_never_trained_are_refused():
    config = PipelineConfig("untrained", "tiny")
    with pytest.raises(ValueError, match="never trained"):
        Sight(methods_of("orb_masked"), "model", config)
    with pytest.raises(ValueError, match="masks are 'guess'"):
        Sight(methods_of("orb"), "guess", config)
    Sight(methods_of("orb,orb_masked"), "truth", config)  # needs no model


def laps(count=40, radius=4.0):
    """Poses of a robot that drives a circle twice, and their stamps."""
    poses = []
    for angle in np.linspace(0, 4 * np.pi, 2 * count, endpoint=False):
        heading = [0, 0, np.sin(angle / 2 + np.pi / 4), np.cos(angle / 2 + np.pi / 4)]
        place = [radius * np.cos(angle), radius * np.sin(angle), 0]
        poses.append(make_transform(place, heading))
    return np.array(poses), np.arange(2 * count, dtype=np.int64) * 1_000_000_000


def edge(poses, first, second, kind, off=0.0):
    T = invert(poses[first]) @ poses[second]
    T[0, 3] += off
    return Edge(first, second, kind, T, se3.isotropic(0.01, 0.05))


def test_closures_are_told_from_false_ones_and_returns_are_counted():
    poses, stamps = laps()
    chain = [edge(poses, i, i + 1, EdgeKind.ODOMETRY) for i in range(len(poses) - 1)]
    loops = [
        edge(poses, 0, 40, EdgeKind.LOOP),
        edge(poses, 1, 41, EdgeKind.LOOP, off=2.0),
        edge(poses, 2, 42, EdgeKind.VISUAL),
    ]
    graph = PoseGraph(np.arange(len(poses)), stamps, poses, (*chain, *loops))
    closures = judge_closures(graph, Trajectory(stamps, poses))
    assert (closures.accepted, closures.false) == (2, 1)
    assert closures.recall == pytest.approx(3 / 41, abs=0.01)
    once = PoseGraph(np.arange(30), stamps[:30], poses[:30], tuple(chain[:29]))
    assert judge_closures(once, Trajectory(stamps, poses)).recall is None


@pytest.mark.parametrize(("late_ns", "false"), [(3, 1), (9_000_000, 1), (400_000_000, None)])
def test_closures_are_judged_by_the_nearest_true_pose_or_not_at_all(late_ns, false):
    poses, stamps = laps()
    wrong = edge(poses, 1, 41, EdgeKind.LOOP, off=2.0)
    graph = PoseGraph(np.arange(len(poses)), stamps + late_ns, poses, (wrong,))
    closures = judge_closures(graph, Trajectory(stamps, poses))
    assert (closures.accepted, closures.false) == (1, false)
    nothing = PoseGraph(np.arange(len(poses)), stamps, poses, ())
    assert judge_closures(nothing, Trajectory(stamps, poses)).false == 0


def test_a_robot_that_is_carried_off_is_timed_until_it_knows_its_place():
    poses, stamps = laps()
    # From the 50th pose on it is elsewhere; the camera is covered until the 53rd.
    poses[50:, 0, 3] += 20.0
    truth = Trajectory(stamps, poses)
    assert carried_off(truth) == stamps[50]
    assert carried_off(Trajectory(stamps[:50], poses[:50])) is None
    seeing = [*stamps[:48].tolist(), *stamps[53:].tolist()]
    # The map is another frame than the truth's; odometry goes on as if nothing had happened.
    T_map_truth = make_transform([3, -2, 0], [0, 0, np.sin(0.4), np.cos(0.4)])
    online = T_map_truth @ poses
    online[50:56, :3, 3] -= T_map_truth[:3, :3] @ [20.0, 0, 0]
    assert found_again_s(truth, Trajectory(stamps, online), seeing) == pytest.approx(3.0)
    online[50:, :3, 3] += 1.0
    assert found_again_s(truth, Trajectory(stamps, online), seeing) is None


def test_after_a_straight_way_the_map_is_laid_over_the_truth_by_headings_too():
    stamps = np.arange(100, dtype=np.int64) * 100_000_000
    poses = np.tile(np.eye(4), (100, 1, 1))
    poses[:, 0, 3] = 0.1 * np.arange(100)
    poses[60:, 1, 3] = 8.0
    noisy = poses.copy()
    noisy[:, :3, 3] += np.random.default_rng(1).normal(0, 0.005, (100, 3))
    online = make_transform([3, -2, 0], [0, 0, np.sin(0.4), np.cos(0.4)]) @ noisy
    found = found_again_s(Trajectory(stamps, poses), Trajectory(stamps, online), stamps.tolist())
    assert found == 0.0


def row(seed, **figures):
    about = {"scenario": "s", "seed": seed, "method": "orb", "odometry": True, "masks": None}
    return {**about, "statistic": None, **figures}


def test_the_summary_has_the_median_and_the_worst():
    rows = [row(i, ate_online_rmse_m=x, loop_recall=x) for i, x in enumerate([0.1, 0.5, 0.2])]
    median, worst = summarise([*rows, row(9, ate_online_rmse_m=None, loop_recall=None)])
    assert (median["statistic"], median["runs"], median["seed"]) == ("median", 4, None)
    assert median["ate_online_rmse_m"] == pytest.approx(0.2)
    assert worst["ate_online_rmse_m"] == pytest.approx(0.5)
    assert worst["loop_recall"] == pytest.approx(0.1)
    assert worst["lost"] is None
    assert [r["mode"] for r in shown([*rows, median])] == ["fused"]


def test_who_was_never_found_again_is_not_left_out():
    found = [2.2, 3.4, None, None, None]
    rows = [row(i, carried_off=True, found_again_s=x) for i, x in enumerate(found)]
    for part, median_s, worst_s, never in ((rows[:3], 3.4, None, 1), (rows, None, None, 3)):
        median, worst = summarise(part)
        assert (median["found_again_s"], worst["found_again_s"]) == (median_s, worst_s)
        assert median["never_found"] == worst["never_found"] == never
    assert summarise([row(0, carried_off=False, found_again_s=None)])[0]["never_found"] == 0


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slam")
    bag = simulate("busy_aisle", 5, folder / "bag", 1.5)
    rows = evaluate_slam(
        [Recording(bag, "busy_aisle", 5)],
        methods_of("odometry,orb,orb_masked,open3d"),
        "truth",
        folder / "out",
    )
    return rows, folder / "out"


def test_a_run_gives_one_row_for_each_method_and_its_plots(table):
    rows, out = table
    runs = [r for r in rows if r["statistic"] is None]
    assert [(r["method"], r["odometry"]) for r in runs] == [
        ("odometry", True),
        ("orb", True),
        ("orb", False),
        ("orb_masked", True),
        ("orb_masked", False),
        ("open3d", False),
    ]
    assert all(r["frames"] == runs[0]["frames"] > 15 for r in runs)
    assert all(0 <= r["ate_online_rmse_m"] < 1 for r in runs)
    assert runs[0]["ate_online_to_odometry"] == pytest.approx(1.0)
    assert {r["masks"] for r in runs} == {None, "truth"}
    assert json.loads((out / "table.json").read_text())["rows"] == rows
    for name in ("drift", "paths"):
        assert (out / f"busy_aisle-5-{name}.png").stat().st_size > 10_000


def drive(bag, methods, masks="truth"):
    return run_methods(Recording(bag, "wall", None), methods_of(methods), masks)


def test_without_odometry_or_depth_what_needs_them_is_left_out(synthetic_bag):
    def blind(recorded):
        return [r for r in recorded if r[0] not in (ODOMETRY, DEPTH)]

    rows = drive(synthetic_bag(change=blind, count=12), "odometry,orb,open3d").rows
    assert [(r["method"], r["odometry"]) for r in rows] == [("orb", False)]


def test_masks_that_nobody_tells_are_refused(synthetic_bag):
    with pytest.raises(ValueError, match="does not tell what moves: use --masks model"):
        drive(synthetic_bag(count=3), "orb,orb_masked")


def test_a_bag_that_breaks_off_is_driven_up_to_there_and_says_so(synthetic_bag):
    bag = synthetic_bag(colour="raw", count=40)
    file = bag / f"{bag.name}.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 7 // 10])
    outcome = drive(bag, "odometry,orb")
    assert all(r["truncated"] and 10 < r["frames"] < 40 for r in outcome.rows)
    assert "breaks off here" in outcome.truncated


def test_a_bag_without_a_usable_image_says_why(synthetic_bag):
    bag = synthetic_bag(change=lambda all: [r for r in all if r[0] != TF_STATIC], count=3)
    with pytest.raises(BagError, match=r"no usable image\. no_extrinsics"):
        drive(bag, "orb")


def test_nothing_to_drive_along_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="nothing to drive along"):
        evaluate_slam([], methods_of("orb"), "truth", tmp_path)
