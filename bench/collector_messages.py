"""What a message costs the collector with all parts on, against paho acknowledging flat out and doing nothing else.

Mosquitto, InfluxDB 1.6, four publishing connections in a process of their own, the collector as the command starts it:
validation, shipped rules, one transaction a batch, acknowledgement, receipts, lines to InfluxDB, pages. CPU of the
collector's process with all its threads, and the bytes that it lets the kernel write. The compactor looks at the log
every five minutes, and the run is over by then: it is run over the same database afterwards, as the product runs it,
and its CPU added. PostgreSQL's own processes are told in the note.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import psutil
import psycopg

from bench import fleet_traffic as traffic
from bench.influxdb_sink import add_influxdb
from bench.row import Row, row
from collector.garbage import collect_seldom
from collector.sinks.history import Compactor
from collector.sinks.runner import SinkRunner
from collector.site.owner import RECEIVE_MAXIMUM
from collector.store.store import Store
from telemetry.fleet import Broker, load_fleet
from telemetry.mqtt import Message
from telemetry.paho_mqtt import Connection
from telemetry.topics import site_filter
from tests.services import postgres
from tests.services.influxdb import Influx, influxdb
from tests.services.mosquitto import mosquitto

VEHICLES: Final = 200
WARM: Final = 10
"""Moments of each vehicle before it counts: schemas are compiled, statements prepared."""
MOMENTS: Final = 50
MOMENTS_OF_WRITING: Final = 36
"""Six minutes at 20 a second: the compactor has looked in the collector once, and what is left is looked at here. After
just five minutes all was left for here, with a checkpoint of its own that the product does not make."""
RUNS: Final = 3
RATES: Final = ((20.0, 3, 18), (500.0, 15, 6), (0.0, MOMENTS, 3))
"""Messages a second (0: flat out), moments of each vehicle, and how many times paho's cost at most."""
DAY_S: Final = 86_400
MOST_WRITTEN_GB: Final = 3


def rows() -> list[Row]:
    """Return a row a rate on SQLite, one of bytes written at the rate of 200 vehicles, and one on PostgreSQL."""
    plain = [1e6 / _acknowledging(MOMENTS, 0) for _ in range(RUNS)]
    against = "paho alone, acknowledging flat out"
    found: list[Row] = []
    for rate, moments, most in RATES:
        costs = [_on_sqlite(moments, rate) for _ in range(RUNS)]
        at = f"at {rate:g} a second" if rate else "flat out"
        what = f"collector {at}, InfluxDB, history and all rules on, CPU µs a message of {traffic.READINGS} readings"
        total = [one.collector_us + one.compactor_us for one in costs]
        note = f"of it the compactor {statistics.median(one.compactor_us for one in costs):.0f}"
        found.append(row(what, total, against, plain, target=f"ratio <= {most}", note=note))
        if rate == RATES[0][0]:
            one = _on_sqlite(MOMENTS_OF_WRITING, rate)
            written, log = (share * rate * DAY_S / 1e9 for share in (one.written, one.log))
            what = f"collector {at}, GB written a day, history's chunks included"
            found.append(row(what, written, "the log alone", log, target=f"ours <= {MOST_WRITTEN_GB}"))
    with postgres.start(durable=True) as server, server.database() as url:
        own, backend = _on_postgres(url, server.process.pid if server.process else 0)
    note = f"PostgreSQL's own processes on top: {backend:.0f} µs a message"
    what = "collector flat out on PostgreSQL, without InfluxDB and compactor, CPU µs a message"
    return [*found, row(what, own, against, plain[0], note=note)]


class Cost(NamedTuple):
    """Of one message: µs of CPU, bytes that were written, and how many of these the log holds."""

    collector_us: float
    compactor_us: float
    written: float
    log: float


# --- ours -------------------------------------------------------------------------------------------------------------


