"""What is wrong in a file is said in one line: file, key, expected, found; exit status 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

KITWATCH = str(Path(sys.executable).parent / "kitwatch")
FLEET = """
sites:
  centre:
    broker: {host: 127.0.0.1, port: 1883}
    vehicles:
      amb-01:
        agents:
          router:
            devices:
              router: {kind: router, snmp: {address: 127.0.0.1, port: 161, community_file: community}}
              modem: {kind: modem, depends_on: [router], modem: {port: /dev/serial/by-id/usb-modem}}
"""
AGENT = """
site: centre
vehicle: amb-01
agent: router
broker: {host: 127.0.0.1, port: 1883}
state_directory: state
devices:
  router: {kind: router, snmp: {address: 127.0.0.1, port: 161, community_file: COMMUNITY}}
"""
COLLECTOR = """
broker: {host: 127.0.0.1, port: 1883}
database: sqlite:///kitwatch.sqlite
fleet: fleet.yaml
rules: [rules.yaml]
contract: contract.yaml
"""
CONTRACT = """
reopen_window: 48h
"""
RULES = """
rules:
  too_hot: {version: 1, fault: modem_hot, condition: {metric: modem.temperature_c, above: 70, clear: 65}, for: 1m}
"""
FILES = {
    "fleet.yaml": FLEET,
    "agent.yaml": AGENT,
    "collector.yaml": COLLECTOR,
    "rules.yaml": RULES,
    "contract.yaml": CONTRACT,
}
FLEET_CHECK = ["fleet", "check", "fleet.yaml"]
AGENT_CHECK = ["agent", "--config", "agent.yaml", "--check"]
AGENT_RUN = ["agent", "--config", "agent.yaml"]
COLLECTOR_CHECK = ["collector", "--config", "collector.yaml", "--check"]
COLLECTOR_RUN = ["collector", "--config", "collector.yaml"]
RULES_CHECK = ["rules", "check", "rules.yaml", "--fleet", "fleet.yaml"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "community").write_text("read-only-4711\n")
    (tmp_path / "community").chmod(0o600)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text.replace("COMMUNITY", str(tmp_path / "community")))
    return tmp_path


def call(folder: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([KITWATCH, *words], capture_output=True, text=True, check=False, timeout=60, cwd=folder)


@pytest.mark.parametrize("words", [FLEET_CHECK, AGENT_CHECK, COLLECTOR_CHECK, RULES_CHECK], ids=" ".join)
def test_the_sound_files_are_taken(folder: Path, words: list[str]) -> None:
    result = call(folder, words)
    assert result.returncode == 0, result.stderr
    assert result.stdout
    assert result.stderr == ""


WRONG = [
    (
        "misspelt key, fleet",
        FLEET_CHECK,
        "fleet.yaml",
        "depends_on",
        "depends_in",
        "router.devices.modem",
        "found 'depends_in', did you mean 'depends_on'?",
    ),
    ("misspelt key, agent", AGENT_CHECK, "agent.yaml", "state_directory", "state_dir", "", "found 'state_dir'"),
    (
        "misspelt key, agent that is started",
        AGENT_RUN,
        "agent.yaml",
        "devices:",
        "device:",
        "",
        "found 'device', did you mean 'devices'?",
    ),
    (
        "misspelt key, collector",
        COLLECTOR_CHECK,
        "collector.yaml",
        "database",
        "databse",
        "",
        "found 'databse', did you mean 'database'?",
    ),
    (
        "misspelt key, collector that is started",
        COLLECTOR_RUN,
        "collector.yaml",
        "rules:",
        "rule:",
        "",
        "found 'rule', did you mean 'rules'?",
    ),
    (
        "notices, the old word",
        COLLECTOR_CHECK,
        "collector.yaml",
        "rules:",
        "notices: {url: http://x}\nrules:",
        "notices",
        "expected notifications: [{channel: webhook, url: ...}], found the old word",
    ),
    (
        "log, the old word",
        COLLECTOR_CHECK,
        "collector.yaml",
        "rules:",
        "log: {days: 3}\nrules:",
        "log",
        "expected retention: {days: ..., max_bytes: ...}, found the old word",
    ),
    (
        "a channel that there is not",
        COLLECTOR_CHECK,
        "collector.yaml",
        "rules:",
        "notifications: [{channel: webhok, url: http://x}]\nrules:",
        "notifications.0.channel",
        "found 'webhok', did you mean 'webhook'?",
    ),
    (
        "misspelt key of a channel",
        COLLECTOR_CHECK,
        "collector.yaml",
        "rules:",
        "notifications: [{channel: webhook, url: http://x, secret_fil: x}]\nrules:",
        "notifications.0",
        "found 'secret_fil', did you mean 'secret_file'?",
    ),
    (
        "two receivers of one name",
        COLLECTOR_CHECK,
        "collector.yaml",
        "rules:",
        "notifications: [{channel: webhook, url: http://x}, {channel: webhook, url: http://y}]\nrules:",
        "notifications.1.receiver",
        "expected a name of its own, found 'webhook' twice",
    ),
    ("misspelt key, rules", RULES_CHECK, "rules.yaml", "above", "abov", "rules.too_hot", "found 'abov'"),
    (
        "bad port",
        FLEET_CHECK,
        "fleet.yaml",
        "port: 161",
        "port: 16100000",
        "snmp.port",
        "expected int <= 65535, found 16100000",
    ),
    (
        "bad port, agent",
        AGENT_CHECK,
        "agent.yaml",
        "port: 1883",
        "port: no",
        "broker.port",
        "expected int, found 'no'",
    ),
    (
        "missing profile, fleet",
        FLEET_CHECK,
        "fleet.yaml",
        "port: 161,",
        "profile: teltonika/rutos-99,",
        "router.snmp.profile",
        "found 'teltonika/rutos-99'",
    ),
    (
        "missing profile, agent",
        AGENT_CHECK,
        "agent.yaml",
        "port: 161,",
        "profile: teltonika/rutos-99,",
        "router.snmp.profile",
        "found 'teltonika/rutos-99'",
    ),
    (
        "missing profile, agent that is started",
        AGENT_RUN,
        "agent.yaml",
        "port: 161,",
        "profile: teltonika/rutos-99,",
        "router.snmp.profile",
        "found 'teltonika/rutos-99'",
    ),
    (
        "unknown rule metric",
        RULES_CHECK,
        "rules.yaml",
        "modem.temperature_c",
        "modem.temprature_c",
        "rules.too_hot.condition.metric",
        "found 'modem.temprature_c', did you mean 'modem.temperature_c'?",
    ),
    (
        "unknown rule metric, collector",
        COLLECTOR_CHECK,
        "rules.yaml",
        "modem.temperature_c",
        "modem.heat",
        "rules.too_hot.condition.metric",
        "found 'modem.heat'",
    ),
    (
        "unknown fault id",
        RULES_CHECK,
        "rules.yaml",
        "fault: modem_hot",
        "fault: modem_hott",
        "rules.too_hot.fault",
        "found 'modem_hott', did you mean 'modem_hot'?",
    ),
    (
        "misspelt key, contract",
        COLLECTOR_CHECK,
        "contract.yaml",
        "reopen_window",
        "reopen_windw",
        "",
        "found 'reopen_windw', did you mean 'reopen_window'?",
    ),
    (
        "a device in no vehicle, fleet",
        FLEET_CHECK,
        "fleet.yaml",
        "[router]",
        "[switch]",
        "modem.depends_on",
        "found 'switch'",
    ),
    (
        "a device in no vehicle, rules",
        RULES_CHECK,
        "rules.yaml",
        "\nrules:",
        "\noverrides:\n  - {rule: modem_hot, devices: [encoder-9], disabled: true}\nrules:",
        "overrides",
        "found 'encoder-9'",
    ),
]


@pytest.mark.parametrize(
    ("words", "file", "old", "new", "key", "told"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG]
)
def test_what_is_wrong_is_said_in_one_line(
    folder: Path, words: list[str], file: str, old: str, new: str, key: str, told: str
) -> None:
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    result = call(folder, words)
    assert result.returncode == 2, (result.stdout, result.stderr)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert file in result.stderr
    for part in (key, "expected", told):
        assert part in result.stderr


@pytest.mark.parametrize(
    ("words", "file"),
    [(FLEET_CHECK, "fleet.yaml"), (AGENT_CHECK, "agent.yaml"), (COLLECTOR_CHECK, "collector.yaml"),
     (COLLECTOR_CHECK, "fleet.yaml"), (COLLECTOR_CHECK, "rules.yaml"), (COLLECTOR_CHECK, "contract.yaml"),
     (AGENT_CHECK, "community")],
)  # fmt: skip
def test_an_unreadable_file_is_named(folder: Path, words: list[str], file: str) -> None:
    (folder / file).unlink()
    result = call(folder, words)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert file in result.stderr
    assert "expected" in result.stderr
