"""An SNMP agent that lies on the wire: answers in circles, without end, with rubbish, or too late."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pyasn1.codec.ber import decoder, encoder
from pysnmp.proto import api

from agent.inputs.base import Poll
from agent.inputs.snmp import SnmpDevice
from agent.snmp.port import SnmpBrokenError, SnmpError, SnmpSilentError, Walk
from agent.snmp.pysnmp import Credentials, PysnmpPort, wire_of
from firmware_profiles.answers import Wire
from firmware_profiles.load import load_profiles
from telemetry.inputs import SnmpInput

V2C: Any = api.PROTOCOL_MODULES[api.SNMP_VERSION_2C]
Answer = Callable[[list[tuple[int, ...]], int], list[tuple[tuple[int, ...], Any]]]
BASE = (1, 3, 6, 1, 4, 1, 99999)


class Liar(asyncio.DatagramProtocol):
    """Decodes a v2c request by pysnmp's codec and answers what ``answer`` makes of its OIDs."""

    def __init__(self, answer: Answer | None, raw: bytes = b"", delay: float = 0.0) -> None:
        self.answer, self.raw, self.delay = answer, raw, delay
        self.requests = 0
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.requests += 1
        reply = self.raw
        if self.answer is not None:
            message, _ = decoder.decode(data, asn1Spec=V2C.Message())
            request = V2C.apiMessage.get_pdu(message)
            bulk = request.isSameTypeWith(V2C.GetBulkRequestPDU())
            oids = [tuple(oid) for oid, _ in V2C.apiPDU.get_varbinds(request)]
            repetitions = int(V2C.apiBulkPDU.get_max_repetitions(request)) if bulk else 1
            out = V2C.apiMessage.get_response(message)
            V2C.apiPDU.set_varbinds(V2C.apiMessage.get_pdu(out), self.answer(oids, repetitions))
            reply = encoder.encode(out)
        asyncio.get_running_loop().call_later(self.delay, self.transport.sendto, reply, address)


@contextlib.asynccontextmanager
async def liar(
    answer: Answer | None = None, raw: bytes = b"", delay: float = 0.0
) -> AsyncIterator[tuple[PysnmpPort, Liar]]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: Liar(answer, raw, delay), local_addr=("127.0.0.1", 0)
    )
    host, number = transport.get_extra_info("sockname")
    port = PysnmpPort(host, number, Credentials("2c", community="tests"), timeout=0.5, retries=0)
    try:
        yield port, protocol
    finally:
        await port.close()
        transport.close()


def walked(answer: Answer, **limits: Any) -> tuple[Walk, int, float]:
    async def run() -> tuple[Walk, int, float]:
        async with liar(answer) as (port, protocol):
            start = time.monotonic()
            walk = await port.walk([".".join(map(str, BASE))], **limits)
            return walk, protocol.requests, time.monotonic() - start

    return asyncio.run(run())


def test_a_walk_in_circles_ends_at_once() -> None:
    walk, requests, _ = walked(lambda oids, count: [((*BASE, 1, 5), V2C.Integer(7))] * count)
    assert walk.values == {"1.3.6.1.4.1.99999.1.5": Wire("integer", 7)}
    assert walk.truncated == ["1.3.6.1.4.1.99999: OIDs do not increase at 1.3.6.1.4.1.99999.1.5"]
    assert requests == 1


def test_a_walk_backwards_ends_at_once() -> None:
    def backwards(oids: list[tuple[int, ...]], count: int) -> list[tuple[tuple[int, ...], Any]]:
        last = oids[0][-1] if len(oids[0]) > len(BASE) else 1000
        return [((*BASE, last - 1), V2C.Integer(0))]

    walk, requests, _ = walked(backwards)
    assert list(walk.values) == ["1.3.6.1.4.1.99999.999"]
    assert requests == 2
    assert "do not increase" in walk.truncated[0]


def endless(oids: list[tuple[int, ...]], count: int) -> list[tuple[tuple[int, ...], Any]]:
    start = oids[0][-1] if len(oids[0]) > len(BASE) else 0
    return [((*BASE, start + number), V2C.Integer(0)) for number in range(1, count + 1)]


