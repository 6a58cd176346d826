# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

from enum import Enum

CHECKPOINT_HELP = "Weights (.safetensors), or 'untrained'; else those that ship for the size."
SIZE_HELP = "Size, where --checkpoint names no file."


class Features(str, Enum):
    """What to extract features with."""

    orb = "orb"
    pervformer = "pervformer"


class Size(str, Enum):
    """Sizes of the model."""

    tiny = "tiny"
    small = "small"
    base = "base"


class Variant(str, Enum):
    """What a model may lack, to see what that was good for."""

    full = "full"
    no_probes = "no_probes"
    per_frame = "per_frame"


def parse_size(text: str, option: str) -> tuple[int, int]:
    """Return height and width of "HEIGHTxWIDTH"; ValueError names the option."""
    words = text.lower().split("x")
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        raise ValueError(f"{option} is '{text}': give HEIGHTxWIDTH, such as 240x320")
    return int(words[0]), int(words[1])
