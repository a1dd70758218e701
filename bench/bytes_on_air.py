"""What the standard kit costs on the air in a day, counted by tcpdump with TLS, TCP and IP headers, both ways.

The agent's recorder, outbox and uplink are fed with the standard kit's samples in place of devices; Mosquitto over
TLS 1.3 with ECDSA certificates; a real collector that answers with receipts. Time is compressed: a message each 150 ms
in place of 10 s (thrifty: five minutes), receipts and the time that a commit gathers shortened alike, so that every
exchange still stands alone (TCP's delayed acknowledgement is over by then). What the connection itself costs, births
and schemas included, is counted once a day. No ping is: messages come more often than the keep alive (thrifty: 900 s).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from agent.config import AgentConfig, Waits
from agent.machine import Machine, WallReading
from agent.main import Agent
from agent.outbox.drafts import SampleDraft
from bench import fleet_traffic as traffic
from bench.row import Row, row
from bench.standard_kit import MOMENT_MS, MOMENTS_A_DAY, PARTS, START_MS, KitSample, samples
from bench.tls_broker import tls_broker
from collector.config import Timings
from telemetry.fleet import Broker
from telemetry.metrics import METRICS
from telemetry.paho_mqtt import Connection
from tests.services.process import need

MESSAGE_S: Final = 0.15
"""Between two messages, as it is measured."""
OBJECT_MOMENTS: Final = 60
SEED: Final = 1
_ETHERNET: Final = 14
"""Bytes of the link layer's header, which loopback pretends to have and the air has not."""


@dataclass(frozen=True)
class _Way:
    """A way of sending: everything at once, or thrifty."""

    name: str
    nth: int
    """Of the standard kit's moments each so-many-th is sampled; each sixth one has all parts."""
    gathered: int
    """Moments in one message."""
    messages: int
    """That are measured."""
    target: str

    @property
    def moments(self) -> int:
        """Moments that are measured."""
        return self.messages * self.gathered

    @property
    def warm(self) -> int:
        """Moments before it counts: of whole messages, and one of each kind, so that all schemas are known."""
        return 6 * self.gathered

    @property
    def interval_ms(self) -> int:
        """Milliseconds between two messages in life."""
        return MOMENT_MS * self.nth * self.gathered

    @property
    def speed(self) -> float:
        """How much faster than in life."""
        return self.interval_ms / 1000 / MESSAGE_S

    @property
    def expected(self) -> int:
        """Records in the moments that are measured."""
        numbers = range(self.warm * self.nth, (self.warm + self.moments) * self.nth, self.nth)
        return sum(1 for number in numbers for part in PARTS if number % part.every == 0)

    def samples(self) -> Iterator[list[KitSample]]:
        """Yield the samples of each moment."""
        return itertools.islice(samples(SEED, (self.warm + self.moments) * self.nth), 0, None, self.nth)


USUAL: Final = _Way("standard kit", 1, 1, 396, "ours <= 4.6")
THRIFTY: Final = _Way("standard kit, thrifty: everything each 60 s, sent each 5 min", 6, 5, 120, "ours <= 0.45")


def rows() -> list[Row]:
    """Return the day's megabytes (1 MB is a million bytes), and the agent's own count of them."""
    return _compared(USUAL) + _compared(THRIFTY)


