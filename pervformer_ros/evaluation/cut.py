# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The first seconds of a recording, wherever its time begins anew."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pervformer_ros.frame import NANOSECONDS, Frame


class Taken(NamedTuple):
    """A frame of a recording, and how often time went back before it."""

    frame: Frame
    epoch: int

    @property
    def stamp_ns(self) -> int:
        """When it was taken."""
        return self.frame.stamp_ns


def cut(frames: Iterable[Frame], seconds: float | None) -> Iterator[Taken]:
    """Yield frames, each with how often time went back before it.

    Args:
        frames: of a recording.
        seconds: stop after so many, counted from where time went back; None = never.
    """
    first_ns = last_ns = None
    epoch = 0
    for frame in frames:
        went_back = last_ns is not None and frame.stamp_ns < last_ns
        epoch += went_back
        first_ns = frame.stamp_ns if first_ns is None or went_back else first_ns
        last_ns = frame.stamp_ns
        if seconds is not None and frame.stamp_ns - first_ns >= seconds * NANOSECONDS:
            return
        yield Taken(frame, epoch)
