"""What is not configured is not imported: a box with little memory carries only what it polls with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("aiohttp", "cryptography", "pyasn1", "pysnmp")
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


def test_a_standard_kit_without_http_loads_no_heavy_library(tmp_path: Path) -> None:
    assert loaded(STANDARD, tmp_path) == set()


@pytest.mark.parametrize(
    ("devices", "library"),
    [(HTTP, "aiohttp"), (HTTP_PROBE, "aiohttp"), (V3, "cryptography")],
    ids=("http", "probe", "v3"),
)
def test_what_is_configured_is_loaded(devices: str, library: str, tmp_path: Path) -> None:
    assert loaded(devices, tmp_path) == {library}
