"""``agent --check`` and ``collector --check``: what run time will lack, and apart from it what is out of reach now."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kitwatch import needs
from telemetry.fleet import Broker, Tls
from telemetry.paho_mqtt import Connection
from tests.integration.test_collector import write
from tests.services.certificates import Authority
from tests.services.influxdb import influxdb
from tests.services.mosquitto import mosquitto
from tests.services.process import free_port
from tests.services.secured_broker import Secured, secured_broker

KITWATCH = str(Path(sys.executable).parent / "kitwatch")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


def check(what: str, config: Path) -> tuple[int, dict[str, str], dict[str, str]]:
    """Return the status, and of what is needed and of what is in reach what is wrong with each."""
    command = [KITWATCH, what, "--config", str(config), "--check", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    needed, reach = ({one["what"]: one["problem"] for one in found[part]} for part in ("needs", "reach"))
    return done.returncode, needed, reach


def agent(folder: Path, broker: dict[str, Any], **more: Any) -> Path:
    config = {
        "site": "c1", "vehicle": "amb-01", "agent": "router", "broker": {"host": "localhost", **broker},
        "devices": {"box": {"kind": "host", "system": {}}}, "state_directory": str(folder / "state"), **more,
    }  # fmt: skip
    (folder / "agent.yaml").write_text(yaml.safe_dump(config))
    return folder / "agent.yaml"


def tls(secured: Secured, name: str | None) -> dict[str, Any]:
    pair = secured.certificate(name) if name else None
    own = {"certificate": str(pair.certificate), "key": str(pair.key)} if pair else {}
    return {"port": secured.ports["vehicles"], "tls": {"ca": str(secured.directory / "ca.crt"), **own}}


def test_all_is_there_and_a_running_session_is_left_alone(secured: Secured, tmp_path: Path) -> None:
    """The broker knows a client by its certificate: a second CONNECT would end the agent's own connection."""
    part = tls(secured, "amb-01")

    async def main() -> tuple[int, dict[str, str], dict[str, str]]:
        running = Connection(
            Broker(host="localhost", port=part["port"], tls=Tls(**part["tls"])), "agent", on_message=lambda _: None
        )
        async with running as connection:
            found = await asyncio.to_thread(check, "agent", agent(tmp_path, part))
            await asyncio.sleep(0.5)
            assert connection.is_open
            return found

    status, lacks, reach = asyncio.run(main())
    assert status == 0
    assert list(lacks) == ["TLS files of localhost", "certificate for amb-01", "state_directory"]
    assert set(lacks.values()) == {""}
    assert reach == {f"the broker at localhost:{part['port']} over TLS": ""}
    assert not (tmp_path / "state").exists(), "a check makes nothing"


@pytest.mark.parametrize(
    ("name", "with_tls", "told"),
    [
        (None, True, "the broker asks for a client certificate and we have none"),
        (None, False, "seems to expect TLS, and broker.tls is not set"),
    ],
)
def test_what_the_broker_would_say_is_said_before(
    secured: Secured, tmp_path: Path, name: str | None, with_tls: bool, told: str
) -> None:
    part = tls(secured, name)
    status, _, reach = check("agent", agent(tmp_path, part if with_tls else {"port": part["port"]}))
    assert status == 0, "not to be reached now is no mistake of the file"
    assert told in next(iter(reach.values()))


def test_another_vehicles_certificate_is_found_without_the_broker(secured: Secured, tmp_path: Path) -> None:
    status, lacks, _ = check("agent", agent(tmp_path, tls(secured, "amb-02")))
    assert status == 1
    assert "expected a certificate for amb-01 or amb-01.router, found one for amb-02" in lacks["certificate for amb-02"]


