"""The shipped fleet and collector files beside the shipped Mosquitto: running, they leave its log alone."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kitwatch.main import main
from tests.services.process import free_port
from tests.services.secured_broker import SHIPPED, Secured, moved, secured_broker, setup

WATCHED_S = 45.0
DAY_S = 86_400


@contextlib.contextmanager
def process(log: Path, *words: str) -> Iterator[None]:
    with log.open("wb") as out:
        running = subprocess.Popen(
            [sys.executable, "-m", "kitwatch.main", *words], stdout=out, stderr=out, env=dict(os.environ)
        )
        try:
            yield
            assert running.poll() is None, log.read_text()
        finally:
            running.terminate()
            running.wait(30)


def lines(secured: Secured) -> list[str]:
    """Return what the broker has logged, wherever Debian's main file has it log."""
    return [line for name in ("log", "mosquitto.log") for line in _read(secured.directory / name)]


def _read(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def laid_out(secured: Secured) -> None:
    """Write the shipped files with this machine's places in them, and certificates for the two agents."""
    folder = secured.directory
    secrets = folder / "secrets"
    secrets.mkdir()
    for name in ("snmp-auth", "snmp-priv", "snmp-community", "camera"):
        (secrets / name).write_text("tests-only-4711\n")
        (secrets / name).chmod(0o600)
    nobody = {"192.168.1.": "127.0.9.", "https://platform.example.org/": f"http://127.0.0.1:{free_port()}/"}
    places = {"mqtt.example.org": "localhost", "port: 8883": f"port: {secured.ports['vehicles']}"}
    ours = {**nobody, **places, "/etc/kitwatch/": f"{folder}/"}
    (folder / "fleet.yaml").write_text(moved(SHIPPED / "examples" / "fleet.yaml", ours))
    for agent in ("router", "tablet"):
        setup(folder, "vehicle", "amb-03", agent, "--instance", agent)
        at = folder / agent
        at.mkdir()
        subprocess.run(["tar", "-xf", folder / f"amb-03.{agent}.tar", "-C", at], check=True)
        data = yaml.safe_load((at / f"{agent}.yaml").read_text().replace("/etc/kitwatch/", f"{at}/"))
        (at / "agent.yaml").write_text(yaml.safe_dump({**data, "state_directory": str(at / "state")}))
    secured.server.stop()
    secured.server.start()  # it takes in the two agents' lines of the access list
    text = moved(
        SHIPPED / "examples" / "collector.yaml",
        {
            "/etc/kitwatch/": f"{folder}/",
            "/var/lib/kitwatch/collector/": f"{folder}/",
            "port: 8884": f"port: {secured.ports['collector']}",
            "port: 8080": f"port: {free_port()}",
        },
    )
    data = yaml.safe_load(text)
    del data["influxdb"]  # another server; it is no client of the broker
    (folder / "collector.yaml").write_text(yaml.safe_dump(data))


def _connected(secured: Secured, name: str) -> None:
    """Wait until the broker has logged that somebody of this name has connected."""
    end = time.monotonic() + 120
    while not any(f" as {name}" in line for line in lines(secured)):
        assert time.monotonic() < end, lines(secured)[-20:]
        time.sleep(0.2)


def _quiet(secured: Secured, seconds: float = 120) -> None:
    """Wait until the broker has logged nothing for ten seconds; what never rests is seen by who counts it."""
    end, since, seen = time.monotonic() + seconds, time.monotonic(), 0
    while time.monotonic() < min(end, since + 10):
        if (number := len(lines(secured))) != seen:
            since, seen = time.monotonic(), number
        time.sleep(0.2)


@pytest.mark.timeout(400)
def test_the_shipped_example_does_not_fill_the_brokers_log(tmp_path: Path) -> None:
    with secured_broker(tmp_path) as secured:
        laid_out(secured)
        agents = [tmp_path / name for name in ("router", "tablet")]
        with contextlib.ExitStack() as stack:
            stack.enter_context(
                process(tmp_path / "collector.out", "collector", "--config", f"{tmp_path}/collector.yaml")
            )
            for at in agents:
                stack.enter_context(process(at / "out", "agent", "--config", f"{at}/agent.yaml"))
            for name in ("collector-", *(f"amb-03.{at.name} " for at in agents)):
                _connected(secured, name)
            _quiet(secured)  # connected, the collector too; what comes now is every day's
            before = len(lines(secured))
            time.sleep(WATCHED_S)
            more = lines(secured)[before:]
            assert len(more) * DAY_S / WATCHED_S < 5_000, more
            for at in agents:
                assert len(_read(at / "out")) < 50, _read(at / "out")


@pytest.mark.timeout(240)
def test_a_tcp_probe_of_the_broker_would_and_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with secured_broker(tmp_path) as secured:
        laid_out(secured)
        fleet = tmp_path / "fleet.yaml"
        probe = f"{{kind: tcp, address: localhost, port: {secured.ports['vehicles']}}}"
        text = fleet.read_text().replace("{kind: icmp, address: localhost}", probe)
        assert probe in text
        capsys.readouterr()
        assert main(["fleet", "check", str(fleet)]) == 0
        assert capsys.readouterr().err == ""
        fleet.write_text(text)
        assert main(["fleet", "check", str(fleet)]) == 0
        warned = capsys.readouterr().err
        assert "devices.uplink.probe.targets.centre: a TCP probe of the broker fills its log" in warned
        at = tmp_path / "router"
        config = yaml.safe_load((at / "agent.yaml").read_text())
        config["devices"] = {"uplink": yaml.safe_load(f"{{kind: link, probe: {{targets: {{centre: {probe}}}}}}}")}
        (at / "agent.yaml").write_text(yaml.safe_dump(config))
        with process(at / "out", "agent", "--config", f"{at}/agent.yaml"):
            _connected(secured, "amb-03.router ")
            time.sleep(5)
            before = len(lines(secured))
            time.sleep(20)
            more = len(lines(secured)) - before
        assert more * DAY_S / 20 > 20_000
