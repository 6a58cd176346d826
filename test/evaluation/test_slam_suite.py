# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The comparison of SLAM methods: what is compared, counted and summed up."""

import json
import threading

import numpy as np
import pytest
from synthetic import (
    CAMERA,
    COLOUR,
    DEPTH,
    ODOMETRY,
    PERIOD_NS,
    START_NS,
    TF_STATIC,
    TRUTH,
    Messages,
    wall_frames,
)

from pervformer_ros.bags.ground_truth import MOTION_MASK
from pervformer_ros.bags.reader import BagError
from pervformer_ros.evaluation.slam import sight
from pervformer_ros.evaluation.slam.carried import carried_off, found_again_s
from pervformer_ros.evaluation.slam.closures import judge_closures
from pervformer_ros.evaluation.slam.live import Corrections
from pervformer_ros.evaluation.slam.methods import METHODS, Method, methods_of
from pervformer_ros.evaluation.slam.runs import Recording, run_methods
from pervformer_ros.evaluation.slam.sight import Sight
from pervformer_ros.evaluation.slam.suite import evaluate_slam, shown, summarise
from pervformer_ros.geometry import Trajectory, invert, make_transform
from pervformer_ros.pipeline import Pipeline, PipelineConfig
from pervformer_ros.sim import simulate
from pervformer_ros.slam import Edge, EdgeKind, PoseGraph, se3
from pervformer_ros.worker import LatestWorker


def test_every_method_is_compared_fused_and_visual_only_where_both_make_sense():
    methods = methods_of("")
    assert {method.name for method in methods} == set(METHODS)
    assert Method("odometry", False) not in methods
    assert Method("open3d", True) not in methods
    assert {Method("orb", True), Method("orb", False)} <= set(methods)
    assert methods_of("orb") == [Method("orb", True), Method("orb", False)]
    assert methods_of("orb,orb", "visual") == [Method("orb", False)]
    assert methods_of("odometry,open3d", "fused") == [
        Method("odometry", True),
        Method("open3d", False),
    ]
    with pytest.raises(ValueError, match="no method 'sift'"):
        methods_of("orb,sift")
    with pytest.raises(ValueError, match="no mode 'both'"):
        methods_of("orb", "both")


def test_who_is_visual_only_is_told_no_odometry(monkeypatch):
    """The network asks for the camera's own motion: it gets that of odometry, or what it sees."""
    told = []

    class Line:
        trained = True

        def __init__(self, config):
            pass

        def step(self, frame):
            told.append(frame.T_odom_base is not None)
            return tiny.step(frame)

    tiny = Pipeline(PipelineConfig("untrained", "tiny", "pervformer"))
    monkeypatch.setattr(sight, "Pipeline", Line)
    frame = wall_frames(1)[0]
    seen = Sight(methods_of("orb,pervformer"), "model").look(frame, None)
    assert set(seen) == {m.kind for m in methods_of("orb,pervformer")}
    assert sorted(told) == [False, True]
    orb = [seen[m.kind] for m in methods_of("orb")]
    assert orb[0] is orb[1], "it is looked for once"
    Sight(methods_of("orb"), "model").look(frame, None)
    assert len(told) == 2, "ORB needs no network"


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
    return {**about, "realtime": False, "statistic": None, **figures}


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
    assert all(r["poses_compared"] == r["frames"] for r in runs)
    for name in ("drift", "paths"):
        assert (out / f"busy_aisle-5-{name}.png").stat().st_size > 10_000


def drive(bag, methods, masks="truth", **how):
    return run_methods(Recording(bag, "wall", None), methods_of(methods), masks, **how)


def test_in_real_time_each_method_has_the_recording_to_itself(synthetic_bag, instant, tmp_path):
    bag = [Recording(synthetic_bag(count=12), "wall", None)]
    methods = methods_of("odometry,orb")
    offline, timed = (
        evaluate_slam(bag, methods, "truth", tmp_path, realtime=how) for how in (False, True)
    )
    assert sum(instant.slept) == pytest.approx(2 * 11 * PERIOD_NS / 1e9, abs=1e-3)
    for mine, theirs in zip(timed, offline, strict=True):
        assert (mine["realtime"], theirs["realtime"]) == (True, False)
        for key in ("method", "odometry", "frames", "frames_dropped", "ate_online_rmse_m"):
            assert mine.get(key) == theirs.get(key), key
        waited = mine["method"] == "orb" and mine["odometry"]
        for key in ("ate_live_rmse_m", "latency_ms_p50"):
            assert (mine[key] is not None) == waited, key
            assert theirs[key] is None