def _compared(way: _Way) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="kitwatch-bench-") as name:
        directory = Path(name)
        with tls_broker(directory) as broker:
            config = traffic.write_files(
                directory,
                broker.plain_port,
                f"sqlite:///{directory / 'kitwatch.sqlite'}",
                1,
                timings={"receipt": 30 / way.speed, "gather_ms": Timings().gather_ms / way.speed},
            )
            with _counting(directory, broker.for_agents.port) as capture, traffic.collector(directory, config):
                ours = asyncio.run(_agent(way, broker.for_agents, directory))
                theirs = asyncio.run(_objects(broker.for_agents))
        packets = _packets(capture)
    steady = _between(packets, ours.begun, ours.ended)
    connecting = _between(packets, 0.0, ours.begun) - way.warm * steady // way.moments
    day = steady / way.moments * MOMENTS_A_DAY / way.nth + connecting
    objects = _between(packets, theirs.begun, theirs.ended) / OBJECT_MOMENTS * MOMENTS_A_DAY
    note = (
        f"{steady / way.messages:.0f} B a message, {ours.receipts / way.messages:.2f} receipts a message included; "
        f"connecting, birth and schemas {connecting} B; {ours.records} records in {way.messages} messages; "
        f"the objects each 10 s, measured the same way over {OBJECT_MOMENTS} moments"
    )
    return [
        row(
            f"bytes on the air, {way.name}, MB a day", day / 1e6, "one JSON object a reading and message",
            objects / 1e6, target=way.target, note=note,
        ),
        row(
            f"the agent's own count of them (agent.bytes_on_air), {way.name.partition(':')[0]}, B a message",
            ours.counted / way.messages, "tcpdump", steady / way.messages, target="ratio >= 0.98",
        ),
    ]  # fmt: skip


@dataclass(frozen=True)
class _Window:
    """From when to when (UTC seconds) it counts; records sent, receipts and bytes as the agent counts them in it."""

    begun: float
    ended: float
    records: int = 0
    receipts: int = 0
    counted: int = 0


# --- ours -------------------------------------------------------------------------------------------------------------


class _Box(Machine):
    """A machine on which time runs faster, from five minutes before the first moment on."""

    def __init__(self, way: _Way) -> None:
        super().__init__()
        self.speed = way.speed
        self._began = time.monotonic()
        self._wall_ms = round(time.time() * 1000 - (way.moments + way.warm) * MOMENT_MS * way.nth)

    def monotonic(self) -> float:
        return START_MS / 1000 - 300 + (time.monotonic() - self._began) * self.speed

    def wall(self) -> WallReading:
        mono_ms = round(self.monotonic() * 1000)
        return WallReading(mono_ms, self._wall_ms + mono_ms - START_MS, True, 5)


