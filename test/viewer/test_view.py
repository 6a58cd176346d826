# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`pervformer view`: what it writes is read back as rerun's own tools do."""

import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_scene import AT_ORIGIN, looking_at, sighting
from typer.testing import CliRunner

from pervformer_ros.cli import app
from pervformer_ros.memory import Corridor, MemoryConfig, WorkingMemory
from pervformer_ros.pipeline import Pipeline, PipelineConfig, PipelineOutput
from pervformer_ros.sim import simulate

rr = pytest.importorskip("rerun")
from rerun.chunk import RrdReader  # noqa: E402

from pervformer_ros.viewer.scene import CAMERA, Scene, paint  # noqa: E402

FRAMES = 8
PER_FRAME = ("image", "depth", "static_mask", "masks", "objects", "probes", "attention")


class Recording:
    """The rows of a file, by entity: a dictionary of columns each, with stamps where it has any."""

    def __init__(self, path: Path):
        self.rows: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for chunk in RrdReader(path).stream():
            table = chunk.to_record_batch()
            if "stamp" in table.schema.names:  # Python's own times know no nanoseconds
                column = table.schema.get_field_index("stamp")
                exact = table.column(column).cast("int64")
                table = table.set_column(column, "stamp", exact)
            for row in table.to_pylist():
                self.rows[chunk.entity_path.strip("/")].append(row)

    def stamps(self, entity: str) -> list[int]:
        """Return the stamps of an entity in nanoseconds."""
        found = (row.get("stamp") for row in self.rows[entity])
        return sorted({stamp for stamp in found if stamp is not None})

    def values(self, entity: str, component: str) -> list[Any]:
        """Return what is written of a component, in order of time, empty ones too."""
        rows = [row for row in self.rows[entity] if row.get(component) is not None]
        return [row[component] for row in sorted(rows, key=lambda row: row["frame"])]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    bag = tmp_path_factory.mktemp("simulated") / "bag"
    simulate("busy_aisle", 11, bag, FRAMES / 15)
    return bag


def view(bag, *options):
    untrained = ["--model", "tiny", "--checkpoint", "untrained"]
    return CliRunner().invoke(app, ["view", str(bag), *untrained, *options])


def test_a_bag_s_images_paths_and_corridors_are_in_the_file_at_their_stamps(simulated, tmp_path):
    file = tmp_path / "folder" / "busy.rrd"
    result = view(simulated, "--save", str(file))
    assert result.exit_code == 0, result.output
    assert f"recording: {file}" in result.output
    assert "never trained" in result.output

    written = Recording(file)
    stamps = written.stamps(f"{CAMERA}/image")
    assert len(stamps) == FRAMES
    assert np.diff(stamps).min() == pytest.approx(1e9 / 15, abs=1), "stamps are exact"
    for entity in (*(f"{CAMERA}/{part}" for part in PER_FRAME), "probes/presence", CAMERA):
        assert written.stamps(entity) == stamps, entity
    assert written.stamps("map/odom") == stamps, "where SLAM puts odom"
    for path in ("slam", "odometry", "slam_final"):
        (last,) = written.values(f"map/path/{path}", "LineStrips3D:strips")[-1]
        assert len(last) == FRAMES, path
    (corridors,) = (row["LineStrips3D:labels"] for row in written.rows["map/corridors"])
    assert "aisle_a" in corridors
    assert not written.rows["events"], "weights that were never trained tell nothing"


@pytest.fixture(scope="module")
def output() -> PipelineOutput:
    """Return what an untrained line gives for an image: a frame to hang other things on."""
    pipeline = Pipeline(PipelineConfig(checkpoint="untrained", model="tiny"))
    return pipeline.step(looking_at(0.0, 5.0))


