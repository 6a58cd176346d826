# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The bags that evaluations run on: simulated once, kept, shared by all of them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pervformer_ros.sim import simulate
from pervformer_ros.sim.episode import FRAME_RATE
from pervformer_ros.sim.scenario import find, names
from pervformer_ros.sim.seeds import HELD_OUT

STREAMING = "long_shift"
NO_SCENARIO = "none"  # recordings alone


def episode_bag(
    cache: Path,
    scenario: str,
    seed: int,
    seconds: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    rate: int = FRAME_RATE,
) -> Path:
    """Return the bag of an episode, simulating it where the cache has none.

    Args:
        cache: folder of bags, made if missing.
        scenario: its name.
        seed: held out from HELD_OUT on.
        seconds: cut off after so many, or None for the whole scenario.
        progress: called with (frames done, frames in all) while it is simulated.
        rate: images per second.

    Raises:
        ValueError: if there is no such scenario or rate.
    """
    length = "" if seconds is None else f"-{seconds:g}s"
    pace = "" if rate == FRAME_RATE else f"-{rate}hz"
    bag = cache / f"{scenario}-{seed}{length}{pace}"
    if not bag.exists():
        cache.mkdir(parents=True, exist_ok=True)
        simulate(scenario, seed, bag, seconds, progress, rate=rate)
    return bag


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of "900000,900001" or of "900000:900003", whose end is not included.

    Each is there once.

    Raises:
        ValueError: if the text is neither, or names no seed.
    """
    first, colon, end = text.partition(":")
    try:
        seeds = list(range(int(first), int(end))) if colon else [int(s) for s in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds:
        raise ValueError(f"seeds are '{text}': give 900000,900001 or 900000:900003")
    return list(dict.fromkeys(seeds))


def held_out(scenarios: str, seeds: Sequence[int]) -> list[tuple[str, int]]:
    """Return the scenarios and seeds to be simulated.

    Args:
        scenarios: separated by commas; "" for all but the long shift; "none".
        seeds: for each of them.

    Raises:
        ValueError: if there is no such scenario, or a seed may have been trained on.
    """
    if scenarios == NO_SCENARIO:
        return []
    if trained_on := [seed for seed in seeds if seed < HELD_OUT]:
        raise ValueError(f"seeds {trained_on} may have been trained on: use {HELD_OUT} and up")
    return episodes_of(scenarios, seeds)


def episodes_of(scenarios: str, seeds: Sequence[int]) -> list[tuple[str, int]]:
    """Return scenarios, separated by commas, "" for all but the long shift, with each seed.

    Raises:
        ValueError: if there is no such scenario.
    """
    usual = [name for name in names() if name != STREAMING]
    chosen = dict.fromkeys(scenarios.split(",") if scenarios else usual)
    return [(find(scenario).name, seed) for scenario in chosen for seed in seeds]
