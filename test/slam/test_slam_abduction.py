# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from slam_room import CAMERA, T_BASE_CAMERA, make_features

from pervformer_ros.slam.abduction import AbductionWatch
from pervformer_ros.slam.odometry import Reading
from pervformer_ros.slam.view import make_view

FRAME_NS = 66_666_667
SEEN, DARK, STRANGE, FLAT = "seen", "dark", "strange", "recognised without depth"


def view(index, features, path):
    T = np.eye(4)
    T[0, 3] = path
    points = np.tile([0.0, 0.0, 3.0], (features, 1))
    found = make_features(
        index * FRAME_NS, np.full((features, 2), 100.0), points, np.ones((features, 8)) / 8**0.5
    )
    reading = Reading(T, T, path, 0.0, 0.0, 0.0, 0)
    return make_view(found, CAMERA, T_BASE_CAMERA, reading)


def watch(*story, speed=0.0):
    """Return after how many frames the robot was found to have been carried off, or None."""
    watching, index = AbductionWatch(), 0
    for what, frames in story:
        for _ in range(frames):
            index += 1
            features = 5 if what in (DARK, FLAT) else 200
            seen = view(index, features, speed * index * FRAME_NS * 1e-9)
            if watching.observe(seen, what in (SEEN, FLAT)):
                return index
    return None


def test_who_wakes_up_elsewhere_was_carried():
    found = watch((SEEN, 10), (DARK, 45), (STRANGE, 30))
    assert 55 < found <= 55 + 12


@pytest.mark.parametrize(
    "story",
    [
        ((SEEN, 10), (DARK, 45), (SEEN, 60)),  # covered for a while
        ((SEEN, 10), (DARK, 45), (STRANGE, 5), (SEEN, 30)),  # blinded by the light at first
        ((SEEN, 10), (STRANGE, 200)),  # something stands in the way
        ((SEEN, 10), (DARK, 8), (STRANGE, 60)),  # the lamps flicker
        ((SEEN, 10), (DARK, 400)),  # the lamps are out
        ((DARK, 60), (STRANGE, 60)),  # nothing was ever recognised
        ((SEEN, 10), (FLAT, 45), (STRANGE, 60)),  # depth was away before something stood in the way
    ],
)
def test_who_was_not_carried_is_not_found_to_be(story):
    assert watch(*story) is None


def test_who_drives_on_where_there_is_little_to_see_is_not_suspected_for_ever():
    watching = AbductionWatch()
    story = [*[(200, True)] * 10, *[(5, False)] * 45, (200, False), *[(30, False)] * 60]
    for index, (features, seen) in enumerate(story, 1):
        path = max(0.0, index - 55) * 0.1
        assert not watching.observe(view(index, features, path), seen)
    assert not watching.suspects


def test_who_drove_through_the_dark_sees_something_else_after_it():
    assert watch((SEEN, 10), (DARK, 60), (STRANGE, 60), speed=1.0) is None
