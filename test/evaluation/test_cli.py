# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import json
import shutil

import pytest
from synthetic import T_BASE_CAMERA
from typer.testing import CliRunner

from pervformer_ros.cli import app
from pervformer_ros.geometry import quaternion


def replay(bag, out, *options):
    untrained = ["--model", "tiny", "--checkpoint", "untrained"]
    return CliRunner().invoke(app, ["replay", str(bag), "--out", str(out), *untrained, *options])


def failure(*arguments) -> str:
    """Return the one line in which a replay fails."""
    result = replay(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert result.output == result.stderr
    assert "Traceback" not in result.output
    (line,) = result.output.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture(scope="module")
def bag(synthetic_bag):
    return synthetic_bag(count=12)


def test_replay_writes_the_report_and_prints_its_table(bag, tmp_path):
    out = tmp_path / ("a-long-name" * 9)
    result = replay(bag, out)
    assert result.exit_code == 0
    report = json.loads((out / "report.json").read_text())
    assert report["frames"] == 12
    assert f"{report['drift']['odometry']['ate_rmse_m']:.3f}" in result.output
    assert "the model was never trained" in result.output
    assert f"report: {out / 'report.html'}" in result.output.splitlines()


def test_the_kind_of_features_can_be_chosen(bag, tmp_path):
    assert replay(bag, tmp_path, "--features", "pervformer").exit_code == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["features"]["kind"] == "pervformer"


def test_extrinsics_can_be_given(synthetic_bag, tmp_path):
    bare = synthetic_bag(tf_static=False, count=4)
    text = " ".join(map(str, (*T_BASE_CAMERA[:3, 3], *quaternion(T_BASE_CAMERA))))
    assert replay(bare, tmp_path, "--extrinsics", text).exit_code == 0
    assert "camera_extrinsics (--extrinsics)" in failure(bare, tmp_path)
    assert "has 2 numbers: give x y z qx qy qz qw" in failure(bare, tmp_path, "--extrinsics", "1,2")
    for wrong in ("a 0 0 0 0 0 1", "0 0 0 0 0 0 0"):
        words = f"--extrinsics is '{wrong}': "
        assert words in failure(bare, tmp_path, "--extrinsics", wrong)


def test_a_bag_without_depth_is_reported_with_a_word_about_it(synthetic_bag, tmp_path):
    result = replay(synthetic_bag(depth=None, count=4), tmp_path)
    assert result.exit_code == 0
    (line,) = (line for line in result.output.splitlines() if "depth_missing" in line)
    assert "no topic /camera/depth/image_raw (depth); it has none of its type" in line
    assert set(json.loads((tmp_path / "report.json").read_text())["faults"]) == {"depth_missing"}


def test_a_bag_that_breaks_off_is_reported_with_a_word_about_it(synthetic_bag, tmp_path):
    bag = synthetic_bag(count=24)
    file = bag / f"{bag.name}.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])
    result = replay(bag, tmp_path / "out")
    assert result.exit_code == 0
    assert "breaks off here" in result.output
    assert (tmp_path / "out" / "report.html").exists()


def test_every_failure_is_one_line(bag, tmp_path):
    (tmp_path / "notes.txt").write_text("no bag")
    (tmp_path / "empty").mkdir()
    (tmp_path / "weights.safetensors").write_bytes(b"none")
    out = tmp_path / "out"
    assert "does not exist" in failure(tmp_path / "nowhere", out)
    assert "is no bag: give the folder" in failure(tmp_path / "notes.txt", out)
    assert "is no bag: give the folder" in failure(tmp_path / "empty", out)
    assert "has no topic /rgb (colour); it has" in failure(bag, out, "--colour-topic", "/rgb")
    assert "has no topic /rgb (colour)" in failure(bag, out, "--color-topic", "/rgb")
    assert "is of type" in failure(bag, out, "--odom-topic", "/camera/color/image_raw")
    assert "no topic /wheels (odometry); it has" in failure(bag, out, "--odom-topic", "/wheels")
    assert "no checkpoint" in failure(bag, out, "--checkpoint", str(tmp_path / "no.safetensors"))
    broken = failure(bag, out, "--checkpoint", str(tmp_path / "weights.safetensors"))
    assert "broken or not a safetensors file" in broken
    assert "notes.txt" in failure(bag, tmp_path / "notes.txt" / "out")
    assert not out.exists()


def test_where_nothing_can_be_written_is_known_before_the_work(bag, tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("no folder")

    def work(*_, **__):
        raise AssertionError("this was for nothing")

    monkeypatch.setattr("pervformer_ros.evaluation.replay.replay", work)
    assert "notes.txt is no folder" in failure(bag, tmp_path / "notes.txt" / "out")


@pytest.mark.parametrize("command", ["live", "demo"])
def test_what_runs_nodes_looks_first_whether_results_can_be_written(bag, tmp_path, command):
    (tmp_path / "notes.txt").write_text("no folder")
    arguments = [command, *([str(bag)] if command == "live" else [])]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "notes.txt")])
    assert result.exit_code == 1
    assert "notes.txt is no folder" in result.stderr


