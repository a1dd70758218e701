"""A database of the first version, made by its own code, goes on with this one: see tests/first_version/make.py."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from sqlalchemy import func, select

from collector.core.contract import DEFAULT
from collector.core.identities import ProblemKey
from collector.core.problems import ProblemRef
from collector.core.rules.files import load_rules, parse_rules
from collector.core.tickets import events as e
from collector.core.tickets.draft import DeskState
from collector.core.tickets.fold import fold
from collector.core.vehicle.events import Listening
from collector.core.vehicle.state import FORMAT
from collector.read import tickets
from collector.site.in_force import InForce, Receiver
from collector.site.intake import Incoming
from collector.site.memory import Memory
from collector.site.unit_of_work import UnitOfWork
from collector.store import migrations, schema
from collector.store.commit import SiteConnection
from collector.store.store import Store
from collector.store.ticket_rows import read_event, ticket_row
from telemetry.files import parse_yaml
from telemetry.fleet import load_fleet
from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, Moment, encode
from telemetry.records import Column, Schema
from telemetry.topics import AgentName

DUMPS = Path(__file__).parents[1] / "first_version"
T0 = 1_790_000_000_000
OPEN = {"amb-1-1", "amb-1-4", "amb-1-5", "amb-2-2", "north.1"}
RESOLVED = {"amb-1-2", "amb-1-3", "amb-2-1"}


def fill(url: str) -> None:
    """Fill an empty database with the first version's."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.executescript((DUMPS / "sqlite.sql").read_text())
        connection.close()
        Path(url.removeprefix("sqlite:///")).chmod(0o600)  # as the unit's umask made it
        return
    with psycopg.connect(url, autocommit=True) as server:
        server.execute((DUMPS / "postgresql.sql").read_text())


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    fill(database_url)
    opened = Store.open(database_url)
    assert opened.migrate() == "0003"
    yield opened
    opened.close()


def test_tickets_keep_their_numbers_and_what_was_told_of_them(store: Store) -> None:
    found = {row.id: row for row in tickets.list_tickets(store.engine)}
    assert {id for id, row in found.items() if row.state == "new"} == OPEN
    assert {
        id for id, row in found.items() if (row.state, row.closed_by) == ("closed", "closed_by_upgrade")
    } == RESOLVED
    assert not any(row.in_contract for row in found.values())
    sim = tickets.ticket(store.engine, "amb-1-5")
    assert sim is not None
    ticket, events = sim
    assert [event.what for event in events] == ["migrated", "noted"]
    assert isinstance(events[1].body, e.Remark)
    assert events[1].body.text == "opened: modem.sim absent"
    assert events[1].at_ms == ticket.opened_ms == T0 + 5_030_000
    opening = events[0].body
    assert isinstance(opening, e.Migration)
    assert [sample["value"] for sample in opening.evidence[0].samples] == ["absent", "absent"]
    assert (ticket.sla_class, ticket.severity, ticket.rule, ticket.rule_version) == (
        "disaster",
        "critical",
        "sim_absent",
        1,
    )
    silent = tickets.ticket(store.engine, "amb-2-1")
    assert silent is not None
    assert [event.what for event in silent[1]] == ["migrated", "noted", "noted", "closed_by_upgrade"]
    assert (silent[0].closed_ms, silent[0].over_event_ms) == (T0 + 2_630_000, T0 + 2_600_000)


def test_the_projection_is_the_fold_of_the_events(store: Store) -> None:
    with store.engine.connect() as connection:
        projected = {row.id: tuple(row)[1:-1] for row in connection.execute(select(schema.ticket))}
        told: dict[str, list[e.TicketEvent]] = {}
        for row in connection.execute(select(schema.ticket_event).order_by(schema.ticket_event.c.number)):
            event = read_event(row.number, row.what, row.at_ms, row.recorded_ms, row.who, row.body)
            told.setdefault(row.ticket, []).append(event)
    assert projected == {id: ticket_row(fold("north", id, events)) for id, events in told.items()}


def test_a_new_owner_holds_the_open_tickets_by_their_problems(store: Store) -> None:
    site = SiteConnection.acquire(store, "north", "test")
    assert site is not None
    with site:
        data = site.load()
    desk = DeskState.of("north", data.ticket_events, data.problems, data.last_numbers, DEFAULT)
    assert {ref.key.text(): id for ref, id in desk.holders.items()} == {
        "firmware_changed/router": "amb-1-1",
        "high_delay/router/target=b%2Fc%3Dd%2C e": "amb-1-4",
        "sim_absent/modem": "amb-1-5",
        "modem_hot/modem": "amb-2-2",
        "site_unreachable/north": "north.1",
    }
    delay = ProblemKey.of("high_delay", "router", {"target": "b/c=d, e"})
    assert desk.problems[ProblemRef("amb-1", delay)].ticket == "amb-1-4"
    assert [ref.key.fault for ref, one in desk.problems.items() if not one.problem.sees_end] == ["firmware_changed"]
    assert all(one.problem.state == "active" for one in desk.problems.values())
    assert (desk.wake_ms, desk.last_numbers) == (None, {})


def test_nobody_is_told_of_the_upgrade(store: Store) -> None:
    with store.engine.connect() as connection:
        told = connection.execute(select(schema.notification.c.ticket, schema.delivery.c.state).join(
            schema.delivery, schema.delivery.c.notification == schema.notification.c.key
        )).all()  # fmt: skip
    assert len(told) == 11, "eight opened, three resolved"
    assert {row.ticket for row in told if row.state == "waiting"} == {"amb-1-5"}