def test_the_live_pose_is_odometry_by_the_newest_correction_that_was_finished():
    """Odometry reads 1 m too far; of five images two gave a correction, late."""
    stamps = np.arange(5, dtype=np.int64) * 10**8
    odometry = Trajectory(
        stamps, np.array([make_transform([i + 1.0, 0, 0], [0, 0, 0, 1]) for i in range(5)])
    )
    halves, whole = (make_transform([-x, 0, 0], [0, 0, 0, 1]) for x in (0.5, 1.0))
    corrections = Corrections()
    assert corrections.latency_ms is None
    assert len(corrections.carry(odometry)) == 0
    corrections.add(0, 150_000_000, halves)
    corrections.add(200_000_000, 400_000_000, whole)
    live = corrections.carry(odometry)
    assert live.stamps_ns.tolist() == stamps[2:].tolist()
    assert live.poses[:, 0, 3].tolist() == [2.5, 3.5, 4.0]
    assert corrections.latency_ms == 175.0
    nowhere = corrections.carry(Trajectory(stamps[:0], odometry.poses[:0]))
    assert len(nowhere) == 0


def test_in_real_time_what_comes_too_late_is_dropped_and_counted(
    synthetic_bag, instant, monkeypatch
):
    class SlowWorker(LatestWorker):
        """At work on the first image until the last one has come."""

        def __init__(self, work, *names):
            self.all_came = threading.Event()
            super().__init__(lambda item: self.all_came.wait() and work(item), *names)

        def drain(self):
            self.all_came.set()
            super().drain()

    monkeypatch.setattr("pervformer_ros.evaluation.pace.LatestWorker", SlowWorker)
    rows = drive(synthetic_bag(count=12), "odometry,orb", realtime=True).rows
    for row in rows:
        assert row["frames"] in (1, 2)
        assert row["frames"] + row["frames_dropped"] == 12


def test_where_time_goes_back_all_begin_anew(synthetic_bag):
    def twice(recorded):
        return recorded + [(topic, stamp + 10**9, message) for topic, stamp, message in recorded]

    laps = synthetic_bag(change=twice, count=9)
    once, again = (drive(b, "odometry,orb,open3d").rows for b in (synthetic_bag(count=9), laps))
    for key in ("frames", "poses_compared", "ate_rmse_m", "ate_online_rmse_m"):
        assert [r[key] for r in again] == pytest.approx([r[key] for r in once], abs=1e-6), key
    assert {r["faults"] for r in again} == {1}
    (row,) = drive(laps, "odometry", seconds=0.2).rows
    assert row["poses_compared"] == row["frames"] == 3


def test_what_comes_as_much_later_is_not_of_the_first_seconds(synthetic_bag):
    (row,) = drive(synthetic_bag(count=6), "odometry", seconds=3 * PERIOD_NS / 1e9).rows
    assert row["frames"] == 3


def with_masks(spoilt, encoding="mono8", late_ns=0):
    """Add true masks, the first of them spoilt."""

    def change(recorded):
        messages, nothing = Messages(), np.zeros((CAMERA.height, CAMERA.width), np.uint8)
        for number, stamp in enumerate([r[1] for r in recorded if r[0] == COLOUR]):
            bad = number < spoilt
            mask = messages.image(stamp + bad * late_ns, nothing, "mono8")
            mask.encoding = encoding if bad else "mono8"
            recorded.append((MOTION_MASK, stamp, mask))
        return sorted(recorded, key=lambda r: r[1])

    return change


@pytest.mark.parametrize("wrong", [{"encoding": "8UC1"}, {"late_ns": 1000}])
def test_true_masks_that_are_of_no_image_are_counted_or_refused(synthetic_bag, wrong):
    rows = drive(synthetic_bag(change=with_masks(2, **wrong), count=3), "orb_masked").rows
    assert rows[0]["faults"] >= 2
    with pytest.raises(BagError, match="no true mask that is mono8 and has the stamp of an image"):
        drive(synthetic_bag(change=with_masks(3, **wrong), count=3), "orb_masked")


def of_another_clock(first=0):
    """Stamp the true poses an hour later, from some image on."""

    def change(recorded):
        for topic, stamp, message in recorded:
            if topic == TRUTH and stamp >= START_NS + first * PERIOD_NS:
                message.header.stamp.sec += 3600
        return recorded

    return change


def test_truth_of_another_clock_is_refused_with_both_times(synthetic_bag):
    bag = synthetic_bag(change=of_another_clock(), count=6)
    with pytest.raises(BagError, match=r"1700003600\.000 to .* s, images of 1700000000\.000 to"):
        drive(bag, "odometry")


def test_the_table_tells_how_many_poses_were_compared(synthetic_bag, monkeypatch, tmp_path):
    def fail(*_):
        raise OSError("no ink")

    monkeypatch.setattr("pervformer_ros.evaluation.slam.suite.draw_drift", fail)
    bag = Recording(synthetic_bag(change=of_another_clock(first=4), count=12), "wall", None)
    with pytest.raises(OSError, match="no ink"):
        evaluate_slam([bag], methods_of("odometry"), "truth", tmp_path)
    row = json.loads((tmp_path / "table.json").read_text())["rows"][0]
    assert (row["poses_compared"], row["frames"]) == (4, 12)


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
