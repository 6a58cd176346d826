# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pairing of colour, depth and odometry by stamp, in bounded buffers.

Time is the stamps' own: nothing here reads a clock, so that a live stream and a recording of it are
paired alike. An image waits until depth and odometry have come as far as its stamp, so that what
belongs to it does not depend on which stream was faster. It waits for no more depth where the last
is nearer than the next can be, at the rate at which depth has come. Once the streams have moved on
by `max_wait_s` since it came, it goes on with what there is.

An image whose stamp jumps, back or far ahead, waits until another stream or a second image says
that time has jumped; then everything before is forgotten, if it was back. One that stays alone is
dropped.
"""

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from pervformer_ros.frame import NANOSECONDS, Fault, FaultLog
from pervformer_ros.geometry import Array, interpolate

Colour = TypeVar("Colour")
Depth = TypeVar("Depth")


@dataclass(frozen=True, slots=True)
class AssemblyConfig:
    """How stamps are paired; all times in seconds of stamp time."""

    expect_depth: bool = True
    expect_odometry: bool = True
    tolerance_s: float = 0.02
    max_wait_s: float = 0.15
    max_odometry_gap_s: float = 0.5
    jump_back_s: float = 0.5
    jump_ahead_s: float = 10.0
    capacity: int = 30


@dataclass(frozen=True, slots=True, eq=False)
class Bundle(Generic[Colour, Depth]):
    """What belongs to one image; `epoch` counts how often time went backwards before it.

    Whoever sees another epoch than with the bundle before starts anew, whichever were dropped.
    """

    stamp_ns: int
    colour: Colour
    depth: Depth | None
    T_odom_base: Array | None
    epoch: int


class OdometryBuffer:
    """The latest poses of base_link in odom, interpolated at any stamp between them."""

    def __init__(self, max_gap_s: float = 0.5, capacity: int = 400):
        self._max_gap_ns = int(max_gap_s * NANOSECONDS)
        self._poses: deque[tuple[int, Array]] = deque(maxlen=capacity)

    def __len__(self) -> int:
        return len(self._poses)

    @property
    def newest_ns(self) -> int | None:
        """The newest stamp, or None while empty."""
        return self._poses[-1][0] if self._poses else None

    def add(self, stamp_ns: int, T_odom_base: Array) -> None:
        """Append a pose whose stamp is newer than the last."""
        assert not self._poses or stamp_ns > self._poses[-1][0]
        self._poses.append((stamp_ns, T_odom_base))

    def clear(self) -> None:
        """Forget everything."""
        self._poses.clear()

    def at(self, stamp_ns: int) -> Array | None:
        """Return the pose at this stamp, or None where the gap around it is too long.

        Between two poses it is interpolated; up to two sample intervals past the newest it is
        extrapolated with the last velocity.
        """
        before = after = None
        for pose in reversed(self._poses):
            if pose[0] <= stamp_ns:
                before = pose
                break
            after = pose
        if before is None:
            return None
        if before[0] == stamp_ns:
            return before[1]
        if after is None:
            if len(self._poses) < 2:
                return None
            previous = self._poses[-2]
            if stamp_ns - before[0] > 2 * (before[0] - previous[0]):
                return None
            before, after = previous, before
        if after[0] - before[0] > self._max_gap_ns:
            return None
        fraction = (stamp_ns - before[0]) / (after[0] - before[0])
        return interpolate(before[1], after[1], fraction)

    def was_silent_between(self, start_ns: int, end_ns: int) -> bool:
        """Tell whether a gap that reaches between two stamps is too long."""
        after_ns = end_ns
        for stamp_ns, _ in reversed(self._poses):
            if after_ns <= start_ns:
                break
            if stamp_ns < end_ns:
                if after_ns - stamp_ns > self._max_gap_ns:
                    return True
                after_ns = stamp_ns
        return False


class FrameAssembler(Generic[Colour, Depth]):
    """Turns stamped colour, depth and odometry, in any order of arrival, into bundles.

    Each `add_*` returns the bundles that have become ready, oldest first, with stamps that only
    grow within an epoch. `faults` counts what went wrong, by kind.
    """

    def __init__(self, config: AssemblyConfig | None = None, faults: FaultLog | None = None):
        self.config = config or AssemblyConfig()
        self.faults = faults or FaultLog()
        self.odometry = OdometryBuffer(self.config.max_odometry_gap_s)
        self._tolerance_ns = int(self.config.tolerance_s * NANOSECONDS)
        self._max_wait_ns = int(self.config.max_wait_s * NANOSECONDS)
        self._jump_back_ns = int(self.config.jump_back_s * NANOSECONDS)
        self._jump_ahead_ns = int(self.config.jump_ahead_s * NANOSECONDS)
        self._epoch = 0
        self._placed_ns: int | None = None  # the last image, if odometry told where it was taken
        self._stray: tuple[int, Colour] | None = None  # the last image, if its stamp jumps
        # Images with their stamps and the time at which each came.
        self._colour: deque[tuple[int, int, Colour]] = deque()
        self._depth: deque[tuple[int, Depth]] = deque(maxlen=self.config.capacity)
        self._last_colour_ns: int | None = None
        self._last_depth_ns: int | None = None
        self._depth_step_ns = 0  # the shortest between two depth images, 0 = not known
        self._now_ns = 0

    def add_colour(self, stamp_ns: int, colour: Colour) -> list[Bundle[Colour, Depth]]:
        """Take a colour image (or whatever the bundle is to be built around)."""
        bundles: list[Bundle[Colour, Depth]] = []
        if self._stray is not None:
            again = abs(stamp_ns - self._stray[0]) < self._jump_ahead_ns
            if again and self._jumps(stamp_ns):
                bundles = self._adopt_stray()
            else:
                self._drop_stray()
        others = (self._last_depth_ns, self.odometry.newest_ns)
        if self._jumps(stamp_ns) and not any(self._has_jumped_to(stamp_ns, ns) for ns in others):
            self._stray = stamp_ns, colour
            return bundles
        return bundles + self._take_colour(stamp_ns, colour)

    def _take_colour(self, stamp_ns: int, colour: Colour) -> list[Bundle[Colour, Depth]]:
        last = self._last_colour_ns
        if last is not None and stamp_ns <= last:
            if last - stamp_ns < self._jump_back_ns:
                self._out_of_order("colour", stamp_ns, last)
                return []
            jump_s = (last - stamp_ns) / NANOSECONDS
            self.faults.add(
                Fault.TIME_JUMP_BACK, f"image stamps went back by {jump_s:.3f} s: starting anew"
            )
            self._start_anew(stamp_ns)
        if self._last_colour_ns is None:
            self._now_ns = stamp_ns
        self._last_colour_ns = stamp_ns
        self._advance(stamp_ns)
        self._colour.append((stamp_ns, self._now_ns, colour))
        return self._ready()

    def add_depth(self, stamp_ns: int, depth: Depth) -> list[Bundle[Colour, Depth]]:
        """Take a depth image."""
        last = self._last_depth_ns
        if last is not None and stamp_ns <= last:
            if last - stamp_ns < self._jump_back_ns:
                self._out_of_order("depth", stamp_ns, last)
                return []
            self._forget_depth()
        elif last is not None:
            step_ns = stamp_ns - last
            self._depth_step_ns = min(step_ns, self._depth_step_ns or step_ns)
        self._last_depth_ns = stamp_ns
        self._depth.append((stamp_ns, depth))
        return self._follow(stamp_ns)

    def add_odometry(self, stamp_ns: int, T_odom_base: Array) -> list[Bundle[Colour, Depth]]:
        """Take a pose of base_link in odom."""
        newest = self.odometry.newest_ns
        if newest is not None and stamp_ns <= newest - self._jump_back_ns:
            self.odometry.clear()
            newest = None
        if newest is not None and stamp_ns <= newest:
            self._out_of_order("odometry", stamp_ns, newest)
            return []
        self.odometry.add(stamp_ns, T_odom_base)
        return self._follow(stamp_ns)

    def flush(self) -> list[Bundle[Colour, Depth]]:
        """Return what still waits, with what there is for it; for the end of a recording."""
        self._drop_stray()
        self._now_ns += self._max_wait_ns + 1
        return self._ready()

    def _jumps(self, stamp_ns: int) -> bool:
        """Tell whether an image's stamp is far from the last one's, back or ahead."""
        last = self._last_colour_ns
        if last is None:
            return False
        return not last - self._jump_back_ns < stamp_ns < last + self._jump_ahead_ns

    def _has_jumped_to(self, stamp_ns: int, other_ns: int | None) -> bool:
        """Tell whether another stream is where an image's stamp has jumped to."""
        if other_ns is None or self._last_colour_ns is None:
            return False
        apart = abs(other_ns - stamp_ns)
        near = max(self._jump_back_ns, self._max_wait_ns)
        return apart <= near and apart < abs(other_ns - self._last_colour_ns)

    def _adopt_stray(self) -> list[Bundle[Colour, Depth]]:
        """Take the image that waits: time has jumped to where it is."""
        assert self._stray is not None
        image, self._stray = self._stray, None
        return self._take_colour(*image)

    def _drop_stray(self) -> None:
        if self._stray is not None and self._last_colour_ns is not None:
            self._out_of_order("colour", self._stray[0], self._last_colour_ns)
        self._stray = None

    def _follow(self, stamp_ns: int) -> list[Bundle[Colour, Depth]]:
        """Return what is ready once another stream has come to a stamp."""
        if self._stray is not None and self._has_jumped_to(self._stray[0], stamp_ns):
            return self._adopt_stray()
        self._advance(stamp_ns)
        return self._ready()

    def _start_anew(self, stamp_ns: int) -> None:
        """Forget what is of the time before a jump; the other streams may have jumped already."""
        self._epoch += 1
        self._colour.clear()
        self._last_colour_ns = self._placed_ns = None
        latest_ns = stamp_ns + self._max_wait_ns
        if self._last_depth_ns is not None and self._last_depth_ns > latest_ns:
            self._forget_depth()
        if self.odometry.newest_ns is not None and self.odometry.newest_ns > latest_ns:
            self.odometry.clear()

    def _forget_depth(self) -> None:
        self._depth.clear()
        self._last_depth_ns, self._depth_step_ns = None, 0

    def _out_of_order(self, stream: str, stamp_ns: int, newest_ns: int) -> None:
        self.faults.add(
            Fault.OUT_OF_ORDER, f"{stream} of stamp {stamp_ns} came after {newest_ns}: dropped"
        )

    def _advance(self, stamp_ns: int) -> None:
        # A stream of another clock (or one that has not jumped yet) must not push time along.
        if self._last_colour_ns is None:
            return
        if stamp_ns - self._last_colour_ns <= max(self._jump_back_ns, 2 * self._max_wait_ns):
            self._now_ns = max(self._now_ns, stamp_ns)

    def _ready(self) -> list[Bundle[Colour, Depth]]:
        bundles = []
        while self._colour and (bundle := self._complete(*self._colour[0])) is not None:
            self._colour.popleft()
            bundles.append(bundle)
        return bundles

    def _complete(
        self, stamp_ns: int, came_ns: int, colour: Colour
    ) -> Bundle[Colour, Depth] | None:
        """Return the bundle of the oldest image, or None while it should still wait."""
        overdue = (
            self._now_ns - came_ns > self._max_wait_ns or len(self._colour) > self.config.capacity
        )
        if not overdue and not self._others_reached(stamp_ns):
            return None
        depth = self._match_depth(stamp_ns)
        T_odom_base = self.odometry.at(stamp_ns) if self.config.expect_odometry else None
        if self.config.expect_depth and depth is None:
            self.faults.add(
                Fault.DEPTH_MISSING,
                f"no depth within {self.config.tolerance_s} s of the image: is it published?",
            )
        if self.config.expect_odometry and T_odom_base is None:
            self.faults.add(
                Fault.ODOMETRY_GAP, f"no odometry around the image's stamp {stamp_ns}: is it late?"
            )
        elif self._placed_ns is not None and self.odometry.was_silent_between(
            self._placed_ns, stamp_ns
        ):
            # It may have started anew; one image without it tells so those who go by it.
            T_odom_base = None
            self.faults.add(
                Fault.ODOMETRY_GAP,
                f"odometry was silent before the image's stamp {stamp_ns}: has it started anew?",
            )
        self._placed_ns = None if T_odom_base is None else stamp_ns
        return Bundle(stamp_ns, colour, depth, T_odom_base, self._epoch)

    def _others_reached(self, stamp_ns: int) -> bool:
        """Tell whether nothing that is still to come can belong to an image of this stamp."""
        if self.config.expect_depth and not self._depth_reached(stamp_ns):
            return False
        newest = self.odometry.newest_ns
        return not self.config.expect_odometry or (newest is not None and newest >= stamp_ns)

    def _depth_reached(self, stamp_ns: int) -> bool:
        """Tell whether no depth that is still to come can be the nearest to this stamp.

        One that is earlier by less than a quarter of the shortest time between two is the nearest,
        unless the next follows in less than half of that time.
        """
        if self._last_depth_ns is None:
            return False
        ahead_ns = stamp_ns - self._last_depth_ns
        near = ahead_ns <= self._tolerance_ns and 4 * ahead_ns < self._depth_step_ns
        return ahead_ns <= 0 or near

    def _match_depth(self, stamp_ns: int) -> Depth | None:
        if not self.config.expect_depth:
            return None
        while self._depth and self._depth[0][0] < stamp_ns - self._tolerance_ns:
            self._depth.popleft()
        near = [d for d in self._depth if d[0] <= stamp_ns + self._tolerance_ns]
        return min(near, key=lambda d: abs(d[0] - stamp_ns))[1] if near else None
