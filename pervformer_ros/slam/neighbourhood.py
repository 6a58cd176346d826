# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A part of a pose graph solved by itself, at a cost that does not depend on the whole.

Most of what a new keyframe tells is about those it is tied to, and theirs. They are moved to fit
all that holds them, while the keyframes around them stay where they are.
"""

from collections import deque

import gtsam

from pervformer_ros.geometry import Array

# At most so many keyframes move at once, and so many factors hold them. Places that are seen again
# and again collect ties without end.
MOST_KEYFRAMES, MOST_FACTORS = 30, 200
ITERATIONS = 3
# What does not move is held to this (radians, metres).
FIXED_SIGMA = 1e-5


class Neighbourhoods:
    """The factors of a graph, and which of them hold which keyframe."""

    def __init__(self) -> None:
        self.factors = gtsam.NonlinearFactorGraph()
        self._holding: list[list[int]] = []  # for each keyframe, the numbers of its factors
        self._tied: list[list[int]] = []  # and the keyframes it shares them with

    def add(self, factors: gtsam.NonlinearFactorGraph) -> None:
        """Append factors, of keyframes numbered from 0 without a gap."""
        for i in range(factors.size()):
            factor = factors.at(i)
            keys = factor.keys()
            while len(self._holding) <= max(keys):
                self._holding.append([])
                self._tied.append([])
            for key in keys:
                self._holding[key].append(self.factors.size())
                self._tied[key] += [other for other in keys if other != key]
            self.factors.push_back(factor)

    def solve(self, keyframe: int, poses: Array) -> Array:
        """Return poses (N, 4, 4) that fit better around a keyframe, from such that nearly do."""
        moving, holding = self.around(keyframe)
        factors, guesses = gtsam.NonlinearFactorGraph(), gtsam.Values()
        for number in sorted(holding):
            factors.push_back(self.factors.at(number))
        fixed = gtsam.noiseModel.Isotropic.Sigma(6, FIXED_SIGMA)
        for key in sorted(moving.union(*(self._tied[key] for key in moving))):
            pose = gtsam.Pose3(poses[key])
            guesses.insert(key, pose)
            if key not in moving:
                factors.add(gtsam.PriorFactorPose3(key, pose, fixed))
        how = gtsam.LevenbergMarquardtParams()
        how.setMaxIterations(ITERATIONS)
        found = gtsam.LevenbergMarquardtOptimizer(factors, guesses, how).optimize()
        poses = poses.copy()
        for key in moving:
            poses[key] = found.atPose3(key).matrix()
        return poses

    def around(self, keyframe: int) -> tuple[set[int], set[int]]:
        """Return a keyframe and those tied to it most directly, as many as may move at once.

        And the numbers of the factors that hold them.
        """
        moving, holding = {keyframe}, set(self._holding[keyframe])
        waiting = deque([keyframe])
        while waiting and len(moving) < MOST_KEYFRAMES:
            for other in self._tied[waiting.popleft()]:
                if other in moving or len(moving) == MOST_KEYFRAMES:
                    continue
                more = holding.union(self._holding[other])
                if len(more) <= MOST_FACTORS:
                    moving.add(other)
                    waiting.append(other)
                    holding = more
        return moving, holding
