# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Detections in an image become sightings in the world: where the middle of a thing is."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import Frame, thinning
from pervformer_ros.geometry import Array, transform_points
from pervformer_ros.memory.classes import ClassPrior, prior_of
from pervformer_ros.memory.floor import level
from pervformer_ros.memory.objects import Sighting

# Images wider than twice this are thinned out, or masks would be counted by the million; pixels.
WIDTH_PX = 640
# A thing needs so many pixels with depth, well inside its mask, to be placed by them, and these
# must be such a share of what is there: else they show what stands before or beside it.
LEAST_PIXELS, MEASURED_SHARE = 20, 0.25
# What is nearer or farther than the middle of its depths by more than its length and this much more
# does not belong to it, metres.
ODD_DEPTH_M = 0.3
EDGE_PX = 1
STRIP_DEPTH_M = 1.0
# More points than these say nothing new about a footprint.
MOST_POINTS = 250
# The middle of a thing is known no better than this from one image, metres.
LEAST_SIGMA = 0.06
HIDDEN_SIGMA = 0.2
# Of what has forks they alone are in view where nothing is as high as this share of its height.
FORKS_SHARE = 0.4
# Half turns are told apart by nothing that is seen here: headings from 0 to pi.
HEADINGS = np.linspace(0, np.pi, 24, endpoint=False)
# A distance from a face counts no more than this, so that a few odd points do not turn the box.
ODD_M = 0.15
# Where depth has no reach: how well the lower edge of a box is known, and the farthest place.
CONTACT_SIGMA_PX = 1.0
# A thing stands where its mask reaches down to so many pixels from its lowest row.
FOOT_PX = 1
LIFTED_M = 0.15
# How well it is known how the camera tilts, radians.
TILT_SIGMA = 0.002
FARTHEST_M = 35.0
# How much things of a class differ in height, as a share of it.
HEIGHT_SHARE = 0.04
# And where along its length its highest part is, as a share of that.
TOP_SHARE = 0.15
# Depth above a box that is nearer than this share of a distance hides the top of what is there.
NEARER = 0.85
# What stands before a thing is nearer by this (metres) along so much of a side of its box, or of
# its lower edge.
BEFORE_M, BESIDE, UNDER = 0.4, 0.4, 0.3
# Directions more alike than this (cosine) are the same side of a thing.
ACROSS = 0.5


@dataclass(frozen=True, slots=True)
class _Footprint:
    """A rectangle on the floor: middle (2,), length and width, heading, doubt along both axes."""

    middle: Array
    size: Array
    heading: float
    sigma: Array

    @property
    def covariance(self) -> Array:
        """The doubt about the middle (2, 2) in the world's axes."""
        c, s = np.cos(self.heading), np.sin(self.heading)
        R = np.array([[c, -s], [s, c]])
        return np.asarray(R @ np.diag(self.sigma**2) @ R.T)


