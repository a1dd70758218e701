"""The snmp input against net-snmp's snmpd, an agent that nobody here wrote, and against a port where nobody is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agent.inputs.base import Poll
from agent.inputs.snmp import SnmpDevice, pysnmp_port
from agent.snmp.port import SnmpPort, SnmpRefusedError, SnmpSilentError
from firmware_profiles.load import load_profiles
from telemetry.inputs import SnmpInput
from tests.services.process import free_port
from tests.services.snmpd import USER, Snmpd, snmpd

PROFILES = load_profiles()


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snmpd]:
    with snmpd(tmp_path_factory.mktemp("snmpd")) as running:
        yield running


def v2c(agent: Snmpd, **more: object) -> SnmpInput:
    return SnmpInput(address="127.0.0.1", port=agent.port, community_file=str(agent.community_file), **more)  # type: ignore[arg-type]


def v3(agent: Snmpd, **more: object) -> SnmpInput:
    return SnmpInput(
        address="127.0.0.1",
        port=agent.port,
        version="3",
        user=USER,
        auth_file=str(agent.auth_file),
        priv_file=str(agent.priv_file),
        **more,  # type: ignore[arg-type]
    )


async def polled(config: SnmpInput, times: int = 1) -> list[Poll]:
    device = SnmpDevice(config, PROFILES)
    try:
        return [await device.poll(float(number)) for number in range(times)]
    finally:
        await device.close()


def values(poll: Poll) -> dict[str, object]:
    return {reading.metric: reading.value for reading in poll.readings if not reading.labels}


@pytest.mark.parametrize("version", ["2c", "3"])
def test_reads_a_real_agent(agent: Snmpd, version: str) -> None:
    config = v2c(agent) if version == "2c" else v3(agent)
    first, second = asyncio.run(polled(config, times=2))
    found = values(first)
    assert found["device.reachable"] is True
    used = psutil.virtual_memory().percent
    assert isinstance(found["device.memory_percent"], float)
    assert 0 < found["device.memory_percent"] <= 100
    assert abs(found["device.memory_percent"] - used) < 10
    assert isinstance(found["device.uptime_s"], int)
    assert abs(found["device.uptime_s"] - (time.time() - psutil.boot_time())) < 120
    names = {reading.labels["interface"] for reading in first.readings if reading.metric == "interface.bytes_received"}
    assert names <= set(psutil.net_io_counters(pernic=True))
    assert "lo" not in names
    assert first.identity is not None
    assert second.identity is None, "identity travels when it is first seen and when it changes"
    assert first.problem is not None
    assert first.problem.startswith("profile_unknown: only generic/net-snmp fits")


def test_a_named_profile_is_no_problem(agent: Snmpd) -> None:
    (poll,) = asyncio.run(polled(v2c(agent, profile="generic/net-snmp")))
    assert poll.problem is None


def test_a_named_profile_must_still_match(agent: Snmpd) -> None:
    (poll,) = asyncio.run(polled(v2c(agent, profile="teltonika/rutos-7.10")))
    assert values(poll) == {"device.reachable": True}
    assert poll.problem is not None
    assert "profile_unknown" in poll.problem


def test_wrong_key_is_told_apart_from_silence(agent: Snmpd, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("another-pass-phrase\n")
    wrong.chmod(0o600)
    config = SnmpInput(
        address="127.0.0.1", port=agent.port, version="3", user=USER, auth_file=str(wrong), priv_file=str(wrong)
    )
    (poll,) = asyncio.run(polled(config))
    assert values(poll) == {"device.reachable": True}
    assert poll.problem is not None
    assert "credentials are refused" in poll.problem


def test_two_devices_of_one_user_name_with_other_keys(agent: Snmpd, tmp_path: Path) -> None:
    """The good device must go on working beside one whose keys are wrong, poll after poll."""
    wrong = tmp_path / "wrong"
    wrong.write_text("another-pass-phrase\n")
    wrong.chmod(0o600)
    bad = SnmpInput(
        address="127.0.0.1", port=agent.port, version="3", user=USER, auth_file=str(wrong), priv_file=str(wrong)
    )

    async def both() -> list[bool]:
        one, two = SnmpDevice(v3(agent), PROFILES), SnmpDevice(bad, PROFILES)
        found = []
        for number in range(3):
            good, refused = await one.poll(float(number)), await two.poll(float(number))
            found.append("device.uptime_s" in values(good) and "credentials" in (refused.problem or ""))
        await one.close()
        await two.close()
        return found

    assert asyncio.run(both()) == [True, True, True]


def test_a_secret_open_to_others_is_refused(agent: Snmpd, tmp_path: Path) -> None:
    loose = tmp_path / "community"
    loose.write_text(agent.community_file.read_text())
    loose.chmod(0o644)
    (poll,) = asyncio.run(polled(SnmpInput(address="127.0.0.1", port=agent.port, community_file=str(loose))))
    assert values(poll) == {"device.reachable": False}
    assert poll.problem is not None
    assert "0600" in poll.problem


def test_a_dead_device_delays_nobody(agent: Snmpd) -> None:
    dead_port = free_port()
    dead = SnmpInput(
        address="127.0.0.1",
        port=dead_port,
        community_file=str(agent.community_file),
        timeout=0.5,
        retries=1,
        deadline=3.0,
    )

    async def beside() -> tuple[Poll, float, Poll, float]:
        one, two = SnmpDevice(dead, PROFILES), SnmpDevice(v2c(agent), PROFILES)
        await two.poll(0.0)

        async def timed(device: SnmpDevice) -> tuple[Poll, float]:
            start = time.monotonic()
            return await device.poll(1.0), time.monotonic() - start

        (silent, long), (good, short) = await asyncio.gather(timed(one), timed(two))
        await one.close()
        await two.close()
        return silent, long, good, short

    silent, long, good, short = asyncio.run(beside())
    assert values(silent) == {"device.reachable": False}
    assert long < 3.0
    assert values(good)["device.reachable"] is True
    assert short < 1.0, "the dead device's time-outs must not be waited for"


def test_a_cancelled_poll_leaves_the_input_usable(agent: Snmpd) -> None:
    async def cancelled() -> Poll:
        device = SnmpDevice(v2c(agent), PROFILES)
        task = asyncio.create_task(device.poll(0.0))
        await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        poll = await device.poll(1.0)
        await device.close()
        return poll

    assert "device.uptime_s" in values(asyncio.run(cancelled()))


def test_walks_end_at_their_row_ceiling(agent: Snmpd) -> None:
    async def walk() -> tuple[int, list[str], list[str]]:
        port: SnmpPort = pysnmp_port(v2c(agent))
        short = await port.walk(["1.3.6.1.2.1.1"], rows=4)
        late = await port.walk(["1.3.6.1.2.1.1"], seconds=0.0)
        await port.close()
        return len(short.values), short.truncated, late.truncated

    rows, short, late = asyncio.run(walk())
    assert rows == 4
    assert short == ["1.3.6.1.2.1.1: more than 4 rows"]
    assert late == ["1.3.6.1.2.1.1: time is up"]


def test_port_errors_have_types(agent: Snmpd, tmp_path: Path) -> None:
    nobody = free_port()

    async def ask(config: SnmpInput) -> None:
        port = pysnmp_port(config)
        try:
            await port.get(["1.3.6.1.2.1.1.1.0"])
        finally:
            await port.close()

    silent = SnmpInput(
        address="127.0.0.1", port=nobody, community_file=str(agent.community_file), timeout=0.3, retries=0
    )
    with pytest.raises(SnmpSilentError):
        asyncio.run(ask(silent))
    unknown = SnmpInput(
        address="127.0.0.1",
        port=agent.port,
        version="3",
        user="stranger",
        auth_file=str(agent.auth_file),
        priv_file=str(agent.priv_file),
    )
    with pytest.raises(SnmpRefusedError):
        asyncio.run(ask(unknown))


def test_polls_leave_no_descriptors_behind(agent: Snmpd) -> None:
    process = psutil.Process()

    async def many() -> tuple[int, int]:
        device = SnmpDevice(v2c(agent), PROFILES)
        await device.poll(0.0)
        before = process.num_fds()
        for number in range(30):
            await device.poll(float(number))
        after = process.num_fds()
        await device.close()
        return before, after

    before, after = asyncio.run(many())
    assert after <= before
