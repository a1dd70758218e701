"""The collector's database, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, func, select, text
from sqlalchemy.exc import DBAPIError

from collector.core.identities import ProblemKey
from collector.core.problems import ClosedNote, Evidence, Problem, ProblemRef
from collector.core.tickets import events as e
from collector.core.tickets.draft import Recorded, Tracked
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.fold import apply, begin
from collector.core.vehicle.state import InventoryEntry
from collector.core.vehicle.summary import AgentSummary, Details, DeviceSummary, Summary
from collector.read import sites, tickets, vehicles
from collector.store import dead_letters, editions, journal, log, migrations, queries, schema
from collector.store.batch import Group
from collector.store.commit import SiteConnection
from collector.store.errors import CommitFailed, LiveTicketExists, LostOwnership, SeveralTickets, StoreError
from collector.store.rows import (
    BatchRow,
    Changes,
    EditionRow,
    NotificationRow,
    QuarantineRow,
    RunRow,
    SiteData,
    SiteReport,
    SnapshotRow,
)
from collector.store.store import Store
from telemetry.intervals import Intervals
from telemetry.message import Moment
from telemetry.records import Clock, Column, Schema

RUN = "00000000000000aa"
CLOCK = Clock(0, 1_000, 1_700_000_000_000, "ntp", 20)
SCHEMA = Schema("snmp", "router", (Column("modem.rsrp_dbm", {"leg": "nr"}), Column("modem.sim")))


@pytest.fixture
def site(store: Store) -> Iterator[SiteConnection]:
    yield from owned(store, "north")


def owned(store: Store, name: str) -> Iterator[SiteConnection]:
    connection = SiteConnection.acquire(store, name, "test")
    assert connection is not None
    with connection:
        yield connection


CAMERA = ProblemKey.of("camera_down", "cam1")
EVIDENCE = Evidence("camera", 3, ({"metric": "device.reachable", "value": False, "labels": {}},), "无画面")


def opened(id: str = "2026-0001", key: ProblemKey = CAMERA, vehicle: str = "v1") -> Recorded:
    """Return the event that opens a ticket."""
    body = e.Opening(
        source="rule", fault=key.fault, sla_class="general", severity="major", vehicle=vehicle, device=key.device,
        event_ms=1_000, detected_ms=2_000, problem=ProblemRef(vehicle, key), rule="camera", rule_version=3,
        evidence=(EVIDENCE,),
    )  # fmt: skip
    event = TicketEvent(number=1, what="opened", at_ms=2_001, recorded_ms=2_001, who="rule", body=body)
    return Recorded(begin("north", id, event), event)


def then(before: Recorded, what: str, body: e.Body = e.NO_WORDS, who: str = "rule") -> Recorded:
    """Return the next event of a ticket."""
    number = before.event.number + 1
    at_ms = 2_000 + number
    event = TicketEvent(number=number, what=what, at_ms=at_ms, recorded_ms=at_ms, who=who, body=body)
    return Recorded(apply(before.ticket, event), event)


def closed(before: Recorded) -> list[Recorded]:
    """Return the events that close a ticket for good."""
    healed = then(before, "self_healed")
    return [healed, then(healed, "window_over", who="desk")]


def problem(key: ProblemKey = CAMERA, ticket: str = "2026-0001", **more: Any) -> Tracked:
    facts: dict[str, Any] = {
        "site": "north", "vehicle": "v1", "key": key, "rule": "camera", "rule_version": 3, "state": "active",
        "event_ms": 1_000, "detected_ms": 2_000, "evidence": (EVIDENCE,),
    }  # fmt: skip
    return Tracked(Problem(**facts | more), ticket)


def batch(number: int, *, records: int = 2) -> BatchRow:
    group = Group(
        "v1", "router", RUN, "live", [(0, records - 1)], {0: CLOCK}, [Moment(5, 0, [[SCHEMA.id(), [-90, None]]])]
    )
    return BatchRow(number, 10 * number, 10 * number + 1, records, [group])


SUMMARY = Summary(
    "on_duty", 7, None, Details({"router": AgentSummary(7, 1_000)}, [DeviceSummary("router", "cam1", 6, 10_000, "无")])
)


def everything() -> Changes:
    """Return a commit that writes to every table."""
    return Changes(
        batch=batch(1),
        runs=[
            RunRow("v1", "router", RUN, "boot-1", Intervals([(0, 9), (12, 12)]), Intervals([(10, 11)]), True, 5, 6, 7)
        ],
        schemas={("v1", "router", SCHEMA.id()): SCHEMA},
        clocks={("v1", "router", RUN): {0: CLOCK}},
        schema_names={("v1", "router", RUN): {0: SCHEMA.id(), 12: "zzzzzz"}},
        vehicles={"v1": b'{"format":1}'},
        summaries={"v1": SUMMARY},
        site_state=b'{"verdict":"up"}',
        problems=[problem()],
        recorded=[opened(), then(opened(), "linked", e.Link("2025-0009"))],
        notes=[
            ClosedNote(
                site="north",
                vehicle="v1",
                device="cam1",
                key="k",
                fault="camera_down",
                rule="camera",
                rule_version=3,
                began_ms=1,
                ended_ms=2,
                noted_ms=3,
            )
        ],
        inventory=[
            InventoryEntry(
                site="north", vehicle="v1", device="cam1", seen_ms=4, identity={"model": "X", "serial": None}
            )
        ],
        quarantine=[QuarantineRow("v1", "router", RUN, [(12, 12)], "live", "expected JSON", b"\x00\xff", 8)],
        notifications=[NotificationRow("n-1", "2026-0001", '{"text":"无画面"}', 9, (("desk", "webhook"),))],
        editions=[EditionRow("rules", 1, 5, "digest", b"{}")],
        snapshot=SnapshotRow(0, 7, b"snapshot"),
        counters={"quarantined": 1},
    )


OF_DRAINS = (
    *("cursor", "dead_letter", "chunk", "hour", "run_start", "action", "gap", "coverage", "journey"),
    *("account", "audit", "session", "token"),
)
"""Tables that no commit of a site writes: drains do, people do."""


def counts(store: Store) -> dict[str, int]:
    with store.engine.connect() as connection:
        return {
            one.name: connection.scalar(select(func.count()).select_from(one)) or 0
            for one in schema.metadata.sorted_tables
        }


# --- migrations -------------------------------------------------------------------------------------------------------


def test_migrations_make_the_tables_that_the_code_works_with(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []
        found: dict[str, str] = dict(
            connection.execute(
                text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
                if store.path
                else text("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
            ).all()
        )
    # the comparison above does not look at which rows an index is over
    wanted = {
        index.name: index.info.get("where", "") for one in schema.metadata.tables.values() for index in one.indexes
    }
    assert {name: condition(found[str(name)]) for name in wanted} == wanted
    assert "UNIQUE" in found["ticket_problem_one_live"]


def condition(index: str) -> str:
    """Return over which rows an index is, without the brackets and types that PostgreSQL adds."""
    return re.sub(r"::text|[()]", "", index.partition(" WHERE ")[2])


def test_migrate_says_what_was_there_and_does_it_once(database_url: str) -> None:
    store = Store.open(database_url)
    assert store.revision() == ""
    with pytest.raises(StoreError, match="kitwatch migrate"):
        store.require_current()
    assert store.migrate() == ""
    assert store.migrate() == migrations.head() == store.revision()
    store.require_current()
    store.close()


def test_collectors_that_start_together_migrate_one_after_the_other(database_url: str) -> None:
    code = "import sys; from collector.store.store import Store; print(repr(Store.open(sys.argv[1]).migrate()))"
    started = [
        subprocess.Popen([sys.executable, "-c", code, database_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    said = [process.communicate(timeout=200) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    assert sorted(out.decode().strip() for out, _ in said) == ["''", *[repr(migrations.head())] * 2]


def test_threads_may_migrate_databases_of_their_own(tmp_path: Path) -> None:
    """Alembic keeps what it is doing in global variables."""

    def work(number: int) -> str:
        store = Store.open(f"sqlite:///{tmp_path}/{number}.sqlite")
        store.migrate()
        found = store.revision()
        store.close()
        return found

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(work, range(12))) == [migrations.head()] * 12


def test_what_stands_in_quarantine_is_seen_no_more_after_the_migration(database_url: str) -> None:
    """What was set aside was marked as seen before 0008; tried again, it would have been dropped as a duplicate."""
    store = Store.open(database_url)
    store.migrate("0007")
    run = "INSERT INTO run (site, vehicle, agent, run, boot, seen, lost, gone_clock, heard_ms) VALUES"
    aside = "INSERT INTO quarantine (site, vehicle, agent, run, pairs, kind, reason, payload, at_ms) VALUES"
    with store.transaction() as connection:
        connection.execute(text(f"{run} ('north', 'v1', 'router', 'aa', '', '[[0,9],[12,12]]', '[]', false, 0)"))
        connection.execute(text(f"{run} ('north', 'v1', 'router', 'bb', '', '[[0,9]]', '[]', false, 0)"))
        for pairs, kind in (("[[3,4]]", "live"), ("[[9,9],[12,12]]", "backlog"), ("[]", "state")):
            connection.execute(
                text(f"{aside} ('north', 'v1', 'router', 'aa', :pairs, :kind, 'invalid', :payload, 0)"),
                {"pairs": pairs, "kind": kind, "payload": b"x"},
            )
    store.migrate()
    site = SiteConnection.acquire(store, "north", "one")
    assert site is not None
    seen = site.load().seen
    assert seen["v1", "router", "aa"].seen.pairs() == [(0, 2), (5, 8)]
    assert seen["v1", "router", "bb"].seen.pairs() == [(0, 9)]
    site.close()
    store.close()


def test_summaries_are_shown_before_and_after_the_migration_that_compresses_them(database_url: str) -> None:
    store = Store.open(database_url)
    store.migrate("0016")
    put = "INSERT INTO vehicle_summary (site, vehicle, state, heard_ms, details, revision) VALUES"
    there = [("v1", '{"position":null,"devices":[["box","modem",5,10]]}'), ("v2", ""), ("v3", "{")]
    with store.transaction() as connection:
        for vehicle, details in there:
            row = {"vehicle": vehicle, "details": details}
            connection.execute(text(f"{put} ('north', :vehicle, 'on_duty', 7, :details, 3)"), row)
    store.migrate()
    one, unowned, damaged = vehicles.list_vehicles(store.engine)
    assert (one.state, one.heard_ms, one.details.devices) == ("on_duty", 7, [DeviceSummary("box", "modem", 5, 10)])
    assert "no owner yet" in unowned.problem
    assert "cannot be read" in damaged.problem
    with store.transaction() as connection:
        command.downgrade(migrations.config(connection), "0016")
    with store.engine.connect() as connection:
        rows = connection.execute(text("SELECT vehicle, details FROM vehicle_summary ORDER BY vehicle")).all()
    assert [tuple(row) for row in rows] == there
    store.close()


def test_a_database_of_a_later_version_is_refused(store: Store) -> None:
    with store.transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"later version.*9999"):
        store.migrate()
    with pytest.raises(StoreError, match="9999"):
        store.require_current()


def test_a_migration_that_fails_leaves_nothing(store: Store) -> None:
    """DDL is in the transaction on both databases."""

    def half() -> None:
        with store.transaction() as connection:
            connection.execute(text("CREATE TABLE half (a INTEGER)"))
            connection.execute(text("INSERT INTO half VALUES (1)"))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        half()
    with store.engine.connect() as connection:
        assert not connection.dialect.has_table(connection, "half")


@pytest.mark.parametrize("url", ["", "kitwatch.sqlite", "sqlite://", "sqlite:///:memory:", "mysql://root:geheim@h/x"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(StoreError, match="expected") as caught:
        Store.open(url)
    assert "geheim" not in str(caught.value)


def test_an_error_shows_no_password(postgres_url: str) -> None:
    store = Store.open(postgres_url.replace("postgres@", "postgres:geheim@").rsplit("/", 1)[0] + "/nobody")
    for call in (store.migrate, store.require_current, lambda: SiteConnection.acquire(store, "north", "x")):
        with pytest.raises(StoreError) as caught:
            call()
        assert "nobody" in str(caught.value)
        assert "geheim" not in str(caught.value)
    store.close()


# --- the commit -------------------------------------------------------------------------------------------------------


_READ = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT owner, revision FROM site").fetchall())
connection.close()
"""


