"""The compactor on both databases: what was committed stands in chunks and hours, once, whatever came when."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from sqlalchemy import column, event, insert, select, table, text, update

from collector import retention
from collector.core.figures import HOUR_MS
from collector.retention import Bounds, Keeper
from collector.sinks.history import DAY_MS, NAME, Compactor
from collector.sinks.runner import SinkRunner
from collector.sinks.sink import Portion
from collector.store import batch, history, log, migrations, queries, schema
from collector.store.batch import decode_groups
from collector.store.chunks import SLOT_MS, Kept, unfold
from collector.store.commit import SiteConnection
from collector.store.rows import BatchRow, Changes, NotificationRow, RunRow
from collector.store.store import Store
from telemetry.fleet import AgentPlan, Device, Site, VehiclePlan
from telemetry.inputs import SystemInput
from telemetry.intervals import Intervals
from telemetry.message import Lane, Moment
from telemetry.records import Clock, Column, Schema

SITE, VEHICLE, AGENT, RUN = "north", "amb-3", "tablet", "00000000000000aa"
NOON = 1_790_000_000_000 // HOUR_MS * HOUR_MS
NOW_MS = NOON + HOUR_MS
CLOCK = Clock(0, 0, NOON, "ntp", 5)
HOST = Schema("system", "host", (Column("host.cpu_percent"), Column("device.reachable")))
DEVICES = {"host": Device(kind="host", system=SystemInput(interval=30.0))}
PLAN = Site(vehicles={VEHICLE: VehiclePlan(agents={AGENT: AgentPlan(devices=DEVICES)})})
Entry = tuple[int, bool]
"""Milliseconds after noon, and whether the device answered."""


class Written:
    """A site's log, written by the real commit."""

    def __init__(self, url: str) -> None:
        self.store = Store.open(url)
        self.store.migrate()
        owner = SiteConnection.acquire(self.store, SITE, "test")
        assert owner is not None
        self.owner = owner
        self._sequences: dict[str, Iterator[int]] = {}

    def close(self) -> None:
        self.owner.close()
        self.store.close()

    def put(self, *groups: batch.Group, received_ms: int = NOW_MS) -> None:
        number = self.owner.last_batch + 1
        records = sum(last - first + 1 for group in groups for first, last in group.pairs)
        self.owner.commit(
            Changes(
                batch=BatchRow(number, received_ms, received_ms, records, groups),
                schemas={(VEHICLE, AGENT, HOST.id()): HOST},
            )
        )

    def take(
        self, *moments: Moment, run: str = RUN, lane: Lane = "live", clock: Clock = CLOCK, received_ms: int = NOW_MS
    ) -> None:
        """Commit records with the run's next numbers."""
        numbers = self._sequences.setdefault(run, itertools.count())
        names = Intervals((n, n) for moment in moments for _, n in zip(moment.entries, numbers, strict=False))
        self.put(
            batch.Group(VEHICLE, AGENT, run, lane, names.pairs(), {clock.number: clock}, list(moments)),
            received_ms=received_ms,
        )

    def drain(self, now_ms: int = NOW_MS) -> SinkRunner:
        """Run the compactor to the end of the log."""
        runner = SinkRunner(self.store, SITE, Compactor(self.store, SITE, PLAN, now_ms=lambda: now_ms))
        asyncio.run(runner.catch_up())
        return runner

    def rows(self, table: Any) -> list[tuple[Any, ...]]:
        with self.store.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]


@pytest.fixture
def written(database_url: str) -> Iterator[Written]:
    it = Written(database_url)
    yield it
    it.close()


def host(offset_ms: int, answered: bool = True, clock: int | None = 0) -> Moment:
    return Moment(offset_ms, clock, [[HOST.id(), [7.5, answered]]])


