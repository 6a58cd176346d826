# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From an ideal picture to what a real RGB-D camera delivers.

Colour: automatic exposure that lags, vignetting, dirt, motion blur, shot and read noise, gamma.
Depth: as of active stereo, noise that grows with z squared, disparity steps, flying pixels at
edges, holes on dark and grazing surfaces, a range.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import CameraModel
from pervformer_ros.sim.mesh import Floats
from pervformer_ros.sim.render import Render
from pervformer_ros.sim.rng import stream

GAMMA = 1 / 2.2
_CURVE = (255 * np.linspace(0, 1, 4096) ** GAMMA + 0.5).astype(np.uint8)
_NOISE_SIDE = 640


@dataclass(frozen=True, slots=True)
class SensorConfig:
    """How good the camera is.

    exposure_target: brightness the automatic exposure aims at, linear.
    exposure_lag: share of the way to that target the exposure goes per frame.
    shot, read: noise of a full and of an empty pixel, relative to white.
    vignetting: loss of light in the corners.
    balance: gains of red, green and blue.
    dirt: loss of light under the worst smudge.
    shutter: exposure time in seconds, for motion blur.
    lens_blur: standard deviation of the lens's point spread, pixels.
    depth_noise: standard deviation at 1 m in metres; grows with z squared.
    depth_steps: disparity steps per pixel times baseline times focal length, metres: z is
        quantised in steps of z squared over this.
    depth_range: nearest and farthest depth that is measured, metres.
    flying: probability that a pixel at a depth edge lies between both sides.
    """

    exposure_target: float = 0.30
    exposure_lag: float = 0.06
    shot: float = 0.02
    read: float = 0.006
    vignetting: float = 0.3
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    dirt: float = 0.1
    shutter: float = 0.008
    lens_blur: float = 0.45
    depth_noise: float = 0.0018
    depth_steps: float = 600.0
    depth_range: tuple[float, float] = (0.35, 9.0)
    flying: float = 0.5


IDEAL = SensorConfig(
    exposure_lag=1.0, shot=0, read=0, vignetting=0, dirt=0, shutter=0, lens_blur=0,
    depth_noise=0, depth_steps=0, depth_range=(0.0, 60.0), flying=0,
)  # fmt: skip


def draw_sensor(seed: int) -> SensorConfig:
    """Draw a camera of ordinary quality."""
    rng = stream(seed, "sensor")
    return replace(
        SensorConfig(),
        exposure_target=float(rng.uniform(0.24, 0.36)),
        exposure_lag=float(rng.uniform(0.03, 0.12)),
        shot=float(rng.uniform(0.008, 0.03)),
        read=float(rng.uniform(0.002, 0.010)),
        vignetting=float(rng.uniform(0.1, 0.4)),
        balance=(float(rng.uniform(0.9, 1.1)), 1.0, float(rng.uniform(0.9, 1.1))),
        dirt=float(rng.uniform(0, 0.2)),
        shutter=float(rng.uniform(0.004, 0.014)),
        depth_noise=float(rng.uniform(0.001, 0.0026)),
        depth_range=(0.35, float(rng.uniform(7.5, 10.0))),
    )


