"""What a broker announces is kept, and a path that is slow is told from one that is gone: a whole agent, Mosquitto."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.outbox.outbox import Outbox
from bench.standard_kit import START_MS, samples
from telemetry.fleet import Broker
from telemetry.records import Clock, Record
from tests.integration.test_agent import QUICK, Runs, agent_config, check_all_there, everything_arrived, held_on_disk
from tests.services.fake_collector import FakeCollector, fake_collector, until
from tests.services.mosquitto import mosquitto
from tests.services.process import free_port
from tests.services.relay import relay
from tests.slow_link import bring_home

EARLIER = "00000000000000a1"


def hold_backlog(runs: Runs, moments: int, *, text: str = "") -> None:
    """Leave the standard kit's records in the outbox, and an event with a long text if one is given."""
    outbox = Outbox.open(Path(runs.config.state_directory) / "outbox", 2**25, EARLIER, "e" * 32)
    made: list[Record] = []
    for kit in samples(seed=3, moments=moments):
        for sample in kit:
            outbox.add_schema(sample.part.schema)
            made.append(outbox.append(sample.mono_ms, sample.part.schema_id, list(sample.values)))
    if text:
        outbox.append_event(START_MS, "problem", "tablet", {"text": text})
    outbox.sync()
    outbox.add_clock(EARLIER, Clock(0, START_MS, 1_790_000_000_000, "ntp", 5))
    outbox.sync()
    outbox.close()
    runs.kept |= {(EARLIER, record.sequence): record for record in made}


def sessions(collector: FakeCollector) -> set[int]:
    return {birth.session for _, birth in collector.births}


@pytest.mark.parametrize("size", [1000, 3000])
def test_with_a_small_maximum_packet_size_everything_arrives_over_one_connection(tmp_path: Path, size: int) -> None:
    async def scenario(port: int) -> None:
        config = agent_config(tmp_path, port)
        runs = Runs(config)
        hold_backlog(runs, 300)
        for number in range(40):  # and a crash loop: a birth that names them all is too large
            run_id = secrets.token_hex(8)
            outbox = Outbox.open(Path(config.state_directory) / "outbox", 2**25, run_id, f"{number:032x}")
            event = outbox.append_event(1000, "started")
            outbox.sync()
            outbox.close()
            runs.kept[run_id, event.sequence] = event
        async with fake_collector(config.broker, config.name) as collector:
            async with runs.one():
                await everything_arrived(runs, collector)
            await everything_arrived(runs, collector)
            check_all_there(runs, collector)
            assert collector.doubled == 0
            assert sessions(collector) == {1}
            assert len(collector.births) > 1

    with mosquitto(tmp_path, extra=f"max_packet_size {size}") as server:
        asyncio.run(scenario(server.port))


def test_a_record_that_the_broker_never_takes_stays_in_the_outbox_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(port: int) -> None:
        config = agent_config(tmp_path, port)
        runs = Runs(config)
        hold_backlog(runs, 20, text=secrets.token_hex(2000))
        async with fake_collector(config.broker, config.name) as collector:
            async with runs.one(waits=msgspec.structs.replace(QUICK, drain=8.0)):  # the receipts are on their way
                await everything_arrived(runs, collector)
            await everything_arrived(runs, collector)
            assert sessions(collector) == {1}
        assert held_on_disk(runs, EARLIER) == 1
        # the limit is raised: it arrives
        async with fake_collector(msgspec.structs.replace(config.broker, port=roomy.port), config.name) as collector:
            runs.config = msgspec.structs.replace(
                config, broker=msgspec.structs.replace(config.broker, port=roomy.port)
            )
            async with runs.one():
                await until(lambda: any(run == EARLIER for run, _ in collector.taken))

    (tmp_path / "roomy").mkdir()
    with mosquitto(tmp_path, extra="max_packet_size 1000") as server, mosquitto(tmp_path / "roomy") as roomy:
        asyncio.run(scenario(server.port))
    uplink = [record for record in caplog.records if record.name.startswith("agent.uplink")]
    errors = [record.getMessage() for record in uplink if record.levelname == "ERROR"]
    assert len(errors) == 1, errors
    assert "records stay in the outbox" in errors[0]
    assert "the broker takes 9" in errors[0]  # of its 1,000, less topic and header


def test_a_broker_that_takes_no_qos_1_gets_everything_all_the_same(tmp_path: Path) -> None:
    port = free_port()

    async def scenario(collectors: int) -> None:
        config = agent_config(tmp_path, port)
        runs = Runs(config)
        hold_backlog(runs, 50)
        async with fake_collector(Broker(host="127.0.0.1", port=collectors), config.name) as collector:
            async with runs.one():
                await everything_arrived(runs, collector)
            await everything_arrived(runs, collector)
            check_all_there(runs, collector)
            assert sessions(collector) == {2}  # the first one was refused for its will's QoS

    with mosquitto(tmp_path, extra=f"listener {port} 127.0.0.1\nmax_qos 0") as server:
        asyncio.run(scenario(server.port))


def test_a_broker_without_retained_messages_is_told_as_such(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(port: int) -> None:
        runs = Runs(agent_config(tmp_path, port))
        async with runs.one():
            await until(lambda: len(runs.kept) > 20 and told())

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "agent.uplink.uplink"]

    with mosquitto(tmp_path, extra="retain_available false") as server:
        asyncio.run(scenario(server.port))
    (words,) = told()
    assert "Retain not supported" in words


def test_a_path_that_a_balancer_forgot_costs_one_interval(tmp_path: Path) -> None:
    """It was idle, nobody is told, nothing passes any more: four seconds here, half a minute as shipped."""
    interval, unanswered = 1.0, 4.0

    async def scenario(broker_port: int) -> None:
        config = agent_config(tmp_path, link.port, send_interval=interval)
        config = msgspec.structs.replace(
            config,
            broker=Broker(host="127.0.0.1", port=link.port, keepalive=600),
            waits=msgspec.structs.replace(QUICK, unanswered=unanswered),
        )
        runs = Runs(config)
        async with fake_collector(Broker(host="127.0.0.1", port=broker_port), config.name) as collector:
            async with runs.one():
                await until(lambda: len(collector.taken) > 20)
                link.forget()
                loop = asyncio.get_running_loop()
                began = loop.time()
                await until(lambda: 2 in sessions(collector))
                assert loop.time() - began < interval + unanswered + 10  # and what a busy machine adds
                before = len(collector.taken)
                await until(lambda: len(collector.taken) > before + 20)
            await everything_arrived(runs, collector)
            check_all_there(runs, collector)
        assert link.connections == 2

    with mosquitto(tmp_path) as server, relay(server.port) as link:
        asyncio.run(scenario(server.port))


def test_a_backlog_comes_home_over_20_kbit_a_second_and_one_connection(tmp_path: Path) -> None:
    """The short form of ``make slowlink``: twenty minutes of the kit, with a patience that each message outlasts."""
    told: Any = bring_home(tmp_path, 1 / 3, unanswered=3.0, keepalive=5)
    assert told.held, told
    assert told.seconds > 3