def place_sightings(
    frame: Frame,
    T_odom_base: Array,
    labels: Sequence[str],
    scores: NDArray[np.float32],
    boxes: NDArray[np.float32],
    masks: NDArray[np.bool_],
    embeddings: NDArray[np.float32],
    motion: NDArray[np.float32],
    probes: Sequence[int] | None = None,
) -> list[Sighting]:
    """Return the sightings of the K detections that can be placed.

    A rectangle of the class's size is fitted to the surface that depth shows. Where depth does not
    reach, the lower edge of the box is taken for where the thing stands on the floor.

    Args:
        frame: the image; without depth nothing is placed.
        T_odom_base: where the robot was; its base stands on the floor.
        labels: K class names.
        scores: (K,).
        boxes: (K, 4) left, top, right, bottom pixels.
        masks: (K, H, W) bool.
        embeddings: (K, E).
        motion: (K,) probabilities.
        probes: K numbers of the memory probes that explain each, -1 = none.
    """
    if frame.depth is None:
        return []
    step = max(1, frame.camera.width // WIDTH_PX)
    rows, columns = thinning(step)
    frame, masks = frame.thinned(step), masks[:, rows, columns]
    T_odom_camera = level(frame, T_odom_base)
    floor = float(T_odom_base[2, 3])
    sightings = []
    for i, label in enumerate(labels):
        prior = prior_of(label)
        # Goods that move are carried, off the floor.
        lifted = motion[i] > 0.5 and not prior.moves_alone
        box = boxes[i] / step
        points = _surface(frame, masks[i], box, prior)
        placed = None
        if points is not None:
            placed = _by_surface(frame, T_odom_camera, floor, box, points, prior, lifted)
        if placed is None:
            under = floor + (LIFTED_M if lifted else 0.0)
            placed = _by_contact(frame, T_odom_camera, under, box, masks[i], prior)
        if placed is None:
            placed = _by_height(frame, T_odom_camera, floor, box, prior)
        if placed is None:
            continue
        position, covariance, size, heading = placed
        left, top, right, bottom = boxes[i]
        sightings.append(
            Sighting(
                label=label,
                score=float(scores[i]),
                position=position,
                covariance=covariance,
                size=size,
                box=np.array([left, top, right - left, bottom - top], np.float32),
                embedding=embeddings[i],
                motion_probability=float(motion[i]),
                heading=heading,
                probe=-1 if probes is None else int(probes[i]),
            )
        )
    return sightings


def fit_footprint(
    points: Array, camera: Array, prior: ClassPrior, cut: Array | None = None
) -> _Footprint:
    """Fit a rectangle of a class's size to what is seen of a thing from above.

    Of a thing the two faces towards the camera are seen: of all headings the one is taken with
    which the points lie nearest to those faces and fill them.

    Args:
        points: (K, 2) metres.
        camera: (2,) where it is seen from.
        prior: the class.
        cut: (2,) of unit length, to which side it goes on beyond the image's edge; zero for both
            sides, None where all of it lies in the image.
    """
    headings = HEADINGS if abs(prior.length - prior.width) > 0.05 else HEADINGS[:12]
    axes = np.stack([np.cos(headings), np.sin(headings)], axis=1)
    # (2, N, K): coordinates along the length and the width of every candidate.
    along = np.stack([axes, axes[:, ::-1] * (-1, 1)]) @ points.T
    eye = np.stack([axes, axes[:, ::-1] * (-1, 1)]) @ camera
    low, high = np.percentile(along, (3, 97), axis=2)
    typical = np.array([prior.length, prior.width])[:, None]
    extent = high - low
    size = np.maximum(typical, extent)
    below, above = eye < low, eye > high
    middle = np.where(below, low + size / 2, np.where(above, high - size / 2, (low + high) / 2))
    if cut is not None:
        # What is looked at straight ends where it is seen to end, and goes on at the image's edge.
        goes_on = np.stack([axes, axes[:, ::-1] * (-1, 1)]) @ cut
        straight_at = ~(below | above)
        middle = np.where(straight_at & (goes_on > ACROSS), low + size / 2, middle)
        middle = np.where(straight_at & (goes_on < -ACROSS), high - size / 2, middle)
    near = np.where(below, low, np.where(above, high, np.inf))
    face = np.abs(along - near[..., None]).min(axis=0)
    beyond = (extent - typical).clip(min=0)
    # A face that is looked at straight shows all of the extent along it.
    before = np.where(below, low - eye, np.where(above, eye - high, 0.0))
    straight = before[::-1] / np.maximum(np.hypot(*before), 1e-6)
    short = straight * (typical - extent).clip(min=0)
    cost = face.clip(max=ODD_M).mean(axis=1) + beyond.sum(axis=0)
    cost = cost + (0.3 if cut is None else 0.1) * short.sum(axis=0)
    best = int(np.argmin(cost))
    heading = float(headings[best])
    R = np.array([[axes[best, 0], -axes[best, 1]], [axes[best, 1], axes[best, 0]]])
    faces_camera = below[:, best] | above[:, best]
    lacking = (typical - extent).clip(min=0)[:, best]
    sigma = np.hypot(LEAST_SIGMA, np.where(faces_camera & (cut is None), 0.15, 0.4) * lacking)
    return _Footprint(R @ middle[:, best], size[:, best], heading, sigma)


def _by_surface(
    frame: Frame,
    T_odom_camera: Array,
    floor: float,
    box: NDArray[np.float32],
    points: Array,
    prior: ClassPrior,
    lifted: bool,
) -> tuple[Array, Array, Array, float] | None:
    """Place a thing by the points (K, 3) that show it; None where they cannot be of it."""
    world = transform_points(T_odom_camera, points)
    distance = float(np.median(points[:, 2]))
    low, high = np.percentile(world[:, 2], (2, 98))
    if box[1] < 2:  # its top is above the image
        high = max(high, floor + prior.height)
    stands = box[3] > frame.camera.height - 2 or low < floor + 0.3
    if stands:
        low = floor
    elif not lifted and not _hidden_below(frame, box, distance):
        return None  # nothing floats: this is something that stands before it
    cut = _cut_side(frame, T_odom_camera, box, distance)
    found = fit_footprint(world[:, :2], T_odom_camera[:2, 3], prior, cut)
    size = np.array([*found.size, max(high - low, 0.05)])
    position = np.array([*found.middle, (low + high) / 2])
    covariance = np.zeros((3, 3))
    rough = np.hypot(0.01 * distance, prior.ragged)
    covariance[:2, :2] = found.covariance + rough**2 * np.eye(2)
    covariance[2, 2] = LEAST_SIGMA**2
    if prior.forked and high - floor < FORKS_SHARE * prior.height:
        # These are its forks, and the rest of it is out of view.
        covariance[:2, :2] += (0.5 * prior.length) ** 2 * np.eye(2)
    if not stands:  # its foot is hidden, and so may be one of its sides
        covariance += HIDDEN_SIGMA**2 * np.eye(3)
    return position, covariance, size, found.heading


def _cut_side(
    frame: Frame, T_odom_camera: Array, box: NDArray[np.float32], distance: float
) -> Array | None:
    """Return to which side (2,) of the world what is in a box goes on, as fit_footprint.

    There the image ends, or something nearer than the distance stands before it.
    """
    assert frame.depth is not None
    first, top, last, bottom = (round(float(v)) for v in box)
    rows = frame.depth[top:bottom]

    def hides(columns: slice) -> bool:
        return _share_nearer(rows[:, columns], distance - BEFORE_M) > BESIDE

    left = first < 2 or hides(slice(max(first - 4, 0), max(first - 1, 0)))
    right = last > frame.camera.width - 2 or hides(slice(last + 1, last + 4))
    if not (left or right):
        return None
    rightwards = T_odom_camera[:2, 0] / np.linalg.norm(T_odom_camera[:2, 0])
    return np.asarray((float(right) - float(left)) * rightwards)


def _by_contact(
    frame: Frame,
    T_odom_camera: Array,
    floor: float,
    box: NDArray[np.float32],
    mask: NDArray[np.bool_],
    prior: ClassPrior,
) -> tuple[Array, Array, Array, float] | None:
    """Place a thing beyond the reach of depth by its lower edge, which stands on the floor."""
    left, top, right, bottom = (float(v) for v in box)
    height, width = frame.camera.height, frame.camera.width
    if bottom > height - 2:
        return None
    uv = np.array([[(left + right) / 2 - 0.5, bottom - 0.5]])
    rays = frame.camera.back_project(uv, np.ones(1)) @ T_odom_camera[:3, :3].T
    down = float(-rays[0, 2])
    tall = float(T_odom_camera[2, 3]) - floor
    if down < 1e-3 or tall < 0.05:
        return None
    scale = tall / down
    flat = rays[0, :2] * scale
    distance = float(np.linalg.norm(flat))
    if distance > FARTHEST_M or not _beyond_depth(frame, box, mask, scale):
        return None
    towards = flat / distance
    cut = left < 1 or right > width - 1
    wide = prior.width if cut else (right - left) / frame.camera.fx * scale
    behind = _half_behind(prior, wide)
    position = np.array([*(T_odom_camera[:2, 3] + flat + behind * towards), 0.0])
    # A pixel of the lower edge is this much floor.
    angle = np.hypot(CONTACT_SIGMA_PX / frame.camera.fy, TILT_SIGMA)
    along = angle * distance**2 / tall + 0.15 * prior.length
    across = CONTACT_SIGMA_PX * distance / frame.camera.fx + (0.5 if cut else 0.1) * prior.length
    R = np.array([[towards[0], -towards[1]], [towards[1], towards[0]]])
    tall_m = (bottom - top) / frame.camera.fy * scale
    if tall_m > prior.tallest + 2 * CONTACT_SIGMA_PX / frame.camera.fy * scale:
        return None  # its foot is hidden: it would be farther away than it is, and too tall
    position[2] = floor + tall_m / 2
    covariance = np.diag([0.0, 0.0, 0.2**2])
    covariance[:2, :2] = R @ np.diag([along**2, across**2]) @ R.T
    size = np.array([prior.length, prior.width, tall_m])
    return position, covariance, size, 0.0


def _half_behind(prior: ClassPrior, wide: float) -> float:
    """Return how far behind its nearest corner the middle of a thing is that looks so wide, metres.

    A rectangle of its class turned so that it looks as wide: end on, it reaches the farther back.
    """
    c, s = np.cos(HEADINGS), np.abs(np.sin(HEADINGS))
    across = prior.length * s + prior.width * np.abs(c)
    back = prior.length * np.abs(c) + prior.width * s
    return float(back[np.argmin(np.abs(across - wide))]) / 2


def _by_height(
    frame: Frame, T_odom_camera: Array, floor: float, box: NDArray[np.float32], prior: ClassPrior
) -> tuple[Array, Array, Array, float] | None:
    """Place a thing whose lower edge is hidden by how tall it looks: a rough guess."""
    left, top, right, bottom = (float(v) for v in box)
    if bottom - top < 4 or frame.depth is None:
        return None
    # Half hidden, it looks small; and it is beyond what depth reaches.
    farthest = min(frame.camera.fy * prior.tallest / (bottom - top), FARTHEST_M)
    nearest = min(float(np.percentile(frame.depth[::8, ::8], 95)), 0.9 * farthest)
    distance, sigma = (nearest + farthest) / 2, 0.3 * (farthest - nearest) + 0.1 * farthest
    by_top = _distance_by_top(frame, T_odom_camera, floor, box, prior)
    if by_top is not None and by_top[1] < sigma:
        distance, sigma = float(np.clip(by_top[0], nearest, farthest)), by_top[1]
    uv = np.array([[(left + right) / 2 - 0.5, (top + bottom) / 2 - 0.5]])
    point = transform_points(T_odom_camera, frame.camera.back_project(uv, np.array([distance])))
    position = np.array([*point[0, :2], floor + prior.height / 2])
    towards = position[:2] - T_odom_camera[:2, 3]
    towards = towards / np.linalg.norm(towards)
    R = np.array([[towards[0], -towards[1]], [towards[1], towards[0]]])
    across = 0.02 * distance + 0.25 * prior.length
    covariance = np.diag([0.0, 0.0, 0.3**2])
    covariance[:2, :2] = R @ np.diag([sigma**2, across**2]) @ R.T
    return position, covariance, np.array([prior.length, prior.width, prior.height]), 0.0


def _distance_by_top(
    frame: Frame, T_odom_camera: Array, floor: float, box: NDArray[np.float32], prior: ClassPrior
) -> tuple[float, float] | None:
    """Return along the optical axis how far away a thing is whose top is seen above the camera.

    And how sure that is, metres; None where its class is not taller than the camera's mast, or
    where something nearer hides its top.
    """
    u, top = float(box[0] + box[2]) / 2, float(box[1])
    rise = floor + prior.height - float(T_odom_camera[2, 3])
    ray = frame.camera.back_project(np.array([[u - 0.5, top - 0.5]]), np.ones(1))
    up = float((ray @ T_odom_camera[:3, :3].T)[0, 2])
    if rise < 0.3 or up < 0.01:
        return None
    distance = rise / up
    if _hidden_above(frame, box, distance):  # a part shows under a shelf
        return None
    by_pixel = np.hypot(CONTACT_SIGMA_PX / frame.camera.fy, TILT_SIGMA) * distance**2 / rise
    by_height = HEIGHT_SHARE * prior.height * distance / rise
    return distance, float(np.hypot(np.hypot(by_pixel, by_height), TOP_SHARE * prior.length))


def _hidden_above(frame: Frame, box: NDArray[np.float32], distance: float) -> bool:
    """Return whether something nearer than a distance ends where a box begins."""
    assert frame.depth is not None
    left, top, right = (round(float(v)) for v in box[:3])
    third = (right - left) // 3  # a head is above the middle
    above = frame.depth[max(top - 4, 0) : max(top - 1, 0), left + third : right - third]
    return _share_nearer(above, NEARER * distance) > 0.5


def _hidden_below(frame: Frame, box: NDArray[np.float32], distance: float) -> bool:
    """Return whether something nearer than a distance begins where a box ends."""
    return _share_nearer(_below(frame, box), distance - BEFORE_M) > UNDER


def _beyond_depth(
    frame: Frame, box: NDArray[np.float32], mask: NDArray[np.bool_], distance: float
) -> bool:
    """Return whether a thing is too far away for depth, rather than dark or its foot hidden.

    Then most of it has none, and what is seen below its foot is not much nearer than it.
    """
    assert frame.depth is not None
    left, top, right, bottom = (round(float(v)) for v in box)
    window = mask[top:bottom, left:right]
    if not window.any():
        return False
    shown = frame.depth[top:bottom, left:right][window]
    rows = np.flatnonzero(window.any(axis=1))
    foot = window[max(rows[-1] - FOOT_PX, 0) :].any(axis=0)
    before = _share_nearer(_below(frame, box)[:, foot], NEARER * distance)
    return float((shown == 0).mean()) > 0.6 and before < 0.5


def _below(frame: Frame, box: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the depth of the rows just below a box."""
    assert frame.depth is not None
    left, _, right, bottom = (round(float(v)) for v in box)
    return frame.depth[bottom + 1 : bottom + 4, left:right]


def _share_nearer(depth: NDArray[np.float32], distance: float) -> float:
    """Return which share of some depth is measured and nearer than a distance, 0 of nothing."""
    return float(((depth > 0) & (depth < distance)).mean()) if depth.size else 0.0


def _surface(
    frame: Frame, mask: NDArray[np.bool_], box: NDArray[np.float32], prior: ClassPrior
) -> Array | None:
    """Return the points (K, 3) of a mask's inside in the optical frame, None if too few."""
    assert frame.depth is not None
    left, top = (max(0, int(v) - 2) for v in box[:2])
    right, bottom = (int(v) + 3 for v in box[2:])
    kernel = np.ones((2 * EDGE_PX + 1, 2 * EDGE_PX + 1), np.uint8)
    window = np.ascontiguousarray(mask[top:bottom, left:right], np.uint8)
    if window.size == 0:
        return None
    depth = frame.depth[top:bottom, left:right]
    inside = cv2.erode(window, kernel) > 0
    rows, columns = np.nonzero(inside & (depth > 0))
    if len(rows) < MEASURED_SHARE * np.count_nonzero(inside):
        return None
    if len(rows) < LEAST_PIXELS:
        # What is thin, or shows as a strip, is all edge: take what is not far off its middle depth.
        known = (window > 0) & (depth > 0)
        if np.count_nonzero(known) < max(LEAST_PIXELS, MEASURED_SHARE * np.count_nonzero(window)):
            return None
        middle = float(np.median(depth[known]))
        rows, columns = np.nonzero(known & (np.abs(depth - middle) < STRIP_DEPTH_M))
        if len(rows) < LEAST_PIXELS / 2:  # half of it lies far before the other half
            return None
    measured = depth[rows, columns]
    near = np.abs(measured - np.median(measured)) < prior.length + ODD_DEPTH_M
    if not near.any():  # half of it lies far before the other half
        return None
    rows, columns = rows[near], columns[near]
    step = -(-len(rows) // MOST_POINTS)
    rows, columns = rows[::step], columns[::step]
    uv = np.stack([columns + left, rows + top], axis=1).astype(float)
    return frame.camera.back_project(uv, depth[rows, columns])
