# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Percepts made from the truth: what a memory could know if perception made no mistake, or few."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from pervformer_ros.bags.ground_truth import TrueThing
from pervformer_ros.frame import Frame
from pervformer_ros.geometry import Array, make_rotation
from pervformer_ros.memory import Sighting, place_sightings

# An object must show so many pixels of a picture of 320x240 to be detected.
MIN_PIXELS = 50
EMBEDDING = 32
# How SLAM's pose wanders about the true one: steps per image (m, m, rad) and their half-life.
SLAM_STEP, SLAM_KEPT = (0.003, 0.003, 0.0004), 0.999


@dataclass(frozen=True, slots=True)
class PerceptNoise:
    """What perception gets wrong.

    missed: share of detections that are missing. false: detections of nothing, per image.
    confused: share called another class. jitter: of boxes, as a share of their extents.
    looks: deviation of embeddings from each other, unit length being 1. motion: of probabilities.
    """

    missed: float = 0.0
    false: float = 0.0
    confused: float = 0.0
    jitter: float = 0.0
    looks: float = 0.0
    motion: float = 0.0


PERFECT = PerceptNoise()
NOISY = PerceptNoise(0.1, 0.1, 0.05, 0.03, 0.5, 0.2)


class TruthPercepts:
    """Detects what instances show, with noise where wanted."""

    def __init__(self, labels: Sequence[str], seed: int, noise: PerceptNoise = PERFECT):
        """Take the class of every instance id; 0, the static world, has any."""
        self._labels, self._noise = list(labels), noise
        self._rng = np.random.default_rng(seed)
        looks = self._rng.normal(size=(len(labels), EMBEDDING))
        self._looks = looks / np.linalg.norm(looks, axis=1, keepdims=True)

    def sightings(
        self,
        frame: Frame,
        T_odom_base: Array,
        instances: NDArray[np.uint16],
        things: Sequence[TrueThing],
    ) -> list[Sighting]:
        """Return what a memory is told of one image (H, W) of ids."""
        noise, rng = self._noise, self._rng
        moving = {t.id: t.moving for t in things}
        least = MIN_PIXELS * instances.size / (320 * 240)
        found = []
        for number, area in enumerate(find_objects(instances.astype(np.int32)), 1):
            if area is None or rng.random() < noise.missed:
                continue
            mask = instances == number
            if np.count_nonzero(mask[area]) < least:
                continue
            rows, columns = area
            box = np.array([columns.start, rows.start, columns.stop, rows.stop], float)
            label = self._labels[number]
            if rng.random() < noise.confused:
                label = self._labels[rng.integers(1, len(self._labels))]
            looks = self._looks[number] + noise.looks / EMBEDDING**0.5 * rng.normal(size=EMBEDDING)
            said = (0.9 if moving.get(number, False) else 0.1) + noise.motion * rng.normal()
            found.append((label, box, mask, looks, said))
        if rng.random() < noise.false:
            found.append(self._nothing(instances.shape))
        return self._place(frame, T_odom_base, found)

    def _nothing(
        self, shape: tuple[int, ...]
    ) -> tuple[str, Array, NDArray[np.bool_], Array, float]:
        """Return a detection of what is not there."""
        rng = self._rng
        height, width = shape
        low = rng.uniform(0, (0.85 * width, 0.8 * height))
        box = np.concatenate([low, low + rng.uniform(8, 60, 2)])
        mask = np.zeros(shape, bool)
        left, top, right, bottom = box.astype(int)
        mask[top:bottom, left:right] = True
        label = self._labels[rng.integers(1, len(self._labels))]
        return label, box, mask, rng.normal(size=EMBEDDING), float(rng.random())

    def _place(
        self,
        frame: Frame,
        T_odom_base: Array,
        found: list[tuple[str, Array, NDArray[np.bool_], Array, float]],
    ) -> list[Sighting]:
        noise, rng = self._noise, self._rng
        shape = frame.camera.height, frame.camera.width
        boxes = np.array([box for _, box, _, _, _ in found]).reshape(-1, 4)
        extent = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        boxes = boxes + noise.jitter * extent * rng.normal(size=boxes.shape)
        boxes = np.clip(boxes, 0, np.tile(shape[::-1], 2))
        masks = np.array([m for _, _, m, _, _ in found], bool).reshape(-1, *shape)
        if noise.jitter:
            kernel = np.ones((3, 3), np.uint8)
            masks = np.array(
                [cv2.dilate(m.astype(np.uint8), kernel) > 0 for m in masks], bool
            ).reshape(-1, *shape)
        looks = np.array([e for _, _, _, e, _ in found]).reshape(-1, EMBEDDING)
        looks = looks / np.maximum(np.linalg.norm(looks, axis=1, keepdims=True), 1e-9)
        scores = rng.uniform(0.4, 1.0, len(found)) if noise.missed else np.full(len(found), 0.9)
        return place_sightings(
            frame,
            T_odom_base,
            labels=[label for label, *_ in found],
            scores=scores.astype(np.float32),
            boxes=boxes.astype(np.float32),
            masks=masks,
            embeddings=looks.astype(np.float32),
            motion=np.clip([p for *_, p in found], 0, 1).astype(np.float32),
        )


class SlamStandIn:
    """Corrects odometry as well as SLAM does: the true pose with an error that wanders."""

    def __init__(self, seed: int):
        self._rng = np.random.default_rng(seed)
        self._error = np.zeros(3)

    def correct(self, T_map_base: Array) -> Array:
        """Return the pose that SLAM would have told."""
        self._error = SLAM_KEPT * self._error + self._rng.normal(0, SLAM_STEP)
        E = make_rotation((0, 0, self._error[2]))
        E[:2, 3] = self._error[:2]
        return np.asarray(T_map_base @ E)
