# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is done to the pictures of a stream: colours, missing depth, parts that are hidden."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float32]

NO_DEPTH = 0.1  # share of streams without depth
GREY = 0.08  # share of streams without colour
CURTAIN_SECONDS = (0.3, 2.5)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """How one stream looks: drawn once, so that a stream stays of one piece.

    mix: (3, 3) of the colours; gamma, gain, lift, noise: of the brightness; flicker: from frame to
    frame; depth: whether there is any.
    """

    mix: Floats
    gamma: float
    gain: float
    lift: float
    noise: float
    flicker: float
    depth: bool


def draw_look(rng: Generator) -> Look:
    """Draw how a stream looks."""
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
        depth=bool(rng.random() >= NO_DEPTH),
    )


def recolour(rng: Generator, look: Look, rgb: NDArray[np.uint8]) -> Floats:
    """Return an image (H, W, 3) in [0, 1]."""
    light = look.gain * np.exp(rng.normal(0, look.flicker))
    x = (rgb.astype(np.float32) / 255.0) ** np.float32(look.gamma)
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