def test_samples_and_events_come_back_as_they_were_committed(written: Written) -> None:
    started = Moment(SLOT_MS - 1, 0, [["started", "", {"run_before": None}]])
    written.take(host(30_000), host(60_000, answered=False))
    written.take(started, host(SLOT_MS), lane="backlog")
    drain = written.drain()
    found = history.samples(written.store, SITE, VEHICLE, NOON, NOON + HOUR_MS)
    assert [(s.time_ms - NOON, s.agent, s.run, s.sequence, s.late, list(s.values)) for s in found] == [
        (30_000, AGENT, RUN, 0, False, [7.5, True]),
        (60_000, AGENT, RUN, 1, False, [7.5, False]),
        (SLOT_MS, AGENT, RUN, 3, True, [7.5, True]),
    ]
    assert all(s.schema == HOST for s in found)
    (event,) = history.events(written.store, SITE, VEHICLE, NOON, NOON + HOUR_MS)
    assert event == (NOON + SLOT_MS - 1, AGENT, RUN, 2, "started", "", {"run_before": None})
    # half open, and not another vehicle's
    assert len(history.samples(written.store, SITE, VEHICLE, NOON + 30_000, NOON + 60_000)) == 1
    assert history.samples(written.store, SITE, "amb-4", NOON, NOON + HOUR_MS) == []
    assert [row[3] - NOON for row in written.rows(schema.chunk)] == [0, SLOT_MS]  # one row per agent and ten minutes
    assert log.position(written.store, SITE, NAME) == 2 == drain.progress.position
    extent = history.extent(written.store, SITE)
    assert (extent.chunks, extent.oldest_ms) == (2, NOON)
    assert extent.bytes > 0


def test_what_is_not_compacted_yet_is_read_from_the_log_each_record_once(written: Written) -> None:
    written.take(host(0), host(30_000))
    written.drain()
    written.take(host(60_000), host(90_000, clock=None))
    written.take(host(90_000), lane="backlog")
    written.take(host(0), run="00000000000000bb", clock=Clock(0, 0, NOW_MS + 360_000, "rtc", 5))
    for compacted in (False, True):
        found = history.samples(written.store, SITE, VEHICLE, NOON, NOON + 2 * HOUR_MS)
        assert [(s.time_ms - NOON, s.late) for s in found] == [
            (0, False), (30_000, False), (60_000, False), (90_000, True)
        ], compacted  # fmt: skip
        with written.store.transaction() as connection:  # as if the compactor had gone on while we read
            connection.execute(update(schema.cursor).values(number=0))
        assert len(history.samples(written.store, SITE, VEHICLE, NOON, NOON + 2 * HOUR_MS)) == 4
        written.drain()


def test_hours_say_what_was_observed_and_a_late_sample_corrects_them(written: Written) -> None:
    written.take(*(host(n * 30_000) for n in range(4)))
    written.drain()
    (before,) = history.hours(written.store, SITE, VEHICLE, NOON + 5, NOON + 6).values()
    assert (before.samples, before.devices["host"].observed_s, before.devices["host"].good_s) == (4, 120, 120)
    written.take(host(150_000, answered=False), lane="backlog", received_ms=NOW_MS + 3 * DAY_MS)
    written.drain()
    (after,) = history.hours(written.store, SITE, VEHICLE, NOON, NOON + HOUR_MS).values()
    assert (after.samples, after.devices["host"].observed_s, after.devices["host"].good_s) == (5, 150, 120)
    assert len(history.samples(written.store, SITE, VEHICLE, NOON, NOON + HOUR_MS)) == 5
    assert history.hours(written.store, SITE, VEHICLE, NOON + HOUR_MS, NOON + 2 * HOUR_MS) == {}


def test_any_order_and_any_split_give_the_same_rows(tmp_path: Path, postgres_url: str) -> None:
    """The same records in three orders and portions, on two databases: byte for byte the same chunks and hours."""
    chance = random.Random(20261125)
    moments = [(n * 10_000, n % 7 != 3) for n in range(0, 400, 3)]
    made: list[tuple[Any, Any]] = []
    for number, url in enumerate([f"sqlite:///{tmp_path}/a.sqlite", f"sqlite:///{tmp_path}/b.sqlite", postgres_url]):
        numbered = list(enumerate(moments))
        if number:
            chance.shuffle(numbered)
        it = Written(url)
        try:
            while numbered:
                size = chance.randint(1, 40)
                portion, numbered = sorted(numbered[:size]), numbered[size:]
                names = Intervals((n, n) for n, _ in portion)
                body = [host(offset, answered) for _, (offset, answered) in portion]
                it.put(batch.Group(VEHICLE, AGENT, RUN, "live", names.pairs(), {0: CLOCK}, body))
                if chance.random() < 0.4:
                    it.drain()
            it.drain()
            made.append((it.rows(schema.chunk), it.rows(schema.hour)))
        finally:
            it.close()
    assert made[0][0]
    assert made[0] == made[1] == made[2]


