"""The agent under its unit's MemoryMax, among devices and a broker that answer without end (item 15-25).

The limit is the kernel's, by a control group. Beside the hostile ones an honest input goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import pty
import re
import subprocess
import sys
import time
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.snmp import ber
from telemetry.fleet import Broker
from telemetry.records import Sample
from telemetry.topics import AgentName
from tests.services.control_group import control_group
from tests.services.fake_collector import FakeCollector, fake_collector, until
from tests.services.mosquitto import mosquitto
from tests.services.snmp_request import read_request

UNIT = Path(__file__).parents[2] / "systemd" / "kitwatch-agent.service"
LASTS_S = 15.0
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BLOCK = b"A" * 65_536
BOMB = gzip.compress(bytes(2**20)) * 512
"""512 MiB in half a megabyte: members of a gzip file follow each other (RFC 1952, 2.2)."""


def memory_max() -> int:
    """Return the shipped unit's limit in bytes."""
    found = re.search(r"^MemoryMax=(\d+)M$", UNIT.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 2**20


def endless(head: bytes, block: bytes = BLOCK) -> Handler:
    """Answer with ``head`` and then with ``block`` for ever."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read(2000)
            writer.write(head)
            while True:
                writer.write(block)
                await writer.drain()
        writer.close()

    return serve


def once(answer: bytes) -> Handler:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(2000):
                writer.write(answer)
                await writer.drain()
        writer.close()

    return serve


class EndlessTable(asyncio.DatagramProtocol):
    """An SNMP agent that calls itself a Teltonika router and whose every table goes on with kilobytes for ever."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._row = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        request = read_request(data)
        found = []
        for oid in request.oids:
            name = ber.oid_text(oid)
            known = name == "1.3.6.1.2.1.1.2.0"
            value = ber.tlv(0x06, ber.oid("1.3.6.1.4.1.48690")) if known else ber.tlv(0x04, b"7" * 1000)
            if request.tag != 0xA0:
                self._row += 1
                name += f".{self._row}"
            found.append(ber.tlv(ber.SEQUENCE, ber.tlv(0x06, ber.oid(name)) + value))
        head = request.number + ber.integer(0) + ber.integer(0)
        pdu = ber.tlv(0xA2, head + ber.tlv(ber.SEQUENCE, b"".join(found)[:60_000]))
        answer = ber.tlv(ber.SEQUENCE, request.before + pdu)
        if len(answer) < 65_000:
            self._transport.sendto(answer, address)


@contextlib.contextmanager
def flooding(line: bytes) -> Iterator[str]:
    """Yield a serial port from which this comes without a pause."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    script = "import os, sys\nwhile True: os.write(int(sys.argv[1]), bytes.fromhex(sys.argv[2]))\n"
    writer = subprocess.Popen([sys.executable, "-c", script, str(master), line.hex()], pass_fds=[master])
    try:
        yield os.ttyname(slave)
    finally:
        writer.kill()
        writer.wait()
        os.close(master)
        os.close(slave)


@contextlib.asynccontextmanager
async def served(**handlers: Handler) -> AsyncIterator[dict[str, int]]:
    servers = {name: await asyncio.start_server(handler, "127.0.0.1", 0) for name, handler in handlers.items()}
    try:
        yield {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}
    finally:
        for server in servers.values():
            server.close()


def agent_file(directory: Path, port: int, devices: dict[str, Any], name: str) -> Path:
    config = {
        "site": "north", "vehicle": "amb-03", "agent": name, "broker": {"host": "127.0.0.1", "port": port},
        "state_directory": str(directory / name), "devices": devices,
        "waits": {"spread": 0, "presence": 0.2, "backoff_base": 0.05, "backoff_cap": 0.3, "own_figures": 1},
    }  # fmt: skip
    path = directory / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@contextlib.contextmanager
def limited_agent(config: Path) -> Iterator[Callable[[], int]]:
    """Run the command under the unit's limit; yield what tells its highest resident memory. It must go on."""
    log = config.with_suffix(".log")
    command = [sys.executable, "-m", "kitwatch.main", "agent", "--config", str(config)]
    with control_group(memory_max()) as group, log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, preexec_fn=group.join)  # noqa: PLW1509 - one thread

        def highest() -> int:
            status = Path(f"/proc/{process.pid}/status").read_text()
            found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
            assert found is not None, "it has ended"
            return int(found[1]) * 1024

        try:
            yield highest
            assert process.poll() is None, log.read_text()[-3000:]
            assert group.killed == 0
        finally:
            process.terminate()
            try:
                process.wait(20)  # the unit's TimeoutStopSec
            finally:
                process.kill()
                process.wait()
    assert "internal error" not in log.read_text(), log.read_text()[-3000:]


def honest(collector: FakeCollector) -> int:
    """Return how many samples the honest device has."""
    samples = [one for one in collector.taken.values() if isinstance(one, Sample)]
    return sum(collector.schemas[one.schema].device == "tablet" for one in samples)


