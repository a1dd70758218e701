"""A commit is whole or not at all, and what was said to be committed is there, whoever gets killed when."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from collector.read import sites
from collector.store import log
from collector.store.commit import SiteConnection
from collector.store.store import Store
from tests.integration.test_lock import wait_for_site
from tests.services import postgres

RUN = "00000000000000aa"
# Commits until it is killed; says the number of each commit that returned.
WRITER = """
import sys
from collector.core.tickets.draft import Recorded
from collector.core.tickets.events import Remark, TicketEvent
from collector.core.tickets.ticket import Ticket
from collector.store.batch import Group
from collector.store.commit import SiteConnection
from collector.store.errors import LostOwnership
from collector.store.rows import BatchRow, Changes, RunRow
from collector.store.store import Store
from telemetry.intervals import Intervals

RUN = "00000000000000aa"
site = None
while site is None:
    site = SiteConnection.acquire(Store.open(sys.argv[1]), "north", "writer")
number = site.load().last_batch
try:
    while True:
        number += 1
        groups = [Group("v1", "router", RUN, "live", [(number, number)], {}, [])]
        site.commit(Changes(
            batch=BatchRow(number, number, number, 1, groups),
            runs=[RunRow("v1", "router", RUN, seen=Intervals([(1, number)]))],
            vehicles={"v1": str(number).encode()},
            site_state=str(number).encode(),
            recorded=[Recorded(
                Ticket(site="north", id="2026-0001", source="rule", sla_class="general", severity="major", event_ms=1,
                       detected_ms=1, opened_ms=1, notice_ms=1, changed_ms=number),
                TicketEvent(number=number, what="noted", at_ms=1, recorded_ms=1, who="rule", body=Remark()),
            )],
            counters={"commits": 1},
        ))
        print(number, flush=True)
except LostOwnership:
    pass
"""


def write_until(url: str, end: Callable[[subprocess.Popen[str]], None], seconds: float) -> int:
    """Let a writer work for a while, end it; return the last number that it said."""
    with subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        first = writer.stdout.readline()
        assert first
        try:
            writer.wait(seconds)
        except subprocess.TimeoutExpired:
            end(writer)
        said = [first, *writer.stdout.readlines()]
    return int([line for line in said if line.endswith("\n")][-1])


def judge(store: Store, said: int) -> None:
    """Everything that a commit writes must tell the same number, and none less than was said."""
    site, _ = wait_for_site(store, 60)
    with site:
        data = site.load()
    number = data.last_batch
    assert said <= number <= said + 1
    batches = log.read(store, "north", 0, number + 1)
    assert [one.number for one in batches] == list(range(1, number + 1))
    assert [one.groups[0].pairs for one in batches] == [[(n, n)] for n in range(1, number + 1)]
    assert data.seen[("v1", "router", RUN)].seen.pairs() == [(1, number)]
    assert (data.vehicles, data.site_state) == ({"v1": str(number).encode()}, str(number).encode())
    assert sites.counters(store.engine) == {("north", "commits"): number}
    with store.engine.connect() as connection:
        lines = connection.exec_driver_sql("SELECT number FROM ticket_event ORDER BY number").scalars().all()
        projected = connection.exec_driver_sql("SELECT changed_ms FROM ticket").scalars().all()
    assert lines == list(range(1, number + 1))
    assert projected == [number]


def test_the_owner_is_killed_at_any_moment(database_url: str) -> None:
    store = Store.open(database_url)
    store.migrate()
    chance = random.Random(7)
    for _ in range(5):
        judge(store, write_until(database_url, subprocess.Popen.kill, chance.uniform(0.05, 0.3)))
    store.close()


def test_the_database_server_crashes_at_any_moment() -> None:
    """The outcome of the commit in flight is unknown to the writer: it says nothing of it and loses its site."""
    with postgres.start() as server, server.database() as url:
        store = Store.open(url)
        store.migrate()
        chance = random.Random(7)
        for _ in range(3):
            said = write_until(url, lambda writer: server.kill(), chance.uniform(0.05, 0.3))
            server.start()
            judge(store, said)
        store.close()


def test_the_connection_is_ended_at_any_moment(postgres_url: str) -> None:
    store = Store.open(postgres_url)
    store.migrate()
    chance = random.Random(7)

    def end(_: subprocess.Popen[str]) -> None:
        with store.engine.connect() as connection:
            connection.exec_driver_sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")

    for _ in range(3):
        judge(store, write_until(postgres_url, end, chance.uniform(0.05, 0.3)))
    store.close()


def test_a_paused_writer_says_nothing_more(postgres_url: str) -> None:
    """It is paused in the middle of its work, loses the site, goes on, and none of it counts."""
    store = Store.open(postgres_url)
    store.migrate()
    taken: list[SiteConnection] = []

    def end(writer: subprocess.Popen[str]) -> None:
        writer.send_signal(signal.SIGSTOP)
        site, took = wait_for_site(store, 20)
        assert took < 20
        taken.append(site)
        writer.send_signal(signal.SIGCONT)
        writer.wait(60)

    said = write_until(postgres_url, end, 0.2)
    with taken.pop() as site:
        assert said <= site.load().last_batch <= said + 1
    judge(store, said)
    with pytest.raises(AssertionError):  # the judge itself can tell
        judge(store, said + 5)
    store.close()