def test_live_makes_no_folder_for_a_bag_that_is_not_there(tmp_path):
    pytest.importorskip("rclpy")
    result = CliRunner().invoke(app, ["live", str(tmp_path / "no"), "--out", str(tmp_path / "l")])
    assert result.exit_code == 1
    assert "does not exist" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_seed_is_not_negative(tmp_path):
    arguments = ["simulate", "shift", "--seed", "-1", "--out", str(tmp_path / "bag")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "--seed" in result.stderr


def test_a_message_of_several_lines_is_one_line_too(bag, tmp_path):
    copy = shutil.copytree(bag, tmp_path / "bag")
    (copy / f"{bag.name}.mcap").unlink()
    (copy / "metadata.yaml").write_text("rosbag2_bagfile_information: [\n  }\n")
    assert "cannot be opened as a bag" in failure(copy, tmp_path / "out")


def test_a_name_that_looks_like_markup_is_printed_as_it_is(bag, tmp_path):
    odd = shutil.copytree(bag, tmp_path / "[bold]run[" / "shift[1]")
    for file in odd.iterdir():
        assert file.exists()
    result = replay(odd, tmp_path / "[red]out")
    assert result.exit_code == 0
    assert "shift[1]: 12 frames" in result.output
    assert f"report: {tmp_path}/[red]out/report.html" in result.output
    missing = tmp_path / "[" / "x]"
    assert f"{missing} does not exist" in failure(missing, tmp_path)


def test_a_method_that_is_named_twice_is_compared_once(bag, tmp_path):
    arguments = ["evaluate", "slam", "--out", str(tmp_path), "--scenarios", "none"]
    arguments += ["--recording", str(bag), "--methods", "odometry,odometry", "--masks", "truth"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert [row.get("runs") for row in rows] == [None, 1, 1]


def test_trecvit_is_imported_with_a_word_about_what_it_cannot_do(trecvit_fixture, tmp_path):
    def run(size):
        arguments = [str(trecvit_fixture / "weights.npz"), "--out", str(out), "--image-size", size]
        return CliRunner().invoke(app, ["import-trecvit", *arguments])

    out = tmp_path / "official.safetensors"
    for size, complaint in (("", "are not its 6 patches"), ("32", "give HEIGHTxWIDTH")):
        refused = run(size)
        assert refused.exit_code == 1
        assert complaint in refused.stderr
        assert not out.exists()
    result = run("48x32")
    assert result.exit_code == 0
    assert "width 48, depth 2, 4 heads, recurrence 96" in result.output
    assert "heads are untrained" in result.output
    assert out.exists()
    assert json.loads(out.with_suffix(".json").read_text())["heads"] == "untrained"


def test_unknown_options_are_explained():
    result = CliRunner().invoke(app, ["replay", "bag", "--out", "x", "--features", "sift"])
    assert result.exit_code == 2
    assert "orb" in result.output
