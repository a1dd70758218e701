"""Active probes of configured targets: ICMP echo, TCP connect, HTTP GET. Measurement ``link``, one label a target.

A probe is lost when no answer comes in time or the answer is not the expected one (another status, a text that is not
in it, a certificate that does not verify): ``link.loss_percent`` counts both, ``problem`` says which. Round trips are
taken from good answers only. ``device.reachable`` is true when any target answered anything.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
import math
import secrets
import socket
import ssl
import struct
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from agent.inputs.base import Poll
from telemetry.inputs import ProbeInput, Target
from telemetry.readings import Reading

if TYPE_CHECKING:
    import aiohttp

_SHARE: Final = 0.9
"""Share of the deadline that a poll uses itself: it must end before the scheduler cancels it."""
_SPACING: Final = 0.2
"""Seconds between two echo requests to one target."""
_AT_ONCE: Final = 32
"""Targets asked at the same time; more go in waves that share the deadline."""
_MAX_BODY: Final = 262_144
"""Bytes of an answer that are searched for the expected text."""
_CERTIFICATE_AGE: Final = 3600.0
"""Seconds for which a certificate that was fetched is taken as still the one in use."""
_SANE_WALL: Final = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
"""Before this the host's clock is unset and tells nothing about certificates."""


class ProbeError(Exception):
    """A probe got no good answer; the text says why. ``answered`` tells a wrong answer from none."""

    def __init__(self, why: str, *, answered: bool = False, status: int | None = None) -> None:
        super().__init__(why)
        self.answered = answered
        self.status = status


class Result(msgspec.Struct, frozen=True):
    """What the probes of one target brought.

    ``round_trips`` are milliseconds of the good answers in the order of sending, out of ``sent``.
    """

    sent: int
    round_trips: Sequence[float]
    answered: bool
    status: int | None = None
    certificate_days: int | None = None
    problem: str | None = None

    def readings(self, target: str) -> list[Reading]:
        """Return the readings: median of the round trips, mean difference of successive ones, share lost."""
        labels = {"target": target}
        lost = round(100 * (1 - len(self.round_trips) / self.sent), 1)
        readings = [Reading("link.loss_percent", lost, labels)]
        if self.round_trips:
            readings.append(Reading("link.rtt_ms", round(_median(self.round_trips), 3), labels))
        if len(self.round_trips) > 1:
            steps = [abs(after - before) for before, after in itertools.pairwise(self.round_trips)]
            readings.append(Reading("link.jitter_ms", round(math.fsum(steps) / len(steps), 3), labels))
        if self.status is not None:
            readings.append(Reading("link.status", self.status, labels))
        if self.certificate_days is not None:
            readings.append(Reading("link.certificate_days", self.certificate_days, labels))
        return readings


