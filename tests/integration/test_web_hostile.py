"""Who means harm at the pages: foreign hosts, half requests, requests that drip, answers that nobody reads."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from collector.web import connections, requests
from collector.web.connections import Counts, Limits, note_work
from collector.web.requests import body_of, only_for
from tests.browser.test_reverse_proxy import nginx
from tests.integration.test_collector import command, write
from tests.services.api import HEADERS, TOKEN, let_in
from tests.services.mosquitto import mosquitto
from tests.services.process import free_port, wait_for_port
from tests.services.stopwatch import Stopwatch

HALF = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: "
STATE = "/api/vehicles/amb-3/state"
GOOD = '{"state": "workshop"}'
"""A right wish: with a token it comes as far as the question who speaks."""


def ask(address: str, path: str, host: str, /, body: str | None = None, **headers: str) -> tuple[int, str]:
    """Send a request with any Host, on a connection of its own; return status and body."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    with contextlib.closing(connection):
        connection.putrequest("POST" if body else "GET", path, skip_host=True)
        for name, value in {"Host": host, **HEADERS, **headers}.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body.encode())))
        connection.endheaders(None if body is None else body.encode())
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@contextlib.contextmanager
def collector(directory: Path, broker: int, files: int | None = None, names: tuple[str, ...] = ()) -> Iterator[str]:
    """Run a collector as it is installed, with so many file descriptors; yield the address of its pages."""
    port = free_port()
    path = write(directory, broker, web=port)
    data = json.loads(path.read_text())
    data["web"]["names"] = names
    path.write_text(json.dumps(data))

    prefix = [] if files is None else ["prlimit", f"--nofile={files}"]
    with (directory / "collector.log").open("wb") as log:
        process = subprocess.Popen([*prefix, *command("--config", str(path))], stderr=log, stdout=log)
        (directory / "pid").write_text(str(process.pid))
        try:
            wait_for_port(port, process, log=directory / "collector.log")
            let_in(json.loads(path.read_text())["database"].replace("///", f"///{directory}/", 1))
            at = f"http://127.0.0.1:{port}"
            # Who is of the roster is known only when the site's owner has put the contract in force.
            until(lambda: ask(at, STATE, "localhost", GOOD, **{"Content-Type": "application/json"})[0] != 503)
            yield at
        finally:
            process.terminate()
            process.wait(30)


def site(address: str) -> dict[str, object]:
    _, text = ask(address, "/healthz", "localhost")
    found = json.loads(text)["sites"]["north"]
    assert isinstance(found, dict)
    return found


