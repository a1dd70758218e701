"""When to connect again: full jitter, capped, and quick when the link comes up (FIELD_NOTES 54, 55).

The n-th wait is random between 0 and ``base * 2^n``, at most the cap; failures are forgotten only after a connection
that was stable. The first wait after a stable connection is spread, since then the whole fleet has lost its broker.
"""

from __future__ import annotations

import random
from pathlib import Path


class Backoff:
    """``base``, ``cap``, ``spread`` and ``stable`` are seconds."""

    def __init__(self, *, base: float, cap: float, spread: float, stable: float, chance: random.Random) -> None:
        self._base = base
        self._cap = cap
        self._spread = spread
        self._stable = stable
        self._chance = chance
        self._failures = 0

    def first(self) -> float:
        """Return the wait before the first connect of all, in seconds."""
        return self._chance.uniform(0, min(self._spread, self._cap))

    def after(self, lasted: float | None) -> float:
        """Return the wait after a connection that lived so many seconds, ``None`` for one that never came about."""
        if lasted is not None and lasted >= self._stable:
            self._failures = 0
            return self.first()
        self._failures += 1
        return self._chance.uniform(0, min(self._cap, self._base * 2 ** min(self._failures, 16)))


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
