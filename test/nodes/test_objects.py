# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is told of an object in a message."""

import numpy as np
import pytest

from pervformer_ros.bags.intake import pose_of
from pervformer_ros.memory import Sighting, WorldObject
from pervformer_ros.nodes.conversions import object_message


@pytest.mark.parametrize(("size", "known"), [((1.2, 0.8, 0.9), True), ((0.5, 0.5, 1.8), False)])
def test_an_object_lies_as_it_was_seen_and_says_how_sure_that_is(size, known):
    sighting = Sighting(
        label="pallet",
        score=0.9,
        position=np.array([3.0, -1.0, 0.4]),
        covariance=0.01 * np.eye(3),
        size=np.array(size),
        box=np.zeros(4, np.float32),
        embedding=np.zeros(0, np.float32),
        heading=0.7,
    )
    message = object_message(WorldObject.of(1, sighting, 0, 0.0))
    T = pose_of(message.pose.pose)
    np.testing.assert_allclose(T[:3, 3], [3.0, -1.0, 0.4])
    np.testing.assert_allclose(T[:2, 0], [np.cos(0.7), np.sin(0.7)], atol=1e-9)
    variances = np.diag(np.reshape(message.pose.covariance, (6, 6)))
    np.testing.assert_allclose(variances[:3], 0.01)
    assert (variances[5] < 0.5**2) == known
    assert (variances[5] > 3.0**2) != known
