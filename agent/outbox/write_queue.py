"""Records that are not on disk yet, in memory and bounded. Adding one never waits for a disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from agent.outbox import frames
from agent.outbox.frames import CLASSES, Class
from telemetry.intervals import Intervals
from telemetry.records import Event, Record, Sample

_RATE_MEMORY_MS: Final = 6 * 3_600_000
_RATE_MIN_MS: Final = 60_000
R = TypeVar("R", Sample, Event)


class Unwritten(NamedTuple):
    """A record on its way to the disk: its number, its monotonic time, its frame."""

    sequence: int
    mono_ms: int
    frame: bytes

    def record(self, kind: Class) -> Record:
        """Return the record itself."""
        return frames.decode(kind, self.frame[frames.HEADER_BYTES :])


class WriteQueue:
    """Gives records their sequence numbers, from 0, and keeps them until they are on disk or released.

    Beyond ``max_bytes`` the oldest sample goes, an event only where there is no sample; ``take_dropped`` says which.
    ``newest_ms`` is the highest monotonic time seen. May be used from any thread.
    """

    def __init__(self, max_bytes: int) -> None:
        self.newest_ms: int | None = None
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._next = 0
        self._bytes = 0
        self._unwritten: dict[Class, dict[int, Unwritten]] = {kind: {} for kind in CLASSES}
        self._dropped: list[tuple[Class, Unwritten]] = []
        self._rate_bytes = 0
        self._rate_ms = 0

    def add(self, make: Callable[[int], R]) -> R:
        """Return the record that ``make`` makes of the next number. If that or its frame raises, no number is used."""
        with self._lock:
            record = make(self._next)
            entry = Unwritten(record.sequence, record.mono_ms, frames.encode(record))
            self._next += 1
            self._unwritten[frames.class_of(record)][record.sequence] = entry
            self._bytes += len(entry.frame)
            self._measure(record.mono_ms, len(entry.frame))
            while self._bytes > self._max_bytes:
                kind: Class = "sample" if self._unwritten["sample"] else "event"
                oldest = next(iter(self._unwritten[kind]))
                self._dropped.append((kind, self._pop(kind, oldest)))
            return record

    def all(self, kind: Class) -> list[Unwritten]:
        """Return what waits, in order."""
        with self._lock:
            return list(self._unwritten[kind].values())

    def remove(self, kind: Class, batch: Sequence[Unwritten]) -> list[Unwritten]:
        """Take records out; return those that were still there."""
        with self._lock:
            return [self._pop(kind, entry.sequence) for entry in batch if entry.sequence in self._unwritten[kind]]

    def remove_all(self, numbers: Intervals) -> Intervals:
        """Take out all records with these numbers; return the numbers of those that were there."""
        with self._lock:
            removed = Intervals()
            for kind in CLASSES:
                for sequence in [sequence for sequence in self._unwritten[kind] if sequence in numbers]:
                    self._pop(kind, sequence)
                    removed.add(sequence)
            return removed

    def take_dropped(self) -> list[tuple[Class, Unwritten]]:
        """Return, once, the records that had to go."""
        with self._lock:
            dropped, self._dropped = self._dropped, []
            return dropped

    def bytes_per_hour(self) -> float | None:
        """Return the rate at which records come by their own times, ``None`` before a minute of them.

        Six hours are remembered well, what came before fades.
        """
        with self._lock:
            if self._rate_ms < _RATE_MIN_MS or not self._rate_bytes:
                return None
            return self._rate_bytes / self._rate_ms * 3_600_000

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._unwritten.values()))

    def _pop(self, kind: Class, sequence: int) -> Unwritten:
        entry = self._unwritten[kind].pop(sequence)
        self._bytes -= len(entry.frame)
        return entry

    def _measure(self, mono_ms: int, size: int) -> None:
        if self.newest_ms is None:  # nothing to measure the first moment against
            self.newest_ms = mono_ms
            return
        self._rate_ms += max(0, mono_ms - self.newest_ms)
        self.newest_ms = max(mono_ms, self.newest_ms)
        if self._rate_ms:
            self._rate_bytes += size
        if self._rate_ms > _RATE_MEMORY_MS:
            self._rate_ms //= 2
            self._rate_bytes //= 2
