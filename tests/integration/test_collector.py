"""The collector as it is started: configuration file, sites, drain, pages, signals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from collector.config import load_config
from collector.main import Running, run
from collector.store import history
from collector.store.errors import StoreError
from collector.store.store import Store
from telemetry.files import FileError
from telemetry.intervals import Intervals
from telemetry.message import Moment, Up
from tests.integration.test_site import RUN, SCHEMA, Agent, now_ms, taken, until
from tests.services.api import HEADERS, let_in
from tests.services.http import serving
from tests.services.influxdb import influxdb, points, sink_among
from tests.services.mosquitto import mosquitto
from tests.services.postgres import start as postgres
from tests.services.process import free_port

FLEET = """
sites:
  north:
    name: 北区急救中心
    vehicles:
      amb-3:
        name: 急救03车
        plate: 京A12345
        agents:
          router: {devices: {modem-1: {kind: modem, modem: {port: /dev/null}}}}
      amb-4:
        agents:
          router: {devices: {modem-1: {kind: modem, modem: {port: /dev/null}}}}
"""


def write(directory: Path, broker: int, /, influx: str | None = None, web: int = 0, **more: Any) -> Path:
    (directory / "fleet.yaml").write_text(FLEET)
    token = directory / "token"
    token.write_text("a-token-of-the-tests")
    token.chmod(0o600)
    data: dict[str, Any] = {
        "broker": {"host": "127.0.0.1", "port": broker},
        "database": "sqlite:///data/kitwatch.sqlite",
        "fleet": "fleet.yaml",
        "sites": ["north"],
        "web": {"port": web},
        "timings": {"receipt": 0.2, "beat": 0.5, "retry": 0.1, "retry_most": 0.5},
        **more,
    }
    if influx:
        data["influxdb"] = {"url": influx, "token_file": "token", "org": "kitwatch", "bucket": "kitwatch"}
    path = directory / "collector.yaml"
    path.write_text(json.dumps(data))
    return path


async def get(url: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession(headers=HEADERS) as session, session.get(url) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if "json" in answer.content_type else text


def test_a_samples_walk_from_the_broker_to_influxdb_and_to_a_ticket_that_the_api_shows(tmp_path: Path) -> None:
    notices: list[dict[str, Any]] = []

    async def receive(request: web.Request) -> web.Response:
        notices.append({"key": request.headers["Idempotency-Key"], **await request.json()})
        return web.Response()

    async def scene(path: Path, port: int, influx: Any) -> None:
        stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
        app = web.Application()
        app.router.add_post("/", receive)
        async with serving(app, hook):
            task = asyncio.create_task(run(load_config(path), stop=stop, on_ready=ready.set_result))
            try:
                running: Running = await asyncio.wait_for(ready, 60)
                let_in(running.store)
                await drive(running, port, influx)
            finally:
                stop.set()
                await asyncio.wait_for(task, 60)

    async def drive(running: Running, port: int, influx: Any) -> None:
        async with Agent(port) as agent:
            await until(lambda: bool(agent.presences) and isinstance(agent.presences[-1], Up))
            told: list[str] = []
            watcher = asyncio.create_task(_watch(f"{running.address}/api/changes", told))
            await until(lambda: bool(told))  # where it stands comes at once
            await agent.birth()
            start = now_ms()
            await agent.schema(start, SCHEMA)
            # the shipped rule wants the SIM absent for a while: samples of the last ten minutes, sent as live ones
            for number in range(60):
                mono_ms = 1_000_000 - 590_000 + number * 10_000
                body = [Moment(mono_ms, 0, [[SCHEMA.id(), [-80.0, "absent"]]])]
                await agent.say("live", body, Intervals([(number, number)]))
            await until(lambda: agent.done() == [(0, 59)])
            url = running.address
            for _ in range(600):
                _, found = await get(f"{url}/api/tickets?state=open")
                if found["tickets"]:
                    break
                await asyncio.sleep(0.1)
            (ticket,) = found["tickets"]
            assert (ticket["fault"], ticket["vehicle"], ticket["device"]) == ("sim_absent", "amb-3", "modem-1")
            assert ticket["fault_name"]["zh"] == "SIM卡未检测到"
            assert ticket["sla_class"] == "disaster"
            _, whole = await get(f"{url}/api/tickets/{ticket['id']}")
            assert whole["history"][0]["what"] == "opened"
            assert whole["evidence"][0]["samples"][0]["value"] == "absent"
            assert whole["evidence"][0]["samples"][0]["run"] == RUN
            status, refused = await get(f"{url}/api/tickets/nonsense")
            assert (status, refused["detail"]) == (404, "no ticket 'nonsense'")
            assert (await get(f"{url}/api/tickets?state=maybe"))[0] == 400
            assert (await get(f"{url}/api/tickets?limit=0"))[0] == 400

            _, listed = await get(f"{url}/api/vehicles")
            by_name = {one["vehicle"]: one for one in listed["vehicles"]}
            assert by_name["amb-3"]["name"] == "急救03车"
            assert by_name["amb-3"]["open_tickets"][0]["id"] == ticket["id"]
            assert by_name["amb-4"]["state"] == "never_heard"
            _, one = await get(f"{url}/api/vehicles/amb-3")
            (device,) = [device for device in one["devices"] if device["device"] == "modem-1"]
            assert device["heard_at"] is not None
            assert device["open_tickets"] == [ticket["id"]]
            (problem,) = one["problems"]
            assert (problem["key"], problem["state"], problem["cause"]) == ("sim_absent/modem-1", "active", None)
            assert (ticket["state"], ticket["state_name"]["zh"], ticket["open"]) == ("new", "新建", True)
            assert whole["history"][0]["what_name"]["zh"] == "建单"
            assert (await get(f"{url}/api/vehicles/amb-99"))[0] == 404

            status, health = await get(f"{url}/healthz")
            assert (status, health["status"]) == (200, "ok")
            assert health["sites"]["north"]["connected"] is True
            _, text = await get(f"{url}/metrics")
            assert 'kitwatch_site_events_total{site="north",what="records"} 60' in text
            assert 'kitwatch_tickets_open{fault="sim_absent",site="north",sla_class="disaster"} 1' in text
            assert "# TYPE kitwatch_listening gauge" in text
            assert float(text.partition("\nkitwatch_written_bytes_total ")[2].split()[0]) > 4096, "a commit at least"

            await until(
                lambda: sink_among(running.sinks["north"]).progress.counts["lines"] == 120, why=lambda: running.sinks
            )
            # a clock says when its boot was: the test's agent has its first moment at 1,000,000 ms of it
            times = sorted({key[2] for key in points(influx)})
            assert times == [start - 590_000 + n * 10_000 for n in range(60)]
            await until(lambda: len(told) >= 2, why=lambda: told)
            watcher.cancel()
            kept = await asyncio.to_thread(
                history.samples, running.store, "north", "amb-3", start - 590_000, start + 1
            )  # fmt: skip
            assert [sample.sequence for sample in kept] == list(range(60))
            await until(lambda: len(notices) >= 1, why=lambda: running.notifiers["north"][0].progress)
            assert notices[0]["text"]["zh"].startswith("急救03车 modem-1 SIM卡未检测到")
            assert notices[0]["ticket"] == ticket["id"]
            await until(lambda: running.notifiers["north"][0].progress.counts["sent"] == 1)
            _, text = await get(f"{url}/metrics")
            assert 'kitwatch_notices_waiting{site="north"} 0' in text
            assert 'kitwatch_drain_events_total{drain="webhook",site="north",what="sent"} 1' in text
            assert "kitwatch_history_batches_behind{" in text

    with mosquitto(tmp_path / "mosquitto") as broker, influxdb(tmp_path / "influx") as influx:
        hook = free_port()
        path = write(
            tmp_path,
            broker.port,
            influx.url,
            notifications=[{"channel": "webhook", "url": f"http://127.0.0.1:{hook}/"}],
        )
        asyncio.run(scene(path, broker.port, influx))


async def _watch(url: str, told: list[str]) -> None:
    async with aiohttp.ClientSession(headers=HEADERS) as session, session.get(url) as answer:
        async for line in answer.content:
            if line.startswith(b"data:"):
                told.append(line.decode())


def command(*arguments: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        "import sys; from kitwatch.main import main; sys.exit(main())",
        "collector",
        *arguments,
    ]


@contextlib.contextmanager
def systemd(directory: Path) -> Iterator[tuple[dict[str, str], socket.socket]]:
    """The socket that systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(directory / "notify"))
        channel.settimeout(60)
        yield {**os.environ, "NOTIFY_SOCKET": str(directory / "notify"), "WATCHDOG_USEC": "400000"}, channel


