# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which things an image shows plainly: so that it can be measured where they are."""

from collections.abc import Iterable

import numpy as np

from pervformer_ros.geometry import Array, transform_points
from pervformer_ros.memory import ObjectState
from pervformer_ros.sim.episode import Episode, Sight
from pervformer_ros.sim.truth import MIN_PIXELS, TrueObject

# Depth cameras measure as far as this, metres.
REACH_M = 8.0
# The foot of a thing is in view where a pixel shows it so near to its underside, metres.
FOOT_M = 0.1


def shown_plainly(episode: Episode, sight: Sight, things: Iterable[TrueObject]) -> set[int]:
    """Return the ids of the things whose place one image tells.

    Of such a thing enough pixels lie within the reach of depth, or its foot is in view, which
    stands on the floor. Of what shows beyond that reach through a rack, neither does.
    """
    T_map_camera = sight.T_map_base @ episode.T_base_camera
    least = MIN_PIXELS * sight.instance.size / (320 * 240)
    return {
        thing.id
        for thing in things
        if thing.state is ObjectState.VISIBLE
        and _is_plain(episode, sight, T_map_camera, thing, least)
    }


def _is_plain(
    episode: Episode, sight: Sight, T_map_camera: Array, thing: TrueObject, least: float
) -> bool:
    left, top, width, height = thing.roi
    area = slice(top, top + height), slice(left, left + width)
    rows, columns = np.nonzero(sight.instance[area] == thing.id)
    depth = sight.depth[area][rows, columns]
    if np.count_nonzero((depth > 0) & (depth < REACH_M)) >= least:
        return True
    uv = np.stack([columns + left, rows + top], axis=1).astype(float)
    points = transform_points(T_map_camera, episode.camera.back_project(uv, depth))
    underside = thing.T_map_object[2, 3] - thing.size[2] / 2
    return bool(points[:, 2].min() < underside + FOOT_M)
