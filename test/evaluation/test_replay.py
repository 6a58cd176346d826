# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from synthetic import DEPTH, INFO, START_NS, TRUTH, wall_shots

from pervformer_ros.bags.reader import BagError
from pervformer_ros.evaluation.drift import write_tum
from pervformer_ros.evaluation.pace import Pace
from pervformer_ros.evaluation.replay import Replay
from pervformer_ros.evaluation.report import number, write_report
from pervformer_ros.evaluation.table import write_table

COUNT = 45


@pytest.fixture(scope="module")
def result(replayed, wall_bag) -> Replay:
    return replayed(wall_bag)


@pytest.fixture(scope="module")
def folder(result, tmp_path_factory) -> Path:
    """The folder with the report."""
    out = tmp_path_factory.mktemp("report") / "is" / "made"
    write_report(result, out)
    return out


@pytest.fixture(scope="module")
def report(folder) -> dict:
    return json.loads((folder / "report.json").read_text())


# report.json -------------------------------------------------------------------------------------


def test_the_report_has_the_keys_it_promises(report):
    assert report.keys() >= {
        "schema",
        "bag",
        "frames",
        "frames_dropped",
        "latency_ms",
        "drift",
        "loop_closures",
        "detection",
        "tracking",
        "motion_mask",
        "events",
        "memory",
        "checkpoint",
    }
    assert report["schema"] == 1
    assert report["latency_ms"].keys() == {"p50", "p95", "p99"}
    assert report["memory"].keys() == {"state_bytes", "rss_mb_first", "rss_mb_last"}
    assert report["drift"].keys() == {"odometry", "slam", "slam_online"}
    for drift in report["drift"].values():
        assert drift.keys() == {"ate_rmse_m", "rpe_trans_m_per_m", "rpe_rot_deg_per_m"}


