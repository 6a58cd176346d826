# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is done to the pictures of a stream: colours, faults of depth, parts that are hidden."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pervformer_ros.training.paint import Paint, draw_paint

Floats = NDArray[np.float32]

PLAIN = 0.45  # share of streams that stay as the simulator's camera gave them
# Of the others, shares of those
NO_DEPTH = 0.2  # without depth,
GREY = 0.08  # without colour,
PAINTED = 0.5  # with other textures,
CLUTTERED = 0.5  # in which things of no class are put,
BLURRED = 0.3  # that are out of focus,
FAULTY = 0.6  # and with a depth camera that is not the simulator's.
HOLES = 6  # most in a frame of these
CURTAIN_SECONDS = (0.3, 2.5)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """How one stream looks: drawn once, so that a stream stays of one piece.

    mix: (3, 3) of the colours; gamma, gain, lift, noise: of the brightness; flicker: from frame to
    frame; blur: pixels; paint: of the surfaces; cluttered: with things of no class; depth: None
    where there is none.
    """

    mix: Floats
    gamma: float
    gain: float
    lift: float
    noise: float
    flicker: float
    blur: float
    paint: Paint | None
    cluttered: bool
    depth: "DepthFaults | None"


@dataclass(frozen=True, slots=True)
class DepthFaults:
    """How the depth of a stream differs from what the simulator's camera gives.

    shift: (x, y) pixels that it is registered wrongly by; margin: left, top, right and bottom part
    of the image that has none; reach: m, beyond which there is none; holes: most in a frame.
    """

    shift: tuple[int, int] = (0, 0)
    margin: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    reach: float = np.inf
    holes: int = 0

    def apply(self, rng: Generator, metres: Floats) -> Floats:
        """Return a depth image (H, W) in metres with the faults; 0 = none."""
        height, width = metres.shape
        moved = np.roll(metres, self.shift[::-1], axis=(0, 1))
        moved[moved > self.reach] = 0.0
        left, top, right, bottom = self.margin
        kept = np.zeros_like(moved)
        inner = (
            slice(int(top * height), height - int(bottom * height)),
            slice(int(left * width), width - int(right * width)),
        )
        kept[inner] = moved[inner]
        for _ in range(rng.integers(self.holes + 1)):
            centre = int(rng.integers(width)), int(rng.integers(height))
            axes = int(rng.integers(1, width // 10)), int(rng.integers(1, height // 10))
            cv2.ellipse(kept, centre, axes, float(rng.uniform(0, 180)), 0, 360, 0.0, -1)
        return kept


AS_IT_IS = Look(
    mix=np.eye(3, dtype=np.float32),
    gamma=1.0,
    gain=1.0,
    lift=0.0,
    noise=0.0,
    flicker=0.0,
    blur=0.0,
    paint=None,
    cluttered=False,
    depth=DepthFaults(),
)


def draw_look(rng: Generator) -> Look:
    """Draw how a stream looks."""
    if rng.random() < PLAIN:
        return AS_IT_IS
    saturation = 0.0 if rng.random() < GREY else rng.uniform(0.5, 1.5)
    grey = np.full((3, 3), 1 / 3)
    mix = saturation * np.eye(3) + (1 - saturation) * grey
    mix = mix * rng.uniform(0.8, 1.25, (3, 1)) + rng.normal(0, 0.04, (3, 3))
    return Look(
        mix=mix.astype(np.float32),
        gamma=float(np.exp(rng.normal(0, 0.25))),
        gain=float(np.exp(rng.normal(0, 0.2))),
        lift=float(rng.normal(0, 0.04)),
        noise=float(rng.uniform(0, 0.025)),
        flicker=float(rng.uniform(0, 0.06)),
        blur=float(rng.uniform(0.3, 0.9)) if rng.random() < BLURRED else 0.0,
        paint=draw_paint(rng) if rng.random() < PAINTED else None,
        cluttered=bool(rng.random() < CLUTTERED),
        depth=None if rng.random() < NO_DEPTH else draw_faults(rng),
    )


def draw_faults(rng: Generator) -> DepthFaults:
    """Draw what is wrong with a stream's depth."""
    if rng.random() >= FAULTY:
        return DepthFaults()
    x, y = np.rint(rng.normal(0, 0.8, 2)).astype(int)
    margins = rng.uniform(0, 0.1, 4) * (rng.random(4) < 0.4)
    return DepthFaults(
        shift=(int(x), int(y)),
        margin=tuple(margins.tolist()),
        reach=float(rng.uniform(3.0, 9.0)) if rng.random() < 0.4 else np.inf,
        holes=int(rng.integers(HOLES + 1)),
    )


def recolour(rng: Generator, look: Look, rgb: Floats) -> Floats:
    """Return an image (H, W, 3) in [0, 1] from one of any brightness, where 1 is white."""
    if look is AS_IT_IS:
        return np.clip(rgb, 0.0, 1.0)
    light = look.gain * np.exp(rng.normal(0, look.flicker))
    if look.blur:
        rgb = cv2.GaussianBlur(rgb, (0, 0), look.blur)
    x = rgb ** np.float32(look.gamma)
    x = x @ look.mix.T * np.float32(light) + np.float32(look.lift)
    x += rng.standard_normal(x.shape, np.float32) * np.float32(look.noise)
    return np.clip(x, 0.0, 1.0, dtype=np.float32)


def draw_curtains(
    rng: Generator, time: Floats, shape: tuple[int, int], share: float
) -> NDArray[np.bool_]:
    """Draw when and where the camera is made blind: (L, H, W) bool, True = hidden.

    A curtain is a rectangle, sometimes the whole picture, for up to some seconds. What is behind it
    is still asked for: only memory can tell. `share` is that of streams that have any.
    """
    hidden = np.zeros((len(time), *shape), bool)
    if rng.random() >= share:
        return hidden
    for _ in range(rng.integers(1, 4)):
        begin = rng.uniform(time[0], time[-1])
        now = (time >= begin) & (time < begin + rng.uniform(*CURTAIN_SECONDS))
        size = rng.uniform(0.25, 0.8, 2) * shape if rng.random() < 0.8 else np.array(shape)
        top, left = (rng.uniform(0, np.array(shape) - size + 1)).astype(int)
        bottom, right = top + int(size[0]), left + int(size[1])
        hidden[now, top:bottom, left:right] = True
    # Nothing can be remembered of what was never seen.
    hidden[0] = False
    return hidden