class Sensor:
    """One camera: turns renders into images, in the order of their frames."""

    def __init__(self, config: SensorConfig, camera: CameraModel, seed: int):
        self.config, self._camera, self._seed = config, camera, seed
        rng = stream(seed, "sensor noise")
        shape = (_NOISE_SIDE + camera.height, _NOISE_SIDE + camera.width)
        self._noise = rng.standard_normal((*shape, 3), dtype=np.float32)
        smooth = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), 1.2)
        self._smooth = smooth / smooth.std()
        self._shade = _shade(config, camera, rng)[..., None] * np.array(config.balance, np.float32)
        self.exposure: float | None = None

    def colour(
        self, render: Render, frame: int, yaw_rate: float = 0.0, cover: float = 0.0
    ) -> NDArray[np.uint8]:
        """Return the image (H, W, 3) uint8 RGB.

        Args:
            render: the ideal picture.
            frame: its number, which decides the noise.
            yaw_rate: of the camera, radians per second.
            cover: how far something covers the lens, 0 to 1.
        """
        c = self.config
        light = render.colour * (1 - cover)
        light = light * (self._expose(light) * self._shade)
        light = _blur(light, abs(yaw_rate) * c.shutter * self._camera.fx)
        if c.lens_blur:
            light = cv2.GaussianBlur(light, (3, 3), c.lens_blur)
        if c.shot or c.read:
            noise = self._window(self._noise, frame)
            light += noise * np.sqrt(c.shot**2 * np.maximum(light, 0) + c.read**2)
        return _CURVE[(np.clip(light, 0, 1) * 4095).astype(np.uint16)]

    def depth(self, render: Render, frame: int) -> Floats:
        """Return the depth (H, W) float32 metres, 0 where none is measured."""
        c, z = self.config, render.depth
        rng = stream(self._seed, "depth", frame)
        noisy = z + c.depth_noise * z * z * self._window(self._smooth, frame)
        if c.flying:
            noisy = _flying_pixels(noisy, z, c.flying, rng)
        if c.depth_steps:
            disparity = np.rint(c.depth_steps / np.maximum(noisy, 0.05))
            noisy = c.depth_steps / np.maximum(disparity, 1)
        near, far = c.depth_range
        seen = (z > 0) & (noisy >= near) & (noisy <= far)
        if c.depth_noise:
            seen &= ~self._holes(render, rng)
        return np.where(seen, noisy, 0).astype(np.float32)

    def _expose(self, light: Floats) -> float:
        """Follow the brightness of the picture's middle with a lag."""
        meter = float(light[::8, ::8].clip(0, 1.5).mean())
        wanted = self.config.exposure_target / max(meter, 0.05)
        if self.exposure is None:
            self.exposure = wanted
        self.exposure += self.config.exposure_lag * (wanted - self.exposure)
        return self.exposure

    def _window(self, bank: Floats, frame: int) -> Floats:
        """Cut a picture's worth of noise from the bank at a place that depends on the frame."""
        v, u = stream(self._seed, "window", frame).integers(0, _NOISE_SIDE, 2)
        return bank[v : v + self._camera.height, u : u + self._camera.width]

    def _holes(self, render: Render, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Dark and grazing surfaces return too little light; the holes come in clumps."""
        brightness = render.colour.mean(axis=2)
        doubt = 0.9 * np.exp(-render.grazing / 0.06) + 0.5 * np.exp(-brightness / 0.02) + 0.002
        rows, columns = brightness.shape
        coarse = rng.random((rows // 3 + 1, columns // 3 + 1), dtype=np.float32)
        clumps = cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_NEAREST)
        return np.asarray(clumps < doubt)


def _blur(light: Floats, length: float) -> Floats:
    """Smear along the rows over `length` pixels."""
    if length < 0.3:
        return light
    side = int(np.ceil(length / 2))
    kernel = np.ones(2 * side + 1, np.float32)
    kernel[[0, -1]] = (length + 1 - (2 * side - 1)) / 2
    return cv2.filter2D(light, -1, (kernel / kernel.sum())[None])


def _flying_pixels(
    noisy: Floats, z: Floats, probability: float, rng: np.random.Generator
) -> Floats:
    """Put pixels at depth edges somewhere between the two sides."""
    kernel = np.ones((3, 3), np.uint8)
    near, far = cv2.erode(z, kernel), cv2.dilate(z, kernel)
    edge = np.flatnonzero((far - near > 0.08 * near + 0.05) & (z > 0))
    chosen = edge[rng.random(len(edge)) < probability]
    mix = rng.random(len(chosen), dtype=np.float32)
    flat = noisy.ravel()
    flat[chosen] = near.ravel()[chosen] * (1 - mix) + far.ravel()[chosen] * mix
    return flat.reshape(z.shape)


def _shade(config: SensorConfig, camera: CameraModel, rng: np.random.Generator) -> Floats:
    """Return the share of light (H, W) that lens and dirt let through."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width].astype(np.float32)
    r2 = ((u - camera.cx) / camera.width * 2) ** 2 + ((v - camera.cy) / camera.height * 2) ** 2
    shade = 1 - config.vignetting * r2 / 2
    for _ in range(6):
        x, y = rng.uniform(0, camera.width), rng.uniform(0, camera.height)
        size = rng.uniform(0.02, 0.06) * camera.width
        smudge = np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * size**2))
        shade = shade * (1 - config.dirt * rng.uniform(0.3, 1) * smudge)
    return np.asarray(shade, np.float32)
