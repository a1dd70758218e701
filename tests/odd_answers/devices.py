"""Devices that answer oddly, over SNMP, HTTP, RTSP, AT and NMEA, and the agent's inputs that ask them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import os
import pty
import tty
from contextlib import AsyncExitStack
from typing import Any, Final

from agent.inputs import open_input
from agent.inputs.base import Input
from agent.snmp import ber
from firmware_profiles.load import load_profiles
from telemetry.inputs import GnssInput, HttpInput, InputConfig, ModemInput, SnmpInput, StreamInput
from tests.odd_answers.mutations import LONG, odd
from tests.odd_answers.run import Kind
from tests.services.snmp_request import read_request


class Device(Kind):
    """A device that an input of the agent polls: whatever comes, ``poll`` returns."""

    def config(self, where: Any) -> InputConfig:
        """Return the input's configuration for a port or file."""
        raise NotImplementedError

    async def serve(self, stack: AsyncExitStack) -> Any:
        """Begin to answer; return where."""
        raise NotImplementedError

    async def read(self, number: int, wanted: int, stack: AsyncExitStack) -> None:
        """See ``Kind``. A new input now and then: one that has met odd answers may ask less."""
        where = await self.serve(stack)
        source: Input | None = None
        now = 0.0
        try:
            while self.told.answers < wanted:
                if source is None or self.chance.random() < 0.1:
                    if source is not None:
                        await source.close()
                    source = open_input(self.config(where))
                now += 600.0  # what rests after a failure is over
                poll = await self.call(source.poll(now))
                told = {one.metric for one in poll.readings} - {"device.reachable", "modem.port_open"}
                self.told.outcomes["readings" if told else "problem" if poll.problem else "bare"] += 1
        finally:
            if source is not None:
                await source.close()


# --- SNMP -------------------------------------------------------------------------------------------------------------


class Snmp(Device):
    """A v2c agent: the request with other values, or in other words, comes back."""

    side_by_side = 24
    deadline_s = 0.4

    def config(self, where: Any) -> InputConfig:
        secret = self.directory / "community"
        if not secret.exists():
            secret.write_text("public\n")
            secret.chmod(0o600)
        return SnmpInput(
            address="127.0.0.1", port=where, community_file=str(secret), interval=1, deadline=self.deadline_s,
        )  # fmt: skip

    async def serve(self, stack: AsyncExitStack) -> Any:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Agent(self), local_addr=("127.0.0.1", 0))
        stack.callback(transport.close)
        return transport.get_extra_info("sockname")[1]

    def value(self) -> bytes:
        """Return a value of any type, mostly with a content that fits it."""
        chance = self.chance
        text = chance.choice((b"RUTX50", b"-95 dBm", b"Linux RUT 5.4", b"1", b"0", b"12.3", b"NR5G-SA", b"46000"))
        kinds: tuple[tuple[int, bytes], ...] = (
            (0x02, bytes([chance.randrange(256)])), (0x04, text), (0x04, text), (0x05, b""), (0x40, bytes(4)),
            (0x41, b"\x7f\xff\xff\xff"), (0x42, b"\0\xff\xff\xff\xff"), (0x43, b"\x12"), (0x46, b"\x7f" * 8),
            (0x80, b""), (0x81, b""),
        )  # fmt: skip
        tag, content = chance.choice(kinds)
        if self.oddly(0.05):
            tag, content = chance.choice((tag, 0x7F, 0x82)), odd(chance, content)
        return ber.tlv(tag, content)


