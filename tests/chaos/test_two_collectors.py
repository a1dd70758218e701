"""Two collectors share 200 vehicles on eight sites; one is killed, or stopped and continued, under load.

Real collectors on PostgreSQL and Mosquitto, with the timings that
we ship but for the receipts (every second). The first collector may own four sites only and is there first, so that
both own four; the second stands in line for all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from telemetry.records import Event, Record
from tests.chaos.judge import kept
from tests.chaos.vehicles import RecordKey, Vehicles, fleet_yaml
from tests.chaos.world import rows, runs
from tests.services.mosquitto import mosquitto
from tests.services.postgres import start as postgres
from tests.services.process import Server

SITES = {f"site-{n}": [f"amb-{n}-{v:02}" for v in range(25)] for n in range(8)}
FIRST_OWNS = [f"site-{n}" for n in range(4)]
EVERY_S = 2.0
BEFORE_S = 5.0
"""So long before the harm the first SIMs are absent."""
SPEED = 20.0
"""A ticket for a missing SIM after 1.5 s, ``site_unreachable`` after 4.5 s, ``vehicle_silent`` after 9 s."""


class Collectors:
    """Real collector processes by name."""

    def __init__(self, directory: Path, broker: Server, database: str) -> None:
        self.directory = directory
        self.broker = broker
        self.database = database
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        (directory / "fleet.yaml").write_text(fleet_yaml(SITES))

    def start(self, name: str, sites: Sequence[str]) -> None:
        config = {
            "broker": {"host": "127.0.0.1", "port": self.broker.port},
            "database": self.database,
            "fleet": "fleet.yaml",
            "sites": list(sites),
            "timings": {"receipt": 1, "reconnect_window": 10},
            "speed": SPEED,
        }
        path = self.directory / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config))
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(Path(sys.executable).parent / "kitwatch"), "collector", "--config", str(path)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def owners(self) -> dict[str, tuple[int, int]]:
        """Return (process, epoch) of each site's owner."""
        with contextlib.suppress(Exception):  # before the migration there is no table
            found = rows(self.database, "SELECT site, owner, epoch FROM site")
            return {site: (int(owner.rpartition(":")[2]), epoch) for site, owner, epoch in found}
        return {}

    def owned_by(self, name: str) -> set[str]:
        return {site for site, (process, _) in self.owners().items() if process == self.processes[name].pid}

    def connects(self) -> list[str]:
        """Return the broker's words on every connection that a site's owner made."""
        return re.findall(r"New client connected from \S+ as (collector-\S+)", self.broker.log.read_text())

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def _two_collectors(directory: Path) -> Iterator[Collectors]:
    with postgres() as server, server.database() as url, mosquitto(directory) as broker:
        both = Collectors(directory, broker, url)
        try:
            yield both
        finally:
            both.end()


async def _until(what: Callable[[], bool], seconds: float, both: Collectors, why: str) -> None:
    begun = time.monotonic()
    while not what():
        if time.monotonic() > begun + seconds:
            logs = "\n".join(f"--- {name}\n{both.log(name)[-3000:]}" for name in both.processes)
            pytest.fail(f"{why}: not within {seconds} s\n{logs}")
        await asyncio.sleep(0.1)


def _sick(harm_s: float) -> dict[str, tuple[float, float]]:
    """Return whose SIM is absent from when to when: before the harm and on, over before it ends, begun within it."""
    kinds = ((harm_s - BEFORE_S, 1e9), (harm_s - BEFORE_S, harm_s + 2), (harm_s + 1, 1e9))
    return {f"amb-{n}-{v:02}": kind for n in range(8) for v, kind in enumerate(kinds)}


@contextlib.asynccontextmanager
async def _under_load(both: Collectors) -> AsyncIterator[tuple[Vehicles, dict[str, tuple[float, float]]]]:
    """Start both collectors and the vehicles; yield these, and whose SIM is absent when, at the time of the harm."""
    both.start("first", FIRST_OWNS)
    await _until(lambda: both.owned_by("first") == set(FIRST_OWNS), 60, both, "the first owns its sites")
    both.start("second", list(SITES))
    await _until(lambda: both.owned_by("second") == set(SITES) - set(FIRST_OWNS), 60, both, "the second owns the rest")
    async with Vehicles(SITES, both.broker.port, every=EVERY_S) as vehicles:
        await _until(lambda: all(vehicle.receipted_s for vehicle in vehicles.all), 60, both, "all served")
        harm_s = time.monotonic() - vehicles.begun_s + BEFORE_S
        sick = _sick(harm_s)
        for vehicle in vehicles.all:
            vehicle.sick = sick.get(vehicle.name.vehicle)
        await asyncio.sleep(max(0.0, vehicles.begun_s + harm_s - time.monotonic()))
        yield vehicles, sick


def _recovery(vehicles: Vehicles, when_s: float) -> Callable[[], bool]:
    return lambda: None not in vehicles.served_since(when_s).values()


