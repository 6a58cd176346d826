# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One seed is one recording, to the byte; another seed is another warehouse."""

import subprocess
import sys

import numpy as np
import pytest

from pervformer_ros.sim.episode import Episode

DIGEST = """
import hashlib, sys
from pervformer_ros.bags.writer import typestore
from pervformer_ros.sim import messages
from pervformer_ros.sim.episode import Episode
from pervformer_ros.sim.record import shot_messages, wheel_message
from pervformer_ros.sim.truth import Observer

episode = Episode("busy_aisle", int(sys.argv[1]), 0.6)
observer, digest = Observer(episode), hashlib.sha256()

def add(message):
    digest.update(typestore().serialize_cdr(message, message.__msgtype__))

for shot in episode.shots():
    add(wheel_message(episode, shot.tick))
    for message in shot_messages(episode, shot, raw=True).values():
        add(message)
    objects, events = observer.observe(shot.sight)
    add(messages.tracked_objects(shot.frame.stamp_ns, objects))
    for event in events:
        add(messages.semantic_event(event))
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def digests():
    """Digests of all messages of seeds 5, 5 and 6, each from a process of its own."""
    runs = [
        subprocess.Popen([sys.executable, "-c", DIGEST, seed], stdout=subprocess.PIPE, text=True)
        for seed in ("5", "5", "6")
    ]
    return [run.communicate(timeout=120)[0].strip() for run in runs]


def test_frames_and_ground_truth_are_identical_in_two_processes(digests):
    assert len(digests[0]) == 64
    assert digests[0] == digests[1]


def test_another_seed_gives_other_bytes(digests):
    assert digests[0] != digests[2]


def test_a_cut_off_run_is_the_beginning_of_the_longer_one():
    short, long = Episode("camouflage", 3, 2.0), Episode("camouflage", 3, 4.0)
    np.testing.assert_array_equal(short.log.pose, long.log.pose[: len(short.log)])


def test_ten_seeds_are_ten_warehouses():
    episodes = [Episode("static_loop", seed, 0.1) for seed in range(10)]
    plans = {(e.layout.width, e.layout.depth, e.layout.height) for e in episodes}
    cameras = {e.camera.fx for e in episodes}
    starts = {tuple(e.log.pose[0, 0]) for e in episodes}
    colours = {tuple(np.bincount(e.static_mesh.layer, minlength=60)) for e in episodes}
    assert len(plans) == len(cameras) == len(starts) == len(colours) == 10
