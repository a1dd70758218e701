"""An RTSP stream, played for some seconds at each poll and measured without decoding it: measurement ``stream``.

Each poll is a session of its own, ended with TEARDOWN: cameras serve few sessions, and a session that stands open for
ever would not show that a new one fails. ``device.reachable`` is true when the server answered in RTSP at all;
``stream.up`` when video packets came. What is and is not seen of a frozen picture: :mod:`agent.protocols.rtp`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import secrets
import socket
import time
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from agent.inputs.base import Poll
from agent.protocols.rtp import Report, Statistics
from agent.protocols.rtsp import Client, Media, Playing, RtspError, Send, Stopped, clean_url
from agent.refused_login import RefusedLogin
from telemetry.files import FileError, read_secret
from telemetry.inputs import StreamInput
from telemetry.readings import Reading

_PORT: Final = 554
_SHARE: Final = 0.9
"""Share of the deadline that a poll uses itself: it must end before the scheduler cancels it."""
_LEAST_PLAY: Final = 0.5
_GOODBYE: Final = 0.3
"""Seconds that the server has to answer TEARDOWN."""
_RECEIVE_BUFFER: Final = 1 << 21
"""Bytes that the kernel may keep for us: a loss of our own must not look like the encoder's."""
_UDP: Final = Path("/proc/net/udp")
_UDP6: Final = Path("/proc/net/udp6")
_SAME_SIZE_FRAMES: Final = 20
_NO_FRAMES: Final = frozenset({"MP2T"})
"""Payloads whose time stamps do not tell frames apart (RFC 2250: those of the transport, not of the picture)."""


