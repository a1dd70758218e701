"""The link is cut, the agent, the broker (with all its files) and the collector are killed, all in one run.

Afterwards InfluxDB, the log and the tickets hold exactly what the agents put into their outboxes: each record once, at
one time (field notes 1, 2, 4, 13, 23, T1).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.scenario import Fault, Scenario
from tests.chaos.judge import judge
from tests.chaos.world import AGENTS, World, rows, world
from tests.services.postgres import start as postgres

SCENARIO = Scenario(
    name="broken",
    faults=(
        Fault(vehicle="amb-01", fault="camera_unpowered", at=6, lasts=24),
        Fault(vehicle="amb-02", fault="sim_absent", at=3, lasts=9),
    ),
)


@contextlib.contextmanager
def _database(kind: str) -> Iterator[str | None]:
    if kind == "sqlite":
        yield None
        return
    with postgres() as server, server.database() as url:
        yield url


def until(one: World, seconds: float) -> None:
    """Sleep until so many seconds of the scenario have passed."""
    time.sleep(max(0.0, one.kits.begun + seconds - time.monotonic()))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_nothing_is_lost_and_nothing_doubled(kind: str, tmp_path: Path) -> None:
    with _database(kind) as database, world(tmp_path / "world", database, SCENARIO) as one:
        one.start_collector()
        for name in AGENTS:
            one.start_agent(*name)
        until(one, 5)
        one.set_links("cut")
        until(one, 9)
        one.set_links("pass")
        until(one, 13)
        one.kill("amb-01-router")
        until(one, 15)
        one.start_agent("amb-01", "router")
        until(one, 18)
        one.wipe_broker()
        until(one, 20)
        one.broker.start()
        until(one, 23)
        one.kill("collector")
        until(one, 26)
        one.start_collector()
        until(one, 28)
        one.kill("amb-02-router")
        one.set_links("stall")  # half open: nothing passes, nothing breaks
        one.start_agent("amb-02", "router")
        until(one, 31)
        one.set_links("cut")
        one.set_links("pass")
        until(one, 42)
        one.wait(lambda: _states(one) == [("closed",)], 60, "the camera's ticket closes")
        one.stop(*(f"{vehicle}-{agent}" for vehicle, agent in AGENTS))  # they stay until all is receipted
        one.wait(lambda: _drained(one), 60, "InfluxDB has the log")
        one.wait(one.told, 30, "people are told")
        one.stop("collector")
        verdict = judge(one)
        assert verdict.obligations > 200
        assert verdict.holds, str(verdict)
        _tickets(one)


def _drained(one: World) -> bool:
    query = "SELECT site.last_batch, cursor.number FROM site JOIN cursor USING (site) WHERE sink = 'influxdb'"
    return all(last == number for last, number in rows(one.database, query))


def _states(one: World) -> list[tuple[str]]:
    return rows(one.database, "SELECT state FROM ticket WHERE vehicle = 'amb-01' AND fault = 'camera_down'")


def _tickets(one: World) -> None:
    """One ticket for the camera, opened once and closed once, though everything around it broke."""
    query = "SELECT id, state FROM ticket WHERE vehicle = 'amb-01' AND fault = 'camera_down'"
    (ticket,) = rows(one.database, query)
    assert ticket[1] == "closed"
    history = rows(one.database, f"SELECT what FROM ticket_event WHERE ticket = '{ticket[0]}' ORDER BY number")
    told = [what for (what,) in history if what not in ("noted", "event_moved")]  # late data may date it anew
    assert told == ["opened", "problem_over", "self_healed"]
