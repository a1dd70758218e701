"""Whether a scenario notices a mutant."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Final, NamedTuple

from kitwatch.drill.compare import result_of
from kitwatch.drill.matrix import Wanted
from kitwatch.drill.play import Play
from kitwatch.drill.scenario import Scenario, drill_of, load_scenario, milliseconds
from tests.mutation.mutants import Mutant

_MOST_LIVED_MS: Final = 6 * 3_600_000
"""Longer scenarios are asked only where a shorter one of the same fault is not there."""


class Noticed(NamedTuple):
    """What became of a mutant."""

    name: str
    by: str
    """The scenario that noticed it; empty: none did."""
    asked: int


def holds(name: str, mutant: Mutant | None = None) -> bool:
    """Say whether a scenario holds in its cheapest combination, seed 1."""
    scenario = load_scenario(name)
    combination = min(Wanted(seeds=1).of(scenario), key=lambda one: (one.vehicles, -one.poll_s))
    drill = drill_of(name, scenario, combination)
    play = Play(drill, None if mutant is None else mutant.rules)
    return bool(result_of(drill, play.run, in_full=False)["holds"])


@functools.cache
def sound(name: str) -> bool:
    """Say whether a scenario holds as shipped: one that does not proves nothing."""
    return holds(name)


def cost_ms(scenario: Scenario) -> int:
    """Return how long a scenario is lived."""
    return milliseconds(scenario.lasts)


def about(scenario: Scenario) -> set[str]:
    """Return the faults that a scenario names."""
    return {one.fault for one in scenario.expect.tickets} | {line.fault for line in scenario.happens if line.fault}


def in_order(mutant: Mutant, scenarios: dict[str, Scenario], others: int) -> Iterator[str]:
    """Yield whom to ask: all that name the fault, then so many others."""
    mine = [name for name, one in scenarios.items() if about(one) & set(mutant.faults)]
    yield from sorted(mine, key=lambda name: cost_ms(scenarios[name]))
    rest = [name for name in scenarios if name not in mine and cost_ms(scenarios[name]) <= _MOST_LIVED_MS]
    yield from sorted(rest, key=lambda name: cost_ms(scenarios[name]))[:others]


def ask(what: tuple[Mutant, list[str]]) -> Noticed:
    """Return who notices a mutant."""
    mutant, names = what
    asked = 0
    for name in names:
        if not sound(name):
            continue
        asked += 1
        if not holds(name, mutant):
            return Noticed(mutant.name, name, asked)
    return Noticed(mutant.name, "", asked)