class _Agent(asyncio.DatagramProtocol):
    def __init__(self, kind: Snmp) -> None:
        self._kind = kind
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        chance, kind = self._kind.chance, self._kind
        answer = data.replace(b"\xa0", b"\xa2", 1) if kind.oddly(0.1) else self._filled(data)
        if kind.oddly(0.6):
            answer = odd(chance, answer)
        if not kind.oddly(0.02):  # else silence
            self._transport.sendto(kind.answered(answer)[:60_000], address)
        else:
            kind.answered(b"")

    def _filled(self, data: bytes) -> bytes:
        """Return the request as an answer: each asked object with a value, sysObjectID with one that is known."""
        kind = self._kind
        request = read_request(data)
        found = []
        for content in request.oids:
            oid = ber.tlv(0x06, content)
            if request.tag != 0xA0:
                oid = ber.tlv(0x06, content + bytes([kind.chance.randrange(1, 5)]))
            known = oid.endswith(b"\x02\x01\x01\x02\x00") and not kind.oddly(0.1)
            value = kind.chance.choice(_SYS_OBJECT_IDS) if known else kind.value()
            found.append(ber.tlv(ber.SEQUENCE, oid + value))
        if request.tag == 0xA5:
            found *= min(max(request.repetitions, 1), 20)
        status = kind.chance.choice((1, 2, 5, 99)) if kind.oddly(0.4) else 0
        head = request.number + ber.integer(status) + ber.integer(0)
        pdu = ber.tlv(0xA2, head + ber.tlv(ber.SEQUENCE, b"".join(found)))
        return ber.tlv(ber.SEQUENCE, request.before + pdu)


_PROFILES: Final = load_profiles()
_SYS_OBJECT_IDS: Final = sorted(
    {
        ber.tlv(0x06, ber.oid(found.replace("*", "1")))
        for profile in _PROFILES.values()
        for found in profile.match.sys_object_id
        if found != "*"
    }
)
_OVER_HTTP: Final = sorted(name for name, profile in _PROFILES.items() if profile.transport == "http")
_PAGES: Final = {
    name: [
        {_PROFILES[name].requests[request].path: body.encode() for request, body in example.answers.items()}
        for example in _PROFILES[name].file.examples
        if isinstance(example.answers, dict) and example.readings
    ]
    for name in _OVER_HTTP
}
"""By profile, what a device of each example answers at each path."""

# --- HTTP and RTSP ----------------------------------------------------------------------------------------------------

_HEADERS: Final = (
    b"WWW-Authenticate: Digest realm=\"IP Camera(E1234)\", nonce=\"abc\", qop=\"auth\"",
    b"WWW-Authenticate: Basic realm=x", b"Retry-After: 1e99", b"Transfer-Encoding: chunked",
    b"Set-Cookie: a=b", b"Location: /other", b"Location: http://[::1/",
    b"Content-Encoding: gzip", b"Content-Length: -1", b"Content-Length: 99999999999", b"X-Long: " + b"a" * 9000,
    b"Session: 12;timeout=0", b"Transport: RTP/AVP/TCP;interleaved=0-1", b"Transport: RTP/AVP/TCP;interleaved=999-0",
    b"Content-Base: rtsp://[", b"CSeq: -1",
)  # fmt: skip


_CODES: Final = (204, 302, 400, 401, 404, 413, 422, 429, 503, 999)
_STATUSES: Final = (b"200 OK",) * 8 + tuple(b"%d No" % code for code in _CODES)
_BOMB: Final = gzip.compress(bytes(2**20 * 8))


def reply(kind: Kind, protocol: bytes, body: bytes, more: tuple[bytes, ...] = ()) -> bytes:
    """Return an answer of HTTP or RTSP: mostly a sound head, any status, a header that does not fit now and then."""
    chance = kind.chance
    if not kind.oddly(0.8):
        return b"%s 200 OK\r\n%s\r\n\r\n%s" % (protocol, b"\r\n".join((*more, b"Content-Length: %d" % len(body))), body)
    if chance.random() < 0.03:
        body = _BOMB
        more = (*more, b"Content-Encoding: gzip")
    elif chance.random() < 0.6:
        body = odd(chance, body)
    status = chance.choice(_STATUSES)
    headers = [*more, b"Content-Length: %d" % len(body)]
    for _ in range(chance.choice((0, 0, 1, 3))):
        headers.insert(chance.randrange(len(headers) + 1), chance.choice(_HEADERS))
    return b"%s %s\r\n%s\r\n\r\n%s" % (protocol, status, b"\r\n".join(headers), body)


