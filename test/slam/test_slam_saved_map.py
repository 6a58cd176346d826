# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A map that outlives the process: what is in the file, and a robot that wakes up in it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from slam_room import CAMERA, FRAME_NS, T_BASE_CAMERA, Run

from pervformer_ros.frame import Fault, InputError
from pervformer_ros.geometry import invert, make_transform
from pervformer_ros.slam import EdgeKind, MapError, SlamBackend, TrackingState
from pervformer_ros.slam.saved_map import FORMAT, SavedMap, _digest

DROVE, WOKE = 70, 20  # frames of the first day; the frame at which it wakes up on the second


@pytest.fixture(scope="module")
def room():
    return Run.record(90)


@pytest.fixture(scope="module")
def yesterday(room):
    return Run(room.truth[:DROVE], room.odometry[:DROVE], room.features[:DROVE]).play()


@pytest.fixture
def saved(yesterday, tmp_path):
    path = tmp_path / "map.safetensors"
    yesterday.backend.save_map(path)
    return path


def test_a_map_is_read_as_it_was_written(yesterday, saved):
    found, graph = SavedMap.read(saved), yesterday.backend.graph()
    np.testing.assert_array_equal(found.graph.poses, graph.poses)
    np.testing.assert_array_equal(found.graph.stamps_ns, graph.stamps_ns)
    assert len(found.graph.verticals) == len(graph.poses)
    for one, other in zip(found.graph.edges, graph.edges, strict=True):
        assert (one.first, one.second, one.kind) == (other.first, other.second, other.kind)
        np.testing.assert_array_equal(one.T_first_second, other.T_first_second)
        np.testing.assert_array_equal(one.covariance, other.covariance)
    assert found.is_level
    assert {k.camera for k in found.keyframes} == {CAMERA}
    assert all(len(k) > 50 and k.descriptors.dtype == np.float16 for k in found.keyframes)
    resumed = SlamBackend()
    resumed.resume_map(saved)
    np.testing.assert_allclose(resumed.graph().poses, graph.poses, atol=0.01)


def wake_up(backend, room, frames):
    """Drive on with odometry that starts anew and a clock that is set back; return the errors."""
    errors, states = [], []
    for i, frame in enumerate(frames):
        features = replace(room.features[frame], stamp_ns=(i + 1) * FRAME_NS)
        T_odom_base = invert(room.odometry[frames[0]]) @ room.odometry[frame]
        update = backend.update(features, CAMERA, T_BASE_CAMERA, T_odom_base)
        T_true = room.odometry[0] @ invert(room.truth[0]) @ room.truth[frame]
        errors.append(float(np.linalg.norm((invert(T_true) @ update.T_map_base)[:3, 3])))
        states.append(update.state)
    return errors, states


def test_a_robot_that_wakes_up_anywhere_finds_itself_in_its_map(room, saved):
    backend = SlamBackend()
    backend.resume_map(saved)
    frames = range(WOKE, len(room.features))
    errors, states = wake_up(backend, room, frames)
    assert errors[0] > 1.0, "nobody has told it where it is"
    update = backend.update(
        replace(room.features[-1], stamp_ns=(len(frames) + 1) * FRAME_NS),
        CAMERA,
        T_BASE_CAMERA,
        invert(room.odometry[WOKE]) @ room.odometry[-1],
    )
    assert not update.warnings
    assert np.sqrt(update.covariance[0, 0]) < 0.2
    assert max(errors[-30:]) < 0.15
    assert set(states[1:]) <= {TrackingState.VISUAL, TrackingState.ODOMETRY}
    assert {e.kind for e in backend.graph().edges} >= {EdgeKind.GAP, EdgeKind.LOOP}
    for trajectory in (backend.trajectory(), backend.online_trajectory()):
        assert len(trajectory) == len(frames) + 1, "of this day alone"
    final = backend.trajectory().poses[:-1]
    start = room.odometry[0] @ invert(room.truth[0])
    away = np.linalg.norm((final - start @ room.truth[WOKE:])[:, :3, 3], axis=1)
    assert away.max() < 0.2, "the first frames too, once it knows"


