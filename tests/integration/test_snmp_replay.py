"""Every capture served live over UDP by snmpsim gives through the agent's input, over both libraries, what it holds."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.inputs.base import Poll
from agent.inputs.snmp import SnmpDevice
from firmware_profiles.load import load_profiles
from kitwatch.decode import decode_snmp
from telemetry.inputs import SnmpInput
from tests.services.snmpsim import snmpsim

FOLDER = os.environ.get("KITWATCH_CAPTURES")
if not FOLDER:
    warnings.warn("KITWATCH_CAPTURES is not set: the captures are NOT replayed", stacklevel=1)
    pytest.skip("KITWATCH_CAPTURES is not set", allow_module_level=True)
CAPTURES = Path(FOLDER) / "snmp"
NAMES = sorted(path.stem for path in CAPTURES.glob("*.snmprec"))
PROFILES = load_profiles()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with snmpsim(CAPTURES, "rutos") as port:
        yield port


def polled(port: int, community: Path, library: Any) -> list[Poll]:
    config = SnmpInput(
        address="127.0.0.1", port=port, community_file=str(community), interval=60, deadline=30, library=library
    )

    async def twice() -> list[Poll]:
        device = SnmpDevice(config, PROFILES)
        found = [await device.poll(0.0), await device.poll(60.0)]
        await device.close()
        return found

    return asyncio.run(twice())


@pytest.mark.parametrize("library", ["kitwatch", "pysnmp"])
@pytest.mark.parametrize("name", NAMES)
def test_live_is_as_the_file(name: str, library: str, port: int, tmp_path: Path) -> None:
    community = tmp_path / "community"
    community.write_text(name)
    community.chmod(0o600)
    first, second = polled(port, community, library)
    expected = decode_snmp(CAPTURES / f"{name}.snmprec", [])
    for poll in (first, second):
        found = [(reading.metric, reading.value, dict(reading.labels)) for reading in poll.readings]
        assert found[0] == ("device.reachable", True, {})
        assert found[1:] == [(one["metric"], one["value"], one["labels"]) for one in expected["readings"]]
        assert list(poll.flags) == expected["flags"]
    if expected["profile"] is None:
        assert first.problem is not None
        assert first.problem.startswith("profile_unknown")
    elif not expected["profile"].startswith("generic/"):
        assert first.problem is None
        assert first.identity is not None
        assert first.identity.firmware == expected["device"]["firmware"]
