"""What an outbox holds of each run, and what it lost and has to tell. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agent.outbox import manifest
from agent.outbox.frames import Class
from agent.outbox.manifest import Loss, Reason
from telemetry.intervals import Intervals
from telemetry.records import Clock


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What is held of a run: its boot ("" if that is not known any more), its numbers, whether it is this one."""

    boot: str
    held: Intervals
    current: bool


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """Figures of the outbox.

    ``records`` held and the ``bytes`` that everything takes on disk. ``oldest_run`` and ``oldest_mono_ms`` say which
    record held is the oldest (its time is that of its run's boot). ``hours_held`` is how many hours of records a full
    outbox holds at the rate measured in this run, ``hours_left`` how many are left until it is full if nothing is
    released; both ``None`` in the first minute. ``lost`` counts records lost since this start by reason (``lost_total``
    together), ``bytes_written`` what was written since this start in whole pages of 4 KiB, without the file system's
    journal. ``skipped_bytes`` could not be read at start. ``problem`` is why records wait in memory, or ``None``.
    """

    records: int
    bytes: int
    oldest_run: str | None
    oldest_mono_ms: int | None
    hours_held: float | None
    hours_left: float | None
    lost: Mapping[Reason, int]
    bytes_written: int
    skipped_bytes: int
    in_memory: int
    problem: str | None

    @property
    def lost_total(self) -> int:
        """Records lost since this start."""
        return sum(self.lost.values())


@dataclass(slots=True)
class HeldRun:
    """A run of which records are held.

    ``events`` are the exact numbers of the events held; ``samples`` all others held, as far as segments' names tell.
    ``last`` is the highest number known to be used, -1 for none. ``unnoted`` are released and not in the manifest yet.
    """

    run: str
    boot: str
    last: int = -1
    events: Intervals = field(default_factory=Intervals)
    samples: Intervals = field(default_factory=Intervals)
    schemas: set[str] = field(default_factory=set)
    clocks: list[Clock] = field(default_factory=list)
    unnoted: Intervals = field(default_factory=Intervals)

    def of(self, kind: Class) -> Intervals:
        """Return the numbers held of a class."""
        return self.events if kind == "event" else self.samples

    def held(self) -> Intervals:
        """Return the numbers held of both classes, as a set of its own."""
        both = self.samples.copy()
        both.update(self.events)
        return both

    def hold(self, kind: Class, sequence: int) -> None:
        """Put a number in."""
        self.of(kind).add(sequence)
        self.last = max(self.last, sequence)

    def drop(self, numbers: Intervals) -> None:
        """Take numbers out."""
        for first, last in numbers.pairs():
            self.samples.remove_range(first, last)
            self.events.remove_range(first, last)

    def gone(self) -> Intervals:
        """Return the numbers used and not held."""
        return (Intervals([(0, self.last)]) if self.last >= 0 else Intervals()).minus(self.held())

    @property
    def empty(self) -> bool:
        """Tell whether nothing is held."""
        return not self.samples and not self.events


class Losses:
    """Losses that nobody was told of yet. ``count`` are records lost since the start, by reason."""

    def __init__(self) -> None:
        self.count: dict[Reason, int] = {"evicted": 0, "damaged": 0, "missing": 0}
        self._new: dict[tuple[str, Reason, Class | None], list[Loss]] = {}
        self._taken: list[Loss] = []

    def restore(self, losses: Sequence[Loss]) -> None:
        """Put back what an earlier run lost and did not tell."""
        for loss in losses:
            self._new.setdefault((loss.run, loss.reason, loss.kind), []).append(loss)

    def add(
        self,
        run: str,
        numbers: Intervals,
        reason: Reason,
        kind: Class | None = None,
        times: tuple[int, int] | None = None,
    ) -> list[Loss]:
        """Note a loss; return it in the pieces that the manifest takes. ``times``: of the first and last, monotonic."""
        self.count[reason] += len(numbers)
        losses = list(_pieces(run, numbers, reason, kind, times))
        self.restore(losses)
        return losses

    def take(self) -> list[Loss]:
        """Return what was lost and not taken yet, joined by run, reason and class."""
        result: list[Loss] = []
        for (run, reason, kind), parts in self._new.items():
            numbers = Intervals(pair for part in parts for pair in part.intervals)
            seen = [time for part in parts for time in (part.first_mono_ms, part.last_mono_ms) if time is not None]
            times = (min(seen), max(seen)) if seen else None
            result += _pieces(run, numbers, reason, kind, times)
        self._new.clear()
        self._taken += result
        return result

    def told(self, body: object) -> Loss | None:
        """Return the loss that the durable ``lost`` event with this body tells; it is forgotten here."""
        for loss in self._taken:
            if loss.body() == body:
                self._taken.remove(loss)
                return loss
        return None

    def untold(self) -> Iterator[Loss]:
        """Yield what is not told yet, taken or not."""
        yield from itertools.chain(*self._new.values(), self._taken)


def _pieces(
    run: str, numbers: Intervals, reason: Reason, kind: Class | None, times: tuple[int, int] | None
) -> Iterator[Loss]:
    pairs = numbers.pairs()
    first, last = times or (None, None)
    for at in range(0, len(pairs), manifest.PAIRS_PER_ENTRY):
        yield Loss(run, tuple(pairs[at : at + manifest.PAIRS_PER_ENTRY]), reason, kind, first, last)


def first_of(numbers: Intervals, count: int) -> Intervals:
    """Return the ``count`` lowest numbers."""
    result = Intervals()
    for first, last in numbers.pairs():
        if count <= 0:
            break
        last = min(last, first + count - 1)
        result.add_range(first, last)
        count -= last - first + 1
    return result
