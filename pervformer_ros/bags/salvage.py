# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings of a recorder that was killed: read as far as they are whole.

Such a rosbag2 folder has no metadata.yaml, and its last MCAP file no index and no footer. What is
there are records, whole but for the last: https://mcap.dev/spec. After a power cut that one, and
what follows, may be zeros.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import yaml  # type: ignore[import-untyped]
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.storage_mcap import ChunkInfo, McapReader, decompress
from rosbags.typesys.store import Typestore

STORAGES = ("*.mcap", "*.db3")
RECORD = struct.Struct("<BQ")  # opcode, size of what follows
CHUNK, NONE = 0x06, 0x00
CHUNK_TIMES = struct.Struct("<QQQII")  # first, last, bytes unpacked, checksum, length of the next


def salvage(path: Path, default_types: Typestore) -> AnyReader | None:
    """Open what can be read of a broken rosbag2 recording; None if that is nothing."""
    files = [f for s in STORAGES for f in sorted(path.glob(s))] if path.is_dir() else [path]
    try:
        reader = AnyReader(files, default_typestore=default_types)
        for part in reader.readers:
            if part.path.suffix == ".mcap":
                part.storage = BrokenMcapReader(part.path)
        reader.open()
    except Exception:  # rosbags and the codecs under it raise many kinds
        return None
    return reader


def missing_parts(path: Path) -> list[str]:
    """Return the files that a rosbag2 folder's metadata.yaml lists and that are not there."""
    try:
        metadata = yaml.safe_load((path / "metadata.yaml").read_text("utf-8"))
        listed = metadata["rosbag2_bagfile_information"]["relative_file_paths"]
        # Early versions wrote the folder's name, too.
        return [name for name in (Path(str(p)).name for p in listed) if not (path / name).exists()]
    except (OSError, UnicodeError, yaml.YAMLError, KeyError, TypeError):
        return []


class BrokenMcapReader(McapReader):
    """An MCAP file that may lack its end: yields what is whole, then raises ReaderError."""

    connections: list[Any]
    metadata: Any
    broken = False

    def _open(self) -> None:
        with suppress(ReaderError):
            super()._open()
            return
        if not self.data_start:
            raise ReaderError("not even the header is whole")
        assert self.bio
        self.broken = True
        self.chunks, self.data_end = _whole_records(self.bio, self.data_start)
        self.meta_scan()
        if not self.statistics.message_count:
            raise ReaderError("not even one message is whole")
        counts = self.statistics.channel_message_counts
        self.connections = [c._replace(msgcount=counts.get(c.id, 0)) for c in self.connections]
        for chunk in self.chunks:
            chunk.channel_count.update(counts)
        first, last = self.statistics.start_time, self.statistics.end_time
        self.metadata = self.metadata._replace(
            duration=last - first + 1,
            start_time=first,
            end_time=last + 1,
            message_count=self.statistics.message_count,
        )

    def messages(self, *which: Any, **when: Any) -> Iterator[tuple[Any, int, bytes]]:
        """Yield the messages that are whole.

        Raises:
            ReaderError: after them, if there must have been more.
        """
        yield from super().messages(*which, **when)
        if self.broken:
            raise ReaderError("the file breaks off here: was its recorder killed?")


def _whole_records(file: BinaryIO, start: int) -> tuple[list[ChunkInfo], int]:
    """Return the whole chunks of an MCAP file, and where its last whole record ends."""
    size = file.seek(0, 2)
    chunks, end = [], start
    while end + RECORD.size <= size:
        file.seek(end)
        opcode, length = RECORD.unpack(file.read(RECORD.size))
        if opcode == NONE or end + RECORD.size + length > size:
            break
        if opcode == CHUNK:
            chunks.append(_chunk(file, end, length))
        end += RECORD.size + length
    if chunks and not _is_whole(file, chunks[-1]):
        end = chunks.pop().chunk_start_offset
    return chunks, end


def _is_whole(file: BinaryIO, chunk: ChunkInfo) -> bool:
    """Return whether what is in a chunk can be unpacked."""
    file.seek(chunk.chunk_start_offset + RECORD.size)
    _, _, unpacked, checksum, name_size = CHUNK_TIMES.unpack(file.read(CHUNK_TIMES.size))
    file.seek(name_size + 8, 1)
    try:
        decompress(file.read(chunk.compressed_size), chunk.compression, unpacked, checksum)
    except Exception:  # the codecs raise many kinds
        return False
    return True


def _chunk(file: BinaryIO, offset: int, length: int) -> ChunkInfo:
    """Return the index entry of the chunk whose content is read next."""
    first, last, unpacked, _, name_size = CHUNK_TIMES.unpack(file.read(CHUNK_TIMES.size))
    name = file.read(name_size).decode()
    (packed,) = struct.unpack("<Q", file.read(8))
    whole = RECORD.size + length
    return ChunkInfo(first, last, offset, whole, {}, 0, name, packed, unpacked, {})
