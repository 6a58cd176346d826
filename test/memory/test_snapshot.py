# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import json
import os
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from memory_scene import looking_at, sighting

from pervformer_ros.memory import (
    Corridor,
    Event,
    EventType,
    MemoryConfig,
    ObjectState,
    Snapshot,
    SnapshotError,
    WorkingMemory,
    WorldObject,
)
from pervformer_ros.memory.appearance import Appearance

vectors = arrays(float, 3, elements=st.floats(-1e6, 1e6))
float32s = st.floats(-1e6, 1e6, width=32)
stamps = st.integers(0, 2**62)
words = st.text(max_size=10)
objects = st.builds(
    WorldObject,
    id=st.integers(1, 2**32 - 1),
    label=words,
    votes=st.dictionaries(words, st.floats(0, 1e3), max_size=3),
    existence=st.floats(-4, 4),
    position=vectors,
    covariance=arrays(float, (6, 6), elements=st.floats(-1e3, 1e3)),
    size=vectors,
    box=arrays(np.float32, 4, elements=float32s),
    embedding=arrays(np.float32, st.integers(0, 8), elements=float32s),
    first_seen_ns=stamps,
    last_seen_ns=stamps,
    velocity=vectors,
    heading=st.floats(0, 3),
    odometer=st.floats(0, 1e6),
    probe=st.integers(-1, 30),
    sightings=st.integers(1, 10**6),
    missed=st.integers(0, 10**6),
    confirmed=st.booleans(),
    announced=st.booleans(),
    state=st.sampled_from(ObjectState),
    motion=st.floats(-4, 4),
    home=vectors | st.just(np.full(3, np.nan)),
    home_sigma=st.floats(0, 10),
    in_motion=st.booleans(),
    same_since_ns=stamps,
    agents=st.dictionaries(st.integers(1, 2**32 - 1), st.integers(1, 99), max_size=3),
)
events = st.builds(
    Event,
    stamp_ns=stamps,
    type=st.sampled_from(EventType),
    object_id=st.integers(0, 2**32 - 1),
    label=words,
    confidence=st.floats(0, 1),
    from_position=vectors | st.just(np.full(3, np.nan)),
    to_position=vectors,
    agent_id=st.integers(0, 9),
    agent_label=words,
    path_name=words,
    sequence=st.integers(1, 2**63),
)
states = st.dictionaries(
    st.text("abc_.", min_size=1),
    arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(0, 4))) | arrays(bool, 3),
    max_size=3,
)
numbers = {"mean": st.floats(-1, 1), "variance": st.floats(0, 1), "weight": st.floats(1, 1e3)}
snapshots = st.builds(
    Snapshot,
    model=words,
    stamp_ns=st.none() | stamps,
    next_id=st.integers(1, 2**32 - 1),
    objects=st.lists(objects, max_size=4, unique_by=lambda o: o.id),
    next_sequence=st.integers(1, 2**63),
    events=st.lists(events, max_size=4),
    looks=st.dictionaries(
        words,
        st.builds(
            Appearance.of,
            st.fixed_dictionaries(
                {kind: st.fixed_dictionaries(numbers) for kind in ("same", "different")}
            ),
        ),
        max_size=2,
    ),
    blockers=st.dictionaries(
        words, st.dictionaries(st.integers(0, 2**32 - 1), vectors.map(lambda v: v[:2])), max_size=2
    ),
    odometer=st.floats(0, 1e6),
    T_map_odom=arrays(float, (4, 4), elements=st.floats(-1e3, 1e3)),
    state=states,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("snapshots")


@pytest.fixture
def saved(tmp_path) -> Path:
    """A file with one object, one event and a state of model "small"."""
    path = tmp_path / "memory.zip"
    remembered().write(path)
    return path


def remembered(model="small") -> Snapshot:
    memory = WorkingMemory()
    for second in range(3):
        memory.update(looking_at(second, 3.0), np.eye(4), [sighting()])
    return Snapshot.of(model, 2, memory, {"h": np.arange(6, dtype=np.float32)})


def refusal(call, *arguments) -> str:
    with pytest.raises(SnapshotError) as caught:
        call(*arguments)
    return str(caught.value)


# Writing and reading -----------------------------------------------------------------------------


@given(snapshots)
def test_what_is_written_is_read(folder, snapshot):
    snapshot.write(folder / "any.zip")
    again = Snapshot.read(folder / "any.zip", snapshot.model)
    np.testing.assert_equal(asdict(again), asdict(snapshot))
    for name, array in snapshot.state.items():
        assert again.state[name].dtype == array.dtype


def test_a_restored_memory_goes_on_where_it_was(saved):
    memory = WorkingMemory()
    Snapshot.read(saved, "small").restore(memory)
    (thing,), (event,) = memory.query("box", np.zeros(3), 0, 0)
    assert (thing.id, thing.sightings, thing.state) == (1, 3, ObjectState.REMEMBERED)
    assert (event.type, event.object_id, event.sequence) == (EventType.APPEARED, 1, 1)
    update = memory.update(looking_at(9, 3.0), np.eye(4), [sighting(), sighting((5, 0, 2))])
    assert [o.id for o in update.objects] == [1]
    assert update.events == []
    assert set(memory.map.objects) == {1, 2}


def test_numbers_that_were_given_away_since_are_not_given_again(saved):
    memory = WorkingMemory()
    for second in range(3):
        memory.update(looking_at(second, 3.0), np.eye(4), [sighting((x, 0, 2)) for x in (0, 5, 9)])
    Snapshot.read(saved, "small").restore(memory)
    for second in range(3, 6):
        update = memory.update(looking_at(second, 1.0), np.eye(4), [sighting((20, 0, 2))])
    (event,) = update.events
    assert (event.object_id, event.sequence) == (4, 4)


def test_what_changed_over_night_is_reported_in_the_morning(tmp_path):
    aisle = MemoryConfig(paths=(Corridor("aisle_a", np.array([[1.0, 0.0], [5.0, 0.0]])),))
    evening, morning = WorkingMemory(aisle), WorkingMemory(aisle)
    for image in range(5):
        evening.update(looking_at(image / 10, 3.0), np.eye(4), [sighting()])
    path = tmp_path / "memory.zip"
    Snapshot.of("small", 0, evening, {}).write(path)
    Snapshot.read(path, "small").restore(morning)
    told = []
    for image in range(20):  # the clock has started anew
        told += morning.update(looking_at(image / 10, 9.0), np.eye(4), []).events
    assert [(e.type, e.object_id) for e in told] == [
        (EventType.REMOVED, 1),
        (EventType.PATH_CLEARED, 1),
    ]


def test_what_is_remembered_is_found_again_where_odometry_started_elsewhere(tmp_path):
    """SLAM knows the map again: the robot stands where it stood, but odom has a new origin."""
    evening, morning = WorkingMemory(), WorkingMemory()
    T_map_odom = np.eye(4)
    T_map_odom[:2, 3] = 30.0, 10.0
    for image in range(5):
        evening.update(looking_at(image / 10, 3.0), np.eye(4), [sighting()], T_map_odom)
    path = tmp_path / "memory.zip"
    Snapshot.of("small", 0, evening, {}).write(path)
    Snapshot.read(path, "small").restore(morning)
    T_odom_base, T_map_odom = np.eye(4), np.eye(4)
    T_odom_base[0, 3], T_map_odom[:2, 3] = 5.0, (25.0, 10.0)
    for image in range(10):
        seen = [sighting((7.0, 0.0, 1.0))]
        update = morning.update(looking_at(image / 10, 3.0), T_odom_base, seen, T_map_odom)
        assert update.events == []
    (thing,) = update.objects
    assert thing.id == 1


def test_what_stands_near_by_is_not_what_another_clock_saw_last(tmp_path):
    """The clock has started anew: what lies in the same pixels was not seen a moment ago."""
    evening, morning = WorkingMemory(), WorkingMemory()
    for image in range(5):
        evening.update(looking_at(1000 + image / 10, 3.0), np.eye(4), [sighting()])
    path = tmp_path / "memory.zip"
    Snapshot.of("small", 0, evening, {}).write(path)
    Snapshot.read(path, "small").restore(morning)
    (box,) = (o.box for o in evening.map.objects.values())
    for image in range(5):
        seen = [sighting((3.2, 0.0, 1.0), box=box, embedding=np.array([0, 1], np.float32))]
        update = morning.update(looking_at(image / 10, 4.0), np.eye(4), seen)
    assert sorted(o.id for o in update.objects) == [1, 2]
    (old,) = (o for o in update.objects if o.id == 1)
    np.testing.assert_allclose(old.position[:2], (2, 0), atol=0.05)


def test_writing_replaces_the_old_file_and_leaves_nothing_else(saved):
    remembered("base").write(saved)
    assert Snapshot.read(saved, "base").model == "base"
    assert list(saved.parent.iterdir()) == [saved]


# What can go wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(saved, monkeypatch, fails):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    before = saved.read_bytes()
    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[fails], full_disk)
    text = refusal(remembered("base").write, saved)
    assert text == f"cannot write {saved}: No space left on device"
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    text = refusal(remembered().write, tmp_path / "nowhere" / "memory.zip")
    assert "nowhere/memory.zip: No such file or directory" in text
    (tmp_path / "folder").mkdir()
    assert "cannot write" in refusal(remembered().write, tmp_path / "folder")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_a_missing_file_is_named(tmp_path):
    text = refusal(Snapshot.read, tmp_path / "no.zip", "small")
    assert text == f"cannot read {tmp_path / 'no.zip'}: No such file or directory"


