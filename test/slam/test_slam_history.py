# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np

from pervformer_ros.geometry import make_transform
from pervformer_ros.slam.history import History


def at(x, y=0.0):
    return make_transform([x, y, 0.0], [0, 0, 0, 1])


def test_without_corrections_the_final_poses_are_the_online_ones():
    history = History()
    for i in range(7):
        history.add(i, at(i), at(i), is_keyframe=i % 3 == 0)
    final = history.corrected(np.array([at(0), at(3), at(6)]))
    np.testing.assert_allclose(final.poses, history.online().poses)
    np.testing.assert_array_equal(final.stamps_ns, np.arange(7))


def test_a_correction_is_spread_between_keyframes_and_carried_on_after_the_last():
    history = History()
    for i in range(7):
        history.add(i, at(i), at(i), is_keyframe=i in (0, 4))
    final = history.corrected(np.array([at(0), at(4, 0.4)])).poses
    np.testing.assert_allclose(final[:, 0, 3], np.arange(7))
    np.testing.assert_allclose(final[:, 1, 3], [0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4], atol=1e-12)


def test_what_a_keyframe_moved_on_arrival_counts_too():
    history = History()
    history.add(0, at(0), at(0), is_keyframe=True)
    history.add(1, at(1), at(1), is_keyframe=False)
    history.add(2, at(2), at(2, 0.2), is_keyframe=True)
    history.add(3, at(3, 0.2), at(3, 0.2), is_keyframe=False)
    np.testing.assert_allclose(history.online().poses[:, 1, 3], [0, 0, 0.2, 0.2])
    final = history.corrected(np.array([at(0), at(2, 0.2)])).poses
    np.testing.assert_allclose(final[:, 1, 3], [0, 0.1, 0.2, 0.2], atol=1e-12)


def test_frames_before_the_first_keyframe_stay():
    history = History()
    for i in range(3):
        history.add(i, at(i), at(i), is_keyframe=False)
    np.testing.assert_allclose(history.corrected(np.empty((0, 4, 4))).poses[:, 0, 3], [0, 1, 2])


def test_an_empty_history_has_an_empty_trajectory():
    trajectory = History().corrected(np.empty((0, 4, 4)))
    assert trajectory.poses.shape == (0, 4, 4)
    assert len(trajectory) == 0
