# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files that are either the old one or the new one, never half; and which one a file is."""

import hashlib
import os
import tempfile
from pathlib import Path


def digest(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        OSError: if it cannot be read.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in one step, also where the power fails meanwhile.

    Raises:
        OSError: if the place cannot be written to; what was there is there still.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)  # mkstemp's own mode would hide it from other users
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
