"""Reading together what comes one by one, as network cards coalesce interrupts (``rx-usecs`` of ethtool(8))."""

from __future__ import annotations

from typing import Final

COMPANY: Final = 10
"""So many messages share one look well: ten more would save a tenth, and tell a breach 10 ms later at 500 a second."""
LARGE: Final = 1024
"""Bytes: a message counts once more for each, or a flood of large ones would come one a rest, and hold up all else."""
_LEAST_S: Final = 0.01
"""So long nobody minds; at thousands a second some dozens come meanwhile."""
_MANY: Final = 100
"""Who brings so many in one look has no need of company."""


class Coalescing:
    """Says how long a socket may rest after a look at it: until ten messages have come at the rate of late, or 10 ms.

    A look costs as much for one message as for ten. It rests for ``most_s`` at most, which keeps the delay within that,
    and not at all where none is to be expected meanwhile, or where a look brings many.
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._looked_s = 0.0
        """When a look brought something last."""

    def rest_s(self, brought: int, now_s: float) -> float:
        """Return for how long to rest, in seconds, after a look at ``now_s`` that brought so many messages.

        Large ones count as many (``LARGE``).
        """
        if not brought:
            return 0.0
        since_s, self._looked_s = now_s - self._looked_s, now_s
        if brought >= _MANY or since_s / brought > self._most_s:
            return 0.0  # company enough, or none to be expected
        return min(self._most_s, max(_LEAST_S, COMPANY * since_s / brought))
