# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The memory on disk: a zip of memory.json (objects, events) and state.safetensors (neural)."""

import json
import zipfile
from copy import deepcopy
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from pervformer_ros.files import write_whole
from pervformer_ros.geometry import Array, invert
from pervformer_ros.memory.appearance import Appearance
from pervformer_ros.memory.events import Event, EventType
from pervformer_ros.memory.objects import ObjectState, WorldObject
from pervformer_ros.memory.working_memory import WorkingMemory

FORMAT_VERSION = 7


class SnapshotError(ValueError):
    """A snapshot that cannot be written or loaded; the text says why and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What is kept, and of when it is.

    model: what the neural state belongs to.
    stamp_ns: of the last image that went into it, or None before the first.
    next_id, next_sequence: the numbers that the next object and the next event get.
    events: the recent ones.
    blockers: where (2,) objects stood on corridors, in map, by the corridor's name and object id.
    looks: what it says that two embeddings of this model are alike, by class.
    odometer: metres driven. T_map_odom: where odom was in the map; objects and events are in odom.
    state: the neural state by tensor name.
    """

    model: str
    stamp_ns: int | None
    next_id: int
    objects: list[WorldObject]
    next_sequence: int
    events: list[Event]
    blockers: dict[str, dict[int, Array]]
    looks: dict[str, Appearance]
    odometer: float
    T_map_odom: Array
    state: dict[str, NDArray[Any]]

    @classmethod
    def of(
        cls, model: str, stamp_ns: int | None, memory: WorkingMemory, state: dict[str, NDArray[Any]]
    ) -> "Snapshot":
        """Take a snapshot of a memory and a neural state; what comes later does not change it."""
        return cls(
            model,
            stamp_ns,
            memory.map.next_id,
            [o.copy() for o in memory.map.objects.values()],
            memory.log.next_sequence,
            memory.log.recent(memory.T_map_odom),
            memory.paths.blockers,
            deepcopy(memory.map.looks),
            memory.map.drift.odometer,
            memory.T_map_odom,
            state,
        )

    def restore(self, memory: WorkingMemory) -> None:
        """Put objects and events in place of what a memory held; nothing is in view yet.

        Ids and sequence numbers that the memory has given away already are not given again.
        """
        T = invert(memory.T_map_odom) @ self.T_map_odom
        objects = [o.copy() for o in self.objects]
        for thing in objects:
            if thing.state is not ObjectState.GONE:
                thing.state = ObjectState.REMEMBERED
            thing.missed = max(thing.missed, 1)
            thing.shift(T)
        memory.map.restore(objects, self.next_id, self.odometer)
        memory.map.looks = deepcopy(self.looks)
        memory.paths.restore(self.blockers)
        memory.log.restore(self.events, self.next_sequence, self.T_map_odom)

    def write(self, path: Path) -> None:
        """Write the file in one step: it is either the old one or the new one, never half.

        Raises:
            SnapshotError: if the place cannot be written to.
        """
        if not path.name:
            raise SnapshotError(f"'{path}' names no file: give the path of the file to write")
        header = {
            "version": FORMAT_VERSION,
            "model": self.model,
            "stamp_ns": self.stamp_ns,
            "next_id": self.next_id,
            "objects": [_to_json(o) for o in self.objects],
            "next_sequence": self.next_sequence,
            "events": [_to_json(e) for e in self.events],
            "blockers": {
                name: {str(i): place.tolist() for i, place in places.items()}
                for name, places in self.blockers.items()
            },
            "looks": {label: asdict(looks) for label, looks in self.looks.items()},
            "odometer": self.odometer,
            "T_map_odom": self.T_map_odom.tolist(),
        }
        content = BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("memory.json", json.dumps(header, indent=1))
            archive.writestr("state.safetensors", save(self.state))
        try:
            write_whole(path, content.getvalue())
        except OSError as error:
            raise SnapshotError(f"cannot write {path}: {error.strerror or error}") from error

    @classmethod
    def read(cls, path: Path, model: str) -> "Snapshot":
        """Read a file that was written for this model.

        Raises:
            SnapshotError: if it is missing, damaged, of another version or of another model.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                header = json.loads(archive.read("memory.json"))
                _check_origin(path, header, model)
                return cls(
                    model,
                    header["stamp_ns"],
                    int(header["next_id"]),
                    [_object_from_json(o) for o in header["objects"]],
                    int(header["next_sequence"]),
                    [_event_from_json(e) for e in header["events"]],
                    _blockers_from_json(header["blockers"]),
                    {label: Appearance.of(v) for label, v in header["looks"].items()},
                    float(header["odometer"]),
                    _array(header["T_map_odom"], (4, 4)),
                    load(archive.read("state.safetensors")),
                )
        except SnapshotError:
            raise
        except OSError as error:
            raise SnapshotError(f"cannot read {path}: {error.strerror or error}") from error
        except Exception as error:  # zip, JSON and safetensors raise many kinds on damaged bytes
            raise SnapshotError(f"{path} is damaged or no memory snapshot: {error}") from error


def _check_origin(path: Path, header: dict[str, Any], model: str) -> None:
    if header["version"] != FORMAT_VERSION:
        raise SnapshotError(
            f"{path} is of version {header['version']}, this reads {FORMAT_VERSION}: "
            "save it again with the release that will load it"
        )
    if header["model"] != model:
        raise SnapshotError(
            f"{path} belongs to model '{header['model']}', not to '{model}': "
            "set the same checkpoint or model variant"
        )


def _to_json(value: WorldObject | Event) -> dict[str, Any]:
    values = asdict(value)
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}


def _object_from_json(values: dict[str, Any]) -> WorldObject:
    shapes: dict[str, tuple[int, ...]] = {
        "position": (3,), "velocity": (3,), "size": (3,), "home": (3,), "covariance": (6, 6),
    }  # fmt: skip
    arrays: dict[str, Any] = {name: _array(values[name], shape) for name, shape in shapes.items()}
    for name in ("box", "embedding"):
        arrays[name] = np.array(values[name], np.float32)
    arrays["lately"] = tuple((int(ns), *map(float, rest)) for ns, *rest in values["lately"])
    arrays["agents"] = {int(i): int(count) for i, count in values["agents"].items()}
    return WorldObject(**{**values, **arrays, "state": ObjectState(values["state"])})


def _event_from_json(values: dict[str, Any]) -> Event:
    ends = {name: _array(values[name], (3,)) for name in ("from_position", "to_position")}
    return Event(**{**values, **ends, "type": EventType(values["type"])})


def _blockers_from_json(values: dict[str, dict[str, Any]]) -> dict[str, dict[int, Array]]:
    return {
        name: {int(i): _array(place, (2,)) for i, place in places.items()}
        for name, places in values.items()
    }


def _array(values: Any, shape: tuple[int, ...]) -> Array:
    array = np.array(values, float)
    if array.shape != shape:
        raise ValueError(f"an array is of shape {array.shape}, not {shape}")
    return array
