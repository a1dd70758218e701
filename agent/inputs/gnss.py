"""A GNSS receiver that prints NMEA sentences on a serial port.

The port is read all the time, so that a poll gives the newest epoch and never one that has waited in a buffer. Silence
is not "no fix": without NMEA the device is not reachable and nothing is said about the fix.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final

from agent.clock import sane
from agent.inputs.base import Poll
from agent.protocols.fixes import Epoch, Fixes
from agent.protocols.spoken import SAMPLE, recognise
from agent.serial_port import PortError, Retry, SerialPort
from telemetry.inputs import GnssInput
from telemetry.readings import Reading

FRESH: Final = 10.0
"""Seconds after which a sentence no longer shows that the receiver is there, nor an epoch where it is."""
_EARTH_M: Final = 6_371_000
_SHORTEST_WAY, _LONGEST_WAY = 0.9, 10.0
"""Seconds between fixes: over a tenth of one, noise of a metre is 36 km/h; over minutes, a tunnel may lie."""
_QUIET: Final = 0.4
"""Seconds of silence after which the epoch under way is whole; receivers print an epoch in one go."""
_LATENCY_MS: Final = 250
"""Typical time from the moment of the fix to the arrival of its first sentence, and how far it may be off."""
_UNCERTAINTY_MS: Final = 500
_LEAP_SECONDS_MS: Final = 18_000
_WARM: Final = 900.0
"""Seconds from the first fix until a receiver has surely heard of the leap seconds, which come every 12.5 minutes
(IS-GPS-200 section 20.3.3.5.1); until then its UTC may be GPS time, 18 s ahead since 2017."""


def boottime() -> float:
    """Return monotonic seconds since the machine started, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Gnss:
    """Polls a receiver. ``clock`` gives monotonic seconds, the same that ``poll`` gets."""

    def __init__(self, config: GnssInput, clock: Callable[[], float] = boottime) -> None:
        self._config = config
        self._clock = clock
        self._port = SerialPort(config.port, config.baud)
        self._reader: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()
        self._problem: str | None = None
        self._bytes = 0
        self._sample = b""
        self._bad_checksums = 0
        self._fixes = Fixes()
        self._newest: Epoch | None = None
        self._last_fix: Epoch | None = None
        self._way_from: Epoch | None = None
        self._implied_kmh: float | None = None
        """The highest speed that fixes since the last poll ask for."""
        self._first_fix: float | None = None
        self._utc: tuple[float, int, int] | None = None

    def utc(self) -> tuple[float, int, int] | None:
        """Return the time of the latest fix as (monotonic s, UTC ms since 1970, uncertainty ms), None before one.

        Given only while fix and arrival go on at the same pace: what has waited in a buffer arrives too late. For
        15 min from the first fix that is seen the uncertainty covers the leap seconds.
        """
        return self._utc

    async def poll(self, now: float) -> Poll:
        """Return what the receiver said last; the first poll waits a while for it."""
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
            await self._wait_for_first()
            now = self._clock()
        elif self._reader.done():
            ended, self._reader = self._reader, None
            ended.result()  # raises what ended it: an internal error
        if self._port.moved():
            self._port.close()
        return self._report(now)

    async def close(self) -> None:
        """Let go of the port."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None
        self._port.close()

    async def _wait_for_first(self) -> None:
        waiting = asyncio.create_task(self._heard.wait())
        try:
            await asyncio.wait({waiting}, timeout=self._config.deadline / 2)
        finally:
            waiting.cancel()

    async def _read(self) -> None:
        retry = Retry()
        while True:
            try:
                await self._port.open()
                self._problem = None
                while True:
                    self._take(await self._port.read(), self._clock())
                    retry.succeeded()
            except PortError as error:
                self._problem = str(error)
                self._heard.set()
                # What comes next may be another receiver, and half a sentence must not meet its first bytes.
                self._fixes, self._newest = Fixes(), None
                self._bytes = self._bad_checksums = 0
                self._sample = b""
            retry.failed(self._clock())
            while not retry.due(self._clock()):  # noqa: ASYNC110 - only time ends this wait
                await asyncio.sleep(0.2)

    def _take(self, data: bytes, now: float) -> None:
        self._bytes += len(data)
        if len(self._sample) < SAMPLE:
            self._sample = (self._sample + data)[:SAMPLE]
        for epoch in self._fixes.feed(data, now):
            self._complete(epoch)

    def _complete(self, epoch: Epoch) -> None:
        self._heard.set()
        if epoch.fixed:
            self._first_fix = epoch.arrived if self._first_fix is None else self._first_fix
            self._set_clock(epoch)
            self._note_way(epoch)
            self._last_fix = epoch
        self._newest = epoch

    def _note_way(self, epoch: Epoch) -> None:
        """Note how fast the vehicle would have to be, between fixes that lie a second apart or more."""
        before = self._way_from
        if epoch.latitude is None or epoch.longitude is None:
            return
        if before is None or epoch.arrived - before.arrived > _LONGEST_WAY:
            self._way_from = epoch
        elif epoch.arrived - before.arrived >= _SHORTEST_WAY:
            kmh = 3.6 * metres_between(before, epoch) / (epoch.arrived - before.arrived)
            self._implied_kmh = max(kmh, self._implied_kmh or 0.0)
            self._way_from = epoch

    def _set_clock(self, epoch: Epoch) -> None:
        before, wall = self._newest, epoch.utc_ms
        if wall is None or not sane(wall):  # GPS counts weeks modulo 1024, and old receivers are years off
            return
        if before is None or not before.fixed or before.utc_ms is None:
            return
        pace = wall - before.utc_ms - 1000 * (epoch.arrived - before.arrived)
        if epoch.arrived > before.arrived and abs(pace) < _UNCERTAINTY_MS:
            warm = self._first_fix is not None and epoch.arrived - self._first_fix >= _WARM
            self._utc = (epoch.arrived, wall + _LATENCY_MS, _UNCERTAINTY_MS if warm else _LEAP_SECONDS_MS)

    def _current(self, now: float) -> Epoch | None:
        """Return the newest whole epoch: the one under way counts when its last sentence is a while ago.

        One that never ends, because the receiver repeats one moment, counts too: it is the newest there is.
        """
        under_way = self._fixes.under_way()
        if under_way is not None and (now - under_way.touched > _QUIET or now - under_way.arrived > FRESH):
            if under_way.fixed:
                self._last_fix = under_way
            return under_way
        return self._newest

    def _report(self, now: float) -> Poll:
        flags = self._flags()
        seen = self._fixes.seen
        if seen is None or now - seen > FRESH:
            return Poll([Reading("device.reachable", False)], flags=flags, problem=self._silence())
        readings = [Reading("device.reachable", True)]
        if self._fixes.antenna is not None:
            readings.append(Reading("gnss.antenna", self._fixes.antenna))
        epoch = self._current(now)
        if epoch is None or now - epoch.arrived > FRESH:
            if epoch is not None:
                flags.append(
                    f"stale gnss.fix: the newest time of fix, {epoch.time}, is {now - epoch.arrived:.0f} s old"
                )
        else:
            readings += _readings(epoch)
        if self._implied_kmh is not None:
            readings.append(Reading("gnss.implied_speed_kmh", round(min(self._implied_kmh, 1e7), 1)))
            self._implied_kmh = None
        if self._last_fix is not None:
            readings.append(Reading("gnss.fix_age_s", round(max(now - self._last_fix.arrived, 0.0), 1)))
        return Poll(readings, flags=flags, problem=self._problem)

    def _flags(self) -> list[str]:
        flags = [f"{flag} ({count} times)" if count > 1 else flag for flag, count in self._fixes.flags.items()]
        self._fixes.flags.clear()
        bad, self._bad_checksums = (
            self._fixes.framer.bad_checksums - self._bad_checksums,
            self._fixes.framer.bad_checksums,
        )
        if bad:
            flags.append(f"unparsed gnss.fix: {bad} sentences with a wrong checksum")
        return flags

    def _silence(self) -> str:
        if self._problem is not None:
            return self._problem
        if self._bytes:
            why = recognise(self._sample) or "text of another kind"
            return f"{self._config.port}: no NMEA among {self._bytes} bytes at {self._config.baud} baud; {why}"
        return f"{self._config.port}: the receiver is silent"


def _readings(epoch: Epoch) -> list[Reading]:
    values = (
        ("gnss.fix", epoch.fix),
        ("gnss.satellites", epoch.satellites),
        ("gnss.hdop", epoch.hdop),
        ("gnss.latitude", epoch.latitude),
        ("gnss.longitude", epoch.longitude),
        ("gnss.speed_kmh", epoch.speed_kmh),
    )
    return [Reading(metric, value) for metric, value in values if value is not None]


def metres_between(one: Epoch, other: Epoch) -> float:
    """Return the distance of two fixes on a sphere (haversine), in metres."""
    latitude, longitude = math.radians(one.latitude or 0), math.radians(one.longitude or 0)
    north, east = math.radians(other.latitude or 0), math.radians(other.longitude or 0)
    half = math.sin((north - latitude) / 2) ** 2
    half += math.cos(latitude) * math.cos(north) * math.sin((east - longitude) / 2) ** 2
    return 2 * _EARTH_M * math.asin(min(1.0, math.sqrt(half)))
