"""What is not configured is not imported: a box with little memory carries only what it polls with.

Each name here was drawn in once; together they were 4 of 42 MB.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from collector.store.store import Store
from kitwatch.collector import LATER

HEAVY = ("aiohttp", "cryptography", "pyasn1", "pysnmp")
NEVER = {
    "calendar", "csv", "email", "fractions", "http", "importlib.metadata", "importlib.resources", "json",
    "statistics", "sysconfig", "tempfile", "typing_extensions", "zipfile", "zoneinfo", "zoneinfo._common",
    "kitwatch.agent_check", "kitwatch.agent_once", "collector", "simulator", "sqlalchemy", "firmware_profiles.check",
    "firmware_profiles.examples",
}  # fmt: skip
"""Of the standard library and of ours: drawn in by a convenience, each was once."""
STANDARD = """
system: {}
snmp: {address: 127.0.0.1, community_file: SECRET}
modem: {port: /dev/ttyUSB2}
gnss: {port: /dev/ttyUSB1}
probe: {targets: {centre: {kind: tcp, address: 127.0.0.1, port: 8883}, gateway: {kind: icmp, address: 127.0.0.1}}}
stream: {url: "rtsp://127.0.0.1/stream", user: u, password_file: SECRET}
"""
HTTP = "http: {url: 'http://127.0.0.1'}"
HTTP_PROBE = "probe: {targets: {page: {kind: http, url: 'http://127.0.0.1'}}}"
V3 = "snmp: {address: 127.0.0.1, version: '3', user: u, auth_file: SECRET, priv_file: SECRET}"
PROGRAM = """
import asyncio, sys
import agent.main
from agent.inputs import open_input
from telemetry.files import convert, parse_yaml
from telemetry.inputs import Inputs, SnmpInput

async def poll_once(config):
    made = open_input(config)
    try:
        async with asyncio.timeout(0.3):
            await made.poll(0.0)
    except TimeoutError:
        pass
    await made.close()

async def main():
    for _, config in convert(parse_yaml(sys.argv[1], "devices"), Inputs, "devices").configured():
        await poll_once(config)

asyncio.run(main())
print(*sys.modules)
"""


def loaded(devices: str, directory: Path) -> set[str]:
    """Return which of the heavy libraries an agent loads that has polled these once; nobody answers."""
    secret = directory / "secret"
    secret.write_text("0123456789abcdef\n")
    secret.chmod(0o600)
    command = [sys.executable, "-c", PROGRAM, devices.replace("SECRET", str(secret))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()} & set(HEAVY)


@pytest.mark.long
def test_a_standard_kit_without_http_loads_no_heavy_library(tmp_path: Path) -> None:
    assert loaded(STANDARD, tmp_path) == set()


@pytest.mark.long
@pytest.mark.parametrize(
    ("devices", "library"),
    [(HTTP, "aiohttp"), (HTTP_PROBE, "aiohttp"), (V3, "cryptography")],
    ids=("http", "probe", "v3"),
)
def test_what_is_configured_is_loaded(devices: str, library: str, tmp_path: Path) -> None:
    assert loaded(devices, tmp_path) == {library}


COMMAND = """
import os, signal, sys, threading
from kitwatch.main import main
threading.Timer(3, os.kill, (os.getpid(), signal.SIGTERM)).start()
assert main(["agent", "--config", sys.argv[1]]) == 0
print(*sys.modules)
"""


def test_the_command_that_stays_carries_no_convenience(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef\n")
    secret.chmod(0o600)
    config = tmp_path / "agent.yaml"
    devices = "".join(f"    {line}\n" for line in STANDARD.replace("SECRET", str(secret)).strip().splitlines())
    config.write_text(
        "site: north\nvehicle: amb-1\nagent: router\nbroker: {host: 127.0.0.1, port: 1}\n"
        f"state_directory: {tmp_path / 'state'}\ndevices:\n  all:\n    kind: router\n{devices}"
    )
    command = [sys.executable, "-c", COMMAND, str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found = set(done.stdout.split())
    assert {"agent.main", "agent.inputs.snmp", "paho.mqtt.client"} <= found
    assert found & {*NEVER, *HEAVY} == set()


def printed(program: str) -> list[str]:
    """Return the words that a program prints in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


def test_what_is_imported_later_is_there_when_it_is_asked_for() -> None:
    program = (
        "import sys; from telemetry.import_later import import_later; import_later('urllib.request');"
        "import urllib.request; first = 'http.client' in sys.modules; from urllib.request import getproxies;"
        "print(first, 'http.client' in sys.modules, urllib.request.Request('http://a').host, getproxies.__module__)"
    )
    assert printed(program) == ["False", "True", "a", "urllib.request"]


def test_a_package_imported_later_has_its_modules() -> None:
    program = (
        "import sys; from telemetry.import_later import import_later; import_later('xml'); import xml;"
        "first = 'xml.dom' in sys.modules; import xml.dom;"
        "print(first, sys.modules['xml'].dom is xml.dom is sys.modules['xml.dom'])"
    )
    assert printed(program) == ["False", "True"]


def test_what_is_imported_without_a_backport_leaves_it_to_others() -> None:
    program = (
        "import sys; from telemetry.import_later import import_without; import_without('msgspec', 'typing_extensions');"
        "print('msgspec' in sys.modules, 'typing_extensions' in sys.modules);"
        "import typing_extensions; print(typing_extensions.Unpack.__name__)"
    )
    assert printed(program) == ["True", "False", "Unpack"]


COLLECTOR = """
import os, signal, sys, threading
from kitwatch.main import main
threading.Timer(5, os.kill, (os.getpid(), signal.SIGTERM)).start()
assert main(["collector", "--config", sys.argv[1]]) == 0
print(*(name for name, module in sys.modules.items() if vars(module).get("__spec__", name) is not None))
"""
"""A module that stands for one to come has no ``__spec__``."""
NOT_AT_REST = {
    *LATER,
    "alembic", "mako", "psycopg", "sqlalchemy.dialects.postgresql", "sqlalchemy.orm", "cryptography", "apprise",
    "influxdb_client", "argon2", "h3", "paho", "jinja2", "prometheus_client", "csv",
    "kitwatch.collector_check", "agent", "simulator",
}  # fmt: skip
"""What a collector on SQLite loads when there is something to do with it: together 43 MB."""


@pytest.mark.long
def test_a_collector_loads_only_what_its_configuration_and_its_people_ask_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/kitwatch.sqlite"
    Store.open(url).migrate()  # the first start may load what brings tables up to date
    (tmp_path / "fleet.yaml").write_text(
        "sites: {north: {vehicles: {amb-1: {agents: {router: {devices: {gateway: {kind: host, system: {}}}}}}}}}"
    )
    config = tmp_path / "collector.yaml"
    config.write_text(f"broker: {{host: 127.0.0.1, port: 1}}\ndatabase: {url}\nfleet: fleet.yaml\nweb: {{port: 0}}\n")
    command = [sys.executable, "-c", COLLECTOR, str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found = set(done.stdout.split())
    assert {"collector.store.on_sqlite", "collector.web.fleet_page", "mqtt5"} <= found
    assert found & NOT_AT_REST == set()
