"""``kitwatch profiles`` and ``kitwatch decode`` against a real snmpd, files and folders, by their exit status."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from firmware_profiles.capture import read_capture
from kitwatch import decode, profiles
from tests.services.snmpd import Snmpd, snmpd
from tests.services.snmpsim import snmpsim


def call(module: ModuleType, *words: str) -> int:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    status = module.run(parser.parse_args(words))
    assert isinstance(status, int)
    return status


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snmpd]:
    with snmpd(tmp_path_factory.mktemp("snmpd")) as running:
        yield running


def host(agent: Snmpd, *more: str) -> Sequence[str]:
    return ("--host", "127.0.0.1", "--port", str(agent.port), "--community-file", str(agent.community_file), *more)


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(profiles, "list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    by_id = {row["id"]: row for row in rows}
    assert by_id["teltonika/rutos-7.10"] == {
        "id": "teltonika/rutos-7.10",
        "vendor": "Teltonika",
        "transport": "snmp",
        "firmware": ">=7.10 <8",
        "backed_by": "capture",
    }
    assert all(set(row) == {"id", "vendor", "transport", "firmware", "backed_by"} for row in rows)
    assert all(row["backed_by"] for row in rows)


def test_check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call(profiles, "check") == 0
    assert capsys.readouterr().out.endswith(" 0 findings\n")
    (tmp_path / "bad.yaml").write_text("id: maker/bad\nvendor: M\nmetrics: [{metric: modem.rsi, from: [1.3.6.1.0]}]\n")
    assert call(profiles, "check", str(tmp_path)) == 1
    assert "maker/bad: metrics.modem.rsi: expected a metric of the catalogue" in capsys.readouterr().out
    (tmp_path / "bad.yaml").write_text("id: maker/bad\nvendr: M\n")
    assert call(profiles, "list", "--profiles", str(tmp_path)) == 2
    assert "vendr" in capsys.readouterr().err
    assert call(profiles, "check", str(tmp_path / "none")) == 2
    assert "expected a folder" in capsys.readouterr().err
    assert call(profiles, "check", str(tmp_path)) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "bad.yaml" in error
    assert "vendr" in error


def test_match_says_why_and_why_not_the_others(agent: Snmpd, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(profiles, "match", *host(agent, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["profile"] == "generic/net-snmp"
    others = {one["profile"]: one["reason"] for one in found["others"]}
    assert "not answered" in others["teltonika/rutos-7.10"]
    assert "sysObjectID" in others["axis/from-12"]


def test_match_of_nobody_and_of_a_wrong_call(agent: Snmpd, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call(profiles, "match", "--host", "127.0.0.1", "--port", "9", "--community-file", str(agent.community_file),
                "--timeout", "0.2") == 1  # fmt: skip
    assert "no answer" in capsys.readouterr().err
    assert call(profiles, "match", "--host", "127.0.0.1", "--community-file", str(tmp_path / "none")) == 2
    assert "expected a secret's file" in capsys.readouterr().err
    assert call(profiles, "match", "--host", "127.0.0.1") == 2
    assert "community_file" in capsys.readouterr().err


OWN = """
id: acme/box
vendor: ACME
backed_by: capture
match:
  sys_object_id: [1.3.6.1.4.1.54321.1]
  probes: [{at: 1.3.6.1.4.1.54321.9.1.0, matches: "^AC-"}]
  firmware: {range: ">=2 <3"}
identity:
  model: [1.3.6.1.4.1.54321.9.1.0]
  firmware: [1.3.6.1.4.1.54321.9.2.0]
metrics:
  - {metric: device.temperature_c, from: [1.3.6.1.4.1.54321.9.3.0], scale: 0.1}
