# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The weights that ship with the package: where they lie, and how they are asked for."""

import sys
from collections.abc import Iterator
from pathlib import Path

UNTRAINED = "untrained"


def find_weights(checkpoint: str, variant: str = "small") -> Path | None:
    """Return the file that a setting `checkpoint` means, or None for untrained weights.

    Args:
        checkpoint: a path; "untrained"; or "" for what ships, which is untrained weights where
            nothing ships for that size.
        variant: the size: "tiny", "small" or "base".
    """
    if checkpoint == UNTRAINED:
        return None
    return Path(checkpoint).expanduser() if checkpoint else shipped_weights(variant)


def shipped_weights(variant: str = "small") -> Path | None:
    """Return the checkpoint that ships for a size, or None."""
    name = f"pervformer_{variant}.safetensors"
    return next((path for folder in _folders() if (path := folder / name).is_file()), None)


def _folders() -> Iterator[Path]:
    """Yield where models/ may be: in a checkout, then under the prefix of an installation."""
    package = Path(__file__).resolve().parents[1]
    yield package.parent / "models"
    for prefix in (*package.parents, Path(sys.prefix)):
        yield prefix / "share" / package.name / "models"
