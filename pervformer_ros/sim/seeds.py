# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which seeds are for training and which for judging."""

from collections.abc import Iterable

HELD_OUT = 900_000  # seeds from here on are never trained on


def refuse_held_out(seeds: Iterable[int]) -> None:
    """Refuse seeds that are for judging alone (ValueError)."""
    if held_out := sorted({seed for seed in seeds if seed >= HELD_OUT}):
        raise ValueError(f"seeds {held_out} are held out: nothing is trained or tuned on them")
