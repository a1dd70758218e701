"""The oracle: breaks a running world at random, lets it come to rest, and judges what became of every record.

A storm is made of rounds: some faults, many at the same time, then a look at how long it takes until every agent is
heard again, end to end. The quiet phase begins when the time is up. See ``judge`` for what must hold afterwards.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from simulator.scenario import Fault as KitFault
from simulator.scenario import Scenario
from tests.chaos.faults import Planner, inject, kinds
from tests.chaos.judge import Log, Verdict, judge
from tests.chaos.world import DATABASE_DOWN, World, rows, world
from tests.services.postgres import Postgres
from tests.services.postgres import start as start_postgres

FAULTS_A_ROUND: Final = 9
RECOVERY_LIMIT_S: Final = 90.0
"""After so long we give up waiting for a recovery: that is a failure."""
FRESH_LIMIT_S: Final = 10.0
"""T1: so soon a fresh record is through once nothing is broken."""
REST_LIMIT_S: Final = 60.0
HOSTS: Final = 9
"""Devices besides the kit, an agent: more records to watch."""
SCENARIO: Final = Scenario(
    name="broken",
    faults=(
        KitFault(vehicle="amb-01", fault="camera_unpowered", at=6, lasts=12),
        KitFault(vehicle="amb-02", fault="sim_absent", at=3, lasts=9),
        KitFault(vehicle="amb-02", fault="router_dead", at=20, lasts=6),
    ),
    repeat=40,
)
"""So that tickets open and close all the while."""


@dataclass
class Report:
    """What a soak found. ``lost`` and the like are counts."""

    seconds: float
    seed: int
    database: str
    obligations: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    """Kinds of fault that could not be injected here."""
    lost: int = 0
    doubled: int = 0
    unknown: int = 0
    different: int = 0
    twin_tickets: int = 0
    judged_otherwise: int = 0
    """Problems, events of tickets, notes and states that come out otherwise when the log is judged again."""
    tickets: int = 0
    slowest_recovery_s: float = 0.0
    """From the end of the last fault of a round to the moment when every agent had a newer record in InfluxDB."""
    fresh_record_s: float = 0.0
    """How long a record took through everything in the quiet phase."""
    unrecovered: int = 0
    """Rounds after which somebody was not heard again, and processes that crashed."""
    crashed: list[str] = field(default_factory=list)
    """Who, with its exit status and its last words."""

    @property
    def holds(self) -> bool:
        """Say whether everything promised was kept."""
        losses = self.lost + self.doubled + self.unknown + self.different + self.twin_tickets + self.judged_otherwise
        return losses + self.unrecovered == 0 and self.fresh_record_s <= FRESH_LIMIT_S

    def as_json(self) -> dict[str, Any]:
        """Return it as one object."""
        return {**asdict(self), "faults": dict(sorted(self.faults.items())), "crashed": len(self.crashed)}


class Oracle:
    """Follows a world's log and knows how to bring the world to rest."""

    def __init__(self, one: World) -> None:
        self.world = one
        self.log = Log(one.database)

    def recovered(self, limit_s: float) -> float | None:
        """Wait until every agent has a record in InfluxDB that is newer than now; return how long, ``None`` if not."""
        since_ms = _boottime_ms()
        return self._wait(lambda: self._heard(since_ms), limit_s)

    def crashed(self) -> list[tuple[str, int]]:
        """Return who ended by itself though it should not: a collector may (2) while it cannot reach its database."""
        self.world.revive()
        return [(name, code) for name, code in self.world.ended if self.world.is_agent(name) or code != 2]

    def rest(self) -> Verdict:
        """End the agents, which first wait for every receipt, and the collectors; judge."""
        self.world.stop(*(name for name in self.world.processes if self.world.is_agent(name)))
        self._wait(lambda: self._read_on() and self._drained() and self._told(), REST_LIMIT_S)
        self.world.stop(*self.world.processes)
        return judge(self.world, self.log)

    def _heard(self, since_ms: int) -> bool:
        if not self._read_on():
            return False
        batches = [self.log.delivered(agent, since_ms) for agent in self.world.agents]
        passed = self._passed()
        return all(batch is not None and batch <= passed for batch in batches)

    def _read_on(self) -> bool:
        with contextlib.suppress(*DATABASE_DOWN):
            self.log.read_on()
            return True
        return False

    def _passed(self) -> int:
        with contextlib.suppress(*DATABASE_DOWN):
            found = rows(self.world.database, "SELECT number FROM cursor WHERE sink = 'influxdb'")
            return max((number for (number,) in found), default=0)
        return 0

    def _told(self) -> bool:
        with contextlib.suppress(*DATABASE_DOWN):
            return self.world.told()
        return False

    def _drained(self) -> bool:
        return self._passed() >= self.log.number

    def _wait(self, what: Callable[[], bool], limit_s: float) -> float | None:
        begun = time.monotonic()
        while not what():
            if time.monotonic() > begun + limit_s:
                return None
            self.world.revive()
            time.sleep(0.2)
        return time.monotonic() - begun