def test_a_memory_of_another_model_is_refused_with_both_names(saved):
    text = refusal(Snapshot.read, saved, "base")
    assert "belongs to model 'small', not to 'base': set the same checkpoint" in text


def test_another_version_is_refused_with_both_numbers(saved):
    rewrite(saved, version=8)
    assert "is of version 8, this reads 7: save it again" in refusal(Snapshot.read, saved, "small")


@pytest.mark.parametrize(
    "changes",
    [
        {"objects": None},
        {"objects": [{}]},
        {"objects": ["x"]},
        {"next_id": "many"},
        {"events": [{"type": 99}]},
        {"events": 1e400},
    ],
)
def test_contents_that_make_no_sense_are_refused(saved, changes):
    rewrite(saved, **changes)
    assert "is damaged or no memory snapshot" in refusal(Snapshot.read, saved, "small")


def rewrite(path: Path, **changes) -> None:
    """Change entries of memory.json."""
    with zipfile.ZipFile(path) as archive:
        header = json.loads(archive.read("memory.json"))
        state = archive.read("state.safetensors")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("memory.json", json.dumps({**header, **changes}))
        archive.writestr("state.safetensors", state)


@given(st.data())
def test_a_damaged_file_is_refused_or_reads_as_it_was(folder, data):
    path = folder / "damaged.zip"
    snapshot = remembered()
    snapshot.write(path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        again = Snapshot.read(path, "small")
    except SnapshotError:
        return
    np.testing.assert_equal(asdict(again), asdict(snapshot))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_snapshot_is_refused(tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    assert "is damaged or no memory snapshot" in refusal(Snapshot.read, tmp_path / "x.zip", "small")
