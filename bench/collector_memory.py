"""Resident memory of the collector with a large site: 200 vehicles, all parts on, started with its unit's environment.

Mosquitto, InfluxDB 1.6, four publishing connections in a process of their own. Each vehicle introduces itself and sends
a message each ten seconds, until the compactor has looked at the log once (every five minutes): it holds what it looks
at, and the allocator keeps most of that. The figures are the most bytes resident in the ten seconds after, and what it
was in the second minute. Of the second start over the same files: the first one compiles the modules.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import psutil

from bench import fleet_traffic as traffic
from bench.influxdb_sink import add_influxdb
from bench.row import Row, row
from collector.store.store import Store
from tests.services.influxdb import influxdb
from tests.services.mosquitto import mosquitto

UNIT: Final = Path(__file__).parents[1] / "systemd" / "kitwatch-collector.service"
VEHICLES: Final = 200
MOMENTS: Final = 34
"""So many at ten seconds each: the compactor has looked."""
EARLY_S: Final = 60
RATE: Final = 20.0
MOST_MB: Final = 80
_BARE: Final = """
import time
from kitwatch.collector import LATER
from telemetry.import_later import import_later
for name in LATER:
    import_later(name)
import collector.main
print("there", flush=True)
time.sleep(60)
"""


def rows() -> list[Row]:
    """Return the row."""
    with tempfile.TemporaryDirectory(prefix="kitwatch-bench-") as name:
        early, late = _collector(Path(name))
        bare = _bare(Path(name))
    what = f"collector with {VEHICLES} vehicles, all parts on, resident MB"
    note = f"before the compactor's first look {early / 1e6:.0f}"
    return [
        row(what, late / 1e6, "an interpreter with its modules", bare / 1e6, target=f"ours <= {MOST_MB}", note=note)
    ]


def _collector(directory: Path) -> tuple[int, int]:
    environment = traffic.as_shipped(UNIT, directory)
    database = f"sqlite:///{directory / 'kitwatch.sqlite'}"
    Store.open(database).migrate()
    with mosquitto(directory) as broker, influxdb(directory / "influxdb") as influx:
        config = traffic.write_files(directory, broker.port, database, VEHICLES)
        add_influxdb(config, influx)
        with traffic.collector(directory, config, environment):
            time.sleep(5)  # it compiles its modules
        with (
            traffic.collector(directory, config, environment) as collector,
            traffic.publisher(broker.port, VEHICLES, 1, MOMENTS, rate=RATE) as publisher,
        ):
            publisher.wait("warm")
            publisher.go()
            time.sleep(EARLY_S)
            early = _most(collector)
            publisher.wait("sent")
            return early, _most(collector)


def _most(process: psutil.Process) -> int:
    """Return the most bytes resident in ten seconds."""
    most = 0
    for _ in range(20):
        most = max(most, int(process.memory_info().rss))
        time.sleep(0.5)
    return most


def _bare(directory: Path) -> int:
    """Return the resident bytes of an interpreter that has loaded what the collector loads, and does nothing."""
    command = [sys.executable, "-c", _BARE]
    with traffic.process(directory, "bare", command, traffic.as_shipped(UNIT, directory)) as bare:
        while "there" not in (directory / "bare.log").read_text():
            time.sleep(0.1)
        return int(bare.memory_info().rss)
