"""What a commit costs: one message from each of 20, 100 and 500 agents, against a bare insert of the same bytes.

A message is one moment of one agent (40 values). Its commit writes the batch, already compressed, what has been seen of
each run and, in the rows that say so, the state of each vehicle. Figures are µs of CPU a message, median of rounds;
for PostgreSQL the client's and the backend's added.
"""

from __future__ import annotations

import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from bench.row import Row, row
from collector.store.batch import Group
from collector.store.commit import SiteConnection
from collector.store.rows import BatchRow, Changes, RunRow
from collector.store.store import Store, sqlite_pragmas
from telemetry.intervals import Intervals
from telemetry.message import Moment
from telemetry.records import Clock
from tests.services import postgres

SIZES = (20, 100, 500)
MESSAGES = 10_000
WARM = 8
CLOCK = Clock(0, 1_000, 1_700_000_000_000, "ntp", 20)


def rows() -> list[Row]:
    """Return one row a database and size: what, ours and theirs in µs a message, and their ratio."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        found += _measure("SQLite", f"sqlite:///{folder}/kitwatch.sqlite", _bare_sqlite)
    with postgres.start(durable=True) as server, server.database() as url:
        found += _measure("PostgreSQL", url, _bare_postgres)
    return found


def _measure(name: str, url: str, bare: Any) -> Iterator[Row]:
    store = Store.open(url)
    store.migrate()
    site = SiteConnection.acquire(store, "north", "bench")
    assert site is not None
    backend = site._connection.info.backend_pid if store.path is None else None  # type: ignore[attr-defined]
    with bare(store) as (insert, bare_backend):
        for size in SIZES:
            for state_bytes in (0, 1500):
                traffic = _Traffic(size, state_bytes)
                count = WARM + MESSAGES // size
                commits = [traffic.changes(site.last_batch + 1 + n) for n in range(count)]
                ours = _cost(site.commit, commits, size, backend)
                theirs = _cost(insert, [traffic.plain()] * count, size, bare_backend)
                states = f", vehicle states of {state_bytes} B" if state_bytes else ""
                what = f"commit, {name}, {size} messages{states}, µs of CPU a message"
                yield row(what, ours, "a bare insert of the same bytes", theirs)
    site.close()
    store.close()


class _Traffic:
    """Messages of ``size`` agents, each of a vehicle of its own, moment after moment."""

    def __init__(self, size: int, state_bytes: int) -> None:
        chance = random.Random(size)
        self.names = [(f"vehicle-{n}", "router", f"{n:016x}") for n in range(size)]
        self.values = [[chance.choice([-90, 0, None, True, 12.5, "B3"]) for _ in range(40)] for _ in range(size)]
        self.states = [
            msgspec.json.encode({f"rule-{k}": {"since": chance.randrange(10**13)} for k in range(state_bytes // 36)})
            for _ in range(size if state_bytes else 0)
        ]
        self.moment = 0

    def changes(self, number: int) -> Changes:
        """Return the next commit."""
        self.moment += 1
        at = self.moment
        groups = [
            Group(*name, "live", [(at, at)], {0: CLOCK}, [Moment(at * 10_000, 0, [["abcdef", values]])])
            for name, values in zip(self.names, self.values, strict=True)
        ]
        return Changes(
            batch=BatchRow(number, at, at, len(groups), groups),
            runs=[RunRow(*name, "boot", Intervals([(0, at)]), heard_ms=at) for name in self.names],
            vehicles={name[0]: state for name, state in zip(self.names, self.states, strict=False)},
        )

    def plain(self) -> bytes:
        """Return the bytes of one commit as one piece: batch, 60 B a run, vehicle states."""
        batch = self.changes(1).batch
        assert batch is not None
        return batch.content + b"x" * 60 * len(self.names) + b"".join(self.states)


def _cost(work: Callable[[Any], object], items: list[Any], size: int, backend: int | None) -> float:
    """Return µs of CPU a message, the backend's included; the first items only warm up (statements get prepared)."""
    for item in items[:WARM]:
        work(item)
    server = _backend_us(backend)
    client = []
    for item in items[WARM:]:
        begun = time.thread_time()
        work(item)
        client.append((time.thread_time() - begun) * 1e6 / size)
    return statistics.median(client) + (_backend_us(backend) - server) / (len(client) * size)


def _backend_us(pid: int | None) -> float:
    """Return the CPU time of a process in µs (proc(5): utime and stime in ticks of 10 ms)."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 10_000.0


@contextmanager
def _bare_sqlite(store: Store) -> Iterator[tuple[Callable[[bytes], object], None]]:
    connection = sqlite3.connect(f"{store.path}.bare", isolation_level=None)
    sqlite_pragmas(connection)
    connection.execute("CREATE TABLE bare (content BLOB)")
    yield lambda content: connection.execute("INSERT INTO bare VALUES (?)", (content,)), None
    connection.close()


@contextmanager
def _bare_postgres(store: Store) -> Iterator[tuple[Callable[[bytes], object], int]]:
    with psycopg.connect(store.conninfo, autocommit=True) as connection:
        connection.execute("CREATE TABLE bare (content bytea)")
        connection.execute("ALTER TABLE bare ALTER COLUMN content SET STORAGE EXTERNAL")
        yield (
            lambda content: connection.execute("INSERT INTO bare VALUES (%b)", (content,), prepare=True),
            connection.info.backend_pid,
        )
