"""How long to wait before trying again: exponential with full jitter, capped (docs/field-notes.md T10)."""

from __future__ import annotations

import random


class Backoff:
    """Waits in seconds: random up to ``first``, then up to twice that and so on, never above ``most``.

    At least a tenth of ``first``, so that a thing that fails at once is no busy loop. ``chance`` is where the
    randomness comes from.
    """

    def __init__(self, first: float = 1.0, most: float = 30.0, *, chance: random.Random | None = None) -> None:
        self._first = min(first, most)
        self._most = most
        self._next = self._first
        self._chance = chance or random.SystemRandom()

    def next(self) -> float:
        """Return the next wait."""
        wait = self._chance.uniform(0.1 * self._first, self._next)
        self._next = min(self._most, self._next * 2)
        return wait

    def reset(self) -> None:
        """Begin anew: it worked."""
        self._next = self._first
