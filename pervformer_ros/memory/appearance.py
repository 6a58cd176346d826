# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How much it says that two embeddings are alike: learnt from what is seen, class by class."""

from dataclasses import dataclass, field

import numpy as np

from pervformer_ros.geometry import Array

# What is believed of similarities before any is seen: mean, deviation, and as how many it counts.
SAME, DIFFERENT, WEIGHT = (0.85, 0.12), (0.45, 0.25), 40.0
# What comes into view again is seen from elsewhere: so many times less alike than one image later,
# and so many times less surely.
LESS_ALIKE, LESS_SURELY = 1.5, 2.0
# Evidence from looks alone counts no more than this, as log-odds.
MOST_SAID = 6.0
LEAST_SIGMA = 0.03


@dataclass(slots=True)
class _Gaussian:
    """Mean and variance of what was met, forgetting slowly."""

    mean: float
    variance: float
    weight: float = WEIGHT

    def add(self, values: Array) -> None:
        for value in values:
            self.weight = min(self.weight + 1.0, 100 * WEIGHT)
            step = float(value) - self.mean
            self.mean += step / self.weight
            self.variance += (step * (float(value) - self.mean) - self.variance) / self.weight

    def log_density(self, values: Array) -> Array:
        sigma = max(self.variance**0.5, LEAST_SIGMA)
        return np.asarray(-0.5 * ((values - self.mean) / sigma) ** 2 - np.log(sigma))


@dataclass(slots=True)
class Appearance:
    """Weighs similarities (dot products of embeddings) as evidence for one individual.

    Pairs of one thing, and pairs of two things of one class, in the same image are met all the
    time: from them follows how well this model's embeddings tell individuals of it apart.
    """

    same: _Gaussian = field(default_factory=lambda: _Gaussian(SAME[0], SAME[1] ** 2))
    different: _Gaussian = field(default_factory=lambda: _Gaussian(DIFFERENT[0], DIFFERENT[1] ** 2))

    @classmethod
    def of(cls, values: dict[str, dict[str, float]]) -> "Appearance":
        """Return what `dataclasses.asdict` has made numbers of.

        Raises:
            ValueError, TypeError, KeyError: if these are no such numbers.
        """
        same, different = (
            _Gaussian(**{name: float(v) for name, v in values[kind].items()})
            for kind in ("same", "different")
        )
        return cls(same, different)

    def learn(self, same: Array, different: Array) -> None:
        """Take in similarities (N,) of pairs that are and (M,) that are not one thing."""
        self.same.add(same)
        self.different.add(different)

    def log_odds(self, similarity: Array, again: bool = False) -> Array:
        """Return the evidence (...) that two are one, as log-odds; again: met after a while."""
        one = self.same
        if again:
            one = _Gaussian(1 - LESS_ALIKE * (1 - one.mean), LESS_SURELY**2 * one.variance)
        # More alike than usual is no evidence against, nor is less alike than two any for it.
        said = one.log_density(np.minimum(similarity, one.mean))
        said = said - self.different.log_density(np.maximum(similarity, self.different.mean))
        return np.asarray(np.clip(said, -MOST_SAID, MOST_SAID))


UNMET = Appearance()  # of classes of which nothing was met yet
