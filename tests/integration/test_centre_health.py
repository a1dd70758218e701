"""The centre's own health: tickets, readiness and the watchdog, each with the real part that fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

import collector.main
import collector.read.sites
import collector.site.health
import collector.site.ownership
import collector.site.status
from collector.config import load_config
from collector.main import Running, run
from collector.sinks.influxdb import InfluxSink
from collector.site.status import stuck
from collector.store import schema
from collector.store.errors import CommitFailed
from collector.store.on_sqlite import SqliteSite
from collector.store.rows import Changes
from collector.store.store import Store
from telemetry.fleet import Broker as BrokerAt
from telemetry.intervals import Intervals
from telemetry.message import Moment, Up
from telemetry.paho_mqtt import Connection
from tests.chaos.judged_again import differences
from tests.integration.test_collector import get, write
from tests.integration.test_site import SCHEMA, Agent, now_ms, until
from tests.services.api import let_in
from tests.services.certificates import Authority
from tests.services.influxdb import Influx, influxdb, sink_among
from tests.services.mosquitto import mosquitto
from tests.services.process import Server

SOON = """
overrides:
  - {rule: influx_unreachable, set: {for: 1s, clear_for: 1s}}
  - {rule: influx_refuses, set: {for: 1s, clear_for: 1s}}
  - {rule: notice_failing, set: {for: 1s}}
  - {rule: centre_disk_low, set: {for: 1s, clear_for: 1s}}
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Server]:
    with mosquitto(tmp_path / "mosquitto", persistence=True) as server:
        yield server


@contextlib.asynccontextmanager
async def collector_of(path: Path) -> AsyncIterator[Running]:
    """A running collector, stopped cleanly afterwards."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run(load_config(path), stop=stop, on_ready=ready.set_result))
    try:
        running: Running = await asyncio.wait_for(ready, 60)
        let_in(running.store)
        yield running
    finally:
        stop.set()
        await asyncio.wait_for(task, 60)


def configured(tmp_path: Path, broker: Server, influx: str | None = None, **more: Any) -> Path:
    """Write a collector's files; the rules are the shipped ones, which here wait for a second."""
    (tmp_path / "soon.yaml").write_text(SOON)
    return write(tmp_path, broker.port, influx, rules=["soon.yaml"], **more)


async def tickets(running: Running, state: str) -> dict[str, dict[str, Any]]:
    _, found = await get(f"{running.address}/api/tickets?state={state}")
    return {one["fault"]: one for one in found["tickets"]}


async def ticket(running: Running, fault: str, state: str = "open", seconds: float = 60) -> dict[str, Any]:
    """Wait for a ticket and return all of it."""
    found: dict[str, dict[str, Any]] = {}
    for _ in range(round(seconds * 10)):
        found = await tickets(running, state)
        if fault in found:
            _, whole = await get(f"{running.address}/api/tickets/{found[fault]['id']}")
            return dict(whole)
        await asyncio.sleep(0.1)
    status = running.owners["north"].status
    pytest.fail(f"no {state} ticket of {fault}: {list(found)}, {status}, {running.sinks}")


@contextlib.asynccontextmanager
async def speaking(port: int) -> AsyncIterator[None]:
    """An agent whose samples come twice a second while the block lasts."""
    async with Agent(port) as agent:
        await until(lambda: bool(agent.presences) and isinstance(agent.presences[-1], Up))
        await agent.birth()
        start = now_ms()
        await agent.schema(start, SCHEMA)

        async def speak() -> None:
            for number in range(10_000):
                body = [Moment(1_000_000 + now_ms() - start, 0, [[SCHEMA.id(), [-80.0, "ready"]]])]
                await agent.say("live", body, Intervals([(number, number)]))
                await asyncio.sleep(0.5)

        task = asyncio.create_task(speak())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def ready(running: Running) -> None:
    """Wait until the site is looked after: it says so once a second."""
    for _ in range(600):
        status, told = await get(f"{running.address}/readyz")
        if status == 200:
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"not ready: {told}")