def test_a_table_without_end_ends_at_the_row_ceiling() -> None:
    walk, _, _ = walked(endless, rows=100)
    assert len(walk.values) == 100
    assert walk.truncated == ["1.3.6.1.4.1.99999: more than 100 rows"]


def test_a_table_without_end_ends_at_the_time_ceiling() -> None:
    walk, _, seconds = walked(endless, rows=10_000_000, seconds=0.5)
    assert walk.truncated == ["1.3.6.1.4.1.99999: time is up"]
    assert seconds < 2.0


def test_a_device_that_stops_answering_in_the_middle_is_there() -> None:
    """sysObjectID is answered, nothing after it."""
    answered = 0

    def once(oids: list[tuple[int, ...]], count: int) -> list[tuple[tuple[int, ...], Any]]:
        nonlocal answered
        answered += 1
        if answered > 1:
            raise ValueError("silence")
        return [(oid, V2C.ObjectIdentifier((1, 3, 6, 1, 4, 1, 368, 1, 1))) for oid in oids]

    async def run() -> Poll:
        async with liar(once) as (port, _):
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)
            config = SnmpInput(address="127.0.0.1", community_file="unused", deadline=2.0)
            device = SnmpDevice(config, load_profiles(), lambda _: port)
            return await device.poll(0.0)

    poll = asyncio.run(run())
    assert [(reading.metric, reading.value) for reading in poll.readings] == [("device.reachable", True)]
    assert poll.problem is not None
    assert "stopped answering" in poll.problem


def test_rubbish_is_silence_and_never_an_exception_of_another_kind() -> None:
    async def run(raw: bytes) -> None:
        async with liar(raw=raw) as (port, _):
            await port.get(["1.3.6.1.2.1.1.1.0"])

    for raw in (b"", b"\x00", b"hello", b"\x30\x84\xff\xff\xff\xff", b"\x30\x02\x02\x00", bytes(range(256))):
        with pytest.raises(SnmpError):
            asyncio.run(run(raw))


def test_an_answer_that_comes_too_late_is_nobodys() -> None:
    async def run() -> Walk:
        async with liar(endless, delay=0.9) as (port, protocol):
            with pytest.raises(SnmpSilentError):
                await port.walk([".".join(map(str, BASE))])
            protocol.delay = 0.0
            await asyncio.sleep(0.6)
            return await port.walk([".".join(map(str, BASE))], rows=5)

    assert len(asyncio.run(run()).values) == 5


def test_an_answer_about_other_objects_is_no_value_of_ours() -> None:
    async def run() -> dict[str, Wire]:
        async with liar(lambda oids, count: [((1, 3, 6, 1, 9), V2C.Integer(1))]) as (port, _):
            return await port.get(["1.3.6.1.2.1.1.1.0"])

    try:
        found = asyncio.run(run())
    except SnmpBrokenError:
        return
    assert "1.3.6.1.2.1.1.1.0" not in found


def test_every_type_keeps_its_name() -> None:
    expected = [
        (V2C.Integer(-5), Wire("integer", -5)),
        (V2C.OctetString(b"\xff\x00"), Wire("octets", b"\xff\x00")),
        (V2C.Null(""), Wire("null", None)),
        (V2C.ObjectIdentifier((1, 3, 6)), Wire("oid", "1.3.6")),
        (V2C.IpAddress("192.0.2.1"), Wire("address", "192.0.2.1")),
        (V2C.Counter32(2**32 - 1), Wire("counter32", 2**32 - 1)),
        (V2C.Gauge32(7), Wire("gauge32", 7)),
        (V2C.TimeTicks(9), Wire("ticks", 9)),
        (V2C.Counter64(2**64 - 1), Wire("counter64", 2**64 - 1)),
        (V2C.NoSuchObject(""), Wire("absent", None)),
    ]
    for value, wire in expected:
        assert wire_of(value) == wire
