# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where bodies act: time goes in ticks, every story is a generator that yields once per tick."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pervformer_ros.geometry import Array
from pervformer_ros.sim.kinds import Kind, Model
from pervformer_ros.sim.layout import Layout
from pervformer_ros.sim.rng import stream

TICKS_PER_SECOND = 30
TICK = 1.0 / TICKS_PER_SECOND
Story: TypeAlias = Generator[None, None, None]


@dataclass(slots=True, eq=False)
class Body:
    """Something with a place. The robot that carries the camera is body 0.

    x, y, z, yaw: pose in the map frame. phase: of a walking cycle, radians. lift: of forks, metres.
    carrier: id of the body that carries this one, 0 = none; `carried_at` is its pose (x, y, z, yaw)
    on the carrier.
    """

    id: int
    kind: Kind
    model: Model
    x: float
    y: float
    z: float
    yaw: float
    phase: float = 0.0
    lift: float = 0.0
    speed: float = 0.0
    present: bool = True
    carrier: int = 0
    carried_at: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def discs(self) -> Array:
        """Return the circles (K, 3) that cover its footprint: x, y, radius."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([(self.x + c * d, self.y + s * d, r) for d, r in self.kind.discs])


@dataclass(frozen=True, slots=True, eq=False)
class Log:
    """What happened, tick by tick: T ticks, B bodies.

    pose: (T, B, 4) x, y, z, yaw; the yaw has no jumps by 2 pi. joints: (T, B, 2) phase, lift.
    present: (T, B). carrier: (T, B) id of who carries it, 0 = nobody.
    lights: brightness of light groups per tick; shared dictionaries where nothing changed.
    cover: (T,) how far the camera is covered. lifted: (T,) whether the robot's wheels are off the
    ground.
    """

    pose: Array
    joints: Array
    present: NDArray[np.bool_]
    carrier: NDArray[np.int32]
    lights: list[dict[str, float]]
    cover: Array
    lifted: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.pose)


@dataclass(eq=False)
class Stage:
    """A floor plan, the bodies on it and their stories."""

    layout: Layout
    seed: int
    robot_kind: Kind
    bodies: list[Body] = field(default_factory=list)
    time: float = 0.0
    lights: dict[str, float] = field(default_factory=dict)
    failing: set[int] = field(default_factory=set)
    sunlit: bool = False
    cover: float = 0.0
    lifted: bool = False
    finished: bool = False

    def __post_init__(self) -> None:
        """Put the robot on the stage."""
        self.rng = stream(self.seed, "stage")
        sunny = stream(self.seed, "weather").random() < 0.5
        self.sunlit = sunny and any(dock.open for dock in self.layout.docks)
        self._stories: list[Story] = []
        self._discs: tuple[float, Array, NDArray[np.intp]] | None = None
        self.add(self.robot_kind, 0.0, 0.0)

    @property
    def robot(self) -> Body:
        """The body that carries the camera."""
        return self.bodies[0]

    def add(self, kind: Kind, x: float, y: float, yaw: float = 0.0) -> Body:
        """Place a new body, of a look of its own."""
        number = len(self.bodies)
        model = kind.build(stream(self.seed, "body", number))
        body = Body(number, kind, model, x, y, 0.0, yaw)
        self.bodies.append(body)
        self._discs = None
        return body

    def remove(self, body: Body) -> None:
        """Take away the body that was added last.

        Raises:
            ValueError: if another was added since.
        """
        if body is not self.bodies[-1]:
            raise ValueError("only the body that was added last can be taken away again")
        self.bodies.pop()
        self._discs = None

    def tell(self, story: Story) -> None:
        """Let a story run from now on."""
        self._stories.append(story)

    def run(self, seconds: float) -> Log:
        """Run all stories for at most this long, or until `finished`, and return what happened."""
        frames = []
        for _ in range(max(1, round(seconds * TICKS_PER_SECOND))):
            frames.append(self._snapshot())
            self._advance()
            if self.finished:
                break
        columns = zip(*frames, strict=True)
        poses, joints, present, carrier, lights, cover, lifted = (list(c) for c in columns)
        pose = np.array(poses, float)
        pose[..., 3] = np.unwrap(pose[..., 3], axis=0)
        return Log(
            pose, np.array(joints), np.array(present), np.array(carrier, np.int32),
            list(lights), np.array(cover), np.array(lifted),
        )  # fmt: skip

    def obstacles(self, ignore: set[int]) -> tuple[Array, NDArray[np.intp]]:
        """Return the discs (K, 3) of present bodies not in `ignore`, and whose (K,) they are."""
        discs, owner = self._all_discs()
        keep = ~np.isin(owner, list(ignore))
        return discs[keep], owner[keep]

    def _all_discs(self) -> tuple[Array, NDArray[np.intp]]:
        """Return every present body's discs and whose they are; worked out once per tick."""
        if self._discs is None or self._discs[0] != self.time:
            found = [(b.discs(), b.id) for b in self.bodies if b.present]
            discs = np.concatenate([d for d, _ in found])
            owner = np.concatenate([np.full(len(d), i) for d, i in found])
            self._discs = self.time, discs, owner
        return self._discs[1:]

    def _advance(self) -> None:
        self._stories = [story for story in self._stories if next(story, True) is None]
        self.settle()
        self.time += TICK

    def settle(self) -> None:
        """Bring every carried body to where its carrier has it."""
        for body in self.bodies:
            if body.carrier:
                self._carry(body, self.bodies[body.carrier])

    @staticmethod
    def _carry(body: Body, carrier: Body) -> None:
        x, y, z, yaw = body.carried_at
        c, s = np.cos(carrier.yaw), np.sin(carrier.yaw)
        body.x, body.y = carrier.x + c * x - s * y, carrier.y + s * x + c * y
        body.z, body.yaw = z + carrier.lift, carrier.yaw + yaw

    def _snapshot(self) -> tuple[object, ...]:
        b = self.bodies
        return (
            [(i.x, i.y, i.z, i.yaw) for i in b],
            [(i.phase, i.lift) for i in b],
            [i.present for i in b],
            [i.carrier for i in b],
            dict(self.lights),
            self.cover,
            self.lifted,
        )
