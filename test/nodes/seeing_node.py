# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node with eyes that make no mistake, as a process of its own.

A pixel's red says which object it shows, 0 = none, in place of what weights would find. All else is
the real node.
"""

import numpy as np

from pervformer_ros.evaluation.memory.percepts import TruthPercepts
from pervformer_ros.frame import Frame
from pervformer_ros.geometry import Array
from pervformer_ros.memory import Sighting
from pervformer_ros.model import PerceptArrays
from pervformer_ros.nodes import perception
from pervformer_ros.pipeline import Pipeline

MOST_OBJECTS = 9


class SeeingPipeline(Pipeline):
    """The line, told the truth."""

    percepts = TruthPercepts(["pallet"] * (MOST_OBJECTS + 1), seed=0)
    trained = True

    def _sightings(
        self, frame: Frame, T_odom_base: Array, percept: PerceptArrays
    ) -> list[Sighting]:
        instances = frame.rgb[..., 0].astype(np.uint16)
        return self.percepts.sightings(frame, T_odom_base, instances, [])


if __name__ == "__main__":
    perception.Pipeline = SeeingPipeline
    perception.main()
