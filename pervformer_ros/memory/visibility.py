# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a depth image says about places: out of view, hidden, looked through."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import Frame
from pervformer_ros.geometry import Array, invert, transform_points

# Points that stand for a box, as fractions of its extents.
_SAMPLES = np.stack(np.meshgrid(*[np.linspace(-0.4, 0.4, 3)] * 3), axis=-1).reshape(-1, 3)
# Farther away nothing is said to be seen through, metres.
EMPTY_RANGE = 8.0
# Depth behind a point by more than this is behind it, metres and per square metre of distance.
MARGIN, MARGIN_PER_M2 = 0.05, 0.004
# Points without depth are looked past where at least this share of all is.
LOOKED_PAST = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Of N boxes, as shares of the 27 points in each.

    in_view: (N,) of all points: inside the image and near enough.
    through: (N,) of those in view, that the image looks past; 0 where none is in view. Where a good
        part of them is looked past, those without depth count too: what is behind is too far away.
    hidden: (N,) of those in view, before which something stands.
    """

    in_view: Array
    through: Array
    hidden: Array


def look_at(frame: Frame, T_odom_camera: Array, boxes: Array) -> Look:
    """Ask a depth image about boxes (N, 7): middle x y z, length, width, height, heading."""
    count = len(boxes)
    if frame.depth is None or count == 0:
        return Look(np.zeros(count), np.zeros(count), np.zeros(count))
    local = _SAMPLES[None] * boxes[:, None, 3:6]
    c, s = np.cos(boxes[:, 6, None]), np.sin(boxes[:, 6, None])
    turned = np.stack(
        [
            c * local[..., 0] - s * local[..., 1],
            s * local[..., 0] + c * local[..., 1],
            local[..., 2],
        ],
        axis=-1,
    )
    points = transform_points(invert(T_odom_camera), turned + boxes[:, None, :3]).reshape(-1, 3)
    measured, inside = sample_depth(frame, points)
    z = points[:, 2]
    margin = MARGIN + MARGIN_PER_M2 * z * z
    near = inside & (z <= EMPTY_RANGE)
    blank = near & (measured == 0)
    through = near & (measured > z + margin)
    hidden = near & ~blank & (measured < z - margin)
    in_view, looked_past, without, before = (
        x.reshape(count, -1).sum(axis=1) for x in (near, through, blank, hidden)
    )
    seen = np.maximum(in_view, 1)
    looked_past = looked_past + np.where(looked_past >= LOOKED_PAST * seen, without, 0)
    return Look(in_view / len(_SAMPLES), looked_past / seen, before / seen)


def sample_depth(frame: Frame, points: Array) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the depth (K,) where points (K, 3) of the optical frame project, and which do (K,).

    The depth is 0 where no pixel shows the point, or where none was measured.
    """
    assert frame.depth is not None
    camera = frame.camera
    uv = camera.project(points)
    inside: NDArray[np.bool_] = np.asarray(np.isfinite(uv).all(axis=1))
    pixels = np.rint(np.where(inside[:, None], uv, -1)).astype(int)
    inside &= (pixels >= 0).all(axis=1) & (pixels < (camera.width, camera.height)).all(axis=1)
    columns, rows = np.where(inside[:, None], pixels, 0).T
    return np.where(inside, frame.depth[rows, columns], np.float32(0)), inside
