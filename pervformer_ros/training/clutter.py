# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Things that belong to no class, put into a stream: painted boxes that stand, or move.

In a simulated hall whatever is near the camera is one of a few classes, and most of those can move.
A network that learns that sees motion in any desk. So boxes of all sizes and colours are put into
the picture and the depth, fixed in the world or moving through it, as FlyingThings3D does
(Mayer et al. 2016, https://arxiv.org/abs/1512.02134).
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pervformer_ros.geometry import Array, invert, transform_points
from pervformer_ros.training.paint import Paint, draw_paint

Floats = NDArray[np.float32]

MOST = 8  # boxes of a stream
MOVING = 0.35  # share of them
NEAREST, FARTHEST = 0.5, 6.0  # m from the camera at the moment for which a box is placed
SIZES = (0.05, 0.5)  # of that distance
FASTEST = 1.5  # m/s
TURNING = 0.8  # rad/s
NOISE = 0.0025  # m of depth at 1 m, growing with the square of it
TOO_NEAR = 0.25  # m; a camera does not look at, or out of, what is nearer


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """A box, at its place at time `since`.

    T_map_box: (4, 4); half: (3,) m; velocity: (3,) m/s; spin: (3,) rad/s; zeros for what stands.
    colour: (3,) in [0, 1]; paint: on it; shades: (3,) brightness of the faces across x, y and z.
    """

    T_map_box: Array
    since: float
    half: Array
    velocity: Array
    spin: Array
    colour: Floats
    paint: Paint
    shades: Floats

    @property
    def moves(self) -> bool:
        """Whether it does, in the world."""
        return bool(self.velocity.any())

    def at(self, time: float) -> Array:
        """Return where it is then, T_map_box."""
        pose = self.T_map_box.copy()
        elapsed = time - self.since
        pose[:3, 3] += self.velocity * elapsed
        pose[:3, :3] = Rotation.from_rotvec(self.spin * elapsed).as_matrix() @ pose[:3, :3]
        return pose


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Boxes as they are seen in one frame.

    covered: (H, W) bool, they hide the scene there; moving: (H, W) bool, with one that moves.
    rgb: (H, W, 3) float32 from 0, and metres: (H, W) float32; read where covered.
    """

    covered: NDArray[np.bool_]
    moving: NDArray[np.bool_]
    rgb: Floats
    metres: Floats


def draw_boxes(
    rng: Generator, metres: list[Floats], K: Array, T_map_camera: Array, time: Array
) -> list[Box]:
    """Draw what is put into a stream, each in front of what some frame shows.

    Args:
        rng: draws.
        metres: (H, W) depth of some frames, 0 = none.
        K: (3, 3) of the images.
        T_map_camera: (n, 4, 4) of these frames.
        time: (n,) s.
    """
    boxes = []
    smallest, largest = np.log(SIZES)
    for _ in range(rng.integers(1, MOST + 1)):
        frame = int(rng.integers(len(metres)))
        depth = metres[frame]
        v, u = (int(rng.integers(n)) for n in depth.shape)
        behind = float(depth[v, u]) or FARTHEST
        z = rng.uniform(NEAREST, max(min(behind, FARTHEST), NEAREST + 0.1))
        ray = np.array([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], 1.0])
        pose = np.eye(4)
        pose[:3, :3] = Rotation.random(random_state=rng).as_matrix()
        pose[:3, 3] = transform_points(T_map_camera[frame], z * ray[None])[0]
        moves = rng.random() < MOVING
        heading = rng.normal(size=3) * (1.0, 1.0, 0.3)
        boxes.append(
            Box(
                T_map_box=pose,
                since=float(time[frame]),
                half=z * np.exp(rng.uniform(smallest, largest, 3)) / 2,
                velocity=moves * heading / np.linalg.norm(heading) * rng.uniform(0.15, FASTEST),
                spin=moves * rng.normal(0, TURNING / 3, 3),
                colour=rng.uniform(0.02, 0.9, 3).astype(np.float32),
                paint=draw_paint(rng),
                shades=rng.uniform(0.5, 1.2, 3).astype(np.float32),
            )
        )
    return boxes


def render(
    rng: Generator, boxes: list[Box], metres: Floats, K: Array, T_map_camera: Array, time: float
) -> Layer:
    """Return the boxes as one frame sees them.

    Args:
        rng: draws the noise of depth.
        boxes: all of them.
        metres: (H, W) depth of the scene, 0 = none.
        K: (3, 3).
        T_map_camera: (4, 4).
        time: s.
    """
    height, width = metres.shape
    x = (np.arange(width) - K[0, 2]) / K[0, 0]
    y = ((np.arange(height) - K[1, 2]) / K[1, 1])[:, None]
    rays = np.stack(np.broadcast_arrays(x, y, 1.0)).reshape(3, -1).astype(np.float32)
    nearest = np.where(metres > 0, metres, np.float32(np.inf)).ravel()
    covered, moving = np.zeros(nearest.size, bool), np.zeros(nearest.size, bool)
    rgb = np.zeros((nearest.size, 3), np.float32)
    for box in boxes:
        T_box_camera = invert(box.at(time)) @ T_map_camera
        eye, towards = T_box_camera[:3, 3], T_box_camera[:3, :3].astype(np.float32) @ rays
        depth, face = _enter(eye, towards, box.half)
        hit = np.flatnonzero((depth > TOO_NEAR) & (depth < nearest))
        points = eye.astype(np.float32) + depth[hit, None] * towards[:, hit].T
        rgb[hit] = box.colour * box.paint.on(points) * box.shades[face[hit], None]
        nearest[hit] = depth[hit]
        covered[hit], moving[hit] = True, box.moves
    z = np.where(covered, nearest, np.float32(0.0))
    z += covered * NOISE * z * z * rng.standard_normal(len(z), np.float32)
    shape = height, width
    return Layer(
        covered.reshape(shape), moving.reshape(shape), rgb.reshape(*shape, 3), z.reshape(shape)
    )


def _enter(eye: Array, towards: Floats, half: Array) -> tuple[Floats, NDArray[np.int8]]:
    """Return how far along each ray a box about the origin begins, and across which axis.

    Where it is missed, or the eye is inside, that is -1.

    Args:
        eye: (3,) where the rays begin.
        towards: (3, M), axes first: arrays of one axis each are compared many times faster.
        half: (3,) size of the box.
    """
    enter = np.full(towards.shape[1], -np.inf, np.float32)
    leave = np.full(towards.shape[1], np.inf, np.float32)
    face = np.zeros(towards.shape[1], np.int8)
    with np.errstate(divide="ignore", invalid="ignore"):
        for axis, step in enumerate(towards):
            low = np.float32(-half[axis] - eye[axis]) / step
            high = np.float32(half[axis] - eye[axis]) / step
            entry = np.minimum(low, high)
            face[entry > enter] = axis
            enter = np.fmax(enter, entry)
            leave = np.fmin(leave, np.maximum(low, high))
    return np.where((enter < leave) & (enter > 0), enter, np.float32(-1.0)), face