async def _bring_home(vehicles: Vehicles, both: Collectors, sick: Mapping[str, tuple[float, float]]) -> None:
    """Wait until what was away is judged, which live must have spoken after for a while, and all is receipted."""
    over = {vehicle for vehicle, (_, until) in sick.items() if until < 1e9}
    closed = "SELECT vehicle FROM ticket WHERE state = 'closed'"
    await _until(lambda: {name for (name,) in rows(both.database, closed)} >= over, 60, both, "tickets close")
    every = "SELECT vehicle FROM ticket"
    await _until(lambda: {name for (name,) in rows(both.database, every)} >= sick.keys(), 60, both, "tickets open")
    vehicles.recording.clear()
    await _until(lambda: vehicles.unreceipted() == 0, 60, both, "everything is receipted")


def _wire(record: Record) -> tuple[int, list[Any]]:
    if isinstance(record, Event):
        return record.mono_ms, [record.kind, record.device, dict(record.body)]
    return record.mono_ms, [record.schema, list(record.values)]


def _judge(database: str, made: Mapping[RecordKey, Record], sick: Mapping[str, tuple[float, float]]) -> None:
    counted: Counter[RecordKey] = Counter()
    different = []
    for key, found in kept(database):
        counted[key] += 1
        if key in made and _wire(made[key]) != (found.mono_ms, found.entry):
            different.append((key, made[key], found))
    verdict: dict[str, list[Any]] = {
        "lost": [key for key in made if key not in counted],
        "unknown": [key for key in counted if key not in made],
        "doubled": [key for key, count in counted.items() if count > 1],
        "different": different,
        "quarantined": rows(database, "SELECT vehicle, reason FROM quarantine"),
    }
    assert not any(verdict.values()), {name: (len(found), found[:3]) for name, found in verdict.items()}
    for (vehicle, agent, run), (seen, _) in runs(database).items():
        last = max(number for name, _, of, number in made if (name, of) == (vehicle, run))
        assert seen.pairs() == [(0, last)], (vehicle, agent, run)
    _judge_tickets(database, sick)


def _judge_tickets(database: str, sick: Mapping[str, tuple[float, float]]) -> None:
    """One ticket for each SIM that was absent, opened once, and none for anything else: our own outage is no fault."""
    tickets = rows(database, "SELECT site, id, vehicle, fault, state FROM ticket")
    by_vehicle = Counter((vehicle, fault) for _, _, vehicle, fault, _ in tickets)
    assert by_vehicle == Counter({(vehicle, "sim_absent"): 1 for vehicle in sick}), by_vehicle
    told: dict[tuple[str, str], list[str]] = {}
    for site, ticket, what in rows(database, "SELECT site, ticket, what FROM ticket_event ORDER BY number"):
        told.setdefault((site, ticket), []).append(what)
    for site, ticket, vehicle, _, state in tickets:
        over = sick[vehicle][1] < 1e9
        assert state == ("closed" if over else "new"), (vehicle, ticket)
        course = [what for what in told[site, ticket] if what != "event_moved"]  # late data may date it anew
        assert course == (["opened", "problem_over", "self_healed"] if over else ["opened"])


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_one_of_two_collectors_is_killed_under_load(tmp_path: Path) -> None:
    async def scene(both: Collectors) -> None:
        async with _under_load(both) as (vehicles, sick):
            killed_s = time.monotonic()
            both.processes["first"].kill()
            await _until(_recovery(vehicles, killed_s), 30, both, "all sites are served again")
            served = vehicles.served_since(killed_s)
            await asyncio.sleep(9)  # longer than any ticket of this test takes to open or close
            await _bring_home(vehicles, both, sick)
            assert both.owned_by("second") == set(SITES)
            _judge(both.database, vehicles.made(), sick)
            slowest = max(seconds for seconds in served.values() if seconds is not None)
            print(f"{len(vehicles.made())} records; kill -9: served again after {slowest:.1f} s")
            assert slowest < 10

    with _two_collectors(tmp_path) as both:
        asyncio.run(scene(both))


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_one_of_two_collectors_is_stopped_and_continued_under_load(tmp_path: Path) -> None:
    async def scene(both: Collectors) -> None:
        async with _under_load(both) as (vehicles, sick):
            stopped_s = time.monotonic()
            os.kill(both.processes["first"].pid, signal.SIGSTOP)
            await _until(_recovery(vehicles, stopped_s), 40, both, "all sites are served again")
            served = vehicles.served_since(stopped_s)
            await asyncio.sleep(2)
            owners, connects = both.owners(), both.connects()
            os.kill(both.processes["first"].pid, signal.SIGCONT)
            await asyncio.sleep(7)  # it finds out, and stands in line again; tickets open and close
            assert both.owners() == owners, "the epochs stand: nobody else became the owner"
            assert both.connects() == connects, "no owner had to connect again"
            for site in FIRST_OWNS:
                ended = f"site {site}: epoch 1 has ended"
                await _until(lambda ended=ended: ended in both.log("first"), 60, both, ended)  # type: ignore[misc]
            assert both.processes["first"].poll() is None
            await _bring_home(vehicles, both, sick)
            _judge(both.database, vehicles.made(), sick)
            slowest = max(seconds for seconds in served.values() if seconds is not None)
            print(f"{len(vehicles.made())} records; SIGSTOP: served again after {slowest:.1f} s")
            assert slowest < 20

    with _two_collectors(tmp_path) as both:
        asyncio.run(scene(both))