def test_the_report_tells_what_happened(report, wall_bag):
    assert report["bag"] == str(wall_bag)
    assert report["frames"] == COUNT
    assert report["frames_dropped"] == 0
    assert report["realtime"] is False
    assert report["truncated"] is None
    assert report["faults"] == {}
    assert report["trained"] is False
    assert "untrained" in report["checkpoint"]
    latency = report["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    memory = report["memory"]
    assert memory["state_bytes"] > 0
    assert memory["rss_mb_first"] > 0
    assert memory["rss_mb_last"] > 0


def test_untrained_weights_are_not_judged(report):
    assert [report[k] for k in ("detection", "tracking", "motion_mask", "events")] == [None] * 4


def test_drift_of_odometry_is_what_was_put_in_and_slam_removes_it(report):
    drift = report["drift"]
    assert drift["odometry"]["rpe_trans_m_per_m"] == pytest.approx(0.1, rel=0.05)
    for slam in ("slam", "slam_online"):
        assert drift[slam]["ate_rmse_m"] < 0.35 * drift["odometry"]["ate_rmse_m"]
        assert drift[slam]["rpe_trans_m_per_m"] < 0.35 * drift["odometry"]["rpe_trans_m_per_m"]


def test_features_are_summed_up(report):
    features = report["features"]
    assert features["kind"] == "orb"
    assert features["per_frame"] >= features["with_depth"] > 20
    assert features["inliers"] > 10
    assert 1 <= features["keyframes"] <= COUNT


def test_trajectories_have_every_frame_with_the_images_own_stamp(result):
    expected = [s.stamp_ns for s in wall_shots(COUNT)]
    assert [r.stamp_ns for r in result.records] == expected
    for poses in (result.odometry, result.slam, result.slam_online, result.truth):
        assert poses.stamps_ns.tolist() == expected
    assert len(result.thumbnails) == 6


@pytest.mark.parametrize("name", ["odometry", "slam", "slam_online"])
def test_trajectories_are_written_beside_the_report(folder, name):
    table = np.loadtxt(folder / f"{name}.tum")
    assert table.shape == (COUNT, 8)


# report.html -------------------------------------------------------------------------------------


class Links(HTMLParser):
    """Collects whatever a browser would fetch, and the tags that fetch or run something."""

    fetching = ("src", "href", "xlink:href", "srcset", "data", "action", "poster", "background")

    def __init__(self):
        super().__init__()
        self.targets, self.tags = [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.targets += [value for name, value in attrs if name in self.fetching]


def test_the_page_is_one_file_that_fetches_nothing(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    links = Links()
    links.feed(page)
    assert links.targets
    assert all(target.startswith(("#", "data:image/")) for target in links.targets)
    assert not links.tags & {"script", "link", "iframe", "object", "embed"}
    assert "@import" not in page
    assert "url(http" not in page


def test_the_page_shows_the_figures_and_says_what_they_rest_on(folder, report):
    page = (folder / "report.html").read_text(encoding="utf-8")
    for drift in report["drift"].values():
        assert number(drift["ate_rmse_m"]) in page
    assert "never trained" in page
    assert page.count("<svg") == 4
    assert page.count("data:image/jpeg") == 6


def test_names_in_the_page_are_text_whatever_they_look_like(synthetic_bag, replayed, tmp_path):
    bag = synthetic_bag(count=4).rename(tmp_path / "<b>&")
    write_report(replayed(bag), tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<title>&lt;b&gt;&amp; · pervformer replay</title>" in page


def test_what_was_written_before_stays_where_writing_fails(result, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("the disk is full")

    write_report(result, tmp_path)
    write_table("slam", [], tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(Path, "replace", fail)
    for again in (
        lambda: write_report(result, tmp_path),
        lambda: write_tum(tmp_path / "slam.tum", result.truth),
        lambda: write_table("speed", [], tmp_path),
    ):
        with pytest.raises(OSError, match="the disk is full"):
            again()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


# Bags that lack something ------------------------------------------------------------------------


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("lacking", ["depth", "odometry", "truth"])
def test_a_bag_that_lacks_something_is_reported_with_what_it_has(
    synthetic_bag, replayed, tmp_path, lacking
):
    result = replayed(synthetic_bag(**{lacking: None}, count=12))
    report = write_report(result, tmp_path)
    drift = report["drift"]
    assert report["frames"] == 12
    missing = {"depth": {"depth_missing"}, "odometry": {"odometry_gap"}, "truth": set()}
    assert set(report["faults"]) == missing[lacking]
    assert (drift["odometry"]["ate_rmse_m"] is None) == (lacking in ("odometry", "truth"))
    assert (drift["slam"]["ate_rmse_m"] is None) == (lacking == "truth")
    assert (report["features"]["with_depth"] == 0) == (lacking == "depth")


def test_truth_at_stamps_of_its_own_is_paired(synthetic_bag, replayed):
    def shift(recorded):
        for topic, _, message in recorded:
            if topic == TRUTH:
                message.header.stamp.nanosec += 3_000_000
        return recorded

    result = replayed(synthetic_bag(change=shift, count=12))
    assert result.report()["drift"]["odometry"]["ate_rmse_m"] is not None


def test_a_bag_without_a_usable_image_is_refused_with_the_reason(synthetic_bag, replayed):
    def spoil(recorded):
        for topic, _, message in recorded:
            if topic == INFO:
                message.k = np.zeros(9)
        return recorded

    with pytest.raises(BagError, match=r"no usable image.*no_camera_info.*is it published"):
        replayed(synthetic_bag(change=spoil, count=3))


def test_faults_are_reported_with_their_words(synthetic_bag, replayed):
    def spoil(recorded):
        for topic, stamp, message in recorded:
            if topic == DEPTH and stamp > START_NS:
                message.encoding = "rgb8"
        return recorded

    faults = replayed(synthetic_bag(change=spoil, count=4)).report()["faults"]
    assert faults.keys() == {"wrong_encoding"}
    assert faults["wrong_encoding"].startswith("3: depth encoding is 'rgb8'")


@pytest.mark.parametrize("realtime", [False, True])
def test_a_bag_that_breaks_off_is_reported_up_to_there(
    synthetic_bag, replayed, tmp_path, instant, realtime
):
    bag = synthetic_bag(count=24)
    file = bag / f"{bag.name}.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])
    report = write_report(replayed(bag, realtime), tmp_path)
    assert 5 < report["frames"] < 24
    assert "breaks off here" in report["truncated"]
    assert report["drift"]["odometry"]["ate_rmse_m"] is not None
    assert "breaks off here" in (tmp_path / "report.html").read_text(encoding="utf-8")


# Time --------------------------------------------------------------------------------------------


def twice(recorded):
    """Everything once more, as when a simulation starts anew while it is recorded."""
    return recorded + [(topic, stamp + 10**9, message) for topic, stamp, message in recorded]


def test_in_real_time_frames_are_handed_over_at_the_recorded_pace(replayed, synthetic_bag, instant):
    result = replayed(synthetic_bag(count=12), realtime=True)
    assert len(result.records) == 12
    assert result.dropped == 0
    assert sum(instant.slept) == pytest.approx(11 / 15, abs=1e-3)


def test_in_real_time_the_pace_starts_anew_where_time_goes_back(replayed, synthetic_bag, instant):
    result = replayed(synthetic_bag(change=twice, count=12), realtime=True)
    assert len(result.records) == 24
    assert sum(instant.slept) == pytest.approx(2 * 11 / 15, abs=1e-3)


def test_the_clock_stands_still_while_what_came_out_is_judged(instant):
    pace = Pace()
    pace.begin(0)
    with pace.stopped():
        instant.now += 3.0
    pace.wait_for(10**9)
    assert instant.slept == [pytest.approx(1.0)]
    pace.wait_for(10**9)
    assert len(instant.slept) == 1


def test_time_that_goes_back_starts_the_trajectories_anew(replayed, synthetic_bag, tmp_path):
    result = replayed(synthetic_bag(change=twice, count=12))
    report = write_report(result, tmp_path)
    assert report["frames"] == 24
    assert report["faults"].keys() == {"time_jump_back"}
    expected = [s.stamp_ns for s in wall_shots(12)]
    assert result.odometry.stamps_ns.tolist() == expected
    assert result.slam.stamps_ns.tolist() == expected


def test_a_failure_of_the_work_in_real_time_ends_the_replay(
    replayed, wall_bag, instant, monkeypatch
):
    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("pervformer_ros.pipeline.Pipeline.step", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        replayed(wall_bag, realtime=True)
