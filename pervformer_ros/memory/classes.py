# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of each class before one of its things is seen: size, speed, who carries."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClassPrior:
    """One class.

    length, width, height: metres, typical; length along its own x axis.
    tallest: metres, of all there are.
    speed: metres per second, the fastest it moves or is moved.
    moves_alone: it needs nobody to move it.
    turns: it may turn on the spot.
    carries: it may be the cause that other things move.
    forked: it has forks, low and before it.
    ragged: metres by which its middle may lie beside that of a box that fits what is seen of it.
    """

    length: float
    width: float
    height: float
    tallest: float
    speed: float
    moves_alone: bool = False
    turns: bool = False
    carries: bool = False
    forked: bool = False
    ragged: float = 0.0


UNKNOWN = ClassPrior(0.6, 0.6, 0.8, 3.0, 1.5)
PRIORS = {
    "person": ClassPrior(
        0.5, 0.5, 1.75, 2.05, 1.8, moves_alone=True, turns=True, carries=True, ragged=0.08
    ),
    # Without most of its forks, which are low, thin, and often under a load.
    "forklift": ClassPrior(
        2.5, 1.1, 2.2, 2.5, 2.2, moves_alone=True, carries=True, forked=True, ragged=0.25
    ),
    "pallet_jack": ClassPrior(1.7, 0.55, 1.2, 1.4, 1.8, carries=True, forked=True, ragged=0.15),
    # EN 13698-1, with what stands on it.
    "pallet": ClassPrior(1.2, 0.8, 1.1, 2.2, 2.2),
    "box": ClassPrior(0.55, 0.4, 0.37, 1.0, 1.8),
    "roll_cage": ClassPrior(0.82, 0.7, 1.67, 2.0, 1.8),
    "cone": ClassPrior(0.36, 0.36, 0.62, 1.0, 1.8),
    "robot": ClassPrior(0.92, 0.62, 0.45, 1.6, 1.8, moves_alone=True, turns=True, carries=True),
}


def prior_of(label: str) -> ClassPrior:
    """Return what is known of a class; little, where it is none of the project's."""
    return PRIORS.get(label, UNKNOWN)