def test_whoever_reads_an_sqlite_file_takes_no_log_from_under_a_collector(tmp_path: Path) -> None:
    """Closing any handle of a file drops the process's POSIX locks on it: then the next reader deletes the log."""
    file = tmp_path / "kitwatch.sqlite"
    held = Store.open(f"sqlite:///{file}")
    held.migrate()
    assert file.stat().st_mode & 0o777 == 0o600, "whatever the umask says"
    with SiteConnection.acquire(held, "north", "the owner") or pytest.fail("not owned") as owner:
        for revision in range(3):
            with held.engine.connect() as one, held.engine.connect() as two:  # connections that the pool opens
                one.execute(text("SELECT 1"))
                two.execute(text("SELECT 1"))
            held.engine.dispose()
            read = subprocess.run([sys.executable, "-c", _READ, str(file)], capture_output=True, text=True, check=True)
            assert read.stdout.strip() == f"[('the owner', {revision})]"
            assert file.with_name("kitwatch.sqlite-wal").exists()
            owner.commit(Changes(counters={"said": 1}))
    held.close()


def test_what_was_committed_is_loaded(store: Store, site: SiteConnection) -> None:
    assert site.load() == SiteData({}, None, {}, {}, {}, 0)
    site.commit(everything())
    expected = SiteData(
        vehicles={"v1": b'{"format":1}'},
        site_state=b'{"verdict":"up"}',
        seen={("v1", "router", RUN): everything().runs[0]},
        schemas={("v1", "router", SCHEMA.id()): SCHEMA},
        clocks={("v1", "router", RUN): {0: CLOCK}},
        last_batch=1,
        schema_names={("v1", "router", RUN): {0: SCHEMA.id(), 12: "zzzzzz"}},
        ticket_events={"2026-0001": [one.event for one in everything().recorded]},
        problems=[problem()],
        last_numbers={2026: 1},
        snapshot_ms=7,
        quarantine_bytes={"v1": 2},
    )
    assert site.load() == expected
    assert editions.latest(store, "north") == {"rules": (1, "digest", b"{}")}
    # a commit of a few things leaves the others as they are
    site.commit(Changes(vehicles={"v2": b"{}"}))
    assert site.load() == msgspec.structs.replace(expected, vehicles={"v1": b'{"format":1}', "v2": b"{}"})
    assert all(count >= 1 for name, count in counts(store).items() if name not in OF_DRAINS)