def judged_the_same(tmp_path: Path) -> None:
    """The log judged again gives the same tickets, those of the centre among them."""
    assert differences(f"sqlite:///{tmp_path}/data/kitwatch.sqlite", "north") == []


# --- broker -----------------------------------------------------------------------------------------------------------


@pytest.mark.alone
def test_a_broker_that_is_stopped_for_over_a_minute_is_a_ticket_and_not_ready(tmp_path: Path, broker: Server) -> None:
    """With the shipped rule, in real time."""

    async def scene() -> None:
        async with collector_of(write(tmp_path, broker.port)) as running:
            await ready(running)
            stopped = now_ms()
            await asyncio.to_thread(broker.stop)
            await asyncio.sleep(40)
            assert await tickets(running, "open") == {}, "not yet"
            found = await ticket(running, "broker_down", seconds=60)
            assert 60_000 <= now_ms() - stopped < 80_000
            assert (found["vehicle"], found["device"], found["sla_class"]) == ("", "north", "disaster")
            assert "nothing listens at" in found["evidence"][0]["text"]
            await asyncio.sleep(max(0, 66 - (now_ms() - stopped) / 1000))
            status, told = await get(f"{running.address}/readyz")
            assert (status, told["problems"][0][:25]) == (503, "site north: not heard for")
            status, told = await get(f"{running.address}/healthz")
            assert (status, told["status"], told["ready"]) == (200, "ok", False), "alive, and it says what is not"
            await asyncio.to_thread(broker.start)
            closed = await ticket(running, "broker_down", "closed", 90)
            assert [event["what"] for event in closed["history"]] == ["opened", "problem_over", "self_healed"]
            await ready(running)
        judged_the_same(tmp_path)

    asyncio.run(scene())


# --- InfluxDB ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sink looks more often, so that a test need not wait."""
    monkeypatch.setattr(InfluxSink, "every_s", 0.1)


def test_an_influxdb_that_is_stopped_is_unreachable_until_it_is_back(
    tmp_path: Path, broker: Server, quick: None
) -> None:
    async def scene(influx: Influx) -> None:
        path = configured(tmp_path, broker, influx.url)
        (tmp_path / "token").write_text(influx.token)
        async with collector_of(path) as running, speaking(broker.port):
            await until(lambda: sink_among(running.sinks["north"]).progress.answered)
            await asyncio.to_thread(influx.influxd.stop)
            found = await ticket(running, "influx_unreachable")
            assert (found["vehicle"], found["device"], found["sla_class"]) == ("", "collector", "deferrable")
            await asyncio.to_thread(influx.influxd.start)
            await ticket(running, "influx_unreachable", "closed")
            assert set(await tickets(running, "open")) == set()
        judged_the_same(tmp_path)

    with influxdb(tmp_path / "influx") as influx:
        asyncio.run(scene(influx))