class Probe:
    """Probes all targets at the same time. ``wall`` gives UTC; it is needed for the days of a certificate only."""

    def __init__(
        self,
        config: ProbeInput,
        wall: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        self._config = config
        self._wall = wall
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._certificates: dict[str, tuple[float, datetime.datetime]] = {}

    async def poll(self, now: float) -> Poll:
        """Probe every target ``count`` times within the deadline."""
        names = list(self._config.targets)
        results = await asyncio.gather(*(self._probe(name, now) for name in names))
        readings = [Reading("device.reachable", any(result.answered for result in results))]
        for name, result in zip(names, results, strict=True):
            readings += result.readings(name)
        problems = [f"{name}: {result.problem}" for name, result in zip(names, results, strict=True) if result.problem]
        return Poll(readings, problem="; ".join(problems) or None)

    async def close(self) -> None:
        """Hold nothing between polls, let go of nothing."""

    async def _probe(self, name: str, now: float) -> Result:
        target = self._config.targets[name]
        count = self._config.count
        waves = math.ceil(len(self._config.targets) / _AT_ONCE)
        limit = self._config.deadline * _SHARE / waves
        # The probes end by themselves, with what they have; the limit is for what hangs (a name that does not resolve).
        budget = limit * _SHARE
        async with self._gate:
            try:
                async with asyncio.timeout(limit):
                    if target.kind == "icmp":
                        return await _icmp(target, count, budget)
                    if target.kind == "tcp":
                        return await _one_by_one(count, lambda: _connect(target, budget / count))
                    return await self._http(name, target, budget, now)
            except TimeoutError:
                return Result(count, [], answered=False, problem=f"no answer within {limit:g} s")
            except ProbeError as error:
                return Result(count, [], answered=error.answered, problem=str(error))

    async def _http(self, name: str, target: Target, budget: float, now: float) -> Result:
        count = self._config.count
        # One share is for the certificate of a server that does not answer otherwise.
        result = await _one_by_one(count, lambda: _get(target, budget / (count + 1)))
        url = urllib.parse.urlsplit(target.url or "")
        if url.scheme != "https" or not url.hostname:
            return result
        known = self._certificates.get(name)
        if known is None or now - known[0] > _CERTIFICATE_AGE or not result.round_trips:
            try:
                ends = await _certificate_end(url.hostname, url.port or 443, budget / (count + 1))
            except (OSError, ValueError):
                self._certificates.pop(name, None)
            else:
                self._certificates[name] = (now, ends)
        return _with_certificate(result, self._certificates.get(name), self._wall())


def _with_certificate(result: Result, known: tuple[float, datetime.datetime] | None, wall: datetime.datetime) -> Result:
    if known is None or wall < _SANE_WALL:
        return result
    return Result(
        result.sent,
        result.round_trips,
        answered=result.answered,
        status=result.status,
        certificate_days=(known[1] - wall) // datetime.timedelta(days=1),
        problem=result.problem,
    )


async def _one_by_one(count: int, probe: Callable[[], Awaitable[tuple[float, int | None]]]) -> Result:
    """Run probes that give (round trip ms, status), one after the other; the last problem is the one that is told."""
    round_trips: list[float] = []
    answered, status, problem = False, None, None
    for _ in range(count):
        try:
            milliseconds, status = await probe()
        except ProbeError as error:
            problem, answered = str(error), answered or error.answered
            status = error.status or status
        else:
            round_trips.append(milliseconds)
            answered = True
    return Result(count, round_trips, answered=answered, status=status, problem=problem)


async def _connect(target: Target, seconds: float) -> tuple[float, None]:
    began = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(target.address, target.port)
    except TimeoutError:
        raise ProbeError(f"no answer within {seconds:g} s") from None
    except OSError as error:
        # A refusal comes from the host itself: it is there, the service is not.
        raise ProbeError(_words(error), answered=isinstance(error, ConnectionRefusedError)) from error
    milliseconds = (time.monotonic() - began) * 1000
    writer.transport.abort()
    return milliseconds, None


async def _get(target: Target, seconds: float) -> tuple[float, int]:
    """GET the target once on a connection of its own and return (ms until the answer began, status)."""
    import aiohttp

    began = time.monotonic()
    try:
        async with (
            asyncio.timeout(seconds),
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, ssl=target.verify)) as session,
            # A redirect is an answer; where it leads to is another target.
            session.get(target.url or "", allow_redirects=False) as response,
        ):
            milliseconds = (time.monotonic() - began) * 1000
            await _judge(target, response)
            return milliseconds, response.status
    except TimeoutError:
        raise ProbeError(f"no answer within {seconds:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        answered = isinstance(error, aiohttp.ClientResponseError | ssl.SSLError | ConnectionRefusedError)
        answered = answered or isinstance(error, aiohttp.ClientSSLError)
        raise ProbeError(_words(error), answered=answered) from error


async def _judge(target: Target, response: aiohttp.ClientResponse) -> None:
    """Raise ProbeError unless the answer is the expected one: a status under 400 where none is named."""
    status = response.status
    wanted = target.expect_status
    good = status < 400 if wanted is None else status == wanted
    if not good:
        expected = wanted or "a status under 400"
        raise ProbeError(f"expected {expected}, found {status}", answered=True, status=status)
    if target.expect_text is not None:
        body = b""
        async for chunk in response.content.iter_chunked(65536):
            body += chunk
            if len(body) >= _MAX_BODY:
                break
        if target.expect_text not in body.decode(errors="replace"):
            found = f"expected the text {target.expect_text!r}, not found in {len(body)} bytes"
            raise ProbeError(found, answered=True, status=status)


async def _certificate_end(host: str, port: int, seconds: float) -> datetime.datetime:
    """Return when the server's certificate ends. Nothing is verified: an expired one must be readable too.

    Raises OSError (also for TLS and time-out) and ValueError (a certificate that does not parse).
    """
    from cryptography import x509

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with asyncio.timeout(seconds):
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        der: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    return x509.load_der_x509_certificate(der or b"").not_valid_after_utc


class _Echo:
    """One socket for ICMP echo (RFC 792, RFC 4443) to one address, with a nonce that nobody else's answers carry."""

    def __init__(self, family: int, address: tuple[Any, ...]) -> None:
        self._v6 = family == socket.AF_INET6
        protocol = socket.IPPROTO_ICMPV6 if self._v6 else socket.IPPROTO_ICMP
        try:
            self.socket, self._raw = socket.socket(family, socket.SOCK_DGRAM, protocol), False
        except PermissionError:
            self.socket, self._raw = _raw_socket(family, protocol), True
        self.socket.setblocking(False)
        self._address = address
        self._nonce = secrets.token_bytes(16)

    def request(self, sequence: int) -> None:
        """Send one request. Raises OSError (no route, network down)."""
        body = self._nonce + bytes(24)
        kind = 128 if self._v6 else 8
        packet = struct.pack("!BBHHH", kind, 0, 0, int.from_bytes(self._nonce[:2], "big"), sequence) + body
        if not self._v6:  # the kernel fills in the sum of ICMPv6, and the identifier of datagram sockets
            packet = packet[:2] + internet_checksum(packet).to_bytes(2, "big") + packet[4:]
        self.socket.sendto(packet, self._address)

    async def answer(self) -> int:
        """Return the sequence number of the next answer to one of our requests."""
        loop = asyncio.get_running_loop()
        while True:
            packet = await loop.sock_recv(self.socket, 2048)
            if self._raw and not self._v6:
                packet = packet[(packet[0] & 0x0F) * 4 :] if packet else b""
            # An identifier is rewritten by datagram sockets and by address translation; the nonce is ours.
            if len(packet) >= 24 and packet[0] == (129 if self._v6 else 0) and packet[8:24] == self._nonce:
                return int.from_bytes(packet[6:8], "big")


def _raw_socket(family: int, protocol: int) -> socket.socket:
    try:
        return socket.socket(family, socket.SOCK_RAW, protocol)
    except PermissionError:
        message = "ICMP is not allowed here: it needs the group in net.ipv4.ping_group_range, or CAP_NET_RAW"
        raise ProbeError(message) from None


def internet_checksum(data: bytes) -> int:
    """Return the ones' complement sum of RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


async def _icmp(target: Target, count: int, budget: float) -> Result:
    """Send ``count`` requests, ``_SPACING`` apart or closer where the time is short, and wait for all answers."""
    loop = asyncio.get_running_loop()
    try:
        family, *_, address = (await loop.getaddrinfo(target.address, None, type=socket.SOCK_DGRAM))[0]
        echo = _Echo(family, address)
    except OSError as error:
        raise ProbeError(_words(error)) from error
    sent: dict[int, float] = {}
    received: dict[int, float] = {}
    with echo.socket:
        listening = asyncio.create_task(_collect(echo, sent, received, count))
        try:
            problem = await _send(echo, sent, count, min(_SPACING, budget / 2 / count))
            end = budget - min(_SPACING * count, budget / 2)
            await asyncio.wait({listening}, timeout=end if sent else 0)
        finally:
            await _cancel(listening)
    if not received and problem is None:
        problem = "no answer"
    round_trips = [received[sequence] for sequence in sorted(received)]
    return Result(count, round_trips, answered=bool(received), problem=problem)


async def _send(echo: _Echo, sent: dict[int, float], count: int, spacing: float) -> str | None:
    problem = None
    for sequence in range(count):
        if sequence:
            await asyncio.sleep(spacing)
        began = time.monotonic()
        try:
            echo.request(sequence)
        except OSError as error:
            problem = _words(error)
        else:
            sent[sequence] = began
    return problem


async def _collect(echo: _Echo, sent: dict[int, float], received: dict[int, float], count: int) -> None:
    while len(received) < count:
        try:
            sequence = await echo.answer()
        except OSError:
            # An ICMP error about an earlier request, which stays unanswered; should it persist, do not spin.
            await asyncio.sleep(0.01)
            continue
        if sequence in sent:
            received.setdefault(sequence, (time.monotonic() - sent[sequence]) * 1000)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two in the middle; ``statistics`` costs an agent 0.3 MB."""
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
