"""This machine's clocks and names: thin readers, no judgement (that is ``agent.clock``'s)."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import msgspec

from telemetry import kernel_clock
from telemetry.records import ClockSource


class WallReading(msgspec.Struct, frozen=True):
    """The machine's own clock."""

    mono_ms: int
    wall_ms: int
    """UTC."""
    synchronised: bool
    """Whether NTP keeps it."""
    uncertainty_ms: int
    """What NTP says that it may be off by."""

    @property
    def source(self) -> ClockSource:
        """What the reading is worth."""
        return "ntp" if self.synchronised else "rtc"


class Machine:
    """This machine's clocks and names. Tests and drills give another with the same methods."""

    def monotonic(self) -> float:
        """Return seconds since the machine started, sleep included (``CLOCK_BOOTTIME``)."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def boot(self) -> str:
        """Return the id of this boot, 32 hex digits."""
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip().replace("-", "")

    def wall(self) -> WallReading:
        """Return the wall clock and whether it is synchronised: adjtimex(2) tells both at once."""
        before = self.monotonic()
        found = kernel_clock.read()
        mono_ms = round((before + self.monotonic()) * 500)
        if found is None:
            return WallReading(mono_ms, int(time.time() * 1000), False, 0)
        return WallReading(mono_ms, found.wall_ms, found.synchronised, found.uncertainty_ms)

    def identity(self) -> str:
        """Return 16 hex digits that tell this box from its clone: machine id and the address of a network card."""
        parts = []
        cards = sorted(card / "address" for card in Path("/sys/class/net").glob("*") if (card / "device").exists())
        for path in [Path("/etc/machine-id"), *cards[:1]]:
            try:
                parts.append(path.read_text(encoding="ascii").strip())
            except OSError:
                continue
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()

    def routes(self) -> frozenset[str]:
        """Return the default routes; a new one among them means that a link came up."""
        return default_routes()


def default_routes(proc: Path = Path("/proc/net")) -> frozenset[str]:
    """Return the default routes as (interface, gateway) texts; a new one among them means that a link came up.

    From ``route`` and ``ipv6_route`` of proc(5); empty where they cannot be read.
    """
    found = set()
    for words in _lines(proc / "route"):
        if words[1] == words[7] == "00000000":
            found.add(f"{words[0]} {words[2]}")
    for words in _lines(proc / "ipv6_route"):
        if words[0] == "0" * 32 and words[1] == "00" and words[9] != "lo":
            found.add(f"{words[9]} {words[4]}")
    return frozenset(found)


def _lines(path: Path) -> list[list[str]]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    return [words for words in map(str.split, lines) if len(words) >= 10]
