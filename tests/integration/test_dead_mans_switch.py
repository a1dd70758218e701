"""The dead man's switch beside a real broker, and a server that counts the calls as healthchecks.io would."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import collector.read.sites
from bench.fleet_traffic import as_shipped
from collector.config import load_config
from collector.dead_mans_switch import Caller, DeadMansSwitch
from collector.main import Running
from collector.store.commit import SiteConnection
from collector.store.store import Store
from telemetry.files import FileError
from tests.integration.test_centre_health import collector_of, configured, ready, ticket
from tests.integration.test_collector import get
from tests.integration.test_site import until
from tests.services.certificates import Authority
from tests.services.mosquitto import mosquitto
from tests.services.process import Server, need

UNIT = Path(__file__).parents[2] / "systemd" / "kitwatch-collector.service"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Server]:
    with mosquitto(tmp_path / "mosquitto", persistence=True) as server:
        yield server


class SecondPlace:
    """Counts calls, and answers as told."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.answer: tuple[int, str] = (200, "OK")

    @contextlib.asynccontextmanager
    async def up(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        async def called(request: web.Request) -> web.Response:
            self.calls.append(request.method)
            return web.Response(status=self.answer[0], text=self.answer[1])

        app = web.Application()
        app.router.add_route("*", "/ping/s3cret", called)
        server = TestServer(app)
        await server.start_server(ssl=tls)
        try:
            yield str(server.make_url("/ping/s3cret"))
        finally:
            await server.close()


def switch(tmp_path: Path, url: str, **more: Any) -> dict[str, Any]:
    file = tmp_path / "switch"
    file.write_text(url)
    file.chmod(0o600)
    return {"url_file": "switch", "every": 1, **more}


async def more_calls(place: SecondPlace) -> None:
    before = len(place.calls)
    await until(lambda: len(place.calls) >= before + 2)


async def no_more_calls(running: Running, place: SecondPlace) -> None:
    """Wait until it holds back, and see that it calls nobody while it does so three times more."""
    assert running.switch is not None
    held = running.switch.progress.counts
    begin = held["held_back"]
    await until(lambda: held["held_back"] > begin)
    calls, begin = len(place.calls), held["held_back"]
    await until(lambda: held["held_back"] >= begin + 3)
    assert len(place.calls) == calls


def test_it_calls_while_the_centre_hears_stops_with_the_broker_and_comes_again(
    tmp_path: Path, broker: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector.read.sites, "READY_MS", 3_000)

    async def scene() -> None:
        place = SecondPlace()
        async with place.up() as url:
            path = configured(tmp_path, broker, dead_mans_switch=switch(tmp_path, url))
            async with collector_of(path) as running:
                await ready(running)
                await more_calls(place)
                assert set(place.calls) == {"GET"}
                await asyncio.to_thread(broker.stop)
                await no_more_calls(running, place)
                await asyncio.to_thread(broker.start)
                await more_calls(place)
                _, told = await get(f"{running.address}/metrics")
                assert 'kitwatch_drain_events_total{drain="dead_mans_switch",site="north",what="held_back"}' in told

    asyncio.run(scene())


def test_it_does_not_call_for_a_site_that_nobody_looks_after(
    tmp_path: Path, broker: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one holds the site and does nothing, as a collector that hangs does."""
    monkeypatch.setattr(collector.read.sites, "READY_MS", 3_000)

    async def scene() -> None:
        place = SecondPlace()
        async with place.up() as url:
            path = configured(tmp_path, broker, dead_mans_switch=switch(tmp_path, url, method="POST"))
            (tmp_path / "data").mkdir()
            store = Store.open(load_config(path).database)
            store.migrate()
            hanging = SiteConnection.acquire(store, "north", "hangs")
            assert hanging is not None
            async with collector_of(path) as running:
                await no_more_calls(running, place)
                assert place.calls == []
                hanging.close()
                await more_calls(place)
                assert set(place.calls) == {"POST"}
            store.close()

    asyncio.run(scene())


def test_a_second_place_that_fails_is_a_ticket_and_holds_up_nothing(tmp_path: Path, broker: Server) -> None:
    async def scene() -> None:
        place = SecondPlace()
        place.answer = (500, "we are down")
        async with place.up() as url:
            path = configured(tmp_path, broker, dead_mans_switch=switch(tmp_path, url))
            async with collector_of(path) as running:
                await ready(running)
                found = await ticket(running, "notice_undelivered")
                assert found["evidence"][0]["text"] == "receiver dead_mans_switch: failing: 500: we are down"
                status, told = await get(f"{running.address}/healthz")
                assert (status, told["ready"]) == (200, True)
                assert told["receivers"]["dead_mans_switch"]["north"]["error"] == "500: we are down"
                place.answer = (200, "OK")
                await ticket(running, "notice_undelivered", "closed")

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, "OK", ""),
        (200, '{"ok":true}', ""),
        (204, "", ""),
        (200, "OK (not found)", "200: OK (not found)"),
        (200, '{"ok":false,"msg":"Monitor not found or not active."}', "200: {"),
        (404, '{"ok":false}', "404: {"),
        (302, "", "302:"),
    ],
)
def test_what_the_second_place_answers(tmp_path: Path, status: int, body: str, error: str) -> None:
    async def scene() -> str:
        place = SecondPlace()
        place.answer = (status, body)
        async with place.up() as url:
            settings = DeadMansSwitch(**switch(tmp_path, url)).checked(tmp_path / "c.yaml", "dead_mans_switch")
            caller, stop = Caller(settings, list), asyncio.Event()
            task = asyncio.create_task(caller.run(stop))
            counts = caller.progress.counts
            await until(lambda: counts["sent"] + counts["retries"] > 0)
            stop.set()
            await asyncio.wait_for(task, 30)
            return caller.progress.error

    found = asyncio.run(scene())
    assert found.startswith(error)
    assert bool(found) == bool(error)


def test_a_database_that_cannot_be_asked_is_not_all_well_and_an_address_is_a_secret(tmp_path: Path) -> None:
    async def scene() -> None:
        settings = DeadMansSwitch(**switch(tmp_path, "http://127.0.0.1:1/s3cret")).checked(tmp_path / "c.yaml", "d")

        def broken() -> list[str]:
            raise OSError("disk")

        for problems, what in ((broken, "held_back"), (list, "retries")):
            caller, stop = Caller(settings, problems), asyncio.Event()
            task = asyncio.create_task(caller.run(stop))
            await until(lambda caller=caller, what=what: caller.progress.counts[what] > 0)  # type: ignore[misc]
            stop.set()
            await asyncio.wait_for(task, 30)
            assert "s3cret" not in caller.progress.error

    asyncio.run(scene())
    (tmp_path / "switch").write_text("nonsense")
    with pytest.raises(FileError, match="expected an address") as found:
        DeadMansSwitch(url_file="switch").checked(tmp_path / "c.yaml", "dead_mans_switch")
    assert "nonsense" not in str(found.value)
    with pytest.raises(FileError, match=r"dead_mans_switch\.url_file"):
        DeadMansSwitch(url_file="none").checked(tmp_path / "c.yaml", "dead_mans_switch")


CALL = """
import asyncio, sys
from collector.dead_mans_switch import Caller, DeadMansSwitch

async def main():
    caller = Caller(DeadMansSwitch(url_file=sys.argv[1], every=1), lambda: [])
    stop = asyncio.Event()
    running = asyncio.create_task(caller.run(stop))
    while not (caller.progress.counts["sent"] or caller.progress.error):
        await asyncio.sleep(0.05)
    stop.set()
    await running
    print(caller.progress.error or "sent")

asyncio.run(main())
"""


@pytest.mark.parametrize(("known", "told"), [(True, "sent"), (False, "ClientConnectorCertificateError")])
def test_with_the_unit_s_environment_https_is_verified_by_the_machine_s_folder(
    known: bool, told: str, tmp_path: Path
) -> None:
    """The unit takes the authorities' one file away. The folder is as update-ca-certificates makes it."""
    authority = Authority(tmp_path / "theirs")
    folder = tmp_path / "certs"
    folder.mkdir()
    shutil.copy(authority.ca if known else Authority(tmp_path / "others").ca, folder / "root.crt")
    subprocess.run([need("openssl", "openssl"), "rehash", str(folder)], check=True, timeout=60)
    pair = authority.issue("second-place")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.certificate, pair.key)
    environment = as_shipped(UNIT, tmp_path) | {"SSL_CERT_DIR": str(folder)}

    async def scene() -> None:
        place = SecondPlace()
        async with place.up(tls) as url:
            switch(tmp_path, url)
            command = [sys.executable, "-c", CALL, str(tmp_path / "switch")]
            done = await asyncio.to_thread(
                subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60, check=True
            )
        assert done.stdout == f"{told}\n"
        assert bool(place.calls) == known

    asyncio.run(scene())
