"""The demo as a user calls it: one JSON object alone on standard output, nothing lost, nothing twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.judge import kept
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
    assert ("amb-01", "antenna_degraded") in tickets
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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--influxdb", "http://127.0.0.1:1"], "--token: expected a token beside --influxdb, found none"),
        (["--mqtt", "http://x"], "--mqtt: expected mqtt://host[:port], found 'http://x'"),
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
