# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Notices that the robot was carried elsewhere while it could not see: odometry felt nothing.

The last place seen before the camera went blind is not there when it sees again, although odometry
says that the robot has hardly moved. A view that is merely blocked shows the same for a while, but
then the camera was not blind before.
"""

import numpy as np

from pervformer_ros.slam.odometry import Reading, link
from pervformer_ros.slam.view import View

# Fewer features with depth than this are blindness, and it must last this long (seconds).
BLIND_FEATURES = 12
BLIND_SECONDS = 1.0
# For so long (seconds), and in so many views with so many features, it must see something else.
STRANGE_SECONDS = 0.6
STRANGE_VIEWS = 3
STRANGE_FEATURES = 60
# And the robot must not have driven farther than this (metres) or turned farther (radians) since.
DRIVEN, TURNED = 1.0, 0.5


class AbductionWatch:
    """Watches views and odometry in order."""

    def __init__(self) -> None:
        self._seen: Reading | None = None  # odometry when something was last recognised
        self._blind_since_ns: int | None = None
        self._was_blind = False
        self._strange: list[int] = []  # stamps

    @property
    def suspects(self) -> bool:
        """Whether the last views were strange: no map should be built on them yet."""
        return bool(self._strange)

    @property
    def was_blind(self) -> bool:
        """Whether nothing was recognised since the camera was blind: it may be anywhere."""
        return self._was_blind

    def observe(self, view: View, recognised: bool) -> bool:
        """Take a view and whether it was recognised; return whether the robot was carried off."""
        if recognised:  # and so not blind, whatever has depth
            self._seen, self._was_blind, self._strange = view.reading, False, []
            self._blind_since_ns = None
            return False
        features = int(np.count_nonzero(view.has_point))
        if features < BLIND_FEATURES:
            if self._blind_since_ns is None:
                self._blind_since_ns = view.stamp_ns
            self._was_blind |= (view.stamp_ns - self._blind_since_ns) * 1e-9 >= BLIND_SECONDS
            return False
        self._blind_since_ns = None
        if not self._was_blind:
            return False
        way = link(self._seen, view.reading)
        if way is None or way.path > DRIVEN or way.turn > TURNED:
            self._was_blind, self._strange = False, []
            return False
        if features < STRANGE_FEATURES:
            return False
        self._strange.append(view.stamp_ns)
        seconds = (view.stamp_ns - self._strange[0]) * 1e-9
        if len(self._strange) < STRANGE_VIEWS or seconds < STRANGE_SECONDS:
            return False
        self._was_blind, self._strange = False, []
        return True
