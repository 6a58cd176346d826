# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Laps in which nothing moves but the robot."""

from pervformer_ros.sim import patrol
from pervformer_ros.sim.scenario import scenario
from pervformer_ros.sim.stage import Stage


@scenario("nothing moves; the robot drives two laps", seconds=180)
def static_loop(stage: Stage) -> None:
    """Two laps through the first and another aisle."""
    up = int(stage.rng.integers(len(stage.layout.aisles) - 1))
    route = patrol.laps(stage.layout, stage.rng, 2, up, up + 1, stage.rng.uniform(0.85, 1.15))
    patrol.start_robot(stage, route)
    patrol.furnish(stage, [route.points])
    stage.tell(patrol.drive_and_finish(stage, route))
