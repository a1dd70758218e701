"""The probe input against real sockets: loopback, a namespace that loses packets, an HTTP and a TLS server."""

import asyncio
import contextlib
import ctypes
import datetime
import platform
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.inputs.base import Poll
from agent.inputs.probe import Probe, Result, internet_checksum
from telemetry.inputs import ProbeInput, Target
from telemetry.metrics import metric
from tests.integration.namespace import namespace
from tests.services.http import serving
from tests.services.stopwatch import Stopwatch

NOW = datetime.datetime(2026, 6, 1, 12, 0, tzinfo=datetime.UTC)


def probe(count: int = 3, deadline: float = 2.0, **targets: Target) -> Probe:
    return Probe(ProbeInput(targets=targets, count=count, deadline=deadline), lambda: NOW)


def values(poll: Poll, target: str) -> dict[str, Any]:
    for reading in poll.readings:
        metric(reading.metric).check(reading.value)
    return {reading.metric: reading.value for reading in poll.readings if reading.labels == {"target": target}}


def reachable(poll: Poll) -> bool:
    return poll.readings[0].metric == "device.reachable" and bool(poll.readings[0].value)


def test_median_and_mean_of_successive_differences() -> None:
    result = Result(5, [10.0, 14.0, 11.0, 30.0], answered=True)
    found = {reading.metric: reading.value for reading in result.readings("x")}
    # sorted 10 11 14 30; differences 4, 3, 19
    assert found == {"link.loss_percent": 20.0, "link.rtt_ms": 12.5, "link.jitter_ms": round(26 / 3, 3)}


def test_the_sum_of_rfc_1071() -> None:
    assert internet_checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D  # its section 3: sum ddf2, complemented
    packet = struct.pack("!BBHHH", 8, 0, 0, 7, 1) + b"odd"
    summed = packet[:2] + internet_checksum(packet).to_bytes(2, "big") + packet[4:]
    assert internet_checksum(summed) == 0


def test_echo_that_is_lost_on_the_way() -> None:
    with namespace() as made:
        made.lose(30, "icmp")  # of the requests and of the answers
        target = Target(kind="icmp", address="127.0.0.1")
        poll = made.call(lambda: asyncio.run(probe(count=20, deadline=4.0, far=target).poll(0.0)))
        lost = made.lost()
    found = values(poll, "far")
    # Each of the two dropped packets at most costs one echo, and an echo needs both: 51 % with a deviation of 11.
    assert 0 < found["link.loss_percent"] < 100
    assert found["link.loss_percent"] == pytest.approx(100 * lost / 20)
    assert reachable(poll)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the system calls' numbers are those of x86-64")
def test_echo_that_is_not_allowed_says_what_it_needs() -> None:
    def as_nobody() -> Poll:
        # libc's setuid changes all threads; the bare calls change this one.
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.syscall(119, 65534, 65534, 65534) == 0  # setresgid
        assert libc.syscall(117, 65534, 65534, 65534) == 0  # setresuid
        return asyncio.run(probe(x=Target(kind="icmp", address="127.0.0.1")).poll(0.0))

    with namespace() as made:  # a new one lets no group send echo requests
        poll = made.call(as_nobody)
    assert values(poll, "x") == {"link.loss_percent": 100.0}
    assert "net.ipv4.ping_group_range" in (poll.problem or "")
    assert "CAP_NET_RAW" in (poll.problem or "")


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1"])
def test_echo_over_loopback(address: str) -> None:
    if address == "::1" and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    began = time.monotonic()
    poll = asyncio.run(probe(count=5, home=Target(kind="icmp", address=address)).poll(0.0))
    took_ms = (time.monotonic() - began) * 1000
    found = values(poll, "home")
    assert poll.problem is None
    assert reachable(poll)
    assert found["link.loss_percent"] == 0
    assert 0 < found["link.rtt_ms"] < took_ms
    assert "link.jitter_ms" in found


def test_echo_without_answer_keeps_the_deadline_and_leaves_other_targets_alone() -> None:
    # 192.0.2.0/24 is nobody's (RFC 5737).
    asked = probe(dead=Target(kind="icmp", address="192.0.2.77"), alive=Target(kind="icmp", address="127.0.0.1"))
    watch = Stopwatch()
    poll = asyncio.run(asked.poll(0.0))
    assert watch.seconds < 2.0
    assert values(poll, "dead") == {"link.loss_percent": 100.0}
    assert values(poll, "alive")["link.loss_percent"] == 0
    assert poll.problem is not None
    assert poll.problem.startswith("dead: ")
    assert reachable(poll)


def test_more_targets_than_are_asked_at_once_keep_the_deadline_too() -> None:
    targets = {f"t{number}": Target(kind="icmp", address="192.0.2.77") for number in range(70)}
    targets["t70"] = Target(kind="icmp", address="127.0.0.1")
    watch = Stopwatch()
    poll = asyncio.run(probe(count=1, deadline=3.0, **targets).poll(0.0))
    assert watch.seconds < 3.0
    assert values(poll, "t70")["link.loss_percent"] == 0
    assert values(poll, "t0")["link.loss_percent"] == 100


