# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the patch heads should say about a frame, from its instance image."""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from pervformer_ros.model.config import CLASSES, FINE, FINEST
from pervformer_ros.training.recording import Recording

Floats = NDArray[np.float32]
Values = Any
Edges = tuple[bool, bool, bool, bool]  # left, top, right, bottom

OBJECTS = 16  # most objects of a frame that masks and identities are learned from
LEAST_PIXELS = 100  # an object that shows fewer is neither asked for nor held against the model
FEWEST_PIXELS = 8  # below this nobody could tell
HEAT_SPREAD = 0.54 / 6  # of a peak, in box sizes (TTFNet, https://arxiv.org/abs/1909.00700)
LEAST_SPREAD = 0.5  # cells
ASIDE = 0.25  # of the box: how far aside a peak goes for a cell that shows the object
MOSTLY = 0.5  # part of a cell's pixels; more do not make it show the object any better
OWN = 0.3  # part of a cell's pixels; of fewer the cell does not speak for the object
EDGE = 0.05  # relative step of depth within a few pixels from which a corner is an outline
WHOLE: Edges = (False, False, False, False)
CORNERS = 0.008  # corners per pixel that are looked for, at most


class DenseTargets(NamedTuple):
    """Of one frame; h8 and h4 are its rows at strides 8 and 4, O = OBJECTS.

    Arrays of one frame; in a batch, tensors with (B, T) before these axes.
    """

    heat: Values  # float32 (C, h8, w8) in [0, 1], 1 at an object's peak
    heat_weight: Values  # float32 (h8, w8) 0 where it cannot be said
    box: Values  # float32 (4, h8, w8) left, top, right, bottom from the cell's centre, of the image
    box_weight: Values  # float32 (h8, w8) sums to 1 over each object
    category: Values  # int64 (h8, w8) the class of the object that a box is asked of
    body: Values  # int64 (O,) body index + 1, 0 = none
    cell: Values  # int64 (O,) a cell of the object, flat
    corners: Values  # float32 (O, 4) left, top, right, bottom, of the image
    instance: Values  # int64 (h4, w4) body index + 1, 0 = the static world
    motion: Values  # float32 (h4, w4) 1 = moves in the world
    motion_weight: Values  # float32 (h4, w4)


