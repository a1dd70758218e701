"""What has come of a vehicle since its fork was taken: kept here, or to be read from the site's log. Pure.

The log has it all. What is small and came in this ownership is kept beside it, so that a hole of a few messages costs
no reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from collector.core.rules.schemas import CompiledSchema
from collector.core.rules.types import Settings
from collector.core.vehicle.events import Acted, Born, Died, Event, Left, Rejoined, Told, Unlisted
from collector.core.vehicle.forks import At
from collector.site.intake import KnownRun, RecordsMessage, Schemas, Untimed, judge, records_message
from collector.store import batch as log
from collector.store.rows import RunRow, SchemaKey
from telemetry.intervals import Intervals
from telemetry.message import PLAIN, Header
from telemetry.records import Run
from telemetry.topics import AgentName

_STEPPED: Final = Acted | Born | Died | Left | Unlisted
"""What a fork is stepped through beside records."""
CompiledOf = Callable[[SchemaKey], CompiledSchema | None]


class Piece(NamedTuple):
    """An entry of the log that is about one vehicle."""

    batch: int
    now_ms: int
    entry: log.Group | log.Stepped


class Tape(msgspec.Struct):
    """What has come of a vehicle since its fork was taken."""

    position: int
    """The batch after which the fork was taken."""
    after: int
    """What came after this batch is here, what came before stands in the log."""
    pieces: list[Piece] = msgspec.field(default_factory=list)
    records: int = 0
    is_wanted: bool = False
    """The fork is being stepped: what comes now must stay."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing has to be read from the log."""
        return self.after == self.position

    def add(self, pieces: Iterable[Piece]) -> None:
        """Put what came behind what is there."""
        for piece in pieces:
            if isinstance(piece.entry, log.Stepped) and isinstance(piece.entry.event, Rejoined):
                self.pieces, self.records = [], 0  # an earlier fork's; this one was taken behind it
                continue
            self.pieces.append(piece)
            if isinstance(piece.entry, log.Group):
                self.records += piece.entry.count

    def forget(self, batch: int) -> None:
        """Keep nothing of what came up to this batch: it stands in the log."""
        self.pieces, self.records, self.after = [], 0, batch


def pieces_of(number: int, began_ms: int, entries: Sequence[log.Entry]) -> Iterator[tuple[str, Piece]]:
    """Yield (vehicle, piece) of what forks are stepped through among a batch's entries, in order."""
    now_ms = began_ms
    for entry in entries:
        if isinstance(entry, log.TimePassed):
            now_ms = entry.now_ms
        elif isinstance(entry, log.Group) or (
            isinstance(entry, log.Stepped) and isinstance(entry.event, _STEPPED | Rejoined)
        ):
            yield entry.vehicle, Piece(number, now_ms, entry)


class Order:
    """Puts what came into the order in which it is stepped: each agent's records in its own, all merged by event time.

    What was too late, or from the future, when it came is left out, as ``step`` left it out.
    """

    def __init__(self, site: str, compiled_of: CompiledOf, settings: Settings) -> None:
        self._site = site
        self._compiled_of = compiled_of
        self._settings = settings
        self._acts: list[tuple[int, str, int, Event]] = []
        self._told: dict[str, dict[str, list[Told]]] = {}
        """By agent and run."""

    def add(self, piece: Piece) -> int:
        """Take in what came next; return how many records that is."""
        entry = piece.entry
        if isinstance(entry, log.Stepped):
            assert isinstance(entry.event, _STEPPED)
            self._acts.append((piece.now_ms, "", len(self._acts), entry.event))
            return 0
        runs = self._told.setdefault(entry.agent, {})
        runs.setdefault(entry.run, []).extend(self._told_by(piece.now_ms, entry))
        return entry.count

    def _told_by(self, now_ms: int, group: log.Group) -> Iterator[Told]:
        def compiled_of(name: str) -> CompiledSchema | None:
            return self._compiled_of((group.vehicle, group.agent, name))

        message, run = read_again(group, self._site, compiled_of)
        judged = judge(message, run, compiled_of, now_ms)
        for told in judged.ready:
            if (
                not isinstance(told, Untimed)
                and -self._settings.future_ms <= now_ms - told.time_ms <= self._settings.lateness_ms
            ):
                yield told

    def events(self) -> list[At]:
        """Return what is to be stepped."""
        found = [(self._begins(time_ms, event), lane, number, event) for time_ms, lane, number, event in self._acts]
        for agent, runs in self._told.items():
            time_ms = number = 0
            for told in sorted(filter(None, runs.values()), key=_begin):
                for one in sorted(told, key=_sequence):
                    time_ms = max(time_ms, one.time_ms)
                    number += 1
                    found.append((time_ms, agent, number, one))
        found.sort(key=_place)
        return [At(time_ms, event) for time_ms, _, _, event in found]

    def _begins(self, time_ms: int, event: Event) -> int:
        """Return when an act is stepped: a birth before what its run tells."""
        told = self._told.get(event.agent, {}).get(event.run) if isinstance(event, Born) else None
        return min(time_ms, _begin(told)) if told else time_ms


def _begin(told: list[Told]) -> int:
    return min(one.time_ms for one in told)


def _sequence(told: Told) -> int:
    return told.name.sequence


def _place(one: tuple[int, str, int, Event]) -> tuple[int, str, int]:
    return one[:3]


def read_again(
    group: log.Group, site: str, compiled_of: Callable[[str], CompiledSchema | None]
) -> tuple[RecordsMessage, KnownRun]:
    """Return a group of the log as the message that it came in, and the run as far as that needs it."""
    header = Header(PLAIN, Run(group.run), Intervals(group.pairs))
    agent = AgentName(site, group.vehicle, group.agent)
    message = records_message(agent, group.lane, header, group.moments, Schemas({}, compiled_of))
    run = KnownRun(RunRow(group.vehicle, group.agent, group.run, no_clock=True), dict(group.clocks))
    return message, run
