"""The demo as a user calls it: one JSON object alone on standard output, nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from telemetry.fleet import Broker
from telemetry.message import FORMATS, PLAIN, Up, encode
from telemetry.paho_mqtt import Connection
from telemetry.topics import presence
from tests.chaos.judge import kept
from tests.services.fake_collector import until
from tests.services.influxdb import influxdb, points
from tests.services.mosquitto import mosquitto

KITWATCH = str(Path(sys.executable).parent / "kitwatch")


def demo(*words: str) -> dict[str, Any]:
    result = subprocess.run(
        [KITWATCH, "demo", "--json", *words], capture_output=True, text=True, check=False, timeout=110
    )
    assert result.returncode == 0, result.stderr[-2000:]
    summary: dict[str, Any] = json.loads(result.stdout)
    return summary


@pytest.mark.alone
@pytest.mark.timeout(150)
def test_the_embedded_demo_opens_and_resolves_tickets_and_loses_nothing() -> None:
    summary = demo("--for", "45s")
    assert summary["vehicles"] == ["amb-01", "amb-02", "this-machine"]
    assert summary["samples_published"] > 200
    assert summary["samples_stored"] == summary["samples_published"]
    assert (summary["samples_lost"], summary["samples_duplicated"]) == (0, 0)
    tickets = {(ticket["vehicle"], ticket["fault"]): ticket for ticket in summary["tickets"]}
    camera = tickets[("amb-01", "camera_down")]
    assert (camera["device"], camera["severity"], camera["sla_class"]) == ("camera-1", "major", "general")
    assert camera["event_at"] < camera["opened_at"] < camera["resolved_at"]
    sim = tickets[("amb-02", "sim_absent")]
    assert (sim["severity"], sim["sla_class"]) == ("critical", "disaster")
    assert sim["resolved_at"]
    assert [t["fault"] for t in summary["tickets"]].count("sim_absent") == 1, "router and modem tell of one SIM"
    assert ("amb-01", "modem_hot") in tickets
    delay = summary["breach_to_ticket_seconds"]
    assert 0 < delay["p50"] <= delay["max"] < 10


@pytest.mark.timeout(150)
def test_the_same_with_real_mosquitto_and_influxdb(tmp_path: Path) -> None:
    """What the log holds is what InfluxDB has: the same points, no more, no fewer."""
    (tmp_path / "broker").mkdir()
    with mosquitto(tmp_path / "broker") as broker, influxdb(tmp_path / "influx") as influx:
        where = ["--mqtt", f"mqtt://127.0.0.1:{broker.port}", "--influxdb", influx.url, "--token", influx.token]
        summary = demo("--for", "25s", *where, "--bucket", influx.bucket, "--directory", str(tmp_path / "demo"))
        stored = points(influx)
    assert (summary["samples_lost"], summary["samples_duplicated"]) == (0, 0)
    expected: set[tuple[str, int]] = set()
    samples = 0
    for (vehicle, agent, _, _), record in kept(f"sqlite:///{tmp_path}/demo/kitwatch.sqlite"):
        if len(record.entry) == 2 and record.clock is not None:
            samples += 1
            expected.add((f"{vehicle}/{agent}", record.clock.wall_ms + record.mono_ms - record.clock.mono_ms))
    assert samples == summary["samples_published"]
    found = {(f"{dict(tags)['vehicle']}/{dict(tags)['agent']}", at) for _, tags, at in stored}
    assert found == expected


def start(*words: str, folder: Path, **more: Any) -> subprocess.Popen[str]:
    """Start the demo with ``folder`` for what is temporary."""
    return subprocess.Popen(
        [KITWATCH, "demo", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"TMPDIR": str(folder)}, **more,
    )  # fmt: skip


def until_it_runs(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("page: http://127.0.0.1:"), process.communicate()
    time.sleep(3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_ends_with_the_tally_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    with start(folder=tmp_path) as process:
        until_it_runs(process)
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert re.search(r"\d+ samples, \d+ stored, \d+ held by their agents, 0 lost, 0 twice; \d+ tickets", out), out
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_the_broker_starts_is_not_lost(tmp_path: Path) -> None:
    with start(folder=tmp_path) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not children.read_text():
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode in (130, 0), "at once, or in order where it came when all had begun"
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.alone
def test_ctrl_c_in_a_terminal_reaches_the_broker_too_and_nothing_is_lost(tmp_path: Path) -> None:
    """A terminal sends it to the whole group of processes; the embedded broker, one of them, outlives its agents."""
    with start(folder=tmp_path, start_new_session=True) as process:
        until_it_runs(process)
        time.sleep(5)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    found = re.search(r"(\d+) samples, (\d+) stored, 0 held by their agents, 0 lost", out)
    assert found, out
    assert int(found[1]) == int(found[2]) > 0


def test_a_short_demo_loses_nothing_that_was_never_sent() -> None:
    summary = demo("--for", "3s")
    assert summary["samples_lost"] == 0
    assert summary["samples_published"] == summary["samples_stored"] + summary["samples_held"]


async def samples_come(port: int) -> None:
    """Wait for what an agent sends."""
    heard: list[str] = []
    settings = Broker(host="127.0.0.1", port=port)
    async with Connection(settings, "listener", on_message=lambda message: heard.append(message.topic)) as connection:
        await connection.subscribe("kitwatch/v1/up/+/+/+/live")
        await until(lambda: heard)


def test_what_agents_could_not_send_is_held_and_not_lost(tmp_path: Path) -> None:
    """The broker ends before the demo: whatever was kept since stands in the outboxes."""
    (tmp_path / "broker").mkdir()
    with (
        mosquitto(tmp_path / "broker") as broker,
        start("--json", "--for", "20s", "--mqtt", f"mqtt://127.0.0.1:{broker.port}", folder=tmp_path) as process,
    ):
        asyncio.run(samples_come(broker.port))
        broker.kill()
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
    summary = json.loads(out)
    assert summary["samples_held"] > 0
    assert summary["samples_lost"] == 0


def test_a_site_that_somebody_owns_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    heard: set[str] = set()

    async def appear(port: int, site: str) -> None:
        settings = Broker(host="127.0.0.1", port=port)
        async with Connection(settings, f"collector-{site}", on_message=lambda message: None) as connection:
            await connection.deliver(presence(site), encode(PLAIN, "0" * 16, Up(1, FORMATS, "test")), retain=True)

    async def listen(port: int, process: subprocess.Popen[str]) -> None:
        settings = Broker(host="127.0.0.1", port=port)
        async with Connection(settings, "listener", on_message=lambda message: heard.add(message.topic)) as connection:
            await connection.subscribe("#")
            await asyncio.to_thread(process.wait, 100)

    with mosquitto(tmp_path / "broker") as broker:
        where = ["--mqtt", f"mqtt://127.0.0.1:{broker.port}", "--for", "3s"]
        asyncio.run(appear(broker.port, "demo"))
        result = subprocess.run([KITWATCH, "demo", *where], capture_output=True, text=True, check=False, timeout=60)
        assert result.returncode == 2
        assert result.stderr == ("kitwatch: --site: expected a site that nobody owns, found a collector's on 'demo'\n")
        with start(*where, "--site", "another", folder=tmp_path) as process:
            asyncio.run(listen(broker.port, process))
    assert {topic.split("/")[3] for topic in heard} == {"demo", "another"}
    assert {topic for topic in heard if "/demo/" in topic} == {presence("demo")}, "ours, which stood there"


def test_a_kill_leaves_no_secret_in_the_temporary_folder(tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    (tmp_path / "broker").mkdir()
    with mosquitto(tmp_path / "broker") as broker, start(
        "--mqtt", f"mqtt://me:Zk8-secret-one@127.0.0.1:{broker.port}",
        "--influxdb", "http://127.0.0.1:1", "--token", "Zk8-secret-two", folder=folder,
    ) as process:  # fmt: skip
        until_it_runs(process)
        process.kill()
        process.communicate()
    left = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "collector.yaml" for path in left), "this is what a kill leaves"
    assert not [path for path in left if b"Zk8-secret" in path.read_bytes() or b"demo-only" in path.read_bytes()]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--influxdb", "http://127.0.0.1:1"], "--token: expected a token beside --influxdb, found none"),
        (["--mqtt", "http://x"], "--mqtt: expected mqtt://host[:port], found 'http://x'"),
        (["--mqtt", "mqtt://x:y"], "--mqtt: expected mqtt://host[:port], found 'mqtt://x:y'"),
        (["--mqtt", "mqtt://127.0.0.1:1"], "--mqtt: expected a broker, found none: nothing listens at 127.0.0.1:1"),
        (["--directory", "/proc/nobody/x"], "/proc/nobody: No such file or directory"),
        (["--site", "a/b"], "--site: expected 1 to 32 letters, digits, _ or -, found 'a/b'"),
        (["--speed", "0"], "--speed: expected a number over 0, found 0"),
        (["--scenario", "nothing"], "nothing: expected a .yaml file or one of first-look, quiet"),
        (["--for", "soon"], "expected a time such as 45s or 2m, found 'soon'"),
    ],
)
def test_a_wrong_call_is_said_in_a_line(words: list[str], told: str) -> None:
    result = subprocess.run([KITWATCH, "demo", *words], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 2
    assert told in result.stderr
    assert "Traceback" not in result.stderr