def dense_targets(
    rng: Generator,
    recording: Recording,
    instance: NDArray[np.uint16],
    hidden: NDArray[np.bool_],
    moving: NDArray[np.bool_],
    cut: Edges = WHOLE,
) -> DenseTargets:
    """Return the targets of a frame.

    An object's peak is at the cell nearest the middle of its box that shows the object itself: of
    what has forks, or is seen past other things, the middle may show something else, and nobody can
    tell from there what it is.

    What an edge of the window cuts off is neither asked for nor held against the model: nobody
    could tell how far it goes on.

    Args:
        rng: draws the cell that speaks for an object.
        recording: knows classes.
        instance: (H, W) as it is seen through the window.
        hidden: (H, W) bool, what the model is not shown.
        moving: (H, W) bool, what moves in the world.
        cut: at which edges the image goes on outside the window.
    """
    height, width = instance.shape
    rows, columns = height // FINE, width // FINE
    heat = np.zeros((len(CLASSES), rows, columns), np.float32)
    blind = _shrink(hidden.astype(np.float32), FINE)
    heat_weight = (blind < 0.3).astype(np.float32)
    box = np.zeros((4, rows, columns), np.float32)
    box_weight, category = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), int)
    body, cell = np.zeros(OBJECTS, np.int64), np.zeros(OBJECTS, np.int64)
    corners = np.zeros((OBJECTS, 4), np.float32)
    shown = np.where(hidden, 0, instance)
    places = find_objects(shown.astype(np.int32))
    counts = np.bincount(shown.ravel(), minlength=len(places) + 1)
    # Small objects come last: where two meet, the smaller one has the cell.
    found = sorted((i for i, p in enumerate(places) if p), key=lambda i: -counts[i + 1])
    asked = [
        i
        for i in found
        if counts[i + 1] >= LEAST_PIXELS and not _is_cut(places[i], (height, width), cut)
    ]
    x, y = (np.arange(columns) + 0.5) / columns, ((np.arange(rows) + 0.5) / rows)[:, None]
    for i in found:
        down, across = places[i]
        edges = np.array(
            [across.start / width, down.start / height, across.stop / width, down.stop / height]
        )
        if i not in asked:
            if counts[i + 1] >= FEWEST_PIXELS:
                _at_edges(heat_weight, edges)[:] = 0
            continue
        middle, size = (edges[:2] + edges[2:]) / 2, edges[2:] - edges[:2]
        spread = np.maximum(HEAT_SPREAD * size * (columns, rows), LEAST_SPREAD)
        own = np.minimum(_shrink((shown == i + 1).astype(np.float32), FINE), MOSTLY)
        cell_of_middle = np.floor(middle * (columns, rows))
        near = _bell(own.shape, cell_of_middle, ASIDE * size * (columns, rows))
        row, column = np.unravel_index(np.argmax(own * near), own.shape)
        gauss = _bell(own.shape, (column, row), spread)
        np.maximum(heat[recording.classes[i]], gauss, out=heat[recording.classes[i]])
        region = (gauss > 0.3) & (own >= min(OWN, own[row, column]))
        box[:, region] = np.stack(
            np.broadcast_arrays(x - edges[0], y - edges[1], edges[2] - x, edges[3] - y)
        )[:, region]
        box_weight[region] = gauss[region] / gauss[region].sum()
        category[region] = recording.classes[i]
        heat_weight[region] = blind[region] < 0.3  # also in front of what is not asked for
        slot = asked.index(i)
        if slot < OBJECTS:
            body[slot], corners[slot] = i + 1, edges
            cells = np.flatnonzero(region)
            cell[slot] = cells[rng.integers(len(cells))]
    # One of the middle pixels of each cell, or all would lie beside its middle.
    down, across = (slice(int(k), None, FINEST) for k in FINEST // 2 - rng.integers(2, size=2))
    fourth = down, across
    return DenseTargets(
        heat, heat_weight, box, box_weight, category, body, cell, corners,
        shown[fourth].astype(np.int64),
        (moving & ~hidden)[fourth].astype(np.float32),
        (_shrink(hidden.astype(np.float32), FINEST) < 0.3).astype(np.float32),
    )  # fmt: skip


def corner_cells(
    rgb: NDArray[np.uint8], depth: Floats, still: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the pixel of each 8x8 cell that is its best corner, 64 = none.

    Corners on outlines are no points of a surface, and corners on what moves are no landmarks: both
    are left out. So the keypoints learn to be what a map can be made of.

    Args:
        rgb: (H, W, 3) as the camera gave it.
        depth: (H, W) metres, 0 = none.
        still: (H, W) bool, does not move in the world.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    near = cv2.erode(depth, np.ones((5, 5), np.uint8))
    far = cv2.dilate(depth, np.ones((5, 5), np.uint8))
    good = (near > 0) & (far - near < EDGE * near + 0.02) & still
    points = cv2.goodFeaturesToTrack(
        grey, int(CORNERS * grey.size), 0.005, 4, mask=good.astype(np.uint8)
    )
    labels = np.full((grey.shape[0] // FINE, grey.shape[1] // FINE), FINE * FINE, np.int64)
    if points is None:
        return labels
    for u, v in points[::-1, 0].astype(int):  # the best come first, and must win
        labels[v // FINE, u // FINE] = v % FINE * FINE + u % FINE
    return labels


def _is_cut(place: tuple[slice, slice], shape: tuple[int, int], cut: Edges) -> bool:
    """Return whether something reaches an edge at which the image goes on."""
    (down, across), (height, width) = place, shape
    reached = across.start == 0, down.start == 0, across.stop == width, down.stop == height
    return any(a and b for a, b in zip(reached, cut, strict=True))


def _bell(shape: tuple[int, int], middle: Values, spread: Values) -> Floats:
    """Return a Gaussian (h8, w8) that is 1 at a cell, of the widths across and down."""
    rows, columns = shape
    across = ((np.arange(columns) - middle[0]) / spread[0]) ** 2
    down = ((np.arange(rows) - middle[1]) / spread[1]) ** 2
    return np.exp(-0.5 * (across + down[:, None])).astype(np.float32)


def _shrink(image: Floats, factor: int) -> Floats:
    """Return the means of blocks of pixels."""
    return cv2.resize(
        image, (image.shape[1] // factor, image.shape[0] // factor), interpolation=cv2.INTER_AREA
    )


def _at_edges(grid: Floats, edges: NDArray[np.float64]) -> Floats:
    """Return the cells that a box touches, a view."""
    rows, columns = grid.shape
    left, top = np.floor(edges[:2] * (columns, rows)).astype(int)
    right, bottom = np.ceil(edges[2:] * (columns, rows)).astype(int)
    return grid[top:bottom, left:right]
