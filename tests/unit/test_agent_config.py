"""agent.yaml: read, written from the fleet file, and every wrong one told in one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from agent.config import AgentConfig, Waits, dump, load, render
from agent.inputs import asked
from firmware_profiles.own import metrics_of
from kitwatch.main import main
from telemetry.files import FileError
from telemetry.fleet import Broker, Device, load_fleet
from telemetry.inputs import ModemInput, SnmpInput, SystemInput

FLEET: dict[str, Any] = {
    "sites": {
        "north": {
            "broker": {"host": "broker.example", "tls": {"ca": "/etc/kitwatch/ca.pem"}},
            "vehicles": {
                "amb-03": {
                    "agents": {
                        "router": {
                            "devices": {
                                "modem": {"kind": "modem", "modem": {"port": "/dev/serial/by-id/x"}},
                                "host": {"kind": "host", "system": {"interval": 30}, "depends_on": ["modem"]},
                            },
                            "send_interval": 300,
                        },
                        "tablet": {"devices": {"tablet": {"kind": "host", "system": {}}}},
                    }
                }
            },
        },
        "south": {"vehicles": {"amb-09": {"agents": {"router": {"devices": {}}}}}},
    }
}
AGENT: dict[str, Any] = {
    "site": "north",
    "vehicle": "amb-03",
    "agent": "router",
    "broker": {"host": "127.0.0.1", "port": 1883},
    "devices": {"host": {"kind": "host", "system": {"interval": 30}}},
}


def write(path: Path, data: Any) -> Path:
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data), encoding="utf-8")
    return path


def changed(data: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return a copy in which the dotted key has another value."""
    copy: dict[str, Any] = json.loads(json.dumps(data))
    part = copy
    *path, last = key.split(".")
    for name in path:
        part = part.setdefault(name, {})
    part[last] = value
    return copy


def test_what_the_fleet_file_writes_is_what_the_agent_reads(tmp_path: Path) -> None:
    fleet = load_fleet(write(tmp_path / "fleet.yaml", changed(FLEET, "sites.north.broker.tls", None)))
    config = load(write(tmp_path / "agent.yaml", render(fleet, "amb-03", "router")))
    assert config.name.up("live") == "kitwatch/v1/up/north/amb-03/router/live"
    assert config.send_interval == 300
    assert config.broker == Broker(host="broker.example")
    assert config.devices["host"].system == SystemInput(interval=30)
    assert config.devices["host"].depends_on == ()  # the centre's matter
    assert load(write(tmp_path / "again.yaml", dump(config))) == config


def test_the_state_directory_is_the_files_then_systemds_then_the_packages(tmp_path: Path) -> None:
    path = write(tmp_path / "agent.yaml", AGENT)
    systemd = {"STATE_DIRECTORY": "/var/lib/kitwatch/second:/var/lib/other"}
    assert load(path, environment=systemd).state_directory == "/var/lib/kitwatch/second"
    assert load(path, environment={}).state_directory == "/var/lib/kitwatch/agent"
    named = write(tmp_path / "named.yaml", AGENT | {"state_directory": "/data"})
    assert load(named, environment=systemd).state_directory == "/data"
    key = "sites.north.vehicles.amb-03.agents.tablet.state_directory"
    plain = changed(FLEET, "sites.north.broker.tls", None)
    fleet = load_fleet(write(tmp_path / "fleet.yaml", changed(plain, key, "/var/lib/kitwatch/tablet")))
    tablet = load(write(tmp_path / "tablet.yaml", render(fleet, "amb-03", "tablet")), environment={})
    assert tablet.state_directory == "/var/lib/kitwatch/tablet"
    assert "state_directory" not in render(fleet, "amb-03", "router")


