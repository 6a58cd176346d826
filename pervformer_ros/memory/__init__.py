# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Symbolic working memory: objects in the world, events, and their snapshot on disk."""

from pervformer_ros.memory.events import Event, EventLog, EventType
from pervformer_ros.memory.objects import ObjectMap, ObjectState, Sighting, WorldObject
from pervformer_ros.memory.placing import place_sightings
from pervformer_ros.memory.snapshot import Snapshot, SnapshotError
from pervformer_ros.memory.working_memory import MemoryConfig, WorkingMemory

__all__ = [
    "Event",
    "EventLog",
    "EventType",
    "MemoryConfig",
    "ObjectMap",
    "ObjectState",
    "Sighting",
    "Snapshot",
    "SnapshotError",
    "WorkingMemory",
    "WorldObject",
    "place_sightings",
]
