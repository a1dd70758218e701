"""An SNMP agent that lies on the wire or cannot take what it is asked, over both libraries.

It answers in circles, without end, with rubbish, too late; it gives errors without an index, drops what is too large,
dies of one object, knows no GETBULK. The requests and answers are coded by pysnmp's codec, not by ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pyasn1.codec.ber import decoder, encoder
from pysnmp.proto import api

from agent.inputs.base import Poll
from agent.inputs.snmp import SnmpDevice
from agent.snmp.port import Credentials, Exchange, SnmpBrokenError, SnmpError, SnmpSilentError, Walk
from agent.snmp.pysnmp import PysnmpExchange, wire_of
from agent.snmp.splitting import SplittingPort
from agent.snmp.udp import UdpExchange
from firmware_profiles.answers import Wire
from firmware_profiles.capture import read_capture
from firmware_profiles.load import load_profiles
from telemetry.inputs import SnmpInput
from tests.services.stopwatch import Stopwatch

V2C: Any = api.PROTOCOL_MODULES[api.SNMP_VERSION_2C]
Oid = tuple[int, ...]
Bindings = list[tuple[Oid, Any]]
Answer = Callable[[list[Oid], int], Bindings | tuple[int, int] | bytes | None]
"""From OIDs and repetitions (0 for GET, -1 for GETNEXT) to bindings, (error status, index), a datagram, or silence."""
BASE = (1, 3, 6, 1, 4, 1, 99999)
TIMEOUT = 0.3
LIBRARIES = {"kitwatch": UdpExchange, "pysnmp": PysnmpExchange}


@pytest.fixture(params=LIBRARIES, autouse=True)
def library(request: pytest.FixtureRequest) -> str:
    """Every test runs over both libraries."""
    global _library  # noqa: PLW0603 - what the helpers below open
    _library = request.param
    return str(request.param)


_library = ""


class Liar(asyncio.DatagramProtocol):
    """Decodes a v2c request by pysnmp's codec and answers what ``answer`` makes of its OIDs."""

    def __init__(self, answer: Answer | None, raw: bytes = b"", delay: float = 0.0) -> None:
        self.answer, self.raw, self.delay = answer, raw, delay
        self.requests = 0
        self.transport: Any = None
        self.last: tuple[bytes, Any] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.requests += 1
        self.last = (data, address)
        reply: bytes | None = self.raw
        if self.answer is not None:
            reply = self._reply(data, self.answer)
        if reply is not None:
            asyncio.get_running_loop().call_later(self.delay, self.transport.sendto, reply, address)

    @staticmethod
    def _reply(data: bytes, answer: Answer) -> bytes | None:
        message, _ = decoder.decode(data, asn1Spec=V2C.Message())
        request = V2C.apiMessage.get_pdu(message)
        bulk = request.isSameTypeWith(V2C.GetBulkRequestPDU())
        following = request.isSameTypeWith(V2C.GetNextRequestPDU())
        oids = [tuple(oid) for oid, _ in V2C.apiPDU.get_varbinds(request)]
        said = answer(oids, int(V2C.apiBulkPDU.get_max_repetitions(request)) if bulk else -following)
        if said is None or isinstance(said, bytes):
            return said
        out = V2C.apiMessage.get_response(message)
        pdu = V2C.apiMessage.get_pdu(out)
        if isinstance(said, tuple):
            V2C.apiPDU.set_error_status(pdu, said[0])
            pdu.setComponentByPosition(2, said[1], verifyConstraints=False)
            V2C.apiPDU.set_varbinds(pdu, V2C.apiPDU.get_varbinds(request))
        else:
            V2C.apiPDU.set_varbinds(pdu, said)
        return bytes(encoder.encode(out))


