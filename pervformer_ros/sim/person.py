# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""People: a trunk and a head of turned shapes, limbs that swing with the walk."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from pervformer_ros.geometry import Array
from pervformer_ros.sim.mesh import Mesh, Tint, box, lathe, merge

VEST_YELLOW, VEST_ORANGE = (0.75, 0.85, 0.08), (0.95, 0.35, 0.04)
SKINS = ((0.75, 0.52, 0.40), (0.55, 0.36, 0.25), (0.33, 0.20, 0.13), (0.82, 0.62, 0.50))
HELMETS = ((0.85, 0.85, 0.83), (0.85, 0.68, 0.06), (0.1, 0.22, 0.6), (0.75, 0.08, 0.06))
TROUSERS = ((0.07, 0.09, 0.18), (0.10, 0.10, 0.11), (0.25, 0.21, 0.16), (0.16, 0.2, 0.14))
SHIRTS = ((0.5, 0.5, 0.52), (0.1, 0.16, 0.35), (0.4, 0.1, 0.1), (0.15, 0.3, 0.2))
HIP_SWING, ARM_SWING = 0.48, 0.42
# Shares of the body height, after Drillis and Contini's body segment lengths.
HIP, SHOULDER, NECK = 0.52, 0.81, 0.86
THIGH, SHANK, UPPER_ARM, FOREARM = 0.245, 0.235, 0.18, 0.22
SIDES = 10


@dataclass(frozen=True, slots=True)
class Clothes:
    """What a person wears: tints of each, and the trunk's texture."""

    trunk: str
    top: Tint
    sleeves: Tint
    trousers: Tint
    skin: Tint
    head: Tint
    helmet: bool
    shoes: Tint = (0.05, 0.045, 0.04)


def work_clothes(rng: np.random.Generator) -> Clothes:
    """Draw clothes: most people wear a high-visibility vest."""
    vest = rng.random() < 0.75
    shirt = SHIRTS[rng.integers(len(SHIRTS))]
    bright = VEST_YELLOW if rng.random() < 0.6 else VEST_ORANGE
    helmet = bool(rng.random() < 0.6)
    hair = ((0.06, 0.05, 0.04), (0.25, 0.16, 0.08), (0.5, 0.42, 0.3))[rng.integers(3)]
    return Clothes(
        trunk="vest" if vest else "cloth",
        top=bright if vest else shirt,
        sleeves=shirt,
        trousers=TROUSERS[rng.integers(len(TROUSERS))],
        skin=SKINS[rng.integers(len(SKINS))],
        head=HELMETS[rng.integers(len(HELMETS))] if helmet else hair,
        helmet=helmet,
    )


def camouflage_clothes(tone: Tint) -> Clothes:
    """Return clothes of one tone from head to foot."""
    return Clothes("cloth", tone, tone, tone, tone, tone, False, tone)


class Person:
    """A walking person, origin on the floor between the feet, facing x."""

    def __init__(self, rng: np.random.Generator, clothes: Clothes | None = None):
        c = clothes or work_clothes(rng)
        h = self._height = float(rng.uniform(1.58, 1.90))
        build = float(rng.uniform(0.92, 1.15))
        limb = partial(_limb, build=build)
        self._trunk = merge([_trunk(h, build, c), _head(h, c)])
        self._thigh = limb(THIGH * h, 0.085, 0.06, c.trousers)
        self._shank = merge([limb(SHANK * h, 0.06, 0.042, c.trousers), _shoe(SHANK * h, c.shoes)])
        self._upper_arm = limb(UPPER_ARM * h, 0.052, 0.042, c.sleeves)
        hand = lathe([(0, 0.0), (0.04, -0.03), (0.035, -0.09), (0, -0.11)], 6, "plain", c.skin)
        self._forearm = merge([
            limb(FOREARM * h * 0.7, 0.042, 0.032, c.sleeves),
            hand.placed(0, 0, -FOREARM * h * 0.7),
        ])  # fmt: skip
        self._hip_offset, self._shoulder_offset = 0.095 * build, 0.215 * build

    def posed(self, phase: float, lift: float) -> Mesh:
        """Return the mesh at a phase of the walk; legs are together at multiples of pi."""
        h = self._height
        swing = np.sin(phase)
        # The planted leg is the shorter side of the stride: the trunk sinks a little.
        sink = THIGH * h * 2 * (1 - np.cos(HIP_SWING * swing)) * 0.6
        parts = [self._trunk.placed(0, 0, -sink)]
        for side in (-1.0, 1.0):
            leg = HIP_SWING * swing * side
            # The knee bends while its leg comes forward.
            knee = 0.15 + 0.75 * max(0.0, side * np.cos(phase)) * (1 - abs(swing) * 0.5)
            knee *= min(1.0, 2.5 * abs(swing) + 0.05)
            hip = _joint((0, side * self._hip_offset, HIP * h - sink), leg + 0.3 * knee)
            parts.append(self._thigh.moved(hip))
            parts.append(self._shank.moved(hip @ _joint((0, 0, -THIGH * h), -knee)))
            arm = -ARM_SWING * swing * side
            shoulder = _joint((0, side * self._shoulder_offset, SHOULDER * h - sink), arm)
            parts.append(self._upper_arm.moved(shoulder))
            elbow = shoulder @ _joint((0, 0, -UPPER_ARM * h), 0.25 + 0.3 * max(0.0, arm))
            parts.append(self._forearm.moved(elbow))
        mesh = merge(parts)
        # Whatever the knees do, the lower foot stands on the floor.
        return mesh.placed(0, 0, -float(mesh.corners[..., 2].min()))


