"""History's content: the log regrouped by agent and ten minutes. Pure.

A chunk's content is that of a batch (``batch.py``): the same groups, only sorted differently, so that one format and
one reader serve both. Within a chunk a record stands once by its name, in order of run and sequence, whatever the order
in which the batches brought it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from collector.store.batch import Group
from telemetry.earliest import EARLIEST_MS
from telemetry.intervals import Intervals
from telemetry.message import Lane, Moment
from telemetry.records import Clock

SLOT_MS: Final = 600_000
"""Ten minutes."""
AHEAD_MS: Final = 5 * 60_000
"""A record cannot have come in before it was made: beyond this its clock is not believed."""
_TRUSTED_AHEAD_MS: Final = 2 * 3_600_000


class Kept(NamedTuple):
    """One record of the log. ``entry`` is ``[schema, [values]]`` or ``[kind, device, {body}]``."""

    run: str
    lane: Lane
    sequence: int
    mono_ms: int
    clock: Clock | None
    entry: list[Any]

    @property
    def time_ms(self) -> int | None:
        """UTC ms, ``None`` if the run never knew the time."""
        return None if self.clock is None else self.clock.place(self.mono_ms)


def most_ahead_ms(clock: Clock) -> int:
    """Return how far ahead of our clock what a record tells of a place may be: ours may be the one that is slow.

    A trusted clock that is wrong is so by far; two hours bound what it can spoil.
    """
    return _TRUSTED_AHEAD_MS if clock.is_trusted else AHEAD_MS


class Piece(NamedTuple):
    """The records of one moment, as they stand together in the log. ``numbers`` are their sequence numbers."""

    run: str
    lane: Lane
    numbers: Sequence[int]
    clock: Clock | None
    moment: Moment

    @property
    def time_ms(self) -> int | None:
        """UTC ms, ``None`` if the run never knew the time."""
        return None if self.clock is None else self.clock.place(self.moment.mono_ms)


def pieces(groups: Iterable[Group]) -> Iterator[Piece]:
    """Yield the moments of groups, one by one."""
    for group in groups:
        numbers: Sequence[int] = range(group.pairs[0][0], group.pairs[0][1] + 1) if group.pairs else ()
        if len(group.pairs) > 1:
            numbers = [number for first, last in group.pairs for number in range(first, last + 1)]
        at = 0
        for moment in group.moments:
            clock = None if moment.clock is None else group.clocks.get(moment.clock)
            yield Piece(group.run, group.lane, numbers[at : at + len(moment.entries)], clock, moment)
            at += len(moment.entries)


def singles(groups: Iterable[Group]) -> list[Group]:
    """Return groups as groups of one record each, in the same order."""
    return [
        Group(
            group.vehicle, group.agent, group.run, group.lane, [(number, number)], group.clocks,
            [Moment(piece.moment.mono_ms, piece.moment.clock, [entry])],
        )
        for group in groups
        for piece in pieces([group])
        for number, entry in zip(piece.numbers, piece.moment.entries, strict=True)
    ]  # fmt: skip


def unfold(groups: Iterable[Group]) -> Iterator[Kept]:
    """Yield the records of groups, one by one."""
    for run, lane, numbers, clock, moment in pieces(groups):
        for number, entry in zip(numbers, moment.entries, strict=True):
            yield Kept(run, lane, number, moment.mono_ms, clock, entry)


def fold(vehicle: str, agent: str, found: Iterable[Piece]) -> list[Group]:
    """Return moments of one agent as groups, each record once, always in the same order."""
    by_group: dict[tuple[str, Lane], list[Piece]] = {}
    for piece in found:
        if piece.numbers:
            by_group.setdefault((piece.run, piece.lane), []).append(piece)
    return [_group(vehicle, agent, run, lane, _once(by_group[run, lane])) for run, lane in sorted(by_group)]


def _once(found: list[Piece]) -> list[Piece]:
    """Return the moments in order of their numbers; taken apart where they are entangled or repeat a record."""
    found.sort(key=lambda piece: piece.numbers[0])
    if all(one.numbers[-1] < other.numbers[0] for one, other in itertools.pairwise(found)):
        return found
    single: dict[int, Piece] = {}
    for run, lane, numbers, clock, moment in found:
        for number, entry in zip(numbers, moment.entries, strict=True):
            single.setdefault(number, Piece(run, lane, (number,), clock, Moment(moment.mono_ms, moment.clock, [entry])))
    return [single[number] for number in sorted(single)]


def _group(vehicle: str, agent: str, run: str, lane: Lane, found: list[Piece]) -> Group:
    moments: list[Moment] = []
    clocks: dict[int, Clock] = {}
    names = Intervals()
    for piece in found:
        moment, numbers = piece.moment, piece.numbers
        if piece.clock is not None:
            clocks[piece.clock.number] = piece.clock
        if numbers[-1] - numbers[0] + 1 == len(numbers):
            names.add_range(numbers[0], numbers[-1])
        else:
            for number in numbers:
                names.add(number)
        last = moments[-1] if moments else None
        if last is not None and last.mono_ms == moment.mono_ms and last.clock == moment.clock:
            moments[-1] = Moment(last.mono_ms, last.clock, [*last.entries, *moment.entries])
        else:
            moments.append(moment)
    return Group(vehicle, agent, run, lane, names.pairs(), clocks, moments)


def bounds(
    run: str,
    before: Mapping[str, str],
    times: Mapping[str, tuple[int, int]],
    received_ms: int,
) -> tuple[int, int | None]:
    """Return between which times (UTC ms) a run without clock lies; the second is ``None`` if no later run is known.

    ``before`` names the run before each, as its ``started`` event told; ``times`` are those of the first and last
    placed sample of the runs that have any. The nearest neighbours that knew the time count.
    """
    after = {earlier: later for later, earlier in before.items() if earlier}
    low = _walk(run, before, times)
    high = _walk(run, after, times)
    earliest = EARLIEST_MS if low is None else times[low][1]
    latest = None if high is None else times[high][0]
    return min(earliest, received_ms if latest is None else latest), latest


def _walk(run: str, next_of: Mapping[str, str], times: Mapping[str, tuple[int, int]]) -> str | None:
    passed = {run}
    while (following := next_of.get(run)) and following not in passed:
        if following in times:
            return following
        passed.add(following)
        run = following
    return None