@contextlib.asynccontextmanager
async def liar(
    answer: Answer | None = None, raw: bytes = b"", delay: float = 0.0, **more: Any
) -> AsyncIterator[tuple[SplittingPort, Liar]]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: Liar(answer, raw, delay), local_addr=("127.0.0.1", 0)
    )
    exchange = opened(*transport.get_extra_info("sockname"))
    port = SplittingPort(exchange, **more)
    try:
        yield port, protocol
    finally:
        await port.close()
        transport.close()


def opened(address: str, port: int) -> Exchange:
    made: Any = LIBRARIES[_library]
    exchange: Exchange = made(address, port, Credentials("2c", community="tests"), TIMEOUT, 0)
    return exchange


def walked(answer: Answer, **limits: Any) -> tuple[Walk, int, float]:
    async def run() -> tuple[Walk, int, float]:
        async with liar(answer) as (port, protocol):
            watch = Stopwatch()
            walk = await port.walk([".".join(map(str, BASE))], **limits)
            return walk, protocol.requests, watch.seconds

    return asyncio.run(run())


def test_a_walk_in_circles_ends_at_once() -> None:
    walk, requests, _ = walked(lambda oids, count: [((*BASE, 1, 5), V2C.Integer(7))] * count)
    assert walk.values == {"1.3.6.1.4.1.99999.1.5": Wire("integer", 7)}
    assert walk.truncated == ["1.3.6.1.4.1.99999: OIDs do not increase at 1.3.6.1.4.1.99999.1.5"]
    assert requests == 1


def test_a_walk_backwards_ends_at_once() -> None:
    def backwards(oids: list[Oid], count: int) -> Bindings:
        last = oids[0][-1] if len(oids[0]) > len(BASE) else 1000
        return [((*BASE, last - 1), V2C.Integer(0))]

    walk, requests, _ = walked(backwards)
    assert list(walk.values) == ["1.3.6.1.4.1.99999.999"]
    assert requests == 2
    assert "do not increase" in walk.truncated[0]


def endless(oids: list[Oid], count: int) -> Bindings:
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

    def once(oids: list[Oid], count: int) -> Bindings | None:
        nonlocal answered
        answered += 1
        if answered > 1:
            return None
        return [(oid, V2C.ObjectIdentifier((1, 3, 6, 1, 4, 1, 368, 1, 1))) for oid in oids]

    async def run() -> Poll:
        async with liar(once) as (port, _):
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


# --- what cannot be taken as asked ------------------------------------------------------------------------------------

SCALARS = [(*BASE, 1, number, 0) for number in range(1, 45)]
TEXTS = [".".join(map(str, oid)) for oid in SCALARS]
SPOILER = SCALARS[17]


def everything(oids: list[Oid], count: int) -> Bindings:
    return [(oid, V2C.Integer(oid[-2])) for oid in oids]


Polled = tuple[dict[str, Wire], dict[str, str], int]
"""What was found, what was lost and why, and how many requests it took."""


async def got(port: SplittingPort, protocol: Liar, oids: list[str] = TEXTS) -> Polled:
    before = protocol.requests
    lost: dict[str, str] = {}
    return await port.get(oids, lost=lost), lost, protocol.requests - before


def polls(answer: Answer, times: int = 2) -> list[Polled]:
    async def run() -> list[Polled]:
        async with liar(answer) as (port, protocol):
            return [await got(port, protocol) for _ in range(times)]

    return asyncio.run(run())


def spoilt(error: tuple[int, int] | bytes | None) -> Answer:
    """Return an agent that gives ``error`` for every request that asks for the spoiler."""
    return lambda oids, count: error if SPOILER in oids else everything(oids, count)