def test_in_an_unknown_place_the_map_grows_apart_and_stays_as_it_was(room, saved, yesterday):
    strange = Run.record(30, seed=5)
    backend = SlamBackend()
    backend.resume_map(saved)
    for i, features in enumerate(strange.features):
        update = backend.update(features, CAMERA, T_BASE_CAMERA, strange.odometry[i])
        assert "until it recognises a place" in update.warnings[0]
        assert np.sqrt(update.covariance[0, 0]) > 20.0
    assert not any(e.kind is EdgeKind.LOOP for e in backend.graph().edges)
    before = yesterday.backend.graph().poses
    np.testing.assert_allclose(backend.graph().poses[: len(before)], before, atol=0.01)


def test_an_empty_map_is_not_written(tmp_path):
    with pytest.raises(MapError, match="drive until something has been seen"):
        SlamBackend().save_map(tmp_path / "map")
    assert not list(tmp_path.iterdir())


def _missing(path):
    path.unlink()


def _cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def _of_another_version(path):
    save_file(load_file(path), path, {"format": FORMAT, "version": "99"})


def _of_something_else(path):
    path.write_text("no map")


def _rewrite(path, change):
    """Change the tensors of a file that is sound but for that."""
    tensors = load_file(path)
    with safe_open(path, "numpy") as file:
        header = file.metadata()
    change(tensors)
    del header["sha256"]
    save_file(tensors, path, header | {"sha256": _digest(header, tensors)})


def _lacking(path):
    _rewrite(path, lambda tensors: tensors.pop("points"))


def _unsolvable(path):
    _rewrite(path, lambda tensors: tensors["edge_covariance"].fill(np.nan))


def _without_poses(path):
    _rewrite(path, lambda tensors: tensors["poses"].fill(np.nan))


def _tied_to_nothing(path):
    _rewrite(path, lambda tensors: tensors["edge_ends"].fill(10**6))


def _of_places_too_few(path):
    _rewrite(path, lambda tensors: tensors["has_place"].fill(True))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_unsolvable, "cannot be solved"),
        (_missing, "cannot read"),
        (_cut, "damaged"),
        (_of_something_else, "damaged"),
        (_of_another_version, "no map of version"),
        (_lacking, "damaged"),
        (_without_poses, "damaged"),
        (_tied_to_nothing, "damaged"),
        (_of_places_too_few, "damaged"),
    ],
)
def test_a_file_that_is_no_map_is_refused_and_nothing_changes(room, saved, spoil, message):
    spoil(saved)
    backend = SlamBackend()
    backend.update(room.features[0], CAMERA, T_BASE_CAMERA, make_transform([0, 0, 0], [0, 0, 0, 1]))
    with pytest.raises(MapError, match=message):
        backend.resume_map(saved)
    assert len(backend.trajectory()) == 1


def test_features_that_do_not_fit_the_map_are_refused_in_words(room, tmp_path):
    """Of another kind, or of a model whose place descriptor has another length."""
    fit = [replace(f, place_descriptor=np.ones(64, np.float32)) for f in room.features[:15]]
    path = tmp_path / "map"
    Run(room.truth, room.odometry, fit).play().backend.save_map(path)
    backend = SlamBackend()
    backend.resume_map(path)
    others = [
        replace(fit[0], descriptors=fit[0].descriptors[:, :64]),
        replace(fit[0], place_descriptor=np.ones(32, np.float32)),
    ]
    for other in others:
        with pytest.raises(InputError, match="use the kind of features and the model") as raised:
            backend.update(other, CAMERA, T_BASE_CAMERA, room.odometry[0])
        assert raised.value.fault is Fault.WRONG_FEATURES
    for features, odometry in zip(fit, room.odometry, strict=False):
        backend.update(features, CAMERA, T_BASE_CAMERA, odometry)
    backend.save_map(path)


def test_one_spoilt_bit_anywhere_is_noticed(saved, tmp_path):
    data = saved.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    with safe_open(saved, "numpy") as file:
        names = list(file.keys())
    tensors = json.loads(data[8:start])
    places = [tensors[name]["data_offsets"] for name in names]
    bits = [start + first for first, end in places if end > first]
    for at in [*bits, data.index(b"260.0")]:
        spoilt = bytearray(data)
        spoilt[at] ^= 1
        path = tmp_path / "spoilt"
        path.write_bytes(spoilt)
        with pytest.raises(MapError, match="damaged"):
            SlamBackend().resume_map(path)


def test_a_place_that_cannot_be_written_to_is_named(yesterday, tmp_path):
    with pytest.raises(MapError, match=r"cannot write .*gone"):
        yesterday.backend.save_map(tmp_path / "gone" / "map")
