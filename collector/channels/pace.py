"""Keeping to what a service takes of us in a time: one pace for each place, shared by all channels of this process.

A robot or a telephone number does not care which site or receiver a message comes from. Times are monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

Limit = tuple[int, float]
"""So many messages within so many seconds."""
MOST_PLACES: Final = 1_000
"""Places that are remembered; of one that is forgotten the service's own limit holds."""


class Pace:
    """When one place was written to."""

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._limits = tuple(limits)
        self._sent_s: deque[float] = deque(maxlen=max((messages for messages, _ in limits), default=1))

    def wait_s(self, now_s: float) -> float:
        """Return how long the limits ask us to wait, 0 or less if not at all."""
        sent_s = self._sent_s
        return max(
            (sent_s[-most] + within_s - now_s for most, within_s in self._limits if len(sent_s) >= most), default=0
        )

    def note(self, now_s: float) -> None:
        """Note that something is sent now, whatever becomes of it."""
        self._sent_s.append(now_s)


_paces: Final[dict[tuple[str, ...], Pace]] = {}


def pace_of(place: tuple[str, ...], limits: Sequence[Limit]) -> Pace:
    """Return the pace of a place, the same whoever asks."""
    found = _paces.get(place)
    if found is None:
        if len(_paces) >= MOST_PLACES:
            del _paces[next(iter(_paces))]
        found = _paces[place] = Pace(limits)
    return found