def test_a_new_file_has_small_pages(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/new.sqlite")
    store.migrate()
    with store.engine.connect() as connection:
        assert connection.scalar(text("PRAGMA page_size")) == 1024
    store.close()


def test_what_waits_for_a_moment_is_no_news_of_a_site(tmp_path: Path) -> None:
    """At 20 messages a second others wait at each check; to write that down would be half of all commits."""
    store = Store.open(f"sqlite:///{tmp_path}/new.sqlite")
    store.migrate()
    now_ms = time.time_ns() // 1_000_000
    with SiteConnection.acquire(store, "north", "test") or pytest.fail("not owned") as site:

        def told(report: SiteReport) -> int:
            site.check(report)
            (row,) = sites.list_sites(store.engine)
            return row.report.waiting_messages

        assert told(SiteReport(connected=True, waiting_messages=1, oldest_waiting_ms=now_ms)) == 1
        assert told(SiteReport(connected=True, waiting_messages=2, oldest_waiting_ms=now_ms - 1_000)) == 1
        assert told(SiteReport(connected=True, waiting_messages=3, oldest_waiting_ms=now_ms - 60_000)) == 3
        assert told(SiteReport(connected=True)) == 0
    store.close()


def test_states_stand_in_the_journal_until_a_checkpoint(store: Store, site: SiteConnection) -> None:
    """One row a commit, whatever its vehicles; a new run, a full journal and whoever asks put all into their rows."""

    def rows_of(table: Table) -> list[Any]:
        with store.engine.connect() as connection:
            return list(connection.execute(select(table).where(table.c.site == "north").order_by(*table.primary_key)))

    def commit(at_ms: int, run: str = RUN) -> None:
        runs = [RunRow(f"v{n}", "a", run, seen=Intervals([(0, at_ms)]), heard_ms=at_ms) for n in range(20)]
        site.commit(Changes(runs=runs, vehicles={one.vehicle: b"%d" % at_ms for one in runs}))

    commit(1)  # its runs are new
    assert [row.heard_ms for row in rows_of(schema.run)] == [1] * 20
    assert rows_of(schema.journal) == []
    commit(2)
    commit(3)
    assert [row.heard_ms for row in rows_of(schema.run)] == [1] * 20
    assert {bytes(row.state) for row in rows_of(schema.vehicle)} == {b"1"}
    assert len(rows_of(schema.journal)) == 2
    found = site.load()
    assert set(found.vehicles.values()) == {b"3"}
    assert {(run.heard_ms, tuple(run.seen.pairs())) for run in found.seen.values()} == {(3, ((0, 3),))}
    site.close()
    for other in owned(store, "north"):  # what a killed owner left
        assert other.load() == found
        other.commit(Changes(vehicles={"v0": b"4"}))
        assert other.load().vehicles["v0"] == b"4"
        other.checkpoint()
        assert rows_of(schema.journal) == []
        assert {bytes(row.state) for row in rows_of(schema.vehicle)} == {b"3", b"4"}
        assert {row.heard_ms for row in rows_of(schema.run)} == {3}
        revision = other.revision
        other.checkpoint()
        assert other.revision == revision, "there is nothing to do"
        for number in range(journal.MOST_ENTRIES):
            other.commit(Changes(vehicles={"v1": b"%d" % number}))
        assert len(rows_of(schema.journal)) == journal.MOST_ENTRIES
        other.commit(Changes(vehicles={"v1": b"last"}))
        assert rows_of(schema.journal) == []
        assert [bytes(row.state) for row in rows_of(schema.vehicle) if row.vehicle == "v1"] == [b"last"]


def test_a_site_sees_nothing_of_another(store: Store, site: SiteConnection) -> None:
    for south in owned(store, "south"):
        site.commit(everything())
        assert south.load() == SiteData({}, None, {}, {}, {}, 0)
        south.commit(everything())
        south.commit(Changes(vehicles={"v1": b"[]"}, released=[1, 2]))
        assert site.load().vehicles == {"v1": b'{"format":1}'}
        assert [row.site for row in queries.list_quarantine(store.engine)] == ["north"]


def test_the_last_of_a_key_counts(site: SiteConnection, store: Store) -> None:
    first, second = RunRow("v1", "router", RUN), RunRow("v1", "router", RUN, seen=Intervals([(0, 5)]))
    one, other = ProblemKey.of("camera_down", "a"), ProblemKey.of("camera_down", "b")
    begun = opened(key=one)
    take_over = e.TakeOver(
        problem=ProblemRef("v1", other), was=ProblemRef("v1", one), event_ms=5, rule="r", rule_version=1
    )
    changes = Changes(runs=[first, second], recorded=[begun, then(begun, "taken_over", take_over)])
    changes.problems = [problem(one), problem(one, ticket="")]
    site.commit(changes)
    assert site.load().seen[("v1", "router", RUN)].seen.pairs() == [(0, 5)]
    found = tickets.ticket(store.engine, "2026-0001")
    assert found is not None
    assert found[0].device == "b"
    assert [line.what for line in found[1]] == ["opened", "taken_over"]  # as they were written
    assert site.load().problems == [problem(one, ticket="")]
    (row,) = tickets.list_tickets(store.engine)
    assert (row.device, row.event_ms) == ("b", 5)


def test_counters_add_up_and_a_clock_or_notification_is_never_written_over(site: SiteConnection, store: Store) -> None:
    other = Clock(0, 1, 1, "rtc", 1)
    for clock, body in ((CLOCK, "first"), (other, "second")):
        site.commit(
            Changes(
                clocks={("v1", "router", RUN): {0: clock}},
                notifications=[NotificationRow("n-1", "", body, 1, (("desk", "webhook"),))],
                counters={"late": 2},
            )
        )
    assert site.load().clocks == {("v1", "router", RUN): {0: CLOCK}}
    assert sites.counters(store.engine) == {("north", "late"): 4}
    with store.engine.connect() as connection:
        assert connection.execute(select(schema.notification.c.body)).all() == [("first",)]
        d = schema.delivery.c
        assert connection.execute(select(d.receiver, d.state, d.attempts)).all() == [("desk", "waiting", 0)]


def test_a_batch_must_follow_the_last(site: SiteConnection, store: Store) -> None:
    site.commit(Changes(batch=batch(1)))
    for wrong in (1, 3):
        with pytest.raises(ValueError, match=f"expected batch 2, found {wrong}"):
            site.commit(Changes(batch=batch(wrong), vehicles={"v9": b"{}"}))
    site.commit(Changes(batch=batch(2)))
    assert [one.number for one in log.read(store, "north", 0, 9)] == [1, 2]
    assert site.load().vehicles == {}


def test_text_with_nul_and_a_long_payload(site: SiteConnection, store: Store) -> None:
    payload = bytes(range(256)) * 4096
    site.commit(Changes(quarantine=[QuarantineRow("v1", "a", RUN, [], "live", "bad \0 byte", payload, 1)]))
    (row,) = queries.list_quarantine(store.engine)
    assert row.reason == "bad \N{REPLACEMENT CHARACTER} byte"
    assert row.payload == payload
    assert row.pairs == []


BROKEN = {
    "second live ticket": Changes(recorded=[opened("2026-0002")]),
    "an event written twice": Changes(recorded=[opened(key=ProblemKey.of("camera_down", "cam9"))]),
    "number beyond 64 bits": Changes(runs=[RunRow("v2", "a", RUN, heard_ms=2**63)]),
    "half a character": Changes(recorded=[then(opened(), "noted", who="\ud800")]),
    "nothing where something must be": Changes(notifications=[NotificationRow("n-2", None, "", 1)]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", BROKEN)
def test_an_error_in_the_middle_of_a_commit_leaves_nothing(site: SiteConnection, store: Store, what: str) -> None:
    site.commit(everything())
    before, rows = site.load(), counts(store)
    broken = msgspec.structs.replace(
        BROKEN[what],
        batch=batch(2),
        vehicles={"v1": b'{"format":2}', "v2": b"{}"},
        site_state=b"other",
        counters={"quarantined": 5, "late": 1},
        released=[1],
    )
    with pytest.raises(CommitFailed):
        site.commit(broken)
    assert site.load() == before
    assert counts(store) == rows
    assert sites.counters(store.engine) == {("north", "quarantined"): 1}
    site.commit(Changes(batch=batch(2)))  # and the site is still ours
    assert site.load().last_batch == 2


# --- tickets ----------------------------------------------------------------------------------------------------------


def test_a_second_live_ticket_of_a_problem_is_named(site: SiteConnection) -> None:
    site.commit(Changes(recorded=[opened(), opened("2026-0002", vehicle="v2")]))
    with pytest.raises(LiveTicketExists) as caught:
        site.commit(Changes(recorded=[opened("2026-0003")]))
    error = caught.value
    assert (error.ticket, error.existing) == ("2026-0003", "2026-0001")
    assert (error.vehicle, error.key) == ("v1", "camera_down/cam1")
    new = ProblemKey.of("camera_down", "new")
    with pytest.raises(LiveTicketExists, match="2026-0008"):
        site.commit(Changes(recorded=[opened("2026-0007", new), opened("2026-0008", new)]))


def test_a_closed_ticket_holds_its_problem_until_its_window_is_over(site: SiteConnection) -> None:
    first = opened()
    healed, over = closed(first)
    site.commit(Changes(recorded=[first, healed]))
    with pytest.raises(LiveTicketExists, match=r"2026-0002.*2026-0001"):
        site.commit(Changes(recorded=[opened("2026-0002")]))
    site.commit(Changes(recorded=[opened("2026-0002"), over]))
    assert set(site.load().ticket_events) == {"2026-0002"}


def test_a_problem_goes_from_one_ticket_to_another_in_one_commit(site: SiteConnection, store: Store) -> None:
    """A merge and its undoing, whichever stands first."""
    one, other = opened("2026-0001"), opened("2026-0002", ProblemKey.of("camera_down", "cam2"))
    site.commit(Changes(recorded=[one, other]))
    facts: dict[str, Any] = {"ticket": "2026-0001", "notice_ms": 5, "sla_class": "general", "severity": "major"}
    brought = e.Merged(**facts, problems=(ProblemRef("v1", CAMERA),))
    merged = then(one, "merged", e.MergeInto("2026-0002"), "wang")
    got = then(other, "got_merged", brought, "wang")
    site.commit(Changes(recorded=[got, merged]))
    assert {held(store, "cam1"), held(store, "cam2")} == {"2026-0002"}
    assert set(site.load().ticket_events) == {"2026-0001", "2026-0002"}, "a merged one may be taken back"
    back = then(merged, "unmerged", who="wang")
    free = then(Recorded(other.ticket, got.event), "gave_back", brought, "wang")
    site.commit(Changes(recorded=[back, free]))
    assert (held(store, "cam1"), held(store, "cam2")) == ("2026-0001", "2026-0002")


def held(store: Store, device: str) -> str | None:
    one = schema.ticket_problem
    with store.engine.connect() as connection:
        return connection.scalar(select(one.c.ticket).where(one.c.key == f"camera_down/{device}", one.c.holds))


def test_an_event_is_never_changed(site: SiteConnection, store: Store) -> None:
    site.commit(Changes(recorded=[opened()]))
    statements = ["UPDATE ticket_event SET who = 'nobody'", "DELETE FROM ticket_event"]
    if store.path:
        columns = "site, ticket, number, what, at_ms, recorded_ms, 'nobody', body"
        statements.append(f"INSERT OR REPLACE INTO ticket_event SELECT {columns} FROM ticket_event")
    else:
        statements.append("TRUNCATE ticket_event")
    for statement in statements:
        with pytest.raises(DBAPIError, match="never changed"), store.transaction() as connection:
            connection.execute(text(statement))
    found = tickets.ticket(store.engine, "2026-0001")
    assert found is not None
    assert found[1] == [opened().event]


def test_tickets_come_back_as_they_were(site: SiteConnection, store: Store) -> None:
    begun, done = opened(), opened("2026-0002", vehicle="v2")
    healed, over = closed(done)
    site.commit(Changes(recorded=[begun, done, healed, over]))
    engine = store.engine
    assert tickets.ticket(engine, "2026-0001") == (begun.ticket, [begun.event])
    assert tickets.ticket(engine, "2026-0002") == (over.ticket, [done.event, healed.event, over.event])
    assert tickets.ticket(engine, "2026-0009") is None
    assert [row.id for row in tickets.list_tickets(engine, state="open")] == ["2026-0001"]
    assert [row.id for row in tickets.list_tickets(engine, state="closed")] == ["2026-0002"]
    assert [row.id for row in tickets.list_tickets(engine, vehicle="v2")] == ["2026-0002"]
    assert tickets.list_tickets(engine, site="south") == []
    assert len(tickets.list_tickets(engine, limit=1)) == 1


def test_what_a_desk_needs_is_loaded_and_no_more(site: SiteConnection) -> None:
    """Live tickets, merged ones while the one they went into is live, problems that last or are held, last numbers."""
    last, cam2, cam3 = (ProblemKey.of("camera_down", f"cam{number}") for number in (9, 2, 3))
    live, gone, old = opened(), opened("2026-0002", cam2), opened("2025-0417", cam3)
    into = opened("2026-0010", last)
    site.commit(
        Changes(
            recorded=[
                *(live, gone, *closed(gone), old, *closed(old), into),
                *(first := opened("2026-0011", vehicle="v3"), then(first, "merged", e.MergeInto("2026-0012"), "wang")),
                *(
                    second := opened("2026-0012", vehicle="v4"),
                    then(second, "merged", e.MergeInto("2026-0010"), "wang"),
                ),
                *(lost := opened("2026-0013", vehicle="v5"), then(lost, "merged", e.MergeInto("2026-0002"), "wang")),
            ],
            problems=[
                problem(state="over"),
                problem(cam2, "2026-0002", state="over"),
                problem(cam3, "", state="active"),
                problem(ProblemKey.of("camera_down", "cam4"), "", state="orphaned"),
            ],
        )
    )
    data = site.load()
    assert set(data.ticket_events) == {"2026-0001", "2026-0010", "2026-0011", "2026-0012"}
    assert data.ticket_events["2026-0001"] == [live.event]
    assert [one.problem.key for one in data.problems] == [CAMERA, cam3]
    assert data.last_numbers == {2025: 417, 2026: 13}


def test_a_number_that_several_sites_have_given_needs_the_site(site: SiteConnection, store: Store) -> None:
    site.commit(Changes(recorded=[opened()]))
    for south in owned(store, "south"):
        south.commit(Changes(recorded=[opened()]))
    with pytest.raises(SeveralTickets, match="north, south"):
        tickets.ticket(store.engine, "2026-0001")
    assert tickets.ticket(store.engine, "2026-0001", "south") is not None


def test_notes_inventory_and_vehicles(site: SiteConnection, store: Store) -> None:
    changes = everything()
    newer = InventoryEntry(site="north", vehicle="v1", device="cam1", seen_ms=99, identity={"model": "Y"})
    changes.inventory.append(newer)
    site.commit(changes)
    assert tickets.list_notes(store.engine, site="north", vehicle="v1") == changes.notes
    assert vehicles.list_inventory(store.engine, vehicle="v1") == [newer]
    (found,) = vehicles.list_vehicles(store.engine)
    assert (found.site, found.vehicle, found.state, found.heard_ms) == ("north", "v1", "on_duty", 7)
    assert found.details == SUMMARY.details
    (row,) = sites.list_sites(store.engine)
    assert (row.site, row.epoch, row.owner, row.last_batch) == ("north", 1, "test", 1)
    assert row.heartbeat_ms > 1_700_000_000_000


# --- the log ----------------------------------------------------------------------------------------------------------


def test_the_log_is_read_by_cursor(site: SiteConnection, store: Store) -> None:
    for number in range(1, 6):
        site.commit(Changes(batch=batch(number)))
    assert [one.number for one in log.read(store, "north", 0, 3)] == [1, 2, 3]
    (last,) = log.read(store, "north", 4, 9)
    assert (last.site, last.number, last.received_ms, last.now_ms) == ("north", 5, 50, 51)
    assert last.groups[0].moments == [Moment(5, 0, [[SCHEMA.id(), [-90, None]]])]
    assert last.groups[0].clocks == {0: CLOCK}
    assert log.read(store, "south", 0, 9) == []
    assert log.position(store, "north", "influx") == 0
    assert log.waiting(store, "north", "influx") == (5, 10)
    with store.transaction() as connection:
        log.advance(connection, "north", "influx", 4)
    assert log.position(store, "north", "influx") == 4
    assert log.waiting(store, "north", "influx") == (1, 50)
    assert log.last(store, "north") == 5


def test_a_cursor_never_goes_back(site: SiteConnection, store: Store) -> None:
    for number in (7, 3):
        with store.transaction() as connection:
            log.advance(connection, "north", "influx", number)
    assert log.position(store, "north", "influx") == 7


def test_a_drain_and_its_cursor_move_together(site: SiteConnection, store: Store) -> None:

    def drain(number: int, *, fails: bool) -> None:
        with store.transaction() as connection:
            dead_letters.add(connection, "north", "influx", [(number, "modem rsrp=\0", "400 bad", "held")], 5)
            log.advance(connection, "north", "influx", number)
            if fails:
                raise RuntimeError("power cut")

    drain(1, fails=False)
    with pytest.raises(RuntimeError, match="power cut"):
        drain(2, fails=True)
    assert log.position(store, "north", "influx") == 1
    (letter,) = queries.list_dead_letters(store.engine)
    assert (letter.batch, letter.content, letter.reason, letter.state) == (1, "modem rsrp=�", "400 bad", "held")


def test_the_log_is_kept_by_age_and_bytes_and_what_a_sink_missed_is_said(site: SiteConnection, store: Store) -> None:
    for number in range(1, 11):
        site.commit(Changes(batch=batch(number), snapshot=SnapshotRow(number - 1, 10 * number, b"x")))

    def trim(*sinks: str, oldest_ms: int = 0, most_bytes: int = 2**40, limit: int = 1000) -> log.Trimmed:
        with store.transaction() as connection:
            return log.trim(connection, "north", sinks, oldest_ms=oldest_ms, most_bytes=most_bytes, limit=limit)

    def left() -> list[int]:
        return [one.number for one in log.read(store, "north", 0, 99)]

    for sink, number in (("influx", 6), ("history", 3)):
        with store.transaction() as connection:
            log.advance(connection, "north", sink, number)
    # every sink has passed three, but they can still be judged again
    assert trim("influx", "history") == (0, None)
    assert left() == [*range(1, 11)]
    # beyond the bound in time (batch n came in at 10 n): read by all
    assert trim("influx", "history", oldest_ms=40, limit=2) == (2, None)
    assert trim("influx", "history", oldest_ms=40) == (1, None)
    assert left() == [4, 5, 6, 7, 8, 9, 10]
    # what history had not read is given up, and said
    assert trim("influx", "history", oldest_ms=60) == (0, (4, 5))
    assert left() == [6, 7, 8, 9, 10]
    # beyond the bound in bytes: two batches fit
    size = len(batch(1).content)
    assert trim("influx", "history", most_bytes=2 * size) == (0, (6, 8))
    assert left() == [9, 10]
    assert sites.counters(store.engine) == {("north", "log_given_up"): 5}
    with store.engine.connect() as connection:
        snapshots = connection.execute(select(schema.snapshot.c.number).order_by(schema.snapshot.c.number)).scalars()
        assert list(snapshots) == [8, 9], "a snapshot is there as long as the log after it"
    # the numbers go on
    assert site.load().last_batch == 10
    site.commit(Changes(batch=batch(11)))


def test_two_sites_and_a_drain_write_at_the_same_time(store: Store) -> None:
    def work(name: str) -> None:
        for connection in owned(store, name):
            for number in range(1, 101):
                connection.commit(Changes(batch=batch(number), counters={"commits": 1}))

    def drain() -> None:
        for number in range(100):
            with store.transaction() as connection:
                connection.execute(select(schema.cursor)).all()  # reads first, as a drain does
                time.sleep(0.001)
                log.advance(connection, "north", "influx", number)

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(work, "north"), pool.submit(work, "south"), pool.submit(drain)]:
            done.result(timeout=200)
    assert sites.counters(store.engine) == {("north", "commits"): 100, ("south", "commits"): 100}
    assert log.position(store, "north", "influx") == 99


def test_quarantine_is_retried_by_its_row(site: SiteConnection, store: Store) -> None:
    rows = [QuarantineRow("v1", "router", RUN, [(n, n)], "live", "why", b"x", n) for n in range(3)]
    site.commit(Changes(quarantine=rows))
    newest = queries.list_quarantine(store.engine)[0]
    assert newest.pairs == [(2, 2)]
    with store.transaction() as connection:
        assert queries.retry_letters(connection, "quarantine", [newest.id, 999]) == 1
    (waiting,) = queries.list_quarantine(store.engine, state="retry")
    assert waiting.id == newest.id
    site.commit(Changes(released=[waiting.id]))
    assert [row.pairs for row in queries.list_quarantine(store.engine)] == [[(1, 1)], [(0, 0)]]
    with store.transaction() as connection:
        assert queries.drop_letters(connection, "quarantine", None, "south") == 0
        assert queries.drop_letters(connection, "quarantine", None) == 2
    assert queries.list_quarantine(store.engine) == []


# --- the epoch --------------------------------------------------------------------------------------------------------


def test_every_ownership_is_a_new_epoch(store: Store) -> None:
    epochs = []
    for _ in range(3):
        for connection in owned(store, "north"):
            epochs.append(connection.epoch)
            assert SiteConnection.acquire(store, "north", "other") is None
    assert epochs == [1, 2, 3]


def test_a_commit_of_an_epoch_that_has_ended_writes_nothing(site: SiteConnection, store: Store) -> None:
    """Whatever became of the lock: the epoch alone keeps an old owner out."""
    site.commit(Changes(vehicles={"v1": b"{}"}))
    rows = counts(store)
    with store.transaction() as connection:
        connection.execute(text("UPDATE site SET epoch = epoch + 1"))
    with pytest.raises(LostOwnership) as caught:
        site.commit(everything())
    assert (caught.value.site, caught.value.epoch) == ("north", 1)
    assert counts(store) == rows
    for call in (site.load, site.check, lambda: site.commit(Changes())):
        with pytest.raises(LostOwnership):
            call()


def test_check_finds_another_epoch(site: SiteConnection, store: Store) -> None:
    site.check()
    with store.transaction() as connection:
        connection.execute(text("UPDATE site SET epoch = epoch + 1"))
    with pytest.raises(LostOwnership, match="another epoch"):
        site.check()


def test_a_site_without_tables_says_what_to_do(database_url: str) -> None:
    store = Store.open(database_url)
    with pytest.raises(StoreError, match=r"site|kitwatch migrate"):
        SiteConnection.acquire(store, "north", "test")
    store.close()


@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 33, "急救"])
def test_a_site_that_could_be_no_file(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match="expected a site"):
        SiteConnection.acquire(store, name, "test")


