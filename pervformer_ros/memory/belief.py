# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How likely it is that an event is true: its confidence.

What is believed follows from the model of the world: that the thing exists, and that its place is
right, by the doubt about it. What such a belief is worth depends on whose percepts it rests on: a
logistic curve (Platt) over its log-odds, with an offset for every type of event, which
`evaluation/memory/calibration.py` fits and the card of the weights holds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pervformer_ros.memory.events import EventType

# A place is right within this (metres), or within this share of its distance.
RIGHT_M, RIGHT_SHARE = 0.5, 0.1
# Beliefs are not taken to be surer than this.
LEAST, MOST = 0.02, 0.98


@dataclass(frozen=True, slots=True)
class Calibration:
    """What beliefs are worth: nothing but themselves, where nothing was fitted.

    slope: of the curve over log-odds. offsets: what is added for a type of event.
    """

    slope: float = 1.0
    offsets: Mapping[EventType, float] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Calibration":
        """Return what `to_json` has made a JSON object of.

        Raises:
            ValueError, TypeError, KeyError: if it is none, or its curve does not rise.
        """
        slope = float(values["slope"])
        offsets = {EventType[name]: float(v) for name, v in values["offsets"].items()}
        if not (slope > 0 and all(map(math.isfinite, (slope, *offsets.values())))):
            raise ValueError(f"a calibration has a slope of {slope}, offsets {offsets}")
        return cls(slope, offsets)

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        offsets = {kind.name: round(value, 3) for kind, value in self.offsets.items()}
        return {"slope": round(self.slope, 3), "offsets": offsets}

    def confidence(self, kind: EventType, belief: float) -> float:
        """Return how often events of a type are true that are believed so much."""
        x = self.offsets.get(kind, 0.0) + self.slope * log_odds(belief)
        return 1.0 / (1.0 + math.exp(-x))


def place_belief(sigma: float, away: float) -> float:
    """Return the belief that a place is right, by its deviation and distance in metres."""
    right = max(RIGHT_M, RIGHT_SHARE * away)
    return math.erf(right / (math.sqrt(2.0) * max(sigma, 1e-6)))


def log_odds(belief: float) -> float:
    """Return the log-odds of a belief that is not taken to be too sure."""
    p = min(max(belief, LEAST), MOST)
    return math.log(p / (1.0 - p))
