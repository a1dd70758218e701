"""When each vehicle wants to be looked at, soonest first. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from collector.core.vehicle.wake import Wake

_AT_ONCE: Final = Wake(0)


class Wakes:
    """Times (our clock, UTC ms) by vehicle. Reading changes nothing, for a unit of work may be thrown away."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._wakes: dict[str, Wake | None] = {}
        self._times: dict[str, int | None] = {}
        self._row: list[tuple[int, str]] = []
        """In order; what ``_times`` says otherwise is out of date."""
        self.update(dict.fromkeys(names, _AT_ONCE))

    def update(self, wakes: Mapping[str, Wake | None]) -> None:
        """Take what vehicles want now; ``None``: not to be looked at."""
        for name, wake in wakes.items():
            self._wakes[name], time_ms = wake, None if wake is None else wake.at_ms
            if self._times.get(name, -1) != time_ms:
                self._times[name] = time_ms
                if time_ms is not None:
                    self._insert((time_ms, name))
        past = next((at for at, (time_ms, name) in enumerate(self._row) if self._times[name] == time_ms), None)
        del self._row[:past]
        if len(self._row) > 2 * len(self._times) + 100:
            self._row = sorted((time_ms, name) for name, time_ms in self._times.items() if time_ms is not None)

    def _insert(self, entry: tuple[int, str]) -> None:
        place = bisect_left(self._row, entry)
        if place == len(self._row) or self._row[place] != entry:  # it may be there from before, out of date
            self._row.insert(place, entry)

    def due(self, now_ms: int) -> Iterator[tuple[str, Wake]]:
        """Yield the vehicles whose time has come, and what they wait for."""
        for time_ms, name in self._row:
            if time_ms > now_ms:
                return
            wake = self._wakes[name]
            if wake is not None and wake.at_ms == time_ms:
                yield name, wake

    def next_ms(self) -> int | None:
        """Return the soonest time, ``None`` where nobody wants to be looked at."""
        for time_ms, name in self._row:
            if self._times[name] == time_ms:
                return time_ms
        return None

    def all_at_once(self) -> None:
        """Look at every vehicle as soon as possible: the clock that they went by was set."""
        self.update(dict.fromkeys(self._times, _AT_ONCE))
