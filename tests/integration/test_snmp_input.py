"""The snmp input over both libraries, against net-snmp's snmpd, which nobody here wrote, and a port where nobody is."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.inputs.base import Poll
from agent.inputs.snmp import SnmpDevice, open_port
from agent.snmp.port import SnmpPort, SnmpRefusedError, SnmpSilentError
from firmware_profiles.load import load_profiles
from telemetry.inputs import SnmpInput
from tests.services.process import free_port
from tests.services.snmpd import AUTH, PRIV, USER, Snmpd, snmpd

PROFILES = load_profiles()


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snmpd]:
    with snmpd(tmp_path_factory.mktemp("snmpd")) as running:
        yield running


@pytest.fixture(params=["kitwatch", "pysnmp"], autouse=True)
def library(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test runs over both libraries."""
    _more["library"] = request.param
    yield request.param
    _more.clear()


_more: dict[str, Any] = {}


def v2c(agent: Snmpd, **more: Any) -> SnmpInput:
    given = {"port": agent.port, "community_file": str(agent.community_file), **_more, **more}
    return SnmpInput(address="127.0.0.1", **given)


def v3(agent: Snmpd, **more: Any) -> SnmpInput:
    files = {"auth_file": str(agent.auth_file), "priv_file": str(agent.priv_file)}
    given = {"port": agent.port, "version": "3", "user": USER, **files, **_more, **more}
    return SnmpInput(address="127.0.0.1", **given)


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
    config = v3(agent, auth_file=str(wrong), priv_file=str(wrong))
    (poll,) = asyncio.run(polled(config))
    assert values(poll) == {"device.reachable": True}
    assert poll.problem is not None
    assert "credentials are refused" in poll.problem


def test_two_devices_of_one_user_name_with_other_keys(agent: Snmpd, tmp_path: Path) -> None:
    """The good device must go on working beside one whose keys are wrong, poll after poll."""
    wrong = tmp_path / "wrong"
    wrong.write_text("another-pass-phrase\n")
    wrong.chmod(0o600)
    bad = v3(agent, auth_file=str(wrong), priv_file=str(wrong))

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
    (poll,) = asyncio.run(polled(v2c(agent, community_file=str(loose))))
    assert values(poll) == {"device.reachable": False}
    assert poll.problem is not None
    assert "0600" in poll.problem


def test_a_dead_device_delays_nobody(agent: Snmpd) -> None:
    dead_port = free_port()
    dead = v2c(agent, port=dead_port, timeout=3.0, retries=0, deadline=10.0)

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
    assert values(good)["device.reachable"] is True
    assert short < long / 2, "the dead device's time-outs must not be waited for"


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
        port: SnmpPort = open_port(v2c(agent))
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
        port = open_port(config)
        try:
            await port.get(["1.3.6.1.2.1.1.1.0"])
        finally:
            await port.close()

    silent = v2c(agent, port=nobody, timeout=0.3, retries=0)
    with pytest.raises(SnmpSilentError):
        asyncio.run(ask(silent))
    unknown = v3(agent, user="stranger")
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


# --- v3 ---------------------------------------------------------------------------------------------------------------

HASHES = {
    "md5": "MD5",
    "sha": "SHA",
    "sha224": "SHA-224",
    "sha256": "SHA-256",
    "sha384": "SHA-384",
    "sha512": "SHA-512",
}
CIPHERS = {"des": "DES", "aes128": "AES", "aes256": "AES-256-C", "aes256-blumenthal": "AES-256"}
USERS = {f"{auth}-{priv}": (auth, priv) for auth in HASHES for priv in CIPHERS}


@pytest.fixture(scope="module")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snmpd]:
    """An agent with a user for each pair of authentication and encryption."""
    lines = (
        f'createUser {user} {HASHES[auth]} "{AUTH}" {CIPHERS[priv]} "{PRIV}"\nrouser {user} authpriv'
        for user, (auth, priv) in USERS.items()
    )
    with snmpd(tmp_path_factory.mktemp("snmpd"), more="\n".join(lines)) as running:
        yield running


@pytest.mark.parametrize("user", USERS)
def test_every_hash_with_every_cipher(everybody: Snmpd, user: str) -> None:
    """Keys and ciphers as net-snmp has them: RFC 3414, RFC 7860, RFC 3826 and both drafts of AES-256."""
    auth, priv = USERS[user]
    patient = v3(everybody, user=user, auth=auth, priv=priv, timeout=10.0, deadline=60.0)
    (poll,) = asyncio.run(polled(patient))
    assert values(poll)["device.reachable"] is True
    assert "device.uptime_s" in values(poll), poll.problem


ENGINES = ("80001f8804616d62756c616e63652d31", "80001f8804616d62756c616e63652d32")


@pytest.mark.parametrize("silent", [False, True], ids=["at once", "after a pause"])
def test_a_device_swapped_for_another_engine_is_read_within_two_polls(tmp_path: Path, silent: bool) -> None:
    port = free_port()

    async def swapped() -> list[Poll]:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(snmpd(tmp_path / "first", port=port, engine=ENGINES[0]))
            config = v3(first, timeout=1.5, deadline=9.0)
            device = SnmpDevice(config, PROFILES)
            found = [await device.poll(0.0)]
            stack.close()
            if silent:
                found.append(await device.poll(1.0))
            with snmpd(tmp_path / "second", port=port, engine=ENGINES[1]):
                found += [await device.poll(2.0), await device.poll(3.0)]
            await device.close()
            return found

    first, *away, _, last = asyncio.run(swapped())
    assert "device.uptime_s" in values(first)
    assert all(values(poll) == {"device.reachable": False} for poll in away)
    assert "device.uptime_s" in values(last), last.problem


def test_a_device_that_restarts_is_read_within_two_polls(tmp_path: Path) -> None:
    """The same engine, whose boots and time are others than before."""
    port = free_port()

    async def restarted() -> list[Poll]:
        found = []
        with snmpd(tmp_path / "it", port=port, engine=ENGINES[0]) as running:
            device = SnmpDevice(v3(running, timeout=1.5, deadline=9.0), PROFILES)
            found.append(await device.poll(0.0))
        with snmpd(tmp_path / "it", port=port, engine=ENGINES[0]):
            found += [await device.poll(2.0), await device.poll(3.0)]
        await device.close()
        return found

    first, _, last = asyncio.run(restarted())
    assert "device.uptime_s" in values(first)
    assert "device.uptime_s" in values(last), last.problem