class _Server(Device):
    """Answers each request that ends in an empty line."""

    def answer(self, request: bytes, port: int) -> bytes:
        raise NotImplementedError

    async def serve(self, stack: AsyncExitStack) -> Any:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        stack.callback(server.close)
        return server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(self.answered(self.answer(request, port)))
                await writer.drain()
                if self.chance.random() < 0.7:
                    break
        writer.close()


class Http(_Server):
    """A camera or gateway over HTTP."""

    side_by_side = 40
    deadline_s = 0.6

    def config(self, where: Any) -> InputConfig:
        secret = self.directory / "password"
        if not secret.exists():
            secret.write_text("secret\n")
            secret.chmod(0o600)
        login = self.chance.random() < 0.5
        return HttpInput(
            url=f"http://127.0.0.1:{where}", interval=1, deadline=self.deadline_s, profile=self._profiles[where],
            user="kit" if login else None, password_file=str(secret) if login else None,
        )  # fmt: skip

    async def serve(self, stack: AsyncExitStack) -> Any:
        port = await super().serve(stack)
        self._profiles[port] = self.chance.choice(_OVER_HTTP)
        return port

    @functools.cached_property
    def _profiles(self) -> dict[int, str]:
        """Which make of device is at which port."""
        return {}

    def answer(self, request: bytes, port: int) -> bytes:
        pages = self.chance.choice(_PAGES[self._profiles[port]] or [{}])
        path = request.split(b" ")[1].decode("ascii", "replace") if request.count(b" ") > 1 else ""
        good = reply(self, b"HTTP/1.1", pages.get(path) or self.chance.choice([b"", *pages.values()]))
        return odd(self.chance, good) if self.oddly(0.2) else good


_SDP: Final = b"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=1\r\n"
_RTP: Final = b"$\0\0\xd4\x80\xe0\0\x01\0\0\0\x01\0\0\x124" + bytes(200)


