# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Corridors from files: a YAML list of one's own, or what a simulated bag says of itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]

from pervformer_ros.geometry import invert
from pervformer_ros.memory.corridor import Corridor

# nav2 counts edges in 16 bits.
MOST_EDGES = 2**16


def read_corridors(path: Path) -> tuple[Corridor, ...]:
    """Return the corridors of a YAML file, in the frame it is written for.

    paths:
      - {name: aisle_a, half_width: 0.45, centre_line: [[1.0, 2.0], [1.0, 9.5]]}

    Raises:
        ValueError: if the file is missing or holds something else; the text says what.
    """
    try:
        content = yaml.safe_load(path.read_text())
        return tuple(_corridor(entry) for entry in content["paths"])
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"cannot read paths from {path}: {error}") from error
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds no paths ({error!r}): give a list 'paths' of name, half_width, "
            "centre_line"
        ) from error


def read_edges(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the edges of nav2's route graph that belong to each corridor of a YAML file.

    paths:
      - {name: aisle_a, edges: [3, 4], centre_line: [[1.0, 2.0], [1.0, 9.5]]}

    Raises:
        ValueError: if the file is missing or names what is no edge; the text says what.
    """
    try:
        entries = yaml.safe_load(path.read_text())["paths"]
        edges = {str(e["name"]): tuple(e["edges"]) for e in entries if e.get("edges")}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"cannot read edges from {path} ({error!r}): give a list 'paths' of name, edges, "
            "centre_line"
        ) from error
    for name, ids in edges.items():
        if not all(isinstance(i, int) and 0 <= i < MOST_EDGES for i in ids):
            raise ValueError(f"{path}: edges of path '{name}' are {ids}: give ids from 0 to 65535")
    return edges


def corridors_of_bag(bag: Path) -> tuple[Corridor, ...]:
    """Return the corridors that a simulated bag names, in odom as it is at the start.

    There SLAM's map begins, too. None where the bag names none.
    """
    try:
        notes = yaml.safe_load((bag / "metadata.yaml").read_text())
        custom = notes["rosbag2_bagfile_information"]["custom_data"]
        entries, T_map_odom = json.loads(custom["paths"]), json.loads(custom["T_map_odom"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
        return ()
    T = invert(np.array(T_map_odom, float))
    return tuple(_corridor(entry).moved(T) for entry in entries)


def _corridor(entry: dict[str, Any]) -> Corridor:
    line = np.array(entry["centre_line"], float)
    return Corridor(str(entry["name"]), line, float(entry.get("half_width", 0.45)))
