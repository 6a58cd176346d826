# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import CAMERA, wall_frames

from pervformer_ros import pipeline
from pervformer_ros.features import FeatureSet, feather, static_mask, widen
from pervformer_ros.frame import NANOSECONDS
from pervformer_ros.memory import SnapshotError, objects
from pervformer_ros.model import create_model, forget_patches, save_model
from pervformer_ros.pipeline import FEATURES, Pipeline, PipelineConfig
from pervformer_ros.slam import SlamBackend

FRAMES = wall_frames(8)


@pytest.fixture(autouse=True)
def _one_thread():
    """Small tensors gain nothing from threads, and lose much to a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _low_scores_are_believed(monkeypatch):
    """Random weights never score high."""
    monkeypatch.setattr(objects, "EVEN_SCORE", -1.0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    """Random weights that say of themselves that they were trained."""
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        save_model(path, create_model("tiny"), trained=True)
    return str(path)


def tiny(features="orb", slam=None) -> Pipeline:
    return Pipeline(PipelineConfig("untrained", "tiny", features), slam)


def trained(checkpoint) -> Pipeline:
    """A line that believes everything it sees."""
    line = Pipeline(PipelineConfig(checkpoint=checkpoint, features="pervformer"))
    line.perceiver.score_threshold = line.memory.map.sure_score = 0.0
    return line


def assert_same(one, other):
    """Check that two outputs tell the same of an image."""
    for name in ("uv", "points", "score", "static_probability", "descriptors", "place_descriptor"):
        np.testing.assert_array_equal(getattr(one.features, name), getattr(other.features, name))
    np.testing.assert_array_equal(one.static_mask, other.static_mask)
    assert [(o.id, o.label, o.score) for o in one.objects] == [
        (o.id, o.label, o.score) for o in other.objects
    ]


# Untrained weights mean nothing ------------------------------------------------------------------


@pytest.mark.parametrize("features", FEATURES)
def test_untrained_weights_claim_nothing_and_hide_nothing(features):
    line = tiny(features)
    assert not line.trained
    for frame in FRAMES:
        output = line.step(frame)
        assert output.stamp_ns == frame.stamp_ns
        assert output.objects == output.events == []
        assert (output.static_mask == 255).all()
        assert output.static_mask.dtype == np.uint8
        np.testing.assert_array_equal(output.static_depth, frame.depth)
        assert isinstance(output.features, FeatureSet)
        assert len(output.features) > 0
        assert output.features.stamp_ns == frame.stamp_ns
        assert (output.features.static_probability == 1).all()
        assert output.slam is None
    assert line.frames == len(FRAMES)


@pytest.mark.parametrize("features", FEATURES)
def test_features_lie_in_the_image_and_on_the_wall(features):
    found = tiny(features).step(FRAMES[0]).features
    assert (found.width, found.height) == (160, 120)
    assert ((found.uv >= -0.5) & (found.uv <= (159.5, 119.5))).all()
    np.testing.assert_allclose(found.points[:, 2], 2.0)
    np.testing.assert_allclose(CAMERA.project(found.points), found.uv, atol=1e-3)
    lengths = np.linalg.norm(found.descriptors.astype(np.float32), axis=1)
    np.testing.assert_allclose(lengths, 1.0, atol=2e-3)


@pytest.mark.parametrize("features", FEATURES)
def test_there_are_no_more_features_than_asked_for(features):
    line = Pipeline(PipelineConfig("untrained", "tiny", features, max_features=7))
    assert 0 < len(line.step(FRAMES[0]).features) <= 7


def test_another_kind_of_features_is_refused():
    with pytest.raises(ValueError, match="features is 'sift': use one of auto, orb, pervformer"):
        PipelineConfig(features="sift")


def test_features_are_the_models_own_only_if_it_was_trained(checkpoint):
    assert tiny("auto").feature_kind == "orb"
    trained_line = Pipeline(PipelineConfig(checkpoint))
    assert trained_line.feature_kind == "pervformer"
    assert Pipeline(PipelineConfig(checkpoint, features="orb")).feature_kind == "orb"
    learned, orb = trained_line.step(FRAMES[0]).features, tiny("auto").step(FRAMES[0]).features
    assert learned.descriptors.shape[1] != orb.descriptors.shape[1]


# What comes in -----------------------------------------------------------------------------------


def test_colour_alone_is_enough():
    line = tiny(slam=SlamBackend())
    for frame in FRAMES:
        output = line.step(replace(frame, depth=None, T_odom_base=None))
        assert output.static_depth is None
        assert len(output.features) > 0
        assert np.isnan(output.features.points).all()
        assert output.slam is not None


@pytest.mark.parametrize("features", FEATURES)
def test_images_may_change_their_size_on_the_way(features):
    other = CAMERA.scaled(208, 156)
    line = tiny(features, SlamBackend())
    frames = FRAMES[:3] + wall_frames(6, other)[3:]
    sizes = []
    for frame in frames:
        output = line.step(frame)
        sizes.append(output.static_mask.shape)
        assert (output.features.height, output.features.width) == output.static_mask.shape
    assert sizes == [(120, 160)] * 3 + [(156, 208)] * 3


def test_a_back_end_gets_every_frame_and_follows_the_robot():
    line = tiny(slam=SlamBackend())
    outputs = [line.step(frame) for frame in FRAMES]
    assert [o.slam.stamp_ns for o in outputs] == [f.stamp_ns for f in FRAMES]
    assert outputs[0].slam.is_keyframe
    assert outputs[-1].slam.T_map_base[1, 3] == pytest.approx(7 / 30, abs=0.03)


# Memory ------------------------------------------------------------------------------------------


def test_without_odometry_the_memory_is_where_slam_says(monkeypatch):
    line, places = tiny(slam=SlamBackend()), []
    update = line.memory.update

    def note(frame, T_odom_base, sightings, T_map_odom):
        places.append(T_odom_base)
        return update(frame, T_odom_base, sightings, T_map_odom)

    monkeypatch.setattr(line.memory, "update", note)
    outputs = [line.step(replace(frame, T_odom_base=None)) for frame in FRAMES]
    np.testing.assert_allclose(places, [o.slam.T_map_base for o in outputs])
    assert np.linalg.norm(places[-1][:3, 3]) > 0.1


def told(line: Pipeline, monkeypatch) -> list[tuple]:
    """Collect what a line tells its memory: whether depth was shown, and where the robot is."""
    heard, update = [], line.memory.update

    def note(frame, T_odom_base, sightings, T_map_odom):
        heard.append((frame.depth is not None, T_odom_base))
        return update(frame, T_odom_base, sightings, T_map_odom)

    monkeypatch.setattr(line.memory, "update", note)
    return heard


def test_where_odometry_pauses_what_is_seen_tells_how_the_robot_goes_on(monkeypatch):
    line = tiny()
    heard = told(line, monkeypatch)
    for i, frame in enumerate(FRAMES):
        line.step(frame if i < 3 or i > 6 else replace(frame, T_odom_base=None))
    assert all(shown for shown, _ in heard)
    assert np.linalg.norm((FRAMES[6].T_odom_base - FRAMES[2].T_odom_base)[:3, 3]) > 0.05
    for frame, (_, T_odom_base) in zip(FRAMES, heard, strict=True):
        np.testing.assert_allclose(T_odom_base[:3, 3], frame.T_odom_base[:3, 3], atol=0.02)


def test_who_does_not_know_where_he_is_places_and_misses_nothing(monkeypatch):
    """Odometry pauses, and the images show nothing that could stand for it."""
    line = tiny()
    heard = told(line, monkeypatch)
    for i, frame in enumerate(FRAMES):
        dark = replace(frame, rgb=np.zeros_like(frame.rgb), T_odom_base=None)
        line.step(dark if 2 < i < 5 else replace(frame, T_odom_base=None) if i == 5 else frame)
    assert [shown for shown, _ in heard] == [True] * 3 + [False] * 3 + [True] * 2


def test_while_slam_alone_tells_the_way_and_is_lost_nothing_is_placed(monkeypatch):
    line = tiny(slam=SlamBackend())
    heard = told(line, monkeypatch)
    for i, frame in enumerate(FRAMES):
        frame = replace(frame, T_odom_base=None)
        line.step(replace(frame, rgb=np.zeros_like(frame.rgb)) if i in (3, 4) else frame)
    assert [shown for shown, _ in heard] == [True] * 3 + [False] * 2 + [True] * 3


def test_a_pause_of_odometry_is_bridged_for_a_while_and_no_longer(monkeypatch):
    line = tiny()
    heard = told(line, monkeypatch)
    line.step(FRAMES[0])
    for i in range(1, 7):
        stamp_ns = FRAMES[0].stamp_ns + i * NANOSECONDS
        line.step(replace(FRAMES[0], stamp_ns=stamp_ns, T_odom_base=None))
    assert [shown for shown, _ in heard] == [True] * 4 + [False] * 3


def test_the_camera_is_not_believed_to_have_moved_when_it_is_another_one(monkeypatch):
    line, motions = tiny(), []
    perceive = line.perceiver.perceive

    def note(*arguments, T_now_before, **rest):
        motions.append(T_now_before)
        return perceive(*arguments, T_now_before=T_now_before, **rest)

    monkeypatch.setattr(line.perceiver, "perceive", note)
    for i, frame in enumerate(FRAMES[:4]):
        focal = CAMERA.fx * (1.0 if i < 2 else 1.2)
        line.step(replace(frame, camera=replace(CAMERA, fx=focal, fy=focal)))
    assert [motion is None for motion in motions] == [True, False, True, False]


def test_the_state_never_grows():
    line = tiny()
    before = line.state_bytes
    for frame in FRAMES:
        line.step(frame)
    assert line.state_bytes == before > 0


@pytest.mark.parametrize("how", ["reset()", "stamps went back"])
def test_a_reset_forgets_everything(how):
    fresh = tiny("pervformer", SlamBackend()).step(FRAMES[0])
    line = tiny("pervformer", SlamBackend())
    for frame in FRAMES[2:]:
        remembering = line.step(frame)
    if how == "reset()":
        line.reset()
    again = line.step(FRAMES[0])
    assert_same(again, fresh)
    np.testing.assert_array_equal(again.slam.T_map_base, fresh.slam.T_map_base)
    assert len(line.slam.trajectory()) == 1
    assert remembering.stamp_ns > again.stamp_ns


def test_what_was_seen_before_makes_a_difference():
    """Otherwise the tests of reset and snapshot would prove nothing."""
    line = tiny("pervformer")
    for frame in FRAMES[:-1]:
        line.step(frame)
    place = line.step(FRAMES[-1]).features.place_descriptor
    fresh = tiny("pervformer").step(FRAMES[-1]).features.place_descriptor
    assert np.abs(place - fresh).max() > 1e-4


def test_patches_begin_anew_every_minute_and_probes_do_not(checkpoint, monkeypatch):
    line, states = trained(checkpoint), []

    def watched(state):
        states.append((state, forget_patches(state)))
        return states[-1][1]

    monkeypatch.setattr(pipeline, "forget_patches", watched)
    for seconds in (0, 30, 59, 61, 100, 122):
        line.step(replace(FRAMES[0], stamp_ns=FRAMES[0].stamp_ns + seconds * NANOSECONDS))
    assert len(states) == 2
    for before, after in states:
        probes = before.alive.shape[1]
        for axis, name in ((2, "h"), (3, "conv")):
            old, new = (getattr(s, name).movedim(axis, 0) for s in (before, after))
            assert old[:-probes].abs().max() > 0
            assert new[:-probes].abs().max() == 0
            torch.testing.assert_close(new[-probes:], old[-probes:], rtol=0, atol=0)
        for name in ("fresh", "alive", "position", "seen"):
            assert getattr(after, name) is getattr(before, name)


def test_a_snapshot_goes_on_exactly_where_it_was_taken(tmp_path):
    line = tiny("pervformer")
    for frame in FRAMES[:5]:
        line.step(frame)
    line.snapshot().write(tmp_path / "memory.zip")
    expected = [line.step(frame) for frame in FRAMES[5:]]
    again = tiny("pervformer")
    again.restore(tmp_path / "memory.zip")
    for frame, output in zip(FRAMES[5:], expected, strict=True):
        assert_same(again.step(frame), output)
    line.restore(tmp_path / "memory.zip")
    assert_same(line.step(FRAMES[5]), expected[0])


def test_a_snapshot_is_kept_where_the_clock_is_another(tmp_path):
    """A simulation that is started again counts from zero."""
    line = tiny("pervformer")
    for frame in FRAMES[:5]:
        line.step(frame)
    line.snapshot().write(tmp_path / "memory.zip")
    again = tiny("pervformer")
    again.restore(tmp_path / "memory.zip")
    output = again.step(replace(FRAMES[5], stamp_ns=1_000_000))
    fresh = tiny("pervformer").step(replace(FRAMES[5], stamp_ns=1_000_000))
    assert output.stamp_ns == 1_000_000
    difference = output.features.place_descriptor - fresh.features.place_descriptor
    assert np.abs(difference).max() > 1e-4


def test_a_snapshot_goes_on_after_a_night_as_if_its_last_image_had_just_been_seen(tmp_path):
    line = tiny("pervformer")
    for frame in FRAMES[:5]:
        line.step(frame)
    line.snapshot().write(tmp_path / "memory.zip")
    night_ns = 8 * 3600 * 10**9
    places = []
    for later_ns in (-FRAMES[5].stamp_ns, night_ns):
        again = tiny("pervformer")
        again.restore(tmp_path / "memory.zip")
        output = again.step(replace(FRAMES[5], stamp_ns=FRAMES[5].stamp_ns + later_ns))
        places.append(output.features.place_descriptor)
    np.testing.assert_array_equal(*places)


def test_a_snapshot_of_another_model_is_refused_and_nothing_changes(tmp_path, checkpoint):
    other = trained(checkpoint)
    other.step(FRAMES[0])
    other.snapshot().write(tmp_path / "memory.zip")
    line, undisturbed = tiny("pervformer"), tiny("pervformer")
    for frame in FRAMES[:3]:
        line.step(frame)
        undisturbed.step(frame)
    with pytest.raises(
        SnapshotError, match=r"belongs to model 'random \(\w+\)', not to 'tiny, untrained"
    ):
        line.restore(tmp_path / "memory.zip")
    assert_same(line.step(FRAMES[3]), undisturbed.step(FRAMES[3]))


def test_a_snapshot_of_other_weights_of_the_same_name_is_refused(tmp_path):
    lines = []
    for seed in (1, 2):
        path = tmp_path / str(seed) / "best.safetensors"
        path.parent.mkdir()
        torch.manual_seed(seed)
        save_model(path, create_model("tiny"), trained=True)
        lines.append(Pipeline(PipelineConfig(checkpoint=str(path))))
    lines[0].snapshot().write(tmp_path / "memory.zip")
    lines[0].restore(tmp_path / "memory.zip")
    with pytest.raises(SnapshotError, match=r"belongs to model 'best \("):
        lines[1].restore(tmp_path / "memory.zip")


def test_a_state_that_does_not_fit_the_model_is_refused_and_nothing_changes(tmp_path):
    line, undisturbed = tiny("pervformer"), tiny("pervformer")
    for frame in FRAMES[:3]:
        line.step(frame)
        undisturbed.step(frame)
    snapshot = line.snapshot()
    name, array = next(iter(snapshot.state.items()))
    snapshot.state[name] = array[..., :-1].copy()
    snapshot.write(tmp_path / "memory.zip")
    with pytest.raises(SnapshotError, match=f"memory.zip: the saved memory's {name} is"):
        line.restore(tmp_path / "memory.zip")
    assert_same(line.step(FRAMES[3]), undisturbed.step(FRAMES[3]))


@pytest.mark.parametrize(("size", "name"), [("tiny", "random"), ("small", "small, untrained")])
def test_without_a_word_the_weights_that_ship_are_taken(checkpoint, monkeypatch, size, name):
    shipped = {"tiny": Path(checkpoint)}
    monkeypatch.setattr("pervformer_ros.model.shipped.shipped_weights", shipped.get)
    assert Pipeline(PipelineConfig(model=size)).model_name.startswith(name)
    assert Pipeline(PipelineConfig("untrained", "tiny")).model_name == "tiny, untrained (seed 0)"


# Trained weights ---------------------------------------------------------------------------------


def test_trained_weights_bring_objects_events_and_masks(checkpoint):
    """These are random: what they say means nothing, but all of it has to fit together."""
    line = trained(checkpoint)
    assert line.trained
    assert line.model_name == "random"
    outputs = [line.step(frame) for frame in FRAMES]
    assert any(o.objects for o in outputs)
    for output in outputs:
        known = {o.id for o in output.objects}
        assert {e.object_id for e in output.events} <= known
        assert set(np.unique(output.static_mask)) <= {0, 255}
        moving = output.static_mask == 0
        assert not output.static_depth[moving].any()
        assert (
            (output.features.static_probability >= 0) & (output.features.static_probability <= 1)
        ).all()
    told = [e.object_id for o in outputs for e in o.events]
    assert len(told) == len(set(told)) > 0
    assert line.probes_in_use <= line.probes


def test_moving_regions_are_masked_with_a_margin():
    motion = np.zeros((120, 160), np.float32)
    motion[50:60, 70:90] = 0.5
    mask = static_mask(widen(motion, margin_px=4), threshold=0.5)
    expected = np.full((120, 160), 255, np.uint8)
    expected[46:64, 66:94] = 0
    np.testing.assert_array_equal(mask, expected)


def test_a_feathered_mask_rises_from_what_moves_to_what_does_not():
    mask = np.full((60, 80), 255, np.uint8)
    mask[20:40, 30:50] = 0
    soft = feather(mask, 3)
    np.testing.assert_array_equal(soft == 0, mask == 0)
    np.testing.assert_array_equal(soft[30, 50:55], [63, 127, 191, 255, 255])
    np.testing.assert_array_equal(feather(mask, 0), mask)
    full = np.full_like(mask, 255)
    np.testing.assert_array_equal(feather(full, 3), full)


def test_trained_weights_work_without_depth_and_odometry(checkpoint):
    line = trained(checkpoint)
    for frame in FRAMES[:4]:
        output = line.step(replace(frame, depth=None, T_odom_base=None))
        assert output.objects == []  # nothing can be placed


def test_a_trained_memory_survives_its_snapshot(tmp_path, checkpoint):
    line = trained(checkpoint)
    told = []
    for frame in FRAMES[:7]:  # what is seen faintly takes so many to be certain
        output = line.step(frame)
        known = output.objects
        told += output.events
    line.snapshot().write(tmp_path / "memory.zip")
    again = trained(checkpoint)
    again.restore(tmp_path / "memory.zip")
    things, events = again.memory.query("", np.zeros(3), 0, 0)
    assert [o.id for o in things] == [o.id for o in known]
    assert [e.sequence for e in events] == [e.sequence for e in told]
    assert things
    assert events
    again.step(FRAMES[7])