def test_a_name_that_does_not_resolve_is_named() -> None:
    poll = asyncio.run(probe(gone=Target(kind="icmp", address="no-such-host.invalid")).poll(0.0))
    assert values(poll, "gone") == {"link.loss_percent": 100.0}
    assert poll.problem is not None
    assert not reachable(poll)


def test_tcp_connects_and_a_refusal_is_loss_by_a_host_that_is_there() -> None:
    async def run() -> tuple[Poll, int, int]:
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with socket.socket() as taken:  # bound, but nobody listens
            taken.bind(("127.0.0.1", 0))
            closed = taken.getsockname()[1]
            asked = probe(
                up=Target(kind="tcp", address="127.0.0.1", port=port),
                down=Target(kind="tcp", address="127.0.0.1", port=closed),
            )
            poll = await asked.poll(0.0)
        server.close()
        return poll, port, closed

    poll, _, closed = asyncio.run(run())
    assert values(poll, "up")["link.loss_percent"] == 0
    assert values(poll, "up")["link.rtt_ms"] > 0
    assert values(poll, "down") == {"link.loss_percent": 100.0}
    assert reachable(poll)
    assert poll.problem is not None
    assert poll.problem.startswith("down: ")
    assert str(closed) in poll.problem


@contextlib.asynccontextmanager
async def http_server(context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        if kind == "slow":
            await asyncio.sleep(30)
        if kind == "moved":
            raise web.HTTPFound("http://192.0.2.77/")
        return web.Response(status=503 if kind == "broken" else 200, text=f"<html>{kind} 急救平台 works</html>")

    app = web.Application()
    app.router.add_get("/{kind}", answer)
    async with serving(app, tls=context) as address:
        yield address


@pytest.mark.parametrize(
    ("path", "expect", "loss", "status", "problem"),
    [
        ("good", {}, 0.0, 200, None),
        ("good", {"expect_status": 200, "expect_text": "急救平台"}, 0.0, 200, None),
        ("good", {"expect_text": "login"}, 100.0, 200, "x: expected the text 'login'"),
        ("good", {"expect_status": 204}, 100.0, 200, "x: expected 204, found 200"),
        ("broken", {}, 100.0, 503, "x: expected a status under 400, found 503"),
        ("broken", {"expect_status": 503}, 0.0, 503, None),
        ("moved", {}, 0.0, 302, None),
        ("moved", {"expect_status": 200}, 100.0, 302, "x: expected 200, found 302"),
        ("slow", {}, 100.0, None, "x: no answer within"),
    ],
)
def test_http(path: str, expect: dict[str, Any], loss: float, status: int | None, problem: str | None) -> None:
    async def run() -> Poll:
        async with http_server() as url:
            return await probe(count=2, x=Target(kind="http", url=f"{url}/{path}", **expect)).poll(0.0)

    poll = asyncio.run(run())
    found = values(poll, "x")
    assert (found["link.loss_percent"], found.get("link.status")) == (loss, status)
    assert ("link.rtt_ms" in found) == (loss == 0)
    assert reachable(poll) == (status is not None)
    assert (poll.problem or "").startswith(problem or "")
    assert (poll.problem is None) == (problem is None)


def certificate(folder: Path, ends: datetime.datetime) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@pytest.mark.parametrize(
    ("ends", "days"),
    [
        (datetime.datetime(2026, 6, 8, 13, 0, tzinfo=datetime.UTC), 7),
        (datetime.datetime(2026, 6, 2, 11, 59, tzinfo=datetime.UTC), 0),
        (datetime.datetime(2026, 5, 31, 13, 0, tzinfo=datetime.UTC), -1),
    ],
)
@pytest.mark.parametrize("verify", [True, False])
def test_the_days_of_a_certificate_are_known_even_when_it_does_not_verify(
    tmp_path: Path, ends: datetime.datetime, days: int, verify: bool
) -> None:
    async def run() -> Poll:
        async with http_server(certificate(tmp_path, ends)) as url:
            return await probe(count=1, x=Target(kind="http", url=f"{url}/good", verify=verify)).poll(0.0)

    poll = asyncio.run(run())
    found = values(poll, "x")
    assert found["link.certificate_days"] == days
    # Self-signed: never good while it is verified, and always without.
    assert found["link.loss_percent"] == (100.0 if verify else 0.0)
    assert found.get("link.status") == (None if verify else 200)
    assert reachable(poll)
    assert ("certificate" in (poll.problem or "").lower()) == verify


def test_a_host_without_a_clock_tells_nothing_about_certificates(tmp_path: Path) -> None:
    async def run() -> Poll:
        context = certificate(tmp_path, datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC))
        async with http_server(context) as url:
            target = Target(kind="http", url=f"{url}/good", verify=False)
            unset = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
            return await Probe(ProbeInput(targets={"x": target}, count=1, deadline=2.0), lambda: unset).poll(0.0)

    assert "link.certificate_days" not in values(asyncio.run(run()), "x")
