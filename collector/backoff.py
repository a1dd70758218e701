"""How long to wait before trying again: exponential with full jitter, capped (FIELD_NOTES T10)."""

from __future__ import annotations

import random


class Backoff:
    """Waits in seconds: a random share of ``first``, then of twice that and so on, never above ``most``.

    At least a tenth of ``first``, so that a thing that fails at once is no busy loop.
    """

    def __init__(self, first: float = 1.0, most: float = 30.0) -> None:
        self._first = first
        self._most = most
        self._next = first

    def next(self) -> float:
        """Return the next wait."""
        wait = random.uniform(0.1 * self._first, self._next)
        self._next = min(self._most, self._next * 2)
        return wait

    def reset(self) -> None:
        """Begin anew: it worked."""
        self._next = self._first
