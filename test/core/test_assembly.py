# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Streams of stamped messages go in, bundles come out.

A message is (stream, stamp); what is paired is told by the stamps, so they are the payload too.
"""

import weakref
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pervformer_ros.assembly import AssemblyConfig, FrameAssembler, OdometryBuffer
from pervformer_ros.frame import Fault
from pervformer_ros.geometry import make_rotation

MS = 1_000_000
START = 1_700_000_000_000 * MS
CONFIG = AssemblyConfig()
TOLERANCE_NS = round(CONFIG.tolerance_s * 1e9)
MAX_WAIT_NS = round(CONFIG.max_wait_s * 1e9)
# A stream that lags by less than this has always come before an image has waited for too long.
MOST_LAG_MS = 100


def steady_motion(stamp_ns: int, start_ns: int = START) -> np.ndarray:
    """T_odom_base of a robot that drives a circle."""
    seconds = (stamp_ns - start_ns) / 1e9
    T = make_rotation([0, 0, 0.4 * seconds])
    T[:3, 3] = [0.7 * seconds, -0.2 * seconds, 0]
    return T


@dataclass
class Streams:
    """What the sensors took, by stamp; and all of it in an order of arrival."""

    colour: list[int]
    depth: list[int]
    odometry: list[int]
    arrivals: list[tuple[str, int]]

    def nearest_depth(self, stamp_ns: int) -> int | None:
        near = [d for d in self.depth if abs(d - stamp_ns) <= TOLERANCE_NS]
        return min(near, key=lambda d: abs(d - stamp_ns), default=None)

    def has_odometry_around(self, stamp_ns: int) -> bool:
        return self.odometry[0] <= stamp_ns <= self.odometry[-1]


def at_a_rate(stamps: list[int]) -> list[int]:
    """Return stamps without those that follow in less than half the time between the first two."""
    kept = stamps[:2]
    for stamp in stamps[2:]:
        if 2 * (stamp - kept[-1]) >= kept[1] - kept[0]:
            kept.append(stamp)
    return kept


@st.composite
def streams(draw, start_ns: int = START) -> Streams:
    """Three jittering, lossy streams that each arrive late by an own and varying lag.

    No depth image follows another in less than half the time between the first two: how fast they
    come is known.
    """
    ms = st.integers
    colour = start_ns + np.cumsum(draw(st.lists(ms(10, 120), min_size=2, max_size=12))) * MS
    jitter = draw(st.lists(st.none() | ms(-40, 40), min_size=len(colour), max_size=len(colour)))
    depth = {int(c) + j * MS for c, j in zip(colour, jitter, strict=True) if j is not None}
    odometry = [start_ns + draw(ms(-60, 60)) * MS]
    while odometry[-1] <= colour[-1] + MAX_WAIT_NS:
        odometry.append(odometry[-1] + draw(ms(5, 45)) * MS)
    taken = {"colour": colour.tolist(), "depth": at_a_rate(sorted(depth)), "odometry": odometry}
    arrivals = []
    for stream, stamps in taken.items():
        time = 0
        for stamp in stamps:
            time = max(time, stamp + draw(ms(0, MOST_LAG_MS)) * MS)  # no stream overtakes itself
            arrivals.append((time, stream, stamp))
    arrivals.sort(key=lambda a: a[0])
    return Streams(**taken, arrivals=[(stream, stamp) for _, stream, stamp in arrivals])


def feed(assembler, arrivals, start_ns=START):
    """Return the bundles that each arrival made ready."""
    made = []
    for stream, stamp in arrivals:
        if stream == "colour":
            made.append(assembler.add_colour(stamp, stamp))
        elif stream == "depth":
            made.append(assembler.add_depth(stamp, stamp))
        else:
            made.append(assembler.add_odometry(stamp, steady_motion(stamp, start_ns)))
    return made


def flat(bundles):
    return [bundle for some in bundles for bundle in some]


def check(bundles, streams: Streams, start_ns=START):
    """Check what the stamps alone decide: that is, whatever order the streams arrived in."""
    assert [b.stamp_ns for b in bundles] == streams.colour
    for bundle in bundles:
        assert bundle.colour == bundle.stamp_ns
        assert bundle.depth == streams.nearest_depth(bundle.stamp_ns)
        if streams.has_odometry_around(bundle.stamp_ns):
            expected = steady_motion(bundle.stamp_ns, start_ns)
            np.testing.assert_allclose(bundle.T_odom_base, expected, atol=1e-9)
        else:
            assert bundle.T_odom_base is None


@given(streams())
def test_each_image_gets_the_nearest_depth_and_its_pose_whatever_arrives_first(streams):
    assembler = FrameAssembler()
    bundles = flat(feed(assembler, streams.arrivals)) + assembler.flush()
    check(bundles, streams)
    assert not any(b.epoch for b in bundles)
    lost = sum(b.depth is None for b in bundles)
    alone = sum(b.T_odom_base is None for b in bundles)
    assert assembler.faults.counts[Fault.DEPTH_MISSING] == lost
    assert assembler.faults.counts[Fault.ODOMETRY_GAP] == alone


@given(streams(), st.sets(st.sampled_from(["depth", "odometry"])))
def test_nothing_waits_for_longer_than_max_wait(streams, dead):
    assembler = FrameAssembler()
    now, came = None, {}
    for stream, stamp in streams.arrivals:
        if stream in dead:
            continue
        ready = flat(feed(assembler, [(stream, stamp)]))
        if stream == "colour" or now is not None:
            now = max(now or 0, stamp)
        if stream == "colour":
            came[stamp] = now
        for bundle in ready:
            came.pop(bundle.stamp_ns)
        assert all(now - time <= MAX_WAIT_NS for time in came.values())


@given(streams())
def test_images_alone_are_handed_on_at_once(streams):
    assembler = FrameAssembler(AssemblyConfig(expect_depth=False, expect_odometry=False))
    for stamp in streams.colour:
        (bundle,) = assembler.add_colour(stamp, stamp)
        assert (bundle.stamp_ns, bundle.depth, bundle.T_odom_base) == (stamp, None, None)
    assert not assembler.faults.counts


def test_an_image_whose_depth_is_lost_goes_on_with_the_next_depth():
    assembler = FrameAssembler(AssemblyConfig(expect_odometry=False))
    assert assembler.add_colour(START, "image") == []
    (bundle,) = assembler.add_depth(START + 33 * MS, "depth of the next image")
    assert bundle.depth is None
    assert assembler.faults.counts[Fault.DEPTH_MISSING] == 1


@pytest.mark.parametrize("early_ns", [1_000, 5 * MS, 8 * MS])
def test_an_image_whose_depth_is_stamped_a_little_earlier_goes_on_at_once(early_ns):
    assembler = FrameAssembler(AssemblyConfig(expect_odometry=False))
    for i in range(5):
        stamp = START + i * 33 * MS
        assembler.add_depth(stamp - early_ns, i)
        bundles = assembler.add_colour(stamp, i)
        # With the second depth it is known how fast they come.
        assert [b.depth for b in bundles] == ([i] if i > 0 else [])


def test_an_image_waits_while_a_later_depth_may_be_nearer():
    assembler = FrameAssembler(AssemblyConfig(expect_odometry=False))
    for i in range(5):
        assembler.add_depth(START + i * 33 * MS, "earlier")
    last_ns = START + 4 * 33 * MS
    assert assembler.add_colour(last_ns + 9 * MS, "image") == []
    (bundle,) = assembler.add_depth(last_ns + 17 * MS, "nearer")
    assert bundle.depth == "nearer"


def test_how_fast_depth_comes_is_learnt_anew_where_time_jumps_back():
    assembler = FrameAssembler(AssemblyConfig(expect_odometry=False))
    for stamp in range(START, START + 500 * MS, 100 * MS):
        assembler.add_depth(stamp, stamp)
        assembler.add_colour(stamp, stamp)
    again_ns = START - 60_000 * MS
    assembler.add_depth(again_ns, "earlier")
    assert assembler.add_colour(again_ns + 9 * MS, "image") == []
    (bundle,) = assembler.add_depth(again_ns + 17 * MS, "nearer")
    assert (bundle.depth, bundle.epoch) == ("nearer", 1)


def test_a_camera_that_is_much_later_than_odometry_still_gets_its_depth():
    assembler = FrameAssembler()
    bundles = []
    for ms in range(0, 1000, 10):
        bundles += assembler.add_odometry(START + ms * MS, steady_motion(START + ms * MS))
        if ms >= 300 and ms % 50 == 0:
            camera_ns = START + (ms - 300) * MS
            bundles += assembler.add_colour(camera_ns, camera_ns)
            bundles += assembler.add_depth(camera_ns, camera_ns)
    assert len(bundles) == 14
    assert all(b.depth == b.colour and b.T_odom_base is not None for b in bundles)


# Time that goes back -----------------------------------------------------------------------------


@given(streams(), st.data(), st.integers(3_000, 100_000))
def test_a_jump_back_begins_one_new_epoch_whatever_arrives_first(before, data, jump_ms):
    again_ns = before.colour[-1] - jump_ms * MS
    after = data.draw(streams(again_ns))
    assembler = FrameAssembler()
    feed(assembler, before.arrivals)
    bundles = flat(feed(assembler, after.arrivals, again_ns)) + assembler.flush()
    check(bundles, after, again_ns)
    assert [b.epoch for b in bundles] == [1] * len(bundles)
    assert assembler.faults.counts[Fault.TIME_JUMP_BACK] == 1


@given(streams(), st.integers(1, 499))
def test_stragglers_of_any_stream_are_dropped_and_counted(streams, late_ms):
    assembler = FrameAssembler()
    bundles = flat(feed(assembler, streams.arrivals))
    stragglers = [
        (name, newest - late_ms * MS)
        for name, newest in (
            ("colour", streams.colour[-1]),
            ("depth", streams.depth[-1] if streams.depth else None),
            ("odometry", streams.odometry[-1]),
        )
        if newest is not None
    ]
    bundles += flat(feed(assembler, stragglers)) + assembler.flush()
    check(bundles, streams)
    assert assembler.faults.counts[Fault.OUT_OF_ORDER] == len(stragglers)


def test_an_image_of_the_same_stamp_is_a_straggler():
    assembler = FrameAssembler(AssemblyConfig(expect_depth=False, expect_odometry=False))
    assert len(assembler.add_colour(START, "image")) == 1
    assert assembler.add_colour(START, "again") == []
    assert assembler.faults.counts[Fault.OUT_OF_ORDER] == 1


def drive_past(stray_ns, images=20, **expected):
    """Return the assembler and bundles of a steady stream, one image of which says another time."""
    assembler, bundles = FrameAssembler(AssemblyConfig(**expected)), []
    for i in range(images):
        stamp = START + i * 50 * MS
        if assembler.config.expect_odometry:
            bundles += assembler.add_odometry(stamp - 10 * MS, steady_motion(stamp - 10 * MS))
        bundles += assembler.add_colour(stamp, stamp)
        if i == 10:
            bundles += assembler.add_colour(stray_ns, stray_ns)
        if assembler.config.expect_odometry:
            bundles += assembler.add_odometry(stamp + 10 * MS, steady_motion(stamp + 10 * MS))
    return assembler, bundles + assembler.flush()


@pytest.mark.parametrize("stray_ns", [0, START - 700 * MS, START + 3_600_000 * MS])
@pytest.mark.parametrize("odometry", [True, False])
def test_one_image_of_another_time_does_not_start_anew(stray_ns, odometry):
    assembler, bundles = drive_past(stray_ns, expect_depth=False, expect_odometry=odometry)
    assert [b.stamp_ns for b in bundles] == [START + i * 50 * MS for i in range(20)]
    assert not any(b.epoch for b in bundles)
    assert assembler.faults.counts == {Fault.OUT_OF_ORDER: 1}


def test_images_alone_may_say_that_time_jumped_and_none_is_lost():
    assembler = FrameAssembler(AssemblyConfig(expect_depth=False, expect_odometry=False))
    stamps = [START + i * 50 * MS for i in range(5)]
    again = [stamp - 60_000 * MS for stamp in stamps]
    ahead = [stamp + 60_000 * MS for stamp in stamps]
    bundles = flat(assembler.add_colour(ns, ns) for ns in (*stamps, *again, *ahead))
    assert [b.stamp_ns for b in bundles] == [*stamps, *again, *ahead]
    assert [b.epoch for b in bundles] == [0] * 5 + [1] * 10


# Bounds ------------------------------------------------------------------------------------------


class Payload:
    """Something whose life can be watched."""


def test_buffers_are_bounded_however_much_comes():
    assembler = FrameAssembler(AssemblyConfig(max_wait_s=1e6))
    alive = weakref.WeakSet()
    for i in range(1000):
        for add in (assembler.add_colour, assembler.add_depth):
            payload = Payload()
            alive.add(payload)
            # Depth of another clock: it never matches.
            add(START + i * MS + (add == assembler.add_depth) * 3_600_000 * MS, payload)
    del payload
    assert len(alive) <= 2 * CONFIG.capacity
    for i in range(2000):
        assembler.add_odometry(START + i * MS, np.eye(4))
    assert len(assembler.odometry) <= 400


# Odometry ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("last_ms", [200, 220])
def test_after_a_silence_that_no_image_shows_one_image_has_no_odometry(last_ms):
    assembler, poses = FrameAssembler(AssemblyConfig(expect_depth=False)), []
    for ms in range(0, 6001, 20):
        if last_ms < ms < 5000:
            continue  # camera and wheels are both silent
        ready = assembler.add_odometry(START + ms * MS, np.eye(4))
        if ms % 100 == 0:
            ready += assembler.add_colour(START + ms * MS, ms)
        poses += [(b.colour, b.T_odom_base is not None) for b in ready]
    assert [ms for ms, known in poses if not known] == [5000]
    assert [ms for ms, _ in poses] == [0, 100, 200, *range(5000, 6001, 100)]
    assert assembler.faults.counts == {Fault.ODOMETRY_GAP: 1}


def filled(*stamps_ms) -> OdometryBuffer:
    buffer = OdometryBuffer(max_gap_s=0.5)
    for ms in stamps_ms:
        buffer.add(START + ms * MS, steady_motion(START + ms * MS))
    return buffer


@pytest.mark.parametrize("ms", [0, 20, 33, 40, 41, 80])
def test_odometry_is_known_between_samples_and_shortly_after_the_last(ms):
    pose = filled(0, 20, 40).at(START + ms * MS)
    np.testing.assert_allclose(pose, steady_motion(START + ms * MS), atol=1e-9)


@pytest.mark.parametrize(
    ("stamps_ms", "ms"),
    [
        ([], 0),
        ([10], 11),
        ([10, 20], 9),
        ([0, 20, 40], 81),
        ([0, 600], 300),
    ],
)
def test_odometry_is_unknown_before_the_first_long_after_the_last_and_within_a_gap(stamps_ms, ms):
    assert filled(*stamps_ms).at(START + ms * MS) is None
