# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which sighting is which object: one assignment problem, costs in log-odds."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from pervformer_ros.geometry import Array
from pervformer_ros.memory.appearance import UNMET, Appearance
from pervformer_ros.memory.objects import BIAS_SIGMA, Sighting, WorldObject

# A pair that costs as much as this is worse than a new object; the gate of a chi-square of 2.
MOST_COST = 9.0
GATE = 25.0
# Boxes of two images in a row that overlap are worth so much; later ones say nothing.
OVERLAP_WORTH, OVERLAP_S = 4.0, 0.25
# How far the middle of a thing may seem to jump from one image to the next, metres.
JUMP_M = 1.2
PROBE_WORTH = 1.0
# Who looks like somebody may still be another: likeness is worth no more than this.
MOST_ALIKE = 4.0
# What another class costs at most.
LEAST_CLASS_PROBABILITY = 0.01
# Floor (m²) on which a new object may be anywhere, for the odds of meeting one by chance.
FLOOR_AREA = 300.0
# Log-odds that a newcomer is a thing that was known, by how that was last known.
LAST_IN_MOTION, PLACE_EMPTY, MAY_WALK, AT_REST = 1.0, 0.0, 0.0, -4.0


def assign(cost: Array) -> list[tuple[int, int]]:
    """Return the pairs of rows and columns of least sum, of those below MOST_COST."""
    if cost.size == 0:
        return []
    rows, columns = linear_sum_assignment(np.minimum(cost, MOST_COST))
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if cost[i, j] < MOST_COST]


def costs(
    things: Sequence[WorldObject],
    sightings: Sequence[Sighting],
    stamp_ns: int,
    drift_sigma: Array,
    looks: Mapping[str, Appearance],
) -> Array:
    """Return what it costs (N, M) to call sighting j object i.

    Args:
        things: N objects, predicted to now.
        sightings: M of one image.
        stamp_ns: of the image.
        drift_sigma: (N,) metres by which odometry may be off since each was seen.
        looks: weighs embeddings, by the class of the object.
    """
    if not things or not sightings:
        return np.zeros((len(things), len(sightings)))
    offset = (
        np.array([s.position[:2] for s in sightings])
        - np.array([o.position[:2] for o in things])[:, None]
    )
    own = np.array([o.covariance[:2, :2] for o in things])
    own = own + (drift_sigma**2 + BIAS_SIGMA**2)[:, None, None] * np.eye(2)
    S = own[:, None] + np.array([s.covariance[:2, :2] for s in sightings])[None]
    squared = np.einsum("nmi,nmij,nmj->nm", offset, np.linalg.inv(S), offset)
    # The larger the doubt, the less a place says.
    spread = 0.5 * np.log(np.linalg.det(S)) + 3.0
    overlap = _overlaps(things, sightings, stamp_ns)
    # One behind the other overlap in the image, too.
    reach = JUMP_M + 2 * np.sqrt(np.trace(S, axis1=2, axis2=3))
    overlap = np.where(np.linalg.norm(offset, axis=2) < reach, overlap, 0.0)
    near = np.minimum(0.5 * squared, np.where(overlap > 0.3, 4.0, np.inf))
    cost = near + spread.clip(min=0) - OVERLAP_WORTH * overlap
    cost -= alike(things, sightings, looks).clip(max=MOST_ALIKE)
    cost -= np.log(_class_probabilities(things, sightings))
    cost += PROBE_WORTH * _probes(things, sightings)
    return np.where((squared > GATE) & (overlap <= 0.3), np.inf, cost)


def recognition_costs(
    known: Sequence[WorldObject],
    new: Sequence[WorldObject],
    stamp_ns: int,
    looks: Mapping[str, Appearance],
) -> Array:
    """Return what it costs (N, M) to take newcomer j for object i, which has not been seen since.

    Below zero where it is likelier than not.
    """
    cost = np.full((len(known), len(new)), np.inf)
    if not known or not new:
        return cost
    said = alike(known, new, looks, again=True)
    for i, thing in enumerate(known):
        gap_s = thing.unseen_s(stamp_ns)
        reach = thing.prior.speed * gap_s + 1.0
        for j, other in enumerate(new):
            distance = float(np.linalg.norm((other.position - thing.position)[:2]))
            sigma = float(np.sqrt(np.trace(thing.covariance[:2, :2] + other.covariance[:2, :2])))
            if distance > reach + 2 * sigma:
                continue
            same_class = np.log(max(thing.class_probability(other.label), 1e-3))
            cost[i, j] = -(
                said[i, j]
                + same_class
                + _same_size(thing, other)
                + _last_known(thing, distance, gap_s)
            )
    return cost


