"""History's content: the log regrouped by agent and ten minutes. Pure.

A chunk's content is that of a batch (``batch.py``): the same groups, only sorted differently, so that one format and
one reader serve both. Within a chunk a record stands once by its name, in order of run and sequence, whatever the order
in which the batches brought it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from collector.store.batch import Group
from telemetry.earliest import EARLIEST_S
from telemetry.intervals import Intervals
from telemetry.message import Lane, Moment
from telemetry.records import Clock

SLOT_MS: Final = 600_000
"""Ten minutes."""
AHEAD_MS: Final = 5 * 60_000
"""A record cannot have come in before it was made: beyond this its clock is not believed."""


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


def unfold(groups: Iterable[Group]) -> Iterator[Kept]:
    """Yield the records of groups, one by one."""
    for group in groups:
        numbers = (number for first, last in group.pairs for number in range(first, last + 1))
        for moment in group.moments:
            clock = None if moment.clock is None else group.clocks.get(moment.clock)
            for entry in moment.entries:
                yield Kept(group.run, group.lane, next(numbers), moment.mono_ms, clock, entry)


def fold(vehicle: str, agent: str, records: Iterable[Kept]) -> list[Group]:
    """Return records of one agent as groups, each record once, always in the same order."""
    by_name: dict[tuple[str, int], Kept] = {}
    for record in records:
        by_name.setdefault((record.run, record.sequence), record)
    by_group: dict[tuple[str, Lane], list[Kept]] = {}
    for _, record in sorted(by_name.items(), key=lambda item: item[0]):
        by_group.setdefault((record.run, record.lane), []).append(record)
    return [_group(vehicle, agent, run, lane, by_group[run, lane]) for run, lane in sorted(by_group)]


def _group(vehicle: str, agent: str, run: str, lane: Lane, records: list[Kept]) -> Group:
    moments: list[Moment] = []
    clocks: dict[int, Clock] = {}
    names = Intervals()
    for record in records:
        names.add(record.sequence)
        number = None
        if record.clock is not None:
            number = record.clock.number
            clocks[number] = record.clock
        if not moments or moments[-1].mono_ms != record.mono_ms or moments[-1].clock != number:
            moments.append(Moment(record.mono_ms, number, []))
        moments[-1].entries.append(record.entry)
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
    earliest = EARLIEST_S * 1000 if low is None else times[low][1]
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