def test_the_log_read_twice_changes_nothing(written: Written) -> None:
    """As after a crash that took the cursor but not the rows, only worse: everything again."""
    written.take(*(host(n * 30_000, n % 3 > 0) for n in range(10)))
    written.take(host(310_000), lane="backlog")
    written.drain()
    before = written.rows(schema.chunk), written.rows(schema.hour)
    with written.store.transaction() as connection:
        connection.execute(update(schema.cursor).values(number=0))
    written.drain()
    assert (written.rows(schema.chunk), written.rows(schema.hour)) == before
    assert written.rows(schema.counter) == [(SITE, "history_repeated", 11)]  # whoever looks for doubles finds them here


def test_of_two_drains_the_slower_changes_nothing(written: Written) -> None:
    """A collector that was paused between reading and writing comes back when another has gone on."""
    written.take(host(0))

    class Paused(Compactor):
        def prepare(self, batches: Sequence[batch.Batch]) -> Portion:
            stale = super().prepare(batches)
            if paused.progress.position == 0:
                written.take(host(30_000))
                other = threading.Thread(target=written.drain)
                other.start()
                other.join()
            return stale

    paused = SinkRunner(written.store, SITE, Paused(written.store, SITE, PLAN, now_ms=lambda: NOW_MS))
    asyncio.run(paused.begin())
    asyncio.run(paused.look())
    assert paused.progress.position == 2
    assert paused.progress.counts["batches"] == 0
    assert len(history.samples(written.store, SITE, VEHICLE, NOON, NOW_MS)) == 2


def test_a_vehicles_schemas_are_asked_for_once(written: Written) -> None:
    """At the first look of a start every schema is new: one question for each was a third of that look."""
    asked: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if "FROM schema" in statement:
            asked.append(statement)

    others = [Schema("system", f"host-{n}", (Column("host.cpu_percent"), Column("device.reachable"))) for n in range(5)]
    written.owner.commit(Changes(schemas={(VEHICLE, AGENT, one.id()): one for one in others}))
    written.take(host(0), *(Moment(n * 1000, 0, [[one.id(), [7.5, True]]]) for n, one in enumerate(others)))
    event.listen(written.store.engine, "before_cursor_execute", note)
    written.drain()
    (hour,) = history.hours(written.store, SITE, VEHICLE, NOON, NOON + HOUR_MS).values()
    assert sorted(hour.devices) == ["host", *(one.device for one in others)]
    assert len(asked) == 1