async def _agent(way: _Way, broker: Broker, directory: Path) -> _Window:
    """Run the agent over all moments."""
    config = AgentConfig(
        site=traffic.SITE,
        vehicle="amb-0000",
        agent="router",
        broker=broker,
        devices={},
        state_directory=str(directory / "agent"),
        send_interval=way.interval_ms / 1000 if way.gathered > 1 else 0.0,
        waits=Waits(spread=0.0, resend=5 * way.speed, birth_repeat=way.speed),
    )
    box = _Box(way)
    agent = await Agent.start(config, host=box, run_id=secrets.token_hex(8))
    leave = asyncio.Event()
    tasks = [
        asyncio.create_task(agent.recorder.commit_forever()),
        asyncio.create_task(agent.uplink.run(leave)),
    ]
    try:
        await _until(lambda: agent.uplink.connected and agent.uplink.sending.fresh, "the agent has no receipt")
        kit = way.samples()
        late_ms = (round(box.monotonic() * 1000) // way.interval_ms + 2) * way.interval_ms - START_MS
        for _ in range(way.warm):
            await _deliver(agent, box, next(kit), late_ms)
        await asyncio.sleep(MESSAGE_S)
        begun, counted, before = time.time(), agent.uplink.bytes_on_air, _published(agent)
        for moment in kit:
            await _deliver(agent, box, moment, late_ms)
        await asyncio.sleep(MESSAGE_S)
        records, receipts = (after - had for after, had in zip(_published(agent), before, strict=True))
        window = _Window(begun, time.time(), records, receipts, agent.uplink.bytes_on_air - counted)
        await _until(lambda: not agent.uplink.sending.held(), "not everything was receipted")
        backlog = agent.uplink.centre.published["backlog"]
        if records != way.expected or backlog > 1:
            raise RuntimeError(f"expected {way.expected} records on the live lane, found {records}, backlog {backlog}")
        return window
    finally:
        leave.set()
        await asyncio.wait(tasks[1:], timeout=5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await agent.close(clean=True)


def _published(agent: Agent) -> tuple[int, int]:
    """Return how many records were sent live, and how many receipts came."""
    return agent.uplink.centre.published["live"], agent.uplink.centre.receipts


async def _deliver(agent: Agent, box: _Box, moment: list[KitSample], late_ms: int) -> None:
    """Wait for a moment's time and hand its samples to the recorder, as the sampler does."""
    due_ms = moment[0].mono_ms + late_ms
    wall = box.wall()  # as the agent itself does each second: a clock that nobody confirms is asked of the centre
    agent.keeper.offer(wall.source, wall.mono_ms, wall.wall_ms, wall.uncertainty_ms)
    await asyncio.sleep(max(0.0, (due_ms / 1000 - box.monotonic()) / box.speed))
    agent.recorder.deliver([SampleDraft(due_ms, one.part.schema_id, one.part.schema, one.values) for one in moment])


async def _until(what: Callable[[], bool], otherwise: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError(otherwise)
        await asyncio.sleep(0.02)


# --- theirs -----------------------------------------------------------------------------------------------------------


async def _objects(broker: Broker) -> _Window:
    """Send the same readings as one JSON object and message each."""
    at_ms = time.time_ns() // 1_000_000
    async with Connection(broker, "objects", on_message=lambda message: None) as connection:
        await asyncio.sleep(MESSAGE_S)
        begun = time.time()
        for number, moment in enumerate(samples(SEED, OBJECT_MOMENTS)):
            due = begun + number * MESSAGE_S
            await asyncio.sleep(max(0.0, due - time.time()))
            for payload in _objects_of(moment, at_ms + number * MOMENT_MS):
                connection.publish(f"kit/{traffic.SITE}/amb-0000/router", payload)
        await connection.deliver("kit/end", b"", qos=1)
        await asyncio.sleep(MESSAGE_S)
        return _Window(begun, time.time())


def _objects_of(moment: list[KitSample], at_ms: int) -> Iterator[bytes]:
    for one in moment:
        for (metric, label), value in zip(one.part.keys, one.values, strict=True):
            labels = {METRICS[metric].labels[0]: label} if label else {}
            yield msgspec.json.encode(
                {
                    "time": at_ms,
                    "agent": "router",
                    "device": one.part.device,
                    "metric": metric,
                    **labels,
                    "value": value,
                }
            )


# --- counting ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _counting(directory: Path, port: int) -> Iterator[Path]:
    """Record the heads of all packets to and from a port."""
    file = directory / "air.pcap"
    command = [need("tcpdump", "tcpdump"), "-i", "lo", "-n", "-U", "-s", "96", "-Z", "root", "-w", str(file)]
    with subprocess.Popen([*command, f"tcp port {port}"], stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stderr is not None
            said = ""
            for said in child.stderr:
                if "listening on" in said:
                    break
            else:
                raise RuntimeError(f"tcpdump does not count: {said.strip()}")
            yield file
            time.sleep(0.3)
        finally:
            child.terminate()
            child.wait(10)


def _packets(file: Path) -> list[tuple[float, int]]:
    """Return (UTC seconds, bytes from the IP header on) of each packet of a capture (pcap-savefile(5))."""
    data = file.read_bytes()
    order = "<" if data[:4] == b"\xd4\xc3\xb2\xa1" else ">"
    found = []
    at = 24
    while at + 16 <= len(data):
        seconds, micros, kept, length = struct.unpack_from(f"{order}IIII", data, at)
        found.append((seconds + micros / 1e6, length - _ETHERNET))
        at += 16 + kept
    return found


def _between(packets: list[tuple[float, int]], begun: float, ended: float) -> int:
    return sum(length for when, length in packets if begun <= when < ended)
