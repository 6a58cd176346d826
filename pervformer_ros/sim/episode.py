# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One run of a scenario: first all motion is worked out, then frames are rendered one by one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.frame import NANOSECONDS, CameraModel, Frame
from pervformer_ros.geometry import Array, make_rotation
from pervformer_ros.sim import bake, layout, lights, textures, world
from pervformer_ros.sim.atlas import Atlas
from pervformer_ros.sim.mesh import Mesh, merge
from pervformer_ros.sim.movables import SELF
from pervformer_ros.sim.odometry import wheel_odometry
from pervformer_ros.sim.raycast import RayScene
from pervformer_ros.sim.render import Movers, Render, Renderer, trace
from pervformer_ros.sim.rng import stream
from pervformer_ros.sim.scenario import Scenario, find
from pervformer_ros.sim.sensors import Sensor, SensorConfig, draw_sensor
from pervformer_ros.sim.shadows import MoverShadows
from pervformer_ros.sim.stage import TICK, TICKS_PER_SECOND, Body, Stage

FRAME_RATE = 15
TICKS_PER_FRAME = TICKS_PER_SECOND // FRAME_RATE
# Stamps count from here, so that none is zero.
EPOCH_NS = 1_700_000_000 * NANOSECONDS
WIDTH, HEIGHT = 320, 240
# Bodies farther than this are not drawn.
DRAW_DISTANCE = 45.0


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What can be seen at one moment, exactly.

    tick: of the log. T_map_base: true pose of the robot. depth: (H, W) metres, 0 = nothing.
    instance: (H, W) uint16 ids, 0 = the static world.
    """

    tick: int
    stamp_ns: int
    T_map_base: Array
    depth: NDArray[np.float32]
    instance: NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One frame and the truth about it.

    index: its number. tick: of the log. frame: what the robot's sensors deliver.
    T_map_base: true pose. render: what an ideal camera would see, with instance ids; nothing while
    the robot's is covered.
    """

    index: int
    tick: int
    frame: Frame
    T_map_base: Array
    render: Render

    @property
    def sight(self) -> Sight:
        """The geometry of it."""
        r = self.render
        return Sight(self.tick, self.frame.stamp_ns, self.T_map_base, r.depth, r.instance)


def frames_apart(rate: int) -> int:
    """Return of how many frames one is taken, for so many images a second.

    Raises:
        ValueError: if that is no part of FRAME_RATE.
    """
    if rate < 1 or FRAME_RATE % rate:
        raise ValueError(f"{rate} images a second cannot be taken of {FRAME_RATE}: use 15, 5 or 3")
    return FRAME_RATE // rate


