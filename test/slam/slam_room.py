# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A room of points with known poses: what the SLAM tests drive through."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from pervformer_ros.features import FeatureSet
from pervformer_ros.frame import CameraModel
from pervformer_ros.geometry import invert, make_rotation, make_transform, transform_points
from pervformer_ros.slam import SlamBackend, SlamUpdate

CAMERA = CameraModel(320, 240, 260.0, 260.0, 159.5, 119.5)
# x right, y down, z forward, seen from x forward, y left, z up; half a metre above the ground.
T_BASE_CAMERA = make_transform([0.1, 0.0, 0.5], [-0.5, 0.5, -0.5, 0.5])
FRAME_NS = 100_000_000
BITS = 256


def signs(rng, count):
    """Random descriptors (count, 256) of unit length, as ORB's are."""
    return (rng.integers(0, 2, (count, BITS)) * 2 - 1).astype(np.float16) / np.float16(16)


@dataclass
class Thing:
    """Points (N, 3) in the map, or in the frame of something that moves, with descriptors."""

    points: np.ndarray
    descriptors: np.ndarray

    @classmethod
    def walls(cls, rng, count=2500, size=(10.0, 8.0, 3.0)):
        """Points on the four walls and the floor of a room centred on the origin."""
        points = rng.uniform(-0.5, 0.5, (count, 3)) * size + [0, 0, size[2] / 2]
        side = rng.integers(0, 5, count)
        for axis in (0, 1):
            for end in (0, 1):
                on = side == 2 * axis + end
                points[on, axis] = (end - 0.5) * size[axis]
        points[side == 4, 2] = 0.0
        return cls(points, signs(rng, count))

    @classmethod
    def cluster(cls, rng, count=150, size=1.2):
        """Points in a cube around the origin."""
        return cls(rng.uniform(-size / 2, size / 2, (count, 3)), signs(rng, count))


@dataclass
class Sensor:
    """An RGB-D camera with noise of the size the back end expects."""

    rng: np.random.Generator
    pixel_sigma: float = 0.8
    depth_sigma: float = 0.002
    flipped_bits: float = 0.04
    max_features: int = 300
    camera: CameraModel = CAMERA
    range_m: float = 9.0

    def see(self, stamp_ns, T_map_camera, things):
        """Return the features of (thing, T_map_thing) pairs; nearest ones first come first kept."""
        uv, points, descriptors = [], [], []
        for thing, T_map_thing in things:
            p = transform_points(invert(T_map_camera) @ T_map_thing, thing.points)
            pixels = self.camera.project(p) + self.rng.normal(0, self.pixel_sigma, (len(p), 2))
            with np.errstate(invalid="ignore"):
                inside = (pixels >= 0) & (pixels <= [self.camera.width - 1, self.camera.height - 1])
            seen = np.flatnonzero(inside.all(axis=1) & (p[:, 2] > 0.3) & (p[:, 2] < self.range_m))
            seen = np.sort(self.rng.permutation(seen)[: self.max_features])
            z = p[seen, 2] + self.rng.normal(0, 1, len(seen)) * self.depth_sigma * p[seen, 2] ** 2
            points.append(self.camera.back_project(pixels[seen], z))
            uv.append(pixels[seen])
            flips = np.where(self.rng.random((len(seen), BITS)) < self.flipped_bits, -1, 1)
            descriptors.append(thing.descriptors[seen] * flips.astype(np.float16))
        return make_features(
            stamp_ns, np.vstack(uv), np.vstack(points), np.vstack(descriptors), self.camera
        )


def make_features(stamp_ns, uv, points, descriptors, camera=CAMERA, static_probability=None):
    if static_probability is None:
        static_probability = np.ones(len(uv))
    return FeatureSet(
        stamp_ns,
        camera.width,
        camera.height,
        np.asarray(uv, np.float32),
        np.asarray(points, np.float32),
        np.ones(len(uv), np.float32),
        np.asarray(static_probability, np.float32),
        np.asarray(descriptors, np.float16),
    )


def no_features(stamp_ns, camera=CAMERA):
    return make_features(stamp_ns, np.empty((0, 2)), np.empty((0, 3)), np.empty((0, BITS)), camera)


def drive(count, radius=2.0, speed=0.6):
    """Poses (count, 4, 4) of a robot that drives round the room."""
    angle = np.arange(count) * speed * FRAME_NS * 1e-9 / radius
    poses = []
    for a in angle:
        T = make_rotation([0, 0, a + np.pi / 2])
        T[:2, 3] = radius * np.cos(a), radius * np.sin(a)
        poses.append(T)
    return np.array(poses)


def drift(truth, rng, scale=1.04, heading=0.05, noise=0.02):
    """Odometry (N, 4, 4) of these poses: too long, turning too far, and noisy."""
    odometry = [np.eye(4)]
    for first, second in pairwise(truth):
        step = invert(first) @ second
        path = np.linalg.norm(step[:3, 3])
        step = step @ make_rotation([0, 0, path * (heading + noise * rng.normal())])
        step[:3, 3] *= scale + noise * rng.normal()
        odometry.append(odometry[-1] @ step)
    return np.array(odometry)


@dataclass
class Run:
    """A drive through a room and what a back end made of it."""

    truth: np.ndarray
    odometry: np.ndarray
    features: list
    updates: list[SlamUpdate] = field(default_factory=list)
    backend: SlamBackend = field(default_factory=SlamBackend)

    @classmethod
    def record(cls, count=120, seed=0, extra=None, truth=None):
        """Record a drive, or these poses; `extra(i)` adds (thing, T_map_thing) pairs to frame i."""
        rng = np.random.default_rng(seed)
        walls, sensor = Thing.walls(rng), Sensor(rng)
        truth = drive(count) if truth is None else truth
        features = []
        for i, T_map_base in enumerate(truth):
            things = [(walls, np.eye(4)), *(extra(i) if extra else [])]
            features.append(sensor.see((i + 1) * FRAME_NS, T_map_base @ T_BASE_CAMERA, things))
        return cls(truth, drift(truth, rng), features)

    def play(self, odometry=True, config=None):
        """Feed all frames; `odometry` may be a function of the index that says if there is any."""
        has = odometry if callable(odometry) else lambda _: odometry
        self.backend = SlamBackend(config)
        self.updates = [
            self.backend.update(f, CAMERA, T_BASE_CAMERA, self.odometry[i] if has(i) else None)
            for i, f in enumerate(self.features)
        ]
        return self


def ate(poses, truth):
    """Root mean square distance of positions after the first poses are laid onto each other."""
    moved = truth[0] @ invert(poses[0]) @ poses
    return float(np.sqrt(np.mean(np.sum((moved[:, :3, 3] - truth[:, :3, 3]) ** 2, axis=1))))
