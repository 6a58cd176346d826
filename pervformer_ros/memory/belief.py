# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How likely it is that an event is right: its confidence.

What is believed follows from the model of the world: that the thing exists, and that its place is
right, by the doubt about it. What such a belief is worth is a logistic curve (Platt) over its
log-odds, with an offset for every type of event, which `evaluation/memory/calibration.py` fits. It
has not been fitted yet: belief is taken as it is.
"""

import math

from pervformer_ros.memory.events import EventType

# A place is right within this (metres), or within this share of its distance.
RIGHT_M, RIGHT_SHARE = 0.5, 0.1
# Beliefs are not taken to be surer than this.
LEAST, MOST = 0.02, 0.98
SLOPE = 1.0
OFFSETS: dict[EventType, float] = {}


def place_belief(sigma: float, away: float) -> float:
    """Return the belief that a place is right, by its deviation and distance in metres."""
    right = max(RIGHT_M, RIGHT_SHARE * away)
    return math.erf(right / (math.sqrt(2.0) * max(sigma, 1e-6)))


def confidence(kind: EventType, belief: float) -> float:
    """Return how often events of a type are right that are believed so much."""
    return _logistic(OFFSETS.get(kind, 0.0) + SLOPE * log_odds(belief))


def log_odds(belief: float) -> float:
    """Return the log-odds of a belief that is not taken to be too sure."""
    p = min(max(belief, LEAST), MOST)
    return math.log(p / (1.0 - p))


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))
