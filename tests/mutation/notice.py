"""Who notices a mutant: scenarios that are about it, the cheap ones before the dear ones, and tests of its rules."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from collector.core.rules.files import load_rules, shipped_tests
from collector.rule_tests import TestShape, failures, read_tests
from kitwatch.drill.compare import result_of
from kitwatch.drill.matrix import Wanted
from kitwatch.drill.play import Play
from kitwatch.drill.scenario import Combination, Scenario, drill_of, load_scenario, milliseconds, shipped
from kitwatch.drill.words import lines_of
from telemetry.files import parse_yaml
from tests.mutation.mutants import Mutant

_MOST_LIVED_MS: Final = 6 * 3_600_000
"""Longer scenarios are asked only where they name the fault."""
_DENSE: Final = 8
"""Lines of what happens: such a scenario shows many windows at once, and is likely to notice."""


class Run(NamedTuple):
    """A scenario in one of its combinations, seed 1."""

    name: str
    combination: Combination

    @property
    def words(self) -> str:
        """It for the table."""
        return f"{self.name} ({self.combination.words})"


class Noticed(NamedTuple):
    """What became of a mutant."""

    mutant: str
    by: str
    """Who noticed it, in words; empty: nobody."""
    said: str
    """What that one said first."""
    asked: int
    """Scenarios and rules' tests until then."""
    run: Run | None = None
    """The scenario that noticed it; ``None``: it was a rule's test, or nobody."""


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
    """Yield whom to ask that names one of its faults: dense ones, then each once, then each at its other poll."""
    runs = _cheapest_first(_named(mutant))
    cheap = {run.name: run for run in reversed(runs)}
    dense = [run for run in runs if _is_dense(run.name)]
    yield from (run for run in dense)
    yield from (run for run in reversed(cheap.values()) if run not in dense)
    yield from (run for run in runs if run not in cheap.values() and run not in dense)


def near(mutant: Mutant) -> list[Run]:
    """Return the others: dense ones, for what is about a silence or the centre is named otherwise there, and those that
    are about the same devices.
    """
    mine = _named(mutant)
    devices = {device for name in mine for device in _devices(scenarios()[name])}
    others = [name for name in scenarios() if name not in mine]
    beside = [name for name in others if not _is_dense(name) and devices & set(_devices(scenarios()[name]))]
    cheap = _cheapest_first(name for name in beside if milliseconds(scenarios()[name].lasts) <= _MOST_LIVED_MS)
    return _cheapest_first(name for name in others if _is_dense(name)) + cheap


def _is_dense(name: str) -> bool:
    return len(scenarios()[name].happens) >= _DENSE


def _named(mutant: Mutant) -> list[str]:
    return [name for name, one in scenarios().items() if about(one) & set(mutant.faults)]


@functools.cache
def rule_tests() -> tuple[TestShape, ...]:
    """Return the shipped ones: readings given by hand (docs/rules.md)."""
    return tuple(test for name, text in shipped_tests() for test in read_tests(parse_yaml(text, name), name))


def runs_of(name: str) -> Iterator[Run]:
    """Yield a scenario in its smallest combinations, the cheap ones first: each poll, each tablet that changes it."""
    one = scenarios()[name]
    some = [run for run in Wanted(seeds=1).of(one) if run.vehicles == min(one.vary.vehicles)]
    conditions = [line.only for line in one.happens] + [ticket.only for ticket in one.expect.tickets]
    if not any("tablet" in only for only in conditions):
        some = [run for run in some if run.tablet == one.vary.tablet[0]]
    yield from (Run(name, run) for run in sorted(some, key=lambda run: -run.poll_s))


def _cheapest_first(some: Iterable[str]) -> list[Run]:
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
    """Return who notices a mutant; whoever does is asked once whether it holds as shipped.

    Scenarios that name its faults, then the tests of its rules, then the other scenarios about the same devices.
    """
    mutant, only, first, most = what
    runs = (run for name in only for run in runs_of(name)) if only else in_order(mutant)
    begin = list(runs_of(first.name)) if first and first.name in scenarios() else []
    if first in begin:  # otherwise it is lived in other combinations now
        begin = [first]
    asked = 0
    for run in itertools.islice(itertools.chain(begin, (run for run in runs if run not in begin)), most):
        asked += 1
        if (said := first_word(run, mutant)) and sound(run):
            return Noticed(mutant.name, run.words, said, asked, run)
    shipped_rules = load_rules()
    names = {id for id, rule in shipped_rules.by_id.items() if rule.fault.id in mutant.faults}
    for test in () if only else rule_tests():
        if names & set(test.rules):
            asked += 1
            if (found := failures(test, mutant.rules)) and not failures(test, shipped_rules):
                return Noticed(mutant.name, f"rule test: {test.name}", found[0].text, asked)
    for run in () if only or most is not None else near(mutant):
        asked += 1
        if (said := first_word(run, mutant)) and sound(run):
            return Noticed(mutant.name, run.words, said, asked, run)
    return Noticed(mutant.name, "", "", asked)
