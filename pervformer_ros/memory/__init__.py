# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Symbolic working memory: objects in the world, events, and their snapshot on disk."""

from pervformer_ros.memory import portrait
from pervformer_ros.memory.association import box_overlaps
from pervformer_ros.memory.belief import Calibration
from pervformer_ros.memory.corridor import Corridor
from pervformer_ros.memory.corridor_file import corridors_of_bag, read_corridors, read_edges
from pervformer_ros.memory.events import Event, EventLog, EventType
from pervformer_ros.memory.object_map import ObjectMap
from pervformer_ros.memory.objects import ObjectState, Sighting, WorldObject
from pervformer_ros.memory.paths import PathState
from pervformer_ros.memory.placing import place_sightings
from pervformer_ros.memory.snapshot import Snapshot, SnapshotError
from pervformer_ros.memory.working_memory import MemoryConfig, WorkingMemory

__all__ = [
    "Calibration",
    "Corridor",
    "Event",
    "EventLog",
    "EventType",
    "MemoryConfig",
    "ObjectMap",
    "ObjectState",
    "PathState",
    "Sighting",
    "Snapshot",
    "SnapshotError",
    "WorkingMemory",
    "WorldObject",
    "box_overlaps",
    "corridors_of_bag",
    "place_sightings",
    "portrait",
    "read_corridors",
    "read_edges",
]