def test_keys_and_secrets_that_others_may_read(secured: Secured, tmp_path: Path) -> None:
    pair = secured.certificate("amb-01")
    shutil.copy(pair.key, tmp_path / "open.key")
    (tmp_path / "open.key").chmod(0o644)
    (tmp_path / "community").write_text("public-4711\n")
    (tmp_path / "community").chmod(0o640)
    part = tls(secured, "amb-01")
    part["tls"]["key"] = str(tmp_path / "open.key")
    snmp = {"address": "127.0.0.1", "community_file": str(tmp_path / "community")}
    config = agent(tmp_path, part, devices={"router": {"kind": "router", "snmp": snmp}}, waits={"spread": 0})
    status, lacks, reach = check("agent", config)
    assert status == 1
    assert "expected mode 0600, found 0644" in lacks["TLS files of localhost"]
    assert "expected mode 0600, found 0640" in lacks["devices.router.snmp.community_file"]
    assert "expected mode 0600" in next(iter(reach.values()))
    with subprocess.Popen([KITWATCH, "agent", "--config", str(config)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = next(line for line in process.stderr if "no connection" in line)
        process.terminate()
        process.stderr.read()
    assert "open.key: broker.tls.key: expected mode 0600, found 0644" in told, "run time says the same"


def test_a_key_that_is_another_certificates(secured: Secured, tmp_path: Path) -> None:
    part = tls(secured, "amb-01")
    part["tls"]["key"] = str(Authority(tmp_path / "other").issue("amb-01").key)
    status, lacks, _ = check("agent", agent(tmp_path, part))
    assert status == 1
    assert lacks["TLS files of localhost"].endswith(
        "expected a certificate and its key in PEM, found: key values mismatch"
    )


def test_a_state_directory_that_is_a_file_and_a_port_that_is_not_plugged_in(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    devices = {"modem": {"kind": "modem", "modem": {"port": "/dev/serial/by-id/usb-none"}}}
    status, lacks, reach = check("agent", agent(tmp_path, {"port": free_port()}, devices=devices))
    assert status == 1
    assert "expected a folder, found a file at" in lacks["state_directory"]
    assert reach["devices.modem.modem.port /dev/serial/by-id/usb-none"] == "no such device is plugged in"


@pytest.mark.skipif(os.geteuid() != 0, reason="to be somebody else for a moment it needs root")
def test_what_another_user_may_not_write(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith(("test_", "pytest-", "popen-")):
            folder.chmod(0o755)
    (tmp_path / "ttyUSB0").touch(0o660)
    os.seteuid(65534)
    try:
        state = needs.folder("state_directory", tmp_path / "state")
        port = needs.device_file("port", str(tmp_path / "ttyUSB0"))
    finally:
        os.seteuid(0)
    assert "expected a folder that nobody may write, found" in state.problem
    assert "of root, mode 0755" in state.problem
    assert "expected a port that nobody may use" in port.problem
    assert needs.folder("state_directory", tmp_path / "state").problem == ""
    assert "MiB free" in needs.folder("state_directory", tmp_path / "state", 2**62).problem


def test_a_collector_with_everything_in_reach(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    with mosquitto(tmp_path / "broker") as broker, influxdb(tmp_path / "influx") as influx:
        config = write(tmp_path, broker.port, influx.url, web=free_port())
        status, lacks, reach = check("collector", config)
        assert status == 0
        assert set(lacks.values()) == set(reach.values()) == {""}
        assert [what for what in reach if what.startswith("InfluxDB")] == [
            f"InfluxDB at {influx.url} (version 1.6.7~rc0)"
        ]
    assert not (tmp_path / "data").exists(), "a check makes no database"


def test_a_collector_with_nothing_in_reach(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = write(tmp_path, free_port(), f"http://127.0.0.1:{free_port()}", web=taken.getsockname()[1])
        status, lacks, reach = check("collector", config)
    assert status == 0
    assert set(lacks.values()) == {""}
    problems = {what.split(" at ")[0]: problem for what, problem in reach.items() if problem}
    assert "nothing listens at 127.0.0.1:" in problems["the broker"]
    assert "Cannot connect" in problems["InfluxDB"]
    assert "cannot be had now: Address already in use" in problems["a free port for the pages"]


def test_a_person_is_told_both_apart(tmp_path: Path) -> None:
    done = subprocess.run(
        [KITWATCH, "agent", "--config", str(agent(tmp_path, {"port": 1})), "--check"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert "has state_directory" in lines
    assert lines[-1] == "does not reach the broker at localhost:1 without TLS now: nothing listens at localhost:1"
