"""Every SNMP capture against expectations written by hand (expected/snmp.yaml), nothing more and nothing less."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from firmware_profiles.examples import written
from kitwatch.decode import decode_snmp

FOLDER = os.environ.get("KITWATCH_CAPTURES")
if not FOLDER:
    warnings.warn("KITWATCH_CAPTURES is not set: the SNMP captures are NOT tested", stacklevel=1)
    pytest.skip("KITWATCH_CAPTURES is not set", allow_module_level=True)
CAPTURES = Path(FOLDER) / "snmp"
EXPECTED: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "expected" / "snmp.yaml").read_text())
NAMES = sorted(path.stem for path in CAPTURES.glob("*.snmprec"))


@functools.cache
def decoded(name: str) -> dict[str, Any]:
    return decode_snmp(CAPTURES / f"{name}.snmprec", [])


def test_every_capture_has_an_expectation() -> None:
    assert set(NAMES) == set(EXPECTED)


@pytest.mark.parametrize("name", NAMES)
def test_profile_and_device(name: str) -> None:
    found, expected = decoded(name), EXPECTED[name]
    assert found["profile"] == expected["profile"], found["why"]
    assert found["why"]
    if "device" in expected:
        assert found["device"] == expected["device"]
    if expected["profile"] is None:
        assert found["device"] == {"vendor": None, "model": None, "firmware": None, "serial": None}
        assert found["readings"] == []


@pytest.mark.parametrize("name", NAMES)
def test_readings_are_these_and_no_others(name: str) -> None:
    readings = decoded(name)["readings"]
    found = {
        written(reading["metric"], reading["labels"]): reading["value"]
        for reading in readings
        if not reading["metric"].startswith("interface.")
    }
    expected = EXPECTED[name].get("readings", {})
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, float):
            assert found[key] == pytest.approx(value, abs=1e-5), key
        else:
            assert found[key] == value, key
            assert isinstance(found[key], bool) == isinstance(value, bool), key


@pytest.mark.parametrize("name", NAMES)
def test_flags_are_these_and_no_others(name: str) -> None:
    flags = decoded(name)["flags"]
    expected = [*EXPECTED[name].get("flags", []), *EXPECTED[name].get("interface_flags", [])]
    ours = [flag for flag in flags if " interface." not in flag]
    assert len(ours) == len(EXPECTED[name].get("flags", [])), ours
    for text in expected:
        assert any(flag.startswith(text) for flag in flags), (text, flags)


@pytest.mark.parametrize("name", [name for name in NAMES if "interfaces" in EXPECTED.get(name, {})])
def test_interfaces_by_name(name: str) -> None:
    found = {(r["labels"].get("interface"), r["metric"]): r["value"] for r in decoded(name)["readings"]}
    for interface, fields in EXPECTED[name]["interfaces"].items():
        for field, value in fields.items():
            assert found[(interface, f"interface.{field}")] == value


@pytest.mark.parametrize("name", NAMES)
def test_an_interface_stands_once_and_is_no_loopback(name: str) -> None:
    keys = [(r["metric"], r["labels"].get("interface")) for r in decoded(name)["readings"]]
    interfaces = [key for key in keys if key[0].startswith("interface.")]
    assert len(interfaces) == len(set(interfaces))
    assert not any(label == "lo" for _, label in interfaces)


def test_the_same_through_snmpwalk_output(tmp_path: Path) -> None:
    """The other format gives the same: written here line by line from the capture, as snmpwalk -On prints it."""
    shown = {"2": "INTEGER: ", "65": "Counter32: ", "66": "Gauge32: ", "70": "Counter64: "}
    lines = []
    for line in (CAPTURES / "rutos-rutx_rut956.snmprec").read_text().splitlines():
        oid, tag, value = line.split("|", 2)
        if tag == "4":
            text = f'STRING: "{value}"' if value else '""'
        elif tag == "4x":
            text = "Hex-STRING: " + bytes.fromhex(value).hex(" ").upper() + " "
        elif tag == "67":
            text = f"Timeticks: ({value}) 0:00:00.00"
        elif tag == "6":
            text = f"OID: .{value}"
        elif tag == "64":
            text = f"IpAddress: {value}"
        else:
            text = shown[tag] + value
        lines.append(f".{oid} = {text}")
    walk = tmp_path / "walk.txt"
    walk.write_text("\n".join(lines) + "\n")
    assert decode_snmp(walk, []) == decoded("rutos-rutx_rut956")


def test_the_command_prints_one_object_alone(tmp_path: Path) -> None:
    script = (
        "import argparse, sys; from kitwatch import decode; p = argparse.ArgumentParser(); decode.add_arguments(p);"
        "sys.exit(decode.run(p.parse_args(sys.argv[1:])))"
    )
    file = str(CAPTURES / "rutos-otd_otd500.snmprec")
    done = subprocess.run([sys.executable, "-c", script, "snmp", file, "--json"], capture_output=True, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout)["profile"] == "teltonika/rutos-7.10"
    assert done.stderr == b""
    missing = [sys.executable, "-c", script, "snmp", str(tmp_path / "none"), "--json"]
    assert subprocess.run(missing, capture_output=True, check=False).returncode == 2
