"""``kitwatch status`` beside a collector that runs: good, and each thing that may be bad (item 15-5)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from collector.config import load_config, load_fleet_of
from collector.read.sites import Behind, SiteRow
from collector.store.rows import SiteReport
from collector.store.store import Store
from kitwatch.status import look
from telemetry.message import Up
from telemetry.topics import AgentName
from tests.integration.test_collector import command, write
from tests.integration.test_site import SCHEMA, SITE, Agent, now_ms, until
from tests.services.api import TOKEN, let_in
from tests.services.influxdb import influxdb
from tests.services.mosquitto import mosquitto
from tests.services.process import Server, free_port

KITWATCH = str(Path(sys.executable).parent / "kitwatch")


def status(config: Path, *words: str) -> tuple[int, Any]:
    done = subprocess.run(
        [KITWATCH, "status", "--config", str(config), *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout) if "--json" in words else done.stdout


def until_told(config: Path, part: str, seconds: float = 60) -> list[str]:
    """Return what is bad once a part of it is; fail if it never is."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        code, found = status(config, "--json")
        if any(part in text for text in found["bad"]):
            assert code == 1
            return list(found["bad"])
        time.sleep(0.5)
    raise AssertionError((part, found))


def once_good(config: Path, *words: str, seconds: float = 60) -> tuple[int, Any]:
    """Return what is told once nothing is bad, or at last."""
    end = time.monotonic() + seconds
    while (found := status(config, *words))[0] and time.monotonic() < end:
        time.sleep(0.3)
    return found


def until_good(config: Path, *words: str) -> Any:
    """Return what is told once nothing is bad; fail if something always is."""
    code, found = once_good(config, *words)
    assert (code, found["bad"]) == (0, [])
    return found


@contextlib.contextmanager
def collector(config: Path, web: int) -> Iterator[Server]:
    server = Server(command("--config", str(config)), web, config.parent / "collector.log")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def sees_collector(agent: Agent) -> bool:
    return bool(agent.presences) and isinstance(agent.presences[-1], Up)


@contextlib.asynccontextmanager
async def speaking(port: int, vehicle: str, number: int) -> AsyncIterator[None]:
    """Let an agent be born and say something every second; then it is gone without a word."""
    async with Agent(port, AgentName(SITE, vehicle, "router"), f"{number:016x}") as agent:
        await until(partial(sees_collector, agent))
        await agent.birth()
        await agent.schema(now_ms(), SCHEMA)

        async def go_on() -> None:
            for sequence in itertools.count():
                await agent.live(sequence, [-80.0, "ready"])
                await asyncio.sleep(1)

        task = asyncio.create_task(go_on())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.mark.timeout(600)
