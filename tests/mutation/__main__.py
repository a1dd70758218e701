"""``python -m tests.mutation``: each shipped rule, edge, verb and window deleted or halved in turn; ``make mutation``.

A scenario that holds as shipped is asked whether it still does; those that name the fault come first, the cheap ones
before the dear ones. One that does not hold as shipped proves nothing and is left out. Prints a table; exit status 0:
each mutant was noticed by a scenario, 1: not so.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kitwatch.drill.compare import result_of
from kitwatch.drill.matrix import Wanted
from kitwatch.drill.play import Play
from kitwatch.drill.scenario import Scenario, drill_of, load_scenario, milliseconds, shipped
from tests.mutation.mutants import Mutant, mutants

_MOST_LIVED_MS = 6 * 3_600_000
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
    for number, name in enumerate(names, 1):
        if not holds(name, mutant):
            return Noticed(mutant.name, name, number)
    return Noticed(mutant.name, "", len(names))


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="mutate the shipped rules")
    parser.add_argument("words", nargs="*", help="only mutants whose names hold one of these")
    parser.add_argument("--others", type=int, default=20, help="scenarios asked beside those that name the fault")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args(argv)
    scenarios = {name: load_scenario(name) for name in shipped()}
    wanted = [one for one in mutants() if not args.words or any(word in one.name for word in args.words)]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        asked = sorted({name for one in wanted for name in in_order(one, scenarios, args.others)})
        sound = {name for name, held in zip(asked, pool.imap(holds, asked), strict=True) if held}
        rows = []
        whom = [(one, [n for n in in_order(one, scenarios, args.others) if n in sound]) for one in wanted]
        for row in pool.imap(ask, whom):
            rows.append(row)
            if not args.json:
                print(f"{row.name:<70} {row.by or f'NOT NOTICED by {row.asked}'}", flush=True)
    noticed = sum(bool(row.by) for row in rows)
    if args.json:
        print(json.dumps({"mutants": [row._asdict() for row in rows], "noticed": noticed, "of": len(rows)}))
    else:
        print(f"{noticed} of {len(rows)} noticed; {len(asked) - len(sound)} scenarios do not hold as shipped")
    return 0 if noticed == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
