# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The truth where stamps are wrong: what is lost is what has them, and it is counted."""

import numpy as np
import pytest
from synthetic import (
    CAMERA,
    COLOUR,
    DEPTH,
    INFO,
    OPTICAL,
    PERIOD_NS,
    START_NS,
    TRUTH,
    wall_shots,
)

from pervformer_ros.bags.ground_truth import EVENTS, GroundTruth
from pervformer_ros.bags.reader import BagReader
from pervformer_ros.bags.writer import BagWriter
from pervformer_ros.frame import Fault
from pervformer_ros.memory import EventType
from pervformer_ros.sim import messages
from pervformer_ros.sim.truth import TrueEvent


@pytest.mark.parametrize("seconds", [100, -1])
@pytest.mark.parametrize("topics", [(TRUTH,), (COLOUR, TRUTH), (COLOUR, DEPTH, TRUTH)])
def test_a_stray_stamp_costs_the_truth_of_one_image(synthetic_bag, topics, seconds):
    def stray(recorded):
        odd = START_NS + 10 * PERIOD_NS
        for topic, stamp, message in recorded:
            if stamp == odd and topic in topics:
                message.header.stamp.sec += seconds
        return recorded

    path = synthetic_bag(change=stray, count=20)
    with BagReader(path) as reader, GroundTruth(path) as truth:
        moments = [truth.at(frame.stamp_ns) for frame in reader.frames()]
    assert sum(m is not None and m.T_map_base is not None for m in moments) == 19
    assert truth.faults.counts == {Fault.INVALID_TRUTH: 1}


def test_an_event_of_before_that_is_heard_late_costs_no_truth(tmp_path):
    """As a latched topic gives it to a recorder that starts later."""
    shots, here = wall_shots(12), np.eye(4)
    old = TrueEvent(START_NS - 5 * 10**9, 1, EventType.APPEARED, 3, "pallet", here, here)
    with BagWriter(tmp_path / "bag") as writer:
        for number, shot in enumerate(shots):
            stamp = shot.stamp_ns
            if number == 1:
                writer.write(EVENTS, messages.semantic_event(old), stamp)
            writer.write(INFO, messages.camera_info(stamp, OPTICAL, CAMERA), stamp)
            writer.write(COLOUR, messages.image(stamp, OPTICAL, shot.rgb, "rgb8"), stamp)
            pose = messages.odometry(stamp, "map", shot.T_map_base, (0.0, 0.0), np.zeros(6))
            writer.write(TRUTH, pose, stamp)
    with GroundTruth(tmp_path / "bag") as truth:
        moments = [truth.at(shot.stamp_ns) for shot in shots]
    assert all(m is not None and m.T_map_base is not None for m in moments)
    assert [c.object_id for m in moments for c in m.changes] == [3]
    assert not truth.faults.counts