@contextlib.contextmanager
def stage(directory: Path, database: str) -> Iterator[tuple[World, Postgres | None]]:
    """Yield a world on ``sqlite`` or ``postgres`` in which all agents and collectors run; two with PostgreSQL."""
    with contextlib.ExitStack() as stack:
        server = url = None
        if database == "postgres":
            server = stack.enter_context(start_postgres())
            url = stack.enter_context(server.database())
        one = stack.enter_context(world(directory, url, SCENARIO, hosts=HOSTS))
        for name in ["collector", "collector-2"] if server else ["collector"]:
            one.start_collector(name)
        for agent in one.agents:
            one.start_agent(*agent)
        yield one, server


def soak(
    directory: Path,
    seconds: float,
    seed: int,
    database: str,
    *,
    lossy: bool,
    tell: Callable[[str], None] = lambda words: None,
) -> tuple[Report, Verdict]:
    """Break things for so many seconds, bring everything to rest, judge. ``tell`` hears how it goes."""
    report = Report(seconds, seed, database, left_out=[] if lossy else ["link_loses_20_percent"])
    with stage(directory, database) as (one, server):
        oracle = Oracle(one)
        if oracle.recovered(RECOVERY_LIMIT_S) is None:
            raise AssertionError("\n".join(f"--- {name}\n{one.log(name)}" for name in one.processes))
        _storm(oracle, server, report, tell)
        fresh_s = oracle.recovered(RECOVERY_LIMIT_S)
        report.fresh_record_s = round(RECOVERY_LIMIT_S if fresh_s is None else fresh_s, 1)
        report.crashed = [f"{name} ({code}): {one.log(name)[-600:]}" for name, code in oracle.crashed()]
        report.unrecovered += len(report.crashed)
        tell("quiet")
        verdict = oracle.rest()
        report.tickets = len(rows(one.database, "SELECT id FROM ticket"))
    report.obligations = verdict.obligations
    for name, count in verdict.counts().items():
        setattr(report, name, count)
    return report, verdict


def _storm(oracle: Oracle, server: Postgres | None, report: Report, tell: Callable[[str], None]) -> None:
    faults = kinds(oracle.world, server, max(5.0, report.seconds / 10), lossy=not report.left_out)
    planner = Planner(faults, report.seed)
    counts: Counter[str] = Counter()
    end = time.monotonic() + report.seconds
    while time.monotonic() < end:
        left_s = end - time.monotonic()
        plan = [planned for planned in planner.round(FAULTS_A_ROUND) if planned.at < left_s]
        inject(oracle.world.revive, faults, plan, counts)
        took_s = oracle.recovered(RECOVERY_LIMIT_S)
        report.unrecovered += took_s is None
        took_s = RECOVERY_LIMIT_S if took_s is None else took_s
        report.slowest_recovery_s = max(report.slowest_recovery_s, round(took_s, 1))
        told = ", ".join(f"{planned.kind} ({planned.target})" for planned in plan)
        tell(f"{max(0.0, end - time.monotonic()):.0f} s left; all heard again after {took_s:.1f} s: {told}")
    report.faults = dict(counts)


def _boottime_ms() -> int:
    return round(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)