def _on_sqlite(moments: int, rate: float) -> Cost:
    with (
        tempfile.TemporaryDirectory(prefix="kitwatch-bench-") as name,
        tempfile.TemporaryDirectory(prefix="kitwatch-bench-") as other,
        influxdb(Path(other)) as influx,
    ):
        file = Path(name) / "kitwatch.sqlite"

        def taken() -> int:
            """Return the records taken, 0 while InfluxDB does not have them all."""
            with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
                records = connection.execute("SELECT coalesce(sum(records), 0) FROM batch").fetchone()[0]
                behind = connection.execute(
                    "SELECT count(*) FROM batch WHERE number > (SELECT number FROM cursor WHERE sink = 'influxdb')"
                ).fetchone()[0]
            return 0 if behind else int(records)

        def checkpoint() -> int:
            """Put SQLite's log into the file, and return the bytes that this has written."""
            before = _written(os.getpid())
            with contextlib.closing(sqlite3.connect(file)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return _written(os.getpid()) - before

        url = f"sqlite:///{file}"
        spent_us, _, written = _collect(Path(name), url, taken, moments, rate, influx=influx, checkpoint=checkpoint)
        messages = VEHICLES * (WARM + moments)
        store = Store.open(f"sqlite:///{file}")
        plan = load_fleet(Path(name) / "fleet.yaml").sites[traffic.SITE]
        runner = SinkRunner(store, traffic.SITE, Compactor(store, traffic.SITE, plan))
        with _garbage_as_in_the_product():
            begun, before = time.process_time(), _written(os.getpid())
            asyncio.run(runner.catch_up())
            compacted_us = (time.process_time() - begun) * 1e6 / messages
        chunks = (_written(os.getpid()) - before) / messages
        store.close()
        with contextlib.closing(sqlite3.connect(file)) as connection:
            log = connection.execute("SELECT sum(length(content)) FROM batch").fetchone()[0] / messages
        return Cost(spent_us, compacted_us, written + chunks, log)


def _on_postgres(url: str, server: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="kitwatch-bench-") as name, psycopg.connect(url, autocommit=True) as asking:

        def taken() -> int:
            found = asking.execute("SELECT coalesce(sum(records), 0) FROM batch").fetchone()
            return int(found[0]) if found else 0

        return _collect(Path(name), url, taken, MOMENTS, 0, server)[:2]


def _collect(
    directory: Path,
    database: str,
    taken: Callable[[], int],
    moments: int,
    rate: float,
    server: int = 0,
    influx: Influx | None = None,
    checkpoint: Callable[[], int] = lambda: 0,
) -> tuple[float, float, float]:
    """Return µs of the collector a message, µs of the database's own processes, and bytes written.

    What is still to be put into the database's file is put there before and after, and counts.
    """
    records = len(traffic.FORTY) * VEHICLES
    with mosquitto(directory) as broker:
        config = traffic.write_files(directory, broker.port, database, VEHICLES)
        if influx is not None:
            add_influxdb(config, influx)
        with (
            traffic.collector(directory, config) as collector,
            traffic.publisher(broker.port, VEHICLES, WARM, moments, rate=rate) as publisher,
        ):
            publisher.wait("warm")
            _until(lambda: taken() == records * WARM, 60, directory)
            time.sleep(2.0)
            checkpoint()
            begun, before = traffic.cpu_seconds(collector), _written(collector.pid)
            server_begun = _children_seconds(server)
            publisher.go()
            publisher.wait("sent")
            _until(lambda: taken() == records * (WARM + moments), 60, directory)
            spent, count = traffic.cpu_seconds(collector) - begun, VEHICLES * moments
            backend = (_children_seconds(server) - server_begun) * 1e6 / count
            written = _written(collector.pid) - before + checkpoint()
            return spent * 1e6 / count, backend, written / count


@contextlib.contextmanager
def _garbage_as_in_the_product() -> Iterator[None]:
    """Let Python collect garbage as rarely as in the collector, while the block lasts."""
    before = gc.get_threshold()
    collect_seldom()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _written(pid: int) -> int:
    """Return the bytes that a process has let the kernel write to disks (proc(5), ``io``)."""
    return next(
        int(line.split()[1])
        for line in Path(f"/proc/{pid}/io").read_text().splitlines()
        if line.startswith("write_bytes")
    )


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
        collect_seldom()
        await finished.wait()


if __name__ == "__main__":
    asyncio.run(_acknowledge(*(int(number) for number in sys.argv[1:4])))