@contextlib.contextmanager
def heard(channel: socket.socket) -> Iterator[list[bytes]]:
    """Yield what systemd hears meanwhile. It reads all the while: a socket holds ten words, and drops the next."""
    told: list[bytes] = []
    over = threading.Event()

    def read() -> None:
        channel.settimeout(0.1)
        while True:
            try:
                told.append(channel.recv(100))
            except TimeoutError:
                if over.is_set():
                    return

    reading = threading.Thread(target=read)
    reading.start()
    try:
        yield told
    finally:
        over.set()
        reading.join()


def test_sigterm_ends_it_cleanly_and_what_was_acknowledged_is_kept(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "mosquitto") as broker, systemd(tmp_path) as (environment, channel):
        path = write(tmp_path, broker.port, web=free_port())
        process = subprocess.Popen(
            command("--config", str(path)), env=environment, cwd=os.getcwd(), stderr=subprocess.PIPE
        )
        try:
            assert channel.recv(100) == b"READY=1"
            assert channel.recv(100) == b"WATCHDOG=1"

            async def scene() -> Intervals:
                async with Agent(broker.port) as agent:
                    await until(lambda: bool(agent.presences) and isinstance(agent.presences[-1], Up))
                    await agent.birth()
                    await agent.schema(now_ms(), SCHEMA)
                    for number in range(100):
                        await agent.live(number, [-80.0, "ready"])
                    await until(lambda: bool(agent.done()), why=agent.receipt)
                    process.send_signal(signal.SIGTERM)
                    for number in range(100, 200):
                        await agent.live(number, [-80.0, "ready"])
                    await until(lambda: process.poll() is not None)
                    return Intervals(agent.done() or [])

            with heard(channel) as states:
                acknowledged = asyncio.run(scene())
                assert process.wait(60) == 0
            assert states[-1] == b"STOPPING=1"
            store = Store.open(f"sqlite:///{tmp_path}/data/kitwatch.sqlite")
            before = taken(store)
            assert before == [("router", RUN, n) for n in range(len(before))]
            assert acknowledged, "it had said of some that they are kept"
            assert not acknowledged.minus(Intervals([(0, len(before) - 1)])), "and kept them"

            async def again() -> None:
                stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
                task = asyncio.create_task(run(load_config(path), stop=stop, on_ready=ready.set_result))
                await asyncio.wait_for(ready, 60)
                await until(lambda: len(taken(store)) == 200, why=lambda: len(taken(store)))
                stop.set()
                await asyncio.wait_for(task, 60)

            asyncio.run(again())
            assert taken(store) == [("router", RUN, n) for n in range(200)], "the broker kept what came after the stop"
            store.close()
        finally:
            process.kill()
            process.wait(10)
            assert process.stderr is not None
            process.stderr.close()