def test_objects_events_and_masks_are_written_as_the_memory_has_them(output, tmp_path):
    file = tmp_path / "memory.rrd"
    stream = rr.RecordingStream("test")
    stream.save(file)
    scene = Scene(stream, [Corridor("aisle", np.array([[0.0, 0.0], [4.0, 0.0]]))])
    memory, told = WorkingMemory(MemoryConfig()), []
    # A box stands before the robot, then the robot sees a wall behind its place.
    for i in range(16):
        there = i < 5
        frame = looking_at(1.0 + i / 15, 2.0 if there else 6.0)
        seen = [sighting((2.0, 0.0, 1.0), heading=0.3)] if there else []
        now = memory.update(frame, AT_ORIGIN, seen)
        told += now.events
        scene.hear(
            frame,
            replace(output, stamp_ns=frame.stamp_ns, objects=now.objects, events=now.events),
        )
    stream.flush()
    stream.disconnect()

    written = Recording(file)
    labels = written.values("map/odom/objects", "Boxes3D:labels")
    known = [label for labels_ in labels for label in labels_]
    assert known[0] == "box 1 visible"
    assert "box 1 remembered" in known
    assert known[-1] == "box 1 gone"
    assert not labels[-1], "what is gone is listed once"
    centres = written.values("map/odom/objects", "Boxes3D:centers")
    np.testing.assert_allclose(centres[3], [[2.0, 0.0, 1.0]], atol=0.05)
    (drawn,) = {tuple(box) for boxes in written.values(f"{CAMERA}/objects", "Boxes2D:half_sizes")
                for box in boxes}  # fmt: skip
    assert drawn == (10, 10)
    lines = written.values("events", "TextLog:text")
    assert [event.type.name for event in told] == ["APPEARED", "REMOVED"]
    assert [line[0].split(" (")[0] for line in lines] == [
        "APPEARED box 1 to",
        "REMOVED box 1 from",
    ]
    assert written.stamps("events") == [event.stamp_ns for event in told]


def test_a_mask_is_painted_with_the_id_of_the_object_that_has_its_box(output):
    memory = WorkingMemory(MemoryConfig())
    for i in range(4):
        seen = [sighting((2.0, 0.0, 1.0)), sighting((2.0, 1.0, 1.0))]
        now = memory.update(looking_at(i / 15, 2.0), AT_ORIGIN, seen)
    right, left = sorted(now.objects, key=lambda thing: thing.position[1])
    corners = np.array([[*o.box[:2], *(o.box[:2] + o.box[2:])] for o in (left, right)], np.float32)
    masks = np.zeros((2, 120, 160), bool)
    masks[0, :10], masks[1, -10:] = True, True
    detections = replace(output.percept.detections, box=corners, mask=masks)
    painted = paint(detections, now.objects, (120, 160))
    assert set(painted[:10].ravel()) == {left.id}
    assert set(painted[-10:].ravel()) == {right.id}
    assert not painted[10:-10].any()


def test_without_a_screen_one_is_told_to_write_a_file(simulated, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    result = view(simulated)
    assert result.exit_code == 1
    assert "give --save FILE.rrd" in result.stderr
    missing = view(simulated / "nowhere")
    assert missing.exit_code == 1
    assert "does not exist" in missing.stderr, "that comes first"


def test_a_name_with_dots_is_no_offence_to_rerun(simulated, tmp_path, capfd):
    odd = shutil.copytree(simulated, tmp_path / "a.bag")
    file = tmp_path / "odd.rrd"
    result = view(odd, "--save", str(file))
    assert result.exit_code == 0, result.output
    assert "Application ID" not in capfd.readouterr().err
    assert b"a.bag" in file.read_bytes()


def test_without_rerun_one_is_told_what_to_install(simulated, monkeypatch):
    from pervformer_ros.viewer import screen

    monkeypatch.setattr(screen, "find_spec", lambda name: None)
    result = view(simulated)
    assert result.exit_code == 1
    assert "pip install -c constraints.txt rerun-sdk" in result.stderr


def test_a_file_that_is_there_stays_until_there_is_a_new_one(tmp_path):
    file = tmp_path / "good.rrd"
    file.write_bytes(b"good")
    result = view(tmp_path / "nowhere", "--save", str(file))
    assert result.exit_code == 1
    assert "does not exist" in result.stderr
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"good"]


def test_a_folder_is_no_file_to_write(simulated, tmp_path):
    result = view(simulated, "--save", str(tmp_path))
    assert result.exit_code == 1
    assert f"error: {tmp_path} is a folder: give --save FILE.rrd" in result.stderr


def test_a_file_that_cannot_be_written_is_named(simulated, tmp_path):
    (tmp_path / "file").write_text("no folder")
    result = view(simulated, "--save", str(tmp_path / "file" / "out.rrd"))
    assert result.exit_code == 1
    assert "error: " in result.stderr
