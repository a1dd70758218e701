"""What InfluxDB costs the collector at the rate of a large site: 200 vehicles, 20 messages a second.

The same collector with InfluxDB and without it, one after the other, at the same rate: what is paid for is every look
at the log, every write and every move of the cursor. CPU of the collector's process with all its threads; the server's
is not in it.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

import yaml

from bench import fleet_traffic as traffic
from bench.row import Row, row
from tests.services.influxdb import Influx, influxdb
from tests.services.mosquitto import mosquitto

VEHICLES: Final = 200
WARM: Final = 2
MOMENTS: Final = 3
RATE: Final = 20.0
RUNS: Final = 3


def rows() -> list[Row]:
    """Return the row."""
    on, off, writes = [], [], []
    for _ in range(RUNS):
        off.append(_run(None)[0])
        with tempfile.TemporaryDirectory(prefix="kitwatch-bench-") as name, influxdb(Path(name)) as influx:
            cost, seen = _run(influx)
            on.append(cost)
            writes.append(seen)
    alone, asked = sorted(on)[RUNS // 2] - sorted(off)[RUNS // 2], sorted(writes)[RUNS // 2]
    note = f"InfluxDB alone: {alone:.2f} ms a message; {asked} writes for {VEHICLES * MOMENTS} messages"
    what = f"collector at {RATE:g} messages of {traffic.READINGS} readings a second with InfluxDB, CPU ms a message"
    return [row(what, on, "without InfluxDB", off, note=note)]


def _run(influx: Influx | None) -> tuple[float, int]:
    """Return CPU milliseconds a message, and how many writes InfluxDB saw."""
    with tempfile.TemporaryDirectory(prefix="kitwatch-bench-") as name, mosquitto(Path(name)) as broker:
        directory = Path(name)
        file = directory / "kitwatch.sqlite"
        config = traffic.write_files(directory, broker.port, f"sqlite:///{file}", VEHICLES)
        if influx is not None:
            add_influxdb(config, influx)

        def state() -> tuple[int, int, int]:
            """Return records taken, the last batch, and the last batch that InfluxDB has."""
            with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
                taken = connection.execute("SELECT coalesce(sum(records), 0) FROM batch").fetchone()[0]
                last = connection.execute("SELECT coalesce(max(last_batch), 0) FROM site").fetchone()[0]
                cursors = {sink: number for _, sink, number in connection.execute("SELECT * FROM cursor")}
            return taken, last, cursors.get("influxdb", 0)

        def all_of(moments: int) -> Callable[[], bool]:
            def holds() -> bool:
                taken, last, written = state()
                return taken == records * moments and (influx is None or written == last)

            return holds

        records = len(traffic.FORTY) * VEHICLES
        with (
            traffic.collector(directory, config) as collector,
            traffic.publisher(broker.port, VEHICLES, WARM, MOMENTS, rate=RATE) as publisher,
        ):
            publisher.wait("warm")
            _until(all_of(WARM), directory)
            time.sleep(2.0)
            begun, asked = traffic.cpu_seconds(collector), _writes(influx)
            publisher.go()
            publisher.wait("sent")
            _until(all_of(WARM + MOMENTS), directory)
            spent = traffic.cpu_seconds(collector) - begun
            return spent * 1000 / (VEHICLES * MOMENTS), _writes(influx) - asked


def add_influxdb(config: Path, influx: Influx) -> None:
    """Let a collector's configuration write to a server."""
    token = config.parent / "token"
    token.write_text(influx.token)
    token.chmod(0o600)
    settings = yaml.safe_load(config.read_text())
    settings["influxdb"] = {"url": influx.url, "token_file": "token", "org": influx.org, "bucket": influx.bucket}
    config.write_text(yaml.safe_dump(settings))


def _writes(influx: Influx | None) -> int:
    if influx is None:
        return 0
    with urllib.request.urlopen(f"http://127.0.0.1:{influx.influxd.port}/debug/vars", timeout=10) as answer:
        found = json.load(answer)
    return sum(int(one["values"]["writeReq"]) for key, one in found.items() if key.startswith("httpd"))


def _until(what: Callable[[], bool], directory: Path) -> None:
    end = time.monotonic() + 60
    while not what():
        if time.monotonic() > end:
            raise TimeoutError((directory / "collector.log").read_text(errors="replace")[-2000:])
        time.sleep(0.1)