def seated(rng: np.random.Generator) -> Mesh:
    """Return a driver, origin at the seat, facing x."""
    c = work_clothes(rng)
    h = 1.72
    trunk = merge([_trunk(h, 1.0, c), _head(h, c)]).placed(0, 0, -HIP * h + 0.05)
    parts = [trunk]
    for side in (-1.0, 1.0):
        hip = _joint((0.02, 0.1 * side, 0.08), 1.45)
        parts.append(_limb(THIGH * h, 0.085, 0.06, c.trousers, 1.0).moved(hip))
        knee = hip @ _joint((0, 0, -THIGH * h), -1.3)
        parts.append(_limb(SHANK * h * 0.9, 0.06, 0.045, c.trousers, 1.0).moved(knee))
        shoulder = _joint((0, 0.21 * side, (SHOULDER - HIP) * h + 0.05), 0.75)
        parts.append(_limb(UPPER_ARM * h, 0.052, 0.042, c.sleeves, 1.0).moved(shoulder))
        elbow = shoulder @ _joint((0, 0, -UPPER_ARM * h), 0.6)
        parts.append(_limb(FOREARM * h * 0.8, 0.042, 0.035, c.sleeves, 1.0).moved(elbow))
    return merge(parts)


def _joint(at: tuple[float, float, float], angle: float) -> Array:
    """Return a joint's transform; a positive angle swings what hangs from it forward."""
    c, s = np.cos(angle), np.sin(angle)
    T = np.eye(4)
    T[:3, :3] = [[c, 0, -s], [0, 1, 0], [s, 0, c]]
    T[:3, 3] = at
    return T


def _limb(length: float, upper: float, lower: float, tint: Tint, build: float) -> Mesh:
    """Return a tapered limb that hangs from its joint."""
    profile = [(0.0, upper * 0.6), (upper * 0.85, upper * 0.3), (upper, -0.06 * length),
               ((upper + lower) / 2, -0.5 * length), (lower, -length), (0.0, -length)]  # fmt: skip
    return lathe([(r * build, z) for r, z in profile], SIDES, "cloth", tint)


def _shoe(down: float, tint: Tint) -> Mesh:
    return box((0.26, 0.1, 0.09), (0.06, 0, -down - 0.01), "plain", tint)


def _trunk(h: float, build: float, clothes: Clothes) -> Mesh:
    waist, chest, shoulder = 0.155 * build, 0.185 * build, 0.20 * build
    top = [(0.05, NECK * h), (0.13 * build, 0.845 * h), (shoulder, SHOULDER * h),
           (chest, 0.72 * h), (waist, 0.60 * h), (0.165 * build, 0.53 * h)]  # fmt: skip
    hips = [(0.165 * build, 0.55 * h), (0.165 * build, 0.49 * h), (0.05, 0.46 * h), (0, 0.46 * h)]
    # Turned shapes are squashed along y; the trunk is broad along y, so it is turned by 90 degrees.
    parts = [
        lathe(top, 12, clothes.trunk, clothes.top, squash=0.62),
        lathe(hips, 12, "cloth", clothes.trousers, squash=0.68),
    ]
    return merge(parts).placed(0, 0, 0, np.pi / 2)


def _head(h: float, clothes: Clothes) -> Mesh:
    middle, r = 0.935 * h, 0.098
    angles = np.linspace(0, np.pi, 7)
    ball = [(r * np.sin(a), middle + 1.22 * r * np.cos(a)) for a in angles]
    parts = [
        lathe([(0.055, 0.89 * h), (0.06, 0.84 * h)], 8, "plain", clothes.skin),
        lathe(ball, 10, "plain", clothes.skin, squash=0.85),
    ]
    grow = 1.22 if clothes.helmet else 1.08
    cap = [(r * grow * np.sin(a), middle + 1.25 * r * grow * np.cos(a)) for a in angles[:4]]
    if clothes.helmet:
        cap.append((r * grow * 1.25, cap[-1][1] - 0.005))
    parts.append(lathe(cap, 10, "plain", clothes.head, squash=0.88).placed(-0.01, 0))
    return merge(parts)
