# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The speed table: how it is measured, not how fast anything is."""

import importlib
import json

import pytest
import torch
from typer.testing import CliRunner

from pervformer_ros.cli import app
from pervformer_ros.evaluation import speed
from pervformer_ros.evaluation.stopwatch import matrix_rate, milliseconds, peak_bytes
from pervformer_ros.model import create_config, create_model, state_bytes

MEGABYTE = 1_000_000


@pytest.fixture
def library():
    return pytest.importorskip("transformers")


# The stopwatch -----------------------------------------------------------------------------------


def test_the_peak_is_what_is_held_at_once():
    def one_after_the_other():
        for _ in range(5):
            torch.zeros(MEGABYTE, dtype=torch.uint8)

    def all_at_once():
        return [torch.zeros(MEGABYTE, dtype=torch.uint8) for _ in range(5)]

    assert peak_bytes(one_after_the_other) == pytest.approx(MEGABYTE, rel=0.01)
    assert peak_bytes(all_at_once) == pytest.approx(5 * MEGABYTE, rel=0.01)
    assert peak_bytes(lambda: None) == 0


def test_what_was_there_before_does_not_count():
    before = [torch.zeros(3 * MEGABYTE, dtype=torch.uint8)]

    def replace():
        before[0] = torch.zeros(MEGABYTE, dtype=torch.uint8)

    assert peak_bytes(replace) == pytest.approx(MEGABYTE, rel=0.01)


def test_every_call_is_timed():
    calls = []
    assert len(milliseconds(lambda: calls.append(1), 7)) == len(calls) == 7
    assert matrix_rate() > 0


# Who is compared ---------------------------------------------------------------------------------


@torch.inference_mode()
def test_a_fused_timesformer_computes_what_the_library_s_does(library):
    config = create_config("tiny")
    video = torch.rand(1, 4, 3, *config.image_size)
    model = speed.timesformer(config, 4)
    expected = model(video).last_hidden_state
    assert expected.shape == (1, 1 + 4 * config.patches, config.width)
    fused = speed.fuse_attention(model)(video).last_hidden_state
    assert abs(fused - expected).max() <= 1e-5


@torch.inference_mode()
def test_videomae_has_a_token_for_every_patch_of_every_frame(library):
    config = create_config("tiny")
    model = speed.videomae(config, 4)
    assert model.config._attn_implementation == "sdpa"
    tokens = model(torch.rand(1, 4, 3, *config.image_size)).last_hidden_state
    assert tokens.shape == (1, 4 * config.patches, config.width)


def test_a_missing_library_says_how_to_get_it(monkeypatch, tmp_path):
    find = importlib.import_module

    def without(name, *more):
        if name == "transformers":
            raise ImportError(name)
        return find(name, *more)

    monkeypatch.setattr(importlib, "import_module", without)
    result = CliRunner().invoke(app, ["evaluate", "speed", "--quick", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "pip install -c constraints.txt transformers" in result.stderr


@pytest.mark.parametrize("windows", ["8,0", "a", "8,"])
def test_a_window_has_a_frame(tmp_path, windows):
    arguments = ["evaluate", "speed", "--windows", windows, "--out", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert f"--windows are '{windows}': give numbers of frames from 1 on" in result.stderr


# The table ---------------------------------------------------------------------------------------


def test_the_table_compares_all_with_pervformer(library, tmp_path):
    threads = torch.get_num_threads()
    try:
        result = CliRunner().invoke(app, ["evaluate", "speed", "--quick", "--out", str(tmp_path)])
    finally:
        torch.set_num_threads(threads)
    assert result.exit_code == 0
    table = json.loads((tmp_path / "table.json").read_text())
    assert (table["schema"], table["suite"]) == (1, "speed")
    rows = {(row["variant"], row["window_frames"]): row for row in table["rows"]}
    windowed = ("timesformer", "timesformer_fused", "videomae")
    assert set(rows) == {
        *((name, None) for name in ("pervformer", "pervformer_trunk", "pervformer_perceive")),
        *((name, frames) for name in windowed for frames in (2, 4)),
    }
    ours = rows["pervformer", None]
    assert ours["times_cost"] == ours["times_memory"] == 1.0
    model = create_model("tiny")
    assert ours["activation_mb"] * MEGABYTE > 2 * state_bytes(model.init_state())
    for row in rows.values():
        assert row["ms_per_frame"] > 0
        assert row["frames_per_s"] == pytest.approx(1e3 / row["ms_per_frame"], rel=0.01)
        assert row["matrix_gflop_per_s"] > 0
        memory = row["activation_mb"] / ours["activation_mb"]
        assert row["times_memory"] == pytest.approx(memory, rel=0.01)
    for name in windowed:
        assert rows[name, 4]["activation_mb"] > rows[name, 2]["activation_mb"]
        assert rows[name, 4]["tokens"] == 4 * model.config.patches
