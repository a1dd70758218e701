"""What keeps the collector small: SQLite's log is put away seldom, connections keep few pages, holes are given back."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.store.commit import SiteConnection
from collector.store.rows import Changes
from collector.store.store import Store
from tests.integration.test_collector import write
from tests.services.mosquitto import mosquitto
from tests.services.process import Server

MIB = 1_048_576


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kitwatch.db"
    store = Store.open(f"sqlite:///{path}")
    store.migrate()
    store.close()
    return path


def test_sqlite_puts_its_log_into_the_file_once_in_sixteen_megabytes(file: Path) -> None:
    """Each time costs as much as is due in it, and what is written over and over is due in it once."""
    store = Store.open(f"sqlite:///{file}")
    site = SiteConnection.acquire(store, "north", "test")
    assert site is not None
    site.commit(Changes(vehicles={"v": b"first"}))
    before, log = file.read_bytes(), file.with_name(f"{file.name}-wal")
    with site:
        while log.stat().st_size < 14 * MIB:
            site.commit(Changes(vehicles={"v": os.urandom(100_000)}))
        assert file.read_bytes() == before
        for _ in range(100):
            site.commit(Changes(vehicles={"v": os.urandom(100_000)}))
        assert file.read_bytes() != before
        assert log.stat().st_size < 20 * MIB, "what was put away is written over"
    store.close()


READERS = """
import sys, psutil
from collector.store.store import Store
store = Store.open(sys.argv[1])
connections = [store.engine.connect() for _ in range(4)]
for connection in connections:
    connection.exec_driver_sql("SELECT count(*) FROM quarantine").scalar()
mine = psutil.Process()
before = mine.memory_info().rss
for connection in connections:
    connection.exec_driver_sql("SELECT sum(length(content)) FROM filling").scalar()
print(mine.memory_info().rss - before)
"""
COMMITS = """
import os, sys, psutil
from collector.store.commit import SiteConnection
from collector.store.rows import Changes
from collector.store.store import Store
site = SiteConnection.acquire(Store.open(sys.argv[1]), "north", "test")
mine = psutil.Process()
connection = site._connection
connection.execute("SELECT sum(length(content)) FROM filling WHERE id < 10").fetchone()
before = mine.memory_info().rss
connection.execute("SELECT sum(length(content)) FROM filling").fetchone()
print(mine.memory_info().rss - before)
"""


@pytest.mark.parametrize(("program", "most"), [(READERS, 2 * MIB), (COMMITS, MIB)], ids=["readers", "commits"])
def test_a_connection_keeps_few_pages_of_a_large_database(file: Path, program: str, most: int) -> None:
    """SQLite's own two megabytes for each would be eight, and two."""
    store = Store.open(f"sqlite:///{file}")
    with store.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE filling (id INTEGER PRIMARY KEY, content BLOB)")
        rows = [(number, os.urandom(900)) for number in range(10_000)]
        connection.exec_driver_sql("INSERT INTO filling VALUES (?, ?)", rows)
    store.close()
    command = [sys.executable, "-c", program, f"sqlite:///{file}"]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert grown < most


HOLES = """
import asyncio, sys, time
from pathlib import Path
import psutil
from collector.config import load_config
from collector.main import run

async def main():
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run(load_config(Path(sys.argv[1])), stop=stop, on_ready=ready.set_result))
    await ready
    mine = psutil.Process()
    for _ in range(3):  # the sinks give back after a look of theirs: once, at the start
        kept = [bytearray(b"x" * (60_000 if number % 2 else 600)) for number in range(2_000)]
        kept[1::2] = [None] * 1_000
        full, end = mine.memory_info().rss, time.monotonic() + 20
        while full - mine.memory_info().rss < 20_000_000 and time.monotonic() < end:
            await asyncio.sleep(0.1)
    print(full - mine.memory_info().rss)
    stop.set()
    await task

asyncio.run(main())
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Server]:
    with mosquitto(tmp_path / "broker") as server:
        yield server


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library gives back by itself, or never")
def test_the_collector_gives_back_what_is_free_in_its_heap_each_time_it_feeds_the_watchdog(
    tmp_path: Path, broker: Server
) -> None:
    told = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "65536", "WATCHDOG_USEC": "1000000"}
    command = [sys.executable, "-c", HOLES, str(write(tmp_path, broker.port))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=90, env=os.environ | told)
    assert int(done.stdout) >= 20_000_000
