"""The real agent in a process of its own that writes down everything as it enters the outbox.

``python -m tests.chaos.agent_process CONFIG JOURNAL [real|volatile|forgetful]``. A line of the journal is one JSON
object: a record with its run, or what is needed to read records (a schema, a clock of a run). The last argument is the
disk under the outbox, see ``tests.chaos.volatile``. The product itself knows nothing of all this.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

import agent.main
from agent.config import load
from agent.outbox.disk import Disk
from agent.outbox.outbox import Outbox
from telemetry.records import Clock, Record, Schema
from tests.chaos.volatile import ForgetfulDisk, VolatileDisk

DISKS: dict[str, type[Disk]] = {"real": Disk, "volatile": VolatileDisk, "forgetful": ForgetfulDisk}


class Journal:
    """Appends a line a fact with one ``write``: what a killed process wrote is there."""

    def __init__(self, path: Path, run: str) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._run = run

    def record(self, record: Record) -> None:
        """Write down a record that is durable."""
        self._write({"run": self._run, "record": record})

    def clock(self, run: str, clock: Clock) -> None:
        """Write down a clock of a run, this one or one before it."""
        self._write({"run": run, "clock": clock})

    def schema(self, schema: Schema) -> None:
        """Write down a schema."""
        self._write({"schema": schema})

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._handle, msgspec.json.encode(line) + b"\n")


def noted(journal: Journal, disk: type[Disk]) -> type[Outbox]:
    """Return an outbox that writes down what its records need, on such a disk."""

    class NotedOutbox(Outbox):
        @classmethod
        def open(cls, *args: Any, **options: Any) -> Outbox:
            return super().open(*args, **{"disk": disk(), **options})

        def add_schema(self, schema: Schema) -> str:
            journal.schema(schema)
            return super().add_schema(schema)

        def add_clock(self, run: str, clock: Clock) -> None:
            journal.clock(run, clock)
            super().add_clock(run, clock)

    return NotedOutbox


async def main(config_file: Path, journal_file: Path, disk: str = "real") -> None:
    """Run until SIGTERM."""
    run = secrets.token_hex(8)
    journal = Journal(journal_file, run)
    vars(agent.main)["Outbox"] = noted(journal, DISKS[disk])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await agent.main.run(load(config_file), stop=stop, on_record=journal.record, run_id=run)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