class _Refuses(BaseHTTPRequestHandler):
    """An InfluxDB of version 2 that answers every write with ``answer``."""

    answer = (400, '{"code":"invalid","message":"no"}')

    def do_GET(self) -> None:
        self.send_response(204)
        self.send_header("X-Influxdb-Version", "v2.7.12")
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = type(self).answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def stub(status: int, body: str) -> Iterator[str]:
    handler = type("Handler", (_Refuses,), {"answer": (status, body)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


Mistake = Callable[[Influx, dict[str, Any], Path], None]


def _wrong_password(influx: Influx, settings: dict[str, Any], token: Path) -> None:
    token.write_text("kitwatch:yesterdays-password")


def _no_right(influx: Influx, settings: dict[str, Any], token: Path) -> None:
    influx.query("CREATE USER reader WITH PASSWORD 'reads'")
    token.write_text("reader:reads")


def _no_database(influx: Influx, settings: dict[str, Any], token: Path) -> None:
    settings["influxdb"]["bucket"] = "another"
    token.write_text(influx.token)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [(_wrong_password, "401"), (_no_right, "403"), (_no_database, "404")],
    ids=lambda one: one if isinstance(one, str) else one.__name__,
)
def test_a_real_influxdb_that_refuses_everything_is_a_ticket_and_no_dead_letter(
    tmp_path: Path, broker: Server, quick: None, mistake: Mistake, words: str
) -> None:
    async def scene(influx: Influx) -> None:
        path = configured(tmp_path, broker, influx.url)
        settings = json.loads(path.read_text())
        mistake(influx, settings, tmp_path / "token")
        path.write_text(json.dumps(settings))
        async with collector_of(path) as running, speaking(broker.port):
            found = await ticket(running, "influx_refuses")
            assert f"influxdb: refusing: {words}" in found["evidence"][0]["text"]
            assert found["sla_class"] == "general"
            await _nothing_was_lost(running)
            (tmp_path / "token").write_text(influx.token)
            influx.query("CREATE DATABASE another")
            await ticket(running, "influx_refuses", "closed")
            await until(lambda: sink_among(running.sinks["north"]).progress.counts["lines"] > 0)
        judged_the_same(tmp_path)

    with influxdb(tmp_path / "influx", asks=True) as influx:
        asyncio.run(scene(influx))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, '{"code":"invalid","message":"no"}'),
        (500, '{"code":"internal error","message":"engine: cache maximum memory size exceeded"}'),
    ],
)
def test_an_influxdb_that_says_no_to_all_is_a_ticket_and_no_dead_letter(
    tmp_path: Path, broker: Server, quick: None, status: int, body: str
) -> None:
    async def scene(url: str) -> None:
        async with collector_of(configured(tmp_path, broker, url)) as running, speaking(broker.port):
            found = await ticket(running, "influx_refuses")
            assert "influxdb: refusing: " in found["evidence"][0]["text"]
            await _nothing_was_lost(running)

    with stub(status, body) as url:
        asyncio.run(scene(url))


async def _nothing_was_lost(running: Running) -> None:
    assert sink_among(running.sinks["north"]).progress.counts["lines"] == 0
    with running.store.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM dead_letter")) == 0


