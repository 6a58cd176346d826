# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Loop closures against the truth: which are false, and how many of the returns were found."""

from dataclasses import dataclass

import numpy as np

from pervformer_ros.evaluation.drift import poses_at
from pervformer_ros.geometry import Array, Trajectory, invert, rotation_angle
from pervformer_ros.slam import EdgeKind, PoseGraph

# A pose off by more than this is wrong, and a closure false: metres, radians.
FALSE_POSITION, FALSE_ROTATION = 0.5, np.radians(8.0)
# A keyframe has returned if it is this near to one from which the robot has gone this far since.
NEAR, LIKE, FAR = 1.0, np.radians(20.0), 8.0


@dataclass(frozen=True, slots=True)
class Closures:
    """accepted, false: counts; recall: part of the returns that are tied to an older visit.

    None where the truth tells of none.
    """

    accepted: int
    false: int | None
    recall: float | None


def judge_closures(graph: PoseGraph, truth: Trajectory) -> Closures:
    """Compare a graph's edges with the true poses; recall is None where nothing returns."""
    poses = poses_at(truth, graph.stamps_ns)
    loops = [edge for edge in graph.edges if edge.kind is EdgeKind.LOOP]
    errors = [
        invert(invert(T_first) @ T_second) @ edge.T_first_second
        for edge in loops
        if (T_first := poses[edge.first]) is not None
        and (T_second := poses[edge.second]) is not None
    ]
    false = sum(map(is_wrong, errors)) if errors or not loops else None
    return Closures(len(loops), false, _recall(graph, poses))


def is_wrong(error: Array) -> bool:
    """Return whether a pose that is off by this transform (4, 4) is wrong."""
    too_far = np.linalg.norm(error[:3, 3]) > FALSE_POSITION
    return bool(too_far or rotation_angle(error) > FALSE_ROTATION)


def _recall(graph: PoseGraph, poses: list[Array | None]) -> float | None:
    known = [i for i, T in enumerate(poses) if T is not None]
    if len(known) < 2:
        return None
    T = np.array([poses[i] for i in known])
    steps = np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1)
    path = dict(zip(known, np.concatenate([[0.0], np.cumsum(steps)]).tolist(), strict=True))
    visual = (EdgeKind.VISUAL, EdgeKind.LOOP)
    tied = {
        max(e.first, e.second)
        for e in graph.edges
        if e.kind in visual
        and {e.first, e.second} <= path.keys()
        and abs(path[e.second] - path[e.first]) > FAR
    }
    returned = []
    for row, i in enumerate(known):
        older = np.array([path[i] - path[j] > FAR for j in known[:row]], bool)
        before = T[:row][older]
        near = np.linalg.norm(before[:, :3, 3] - T[row, :3, 3], axis=1) < NEAR
        turns = np.einsum("kij,ij->k", before[near, :3, :3], T[row, :3, :3])  # trace of R^T R'
        if (np.arccos(np.clip((turns - 1) / 2, -1, 1)) < LIKE).any():
            returned.append(i)
    if not returned:
        return None
    return len(tied & set(returned)) / len(returned)
