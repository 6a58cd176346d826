# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Write rosbag2 recordings: MCAP with zstd chunks, there only when complete."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

METADATA_VERSION = 8
LATCHED_TOPICS = ("/tf_static", "/ground_truth/events")


class BagWriteError(RuntimeError):
    """A recording that cannot be written; the text says what to do."""


@cache
def typestore() -> Typestore:
    """Return the message types of ROS 2 with those of pervformer_msgs.

    Raises:
        BagWriteError: if the definitions of pervformer_msgs are not found.
    """
    store = get_typestore(Stores.ROS2_HUMBLE)
    types: dict[str, Any] = {}
    for path in sorted(_definitions().glob("*.msg")):
        types.update(get_types_from_msg(path.read_text(), f"pervformer_msgs/msg/{path.stem}"))
    store.register(types)
    return store


def _definitions() -> Path:
    """Return the folder of pervformer_msgs' .msg files: of the environment, or of the sources."""
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    folders = [Path(p) / "share" / "pervformer_msgs" / "msg" for p in prefixes if p]
    folders.append(Path(__file__).parents[2] / "pervformer_msgs" / "msg")
    for folder in folders:
        if (folder / "TrackedObject.msg").exists():
            return folder
    raise BagWriteError("the definitions of pervformer_msgs are not found: source the workspace")


@contextmanager
def complete_directory(path: Path) -> Iterator[Path]:
    """Yield a path to make; it becomes `path` at the end, or vanishes if anything fails.

    Raises:
        BagWriteError: if `path` exists already.
    """
    if path.exists():
        raise BagWriteError(f"{path} exists already: choose another name or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        unfinished = scratch / path.name
        yield unfinished
        unfinished.rename(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class BagWriter:
    """Writes messages of `typestore()`. Use as a context manager.

    The directory appears under its name when the block ends well, and not at all otherwise.

    Args:
        path: the bag's directory, which must not exist.
        notes: text kept in the bag's metadata (custom_data).
    """

    def __init__(self, path: Path, notes: Mapping[str, str] | None = None):
        self._directory = complete_directory(path)
        self._notes = dict(notes or {})
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> "BagWriter":
        self._writer = Writer(
            self._directory.__enter__(),
            version=METADATA_VERSION,
            storage_plugin=StoragePlugin.MCAP,
        )
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        for key, value in self._notes.items():
            self._writer.set_custom_data(key, value)
        self._writer.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._writer.__exit__(kind, error, trace)
        finally:
            self._directory.__exit__(kind, error, trace)

    def write(self, topic: str, message: Any, stamp_ns: int) -> None:
        """Write one message, recorded at `stamp_ns`."""
        store = typestore()
        name = message.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, name, typestore=store, offered_qos_profiles=[_qos(topic)]
            )
        data = store.serialize_cdr(message, name)
        self._writer.write(self._connections[topic], stamp_ns, data)


def _qos(topic: str) -> Qos:
    """Return reliable QoS, latched for what a late subscriber must get."""
    latched = topic in LATCHED_TOPICS
    forever = QosTime(2147483647, 4294967295)
    return Qos(
        QosHistory.KEEP_LAST,
        100 if latched else 10,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        forever,
        forever,
        QosLiveliness.AUTOMATIC,
        forever,
        False,
    )
