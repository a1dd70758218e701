"""The real agent in a process of its own that writes down every record as it enters the outbox.

``python -m tests.chaos.agent_process CONFIG JOURNAL``. A line of the journal is one JSON object: the run, the record,
and what is needed to read it and was not written before (its schema, clocks). The product itself knows nothing of it.
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

from agent.config import load
from agent.main import Agent
from telemetry.records import Record, Sample


class Journal:
    """Appends a line a record with one ``write``: what a killed process wrote is there."""

    def __init__(self, path: Path, run: str) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._run = run
        self._schemas: set[str] = set()
        self.agent: Agent | None = None
        self._early: list[Record] = []

    def note(self, record: Record) -> None:
        """Write one record down."""
        if self.agent is None:
            self._early.append(record)
            return
        recorder = self.agent.recorder
        line: dict[str, Any] = {"run": self._run, "record": record, "clocks": list(recorder.clocks)}
        if isinstance(record, Sample) and record.schema not in self._schemas:
            self._schemas.add(record.schema)
            line["schema"] = {record.schema: recorder.schemas[record.schema]}
        os.write(self._handle, msgspec.json.encode(line) + b"\n")

    def begin(self, agent: Agent) -> None:
        """Write down what came before the agent was there to ask."""
        self.agent = agent
        for record in self._early:
            self.note(record)


async def main(config_file: Path, journal_file: Path) -> None:
    """Run until SIGTERM."""
    run = secrets.token_hex(8)
    journal = Journal(journal_file, run)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    agent = await Agent.start(load(config_file), on_record=journal.note, run_id=run)
    journal.begin(agent)
    try:
        await agent.work(stop)
    finally:
        await agent.close(clean=stop.is_set())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
