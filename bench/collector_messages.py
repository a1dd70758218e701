"""What a message costs the collector with all parts on, against its MQTT client acknowledging and nothing else.

Mosquitto, four publishing connections in a process of their own, the collector as the command starts it: validation,
shipped rules, one transaction a batch, acknowledgement, receipts, pages. CPU of the collector's process with all its
threads; PostgreSQL's own processes are told in the note.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psutil
import psycopg

from bench import fleet_traffic as traffic
from bench.row import Row, row
from collector.main import GC_THRESHOLDS
from collector.site.owner import RECEIVE_MAXIMUM
from telemetry.fleet import Broker
from telemetry.mqtt import Connection, Message
from telemetry.topics import site_filter
from tests.services import postgres
from tests.services.mosquitto import mosquitto

VEHICLES: Final = 200
WARM: Final = 10
"""Moments of each vehicle before it counts: schemas are compiled, statements prepared."""
MOMENTS: Final = 50
RUNS: Final = 3
LIVE_RATE: Final = 500.0
LIVE_MOMENTS: Final = 15


def rows() -> list[Row]:
    """Return the rows for SQLite and PostgreSQL, flat out, and for SQLite at a steady 500 messages a second."""
    plain: list[float] = []
    on_sqlite: list[float] = []
    on_postgres: list[float] = []
    servers: list[float] = []
    live: list[float] = []
    live_plain: list[float] = []
    with postgres.start(durable=True) as server:
        for number in range(RUNS):
            plain.append(_acknowledging(MOMENTS, 0))
            on_sqlite.append(_on_sqlite(MOMENTS, 0))
            with server.database() as url:
                own, backend = _on_postgres(url, server.process.pid if server.process else 0)
            on_postgres.append(own)
            servers.append(backend)
            if number < 2:
                live_plain.append(_acknowledging(LIVE_MOMENTS, LIVE_RATE))
                live.append(_on_sqlite(LIVE_MOMENTS, LIVE_RATE))
    against = "the same MQTT client, acknowledging only"
    unit = f"messages of {traffic.READINGS} readings a CPU second"
    costs = f"µs a message: {1e6 / _middle(on_sqlite):.0f}, client alone {1e6 / _middle(plain):.0f}"
    backend_note = f"PostgreSQL's own processes on top: {_middle(servers):.0f} µs a message"
    return [
        row(f"collector on SQLite, {unit}", on_sqlite, against, plain, target="ratio >= 0.5", note=costs),
        row(f"collector on PostgreSQL, {unit}", on_postgres, against, plain, target="ratio >= 0.5", note=backend_note),
        row(f"collector on SQLite at {LIVE_RATE:g}/s, {unit}", live, against, live_plain),
    ]


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


# --- ours -------------------------------------------------------------------------------------------------------------


def _on_sqlite(moments: int, rate: float) -> float:
    with tempfile.TemporaryDirectory(prefix="kitwatch-bench-") as name:
        file = Path(name) / "kitwatch.sqlite"

        def taken() -> int:
            with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
                return int(connection.execute("SELECT coalesce(sum(records), 0) FROM batch").fetchone()[0])

        return _collect(Path(name), f"sqlite:///{file}", taken, moments, rate)[0]


def _on_postgres(url: str, server: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="kitwatch-bench-") as name, psycopg.connect(url, autocommit=True) as asking:

        def taken() -> int:
            found = asking.execute("SELECT coalesce(sum(records), 0) FROM batch").fetchone()
            return int(found[0]) if found else 0

        return _collect(Path(name), url, taken, MOMENTS, 0, server)


def _collect(
    directory: Path, database: str, taken: Callable[[], int], moments: int, rate: float, server: int = 0
) -> tuple[float, float]:
    """Return messages a CPU second of the collector, and µs a message of the database's own processes."""
    records = len(traffic.FORTY) * VEHICLES
    with mosquitto(directory) as broker:
        config = traffic.write_files(directory, broker.port, database, VEHICLES)
        with (
            traffic.collector(directory, config) as collector,
            traffic.publisher(broker.port, VEHICLES, WARM, moments, rate=rate) as publisher,
        ):
            publisher.wait("warm")
            _until(lambda: taken() == records * WARM, 60, directory)
            time.sleep(0.5)
            begun = traffic.cpu_seconds(collector)
            server_begun = _children_seconds(server)
            publisher.go()
            publisher.wait("sent")
            _until(lambda: taken() == records * (WARM + moments), 60, directory)
            spent = traffic.cpu_seconds(collector) - begun
            count = VEHICLES * moments
            return count / spent, (_children_seconds(server) - server_begun) * 1e6 / count


def _until(what: Callable[[], bool], seconds: float, directory: Path) -> None:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            log = (directory / "collector.log").read_text(errors="replace")[-2000:]
            raise TimeoutError(f"the collector has not taken everything within {seconds:g} s: {log}")
        time.sleep(0.1)


def _children_seconds(pid: int) -> float:
    if not pid:
        return 0.0
    found = 0.0
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += traffic.cpu_seconds(child)
    return found


# --- theirs -----------------------------------------------------------------------------------------------------------


def _acknowledging(moments: int, rate: float) -> float:
    """Return messages a CPU second of a process that does nothing but acknowledge them."""
    with tempfile.TemporaryDirectory(prefix="kitwatch-bench-") as name, mosquitto(Path(name)) as broker:
        warm, count = VEHICLES * (2 + WARM), VEHICLES * moments
        command = [sys.executable, "-m", "bench.collector_messages", str(broker.port), str(warm), str(warm + count)]
        with (
            traffic.process(Path(name), "client", command) as client,
            _logged(Path(name) / "client.log") as said,
            traffic.publisher(broker.port, VEHICLES, WARM, moments, rate=rate, wait_for_owner=False) as publisher,
        ):
            publisher.wait("warm")
            said("warm")
            time.sleep(0.5)
            begun = traffic.cpu_seconds(client)
            publisher.go()
            publisher.wait("sent")
            said("all")
            return count / (traffic.cpu_seconds(client) - begun)


@contextlib.contextmanager
def _logged(log: Path) -> Iterator[Callable[[str], None]]:
    """Yield what waits for a word in a log, after the word ``there``."""

    def wait(word: str) -> None:
        end = time.monotonic() + 60
        while word not in log.read_text().split():
            if time.monotonic() > end:
                raise TimeoutError(f"no {word!r} in {log.read_text()[-500:]!r}")
            time.sleep(0.05)

    wait("there")
    yield wait


async def _acknowledge(port: int, warm: int, total: int) -> None:
    """Acknowledge ``total`` messages; say when it is there, after ``warm`` of them and after all."""
    seen = 0
    finished = asyncio.Event()

    def on_message(message: Message) -> None:
        nonlocal seen
        connection.ack(message)
        seen += 1
        if seen == warm:
            print("warm", flush=True)
        elif seen == total:
            print("all", flush=True)

    connection = Connection(
        Broker(host="127.0.0.1", port=port),
        f"collector-{traffic.SITE}",
        on_message=on_message,
        receive_maximum=RECEIVE_MAXIMUM,
        manual_ack=True,
    )
    async with connection:
        await connection.subscribe(site_filter(traffic.SITE))
        print("there", flush=True)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        await finished.wait()


if __name__ == "__main__":
    asyncio.run(_acknowledge(*(int(number) for number in sys.argv[1:4])))