# --- a collector goes on ----------------------------------------------------------------------------------------------

RULES = """
rules:
  high_delay:
    version: 1
    fault: high_delay
    condition: {metric: link.rtt_ms, above: 300, clear: 250, group_by: [target]}
    for: 1m
"""
SCHEMAS = {
    "modem": Schema("modem", "modem", (Column("modem.sim"), Column("modem.temperature_c"))),
    "link": Schema("probe", "uplink", tuple(Column("link.rtt_ms", {"target": name}) for name in ("a", "b/c=d, e"))),
    "router": Schema("snmp", "router", (Column("device.reachable"),)),
}
RUNS = {"amb-1": "00000000000000a1", "amb-2": "00000000000000a2"}


class Centre:
    """A collector of this version that goes on with the first version's site, its agents as they were."""

    def __init__(self, store: Store) -> None:
        site = SiteConnection.acquire(store, "north", "second")
        assert site is not None
        self.site = site
        fleet = load_fleet(DUMPS / "fleet.yaml")
        rules = parse_rules([("rules.yaml", parse_yaml(RULES, "rules.yaml"))])
        shipped = load_rules()
        both = dataclasses.replace(shipped, by_id={**shipped.by_id, **rules.by_id})
        self.judge = InForce("north", fleet.sites["north"], both, (Receiver("webhook", "webhook"),))
        self.memory = Memory.of(self.judge, site.load())
        self.next = {name: self.memory.runs[name, "router", run].next or 0 for name, run in RUNS.items()}
        """Sequence numbers of their runs, which go on."""

    def work(self, at_s: int, *messages: Incoming) -> None:
        working = UnitOfWork(self.memory, self.judge, Listening(T0 - 3_600_000), T0 + at_s * 1000)
        for message in messages:
            working.take(message)
        working.look()
        changes = working.changes()
        if changes is not None:
            self.site.commit(changes)
        working.keep()
        assert not working.faults, working.faults
        assert not working.counts.get("quarantined_undecodable")

    def says(self, vehicle: str, at_s: int, *entries: list[Any]) -> Incoming:
        first, self.next[vehicle] = self.next[vehicle], self.next[vehicle] + len(entries)
        names = Intervals([(first, self.next[vehicle] - 1)])
        payload = encode(DEFLATED, RUNS[vehicle], [Moment(at_s * 1000, 0, list(entries))], names)
        return Incoming(AgentName("north", vehicle, "router").up("live"), payload, T0 + at_s * 1000)

    def go_on(self, begin: int, end: int, *, sim: str, delay: float) -> None:
        """Both vehicles speak again, every ten seconds."""
        for at_s in range(begin, end, 10):
            one = self.says(
                "amb-1", at_s,
                [SCHEMAS["modem"].id(), [sim, 40.0]], [SCHEMAS["link"].id(), [30.0, delay]],
                [SCHEMAS["router"].id(), [True]],
            )  # fmt: skip
            self.work(at_s, one, self.says("amb-2", at_s, [SCHEMAS["modem"].id(), ["ready", 100.0]]))


def states(store: Store) -> dict[str, str]:
    return {row.id: row.state for row in tickets.list_tickets(store.engine)}


def test_a_collector_goes_on_with_problems_that_last_and_those_that_end(store: Store) -> None:
    """What lasts opens no second ticket, what ends closes its own, what comes again reopens it."""
    before = states(store)
    with store.engine.connect() as connection:
        told = connection.scalar(select(func.count()).select_from(schema.notification))
    centre = Centre(store)
    with centre.site:
        centre.go_on(5_600, 5_900, sim="ready", delay=900.0)
        after = states(store)
        assert {id: (before[id], state) for id, state in after.items() if before.get(id) != state} == {
            "amb-1-5": ("new", "closed"),
            "north.1": ("new", "closed"),
        }
        with store.engine.connect() as connection:
            assert connection.scalar(select(func.count()).select_from(schema.notification)) == told, "nobody is told"
        centre.go_on(5_900, 6_000, sim="absent", delay=30.0)
        sim = tickets.ticket(store.engine, "amb-1-5")
        assert sim is not None
        assert [event.what for event in sim[1]] == [
            *("migrated", "noted", "noted", "problem_over", "self_healed", "reopened")
        ], "the rule has a new version since"
        assert (sim[0].state, sim[0].round, sim[0].in_contract) == ("new", 2, True)
        with store.engine.connect() as connection:
            bodies = connection.scalars(select(schema.notification.c.body).order_by(schema.notification.c.id)).all()
        assert len(bodies) == (told or 0) + 1, "a new occurrence is told"
        assert '"ticket":"amb-1-5"' in bodies[-1]
        assert states(store)["amb-1-4"] == "closed"
        assert states(store)["amb-2-2"] == "new"
        assert states(store)["amb-1-1"] == "new"
        assert centre.memory.desk == Memory.of(centre.judge, centre.site.load()).desk
    assert set(states(store)) == set(before)


def test_a_later_start_finds_it_as_it_is(store: Store) -> None:
    """Migrating again changes nothing; a vehicle that was stepped is stored in the format of today."""
    before = states(store)
    assert store.migrate() == migrations.head()
    assert states(store) == before
    centre = Centre(store)
    with centre.site:
        centre.go_on(5_600, 5_620, sim="absent", delay=900.0)
        centre.site.checkpoint()
    with store.engine.connect() as connection:
        formats = {
            msgspec.json.decode(state)["format"] for (state,) in connection.execute(select(schema.vehicle.c.state))
        }
    assert formats == {FORMAT}
    assert states(store) == before
