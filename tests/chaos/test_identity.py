"""Who an agent is, on a real broker: the word that stands there, and a clone with its name (field notes 28, 33).

Real agents and, for the clone, a real collector.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
import yaml

import agent.main
from agent.config import AgentConfig, Waits
from collector.config import load_config
from collector.main import run as run_collector
from telemetry.fleet import Broker, Device
from telemetry.inputs import SystemInput
from telemetry.message import Birth, Goodbye, State, Will, decode
from telemetry.mqtt import Connection, Message
from telemetry.records import Record
from telemetry.topics import AgentName
from tests.chaos.judge import kept
from tests.chaos.world import rows
from tests.services.fake_collector import until
from tests.services.mosquitto import mosquitto
from tests.services.relay import relay

Word = TypeVar("Word", Birth, Goodbye, Will)
NAME = AgentName("north", "amb-1", "router")
WAITS = Waits(spread=0, backoff_base=0.5, backoff_cap=1, presence=0.2, own_figures=1, resend=5, clock_patience=3)


def configuration(directory: Path, port: int, drain: float = 10.0) -> AgentConfig:
    return AgentConfig(
        site=NAME.site,
        vehicle=NAME.vehicle,
        agent=NAME.agent,
        broker=Broker(host="127.0.0.1", port=port, keepalive=5),
        devices={"box": Device(kind="host", system=SystemInput(interval=0.5, deadline=0.5, disk="/"))},
        state_directory=str(directory),
        waits=msgspec.structs.replace(WAITS, drain=drain),
    )


@contextlib.asynccontextmanager
async def running(
    config: AgentConfig, machine: str, on_record: Callable[[Record], None] | None = None, run_id: str | None = None
) -> AsyncIterator[asyncio.Event]:
    """Run an agent; yield what stops it before the end of the block."""
    stop = asyncio.Event()
    task = asyncio.create_task(agent.main.run(config, stop=stop, machine=machine, on_record=on_record, run_id=run_id))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)


async def stands(port: int, kind: type[Word]) -> Word:
    """Return the word of that kind that a newcomer finds at the broker, as soon as it does."""
    broker = Broker(host="127.0.0.1", port=port)
    async with asyncio.timeout(10):
        while True:
            found: list[Message] = []
            async with Connection(broker, "newcomer", on_message=found.append) as connection:
                await connection.subscribe(NAME.up("state"))
                await asyncio.sleep(0.1)
            for message in found:
                state = decode(message.payload, State)[1]
                if message.retain and isinstance(state, kind):
                    return state


def test_what_a_newcomer_finds_is_what_the_agent_said_last(tmp_path: Path) -> None:
    """Field note 28: birth, goodbye with its reason, and the broker's will are all retained."""

    async def scene(port: int) -> None:
        with relay(port) as link:
            config = configuration(tmp_path / "state", link.port, drain=0.0)  # nobody receipts here
            async with running(config, "box") as stop:
                birth = await stands(port, Birth)
                link.set("cut")
                will = await stands(port, Will)
                assert will.session == birth.session
                link.set("pass")
                again = await stands(port, Birth)
                assert again.session > birth.session
                stop.set()
                goodbye = await stands(port, Goodbye)
                assert (goodbye.session, goodbye.reason) == (again.session, "stop")

    with mosquitto(tmp_path) as broker:
        asyncio.run(scene(broker.port))


@pytest.mark.timeout(90)
def test_a_clone_is_recognised_told_and_costs_no_record(tmp_path: Path) -> None:
    """Field note 33: two boxes with one identity throw each other out; one ticket names both machines."""
    devices = {"box": {"kind": "host", "system": {}}}
    fleet = {"sites": {NAME.site: {"vehicles": {NAME.vehicle: {"agents": {NAME.agent: {"devices": devices}}}}}}}
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(fleet))
    database = f"sqlite:///{tmp_path / 'kitwatch.sqlite'}"
    made: set[tuple[str, int]] = set()

    def note(run: str) -> Callable[[Record], None]:
        return lambda record: made.add((run, record.sequence))

    def clashes() -> list[tuple[str, str]]:
        return rows(
            database,
            "SELECT t.id, e.body FROM ticket t JOIN ticket_event e ON e.ticket = t.id AND e.what = 'opened' "
            "WHERE t.fault = 'identity_clash'",
        )

    async def scene(port: int) -> None:
        config = {
            "broker": {"host": "127.0.0.1", "port": port},
            "database": "sqlite:///kitwatch.sqlite",
            "fleet": "fleet.yaml",
            "timings": {"receipt": 0.2, "beat": 0.5, "retry": 0.1},
        }
        (tmp_path / "collector.yaml").write_text(yaml.safe_dump(config))
        stop = asyncio.Event()
        centre = asyncio.create_task(run_collector(load_config(tmp_path / "collector.yaml"), stop=stop))
        one, two = "a" * 16, "b" * 16
        try:
            async with running(configuration(tmp_path / "one", port), "machine-1", note(one), one):
                await stands(port, Birth)
                async with running(configuration(tmp_path / "two", port), "machine-2", note(two), two):
                    await until(lambda: bool(clashes()), 60)
            await until(lambda: {key[2:] for key, _ in kept(database)} == made, 60)
        finally:
            stop.set()
            await asyncio.wait_for(centre, 60)

    with mosquitto(tmp_path) as broker:
        asyncio.run(scene(broker.port))
    ((_, text),) = clashes()
    assert "machine-1" in text
    assert "machine-2" in text
    names = [key[2:] for key, _ in kept(database)]
    assert len(names) == len(set(names))
    assert {run for run, _ in names} == {"a" * 16, "b" * 16}
