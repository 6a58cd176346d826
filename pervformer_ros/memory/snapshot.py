# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The memory on disk: one zip of memory.json (objects) and state.safetensors (neural state)."""

import json
import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pervformer_ros.memory.objects import ObjectMap, ObjectState, WorldObject

FORMAT_VERSION = 1


class SnapshotError(ValueError):
    """A snapshot that cannot be written or loaded; the text says why and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What is kept: the objects, the neural state by tensor name, and the model both belong to."""

    model: str
    next_id: int
    objects: list[WorldObject]
    state: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, model: str, things: ObjectMap, state: dict[str, NDArray[Any]]) -> "Snapshot":
        """Take a snapshot of a map and a state."""
        return cls(model, things.next_id, list(things.objects.values()), state)

    def restore(self, things: ObjectMap) -> None:
        """Put the objects into a map, in place of what it held; none of them is in view yet."""
        things.objects = {o.id: o for o in self.objects}
        things.next_id = self.next_id
        for thing in self.objects:
            thing.state = ObjectState.REMEMBERED

    def write(self, path: Path) -> None:
        """Write the file in one step: it is either the old one or the new one, never half.

        Raises:
            SnapshotError: if the place cannot be written to.
        """
        header = {
            "version": FORMAT_VERSION,
            "model": self.model,
            "next_id": self.next_id,
            "objects": [_to_json(o) for o in self.objects],
        }
        partial = path.with_name(path.name + ".partial")
        try:
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("memory.json", json.dumps(header, indent=1))
                archive.writestr("state.safetensors", save(self.state))
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            partial.replace(path)
        except OSError as error:
            raise SnapshotError(f"cannot write {path}: {error.strerror}") from error

    @classmethod
    def read(cls, path: Path, model: str) -> "Snapshot":
        """Read a file that was written for this model.

        Raises:
            SnapshotError: if it is missing, damaged, of another version or of another model.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                header = json.loads(archive.read("memory.json"))
                state = load(archive.read("state.safetensors"))
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
            objects = [_from_json(o) for o in header["objects"]]
            return cls(model, int(header["next_id"]), objects, state)
        except OSError as error:
            raise SnapshotError(f"cannot read {path}: {error.strerror}") from error
        except SnapshotError:
            raise
        except (zipfile.BadZipFile, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise SnapshotError(f"{path} is damaged or no memory snapshot: {error}") from error


def _to_json(thing: WorldObject) -> dict[str, Any]:
    values = asdict(thing)
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}


def _from_json(values: dict[str, Any]) -> WorldObject:
    dtypes = {
        "position": float,
        "size": float,
        "velocity": float,
        "box": np.float32,
        "embedding": np.float32,
    }
    arrays = {name: np.array(values[name], dtype) for name, dtype in dtypes.items()}
    return WorldObject(**{**values, **arrays, "state": ObjectState(values["state"])})
