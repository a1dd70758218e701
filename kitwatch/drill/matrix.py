"""All runs of scenarios: each combination of the matrix with each seed, as many at once as there are processors."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from collector.garbage import collect_seldom
from kitwatch.drill.compare import result_of
from kitwatch.drill.play import Play
from kitwatch.drill.scenario import Combination, Scenario, combinations, drill_of


class Wanted(NamedTuple):
    """Which runs; ``None``: all."""

    seeds: int | None = None
    poll_s: int | None = None
    vehicles: int | None = None
    tablet: str | None = None
    first: bool = False
    """Each scenario once."""
    depth: str = "core"
    """``full``: through the agent's own parts and SQLite (``kitwatch.drill.full``)."""

    def of(self, scenario: Scenario) -> Iterator[Combination]:
        """Yield the combinations of a scenario that are wanted."""
        for one in combinations(scenario, self.seeds):
            if self.poll_s not in (None, one.poll_s) or self.tablet not in (None, one.tablet):
                continue
            if self.vehicles not in (None, one.vehicles):
                continue
            yield one
            if self.first:
                return


def drill_all(scenarios: Mapping[str, Scenario], wanted: Wanted, workers: int | None = None) -> Iterator[Any]:
    """Yield the result of each run, in order."""
    runs = [(name, scenario, one, wanted.depth) for name, scenario in scenarios.items() for one in wanted.of(scenario)]
    if len(runs) < 2 or workers == 1:
        yield from map(_run, runs)
        return
    with multiprocessing.get_context("spawn").Pool(workers or os.cpu_count(), collect_seldom) as pool:
        yield from pool.imap(_run, runs)


def _run(what: tuple[str, Scenario, Combination, str]) -> Mapping[str, Any]:
    name, scenario, combination, depth = what
    drill = drill_of(name, scenario, combination)
    if depth == "full":
        from kitwatch.drill.full import play_in_full  # needs the agent's part of kitwatch too

        return result_of(drill, lambda: play_in_full(drill))
    return result_of(drill, Play(drill).run)