def test_one_vehicle_after_the_other_is_opened(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five minutes of 200 vehicles take 27 MB once they are decoded, and the allocator keeps most of that."""
    opened: list[list[str]] = []
    real = batch.Packed.open

    def open(packed: batch.Packed) -> list[tuple[batch.Group, int]]:
        found = real(packed)
        opened.append([group.vehicle for group, _ in found])
        return found

    monkeypatch.setattr(batch.Packed, "open", open)
    for n in range(4):
        groups = [
            batch.Group(vehicle, AGENT, RUN, "live", [(n, n)], {0: CLOCK}, [host(n * 10_000)])
            for vehicle in ("amb-1", "amb-2", VEHICLE)
        ]
        written.put(*groups)
    written.drain()
    assert opened == [["amb-1"] * 4, ["amb-2"] * 4, [VEHICLE] * 4]
    assert len(history.samples(written.store, SITE, VEHICLE, NOON, NOW_MS)) == 4


def test_a_record_that_history_cannot_read_is_set_aside_alone(written: Written) -> None:
    """Also in the middle of a message, and of a batch in which others stand."""
    for n in range(5):
        bad = [Moment(30_000 + n, 0, [["started", "", 5]])] if n == 3 else []
        written.take(host(n * 10_000), *bad, host(n * 10_000 + 5_000))
    runner = written.drain()
    assert runner.progress.counts["errors"] == 1
    assert log.position(written.store, SITE, NAME) == 5
    assert len(history.samples(written.store, SITE, VEHICLE, NOON, NOW_MS)) == 10
    (letter,) = queries.list_dead_letters(written.store.engine, sink=NAME)
    assert (letter.batch, letter.state) == (4, "held")
    assert "['started', '', 5]" in letter.content
    assert "AttributeError" in letter.reason


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", zstandard.compress(b"[2,[],\xff]"), zstandard.compress(b"[" * 20_000 + b"]" * 20_000)],
)
def test_a_batch_whose_content_cannot_be_read_is_set_aside_alone(written: Written, content: bytes) -> None:
    """Damage in the database; tried again, it is as unreadable as before and stops nobody."""
    for n in range(5):
        written.take(host(n * 10_000))
    with written.store.transaction() as connection:
        connection.execute(update(schema.batch).where(schema.batch.c.number == 3).values(content=content))
    runner = written.drain()
    assert log.position(written.store, SITE, NAME) == 5
    assert len(history.samples(written.store, SITE, VEHICLE, NOON, NOW_MS)) == 4
    (letter,) = queries.list_dead_letters(written.store.engine, sink=NAME)
    assert (letter.batch, letter.content, letter.state) == (3, "batch 3", "held")
    with written.store.transaction() as connection:
        queries.retry_letters(connection, "dead_letter", None)
    asyncio.run(runner._send_letters())
    (letter,) = queries.list_dead_letters(written.store.engine, sink=NAME)
    assert letter.state == "held"


def test_a_run_without_clock_lies_between_its_neighbours(written: Written) -> None:
    first, lost, third = RUN, "00000000000000bb", "00000000000000cc"
    written.owner.commit(
        Changes(
            runs=[
                RunRow(VEHICLE, AGENT, first, first_ms=NOON, last_ms=NOON + 60_000),
                RunRow(VEHICLE, AGENT, lost, no_clock=True),
                RunRow(VEHICLE, AGENT, third, first_ms=NOON + 900_000, last_ms=NOON + 960_000),
            ]
        )
    )
    written.take(Moment(0, 0, [["started", "", {"run_before": None}]]), host(60_000))
    written.take(Moment(900_000, 0, [["started", "", {"run_before": lost}]]), run=third)
    written.take(
        Moment(7, None, [["started", "", {"run_before": first}]]), host(30_000, clock=None), host(700_000, clock=None),
        run=lost, lane="backlog",
    )  # fmt: skip
    drain = written.drain()
    assert drain.progress.counts["without_time"] == 3
    found = unplaced(written)
    assert [(run, earliest_ms - NOON, latest_ms - NOON) for run, earliest_ms, latest_ms, _ in found] == [
        (lost, 60_000, 900_000)
    ] * 2
    assert [[record.mono_ms for record in records] for *_, records in found] == [[7, 30_000], [700_000]]
    (hour,) = history.hours(written.store, SITE, VEHICLE, NOON, NOON + HOUR_MS).values()
    assert hour.samples == 1  # none of the run that knew no time
    assert [s.run for s in history.samples(written.store, SITE, VEHICLE, 0, 2**50)] == [first]


def unplaced(written: Written) -> list[tuple[str, int, int, list[Kept]]]:
    """Return (run, earliest, latest, records) of every chunk whose run never knew the time."""
    t = schema.chunk.c
    query = select(t.run, t.earliest_ms, t.latest_ms, t.content).where(t.run > "").order_by(t.slot_ms)
    with written.store.engine.connect() as connection:
        return [
            (row.run, row.earliest_ms, row.latest_ms, list(unfold(decode_groups(row.content))))
            for row in connection.execute(query)
        ]


def test_a_clock_that_runs_ahead_is_not_believed(written: Written) -> None:
    ahead = Clock(0, 0, NOW_MS + 360_000, "rtc", 5)
    written.take(host(0), clock=ahead)
    written.take(host(0), run="00000000000000bb", clock=Clock(0, 0, NOW_MS + 240_000, "ntp", 5))
    assert written.drain().progress.counts["ahead"] == 1
    ((run, _, latest_ms, records),) = unplaced(written)
    assert (run, latest_ms, records[0].clock) == (RUN, NOW_MS, ahead)
    assert [s.run for s in history.samples(written.store, SITE, VEHICLE, 0, 2**50)] == ["00000000000000bb"]


def test_older_than_retention_is_figures_only(written: Written) -> None:
    written.take(host(0), lane="backlog")
    drain = written.drain(now_ms=NOON + 8 * DAY_MS)
    assert drain.progress.counts["figures_only"] == 1
    assert written.rows(schema.chunk) == []
    assert history.hours(written.store, SITE, VEHICLE, NOON, NOW_MS)[NOON].samples == 1


def test_a_gap_in_the_log_is_counted(written: Written) -> None:
    for n in range(5):
        written.take(host(n * 30_000))
        if n == 0:
            written.drain()
    with written.store.transaction() as connection:
        log.trim(connection, SITE, [NAME], oldest_ms=0, most_bytes=200)
    written_rows = [row[1] for row in written.rows(schema.batch)]
    assert 0 < len(written_rows) < 4
    drain = written.drain()
    assert drain.progress.counts["gap_batches"] == written_rows[0] - 2
    assert len(history.samples(written.store, SITE, VEHICLE, NOON, NOW_MS)) == 1 + len(written_rows)


# --- retention --------------------------------------------------------------------------------------------------------


def test_chunks_go_by_age_and_hours_stay(written: Written) -> None:
    written.take(*(host(n * SLOT_MS) for n in range(6)))
    written.drain()
    now_ms = NOON + 7 * DAY_MS + 3 * SLOT_MS
    bounds = Bounds(log_days=1)
    Keeper(written.store, SITE, [NAME], bounds, now_ms=lambda: now_ms).sweep()
    assert [row[3] - NOON for row in written.rows(schema.chunk)] == [n * SLOT_MS for n in (3, 4, 5)]
    assert len(written.rows(schema.hour)) == 1
    assert written.rows(schema.counter) == []
    assert written.rows(schema.batch) == []  # as old as that, and every sink has passed it
    later_ms = NOON + 801 * DAY_MS
    Keeper(written.store, SITE, [NAME], Bounds(), now_ms=lambda: later_ms).sweep()
    assert written.rows(schema.hour) == written.rows(schema.chunk) == []


def test_chunks_go_by_bytes_the_oldest_first_and_that_is_counted(written: Written) -> None:
    written.take(*(host(n * SLOT_MS) for n in range(6)))
    written.drain()
    size = [len(row[8]) for row in written.rows(schema.chunk)]
    bounds = Bounds(history_bytes=sum(size[-2:]))
    Keeper(written.store, SITE, [NAME], bounds, now_ms=lambda: NOW_MS).sweep()
    assert [row[3] - NOON for row in written.rows(schema.chunk)] == [4 * SLOT_MS, 5 * SLOT_MS]
    assert written.rows(schema.counter) == [(SITE, "history_given_up", 4)]
    assert history.extent(written.store, SITE).bytes <= bounds.history_bytes


def test_the_log_waits_for_a_drain_up_to_its_bound(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCHES_A_DELETE", 2)
    for n in range(9):
        written.take(host(n * 30_000), received_ms=NOON + n * DAY_MS)
    written.drain()
    with written.store.transaction() as connection:
        log.advance(connection, SITE, "influxdb", 1)
    keeper = Keeper(written.store, SITE, [NAME, "influxdb"], Bounds(), now_ms=lambda: NOON + 8 * DAY_MS)
    keeper.sweep()  # batch 1 was passed; none is older than 7 days
    assert [row[1] for row in written.rows(schema.batch)] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert written.rows(schema.counter) == []
    Keeper(written.store, SITE, [NAME, "influxdb"], Bounds(log_days=3), now_ms=lambda: NOON + 8 * DAY_MS).sweep()
    assert [row[1] for row in written.rows(schema.batch)] == [6, 7, 8, 9]
    assert written.rows(schema.counter) == [(SITE, "log_given_up", 4)]


def test_the_keeper_looks_again_and_again(written: Written) -> None:
    async def run() -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(Keeper(written.store, SITE, [NAME], Bounds(), every_s=0.05).run(stop))
        for _ in range(2):
            await asyncio.to_thread(written.take, host(0))
            with written.store.transaction() as connection:
                log.advance(connection, SITE, NAME, written.owner.last_batch)
            async with asyncio.timeout(60):
                while await asyncio.to_thread(written.rows, schema.batch):  # noqa: ASYNC110 - a table tells nobody
                    await asyncio.sleep(0.02)
        stop.set()
        await asyncio.wait_for(task, 60)

    asyncio.run(run())


TO = (("desk", "webhook"),)


def test_old_notifications_go_and_one_that_was_never_sent_is_counted(written: Written) -> None:
    old, young = NOW_MS - 91 * DAY_MS, NOW_MS - 89 * DAY_MS
    rows = [
        NotificationRow("a", "t", "{}", old, TO),
        NotificationRow("b", "t", "{}", old, TO),
        NotificationRow("c", "t", "{}", young, TO),
    ]
    written.owner.commit(Changes(notifications=rows))
    with written.store.transaction() as connection:
        connection.execute(update(schema.delivery).where(schema.delivery.c.notification == "a").values(state="sent"))
    Keeper(written.store, SITE, [], Bounds(), now_ms=lambda: NOW_MS).sweep()
    assert [row[2] for row in written.rows(schema.notification)] == ["c"]
    assert written.rows(schema.counter) == [(SITE, "notifications_given_up", 1)]


# --- migration --------------------------------------------------------------------------------------------------------


def test_a_database_with_data_of_version_0001_is_migrated(database_url: str) -> None:
    """Everything that was there is there, and what was in the log becomes history."""
    store = Store.open(database_url)
    assert store.migrate("0001") == ""
    with store.transaction() as connection:  # what the version before wrote
        for name, row in rows_of_0001().items():
            connection.execute(insert(table(name, *(column(key) for key in row))), row)
    kept = rows_of_0001().keys() - {"notice", "ticket_history"}  # of tickets: test_upgrade.py
    before = {name: _plain(store, name) for name in kept}
    assert store.migrate() == "0001"
    assert store.revision() == migrations.head()
    for name, rows in before.items():  # later versions have more columns
        assert [row[: len(rows[0])] for row in _plain(store, name)] == rows, name
    assert _plain(store, "notification") == [(1, SITE, "n-1", "t", "{}", 1)]
    assert [row[:8] for row in _plain(store, "delivery")] == [
        (SITE, "n-1", "webhook", "webhook", "waiting", 0, 1, "")  # and what later versions added
    ]
    store.close()
    it = Written(database_url)
    try:
        it.owner.load()
        drain = it.drain()
        assert drain.progress.position == 1
        assert len(history.samples(it.store, SITE, VEHICLE, NOON, NOW_MS)) == 1
        it.owner.commit(Changes(notifications=[NotificationRow("n", "t", "{}", 1)]))
    finally:
        it.close()


def rows_of_0001() -> dict[str, dict[str, Any]]:
    group = batch.Group(VEHICLE, AGENT, RUN, "live", [(0, 0)], {0: CLOCK}, [host(0)])
    ids = {"site": SITE, "vehicle": VEHICLE, "agent": AGENT}
    return {
        "site": {"site": SITE, "epoch": 3, "owner": "x", "heartbeat_ms": 1, "last_batch": 1, "state": None},
        "vehicle": {"site": SITE, "vehicle": VEHICLE, "state": b'{"format":1}'},
        "batch": {
            "site": SITE, "number": 1, "received_ms": NOW_MS, "now_ms": NOW_MS, "records": 1,
            "content": batch.encode([group]),
        },
        "run": {**ids, "run": RUN, "boot": "b", "seen": "[[0,0]]", "lost": "[]", "gone_clock": False, "first_ms": NOON,
                "last_ms": NOON, "heard_ms": NOW_MS},
        "schema": {**ids, "id": HOST.id(), "content": msgspec.json.encode(HOST).decode()},
        "clock": {**ids, "run": RUN, "number": 0, "mono_ms": 0, "wall_ms": NOON, "source": "ntp", "uncertainty_ms": 5},
        "cursor": {"site": SITE, "drain": "influxdb", "number": 1},
        "notice": {"site": SITE, "id": "n-1", "ticket": "t", "body": "{}", "created_ms": 1, "next_ms": 1},
        "counter": {"site": SITE, "name": "duplicates", "value": 4},
        "dead_letter": {"site": SITE, "drain": "influxdb", "batch": 1, "content": "x", "reason": "no", "at_ms": 1},
        "ticket_history": {"site": SITE, "ticket": "t", "at_ms": 1, "who": "rule", "what": "opened", "text": "无画面"},
    }  # fmt: skip


def _plain(store: Store, table: str) -> list[tuple[Any, ...]]:
    with store.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(f"SELECT * FROM {table}"))]
