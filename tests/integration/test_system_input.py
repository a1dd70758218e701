"""The system input on this machine, against what /proc says, and its two pure parts."""

import asyncio
import os
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.inputs.base import Poll
from agent.inputs.system import SystemHost, default_gateway, hottest_sensor
from telemetry.inputs import SystemInput
from telemetry.metrics import metric


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def values(poll: Poll) -> dict[str, Any]:
    for reading in poll.readings:
        metric(reading.metric).check(reading.value)
        assert not reading.labels
    return {reading.metric: reading.value for reading in poll.readings}


def test_this_machine_against_proc() -> None:
    async def run() -> Poll:
        host = SystemHost(SystemInput())
        end = time.process_time() + 0.3
        while time.process_time() < end:  # keep one processor busy, so that the load is above nothing
            pass
        return await host.poll(boottime())

    begun_s, load_before = boottime(), os.getloadavg()[0]
    poll = asyncio.run(run())
    found = values(poll)
    assert poll.problem is None
    assert found["device.reachable"] is True
    assert begun_s - 1 <= found["host.uptime_s"] <= float(Path("/proc/uptime").read_text().split()[0]) + 1
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(memory[key].split()[0]) for key in ("MemTotal", "MemAvailable"))
    assert found["host.memory_percent"] == pytest.approx(100 * (total - free) / total, abs=5)
    assert found["host.disk_free_bytes"] == pytest.approx(shutil.disk_usage("/").free, rel=0.05)
    assert 50 / (os.cpu_count() or 1) < found["host.cpu_percent"] <= 100
    low, high = sorted((load_before, os.getloadavg()[0]))
    assert low - 0.01 <= found["host.load1"] <= high + 0.01


@pytest.mark.parametrize("error", [ZeroDivisionError("float division by zero"), NotImplementedError(), KeyError("x")])
def test_a_battery_that_cannot_be_read_costs_its_reading_not_the_host(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """psutil divides by the battery's energy, which a driver says is 0 while it wakes up."""

    def broken() -> None:
        raise error

    monkeypatch.setattr("psutil.sensors_battery", broken, raising=False)
    poll = asyncio.run(SystemHost(SystemInput()).poll(boottime()))
    found = values(poll)
    assert "host.battery_percent" not in found
    assert {"host.memory_percent", "host.disk_percent", "host.load1", "host.uptime_s"} <= found.keys()
    assert (poll.problem or "").startswith("battery: ")


def test_a_disk_that_is_not_there_does_not_hide_the_rest(tmp_path: Path) -> None:
    poll = asyncio.run(SystemHost(SystemInput(disk=str(tmp_path / "gone"))).poll(boottime()))
    found = values(poll)
    assert "host.disk_percent" not in found
    assert "host.memory_percent" in found
    assert "gone" in (poll.problem or "")


def test_a_sensor_that_hangs_holds_one_thread_and_not_the_loop() -> None:
    release = threading.Event()

    class Hanging(SystemHost):
        def _memory(self) -> list[Any]:
            release.wait(60)
            return []

    async def run() -> None:
        host = Hanging(SystemInput())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(host.poll(boottime()), 0.1)
        before = threading.active_count()
        for _ in range(5):
            poll = await host.poll(boottime())
            assert "hangs" in (poll.problem or "")
            assert not poll.readings
        assert threading.active_count() == before
        release.set()
        while not (poll := await host.poll(boottime())).readings:  # noqa: ASYNC110 - until its thread has ended
            await asyncio.sleep(0.1)
        assert values(poll)["device.reachable"] is True

    asyncio.run(run())


ROUTES = """\
Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 0101A8C0 0003 0 0 100 00000000 0 0 0
wlan0 00000000 FE01A8C0 0003 0 0 50 00000000 0 0 0
wlan1 00000000 0201A8C0 0002 0 0 10 00000000 0 0 0
eth0 0001A8C0 00000000 0001 0 0 100 00FFFFFF 0 0 0
eth0 00000080 0301A8C0 0003 0 0 1 00000080 0 0 0
"""
"""As proc(5) prints it on a little-endian machine; wlan1 is down, the last is half of the internet (OpenVPN)."""


def test_the_default_gateway_is_the_one_with_the_lowest_metric() -> None:
    assert default_gateway(ROUTES.splitlines()) == "192.168.1.254"
    assert default_gateway(ROUTES.splitlines()[:1]) is None


def sensor(label: str, current: float) -> SimpleNamespace:
    return SimpleNamespace(label=label, current=current)


SENSORS: dict[str, list[Any]] = {
    "coretemp": [sensor("Package id 0", 61.0), sensor("Core 0", 59.5)],
    "acpitz": [sensor("", -273.2), sensor("", 65261.8)],
    "nvme": [sensor("Composite", 70.2)],
}


@pytest.mark.parametrize(
    ("wanted", "expected"), [(None, 70.2), ("coretemp", 61.0), ("Core 0", 59.5), ("coretemp/Core 0", 59.5)]
)
def test_the_hottest_sensor_that_can_be(wanted: str | None, expected: float) -> None:
    assert hottest_sensor(SENSORS, wanted) == expected


def test_a_sensor_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(LookupError, match=r"coretemp/Core 0.*found 'gpu'"):
        hottest_sensor(SENSORS, "gpu")
    assert hottest_sensor({}, None) is None
