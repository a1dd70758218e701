"""A database of the first version, made by its own code, goes on with this one: see first_version/make.py."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select

from collector.core.contract import DEFAULT
from collector.core.identities import ProblemKey
from collector.core.problems import ProblemRef
from collector.core.tickets import events as e
from collector.core.tickets.draft import DeskState
from collector.core.tickets.ticket import fold
from collector.store import queries, schema
from collector.store.commit import SiteConnection
from collector.store.store import Store
from collector.store.ticket_rows import read_event, ticket_row

DUMPS = Path(__file__).parent / "first_version"
T0 = 1_790_000_000_000
OPEN = {"amb-1-1", "amb-1-4", "amb-1-5", "amb-2-2", "north.1"}
RESOLVED = {"amb-1-2", "amb-1-3", "amb-2-1"}


def fill(url: str) -> None:
    """Fill an empty database with the first version's."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.executescript((DUMPS / "sqlite.sql").read_text())
        connection.close()
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
    found = {row.id: row for row in queries.list_tickets(store.engine)}
    assert {id for id, row in found.items() if row.state == "new"} == OPEN
    assert {
        id for id, row in found.items() if (row.state, row.closed_by) == ("closed", "closed_by_upgrade")
    } == RESOLVED
    assert not any(row.in_contract for row in found.values())
    sim = queries.ticket(store.engine, "amb-1-5")
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
    silent = queries.ticket(store.engine, "amb-2-1")
    assert silent is not None
    assert [event.what for event in silent[1]] == ["migrated", "noted", "noted", "closed_by_upgrade"]
    assert (silent[0].closed_ms, silent[0].over_event_ms) == (T0 + 2_630_000, T0 + 2_600_000)


def test_the_projection_is_the_fold_of_the_events(store: Store) -> None:
    with store.engine.connect() as connection:
        projected = {row.id: tuple(row)[1:] for row in connection.execute(select(schema.ticket))}
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