class Episode:
    """A scenario with a seed, ready to be rendered.

    Args:
        scenario: or its name.
        seed: decides everything that is drawn.
        duration: cut off after this many seconds.
        sensor: the camera's quality, else drawn.
        distortion: of the lens, as in `CameraModel`; by default images are rectified.

    Attributes:
        layout: the floor plan.
        bodies: everything that is not built in; body 0 is the robot itself.
        log: what happened, in ticks.
        odometry: (T, 3) what the wheels reported, per tick.
        camera, T_base_camera: the camera and how it is mounted.
    """

    def __init__(
        self,
        scenario: str | Scenario,
        seed: int,
        duration: float | None = None,
        sensor: SensorConfig | None = None,
        distortion: tuple[float, ...] = (),
    ):
        self.scenario = find(scenario) if isinstance(scenario, str) else scenario
        self.seed = seed
        self._stage = Stage(layout.plan(seed), seed, SELF)
        self.scenario.script(self._stage)
        self.layout = self._stage.layout
        self.log = self._stage.run(duration or self.scenario.seconds)
        self.bodies: list[Body] = self._stage.bodies
        self.odometry = self._measure_odometry()
        camera, self.T_base_camera = _mount(seed)
        self.camera = replace(camera, distortion=distortion)
        self._sensor_config = sensor or draw_sensor(seed)
        self._sway = stream(seed, "sway").uniform(0, 2 * np.pi, (3, 4))

    def __len__(self) -> int:
        return -(-len(self.log) // TICKS_PER_FRAME)

    def stamp_ns(self, tick: int) -> int:
        """Return the stamp of a tick."""
        return EPOCH_NS + round(tick * NANOSECONDS / TICKS_PER_SECOND)

    def T_map_base(self, tick: int) -> Array:  # noqa: N802
        """Return the robot's true pose at a tick, with the small sway of a real floor."""
        x, y, z, yaw = self.log.pose[tick, 0]
        swing = np.sin(self._travelled[tick] * np.array([1.3, 2.9, 5.1, 8.7]) + self._sway).mean(1)
        T = make_rotation((0, 0, yaw)) @ make_rotation((0.003 * swing[0], 0.004 * swing[1], 0))
        T[:3, 3] = x, y, z + 0.002 * swing[2]
        return T

    def T_odom_base(self, tick: int) -> Array:  # noqa: N802
        """Return the pose that the wheels reported at a tick."""
        x, y, yaw = self.odometry[tick]
        T = make_rotation((0, 0, yaw))
        T[:2, 3] = x, y
        return T

    def movers(self, tick: int) -> Movers:
        """Return everything but the static world at a tick."""
        here = self.log.pose[tick, 0, :2]
        meshes, ids = [], []
        for body in self.bodies[1:]:
            x, y, z, yaw = self.log.pose[tick, body.id]
            near = np.hypot(x - here[0], y - here[1]) < DRAW_DISTANCE
            if near and self.log.present[tick, body.id]:
                mesh = body.model.posed(*self.log.joints[tick, body.id]).placed(x, y, z, yaw)
                meshes.append(mesh)
                ids.append(np.full(len(mesh), body.id, np.uint16))
        if not meshes:
            return Movers()
        return Movers(merge(meshes), np.concatenate(ids))

    def shots(self, first: int = 0, every: int = 1) -> Iterator[Shot]:
        """Render the frames in order, from `first` on, and of those every so many."""
        sensor = Sensor(self._sensor_config, self.camera, self.seed)
        for index in range(first, len(self), every):
            tick = index * TICKS_PER_FRAME
            T_map_base, render = self.T_map_base(tick), self.render(tick)
            rgb = sensor.colour(render, index, self._yaw_rate(tick), float(self.log.cover[tick]))
            if self.is_covered(tick):
                nothing = np.zeros_like(render.instance)
                render = replace(render, depth=np.zeros_like(render.depth), instance=nothing)
            frame = Frame(
                stamp_ns=self.stamp_ns(tick),
                rgb=rgb,
                depth=sensor.depth(render, index),
                camera=self.camera,
                T_base_camera=self.T_base_camera,
                T_odom_base=self.T_odom_base(tick),
            )
            yield Shot(index, tick, frame, T_map_base, render)

    def render(self, tick: int) -> Render:
        """Render the ideal picture at a tick."""
        T_map_camera = self.T_map_base(tick) @ self.T_base_camera
        return self.renderer.render(T_map_camera, self.movers(tick), self.log.lights[tick])

    def is_covered(self, tick: int) -> bool:
        """Return whether the camera sees nothing."""
        return bool(self.log.cover[tick] >= 0.5)

    def sight(self, tick: int) -> Sight:
        """Return what can be seen at a tick, without rendering colours."""
        T_map_base = self.T_map_base(tick)
        T_map_camera = T_map_base @ self.T_base_camera
        depth, instance = trace(T_map_camera, self.camera, self.scene, self.movers(tick))
        if self.is_covered(tick):
            depth, instance = np.zeros_like(depth), np.zeros_like(instance)
        return Sight(tick, self.stamp_ns(tick), T_map_base, depth, instance)

    @cached_property
    def scene(self) -> RayScene:
        """The static world for rays."""
        return RayScene(self.static_mesh)

    @cached_property
    def renderer(self) -> Renderer:
        """The renderer, with the world built and lit at first use."""
        lamps = lights.hang(self.layout, self.seed)
        sun = lights.shine(self.seed) if self._stage.sunlit else None
        static = self.static_mesh
        groups = [
            f"lamp_{i}" if i in self._stage.failing else bake.STEADY for i in range(len(lamps))
        ]
        rng = stream(self.seed, "bake")
        light = bake.bake(static, self.scene, self.layout, lamps, sun, groups, rng)
        atlas = Atlas(textures.paint_all(self.seed))
        return Renderer(static, self.scene, light, MoverShadows(lamps, groups), atlas, self.camera)

    @cached_property
    def static_mesh(self) -> Mesh:
        """All that stands still: the hall, racks and lamps."""
        lamps = lights.hang(self.layout, self.seed)
        return merge([world.build(self.layout, self.seed), *lights.fixtures(lamps)])

    @cached_property
    def _travelled(self) -> NDArray[np.float64]:
        steps = np.hypot(*np.diff(self.log.pose[:, 0, :2], axis=0).T)
        return np.concatenate([[0.0], np.cumsum(steps)])

    def _yaw_rate(self, tick: int) -> float:
        before = max(tick - 1, 0)
        return float(self.log.pose[tick, 0, 3] - self.log.pose[before, 0, 3]) / TICK

    def _measure_odometry(self) -> Array:
        """Let the wheels report; they feel nothing while the robot is lifted."""
        truth = np.array(self.log.pose[:, 0, [0, 1, 3]])
        return wheel_odometry(truth, self.log.lifted, TICK, stream(self.seed, "odometry"))


def _mount(seed: int) -> tuple[CameraModel, Array]:
    """Draw a camera and how it sits on the robot's mast: T_base_camera."""
    rng = stream(seed, "camera")
    focal = float(rng.uniform(225, 290))
    centre = np.array([WIDTH - 1, HEIGHT - 1]) / 2 + rng.uniform(-3, 3, 2)
    camera = CameraModel(WIDTH, HEIGHT, focal, focal, float(centre[0]), float(centre[1]))
    # The optical frame of REP-103 looks along z with y down.
    optical = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    pitch, yaw, roll = rng.uniform(0.06, 0.2), rng.normal(0, 0.01), rng.normal(0, 0.006)
    T = make_rotation((0, 0, yaw)) @ make_rotation((0, pitch, 0)) @ make_rotation((roll, 0, 0))
    T = T @ optical
    T[:3, 3] = rng.uniform(0.1, 0.25), rng.normal(0, 0.01), rng.uniform(0.9, 1.35)
    return camera, T
