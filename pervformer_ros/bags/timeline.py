# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where time goes back in a topic, told from single stamps that are wrong."""

from typing import Any, NamedTuple

from pervformer_ros.assembly import AssemblyConfig
from pervformer_ros.bags.intake import stamp_of
from pervformer_ros.frame import NANOSECONDS, Fault, FaultLog

# A stamp jumps that is so much older than the newest of its topic, or so much younger: as images'.
_USUAL = AssemblyConfig()
JUMP_BACK_NS = int(_USUAL.jump_back_s * NANOSECONDS)
JUMP_AHEAD_NS = int(_USUAL.jump_ahead_s * NANOSECONDS)


class Placed(NamedTuple):
    """A message and when it is of; `epoch` counts how often time went back before it."""

    epoch: int
    stamp_ns: int
    message: Any


class Timeline:
    """Takes the messages of one topic in recorded order and tells the epoch of each.

    The first one, and one whose stamp jumps, waits until the next agrees, going on from there. One
    that stays alone is left out and counts in `faults`.
    """

    def __init__(self, topic: str, faults: FaultLog, epoch: int = 0):
        self.epoch, self.newest_ns = epoch, -1  # none yet
        self._topic, self._faults = topic, faults
        self._waiting: tuple[int, Any] | None = None

    def add(self, message: Any) -> list[Placed]:
        """Take a message; return those whose place is known now."""
        stamp_ns, first = stamp_of(message.header), self._waiting
        if first is not None and self._agrees(first[0], stamp_ns):
            self._waiting = None
            self.epoch += first[0] < self.newest_ns
            self.newest_ns = first[0]
            return [self._place(*first), self._place(stamp_ns, message)]
        self._leave_out()
        if not self._jumps(stamp_ns):
            return [self._place(stamp_ns, message)]
        self._waiting = stamp_ns, message
        return []

    def close(self) -> list[Placed]:
        """Return what waits at the end where there was nothing before it, else leave it out."""
        if self._waiting is not None and self.newest_ns < 0:
            alone, self._waiting = self._waiting, None
            return [self._place(*alone)]
        self._leave_out()
        return []

    def _jumps(self, stamp_ns: int) -> bool:
        """Tell whether a stamp is far from the newest one, or the first."""
        newest_ns = self.newest_ns
        near = newest_ns - JUMP_BACK_NS < stamp_ns < newest_ns + JUMP_AHEAD_NS
        return newest_ns < 0 or not near

    def _agrees(self, first_ns: int, stamp_ns: int) -> bool:
        """Tell whether a stamp goes on from one that has jumped, and not from those before."""
        went_back = first_ns < self.newest_ns
        return first_ns < stamp_ns and not (went_back and stamp_ns >= self.newest_ns)

    def _leave_out(self) -> None:
        if self._waiting is not None:
            self._faults.add(
                Fault.INVALID_TRUTH,
                f"{self._topic} of stamp {self._waiting[0]} is far from those around it: left out",
            )
        self._waiting = None

    def _place(self, stamp_ns: int, message: Any) -> Placed:
        self.newest_ns = max(self.newest_ns, stamp_ns)
        return Placed(self.epoch, stamp_ns, message)
