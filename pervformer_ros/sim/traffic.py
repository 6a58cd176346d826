# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What forklifts and people do for a living."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pervformer_ros.geometry import Array
from pervformer_ros.sim import movables
from pervformer_ros.sim.actions import drive_to, follow, grip, lift, release, turn, wait
from pervformer_ros.sim.route import Route
from pervformer_ros.sim.stage import Body, Stage, Story
from pervformer_ros.sim.vehicles import CARRY_HEIGHT, FORKLIFT_LOAD_AT, JACK_LOAD_AT

TRUCK_SPEED, FORK_SPEED = 1.4, 0.55
# How far a forklift backs off before it turns, beyond where it holds the load.
BACK_OFF = 1.35
# A driver looks before lifting and after setting down, seconds.
CARE = 0.8


@dataclass(frozen=True, slots=True)
class Spot:
    """A place for a pallet and the heading from which forks enter it."""

    x: float
    y: float
    heading: float

    def before(self, distance: float) -> Array:
        """Return the point (2,) this far before the spot along its heading."""
        return np.array([
            self.x - distance * np.cos(self.heading),
            self.y - distance * np.sin(self.heading),
        ])  # fmt: skip


def put(stage: Stage, spot: Spot, loaded: bool = True) -> Body:
    """Stand a pallet on a spot."""
    kind = movables.LOADED_PALLET if loaded else movables.EMPTY_PALLET
    return stage.add(kind, spot.x, spot.y, spot.heading)


def load_forks(stage: Stage, truck: Body, loaded: bool = True) -> None:
    """Put a new pallet on a forklift's raised forks."""
    truck.lift = CARRY_HEIGHT
    pallet = put(stage, Spot(truck.x, truck.y, 0.0), loaded)
    pallet.carrier, pallet.carried_at = truck.id, (FORKLIFT_LOAD_AT, 0.0, 0.0, 0.0)
    stage.settle()


def carry(
    stage: Stage,
    truck: Body,
    load: Body,
    spot: Spot,
    target: Spot,
    via: Sequence[ArrayLike] = (),
) -> Story:
    """Let a forklift fetch a pallet from its spot and set it down on another.

    via: points between the two spots, after backing off and before the approach.
    """
    stand = spot.before(FORKLIFT_LOAD_AT + BACK_OFF)
    yield from drive_to(stage, truck, [stand], TRUCK_SPEED)
    yield from pick_up(stage, truck, load, spot)
    there = target.before(FORKLIFT_LOAD_AT + BACK_OFF)
    yield from drive_to(stage, truck, [*via, there], TRUCK_SPEED)
    yield from set_down(stage, truck, load, target)


def pick_up(stage: Stage, truck: Body, load: Body, spot: Spot) -> Story:
    """Take a pallet from straight before it, and back off."""
    yield from _forks_in(stage, truck, load, spot)
    yield from wait(CARE)
    grip(truck, load)
    yield from lift(truck, CARRY_HEIGHT)
    yield from _forks_out(stage, truck, spot)


def set_down(stage: Stage, truck: Body, load: Body, spot: Spot) -> Story:
    """Put a pallet down straight ahead, and back off."""
    yield from _forks_in(stage, truck, load, spot)
    yield from lift(truck, 0.0)
    release(load)
    yield from wait(CARE)
    yield from _forks_out(stage, truck, spot)


def _forks_in(stage: Stage, truck: Body, load: Body, spot: Spot) -> Story:
    yield from turn(truck, spot.heading)
    here, at = np.array([truck.x, truck.y]), spot.before(FORKLIFT_LOAD_AT)
    if (at - here) @ (np.cos(spot.heading), np.sin(spot.heading)) <= 0:
        raise ValueError(f"the forklift stands at {here}, past {at}, where it should drive to")
    yield from follow(stage, truck, Route(np.array([here, at]), FORK_SPEED), {load.id})


def _forks_out(stage: Stage, truck: Body, spot: Spot) -> Story:
    stand, at = spot.before(FORKLIFT_LOAD_AT + BACK_OFF), spot.before(FORKLIFT_LOAD_AT)
    yield from follow(stage, truck, Route([at, stand], FORK_SPEED, reverse=True))


def stroll(
    stage: Stage,
    person: Body,
    points: Sequence[ArrayLike],
    speed: float,
    pauses: Sequence[float] = (),
) -> Story:
    """Walk through points, standing still at each for its pause in seconds, if it has one."""
    for i, point in enumerate(points):
        yield from drive_to(stage, person, [point], speed, softness=0.3)
        if i < len(pauses) and pauses[i]:
            yield from wait(pauses[i])


def walk_to_and_fro(
    stage: Stage, person: Body, points: Sequence[ArrayLike], speed: float, pause: float
) -> Story:
    """Walk a line of points forth and back for ever, with a rest at both ends."""
    here = list(points)
    while True:
        yield from drive_to(stage, person, here[1:], speed)
        yield from wait(pause)
        here = here[::-1]


def pull_jack(stage: Stage, person: Body, load: Body | None = None) -> Body:
    """Give a person a pallet jack to pull, with or without a load, from now on."""
    jack = stage.add(movables.PALLET_JACK, person.x - 0.95, person.y, person.yaw + np.pi)
    c, s = np.cos(person.yaw), np.sin(person.yaw)
    jack.x, jack.y = person.x - 0.8 * c, person.y - 0.8 * s
    grip(person, jack)
    if load is not None:
        reach = 0.8 + JACK_LOAD_AT
        load.x, load.y, load.yaw = person.x - reach * c, person.y - reach * s, jack.yaw
        load.z = 0.05
        grip(person, load)
    return jack