@pytest.mark.parametrize("error", [(5, 0), (5, 99), (5, 18), (1, 0), (2, 18), (6, 0), (13, 0), (16, 0)], ids=str)
def test_an_error_costs_one_reading_whatever_it_says(error: tuple[int, int]) -> None:
    """genErr and others, with the index of the object, without one, or with one that cannot be."""

    def answer(oids: list[Oid], count: int) -> Bindings | tuple[int, int]:
        if SPOILER not in oids:
            return everything(oids, count)
        return (error[0], oids.index(SPOILER) + 1) if error[1] == 18 else error

    first, second, third = polls(answer, times=3)
    for found, lost, _ in (first, second, third):
        assert sorted(set(TEXTS) - set(found)) == [TEXTS[17]]
        assert list(lost) == [TEXTS[17]]
        assert "error" in lost[TEXTS[17]]
    assert first[2] <= 3 + 2 * 5 + 1
    assert second[2] <= 8, "the size that works is remembered"
    assert third[2] == second[2]


def test_an_object_that_hangs_the_agent_costs_itself() -> None:
    first, second, third = polls(spoilt(None), times=3)
    for found, lost, _ in (first, second, third):
        assert sorted(set(TEXTS) - set(found)) == [TEXTS[17]]
        assert list(lost) == [TEXTS[17]]
    assert second[2] <= 7, "what hung is not asked again before an hour is over"
    assert third[2] == second[2]


def test_what_hung_is_asked_again_after_an_hour() -> None:
    now = 0.0
    mended = False

    def answer(oids: list[Oid], count: int) -> Bindings | None:
        return everything(oids, count) if mended or SPOILER not in oids else None

    async def run() -> list[set[str]]:
        nonlocal now, mended
        lacking = []
        async with liar(answer, monotonic=lambda: now) as (port, protocol):
            for now, mended in ((0.0, False), (1.0, True), (3700.0, True), (3701.0, True)):  # noqa: B007
                found, lost, _ = await got(port, protocol)
                assert set(lost) == set(TEXTS) - set(found)
                lacking.append(set(lost))
        return lacking

    assert asyncio.run(run()) == [{TEXTS[17]}, {TEXTS[17]}, set(), set()]


def test_answers_too_large_for_the_agent_or_the_way() -> None:
    """tooBig as the standard has it, genErr in its place, and silence: answers of more than 12 objects."""
    for error in ((1, 0), (5, 0), None):
        first, second = polls(lambda oids, count, error=error: everything(oids, count) if len(oids) <= 12 else error)  # type: ignore[misc]
        assert first[0].keys() == second[0].keys() == set(TEXTS)
        assert not first[1]
        assert not second[1]
        assert second[2] <= 6, "in tens, without trying twenties again"


def test_sizes_are_tried_again_after_an_hour() -> None:
    now = 0.0

    def answer(oids: list[Oid], count: int) -> Bindings | tuple[int, int]:
        return everything(oids, count) if len(oids) <= 5 or now > 0 else (1, 0)

    async def run() -> list[int]:
        nonlocal now
        counts = []
        async with liar(answer, monotonic=lambda: now) as (port, protocol):
            for now in (0.0, 100.0, 3700.0):  # noqa: B007
                counts.append((await got(port, protocol))[2])
        return counts

    _, small, large = asyncio.run(run())
    assert small >= 9
    assert large == 3


def test_an_agent_that_answers_the_first_object_only() -> None:
    first, second = polls(lambda oids, count: everything(oids[:1], count))
    assert first[0].keys() == second[0].keys() == set(TEXTS)
    assert second[2] == len(TEXTS)


def test_an_agent_that_answers_other_objects_is_bounded() -> None:
    (found, lost, requests), _ = polls(lambda oids, count: [((1, 3, 6, 1, 9), V2C.Integer(1))])
    assert not found
    assert lost.keys() == set(TEXTS)
    assert requests <= 2 * len(TEXTS)


def test_an_agent_that_gives_errors_for_everything_is_left_alone() -> None:
    async def run() -> int:
        async with liar(lambda oids, count: (5, 0)) as (port, protocol):
            with pytest.raises(SnmpBrokenError, match="genErr"):
                await port.get(TEXTS)
            return protocol.requests

    assert asyncio.run(run()) <= 25


