# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: images of other sizes, and how a result is told."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import cv2

from pervformer_ros.frame import Frame


def resized(frame: Frame, width: int, height: int) -> Frame:
    """Return the frame as a camera with an image of another size would have it.

    Where that is flatter, it is cut above and below.
    """
    camera, depth = frame.camera, frame.depth
    if (camera.width, camera.height) == (width, height):
        return frame
    rows = min(camera.height, round(camera.width * height / width))
    top = (camera.height - rows) // 2
    if depth is not None:
        depth = cv2.resize(
            depth[top : top + rows], (width, height), interpolation=cv2.INTER_NEAREST
        )
    return replace(
        frame,
        rgb=cv2.resize(frame.rgb[top : top + rows], (width, height)),
        depth=depth,
        camera=replace(camera, height=rows, cy=camera.cy - top).scaled(width, height),
    )


def tell(
    about: Mapping[str, Any],
    as_json: bool,
    rows: Sequence[Mapping[str, Any]] = (),
    headings: Sequence[str] = (),
) -> None:
    """Print facts line by line and a table, or all of it as one JSON object.

    Args:
        about: the facts.
        as_json: print JSON.
        rows: of the table; the first value names the row.
        headings: of the other values.
    """
    if as_json:
        print(json.dumps({**about, "rows": list(rows)} if rows else dict(about)))
        return
    for name, value in about.items():
        print(f"{name:20} {value}")
    if rows:
        print(f"{'':20} " + " ".join(f"{heading:>10}" for heading in headings))
    for row in rows:
        what, *figures = row.values()
        print(f"{what:20} " + " ".join(f"{figure!s:>10}" for figure in figures))
