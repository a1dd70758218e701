"""The outbox against SQLite (WAL, synchronous FULL), in one run on one disk: CPU a record, as a ratio."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.outbox.outbox import Outbox
from bench.row import Row, row, table
from telemetry.intervals import Intervals
from telemetry.metrics import Value

RUN = "0123456789abcdef"
VALUES: list[Value | None] = [-90.5, -11, 4.5, "B3", "n78", 20, 100, True, None, 123456789]


class _Row(msgspec.Struct, array_like=True):
    sequence: int
    mono_ms: int
    schema: str
    values: list[Value | None]


def _cpu(action: Callable[[], int]) -> float:
    """Return µs of CPU a record."""
    begin = time.process_time()
    count = action()
    return (time.process_time() - begin) * 1e6 / count


def _append(outbox: Outbox, records: int, batch: int) -> int:
    for number in range(records):
        outbox.append(number * 1333, "aB_-9z", VALUES)
        if number % batch == batch - 1:
            outbox.sync()
    return records


def _insert(connection: sqlite3.Connection, records: int, batch: int) -> int:
    for number in range(records):
        row = msgspec.json.encode([number, number * 1333, "aB_-9z", VALUES])
        connection.execute("insert into record values (?, ?)", (number, row))
        if number % batch == batch - 1:
            connection.commit()
    return records


def _drain(outbox: Outbox) -> int:
    count = 0
    while part := outbox.read(RUN, 0, 200):
        outbox.release(RUN, Intervals([(part[0].sequence, part[-1].sequence)]))
        count += len(part)
    return count


def _select(connection: sqlite3.Connection) -> int:
    count = 0
    while part := connection.execute("select number, body from record order by number limit 200").fetchall():
        count += len([msgspec.json.decode(body, type=_Row) for _, body in part])
        connection.execute("delete from record where number <= ?", (part[-1][0],))
        connection.commit()
    return count


def rows() -> list[Row]:
    """Return one row a measurement, in µs of CPU a record."""
    return _measure(batch=1, records=3000) + _measure(batch=100, records=100_000)


def _measure(batch: int, records: int) -> list[Row]:
    directory = Path(tempfile.mkdtemp())
    outbox = Outbox.open(directory / "outbox", 64 * 1024 * 1024, RUN, "boot")
    connection = sqlite3.connect(directory / "queue.db")
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=full")
    connection.execute("create table record (number integer primary key, body blob)")
    try:
        ours = _cpu(lambda: _append(outbox, records, batch))
        theirs = _cpu(lambda: _insert(connection, records, batch))
        result = [_row(f"outbox: append, {batch} a commit", ours, theirs)]
        if batch > 1:
            ours, theirs = _cpu(lambda: _drain(outbox)), _cpu(lambda: _select(connection))
            result.append(_row("outbox: drain and release, 200 a message", ours, theirs))
        return result
    finally:
        outbox.close()
        connection.close()
        shutil.rmtree(directory)


def _row(what: str, ours: float, theirs: float) -> Row:
    return row(f"{what}, µs of CPU a record", ours, "SQLite WAL FULL", theirs)


if __name__ == "__main__":
    print(table(rows()))
