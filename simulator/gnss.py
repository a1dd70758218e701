"""A GNSS receiver that prints NMEA 0183 sentences once a second: GGA, RMC, GSA, TXT (the antenna's state)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from simulator.pty import SerialLine
from simulator.world import KitState

_KMH_PER_KNOT = 1.852


def sentence(body: str) -> str:
    """Return a sentence with its checksum: exclusive or of all between ``$`` and ``*`` (NMEA 0183)."""
    total = 0
    for letter in body.encode():
        total ^= letter
    return f"${body}*{total:02X}\r\n"


def sentences(state: KitState, now: datetime) -> str:
    """Return what is printed at one second. ``now`` is UTC. Without satellites there is no fix, but still time."""
    time = f"{now:%H%M%S}.{now.microsecond // 10000:02d}"
    date = f"{now:%d%m%y}"
    if state.satellites < 4:
        return (
            sentence(f"GNGGA,{time},,,,,0,00,99.99,,M,,M,,")
            + sentence(f"GNRMC,{time},V,,,,,,,{date},,,N")
            + sentence("GNGSA,A,1,,,,,,,,,,,,,99.99,99.99,99.99")
            + sentence("GNTXT,01,01,02,ANTSTATUS=OPEN")
        )
    latitude = _degrees(state.latitude, 2, "NS")
    longitude = _degrees(state.longitude, 3, "EW")
    knots = state.speed_kmh / _KMH_PER_KNOT
    return (
        sentence(f"GNGGA,{time},{latitude},{longitude},1,{state.satellites:02d},0.8,12.4,M,8.2,M,,")
        + sentence(f"GNRMC,{time},A,{latitude},{longitude},{knots:.2f},{state.course:.1f},{date},,,A")
        + sentence("GNGSA,A,3,02,05,07,09,13,15,20,24,28,29,30,32,1.4,0.8,1.1")
        + sentence("GNTXT,01,01,02,ANTSTATUS=OK")
    )


def _degrees(value: float, width: int, letters: str) -> str:
    letter = letters[0] if value >= 0 else letters[1]
    whole, parts = divmod(round(abs(value) * 60 * 100_000), 60 * 100_000)  # hundred-thousandths of a minute
    return f"{whole:0{width}d}{parts / 100_000:08.5f},{letter}"


class SimulatedGnss:
    """Prints once a second on a pty. ``wall`` gives the true UTC time."""

    def __init__(self, state: Callable[[], KitState], wall: Callable[[], float], period: float = 1.0) -> None:
        self._state = state
        self._wall = wall
        self._period = period
        self.asked: Counter[str] = Counter()
        """Bytes that were written to it; a receiver is only listened to."""
        self.line = SerialLine(lambda data: self.asked.update({"bytes": len(data)}))

    async def run(self) -> None:
        """Print until cancelled."""
        while True:
            await asyncio.sleep(self._period)
            now = datetime.fromtimestamp(self._wall(), UTC)
            self.line.write(sentences(self._state(), now).encode())