# --- against a model --------------------------------------------------------------------------------------------------

names = st.sampled_from(["v1", "v2", "v3"])
numbers = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=4).map(
    lambda pairs: Intervals((first, first + more) for first, more in pairs)
)
run_rows = st.builds(
    RunRow,
    names,
    st.sampled_from(["router", "tablet"]),
    st.sampled_from([RUN, "00000000000000bb"]),
    st.text("abc", max_size=3),
    numbers,
    numbers,
    st.booleans(),
    st.none() | st.integers(0, 2**40),
    st.none() | st.integers(0, 2**40),
    st.integers(0, 2**40),
)
steps = st.fixed_dictionaries(
    {
        "runs": st.lists(run_rows, max_size=3),
        "vehicles": st.dictionaries(names, st.binary(max_size=40), max_size=3),
        "site_state": st.none() | st.binary(max_size=10),
        "counters": st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 2**31), max_size=2),
        "fails": st.booleans(),
    }
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commits=st.lists(steps, max_size=6))
def test_any_series_of_commits_is_what_a_dictionary_would_hold(store: Store, commits: list[dict[str, Any]]) -> None:
    with store.transaction() as connection:
        for one in schema.metadata.sorted_tables:
            connection.execute(one.delete())
    model = SiteData({}, None, {}, {}, {}, 0)
    counted: dict[tuple[str, str], int] = {}
    for site in owned(store, "north"):
        for commit in commits:
            fails = commit["fails"]
            changes = Changes(**{name: value for name, value in commit.items() if name != "fails"})
            if fails:
                changes.recorded = [opened(), opened("2026-0002")]
                with pytest.raises(LiveTicketExists):
                    site.commit(changes)
                continue
            site.commit(changes)
            model.vehicles.update(changes.vehicles)
            model.seen.update({(row.vehicle, row.agent, row.run): row for row in changes.runs})
            model.site_state = changes.site_state if changes.site_state is not None else model.site_state
            for name, value in changes.counters.items():
                counted[("north", name)] = counted.get(("north", name), 0) + value
        assert site.load() == model
        assert sites.counters(store.engine) == counted