def test_good_and_then_one_thing_after_another(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    web = free_port()
    with mosquitto(tmp_path / "broker") as broker, influxdb(tmp_path / "influx") as influx:
        # the beat as shipped: with a patience of 1.5 s a loaded machine does not listen, and hears of no silence
        more = {"speed": 60, "timings": {"receipt": 0.2, "retry": 0.1, "retry_most": 0.5, "reconnect_window": 1}}
        config = write(tmp_path, broker.port, influx.url, web=web, **more)

        def good() -> None:
            code, told = once_good(config, "--json")
            assert (code, told["good"], told["bad"]) == (0, True, [])
            (site,) = told["sites"]
            assert (site["state"], site["connected"]) == ("listening", True)
            assert set(site["sinks"]) == {"history", "places", "influxdb"}
            assert site["vehicles"] == {"planned": 2, "heard": 2, "silent": [], "never_heard": []}
            assert told["influxdb"]["version"].startswith("version 1.")
            code, text = once_good(config)  # a moment in which nobody spoke may be between
            assert code == 0
            assert f"broker 127.0.0.1:{broker.port}: in reach" in text
            assert "BAD" not in text

        def one_is_silent() -> None:
            assert "site north: silent: amb-3" in until_told(config, "silent: amb-3")
            assert "BAD site north: silent: amb-3" in status(config)[1]

        async def live() -> None:
            # One speaks all the while: were both silent, the site would be, and none of them alone.
            async with speaking(broker.port, "amb-4", 2):
                async with speaking(broker.port, "amb-3", 1):
                    await asyncio.to_thread(good)
                await asyncio.to_thread(one_is_silent)

        with collector(config, web) as server:
            asyncio.run(live())
            broker.kill()
            bad = until_told(config, "not listening")
            assert f"broker 127.0.0.1:{broker.port}: nothing listens at 127.0.0.1:{broker.port}" in bad
            server.kill()
            bad = until_told(config, "unowned for ")
    assert any("InfluxDB" in text and "Cannot connect" in text for text in until_told(config, "InfluxDB"))


@pytest.mark.timeout(600)
def test_the_collector_is_asked_and_the_database_only_where_it_does_not_answer(tmp_path: Path) -> None:
    """At its socket by whoever owns this machine, at its address with a token; it is said that it is down."""
    (tmp_path / "broker").mkdir()
    web, socket = free_port(), tmp_path / "c.sock"
    token = tmp_path / "token-file"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with mosquitto(tmp_path / "broker") as broker:
        # the beat as shipped, as above
        timings = {"receipt": 0.2, "retry": 0.1, "retry_most": 0.5, "reconnect_window": 1}
        config = write(tmp_path, broker.port, web=web, socket=str(socket), timings=timings)
        database = tmp_path / "data" / "kitwatch.sqlite"
        with collector(config, web) as server:
            let_in(f"sqlite:///{database}")
            url = ("--url", f"http://127.0.0.1:{web}", "--token-file", str(token), "--json")
            until_good(config, "--json")
            moved = database.rename(tmp_path / "moved")  # the collector has it open; nobody else finds it
            assert until_good(config, "--json")["sites"][0]["vehicles"]["planned"] == 2
            found = until_good(tmp_path / "none.yaml", *url)
            assert (found["sites"][0]["state"], found["broker"]) == ("listening", None)
            moved.rename(database)
            server.kill()
        code, found = status(config, "--json")
        assert code == 1
        assert found["bad"][0].startswith(f"collector: nobody answers at {socket}: ")
        assert found["sites"][0]["vehicles"]["never_heard"] == ["amb-3", "amb-4"]
        done = subprocess.run([KITWATCH, "status", *url], capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout) == (2, "")
        assert "expected a collector that answers, found: " in done.stderr


def test_a_site_that_nobody_ever_owned(tmp_path: Path) -> None:
    config = write(tmp_path, free_port())
    subprocess.run([KITWATCH, "migrate", "--config", str(config)], check=True, capture_output=True)
    code, found = status(config, "--json")
    assert code == 1
    assert "site north: never owned" in found["bad"]
    assert found["sites"][0]["vehicles"]["never_heard"] == ["amb-3", "amb-4"]


def test_no_database_is_one_line(tmp_path: Path) -> None:
    config = write(tmp_path, free_port())
    done = subprocess.run(
        [KITWATCH, "status", "--config", str(config)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "kitwatch migrate" in done.stderr


def test_a_sink_is_behind_by_its_own_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """History looks every five minutes; to call it behind after one would be wrong four minutes of five."""
    config = write(tmp_path, free_port(), "http://127.0.0.1:1")
    loaded = load_config(config)
    fleet, sites = load_fleet_of(loaded, config)
    store = Store.open(loaded.database)
    store.migrate()
    row = SiteRow(
        site=SITE, epoch=1, owner="us", heartbeat_ms=10**6, heard_ms=10**6, committed_ms=10**6, last_batch=9,
        revision=1, report=SiteReport(connected=True, listening_since_ms=1), problem="", now_ms=10**6,
    )  # fmt: skip
    monkeypatch.setattr("collector.read.sites.list_sites", lambda engine: [row])
    for behind_s, bad in ((87, ["influxdb"]), (400, ["history", "influxdb"])):
        behind = {name: Behind(3, 10**6 - behind_s * 1000) for name in ("history", "influxdb")}
        monkeypatch.setattr("collector.read.sites.sinks_behind", lambda engine, row, behind=behind: behind)
        (site,) = look(store, fleet, sites)["sites"]
        assert [text.split()[2] for text in site["bad"]] == bad
    store.close()