def until(holds: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def many(address: str, number: int, sent: bytes) -> list[socket.socket]:
    """Open connections that all say this much and no more."""
    host, _, port = address.removeprefix("http://").partition(":")
    found = []
    for _ in range(number):
        line = socket.create_connection((host, int(port)), timeout=10)
        line.sendall(sent)
        line.setblocking(False)
        found.append(line)
    return found


def still_open(lines: list[socket.socket]) -> int:
    """Return how many of them the other side still holds; a line that it has closed reads as ended or reset."""
    number = 0
    for line in lines:
        with contextlib.suppress(ConnectionResetError):
            try:
                number += line.recv(1) != b""
            except BlockingIOError:
                number += 1
    return number


def test_a_foreign_host_with_a_matching_origin_wants_nothing_of_us(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker, collector(tmp_path, broker.port, names=("Board.example.org",)) as at:
        port, where = at.rpartition(":")[2], STATE
        json_type = {"Content-Type": "application/json"}
        for host in (f"evil.example:{port}", "evil.example", "board.example.org.evil.example", "127.0.0.2", "[::1]"):
            status, text = ask(at, where, host, GOOD, Origin=f"http://{host}", **json_type)
            assert (status, "web.names" in json.loads(text)["detail"]) == (421, True), host
            assert ask(at, "/", host)[0] == ask(at, "/api/vehicles", host)[0] == ask(at, "/metrics", host)[0] == 421
        for host in ("", "x@localhost", "localhost:http", "localhost/x"):
            assert ask(at, "/healthz", host)[0] == 400, host
        for host in (
            "localhost",
            f"localhost:{port}",
            f"127.0.0.1:{port}",
            "board.example.org",
            "BOARD.example.org:443",
        ):
            for origin, word in ((f"https://{host}", "--person"), ("https://evil.example", "Origin")):
                status, text = ask(at, where, host, GOOD, Origin=origin, **json_type)
                assert (status, word in json.loads(text)["detail"]) == (403, True), (host, origin)


def test_no_host_or_two_are_none(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker, collector(tmp_path, broker.port) as at:
        host, _, port = at.removeprefix("http://").partition(":")
        for heads in ("", "Host: localhost\r\nHost: localhost\r\n"):
            with socket.create_connection((host, int(port)), timeout=10) as line:
                line.sendall(f"GET /healthz HTTP/1.1\r\n{heads}Connection: close\r\n\r\n".encode())
                assert line.makefile("rb").readline().split()[1] == b"400", heads


def test_a_body_of_any_depth_is_refused_with_words(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker") as broker, collector(tmp_path, broker.port) as at:
        for depth in (10, 900, 1_000, 2_000, 4_096):
            for body in ("[" * depth, '{"a":' * min(depth, 800), "[" * (depth // 2) + "]" * (depth // 2)):
                status, text = ask(at, STATE, "localhost", body, **{"Content-Type": "application/json"})
                assert (status, "body" in json.loads(text)["detail"]) == (400, True), (depth, body[:20])


@pytest.mark.timeout(600)
def test_a_thousand_half_requests_keep_nobody_out_and_the_broker_is_joined_again(tmp_path: Path) -> None:
    """With as many descriptors as systemd gives by default, over and over; a person beside them is answered at once."""
    waits: list[float] = []
    with mosquitto(tmp_path / "broker") as broker, collector(tmp_path, broker.port, files=1024) as at:
        until(lambda: site(at)["connected"])
        lines = many(at, 1_000, HALF)
        try:
            until(lambda: still_open(lines) <= 250)
            broker.kill()
            until(lambda: not site(at)["connected"])
            broker.start()
            end = time.monotonic() + 15
            while time.monotonic() < end:
                begun = time.monotonic()
                assert ask(at, "/api/vehicles", "localhost")[0] == 200
                waits.append(time.monotonic() - begun)
                time.sleep(0.2)
            until(lambda: site(at)["connected"])
            assert max(waits) < 2.0
            until(lambda: still_open(lines) == 0)
        finally:
            for line in lines:
                line.close()
        told = ask(at, "/metrics", "localhost")[1]
        assert 'kitwatch_web_connections_closed_total{why="displaced"} 7' in told
        assert 'kitwatch_web_connections_closed_total{why="late"} 2' in told
        assert (tmp_path / "collector.log").read_text().count("connections are taken") == 1


@pytest.mark.timeout(600)
def test_with_few_descriptors_the_pages_leave_the_broker_some(tmp_path: Path) -> None:
    """All connections at work: none can be displaced, newcomers are refused, the site's own line comes back."""
    stream = f"GET /api/changes HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    with mosquitto(tmp_path / "broker") as broker, collector(tmp_path, broker.port, files=200) as at:
        until(lambda: site(at)["connected"])
        process = int((tmp_path / "pid").read_text())
        lines = many(at, 110, stream)
        try:
            until(lambda: "connections are taken" in (tmp_path / "collector.log").read_text())
            # Many more while we do something else: none of them may take a descriptor that the broker needs.
            os.kill(process, signal.SIGSTOP)
            lines += many(at, 90, stream)
            os.kill(process, signal.SIGCONT)
            until(lambda: still_open(lines) <= 100)
            assert "out of system resource" not in (tmp_path / "collector.log").read_text()
            assert len(os.listdir(f"/proc/{process}/fd")) < 170
            broker.kill()
            begun = (tmp_path / "broker" / "mosquitto.log").stat().st_size
            broker.start()
            log = tmp_path / "broker" / "mosquitto.log"
            until(lambda: " as collector-north " in log.read_text()[begun:] or "collector" in log.read_text()[begun:])
        finally:
            for line in lines:
                line.close()
        until(lambda: site(at)["connected"])


# --- the limits themselves, shorter ----------------------------------------------------------------------------------


def test_the_shipped_times_are_what_is_promised() -> None:
    """The tests below wait for shorter ones."""
    limits = Limits.of_this_process(1)
    assert (limits.connections, limits.request_s, limits.idle_s, limits.unread_s) == (1, 10.0, 75.0, 60.0)


SHORT = Limits(connections=20, request_s=1.0, idle_s=60.0, unread_s=2.0)


@contextlib.asynccontextmanager
async def served(counts: Counts, limits: Limits = SHORT) -> AsyncIterator[str]:
    """Serve an application of two routes with short limits."""
    app = web.Application(middlewares=[note_work, only_for(())])

    async def small(request: web.Request) -> web.Response:
        return web.Response(text="here")

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 1_000_000)

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(limits.request_s * 2.5)
        return web.Response(text="at last")

    async def take(request: web.Request) -> web.Response:
        return web.json_response(await body_of(request, dict[str, Any]))

    app.add_routes([web.get("/", small), web.get("/large", large), web.get("/slow", slow), web.post("/take", take)])
    async with contextlib.AsyncExitStack() as stack:
        yield await connections.serve(stack, app, limits, counts, tcp=("127.0.0.1", 0))


async def open_line(address: str, buffer: int | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.removeprefix("http://").partition(":")
    line = socket.socket()
    if buffer is not None:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    line.setblocking(False)
    await asyncio.get_running_loop().sock_connect(line, (host, int(port)))
    return await asyncio.open_connection(sock=line, limit=1024)


def test_a_request_that_drips_is_ended_and_so_is_a_second_one_on_the_same_connection() -> None:
    async def drips(writer: asyncio.StreamWriter) -> None:
        """Send a little at a time until that is ended, after a second."""
        begun, watch = time.monotonic(), Stopwatch()
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"X-Slow: 1\r\n")
                await writer.drain()
                await asyncio.sleep(0.1)
        assert time.monotonic() - begun > 0.5
        assert watch.seconds < 3.0

    async def scene() -> None:
        counts = Counts()
        async with served(counts) as at:
            reader, writer = await open_line(at)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            await asyncio.wait_for(drips(writer), 60)
            assert counts.late == 1
            reader, writer = await open_line(at)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await reader.readline()).split()[1] == b"200"
            await reader.readuntil(b"here")
            await asyncio.sleep(SHORT.request_s * 1.5)  # an idle one waits longer
            assert counts.open == 1
            writer.write(b"GET / HTTP/1.1\r\n")
            await asyncio.wait_for(drips(writer), 60)
            assert (counts.late, counts.open) == (2, 0)

    asyncio.run(scene())


@pytest.mark.parametrize(("depth", "status"), [(1, 200), (16, 200), (17, 400), (300, 400), (600, 400), (4_000, 400)])
def test_what_may_hold_anything_may_not_hold_it_at_any_depth(depth: int, status: int) -> None:
    async def scene() -> None:
        async with served(Counts()) as at:
            reader, writer = await open_line(at)
            body = '{"a":' * depth + "1" + "}" * depth if depth < 1_000 else '{"a":' + "[" * depth
            head = f"POST /take HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body.encode())
            assert int((await asyncio.wait_for(reader.readline(), 60)).split()[1]) == status
            writer.close()

    asyncio.run(scene())


def test_half_a_body_ends_with_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "BODY_S", 1.0)

    async def scene() -> None:
        counts = Counts()
        async with served(counts) as at:
            reader, writer = await open_line(at)
            writer.write(b"POST /take HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
            assert (await asyncio.wait_for(reader.readline(), 60)).split()[1] == b"408"
            # what nobody reads is waited for a little, in case that it is on its way
            assert b"only a part" in await asyncio.wait_for(reader.read(), 60)
            writer.close()

    asyncio.run(scene())


def test_an_answer_that_takes_long_is_no_late_request() -> None:
    async def scene() -> None:
        counts = Counts()
        async with served(counts) as at:
            reader, writer = await open_line(at)
            writer.write(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert (await asyncio.wait_for(reader.read(), 60)).endswith(b"at last")
            assert counts.late == 0

    asyncio.run(scene())


def test_who_reads_nothing_is_let_go() -> None:
    async def scene() -> None:
        counts = Counts()
        async with served(counts) as at:
            _, writer = await open_line(at, buffer=4096)
            for _ in range(20):
                writer.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(60):
                while not counts.open:  # noqa: ASYNC110 - a test looks from outside
                    await asyncio.sleep(0.01)
                begun = time.monotonic()
                while counts.open:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            assert time.monotonic() - begun > SHORT.unread_s / 2, "not at once"
            writer.close()

    asyncio.run(scene())


def test_whoever_waits_longest_gives_way_and_whom_we_answer_does_not() -> None:
    async def scene() -> None:
        counts = Counts()
        async with served(counts, Limits(connections=3, request_s=2.0)) as at:
            reader, writer = await open_line(at)
            writer.write(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            await asyncio.sleep(0.2)
            halves = [await open_line(at) for _ in range(2)]
            await asyncio.sleep(0.2)
            _, late = await open_line(at)
            assert await asyncio.wait_for(halves[0][0].read(), 60) == b""
            assert (counts.open, counts.displaced, counts.refused) == (3, 1, 0)
            for line in (*(pair[1] for pair in halves), late):
                line.close()
            assert (await asyncio.wait_for(reader.read(), 60)).endswith(b"at last")

    asyncio.run(scene())


# --- behind the shipped proxy ----------------------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_behind_the_proxy_hosts_are_checked_and_half_requests_end(tmp_path: Path) -> None:
    (tmp_path / "proxy").mkdir()

    def through(address: str, host: str, origin: str) -> int:
        trust = ssl.create_default_context(cafile=str(tmp_path / "proxy" / "ca.crt"))
        connection = http.client.HTTPSConnection(address.removeprefix("https://"), timeout=10, context=trust)
        with contextlib.closing(connection):
            headers = {"Host": host, "Origin": origin, **HEADERS}
            headers["Content-Type"] = "application/json"
            connection.request("POST", f"/kitwatch{STATE}", GOOD.encode(), headers)
            return connection.getresponse().status

    with (
        mosquitto(tmp_path / "broker") as broker,
        collector(tmp_path, broker.port, names=("board.example.org",)) as inside,
        nginx(tmp_path / "proxy", inside) as address,
    ):
        assert through(address, "board.example.org", "https://board.example.org") == 403
        assert through(address, "evil.example", "https://evil.example") == 421
        trust = ssl.create_default_context(cafile=str(tmp_path / "proxy" / "ca.crt"))
        host, _, port = address.removeprefix("https://").partition(":")
        lines = []
        for _ in range(30):
            plain = socket.create_connection((host, int(port)), timeout=10)
            line = trust.wrap_socket(plain, server_hostname=host)
            line.sendall(HALF)
            lines.append(line)
        begun = time.monotonic()
        for line in lines:
            line.settimeout(25)
            with contextlib.suppress(ConnectionResetError, ssl.SSLError):
                line.recv(1)  # 408, or the end
        assert time.monotonic() - begun < 20
        for line in lines:
            line.close()
        assert through(address, "board.example.org", "https://board.example.org") == 403
