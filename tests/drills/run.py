"""Which runs there are, and what came of each."""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Iterator
from typing import NamedTuple

from collector.garbage import collect_seldom
from kitwatch.drill.compare import result_of
from kitwatch.drill.matrix import Wanted
from kitwatch.drill.play import Play
from kitwatch.drill.scenario import Combination, drill_of, load_scenario, milliseconds, shipped
from kitwatch.drill.words import lines_of


class Run(NamedTuple):
    """One scenario in one combination."""

    name: str
    combination: Combination
    cost: float
    """Samples that are lived, about, in thousands."""


def wanted_of(args: argparse.Namespace) -> list[Run]:
    """Return the runs, seed by seed, the quick ones first. Raises FileError."""
    first = 1 if args.seed is None else args.seed
    poll_s = None if args.poll is None else milliseconds(args.poll) // 1000
    wanted = Wanted(first + args.seeds - 1, poll_s, args.vehicles, args.tablet)
    found = []
    for name in args.scenarios or shipped():
        scenario = load_scenario(name)
        for one in wanted.of(scenario):
            if one.seed >= first:
                devices = 16 if one.tablet == "no" else 20
                moments = milliseconds(scenario.lasts) / 1000 / one.poll_s
                found.append(Run(name, one, one.vehicles * devices * moments / 1000))
    return sorted(found, key=lambda run: (run.combination.seed, run.cost, run.name))


def _live(run: Run) -> tuple[Run, bool, list[str]]:
    drill = drill_of(run.name, load_scenario(run.name), run.combination)
    result = result_of(drill, Play(drill).run)
    return run, bool(result["holds"]), list(lines_of(result))


def live_all(runs: list[Run], workers: int, over: Callable[[], bool]) -> Iterator[tuple[Run, bool, list[str]]]:
    """Yield what came of them, until it is over."""
    if workers == 1:
        collect_seldom()
        for run in runs:
            yield _live(run)
            if over():
                return
        return
    with multiprocessing.get_context("spawn").Pool(workers, collect_seldom) as pool:
        for found in pool.imap(_live, runs):
            yield found
            if over():
                return
