"""The machine that the agent runs on, read with psutil: measurement ``host``.

``host.boot_count`` is the agent's own knowledge and is added by the agent. ``host.uptime_s`` is ``CLOCK_BOOTTIME``:
psutil's boot time is wall clock minus uptime and moves whenever the clock is set (giampaolo/psutil#658).
"""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import psutil

from agent.inputs.base import Poll
from telemetry.inputs import SystemInput
from telemetry.metrics import METRICS
from telemetry.readings import Identity, Reading

_ROUTES: Final = Path("/proc/net/route")
_NEIGHBOURS: Final = Path("/proc/net/arp")
_ATF_COM: Final = 0x2
"""The entry is complete (if_arp.h)."""
_SUPPLIES: Final = Path("/sys/class/power_supply")
_RTF_UP: Final = 0x1
_RTF_GATEWAY: Final = 0x2


class SystemHost:
    """Polls this machine. psutil reads ``/proc``, ``/sys`` and a file system, any of which may hang: a thread does it.

    While a thread hangs no second one is started; the poll then says so in ``problem``.
    """

    def __init__(self, config: SystemInput) -> None:
        self._config = config
        self._cpu: tuple[float, float] | None = _cpu_seconds()
        self._reading: asyncio.Future[Poll] | None = None

    async def poll(self, now: float) -> Poll:
        """Read the machine once. ``now`` is monotonic seconds since the machine started."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.ensure_future(asyncio.to_thread(self._read, now))
            return await asyncio.shield(self._reading)
        return Poll(problem="the poll before this one has not ended: a file system or a sensor hangs")

    async def close(self) -> None:
        """Hold nothing, let go of nothing."""

    def _read(self, now: float) -> Poll:
        problems: list[str] = []
        readings = [Reading("device.reachable", True), Reading("host.uptime_s", int(now))]
        for read in (self._load, self._memory, self._disk, self._temperature, _battery, _gateway):
            try:
                readings += read()
            except Exception as error:
                # psutil raises whatever a driver's odd file leads to, ZeroDivisionError too: that costs one reading.
                problems.append(f"{read.__name__.lstrip('_')}: {error or type(error).__name__}")
        identity = Identity(model=_dmi("product_name"), vendor=_dmi("sys_vendor"), serial=_dmi("product_serial"))
        return Poll(readings, identity=identity, problem="; ".join(problems) or None)

    def _load(self) -> list[Reading]:
        readings = [Reading("host.load1", round(psutil.getloadavg()[0], 2))]
        before, self._cpu = self._cpu, _cpu_seconds()
        if before is not None and self._cpu is not None and self._cpu[1] > before[1]:
            busy = (self._cpu[0] - before[0]) / (self._cpu[1] - before[1])
            readings.append(Reading("host.cpu_percent", round(min(max(busy, 0.0), 1.0) * 100, 1)))
        return readings

    def _memory(self) -> list[Reading]:
        return [Reading("host.memory_percent", float(psutil.virtual_memory().percent))]

    def _disk(self) -> list[Reading]:
        usage = psutil.disk_usage(self._config.disk)
        return [
            Reading("host.disk_percent", float(usage.percent)),
            Reading("host.disk_free_bytes", int(usage.free)),
        ]

    def _temperature(self) -> list[Reading]:
        # Absent in psutil where the system has no such thing.
        sensors: Callable[[], dict[str, list[Any]]] | None = getattr(psutil, "sensors_temperatures", None)
        hottest = hottest_sensor(sensors() if sensors else {}, self._config.temperature_sensor)
        return [] if hottest is None else [Reading("host.temperature_c", hottest)]


def hottest_sensor(sensors: dict[str, list[Any]], wanted: str | None) -> float | None:
    """Return the highest plausible temperature in degrees Celsius, or None where there is none.

    ``sensors`` is what ``psutil.sensors_temperatures`` gives: chip to entries with ``label`` and ``current``.
    ``wanted`` narrows it to a chip, a label, or ``chip/label``; raises LookupError when there is no such sensor.
    """
    metric = METRICS["host.temperature_c"]
    found: list[float] = []
    names: list[str] = []
    for chip, entries in sensors.items():
        for entry in entries:
            name = f"{chip}/{entry.label}"
            names.append(name)
            # A sensor without a part behind it reads -128, 0 K or 65,261 degrees.
            if wanted in (None, chip, entry.label, name) and metric.low <= entry.current <= metric.high:
                found.append(round(float(entry.current), 1))
    if wanted is not None and not found:
        raise LookupError(f"temperature_sensor: expected one of {', '.join(names) or 'none'}, found {wanted!r}")
    return max(found, default=None)


def default_gateway(table: Iterable[str]) -> str | None:
    """Return the IPv4 address of the default gateway with the lowest metric, or None.

    ``table`` is the lines of ``/proc/net/route``: addresses are hexadecimal in the machine's byte order (proc(5)).
    """
    best: tuple[int, str] | None = None
    for line in table:
        columns = line.split()
        if len(columns) < 8 or columns[1] != "00000000" or columns[7] != "00000000":
            continue
        flags, metric = int(columns[3], 16), int(columns[6])
        if flags & _RTF_UP and flags & _RTF_GATEWAY and (best is None or metric < best[0]):
            address = ipaddress.IPv4Address(int(columns[2], 16).to_bytes(4, sys.byteorder))
            best = (metric, str(address))
    return None if best is None else best[1]


def _gateway() -> list[Reading]:
    with _ROUTES.open(encoding="ascii") as table:
        gateway = default_gateway(table)
    if gateway is None:
        return []
    with _NEIGHBOURS.open(encoding="ascii") as table:
        address = hardware_address(table, gateway)
    found = [Reading("host.gateway", gateway)]
    return found + ([Reading("host.gateway_hardware_address", address)] if address is not None else [])


def hardware_address(table: Iterable[str], gateway: str) -> str | None:
    """Return the MAC address that the kernel has for an IPv4 address, or None; ``table`` is ``/proc/net/arp``.

    It tells whose router that is: its IP address is the same in every vehicle.
    """
    for line in table:
        columns = line.split()
        complete = len(columns) >= 6 and columns[0] == gateway and int(columns[2], 16) & _ATF_COM
        if complete and columns[3] != "00:00:00:00:00:00":
            return columns[3].lower()
    return None


def _battery() -> list[Reading]:
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    readings = []
    if battery is not None:
        readings.append(Reading("host.battery_percent", round(min(float(battery.percent), 100.0), 1)))
    return readings + battery_wear(_SUPPLIES)


def battery_wear(supplies: Path) -> list[Reading]:
    """Return how worn the host's battery is, as its driver says; of several the one that holds least.

    ``supplies`` is ``/sys/class/power_supply`` (Linux ABI, sysfs-class-power): full capacity now and by design, in
    either unit, and the cycles, which are 0 where the driver does not know them.
    """
    found: list[tuple[float, int]] = []
    for folder in supplies.glob("*"):
        if _text(folder / "type") != "Battery" or _text(folder / "scope") == "Device":  # a mouse's is not the host's
            continue
        for unit in ("energy", "charge"):
            full, design = _number(folder / f"{unit}_full"), _number(folder / f"{unit}_full_design")
            if full is not None and design:
                found.append((100 * full / design, _number(folder / "cycle_count") or 0))
                break
    if not found:
        return []
    capacity, cycles = min(found)
    readings = [Reading("host.battery_capacity_percent", round(min(capacity, 150.0), 1))]
    return readings + ([Reading("host.battery_cycles", cycles)] if cycles > 0 else [])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _cpu_seconds() -> tuple[float, float] | None:
    """Return (busy, all) processor seconds since the start, or None where they cannot be read.

    Not ``psutil.cpu_percent``: it remembers the time before per thread, and our thread changes from poll to poll.
    """
    try:
        times = psutil.cpu_times()
    except OSError:
        return None
    # user and nice contain guest and guest_nice already (proc(5)).
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total


def _dmi(name: str) -> str | None:
    try:
        return Path("/sys/class/dmi/id", name).read_text(encoding="utf-8", errors="replace").strip()[:128] or None
    except OSError:
        return None