class Rtsp(_Server):
    """An encoder's stream, over TCP."""

    side_by_side = 60
    deadline_s = 0.8

    def config(self, where: Any) -> InputConfig:
        return StreamInput(url=f"rtsp://127.0.0.1:{where}/s", play=0.2, interval=1, deadline=self.deadline_s)

    def answer(self, request: bytes, port: int) -> bytes:
        number = request.partition(b"CSeq: ")[2].split(b"\r\n")[0]
        head: tuple[bytes, ...] = (b"CSeq: " + number,)
        body = b""
        if request.startswith(b"DESCRIBE"):
            body, head = _SDP, (*head, b"Content-Type: application/sdp")
        elif request.startswith(b"SETUP"):
            head = (*head, b"Session: 12", b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        good = reply(self, b"RTSP/1.0", body, head)
        if request.startswith(b"PLAY"):
            good += b"".join(odd(self.chance, _RTP) for _ in range(20))
        return odd(self.chance, good) if self.oddly(0.2) else good


# --- serial -----------------------------------------------------------------------------------------------------------


class _Serial(Device):
    async def serve(self, stack: AsyncExitStack) -> Any:
        master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        loop = asyncio.get_running_loop()
        self.begin(master, loop)
        stack.callback(os.close, slave)
        stack.callback(os.close, master)
        stack.callback(loop.remove_writer, master)
        stack.callback(loop.remove_reader, master)
        return os.ttyname(slave)

    def begin(self, master: int, loop: asyncio.AbstractEventLoop) -> None:
        raise NotImplementedError


_AT: Final = (
    b'+QENG: "servingcell","NOCONN","NR5G-SA","TDD",460,00,90A0D4001,392,1A2B3C,504990,41,12,-92,-11,18,1,25',
    b'+QENG: "LTE","FDD",460,00,1A2D001,5,1300,3,5,5,DE10,-98,-12,-66,11,34,-,-',
    b'+QENG: "NR5G-NSA",460,00,658,-95,24,-11,504990,41',
    b'+QCAINFO: "PCC",1300,100,"LTE BAND 3",1,5,-98,-12,-66,11',
    b"+CPSI: NR5G_SA,Online,460-00,0x90A0,123,41,NR5G_BAND41,504990,-92,-11,18",
    b'#RFSTS: "460 00",1300,-98,-66,-12',
    b'+C5GREG: 2,1,"90A0D4","1A2B",11,8',
    b'^HCSQ: "NR",50,180,20',
    b'+COPS: 0,0,"CHINA MOBILE",13',
    b'+QTEMP: "modem","45"',
    b"+CSQ: 21,99",
    b"+CREG: 2,1",
    b"+CPIN: READY",
    b"Quectel",
    b"RM500Q-GL",
    b"89860000000000000000",
)


class At(_Serial):
    """A modem: each command is answered with a line or some of any maker's, and OK or an error."""

    side_by_side = 16
    deadline_s = 1.5

    def config(self, where: Any) -> InputConfig:
        return ModemInput(port=where, interval=2, deadline=self.deadline_s)

    def begin(self, master: int, loop: asyncio.AbstractEventLoop) -> None:
        pending = b""

        def readable() -> None:
            nonlocal pending
            with contextlib.suppress(OSError):
                pending += os.read(master, 4096)
                *commands, pending = pending.split(b"\r")
                for command in commands:
                    os.write(master, self.answered(self._answer(command))[:4000])

        loop.add_reader(master, readable)

    def _answer(self, command: bytes) -> bytes:
        chance = self.chance
        lines = [chance.choice(_AT) for _ in range(chance.choice((0, 1, 1, 1, 2, 8)))]
        last = chance.choice(
            (b"OK",) * 8 + (b"ERROR", b"+CME ERROR: 10", b"+CME ERROR: SIM not inserted", b"NO CARRIER")
        )
        good = b"".join(b"\r\n" + line + b"\r\n" for line in lines)
        if self.oddly(0.8):
            good = odd(chance, good)
        end = b"\r\n" + last + b"\r\n" if chance.random() < 0.995 else b""
        return (command + b"\r" if chance.random() < 0.1 else b"") + good + end


_NMEA: Final = (
    b"GPGGA,092750.000,5321.6802,N,00630.3372,W,1,8,1.03,61.7,M,55.2,M,,",
    b"GNRMC,092751.000,A,5321.6802,N,00630.3371,W,0.06,31.66,280511,,,A",
    b"GPGSV,3,1,11,10,63,137,17,07,61,098,15,05,59,290,20,08,54,157,30",
    b"GNGSA,A,3,10,07,05,02,29,04,08,13,,,,,1.72,1.03,1.38",
    b"GPVTG,31.66,T,,M,0.06,N,0.11,K,A",
    b"GPTXT,01,01,02,ANTSTATUS=OK",
    b"PUBX,00,092750.00,,,,,NF,,,,,,,,,,,,,",
    b"GNZDA,092750,28,05,2011,00,00",
)


class Nmea(_Serial):
    """A receiver that never stops: what it says is taken as fast as the port's budget lets it."""

    side_by_side = 8
    deadline_s = 1.0

    def config(self, where: Any) -> InputConfig:
        return GnssInput(port=where, interval=2, deadline=self.deadline_s)

    def begin(self, master: int, loop: asyncio.AbstractEventLoop) -> None:
        rest = b""

        def writable() -> None:
            nonlocal rest
            if not rest:
                rest = self.answered(self._sentence())
            with contextlib.suppress(OSError):
                rest = rest[os.write(master, rest[:4000]) :]

        loop.add_writer(master, writable)

    def _sentence(self) -> bytes:
        chance = self.chance
        body = chance.choice(_NMEA)
        if self.oddly(0.7):
            body = odd(chance, body)[: LONG // 8]
        total = 0
        for byte in body:
            total ^= byte
        sentence = b"$%s*%02X\r\n" % (body, total)
        return odd(chance, sentence)[: LONG // 8] if self.oddly(0.2) else sentence