def test_all_that_differs_from_the_defaults_survives_the_round_trip(tmp_path: Path) -> None:
    config = AgentConfig(
        site="s",
        vehicle="v",
        agent="a",
        broker=Broker(host="h", port=1, keepalive=900),
        devices={"d": Device(kind="modem", modem=ModemInput(port="/dev/x", interval=1, deadline=0.5))},
        state_directory="/tmp/x",
        outbox_bytes=5 * 2**20,
        waits=Waits(spread=0.0, resend=15),
    )
    assert load(write(tmp_path / "agent.yaml", dump(config))) == config


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("devices.host.system.intervall", 5, ["devices.host.system", "interval", "did you mean 'interval'"]),
        ("broker.port", 70000, ["broker.port", "65535", "70000"]),
        ("broker.port", "x", ["broker.port", "int", "'x'"]),
        ("agent", "collector", ["agent", "reserved"]),
        ("agent", "tab let", ["agent", "'tab let'"]),
        ("devices.host.system.deadline", 60, ["devices.host.system.deadline", "at most", "30"]),
        ("devices.host", {"kind": "host"}, ["devices.host", "at least one input"]),
        ("devices.host.kind", "hoost", ["devices.host.kind", "expected one of", "router", "'hoost'"]),
        ("waits.resent", 5, ["waits", "did you mean 'resend'"]),
        ("outbox_bytes", 5, ["outbox_bytes", "4194304"]),
        ("broker.password_file", "/none/such", ["broker", "a password_file needs a user"]),
        (
            "broker",
            {"host": "b", "user": "u", "password_file": "/none/such"},
            ["broker.password_file", "/none/such"],
        ),
        ("broker.tls", {"ca": "/none/ca.pem"}, ["broker.tls.ca", "/none/ca.pem"]),
        (
            "devices.r",
            {"kind": "router", "snmp": {"address": "10.0.0.1", "community_file": "/none/c"}},
            ["devices.r.snmp.community_file", "/none/c"],
        ),
        (
            "devices.r",
            {
                "kind": "router",
                "snmp": {"address": "10.0.0.1", "community_file": "/c", "profile": "teltonika/rutoss-7.10"},
            },
            ["devices.r.snmp.profile", "'teltonika/rutoss-7.10'", "did you mean"],
        ),
        ("site", None, ["site", "str"]),
    ],
)
def test_wrong_files_are_told_in_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, value: Any, words: list[str]
) -> None:
    path = write(tmp_path / "agent.yaml", changed(AGENT, key, value))
    assert main(["agent", "--config", str(path), "--check"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert str(path) in told.err
    for word in words:
        assert word in told.err


def test_a_missing_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agent", "--config", str(tmp_path / "none.yaml")]) == 2
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("vehicle", "agent", "words"),
    [
        ("amb-3", "router", ["sites", "did you mean 'amb-03'"]),
        ("amb-03", "rooter", ["sites.north.vehicles.amb-03.agents", "did you mean 'router'"]),
    ],
)
def test_who_is_not_in_the_fleet_gets_no_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], vehicle: str, agent: str, words: list[str]
) -> None:
    path = write(tmp_path / "fleet.yaml", changed(FLEET, "sites.south", {"vehicles": {}}))
    assert main(["fleet", "agent", vehicle, agent, "--fleet", str(path)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert all(word in told for word in words)


def test_a_site_without_a_broker_gets_no_configuration(tmp_path: Path) -> None:
    fleet = load_fleet(write(tmp_path / "fleet.yaml", FLEET))
    with pytest.raises(FileError, match=r"sites\.south.*broker"):
        render(fleet, "amb-09", "router")


def test_fleet_check_and_agent_check_print_json_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = write(tmp_path / "fleet.yaml", FLEET)
    assert main(["fleet", "check", str(fleet), "--json"]) == 0
    counts = {"sites": 2, "vehicles": 2, "agents": 3, "devices": 3}
    assert json.loads(capsys.readouterr().out) == {**counts, "warnings": []}
    path = write(tmp_path / "agent.yaml", AGENT)
    assert main(["agent", "--config", str(path), "--check", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (polled,) = told["devices"]["host"]["inputs"]
    assert (polled["input"], polled["interval_s"]) == ("system", 30.0)
    assert "host.memory_percent" in polled["metrics"]
    assert main(["agent", "--config", str(path), "--check"]) == 0
    assert "every 30 s, within 5 s: system, this machine" in capsys.readouterr().out


@pytest.mark.parametrize(("keepalive", "told"), [(230, False), (231, True)])
def test_fleet_check_warns_of_a_keepalive_that_outlasts_a_balancers_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], keepalive: int, told: bool
) -> None:
    fleet = write(tmp_path / "fleet.yaml", changed(FLEET, "sites.north.broker.keepalive", keepalive))
    assert main(["fleet", "check", str(fleet), "--json"]) == 0
    said = capsys.readouterr()
    warnings = json.loads(said.out)["warnings"]
    assert said.err.splitlines() == [f"kitwatch: {warning}" for warning in warnings]
    assert [warning.startswith(f"{fleet}: sites.north.broker.keepalive: 231 s") for warning in warnings] == [
        True
    ] * told


def test_fleet_check_refuses_one_series_from_two_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = {
        "kind": "router",
        "modem": {"port": "/dev/x"},
        "snmp": {"address": "10.0.0.1", "community_file": "/c", "profile": "teltonika/rutos-7.10"},
    }
    key = "sites.north.vehicles.amb-03.agents.tablet.devices.router"
    assert main(["fleet", "check", str(write(tmp_path / "fleet.yaml", changed(FLEET, key, both)))]) == 2
    told = capsys.readouterr().err
    assert key in told
    assert "snmp and modem" in told
    assert "modem." in told


def test_every_input_says_what_it_asks_and_yields() -> None:
    snmp = SnmpInput(address="10.0.0.1", community_file="/c")
    assert asked(snmp) == "SNMP v2c at 10.0.0.1:161, read by the profile that its answers match"
    assert list(metrics_of()("router", "snmp", snmp)) == []  # nobody knows before it has answered
    named = msgspec.structs.replace(snmp, profile="teltonika/rutos-7.10")
    assert "modem.rsrp_dbm" in list(metrics_of()("router", "snmp", named))


def test_the_command_offers_only_what_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    told = capsys.readouterr().err
    assert "fleet" in told
    with pytest.raises(SystemExit) as ended:
        main(["no-such-command"])
    assert ended.value.code == 2


@pytest.mark.parametrize(("pattern", "refused"), [("(?:a+)+b", True), ("temp (\\d+)", False)])
def test_an_own_profile_with_a_pattern_that_explodes_does_not_get_as_far_as_a_device(
    tmp_path: Path, pattern: str, refused: bool
) -> None:
    """Whether anybody has called `kitwatch profiles check` or not."""
    profile: dict[str, Any] = {
        "id": "acme/box",
        "vendor": "ACME",
        "match": {"sys_object_id": ["1.3.6.1.4.1.54321.1"]},
        "metrics": [
            {"metric": "device.temperature_c", "from": [{"at": "1.3.6.1.4.1.54321.9.3.0", "pattern": pattern}]}
        ],
        "examples": [],
    }
    (tmp_path / "own").mkdir()
    write(tmp_path / "own" / "box.yaml", profile)
    path = write(tmp_path / "agent.yaml", {**AGENT, "profiles": ["own"]})
    if refused:
        with pytest.raises(FileError, match=r"own/box\.yaml: .*pattern.*too dear at \d+ characters"):
            load(path)
    else:
        assert load(path).profiles == (str(tmp_path / "own"),)