"""
CAPTURE = """1.3.6.1.2.1.1.1.0|4|ACME box
1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.54321.1
1.3.6.1.4.1.54321.9.1.0|4|AC-5
1.3.6.1.4.1.54321.9.2.0|4|FIRMWARE
1.3.6.1.4.1.54321.9.3.0|2|415
"""


def test_match_of_a_capture_says_why_and_why_not_without_a_device(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "box.yaml").write_text(OWN)
    box = tmp_path / "box.snmprec"
    words = ("match", "--capture", str(box), "--profiles", str(tmp_path / "own"))
    box.write_text(CAPTURE.replace("FIRMWARE", "2.4"))
    assert call(profiles, *words) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(
        "acme/box: sysObjectID 1.3.6.1.4.1.54321.1; 1.3.6.1.4.1.54321.9.1.0 is 'AC-5'; firmware '2.4' is 2.4"
    )
    assert any(line.startswith("  not apc/ups: sysObjectID is 1.3.6.1.4.1.54321.1") for line in said)
    box.write_text(CAPTURE.replace("FIRMWARE", "3.0").replace("AC-5", "AC-5\nnonsense"))
    assert call(profiles, *words) == 1
    told = capsys.readouterr()
    assert told.out.startswith(
        "no profile (profile_unknown): no profile for this firmware: acme/box: firmware '3.0' is 3.0, not in >=2 <3"
    )
    assert told.out.splitlines()[1].startswith("  not acme/box: firmware '3.0' is 3.0, not in")
    assert f"{box}: line 4: " in told.err
    box.write_text(CAPTURE.replace("AC-5", "XX-5"))
    assert call(profiles, *words, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["profile"] is None
    assert found["others"][0] == {
        "profile": "acme/box",
        "stage": "probe",
        "reason": "1.3.6.1.4.1.54321.9.1.0 is 'XX-5', not like ^AC-",
    }
    assert call(profiles, "match", "--capture", str(tmp_path / "none")) == 2
    assert "expected a readable file" in capsys.readouterr().err
    box.write_text("")
    assert call(profiles, *words) == 2
    with pytest.raises(SystemExit):
        call(profiles, "match", "--capture", str(box), "--host", "127.0.0.1")
    capsys.readouterr()


def test_record_gives_a_capture_that_decodes_and_names_nobody(
    agent: Snmpd, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = tmp_path / "box.snmprec"
    assert call(profiles, "record", *host(agent, "--output", str(output))) == 0
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "\r" not in streams.err, "progress is for terminals"
    text = output.read_text()
    assert "ambulance-test" not in text
    capture = read_capture(text)
    assert capture.bad_lines == []
    assert len(capture.values) > 200
    assert call(decode, "snmp", str(output), "--json") == 0
    decoded = json.loads(capsys.readouterr().out)
    assert decoded["profile"] == "generic/net-snmp"
    assert any(reading["metric"] == "device.uptime_s" for reading in decoded["readings"])


@pytest.mark.skipif(not os.environ.get("KITWATCH_CAPTURES"), reason="KITWATCH_CAPTURES is not set")
def test_a_recorded_router_reads_as_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    captures = Path(os.environ["KITWATCH_CAPTURES"]) / "snmp"
    community = tmp_path / "community"
    community.write_text("rutos-rutx_rut956")
    community.chmod(0o600)
    output = tmp_path / "again.snmprec"
    with snmpsim(captures, "rutos-rutx_rut956") as port:
        words = ["--host", "127.0.0.1", "--port", str(port), "--community-file", str(community), "--timeout", "5"]
        assert call(profiles, "record", *words, "--output", str(output)) == 0
    capsys.readouterr()
    before = decode.decode_snmp(captures / "rutos-rutx_rut956.snmprec", [])
    after = decode.decode_snmp(output, [])
    assert after["readings"] == before["readings"]
    assert after["device"]["serial"] != before["device"]["serial"]
    original = (captures / "rutos-rutx_rut956.snmprec").read_text()
    for secret in ("860000756121023", "6002423937", "8900000025114863306", "10.10.26.1"):
        assert secret in original
        assert secret not in output.read_text()


def test_decode_http(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "answer"
    file.write_text("<DeviceStatus xmlns='urn:x'><deviceUpTime>5</deviceUpTime></DeviceStatus>")
    assert call(decode, "http", str(file), "--profile", "hikvision/isapi", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["profile"] == "hikvision/isapi"
    assert found["device"] == {"vendor": "Hikvision", "model": None, "firmware": None, "serial": None}
    assert found["readings"] == [{"metric": "device.uptime_s", "value": 5, "labels": {}}]
    assert found["flags"] == []
    assert call(decode, "http", str(file), "--profile", "hikvision/isapi", "--request", "info", "--json") == 0
    assert json.loads(capsys.readouterr().out)["readings"] == []
    for words in (
        ["--profile", "hikvision/isap"],
        ["--profile", "axis/from-12"],
        ["--profile", "dahua/cgi"],
        ["--profile", "hikvision/isapi", "--request", "none"],
    ):
        assert call(decode, "http", str(file), *words) == 2
        streams = capsys.readouterr()
        assert streams.out == ""
        assert "expected" in streams.err
        assert streams.err.count("\n") == 1


def test_decode_of_what_is_no_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "nothing"
    file.write_text("hello\n")
    assert call(decode, "snmp", str(file), "--json") == 2
    assert "expected lines OID|TYPE|VALUE" in capsys.readouterr().err


def test_the_command_loads_only_what_it_starts() -> None:
    """Decoding a capture needs neither pysnmp nor aiohttp."""
    import subprocess

    script = (
        "import sys, argparse; from kitwatch import decode; p = argparse.ArgumentParser(); decode.add_arguments(p);"
        "decode.run(p.parse_args(['snmp', '/dev/null'])); "
        "sys.exit(any(name in sys.modules for name in ('pysnmp', 'aiohttp', 'sqlalchemy')))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0
