"""Which scenario notices a mutant: those that are about it first, the cheap ones before the dear ones."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from kitwatch.drill.compare import result_of
from kitwatch.drill.matrix import Wanted
from kitwatch.drill.play import Play
from kitwatch.drill.scenario import Combination, Scenario, drill_of, load_scenario, milliseconds, shipped
from kitwatch.drill.words import lines_of
from tests.mutation.mutants import Mutant

_MOST_LIVED_MS: Final = 6 * 3_600_000
"""Longer scenarios are asked only where they name the fault."""


class Run(NamedTuple):
    """A scenario in one of its combinations, seed 1."""

    name: str
    combination: Combination

    @property
    def words(self) -> str:
        """It for the table."""
        one = self.combination
        return f"{self.name} ({one.poll_s} s, {one.vehicles} vehicles, tablet {one.tablet})"


class Noticed(NamedTuple):
    """What became of a mutant."""

    mutant: str
    by: Run | None
    """Who noticed it; ``None``: nobody."""
    said: str
    """What it said first."""
    asked: int
    """Runs until then."""


@functools.cache
def scenarios() -> dict[str, Scenario]:
    """Return the shipped ones."""
    return {name: load_scenario(name) for name in shipped()}


def first_word(run: Run, mutant: Mutant | None = None) -> str:
    """Return what a run says that is otherwise than expected; empty: it holds."""
    drill = drill_of(run.name, scenarios()[run.name], run.combination)
    result: Mapping[str, Any] = result_of(drill, Play(drill, None if mutant is None else mutant.rules).run)
    return "" if result["holds"] else next(line for line in lines_of(result) if line.startswith(" ")).strip()


@functools.cache
def sound(run: Run) -> bool:
    """Say whether a run holds as shipped: one that does not proves nothing."""
    return not first_word(run)


def about(scenario: Scenario) -> set[str]:
    """Return the faults that a scenario names."""
    return {one.fault for one in scenario.expect.tickets} | {line.fault for line in scenario.happens if line.fault}


def in_order(mutant: Mutant) -> Iterator[Run]:
    """Yield whom to ask: all that name one of its faults, each once and then at its other poll; then its devices'."""
    mine = {name: one for name, one in scenarios().items() if about(one) & set(mutant.faults)}
    runs = _cheapest_first(mine)
    cheap = {run.name: run for run in reversed(runs)}
    yield from reversed(cheap.values())
    yield from (run for run in runs if run not in cheap.values())
    devices = {device for one in mine.values() for device in _devices(one)}
    near = {
        name: one
        for name, one in scenarios().items()
        if name not in mine and milliseconds(one.lasts) <= _MOST_LIVED_MS and devices & set(_devices(one))
    }
    yield from _cheapest_first(near)


def runs_of(name: str) -> Iterator[Run]:
    """Yield a scenario in its smallest combinations, the cheap ones first: each poll, each tablet that changes it."""
    one = scenarios()[name]
    some = [run for run in Wanted(seeds=1).of(one) if run.vehicles == min(one.vary.vehicles)]
    conditions = [line.only for line in one.happens] + [ticket.only for ticket in one.expect.tickets]
    if not any("tablet" in only for only in conditions):
        some = [run for run in some if run.tablet == one.vary.tablet[0]]
    yield from (Run(name, run) for run in sorted(some, key=lambda run: -run.poll_s))


def _cheapest_first(some: Mapping[str, Scenario]) -> list[Run]:
    return sorted((run for name in some for run in runs_of(name)), key=_cost)


def _cost(run: Run) -> tuple[float, str]:
    lived = milliseconds(scenarios()[run.name].lasts) * run.combination.vehicles
    return lived / run.combination.poll_s, run.name


def _devices(scenario: Scenario) -> Iterator[str]:
    for line in scenario.happens:
        yield line.device or line.agent or line.fault or line.centre
    for ticket in scenario.expect.tickets:
        yield ticket.at.rpartition("/")[2]


class Asking(NamedTuple):
    """A mutant, and who is to be asked."""

    mutant: Mutant
    only: tuple[str, ...] = ()
    """Nobody but these scenarios."""
    first: Run | None = None
    """Who noticed the last time."""
    most: int | None = None


def ask(what: Asking) -> Noticed:
    """Return who notices a mutant. Whoever does is asked once whether it holds as shipped."""
    mutant, only, first, most = what
    runs = (run for name in only for run in runs_of(name)) if only else in_order(mutant)
    whom = itertools.chain(
        [first] if first and first.name in scenarios() else [], (run for run in runs if run != first)
    )
    asked = 0
    for run in itertools.islice(whom, most):
        asked += 1
        said = first_word(run, mutant)
        if said and sound(run):
            return Noticed(mutant.name, run, said, asked)
    return Noticed(mutant.name, None, "", asked)