@pytest.mark.timeout(300)
def test_devices_that_answer_without_end(tmp_path: Path) -> None:
    community = tmp_path / "community"
    community.write_text("kit\n")
    community.chmod(0o600)
    often = {"interval": 1, "deadline": 1}
    chunk = b"10000\r\n" + BLOCK + b"\r\n"

    async def scene(broker: int, modem: str, gnss: str) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(EndlessTable, local_addr=("127.0.0.1", 0))
        http = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        async with served(
            body=endless(http + b"Transfer-Encoding: chunked\r\n\r\n", chunk),
            header=endless(b"HTTP/1.1 200 OK\r\nX-Long: "),
            headers=endless(b"HTTP/1.1 200 OK\r\n", b"X-More: of the same\r\n" * 1000),
            bomb=once(http + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
            rtsp=endless(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nX: "),
            sdp=endless(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 999999999\r\n\r\n"),
            media=endless(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: OPTIONS\r\n\r\n", b"$\0\xff\xff" + bytes(65_535)),
        ) as ports:
            snmp_port = transport.get_extra_info("sockname")[1]
            devices: dict[str, Any] = {
                "router": {
                    "kind": "router",
                    "snmp": {"address": "127.0.0.1", "port": snmp_port, "community_file": str(community), **often},
                },
                "modem": {"kind": "modem", "modem": {"port": modem, **often}},
                "gnss": {"kind": "gnss", "gnss": {"port": gnss, **often}},
                "tablet": {"kind": "host", "system": {"interval": 1, "deadline": 1}},
            }
            for name in ("body", "header", "headers", "bomb"):
                devices[name] = {"kind": "camera", "http": {"url": f"http://127.0.0.1:{ports[name]}", **often}}
            for name in ("rtsp", "sdp", "media"):
                stream = {"url": f"rtsp://127.0.0.1:{ports[name]}/s", "play": 0.5, **often}
                devices[name] = {"kind": "encoder", "stream": stream}
            pages = {name: {"kind": "http", "url": f"http://127.0.0.1:{ports[name]}/"} for name in ("body", "bomb")}
            devices["link"] = {"kind": "link", "probe": {"targets": pages, "count": 1, **often}}
            who = AgentName("north", "amb-03", "hostile")
            async with fake_collector(Broker(host="127.0.0.1", port=broker), who) as collector:
                with limited_agent(agent_file(tmp_path, broker, devices, "hostile")) as highest:
                    await until(lambda: collector.taken)
                    began = time.monotonic()
                    while time.monotonic() - began < LASTS_S:  # noqa: ASYNC110 - it is looked at from outside
                        await asyncio.sleep(0.5)
                    assert highest() < memory_max() * 0.9
                    await until(lambda: honest(collector) > LASTS_S / 5)  # it goes on
                    assert highest() < memory_max() * 0.9
        transport.close()

    with mosquitto(tmp_path) as broker, flooding(b"\xff" * 1000) as modem, flooding(b"$GPGGA," * 150) as gnss:
        asyncio.run(scene(broker.port, modem, gnss))


CONNACK = b"\x20\x03\x00\x00\x00"
TOPIC = b"kitwatch/v1/down/north/amb-03/alone/receipt"
HUGE = CONNACK + b"\x30\xff\xff\xff\x7f\x00" + bytes([len(TOPIC)]) + TOPIC
"""A PUBLISH that says it has 256 MiB (MQTT 5.0, 1.5.5)."""


def publish(size: int, qos: int, number: int) -> bytes:
    body = b"\x00" + bytes([len(TOPIC)]) + TOPIC + (number.to_bytes(2) if qos else b"") + b"\x00" + bytes(size)
    length, left = b"", len(body)
    while left > 0x7F:
        length, left = length + bytes([left & 0x7F | 0x80]), left >> 7
    return bytes([0x30 | qos << 1]) + length + bytes([left]) + body


def many(qos: int, size: int) -> Handler:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read(2000)
            writer.write(CONNACK)
            for number in range(1, 65_536):
                writer.write(publish(size, qos, number))
                await writer.drain()
        writer.close()

    return serve


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "serve",
    [endless(HUGE), many(0, 900_000), many(2, 900_000), many(2, 10), endless(CONNACK, b"\xd0\x00" * 1000)],
    ids=["a packet of 256 MiB", "large packets", "large packets of QoS 2", "packets of QoS 2", "answers to no ping"],
)
def test_a_broker_that_sends_without_end(tmp_path: Path, serve: Handler) -> None:
    devices = {"tablet": {"kind": "host", "system": {"interval": 1, "deadline": 1}}}

    async def scene() -> None:
        connected = asyncio.Event()

        async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.set()
            await serve(reader, writer)

        async with served(broker=broker) as ports:
            with limited_agent(agent_file(tmp_path, ports["broker"], devices, "alone")) as highest:
                await asyncio.wait_for(connected.wait(), 60)
                await asyncio.sleep(LASTS_S / 2)
                assert highest() < memory_max() * 0.9

    asyncio.run(scene())
