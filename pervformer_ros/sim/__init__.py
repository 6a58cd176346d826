# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated warehouse: procedural world, ray-cast camera, stories and exact ground truth."""

from pervformer_ros.sim.episode import Episode
from pervformer_ros.sim.record import simulate, stream

__all__ = ["Episode", "simulate", "stream"]
