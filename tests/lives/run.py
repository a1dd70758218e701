"""Live quiet lives, as many at once as there are processors, and have the oracle judge them."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from collector.garbage import collect_seldom
from kitwatch.drill.matrix import Wanted, drill_all
from kitwatch.drill.scenario import Scenario
from telemetry.files import convert
from tests.lives import oracle
from tests.lives.draw import Life, draw, troubles


class Which(NamedTuple):
    """One life."""

    wiring: str
    seed: int
    vehicle_days: float


@dataclass
class Lived:
    """What came of lives."""

    vehicle_days: float = 0.0
    lives: int = 0
    records: int = 0
    tickets: int = 0
    troubles: dict[str, Counter[str]] = field(default_factory=dict)
    """By wiring: how often each was lived."""
    expected: Counter[str] = field(default_factory=Counter)
    excepted: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """With the wiring and the seed of the life, and how to live it again."""

    def too_few(self) -> dict[str, int]:
        """Return the troubles that were lived less often than so many vehicle-days must have them."""
        found = sum(self.troubles.values(), Counter[str]())
        return {
            name: found[name]
            for name, least in sorted(troubles().items())
            if found[name] < int(least * self.vehicle_days / 1000)
        }

    def add(self, other: Lived) -> None:
        """Take in another life."""
        for name in ("vehicle_days", "lives", "records", "tickets"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for wiring, counts in other.troubles.items():
            self.troubles[wiring] = self.troubles.get(wiring, Counter()) + counts
        self.expected += other.expected
        self.excepted += other.excepted
        self.wrong += other.wrong


def live(which: Which) -> Lived:
    """Live one life and judge it."""
    life = draw(*which)
    scenario = convert(life.scenario, Scenario, life.name)
    (came,) = drill_all({life.name: scenario}, Wanted(), workers=1)
    verdict = oracle.judge(life.scenario, came)
    return Lived(
        life.vehicles * life.days,
        1,
        came["records"],
        len(came["tickets"]),
        {life.wiring: life.counts},
        verdict.expected,
        verdict.excepted,
        [f"{life.name}: {one}; {again(life)}" for one in verdict.wrong],
    )


def again(life: Life) -> str:
    """Return the command that lives exactly this life again."""
    days = life.vehicles * life.days
    return f'make quiet ARGS="--wiring {life.wiring} --seed {life.seed} --vehicle-days {days}"'


def live_all(
    which: Iterable[Which], workers: int | None = None, over: Callable[[], bool] = lambda: False
) -> Iterator[Lived]:
    """Yield what came of each life, in their order, until it is ``over``: what has not ended then does not count."""
    with multiprocessing.get_context("spawn").Pool(workers or os.cpu_count(), collect_seldom) as pool:
        lives = pool.imap(live, which)
        while not over():
            try:
                yield lives.next(timeout=1.0)
            except multiprocessing.TimeoutError:
                continue
            except StopIteration:
                return


def told(lived: Lived) -> dict[str, Any]:
    """Return it as plain data."""
    return {
        "vehicle_days": lived.vehicle_days,
        "lives": lived.lives,
        "records": lived.records,
        "tickets": lived.tickets,
        "troubles": {wiring: dict(sorted(counts.items())) for wiring, counts in sorted(lived.troubles.items())},
        "expected": dict(sorted(lived.expected.items())),
        "excepted": dict(sorted(lived.excepted.items())),
        "wrong": lived.wrong,
    }