def alike(
    things: Sequence[WorldObject],
    others: Sequence[Sighting | WorldObject],
    looks: Mapping[str, Appearance],
    again: bool = False,
) -> Array:
    """Return what looks say for one individual (N, M), as log-odds; again: met after a while."""
    sizes = {len(x.embedding) for x in (*things, *others)}
    if len(sizes) != 1 or 0 in sizes:
        return np.zeros((len(things), len(others)))
    similarity = np.array([o.embedding for o in things]) @ np.array([s.embedding for s in others]).T
    said, labels = np.empty(similarity.shape), np.array([o.label for o in things])
    for label in np.unique(labels).tolist():
        mine = labels == label
        said[mine] = looks.get(label, UNMET).log_odds(similarity[mine], again)
    return said


def box_overlaps(boxes: Array, others: Array) -> Array:
    """Return the overlap over union (N, M) of boxes x, y, width, height."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    ends, other_ends = boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:]
    high = np.minimum(ends[:, None], other_ends[None])
    shared = (high - low).clip(min=0).prod(axis=2)
    areas = boxes[:, 2:].prod(axis=1)[:, None] + others[:, 2:].prod(axis=1)[None]
    return np.asarray(shared / np.maximum(areas - shared, 1e-9))


def shared_ground(thing: Sighting | WorldObject, other: Sighting | WorldObject) -> float:
    """Return which share of the smaller one's ground two things share, seen from above."""
    (place, size), (other_place, other_size) = (
        (o.position[:2], np.maximum(o.size[:2], 0.05)) for o in (thing, other)
    )
    if np.hypot(*(place - other_place)) > (np.hypot(*size) + np.hypot(*other_size)) / 2:
        return 0.0
    kind, corners = cv2.rotatedRectangleIntersection(
        (tuple(place), tuple(size), float(np.degrees(thing.heading))),
        (tuple(other_place), tuple(other_size), float(np.degrees(other.heading))),
    )
    if kind == cv2.INTERSECT_NONE or corners is None or len(corners) < 3:
        return 0.0
    area = cv2.contourArea(cv2.convexHull(corners))
    return float(area / min(size.prod(), other_size.prod()))


def _last_known(thing: WorldObject, distance: float, gap_s: float) -> float:
    """Return the log-odds that a thing is where a newcomer is, by how it was last known."""
    in_motion = thing.in_motion or thing.moving
    if in_motion or thing.prior.moves_alone:
        sigma = min(0.7 + 0.5 * thing.prior.speed * gap_s, 8.0)
        density = -0.5 * (distance / sigma) ** 2 - np.log(2 * np.pi * sigma**2)
        before = LAST_IN_MOTION if in_motion else MAY_WALK
        return float(before + density + np.log(FLOOR_AREA))
    return PLACE_EMPTY if thing.existence < 0 else AT_REST


def _same_size(thing: WorldObject, other: WorldObject) -> float:
    ratio = np.log(max(thing.size[2], 0.05) / max(other.size[2], 0.05))
    return float(max(-0.5 * (ratio / 0.3) ** 2, -1.0))


def _overlaps(things: Sequence[WorldObject], sightings: Sequence[Sighting], stamp_ns: int) -> Array:
    overlap = box_overlaps(
        np.array([o.box for o in things], float), np.array([s.box for s in sightings], float)
    )
    recent = np.array([o.unseen_s(stamp_ns) <= OVERLAP_S for o in things])
    return np.asarray(overlap * recent[:, None])


def _class_probabilities(things: Sequence[WorldObject], sightings: Sequence[Sighting]) -> Array:
    labels = sorted({s.label for s in sightings})
    table = np.array([[o.class_probability(label) for label in labels] for o in things])
    columns = [labels.index(s.label) for s in sightings]
    return np.asarray(np.maximum(table[:, columns], LEAST_CLASS_PROBABILITY))


def _probes(things: Sequence[WorldObject], sightings: Sequence[Sighting]) -> Array:
    """Return -1 where both have the same probe, 1/2 where both have one and not the same."""
    own = np.array([o.probe for o in things])[:, None]
    theirs = np.array([s.probe for s in sightings])[None]
    both = (own >= 0) & (theirs >= 0)
    return np.where(both & (own == theirs), -1.0, np.where(both, 0.5, 0.0))
