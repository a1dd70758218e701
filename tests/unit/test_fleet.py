"""The fleet file: what is wrong in it is told in one line with file, key, expected and found."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import render
from telemetry.files import FileError, read_secret
from telemetry.fleet import agent_names, load_fleet

GOOD = """
sites:
  centre-1:
    name: 市急救中心
    vehicles:
      amb-01:
        plate: 沪A12345
        agents:
          router:
            devices:
              router: {kind: router, snmp: {address: 192.168.1.1, community_file: /etc/kitwatch/community}}
              modem: {kind: modem, depends_on: [router], modem: {port: /dev/serial/by-id/modem}}
          tablet:
            devices:
              tablet: {kind: host, system: {}}
              uplink: {kind: link, probe: {targets: {centre: {kind: tcp, address: 10.0.0.1, port: 8883}}}}
"""
DEVICES = "sites.centre-1.vehicles.amb-01.agents.router.devices"


def write(directory: Path, text: str) -> Path:
    path = directory / "fleet.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_sound_fleet_says_who_ought_to_speak(tmp_path: Path) -> None:
    fleet = load_fleet(write(tmp_path, GOOD))
    assert [str(name) for name in agent_names(fleet, "centre-1")] == [
        "centre-1/amb-01/router",
        "centre-1/amb-01/tablet",
    ]
    site, plan = fleet.find("amb-01") or ("", None)
    assert site == "centre-1"
    assert plan is not None
    assert [(a, d, device.kind) for a, d, device in plan.devices()] == [
        ("router", "router", "router"),
        ("router", "modem", "modem"),
        ("tablet", "tablet", "host"),
        ("tablet", "uplink", "link"),
    ]
    assert fleet.sites["centre-1"].time_zone == "Asia/Shanghai"


@pytest.mark.parametrize(
    ("old", "new", "key", "told"),
    [
        ("address: 192", "adress: 192", f"{DEVICES}.router.snmp", "found 'adress', did you mean 'address'?"),
        ("plate: 沪A12345", "home: {latitude: 31, longitude: 121, radius_m: 9}", "amb-01.home", "found 'radius_m'"),
        ("tablet:\n            d", "tablet:\n            machine: m-1\n            d", "tablet", "found 'machine'"),
        ("name: 市急救中心", "broker: {host: b, password_file: p}", "centre-1.broker", "a password_file needs a user"),
        ("name: 市急救中心", "broker: {host: b, tls: {ca: c, key: k}}", "broker.tls", "a key needs a certificate"),
        ("kind: modem,", "kind: modm,", f"{DEVICES}.modem.kind", "found 'modm'"),
        ("port: 8883", "port: 88830", "uplink.probe.targets.centre.port", "expected int <= 65535, found 88830"),
        ("depends_on: [router]", "depends_on: [ruter]", "modem.depends_on", "found 'ruter', did you mean 'router'"),
        ("depends_on: [router]", "depends_on: [modem]", f"{DEVICES}.modem.depends_on", "another device of the vehicle"),
        ("system: {}", "name: x", "devices.tablet", "at least one input"),
        ("community_file: /etc/kitwatch/community", "version: '3'", f"{DEVICES}.router.snmp", "SNMP v3 needs user"),
        ("amb-01:", "collector:", "vehicles.collector", "reserved"),
        ("amb-01:", "amb 01:", "vehicles", "letters, digits, _ or -, found the key 'amb 01'"),
        ("name: 市急救中心", "time_zone: Asia/Shangai", "time_zone", "did you mean 'Asia/Shanghai'"),
        ("system: {}", "system: {interval: 2, deadline: 3}", "system.deadline", "the interval of 2 s, found 3"),
        ("plate: 沪A12345", "plate: 沪A12345\n        plate: x", "line 8", "'plate' stands twice"),
        ("sites:", "sites: [", "line", "expected YAML"),
        ("sites:", "[sites]:", "line", "a key that is a list or mapping"),
        ("plate: 沪A12345", 'plate: "\x07"', "", "expected YAML"),
    ],
)  # fmt: skip
def test_one_clear_line(tmp_path: Path, old: str, new: str, key: str, told: str) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(FileError) as caught:
        load_fleet(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert key in text
    assert told in text
    assert "\n" not in text


def test_a_device_that_others_hang_on_needs_no_input(tmp_path: Path) -> None:
    """A plain switch is read by nobody; the agent is not told of it."""
    text = GOOD.replace("name: 市急救中心", "broker: {host: b}", 1).replace(
        "depends_on: [router]", "depends_on: [switch]", 1
    )
    text = text.replace("            devices:\n", "            devices:\n              switch: {kind: switch}\n", 1)
    fleet = load_fleet(write(tmp_path, text))
    vehicle = fleet.sites["centre-1"].vehicles["amb-01"]
    agent, device, plan = next(one for one in vehicle.devices() if one[1] == "switch")
    assert not plan.configured()
    assert device in vehicle.agents[agent].devices
    assert "switch" not in render(fleet, "amb-01", agent)


def test_one_series_from_two_inputs_is_refused(tmp_path: Path) -> None:
    """Two inputs of one device that yield the same series would be two values at one time."""
    path = write(tmp_path, GOOD)
    both = lambda kind, name, config: ["modem.sim"] if name in {"snmp", "modem"} else []  # noqa: E731
    load_fleet(path, both)
    twice = GOOD.replace("modem: {port: /dev", "modem: {port: /dev", 1).replace(
        "kind: modem, depends_on: [router],",
        "kind: modem, depends_on: [router], snmp: {address: 192.168.1.1, community_file: x},",
    )
    with pytest.raises(
        FileError, match=r"expected each series from one input, found modem\.sim from both snmp and modem"
    ):
        load_fleet(write(tmp_path, twice), both)


def test_an_unreadable_file_and_a_vehicle_in_two_sites(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"missing\.yaml: expected a readable file, found: No such file"):
        load_fleet(tmp_path / "missing.yaml")
    twice = GOOD + GOOD.replace("\nsites:\n", "").replace("centre-1", "centre-2")
    with pytest.raises(FileError, match="in site 'centre-1' too"):
        load_fleet(write(tmp_path, twice))


def test_a_secret_must_be_its_owners_alone(tmp_path: Path) -> None:
    """S6: mode 0600, never in a message."""
    file = tmp_path / "community"
    file.write_text("hush-hush\n")
    file.chmod(0o644)
    with pytest.raises(FileError, match="expected mode 0600, found 0644") as caught:
        read_secret(file, "snmp.community_file")
    assert "hush" not in str(caught.value)
    file.chmod(0o600)
    assert read_secret(file, "k") == "hush-hush"
    file.write_text("\n")
    with pytest.raises(FileError, match="found an empty file"):
        read_secret(file, "k")


def test_a_systemd_credential_may_show_its_group_a_right_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd.exec(5): credentials are 0400 with an access list, which stat shows as the group's right."""
    credential = tmp_path / "credentials" / "influxdb-token"
    credential.parent.mkdir()
    credential.write_text("hush-hush\n")
    credential.chmod(0o440)
    with pytest.raises(FileError, match="expected mode 0600, found 0440"):
        read_secret(credential, "k")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credential.parent))
    assert read_secret(credential, "k") == "hush-hush"
    credential.chmod(0o444)
    with pytest.raises(FileError, match="expected mode 0600, found 0444"):
        read_secret(credential, "k")
