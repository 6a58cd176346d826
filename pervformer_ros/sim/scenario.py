# SPDX-FileCopyrightText: The pervformer_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Scenarios: a name, a sentence, and a function that puts bodies and stories on a stage."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TypeAlias

from pervformer_ros.sim.stage import Stage

Script: TypeAlias = Callable[[Stage], None]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of shift.

    seconds: the longest it runs; it ends earlier where its script says so.
    practice: made to learn from alone; nothing is evaluated on it.
    """

    name: str
    summary: str
    seconds: float
    script: Script
    practice: bool = False


SCENARIOS: dict[str, Scenario] = {}


def scenario(summary: str, seconds: float, practice: bool = False) -> Callable[[Script], Script]:
    """Register a script as the scenario of its function's name."""

    def register(script: Script) -> Script:
        name = script.__name__
        SCENARIOS[name] = Scenario(name, summary, seconds, script, practice)
        return script

    return register


def names(practice: bool = False) -> tuple[str, ...]:
    """Return the names of all scenarios, without or with those to learn from alone."""
    # Scenarios import this module; importing them here, at the first question, registers them.
    import_module("pervformer_ros.sim.scenarios")
    return tuple(name for name, s in SCENARIOS.items() if practice or not s.practice)


def find(name: str) -> Scenario:
    """Return a scenario.

    Raises:
        ValueError: if there is none of this name; the text lists those there are.
    """
    if name not in names(practice=True):
        raise ValueError(f"there is no scenario '{name}': use one of {', '.join(SCENARIOS)}")
    return SCENARIOS[name]