def table(oids: list[Oid], count: int, last: int = 3) -> Bindings:
    """Answer GETBULK and GETNEXT in a table of columns ``BASE.2.<column>.<row>`` of ``last`` rows."""
    bindings: Bindings = []
    cursors = list(oids)
    for _ in range(max(count, 1)):
        for place, oid in enumerate(cursors):
            *head, column = oid[: len(BASE) + 2]
            row = oid[len(BASE) + 2] + 1 if len(oid) > len(BASE) + 2 else 1
            cursors[place] = (*head, column, row) if row <= last else (*head, column + 1, 1)
            bindings.append((cursors[place], V2C.Integer(column * 100 + row)))
    return bindings


COLUMNS = [".".join(map(str, (*BASE, 2, column))) for column in range(1, 13)]
CELLS = {f"{column}.{row}" for column in COLUMNS for row in (1, 2, 3)}


def walks(answer: Answer, times: int = 2) -> list[tuple[Walk, int]]:
    async def run() -> list[tuple[Walk, int]]:
        found = []
        async with liar(answer) as (port, protocol):
            for _ in range(times):
                before = protocol.requests
                found.append((await port.walk(COLUMNS), protocol.requests - before))
        return found

    return asyncio.run(run())


def test_a_walk_asks_for_the_rows_that_were_there() -> None:
    (first, _), (second, requests) = walks(table)
    assert first.values.keys() == second.values.keys() == CELLS
    assert not first.truncated + second.truncated
    assert requests == 1, "twelve columns of three rows and one more to see the end: 48 objects"


@pytest.mark.parametrize("error", [(5, 0), (1, 0), (2, 1), None], ids=str)
def test_an_agent_without_getbulk_is_walked_by_getnext(error: tuple[int, int] | None) -> None:
    def answer(oids: list[Oid], count: int) -> Bindings | tuple[int, int] | None:
        if count > 0:
            return error
        if oids == [(1, 3, 6, 1, 2, 1, 1, 2, 0)]:
            return [(oids[0], V2C.ObjectIdentifier(BASE))]
        return table(oids, count)

    if error == (2, 1):  # "there is no such name" is the end of a column, not a failure
        assert walks(answer, times=1)[0][0].values == {}
        return
    (first, _), (second, requests) = walks(answer)
    assert second.values.keys() == CELLS
    assert first.values.keys() == CELLS or error is None
    assert not second.truncated
    assert requests <= 20, "as many columns at once as were asked for by GETBULK"


@pytest.mark.parametrize("error", [(5, 0), (5, 1), b"0", None], ids=str)
def test_a_column_that_fails_costs_itself(error: tuple[int, int] | bytes | None) -> None:
    bad = (*BASE, 2, 5)

    def answer(oids: list[Oid], count: int) -> Bindings | tuple[int, int] | bytes | None:
        if oids == [(1, 3, 6, 1, 2, 1, 1, 2, 0)]:
            return [(oids[0], V2C.ObjectIdentifier(BASE))]
        return error if any(oid[: len(bad)] == bad for oid in oids) else table(oids, count)

    *_, (walk, requests) = walks(answer, times=3)
    assert walk.values.keys() == {cell for cell in CELLS if not cell.startswith(COLUMNS[4] + ".")}
    assert [text.partition(":")[0] for text in walk.truncated] == [COLUMNS[4]]
    assert requests <= 8


def test_an_answer_cut_short_goes_on_where_it_stopped() -> None:
    (first, _), (second, _) = walks(lambda oids, count: table(oids, count)[:7])
    assert first.values.keys() == second.values.keys() == CELLS


