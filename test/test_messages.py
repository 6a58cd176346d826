# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The messages are a contract with other people's robots: nothing in them changes by accident."""

from pathlib import Path

import pytest

pytest.importorskip("pervformer_msgs", reason="needs ROS 2 and the built messages")

from pervformer_msgs import msg, srv

DEFINITIONS = sorted(Path(__file__).parents[1].glob("pervformer_msgs/*/*.*"))

# Fields by type, in order, as rosidl names them in Python: float is float32, boolean is bool.
MESSAGES = {
    "TrackedObject": {
        "id": "uint32",
        "label": "string",
        "score": "float",
        "state": "uint8",
        "moving": "boolean",
        "motion_probability": "float",
        "roi": "sensor_msgs/RegionOfInterest",
        "pose": "geometry_msgs/PoseWithCovariance",
        "size": "geometry_msgs/Vector3",
        "velocity": "geometry_msgs/Vector3",
        "first_seen": "builtin_interfaces/Time",
        "last_seen": "builtin_interfaces/Time",
        "embedding": "sequence<float>",
    },
    "TrackedObjectArray": {
        "header": "std_msgs/Header",
        "objects": "sequence<pervformer_msgs/TrackedObject>",
    },
    "SemanticEvent": {
        "header": "std_msgs/Header",
        "sequence": "uint64",
        "type": "uint8",
        "object_id": "uint32",
        "object_label": "string",
        "agent_id": "uint32",
        "agent_label": "string",
        "from_pose": "geometry_msgs/Pose",
        "to_pose": "geometry_msgs/Pose",
        "path_name": "string",
        "confidence": "float",
    },
    "FeatureArray": {
        "header": "std_msgs/Header",
        "width": "uint16",
        "height": "uint16",
        "uv": "sequence<float>",
        "points": "sequence<float>",
        "score": "sequence<float>",
        "static_probability": "sequence<float>",
        "descriptor_size": "uint16",
        "descriptors": "sequence<uint8>",
        "place_descriptor": "sequence<float>",
    },
    "WorkingMemoryStatus": {
        "header": "std_msgs/Header",
        "frames": "uint64",
        "frames_dropped": "uint64",
        "probes": "uint32",
        "probes_in_use": "uint32",
        "objects_visible": "uint32",
        "objects_remembered": "uint32",
        "state_bytes": "uint64",
        "latency_ms": "float",
        "checkpoint": "string",
    },
}
FILE_SERVICE = ({"path": "string"}, {"success": "boolean", "message": "string"})
SERVICES = {
    "SaveMemory": FILE_SERVICE,
    "LoadMemory": FILE_SERVICE,
    "QueryMemory": (
        {
            "label": "string",
            "centre": "geometry_msgs/Point",
            "radius": "float",
            "since": "builtin_interfaces/Time",
        },
        {
            "objects": "sequence<pervformer_msgs/TrackedObject>",
            "events": "sequence<pervformer_msgs/SemanticEvent>",
        },
    ),
}


def fields(interface):
    return list(interface.get_fields_and_field_types().items())


@pytest.mark.parametrize("name", MESSAGES)
def test_message_has_the_fields_of_the_contract(name):
    assert fields(getattr(msg, name)) == list(MESSAGES[name].items())


@pytest.mark.parametrize("name", SERVICES)
def test_service_has_the_fields_of_the_contract(name):
    service = getattr(srv, name)
    request, response = SERVICES[name]
    assert fields(service.Request) == list(request.items())
    assert fields(service.Response) == list(response.items())


def test_nothing_is_defined_beside_the_contract():
    assert {path.stem for path in DEFINITIONS} == {*MESSAGES, *SERVICES}


def test_states_keep_their_numbers():
    names = ["VISIBLE", "REMEMBERED", "GONE"]
    assert [getattr(msg.TrackedObject, name) for name in names] == [0, 1, 2]


def test_event_types_keep_their_numbers():
    names = ["APPEARED", "REMOVED", "MOVED", "STARTED_MOVING", "STOPPED"]
    names += ["PATH_BLOCKED", "PATH_CLEARED"]
    assert [getattr(msg.SemanticEvent, name) for name in names] == list(range(7))


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.name)
def test_every_field_is_documented(path):
    """A comment stands on the line above, or at the end of the line (as constants have it)."""
    above = ""
    for line in map(str.strip, path.read_text().splitlines()):
        if line and line != "---" and not line.startswith("#"):
            assert "#" in line or above.startswith("# "), f"{path.name}: {line}"
        above = line


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.name)
def test_every_definition_is_built(path):
    assert path.name in (path.parents[1] / "CMakeLists.txt").read_text()
