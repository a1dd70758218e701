"""The shipped units are ones that systemd itself finds nothing wrong with."""

from __future__ import annotations

import fnmatch
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from collector.config import CollectorConfig
from telemetry.files import load
from tests.services.process import need

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNITS = sorted(SYSTEMD.glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=[unit.stem for unit in UNITS])
def test_systemd_analyze_verify_is_silent(unit: Path, tmp_path: Path) -> None:
    analyze = need("systemd-analyze", "systemd")
    text = unit.read_text()
    installed = "/opt/kitwatch/bin/kitwatch"
    assert installed in text
    copy = tmp_path / unit.name.replace("@", "@one")
    copy.write_text(text.replace(installed, str(Path(sys.executable).parent / "kitwatch")))
    result = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", UNITS, ids=[unit.stem for unit in UNITS])
def test_units_notify_are_watched_and_keep_to_their_own(unit: Path) -> None:
    """Field note S14: Type=notify with watchdog and a state directory, unprivileged."""
    settings = [line for line in unit.read_text().splitlines() if "=" in line and not line.startswith("#")]
    for wanted in ("Type=notify", "WatchdogSec=60", "User=kitwatch", "NoNewPrivileges=yes", "ProtectSystem=strict"):
        assert wanted in settings
    assert any(line.startswith("StateDirectory=kitwatch/") for line in settings)
    score = subprocess.run(
        [need("systemd-analyze", "systemd"), "security", "--offline=yes", "--threshold=30", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert score.returncode == 0, f"exposure over 3.0: {score.stdout[-300:]}"


def test_the_agents_template_differs_in_its_names_only() -> None:
    one, template = (SYSTEMD / f"kitwatch-agent{at}.service" for at in ("", "@"))
    changed = [
        (left, right)
        for left, right in zip(one.read_text().splitlines(), template.read_text().splitlines(), strict=True)
        if left != right
    ]
    assert [left.partition("=")[0] for left, _ in changed] == ["Description", "ExecStart", "StateDirectory"]
    assert all(right.replace("%i", "agent").startswith(left[:40]) for left, right in changed[1:]), changed


def test_the_agent_may_open_every_kind_of_serial_port() -> None:
    """Names as the kernel gives them in /proc/devices; cdc-wdm has USB's major, /dev/wwan0at0 wwan_port."""
    allowed = [
        line.removeprefix("DeviceAllow=").removesuffix(" rw")
        for line in (SYSTEMD / "kitwatch-agent.service").read_text().splitlines()
        if line.startswith("DeviceAllow=")
    ]
    for name in ("ttyUSB", "ttyACM", "ttyS", "ttyAMA", "ttymxc", "ttyHS", "ttyO", "wwan_port", "usb"):
        assert any(fnmatch.fnmatch(f"char-{name}", pattern) for pattern in allowed), name
    assert not any(fnmatch.fnmatch("char-mem", pattern) for pattern in allowed)


def test_the_example_files_are_sound(tmp_path: Path) -> None:
    """The fleet file passes its check and gives an agent's configuration; the collector's file has known keys only."""
    examples = SYSTEMD / "examples"
    kitwatch = str(Path(sys.executable).parent / "kitwatch")
    check = subprocess.run([kitwatch, "fleet", "check", str(examples / "fleet.yaml")], capture_output=True, check=False)
    assert check.returncode == 0, check.stderr
    for agent, device in (("router", "camera-1"), ("tablet", "tablet")):
        written = subprocess.run(
            [kitwatch, "fleet", "agent", "amb-03", agent, "--fleet", str(examples / "fleet.yaml")],
            capture_output=True,
            text=True,
            check=True,
        )
        assert device in yaml.safe_load(written.stdout)["devices"]
    load(examples / "collector.yaml", CollectorConfig)