def test_check_says_what_it_would_do(tmp_path: Path) -> None:
    path = write(tmp_path, 1883)
    done = subprocess.run(
        command("--config", str(path), "--check", "--json"), capture_output=True, cwd=os.getcwd(), check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["sites"] == ["north"]
    assert found["vehicles"] == 2
    assert not (tmp_path / "data").exists(), "a check changes nothing"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"sites": ["nort"]},
            "sites.0: expected a site of the fleet file (north), found 'nort', did you mean 'north'?",
        ),
        ({"broker": {"host": "h", "port": 70000}}, "broker.port: expected"),
        ({"databse": "x"}, "found 'databse', did you mean 'database'?"),
        ({"database": "mysql://x"}, "database: expected sqlite:///FILE or postgresql://..., found 'mysql'"),
        ({"fleet": "nowhere.yaml"}, "nowhere.yaml: expected a readable file"),
        (
            {"influxdb": {"url": "ftp://x", "token_file": "token", "org": "o", "bucket": "b"}},
            "influxdb.url: expected http",
        ),
        (
            {"influxdb": {"url": "http://x", "token_file": "no", "org": "o", "bucket": "b"}},
            "influxdb.token_file: expected",
        ),
        ({"timings": {"linger_ms": -1}}, "timings.linger_ms: expected"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = write(tmp_path, 1883, **change)
    done = subprocess.run(command("--config", str(path), "--check"), capture_output=True, cwd=os.getcwd(), check=False)
    text = done.stderr.decode()
    assert done.returncode == 2
    assert text.count("\n") == 1
    assert words in text


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, 1883, influx="http://127.0.0.1:1")
    (tmp_path / "token").chmod(0o644)
    with pytest.raises(FileError, match="expected mode 0600, found 0644"):
        load_config(path)


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        path = write(tmp_path, free_port(), web=port)
        done = subprocess.run(
            command("--config", str(path)), capture_output=True, cwd=os.getcwd(), check=False, timeout=60
        )
        assert done.returncode == 2
        assert str(port) in done.stderr.decode()


def test_a_database_server_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    """Field note 39: it starts with nothing reachable. A refused login is a mistake and said at once."""
    (tmp_path / "broker").mkdir()
    with postgres() as server, server.database() as url, mosquitto(tmp_path / "broker") as broker:
        server.stop()
        config = load_config(write(tmp_path, broker.port, database=url))
        begun: list[Running] = []

        async def main() -> None:
            stop = asyncio.Event()
            task = asyncio.create_task(run(config, stop=stop, on_ready=begun.append))
            await asyncio.sleep(1.5)
            assert not begun
            assert not task.done()
            await asyncio.to_thread(server.start)
            await until(lambda: bool(begun), 60)
            stop.set()
            await task

        asyncio.run(main())
        missing = load_config(write(tmp_path, broker.port, database=url.rsplit("/", 1)[0] + "/no_such_database"))
        with pytest.raises(StoreError, match="does not exist"):
            asyncio.run(run(missing, stop=asyncio.Event()))