def test_a_flood_of_what_is_no_answer_ends(library: str) -> None:
    """From the device's own port, so that no address tells it apart."""

    async def run() -> float:
        async with liar(lambda oids, count: None) as (port, protocol):

            async def flood() -> None:
                while True:
                    if protocol.last is not None:
                        for _ in range(20):
                            protocol.transport.sendto(b"\x30\x03\x02\x01\x01", protocol.last[1])
                    await asyncio.sleep(0.001)

            flooding = asyncio.create_task(flood())
            watch = Stopwatch()
            with pytest.raises(SnmpError):
                await port.get(TEXTS[:1])
            flooding.cancel()
            return watch.seconds

    assert asyncio.run(run()) < 2.0


def test_an_answer_from_another_address_is_nobodys(library: str) -> None:
    if library == "pysnmp":
        pytest.skip("pysnmp takes an answer from any address")

    async def run() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            async with liar(lambda oids, count: None) as (port, protocol):

                def answer(oids: list[Oid], count: int) -> None:
                    assert protocol.last is not None
                    data, address = protocol.last
                    reply = Liar._reply(data, everything)
                    assert reply is not None
                    other.sendto(reply, address)

                protocol.answer = answer
                with pytest.raises(SnmpSilentError):
                    await port.get(TEXTS[:3])

    asyncio.run(run())


def test_an_answer_with_another_community_or_number_is_nobodys() -> None:
    for old, new in ((b"tests", b"other"), (b"\x02\x01\x00\x02\x01\x00", b"")):

        async def run(old: bytes = old, new: bytes = new) -> None:
            async with liar(lambda oids, count: None) as (port, protocol):

                def answer(oids: list[Oid], count: int) -> bytes:
                    assert protocol.last is not None
                    reply = Liar._reply(protocol.last[0], everything)
                    assert reply is not None
                    if new:
                        return reply.replace(old, new)
                    at = reply.index(old) - 1  # the last octet of the request's number
                    return reply[:at] + bytes((reply[at] ^ 1,)) + reply[at + 1 :]

                protocol.answer = answer
                with pytest.raises(SnmpError):
                    await port.get(TEXTS[:3])

        asyncio.run(run())


# --- a device with a profile ------------------------------------------------------------------------------------------

PROFILES = load_profiles()
SAMPLE = PROFILES["teltonika/rutos-7.10"].file.examples[0]
assert isinstance(SAMPLE.answers, list)
SERVED = {tuple(map(int, oid.split("."))): wire for oid, wire in read_capture("\n".join(SAMPLE.answers)).values.items()}
_TYPES: dict[str, Any] = {
    "integer": V2C.Integer32,
    "octets": V2C.OctetString,
    "oid": V2C.ObjectIdentifier,
    "ticks": V2C.TimeTicks,
    "gauge32": V2C.Gauge32,
    "counter32": V2C.Counter32,
    "counter64": V2C.Counter64,
    "address": V2C.IpAddress,
}


def served(oids: list[Oid], count: int) -> Bindings:
    """Answer as the profile's first example does."""

    def coded(oid: Oid) -> Any:
        return _TYPES[SERVED[oid].kind](SERVED[oid].value)

    if not count:
        return [(oid, coded(oid) if oid in SERVED else V2C.NoSuchInstance("")) for oid in oids]
    bindings: Bindings = []
    cursors = list(oids)
    for _ in range(abs(count)):
        for place, oid in enumerate(cursors):
            after = min((one for one in SERVED if one > oid), default=None)
            bindings.append((oid, V2C.EndOfMibView("")) if after is None else (after, coded(after)))
            cursors[place] = after or oid
    return bindings


def device_polls(answer: Answer, times: int = 3, **more: Any) -> list[Poll]:
    config = SnmpInput(address="127.0.0.1", community_file="unused", **{"deadline": 5.0, **more})

    async def run() -> list[Poll]:
        async with liar(answer) as (port, _):
            device = SnmpDevice(config, PROFILES, lambda _: port)
            return [await device.poll(float(number)) for number in range(times)]

    return asyncio.run(run())


