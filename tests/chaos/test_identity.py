"""Who an agent is, on a real broker: the word that stands there, and a clone with its name (field notes 28, 33).

Real agents and, for the clone, a real collector.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
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
from telemetry.intervals import Intervals
from telemetry.message import PLAIN, Birth, Goodbye, Moment, Receipt, SchemaBody, State, Will, decode, encode
from telemetry.mqtt import Message
from telemetry.paho_mqtt import Connection
from telemetry.records import Clock, Column, Record, Schema
from telemetry.topics import AgentName
from tests.chaos.judge import kept
from tests.chaos.world import rows
from tests.services.fake_collector import until
from tests.services.mosquitto import mosquitto
from tests.services.relay import relay

Word = TypeVar("Word", Birth, Goodbye, Will)
NAME = AgentName("north", "amb-1", "router")
WAITS = Waits(spread=0, backoff_base=0.5, backoff_cap=1, presence=0.2, own_figures=1, resend=5, clock_patience=3)


def configuration(directory: Path, port: int, drain: float = 60.0) -> AgentConfig:
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
        await asyncio.wait_for(task, 90)


async def stands(port: int, kind: type[Word]) -> Word:
    """Return the word of that kind that a newcomer finds at the broker, as soon as it does."""
    broker = Broker(host="127.0.0.1", port=port)
    async with asyncio.timeout(60):
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


@contextlib.asynccontextmanager
async def a_collector(directory: Path, port: int) -> AsyncIterator[None]:
    """A real collector, its database in ``directory``."""
    devices = {"box": {"kind": "host", "system": {}}}
    fleet = {"sites": {NAME.site: {"vehicles": {NAME.vehicle: {"agents": {NAME.agent: {"devices": devices}}}}}}}
    (directory / "fleet.yaml").write_text(yaml.safe_dump(fleet))
    config = {
        "broker": {"host": "127.0.0.1", "port": port},
        "database": "sqlite:///kitwatch.sqlite",
        "fleet": "fleet.yaml",
        "timings": {"receipt": 0.2, "beat": 0.5, "retry": 0.1},
    }
    (directory / "collector.yaml").write_text(yaml.safe_dump(config))
    stop = asyncio.Event()
    centre = asyncio.create_task(run_collector(load_config(directory / "collector.yaml"), stop=stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(centre, 60)


@pytest.mark.timeout(400)
def test_a_clone_is_recognised_told_and_costs_no_record(tmp_path: Path) -> None:
    """Field note 33: two boxes with one identity throw each other out; one ticket names both machines."""
    database = f"sqlite:///{tmp_path / 'kitwatch.sqlite'}"
    made: set[tuple[str, int]] = set()

    def note(run: str) -> Callable[[Record], None]:
        return lambda record: made.add((run, record.sequence))

    def clashes() -> list[tuple[str, str]]:
        with contextlib.suppress(sqlite3.OperationalError):  # before the migration there is no table
            return rows(
                database,
                "SELECT t.id, e.body FROM ticket t JOIN ticket_event e ON e.ticket = t.id AND e.what = 'opened' "
                "WHERE t.fault = 'identity_clash'",
            )
        return []

    async def scene(port: int) -> None:
        one, two = "a" * 16, "b" * 16
        async with a_collector(tmp_path, port):
            async with running(configuration(tmp_path / "one", port), "machine-1", note(one), one):
                await stands(port, Birth)
                async with running(configuration(tmp_path / "two", port), "machine-2", note(two), two):
                    await until(lambda: bool(clashes()), 60)
            await until(lambda: {key[2:] for key, _ in kept(database)} == made, 60)

    with mosquitto(tmp_path) as broker:
        asyncio.run(scene(broker.port))
    ((_, text),) = clashes()
    assert "machine-1" in text
    assert "machine-2" in text
    names = [key[2:] for key, _ in kept(database)]
    assert len(names) == len(set(names))
    assert {run for run, _ in names} == {"a" * 16, "b" * 16}


def _unreadable(numbers: Intervals) -> bytes:
    return encode(PLAIN, "a" * 16, [], numbers)  # as many records as the header says are not there


def _of_no_metric(numbers: Intervals) -> bytes:
    """Samples that can be read, of values that cannot be."""
    entries = [[ODD.id(), ["no number"]] for _ in numbers]
    return encode(PLAIN, "a" * 16, [Moment(0, 0, entries)], numbers)


def _told_as_lost(numbers: Intervals) -> bytes:
    event = ["lost", "", {"run": "a" * 16, "intervals": numbers.pairs(), "reason": "disk full"}]
    return encode(PLAIN, "a" * 16, [Moment(0, 0, [event])], Intervals([(5_000, 5_000)]))


ODD = Schema("system", "box", (Column("host.load1"),))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("named", [_unreadable, _of_no_metric, _told_as_lost])
def test_nobody_speaks_for_another_agents_numbers(named: Callable[[Intervals], bytes], tmp_path: Path) -> None:
    """Who holds the vehicle's certificate names numbers that are to come, of records that will go live and of such as
    wait for the link: all that the agent records arrives."""
    database = f"sqlite:///{tmp_path / 'kitwatch.sqlite'}"
    made: list[int] = []
    run = "a" * 16

    async def scene(port: int) -> None:
        named_so_far: set[int] = set()

        def heard(message: Message) -> None:
            named_so_far.update(last for _, last in decode(message.payload, Receipt)[1].runs.get(run, ()))

        async def more(count: int) -> None:
            enough = len(made) + count
            await until(lambda: len(made) >= enough)

        clone = Connection(Broker(host="127.0.0.1", port=port), "clone", on_message=heard)
        with relay(port) as link:
            config = configuration(tmp_path / "agent", link.port)
            async with a_collector(tmp_path, port), clone:
                await clone.subscribe(NAME.down("receipt"))
                async with running(config, "machine-1", lambda one: made.append(one.sequence), run):
                    await until(lambda: named_so_far)  # the collector hears the agent
                    body = SchemaBody("boot", {ODD.id(): ODD}, (Clock(0, 0, round(time.time() * 1000), "ntp", 5),))
                    await clone.deliver(NAME.up("schema"), encode(PLAIN, run, body))
                    await clone.deliver(NAME.up("live"), named(Intervals([(made[-1] + 1, made[-1] + 300)])))
                    await until(lambda: max(named_so_far) > len(made) + 100)
                    await more(6)
                    link.set("cut")
                    await more(10)
                    link.set("pass")
                    await more(5)

    with mosquitto(tmp_path) as broker:
        asyncio.run(scene(broker.port))
    taken = [key[3] for key, _ in kept(database) if key[3] != 5_000]
    assert sorted(taken) == sorted(made), "each once, and nothing else"