def test_a_limit_of_series_is_a_ticket_and_those_that_are_there_go_on(
    tmp_path: Path, broker: Server, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's InfluxDB with a small max-series-per-database: partial writes."""

    async def scene(influx: Influx) -> None:
        path = configured(tmp_path, broker, influx.url)
        (tmp_path / "token").write_text(influx.token)
        tags = "agent=router,device=modem-1,leg=nr,site=north,vehicle=amb-3"
        influx.write(f"modem,{tags} rsrp_dbm=-90 {now_ms()}")
        async with collector_of(path) as running, speaking(broker.port):
            found = await ticket(running, "influx_refuses")
            assert "influxdb: limited: " in found["evidence"][0]["text"]
            assert "max-series-per-database" in found["evidence"][0]["text"]
            progress = sink_among(running.sinks["north"]).progress
            assert progress.error == ""
            lines = progress.counts["lines"]
            await until(lambda: progress.counts["lines"] > lines + 3)
        judged_the_same(tmp_path)

    with influxdb(tmp_path / "influx", data="max-series-per-database = 1") as influx:
        asyncio.run(scene(influx))


# --- receivers --------------------------------------------------------------------------------------------------------


def test_a_webhook_that_refuses_is_a_ticket_at_once_and_one_that_does_not_answer_soon(
    tmp_path: Path, broker: Server, quick: None
) -> None:
    """What is not delivered is the ticket about an InfluxDB that is away."""

    async def scene(url: str) -> None:
        told = [
            {"channel": "webhook", "receiver": "refuses", "url": url},
            {"channel": "webhook", "receiver": "away", "url": "http://127.0.0.1:9/"},
        ]
        path = configured(tmp_path, broker, "http://127.0.0.1:9", notifications=told)
        async with collector_of(path) as running, speaking(broker.port):
            await ticket(running, "influx_unreachable")
            keys: set[str] = set()
            for _ in range(600):
                _, found = await get(f"{running.address}/api/tickets?state=open")
                keys = {one["id"] for one in found["tickets"] if one["fault"] == "notice_undelivered"}
                if len(keys) == 2:
                    break
                await asyncio.sleep(0.1)
            texts = []
            for key in keys:
                _, whole = await get(f"{running.address}/api/tickets/{key}")
                texts.append(whole["evidence"][0]["text"])
            first, second = sorted(texts)
            assert first.startswith("receiver away: failing: ")
            assert second.startswith("receiver refuses: undelivered: ")
        judged_the_same(tmp_path)

    with stub(422, "no such group") as url:
        asyncio.run(scene(url))


# --- sinks, quarantine, what the broker drops, certificates -----------------------------------------------------------


async def with_evidence(running: Running, begins: set[str], state: str = "open") -> dict[str, dict[str, Any]]:
    """Wait for a ticket for each of these beginnings of what was seen, and return them."""
    found: dict[str, dict[str, Any]] = {}
    for _ in range(600):
        _, listed = await get(f"{running.address}/api/tickets?state={state}")
        for one in listed["tickets"]:
            _, whole = await get(f"{running.address}/api/tickets/{one['id']}")
            for begin in begins:
                if whole["evidence"] and whole["evidence"][0]["text"].startswith(begin):
                    found[begin] = whole
        if set(found) == begins:
            return found
        await asyncio.sleep(0.1)
    pytest.fail(f"no {state} tickets of {begins - set(found)}: {listed}")


def test_a_sink_far_behind_is_a_ticket_until_it_has_caught_up(
    tmp_path: Path, broker: Server, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for an InfluxDB that is away came in two hours ago."""
    monkeypatch.setattr(collector.site.health, "SINK_S", 0.2)

    async def scene(influx: Influx) -> None:
        path = configured(tmp_path, broker, influx.url)
        (tmp_path / "token").write_text(influx.token)
        await asyncio.to_thread(influx.influxd.stop)
        async with collector_of(path) as running, speaking(broker.port):
            await ticket(running, "influx_unreachable")
            with running.store.transaction() as connection:
                connection.execute(update(schema.batch).values(received_ms=now_ms() - 2 * 3_600_000))
            of = "sink influxdb: 120 minutes behind"  # history looks every five minutes and may be behind as well
            found = (await with_evidence(running, {of}))[of]
            assert (found["fault"], found["device"], found["sla_class"]) == ("sink_behind", "collector", "deferrable")
            await asyncio.to_thread(influx.influxd.start)
            await with_evidence(running, {of}, "closed")

    with influxdb(tmp_path / "influx") as influx:
        asyncio.run(scene(influx))


def test_a_hundred_messages_that_nobody_can_read_are_a_ticket(tmp_path: Path, broker: Server) -> None:
    async def scene() -> None:
        async with collector_of(write(tmp_path, broker.port)) as running:
            await ready(running)
            async with Agent(broker.port) as agent:
                for number in range(120):
                    await agent.connection.deliver(agent.name.up("live"), b"nonsense %d" % number)
                found = await ticket(running, "quarantine_growing")
                assert found["evidence"][0]["text"].startswith("quarantine: 100 set aside within the hour")
                assert (found["vehicle"], found["device"]) == ("", "collector")
        judged_the_same(tmp_path)

    asyncio.run(scene())


def test_what_a_real_broker_drops_is_a_ticket(tmp_path: Path) -> None:
    """Somebody else's session is away, and its queue takes five messages."""

    async def scene(port: int) -> None:
        here = BrokerAt(host="127.0.0.1", port=port)
        async with collector_of(write(tmp_path, port)) as running:
            await ready(running)
            more = {"clean_start": False, "session_expiry": 3600}
            away = Connection(here, "away", on_message=lambda message: None, **more)  # type: ignore[arg-type]
            await away.open()
            await away.subscribe("news", qos=1)
            await away.close()
            async with Connection(here, "speaks", on_message=lambda message: None) as speaks:

                async def speak() -> None:
                    while True:  # what it had dropped before it was asked counts for nothing
                        for number in range(20):
                            await speaks.deliver("news", b"%d" % number)
                        await asyncio.sleep(0.2)

                speaking = asyncio.create_task(speak())
                found = await ticket(running, "broker_drops")
                speaking.cancel()
                await asyncio.gather(speaking, return_exceptions=True)
            assert "messages dropped within the hour: $SYS/broker" in found["evidence"][0]["text"]
        judged_the_same(tmp_path)

    with mosquitto(tmp_path / "mosquitto", extra="max_queued_messages 5\nsys_interval 1") as broker:
        asyncio.run(scene(broker.port))


@pytest.mark.parametrize("client", ["mqtt5", "paho"])
def test_certificates_that_end_soon_are_tickets(tmp_path: Path, client: str) -> None:
    """The broker's, as it shows it, and our own: both hold for a day."""
    authority = Authority(tmp_path / "ca")
    theirs, ours = authority.issue("broker"), authority.issue("collector")
    tls = f"cafile {authority.ca}\ncertfile {theirs.certificate}\nkeyfile {theirs.key}\nrequire_certificate true"

    async def scene(port: int) -> None:
        path = write(tmp_path, port, mqtt_client=client)
        settings = json.loads(path.read_text())
        settings["broker"]["tls"] = {
            "ca": str(authority.ca),
            "certificate": str(ours.certificate),
            "key": str(ours.key),
        }
        path.write_text(json.dumps(settings))
        async with collector_of(path) as running:
            wanted = {f"certificate {name}: 0 days until it ends" for name in ("broker", "collector")}
            found = await with_evidence(running, wanted)
            assert {one["fault"] for one in found.values()} == {"certificate_expiring"}

    with mosquitto(tmp_path / "mosquitto", extra=tls) as broker:
        asyncio.run(scene(broker.port))


# --- disk -------------------------------------------------------------------------------------------------------------


def test_a_disk_nearly_full_is_a_ticket(tmp_path: Path, broker: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    small = tmp_path / "data"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    monkeypatch.setattr(collector.site.health, "DISK_S", 0.5)

    async def scene() -> None:
        async with collector_of(configured(tmp_path, broker)) as running:
            await asyncio.sleep(2)
            assert await tickets(running, "open") == {}
            (small / "ballast").write_bytes(bytes(58 * 2**20))
            found = await ticket(running, "centre_disk_filling")
            assert (found["device"], found["sla_class"]) == ("collector", "general")
            assert found["evidence"][0]["text"].startswith("disk: ")
            (small / "ballast").unlink()
            await ticket(running, "centre_disk_filling", "closed")
        judged_the_same(tmp_path)

    try:
        asyncio.run(scene())
    finally:
        subprocess.run(["umount", str(small)], check=True)


# --- nobody owned it, or nothing was committed ------------------------------------------------------------------------


def test_a_site_that_nobody_owned_for_ten_minutes_is_told_by_its_next_owner(tmp_path: Path, broker: Server) -> None:
    async def scene() -> None:
        path = write(tmp_path, broker.port)
        async with collector_of(path) as running:
            await until(lambda: running.owners["north"].status.state == "owner")
        async with collector_of(path) as running:
            await until(lambda: running.owners["north"].status.listening_since_ms is not None)
            assert [await tickets(running, state) for state in ("open", "closed")] == [{}, {}], "a restart is no fault"
        store = Store.open(f"sqlite:///{tmp_path}/data/kitwatch.sqlite")
        with store.transaction() as connection:
            connection.execute(update(schema.site).values(heartbeat_ms=schema.site.c.heartbeat_ms - 600_000))
        store.close()
        async with collector_of(path) as running:
            found = await ticket(running, "platform_module_down", "closed")
            assert (found["vehicle"], found["device"], found["sla_class"]) == ("", "collector", "disaster")
            assert "no collector owned the site" in found["evidence"][0]["text"]
            assert [event["what"] for event in found["history"]] == ["opened", "problem_over", "self_healed"]
        judged_the_same(tmp_path)

    asyncio.run(scene())


# --- systemd's watchdog -----------------------------------------------------------------------------------------------


class Watchdog:
    """The socket that systemd would listen on: what is said, and how often it was fed."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._fed = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while said := self._socket.recv(1000):
            self._fed += said == b"WATCHDOG=1"

    def fed(self) -> int:
        """Return how often it was fed since it was asked last."""
        fed, self._fed = self._fed, 0
        return fed

    async def feeds(self, times: int) -> None:
        """Wait until it was fed so often from now on."""
        self.fed()
        await until(lambda: self._fed >= times)

    async def starves(self, seconds: float) -> None:
        """See that it is not fed for so long, once what is on its way has come."""
        await asyncio.sleep(0.5)
        self.fed()
        await asyncio.sleep(seconds)
        assert self._fed == 0


@pytest.fixture
def watchdog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watchdog:
    """Feeding is due every half second; what is no progress for 30 and 60 s elsewhere is so after 2 and 3 here."""
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setattr(collector.site.status, "STUCK_S", 2.0)
    monkeypatch.setattr(collector.site.ownership, "STUCK_S", 2.0)
    monkeypatch.setattr(collector.site.status, "FAILING_S", 3.0)
    return Watchdog(path)


async def problem(running: Running, begin: str) -> None:
    """Wait until ``/healthz`` says so."""
    for _ in range(600):
        status, told = await get(f"{running.address}/healthz")
        if status == 503 and told["problems"][0].startswith(begin):
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"healthz: {status}, {told}")


@pytest.mark.alone
def test_an_idle_site_and_one_that_waits_for_another_owner_feed_the_watchdog(
    tmp_path: Path, broker: Server, watchdog: Watchdog
) -> None:
    async def scene() -> None:
        path = write(tmp_path, broker.port)
        async with collector_of(path):
            await watchdog.feeds(5)
            await asyncio.to_thread(broker.stop)
            await watchdog.feeds(8)  # a broker that is away is no illness of ours
            async with collector_of(path) as second:
                await asyncio.sleep(4)
                assert second.owners["north"].status.state == "waiting"
                assert stuck({"north": second.owners["north"].status}, time.monotonic()) == {}

    asyncio.run(scene())


@pytest.mark.alone
def test_a_commit_that_hangs_starves_the_watchdog(
    tmp_path: Path, broker: Server, watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang = threading.Event()
    real = SqliteSite._commit

    def commit(self: SqliteSite, changes: Changes, number: int | None) -> None:
        if number is not None and number > 1:
            hang.wait(60)
        real(self, changes, number)

    async def scene() -> None:
        async with collector_of(write(tmp_path, broker.port)) as running:
            await until(lambda: running.owners["north"].status.state == "owner")
            monkeypatch.setattr(SqliteSite, "_commit", commit)
            async with speaking(broker.port):
                await problem(running, "site north: no progress for")
                await watchdog.starves(4)
                hang.set()
                await watchdog.feeds(2)

    asyncio.run(scene())


@pytest.mark.alone
def test_an_ownership_that_begins_again_and_again_starves_the_watchdog(
    tmp_path: Path, broker: Server, watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retries are no progress. A site that a message kept from every commit fed the watchdog for ever."""
    monkeypatch.setattr(collector.read.sites, "READY_MS", 3_000)
    real = SqliteSite._commit
    ill = True

    def commit(self: SqliteSite, changes: Changes, number: int | None) -> None:
        if ill:
            raise CommitFailed("north", "the test says no")
        real(self, changes, number)

    async def scene() -> None:
        nonlocal ill
        async with collector_of(write(tmp_path, broker.port)) as running:
            await until(lambda: running.owners["north"].status.state == "owner")
            async with speaking(broker.port):
                monkeypatch.setattr(SqliteSite, "_commit", commit)
                await problem(running, "site north: nothing committed")
                await watchdog.starves(4)
                status, told = await get(f"{running.address}/readyz")
                assert status == 503
                assert told["problems"][0].startswith(("site north: nothing committed", "site north: not heard"))
                ill = False
                await watchdog.feeds(2)
                assert (await get(f"{running.address}/healthz"))[0] == 200

    asyncio.run(scene())