class Stream:
    """Plays one stream. ``clock`` gives monotonic seconds to time packets with."""

    def __init__(self, config: StreamInput, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._url = clean_url(config.url)
        self._refused = RefusedLogin(f"user {config.user!r} at {urllib.parse.urlsplit(self._url).netloc}")

    async def poll(self, now: float) -> Poll:
        """Play the stream for as long as the deadline lets us, and measure it."""
        mark = b""
        try:
            password = (
                None
                if self._config.password_file is None
                else read_secret(self._config.password_file, "stream.password_file")
            )
        except FileError as error:
            return Poll(problem=str(error))
        if password is not None:
            mark = hashlib.sha256(password.encode()).digest()
        resting = self._refused.rests(now, mark)
        client = Client(
            self._url,
            cnonce=lambda: secrets.token_hex(8),
            user=None if resting else self._config.user,
            password=None if resting else password,
            basic=self._config.basic_in_clear,
        )
        session = _Session(client, self._url, self._config.transport == "udp", self._clock)
        problem: str | None = None
        try:
            async with asyncio.timeout(self._config.deadline * _SHARE):
                await session.play(self._config.play, self._config.deadline * _SHARE)
        except RtspError as error:
            problem = str(error)
            if error.login:
                self._refused.refuse(now, problem, mark)
                problem = self._refused.told
        except TimeoutError:
            problem = "no answer in time"
        except OSError as error:
            problem = str(error) or type(error).__name__
        finally:
            session.close()
        if resting and client.heard and not session.played:
            problem = self._refused.told
        if session.played and not resting:
            self._refused.accept()
        return self._report(session, problem, silent=resting and not session.played)

    async def close(self) -> None:
        """Hold nothing between polls, let go of nothing."""

    def _report(self, session: _Session, problem: str | None, *, silent: bool) -> Poll:
        labels = {"stream": self._config.stream}
        readings = [Reading("device.reachable", session.client.heard)]
        report = session.report()
        # While a login rests we know nothing of the stream, and an unreachable server says nothing of it either.
        if session.client.heard and not silent:
            readings.append(Reading("stream.up", report is not None, labels))
        if report is None:
            if session.played and problem is None:
                problem = "the server plays, but no video packet came"
            return Poll(readings, problem=problem)
        readings += [
            Reading("stream.packet_loss_percent", round(report.loss_percent, 2), labels),
            Reading("stream.bitrate_kbps", round(report.bitrate_kbps, 1), labels),
        ]
        if report.jitter_ms is not None:
            readings.append(Reading("stream.jitter_ms", round(report.jitter_ms, 2), labels))
        flags = []
        if session.own_drops:
            # Loss of our own must not be told as the encoder's.
            readings = [reading for reading in readings if reading.metric != "stream.packet_loss_percent"]
            flags.append(f"withheld stream.packet_loss_percent: {session.own_drops} packets dropped by this machine")
        if session.codec not in _NO_FRAMES:
            readings.append(Reading("stream.frames_per_second", round(report.frames_per_second, 1), labels))
            readings.append(Reading("stream.frozen", report.frozen, labels))
            if not report.frozen and report.same_size_run >= max(_SAME_SIZE_FRAMES, report.frames * 0.8):
                run, size = report.same_size_run, report.same_size
                flags.append(f"stale stream.frozen: {run} frames of exactly {size} bytes, perhaps one picture repeated")
        return Poll(readings, flags=flags, problem=problem)


class _Ports:
    """A pair of UDP ports, the even one for RTP and the next for RTCP (RFC 3550 section 11)."""

    def __init__(self, family: int) -> None:
        self.table = _UDP6 if family == socket.AF_INET6 else _UDP
        for _ in range(50):
            rtp = _udp_socket(family, 0)
            number = rtp.getsockname()[1]
            if number % 2 == 0:
                try:
                    self.sockets = (rtp, _udp_socket(family, number + 1))
                except OSError:
                    pass
                else:
                    self.numbers = (number, number + 1)
                    return
            rtp.close()
        raise OSError("no free pair of UDP ports")

    def close(self) -> None:
        for each in self.sockets:
            each.close()


def _udp_socket(family: int, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        made.setblocking(False)
        made.bind(("", port))
    except OSError:
        made.close()
        raise
    return made


def own_drops(port: int, table: Iterable[str]) -> int:
    """Return how many datagrams for a local UDP port this machine received and threw away, its reader being too slow.

    ``table`` is the lines of ``/proc/net/udp`` or ``udp6``: the second column is address:port in hexadecimal, the last
    the drops of the socket (proc(5)).
    """
    ending = f":{port:04X}"
    columns = (line.split() for line in table)
    return sum(int(each[-1]) for each in columns if len(each) > 9 and each[1].endswith(ending))


class _Receiver(asyncio.DatagramProtocol):
    """Hands on what comes from the addresses in ``sources``: the server's, and the one that it names for media."""

    def __init__(self, take: Callable[[bytes], None], sources: set[str]) -> None:
        self._take = take
        self._sources = sources

    def datagram_received(self, data: bytes, address: tuple[Any, ...]) -> None:
        if address[0] in self._sources:
            self._take(data)


def _ignore(_: bytes) -> None:
    """Take nothing from a packet."""


class _Session:
    """One session on one connection."""

    def __init__(self, client: Client, url: str, udp: bool, clock: Callable[[], float]) -> None:
        self.client = client
        self.codec = ""
        self.played = False
        self.own_drops = 0
        self._address = urllib.parse.urlsplit(url)
        self._udp = udp
        self._ports: _Ports | None = None
        self._clock = clock
        self._writer: asyncio.StreamWriter | None = None
        self._transports: list[asyncio.DatagramTransport] = []
        self._sources: set[str] = set()
        self._statistics: Statistics | None = None
        self._began: list[tuple[bytes, float]] = []
        self._end = 0.0

    def report(self) -> Report | None:
        """Return what was measured, None if no video packet came."""
        return None if self._statistics is None else self._statistics.report(self._end)

    async def play(self, seconds: float, budget: float) -> None:
        """Play for ``seconds``, less where ``budget`` seconds from now are over before.

        Raises OSError, RtspError, and TimeoutError when too little time is left once the server plays.
        """
        limit = self._clock() + budget - _GOODBYE
        host, port = self._address.hostname, self._address.port or _PORT
        reader, self._writer = await asyncio.open_connection(host, port)
        if self._udp:
            await self._listen(self._writer)
        self._writer.write(self.client.begin())
        while not self.played:
            self._take(await self._read(reader))
        self._end = min(self._clock() + seconds, limit)
        if self._end - self._clock() < min(_LEAST_PLAY, seconds):
            raise TimeoutError
        alive = self._clock()
        while (left := self._end - self._clock()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, self.client.session_timeout / 3)):
                    self._take(await self._read(reader))
            if self._clock() - alive > self.client.session_timeout / 3:
                alive = self._clock()
                self._writer.write(self.client.keep_alive())
        await self._say_goodbye(reader)

    def close(self) -> None:
        """Let go of connection and ports, with a TEARDOWN if the session is still open."""
        if self._ports is not None:
            with contextlib.suppress(OSError), self._ports.table.open(encoding="ascii") as table:
                self.own_drops = own_drops(self._ports.numbers[0], table)
        for transport in self._transports:
            transport.close()
        if self._ports is not None:
            self._ports.close()
        self._end = min(self._end, self._clock())
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.write(self.client.stop())
            self._writer.close()

    async def _say_goodbye(self, reader: asyncio.StreamReader) -> None:
        assert self._writer is not None
        self._writer.write(self.client.stop())
        with contextlib.suppress(TimeoutError, OSError, RtspError):
            async with asyncio.timeout(_GOODBYE):
                while True:
                    for event in self.client.receive(await self._read(reader)):
                        if isinstance(event, Stopped):
                            return

    async def _listen(self, writer: asyncio.StreamWriter) -> None:
        """Take ports of the connection's family, and hear on them whom we are connected to."""
        self._sources.add(str(writer.get_extra_info("peername")[0]))
        self._ports = _Ports(writer.get_extra_info("socket").family)
        self.client.ports = self._ports.numbers
        loop = asyncio.get_running_loop()
        # RTCP is received so that the server gets no ICMP errors, and not needed.
        for each, take in zip(self._ports.sockets, (self._media, _ignore), strict=True):
            made = loop.create_datagram_endpoint(functools.partial(_Receiver, take, self._sources), sock=each)
            self._transports.append((await made)[0])

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        data = await reader.read(65536)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        return data

    def _take(self, data: bytes) -> None:
        for event in self.client.receive(data):
            if isinstance(event, Send) and self._writer is not None:
                self._writer.write(event.data)
            elif isinstance(event, Media) and not event.control:
                self._media(event.data)
            elif isinstance(event, Playing):
                self.played, self.codec = True, event.track.codec
                if event.source is not None:
                    self._sources.add(event.source)
                self._statistics = Statistics(event.track.clock_rate, frozenset(event.track.payload_types))
                for packet, arrival in self._began:
                    self._statistics.receive(packet, arrival)
                self._began.clear()
            elif isinstance(event, Stopped):
                raise RtspError("PLAY", "the server has ended the session")

    def _media(self, data: bytes) -> None:
        arrival = self._clock()
        if self._statistics is not None:
            self._statistics.receive(data, arrival)
        elif len(self._began) < 1000:  # some servers send before they answer PLAY
            self._began.append((data, arrival))
