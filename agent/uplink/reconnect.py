"""When to connect again: full jitter, capped, and quick when the link comes up (docs/field-notes.md 54, 55).

Failures are forgotten only after a connection that was stable. The first wait after a stable connection is spread,
since then the whole fleet has lost its broker; a region of thousands sets the spread above the cap.
"""

from __future__ import annotations

import random

from telemetry.backoff import Backoff


class Reconnect:
    """``base``, ``cap``, ``spread`` and ``stable`` are seconds; ``agent.config.Waits`` explains them."""

    def __init__(self, *, base: float, cap: float, spread: float, stable: float, chance: random.Random) -> None:
        self._spread = spread
        self._stable = stable
        self._chance = chance
        self._failures = Backoff(2 * base, cap, chance=chance)

    def first(self) -> float:
        """Return the wait before the first connect of all, in seconds."""
        return self._chance.uniform(0, self._spread)

    def after(self, lasted: float | None) -> float:
        """Return the wait after a connection that lived so many seconds, ``None`` for one that never came about."""
        if lasted is not None and lasted >= self._stable:
            self._failures.reset()
            return self.first()
        return self._failures.next()
