# mypy: ignore-errors
"""Makes the dumps beside it with the code of the first version (commit 0aa31cf), whose tables and states they hold.

In a worktree of that commit: ``python make.py DIRECTORY``. A morning of two ambulances, judged by the shipped rules and
one of the user's, through messages as its agents sent them. Written once: what is in the dumps never changes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from collector.core.events import Listening
from collector.intake import Incoming
from collector.turn import Judge, Turn
from sqlalchemy import text

from collector.core.rules import load_rules
from collector.store import queries
from collector.store.commit import SiteConnection
from collector.store.store import Store
from telemetry.fleet import load_fleet
from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, Birth, Goodbye, HeldRun, Moment, SchemaBody, encode
from telemetry.records import Clock, Column, Schema
from telemetry.topics import AgentName
from tests.services.postgres import start

T0 = 1_790_000_000_000
"""2026-09-21 14:13:20 UTC."""
FLEET = """
sites:
  north:
    vehicles:
      amb-1:
        agents:
          router:
            devices:
              router: {kind: router, snmp: {address: 10.0.0.1, community_file: /c, interval: 10}}
              modem: {kind: modem, modem: {port: /dev/m, interval: 10}}
              uplink: {kind: link, probe: {interval: 10, targets: {"a": {kind: icmp, address: 10.1.0.1}}}}
      amb-2:
        agents:
          router:
            devices:
              modem: {kind: modem, modem: {port: /dev/m, interval: 10}}
"""
RULES = """
rules:
  high_delay:
    {kind: threshold, fault: high_delay, metric: link.rtt_ms, above: 300, clear: 250, for: 1m, apart: [target]}
"""
SCHEMAS = {
    "modem": Schema("modem", "modem", (Column("modem.sim"), Column("modem.temperature_c"))),
    "link": Schema("probe", "uplink", tuple(Column("link.rtt_ms", {"target": name}) for name in ("a", "b/c=d, e"))),
    "router": Schema("snmp", "router", (Column("device.reachable"),)),
}


class Agent:
    """One agent as it spoke."""

    def __init__(self, vehicle: str, run: str) -> None:
        self.name, self.run, self.sequence = AgentName("north", vehicle, "router"), run, 0

    def born(self) -> Incoming:
        body = Birth(1, "boot-1", f"machine-{self.name.vehicle}", "0.1.0", 10.0, {self.run: HeldRun("boot-1", 0, 0)})
        return self._message("state", encode(DEFLATED, self.run, body))

    def schemas(self) -> Incoming:
        body = SchemaBody("boot-1", {one.id(): one for one in SCHEMAS.values()}, (Clock(0, 0, T0, "ntp", 20),))
        return self._message("schema", encode(DEFLATED, self.run, body))

    def left(self, reason: str) -> Incoming:
        return self._message("state", encode(DEFLATED, self.run, Goodbye(1, reason)))

    def says(self, at_s: int, *entries: list[Any], lane: str = "live") -> Incoming:
        first, self.sequence = self.sequence, self.sequence + len(entries)
        names = Intervals([(first, self.sequence - 1)])
        return self._message(lane, encode(DEFLATED, self.run, [Moment(at_s * 1000, 0, list(entries))], names))

    def _message(self, kind: str, payload: bytes) -> Incoming:
        return Incoming(self.name.up(kind), payload, T0)


def modem(sim: str = "ready", heat: float = 40.0) -> list[Any]:
    return [SCHEMAS["modem"].id(), [sim, heat]]


def link(one: float = 30.0, other: float = 30.0) -> list[Any]:
    return [SCHEMAS["link"].id(), [one, other]]


def router(there: bool = True) -> list[Any]:
    return [SCHEMAS["router"].id(), [there]]


def inventory(firmware: str) -> list[Any]:
    return ["inventory", "router", {"model": "RUTX50", "firmware": firmware, "input": "snmp"}]


def morning(store: Store, directory: Path) -> None:
    (directory / "fleet.yaml").write_text(FLEET)
    (directory / "rules.yaml").write_text(RULES)
    fleet = load_fleet(directory / "fleet.yaml")
    judge = Judge("north", fleet.sites["north"], load_rules([directory / "rules.yaml"], fleet), tells=True)
    site = SiteConnection.acquire(store, "north", "first-version")
    assert site is not None
    memory = judge.remember(site.load())
    one, two = Agent("amb-1", "00000000000000a1"), Agent("amb-2", "00000000000000a2")

    def turn(at_s: int, *messages: Incoming) -> None:
        working = Turn(memory, judge, Listening(T0 - 3_600_000), T0 + at_s * 1000)
        for message in messages:
            working.take(message)
        working.tick()
        changes = working.changes()
        if changes is not None:
            site.commit(changes)
        working.keep()
        assert not working.faults, working.faults

    turn(0, one.born(), one.schemas(), two.born(), two.schemas())
    turn(5, one.says(5, inventory("RUTX_R_00.07.06")), one.says(5, inventory("RUTX_R_00.07.08")))
    for at_s in range(10, 5_400, 10):
        sim = "absent" if at_s < 600 or 1_200 <= at_s < 1_800 or at_s >= 5_000 else "ready"
        delay = 900.0 if at_s >= 4_000 else 30.0
        said = [one.says(at_s, modem(sim), link(30.0, delay), router())]
        if not 2_000 <= at_s < 2_600:  # amb-2 is silent for a while, then it says what it saw
            heat = 100.0 if at_s >= 3_000 else 40.0
            said.append(two.says(at_s, modem("ready", heat)))
        if at_s == 2_600:
            for late_s in range(2_000, 2_600, 10):
                said.append(two.says(late_s, modem("absent" if late_s < 2_200 else "ready"), lane="backlog"))
        turn(at_s, *said)
    for at_s in range(5_400, 5_600, 10):  # both silent: the site's own ticket, left open
        turn(at_s)
    site.close()
    with store.transaction() as connection:
        connection.execute(text("UPDATE notice SET state = 'sent', attempts = 1 WHERE ticket <> 'amb-1-5'"))
        connection.execute(text("DELETE FROM batch WHERE number < (SELECT last_batch FROM site) - 5"))
    for ticket in queries.list_tickets(store.engine):
        print(ticket.id, ticket.key, ticket.state, ticket.rule)
    print(len(queries.list_notes(store.engine)), "closed notes")


def main(directory: Path) -> None:
    path = directory / "first.sqlite"
    store = Store.open(f"sqlite:///{path}")
    store.migrate()
    morning(store, directory)
    with store.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        (directory / "sqlite.sql").write_text("\n".join(driver.iterdump()) + "\n")
    store.close()
    with start() as server, server.database() as url:
        store = Store.open(url)
        store.migrate()
        morning(store, directory)
        store.close()
        command = ["pg_dump", "--inserts", "--no-owner", "--no-privileges", url]
        dump = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        plain = [line for line in dump.splitlines() if line and not line.startswith(("--", "\\"))]
        (directory / "postgresql.sql").write_text("\n".join(plain) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