def readings(poll: Poll) -> dict[tuple[str, str], object]:
    return {(reading.metric, str(sorted(reading.labels.items()))): reading.value for reading in poll.readings}


@functools.cache
def undisturbed(library: str) -> dict[tuple[str, str], object]:
    found = readings(device_polls(served, times=1)[0])
    assert len(found) > 10
    return found


CELL = (1, 3, 6, 1, 4, 1, 48690, 2, 2, 1)


@pytest.mark.parametrize(
    ("spoiler", "costs"), [((*CELL, 20, 1), "modem.rsrp_dbm"), ((1, 3, 6, 1, 4, 1, 48690, 1, 1, 0), None)], ids=str
)
@pytest.mark.parametrize("error", [(5, 0), None], ids=str)
def test_a_device_with_one_bad_object_keeps_its_neighbours(
    library: str, error: tuple[int, int] | None, spoiler: Oid, costs: str | None
) -> None:
    """`reachable` and every reading that does not come from the object are as before."""
    whole = undisturbed(library)

    def answer(oids: list[Oid], count: int) -> Bindings | tuple[int, int] | None:
        said = served(oids, count)
        return error if any(oid == spoiler for oid, _ in said) else said

    polls_made = device_polls(answer, times=6)
    for poll in polls_made:
        assert readings(poll)["device.reachable", "[]"] is True
    for poll in polls_made[-2 if error is None else 1 :]:
        found = readings(poll)
        assert found.items() <= whole.items()
        assert {metric for metric, _ in whole.keys() - found.keys()} == ({costs} if costs else set())
        assert any(flag.startswith("truncated") for flag in poll.flags)


def test_a_device_is_reachable_while_it_tells_its_sysobjectid(library: str) -> None:
    """Alone, and nothing else; whatever time-outs are configured. (pysnmp's own clock ticks in half seconds.)"""
    deadline, times = (1.2, 4) if library == "kitwatch" else (4.0, 2)

    def answer(oids: list[Oid], count: int) -> Bindings | None:
        return served(oids, count) if oids == [(1, 3, 6, 1, 2, 1, 1, 2, 0)] else None

    async def run() -> list[Poll]:
        async with liar(answer) as (_, protocol):
            _, number = protocol.transport.get_extra_info("sockname")
            config = SnmpInput(
                address="127.0.0.1", port=number, community_file=str(secret), timeout=5, deadline=deadline,
                library=library,  # type: ignore[arg-type]
            )  # fmt: skip
            device = SnmpDevice(config, PROFILES)
            found = [await device.poll(float(turn)) for turn in range(times)]
            await device.close()
            return found

    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder) / "community"
        secret.write_text("tests")
        secret.chmod(0o600)
        for poll in asyncio.run(run()):
            assert readings(poll)["device.reachable", "[]"] is True
            assert poll.problem is not None


def test_a_device_swapped_for_another_is_read_by_the_next_poll() -> None:
    """Without a pause in which it was silent: its sysObjectID says so."""
    swapped = False

    def answer(oids: list[Oid], count: int) -> Bindings:
        if not swapped:
            return served(oids, count)
        other = {(1, 3, 6, 1, 2, 1, 1, 2, 0): (1, 3, 6, 1, 4, 1, 99999, 1)}
        return [(oid, V2C.ObjectIdentifier(other[oid]) if oid in other else V2C.NoSuchObject("")) for oid in oids]

    async def run() -> tuple[Poll, Poll]:
        nonlocal swapped
        async with liar(answer) as (port, _):
            config = SnmpInput(address="127.0.0.1", community_file="unused")
            device = SnmpDevice(config, PROFILES, lambda _: port)
            before = await device.poll(0.0)
            swapped = True
            return before, await device.poll(1.0)

    before, after = asyncio.run(run())
    assert before.problem is None
    assert after.problem is not None
    assert "1.3.6.1.4.1.99999.1" in after.problem


# --- types ------------------------------------------------------------------------------------------------------------


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
