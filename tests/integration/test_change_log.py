"""The collector's log of one fault: its problem begins and ends, its ticket opens and is closed again (item 15-5)."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from collector.config import load_config
from collector.main import run
from telemetry.intervals import Intervals
from telemetry.message import Moment, Up
from tests.integration.test_collector import write
from tests.integration.test_site import SCHEMA, Agent, now_ms, until
from tests.services.mosquitto import mosquitto


def test_a_fault_from_its_begin_to_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(path: Path, port: int) -> None:
        stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
        task = asyncio.create_task(run(load_config(path), stop=stop, on_ready=ready.set_result))
        try:
            await asyncio.wait_for(ready, 60)
            async with Agent(port) as agent:
                await until(lambda: bool(agent.presences) and isinstance(agent.presences[-1], Up))
                await agent.birth()
                await agent.schema(now_ms(), SCHEMA)
                for number in range(120):
                    sim = "absent" if number < 60 else "ready"
                    if number == 60:
                        await until(lambda: any("opened" in line for line in lines()), why=lines)
                    body = [Moment(1_000_000 - 1_190_000 + number * 10_000, 0, [[SCHEMA.id(), [-80.0, sim]]])]
                    await agent.say("live", body, Intervals([(number, number)]))
                await until(lambda: agent.done() == [(0, 119)])
                await until(lambda: any("self_healed" in line for line in lines()), why=lines)
        finally:
            stop.set()
            await asyncio.wait_for(task, 60)

    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "collector.change_log"]

    (tmp_path / "mosquitto").mkdir()
    with caplog.at_level("INFO"), mosquitto(tmp_path / "mosquitto") as broker:
        asyncio.run(scene(write(tmp_path, broker.port, speed=20), broker.port))
    told = [re.sub(r"\d{4}-\d{4}", "ID", line) for line in lines()]
    assert told == [
        "site north: amb-3/modem-1: sim_absent begins (rule sim_absent)",
        "site north: ticket ID opened, now new: amb-3/modem-1: sim_absent, disaster",
        "site north: amb-3/modem-1: sim_absent ends",
        "site north: ticket ID self_healed, now closed: amb-3/modem-1: sim_absent, disaster",
    ]
    levels = {record.getMessage(): record.levelname for record in caplog.records}
    assert levels[lines()[0]] == levels[lines()[1]] == "WARNING"
    assert levels[lines()[2]] == levels[lines()[3]] == "INFO"
