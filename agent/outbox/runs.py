"""What an outbox holds of each run: everything that the manifest describes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from agent.outbox import entries
from agent.outbox.entries import Entry
from agent.outbox.frames import Class
from agent.outbox.losses import Loss, Losses, Reason
from agent.outbox.segment_file import Name
from telemetry.intervals import Intervals
from telemetry.records import Clock, Event, Record, Schema


class RunInfo(msgspec.Struct, frozen=True):
    """What is held of a run, for who looks from outside."""

    boot: str
    """"" if that is not known any more."""
    held: Intervals
    current: bool
    """Whether it is the run that goes on."""


class StoredRun(msgspec.Struct):
    """A run of which records are held."""

    run: str
    boot: str
    last: int = -1
    """The highest number known to be used, -1 for none."""
    events: Intervals = msgspec.field(default_factory=Intervals)
    """The exact numbers of the events held."""
    samples: Intervals = msgspec.field(default_factory=Intervals)
    """All others held, as far as segments' names tell."""
    schemas: set[str] = msgspec.field(default_factory=set)
    clocks: list[Clock] = msgspec.field(default_factory=list)
    unnoted: Intervals = msgspec.field(default_factory=Intervals)
    """Released, and not in the manifest yet."""

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

    def absent(self) -> Intervals:
        """Return the numbers used and not held: released or lost."""
        return (Intervals([(0, self.last)]) if self.last >= 0 else Intervals()).minus(self.held())

    @property
    def empty(self) -> bool:
        """Tell whether nothing is held."""
        return not self.samples and not self.events


class StoredRuns:
    """All runs, the schemas that they use and what was lost of them; and the manifest's entries that tell of a change.

    ``run`` is the one that goes on, in this ``boot``.
    """

    def __init__(self, run: str, boot: str) -> None:
        self.current = StoredRun(run, boot)
        self.losses = Losses()
        self.unwritten: list[Entry] = []
        """Entries that must be in the manifest before the next records are on disk."""
        self._runs: dict[str, StoredRun] = {run: self.current}
        self._schemas: dict[str, Schema] = {}

    def restore(self, runs: Mapping[str, StoredRun], schemas: Mapping[str, Schema], losses: Sequence[Loss]) -> None:
        """Take in what was found at the start, oldest run first."""
        self._runs = {**runs, self.current.run: self.current}
        self._schemas |= schemas
        self.losses.restore(losses)

    # --- looking ------------------------------------------------------------------------------------------------------

    def get(self, run: str) -> StoredRun | None:
        """Return a run, ``None`` if nothing is known of it."""
        return self._runs.get(run)

    def all(self) -> Iterable[StoredRun]:
        """Return the runs, oldest first."""
        return self._runs.values()

    def infos(self) -> dict[str, RunInfo]:
        """Return the runs of which something is held, oldest first, and the current one."""
        return {
            run.run: RunInfo(run.boot, run.held(), run is self.current)
            for run in self._runs.values()
            if run is self.current or not run.empty
        }

    def held_in(self, name: Name, next_first: int | None) -> Intervals:
        """Return the numbers held for which a segment is responsible: up to the first one of the next segment."""
        run = self._runs[name.run]
        last = run.last if next_first is None else next_first - 1
        if last < name.first:
            return Intervals()
        return run.of(name.kind).intersection(Intervals([(name.first, last)]))

    def schemas(self, run: str) -> dict[str, Schema]:
        """Return the schemas that a run's records have, by id; fewer if some are known no more."""
        known = self._runs.get(run)
        ids = sorted(known.schemas) if known else []
        return {schema_id: self._schemas[schema_id] for schema_id in ids if schema_id in self._schemas}

    def last_clock(self) -> Clock | None:
        """Return the last clock that an earlier run of this boot had: what a new run begins with."""
        for run in reversed(self._runs.values()):
            if run is not self.current and run.boot == self.current.boot and run.clocks:
                return run.clocks[-1]
        return None

    # --- changing -----------------------------------------------------------------------------------------------------

    def add_schema(self, schema: Schema) -> str:
        """Keep a schema of the current run; return its id."""
        schema_id = schema.id()
        if schema_id not in self._schemas:
            self._schemas[schema_id] = schema
            self.unwritten.append(entries.schema(schema))
        if schema_id not in self.current.schemas:
            self.current.schemas.add(schema_id)
            self.unwritten.append(entries.uses(self.current.run, schema_id))
        return schema_id

    def add_clock(self, run: str, clock: Clock) -> None:
        """Keep a clock of a run that is known. Raises ValueError unless its number is the next of that run."""
        known = self._runs.get(run)
        if known is None:
            return
        if clock.number != len(known.clocks):
            raise ValueError(f"expected clock {len(known.clocks)} of run {run}, found {clock.number}")
        known.clocks.append(clock)
        self.unwritten.append(entries.clock(run, clock))

    def lose(
        self,
        run: StoredRun,
        numbers: Intervals,
        reason: Reason,
        kind: Class | None = None,
        times: tuple[int, int] | None = None,
    ) -> None:
        """Take note that records will never come. ``times``: monotonic, of the first and the last."""
        run.drop(numbers)
        run.last = max(run.last, numbers.pairs()[-1][1])
        self.unwritten += map(entries.lost, self.losses.add(run.run, numbers, reason, kind, times))

    def on_disk(self, record: Record) -> None:
        """Take note that an event is durable: if it tells a loss, that is told."""
        if isinstance(record, Event) and record.kind == "lost":
            loss = self.losses.told(record.body)
            if loss is not None:
                self.unwritten.append(entries.told(loss.run, loss.intervals, loss.reason))

    def forget_unused(self, with_files: Iterable[str]) -> None:
        """Forget runs of which nothing is held and no file is left, and schemas that no run has any more.

        Of this boot's runs the last one that had a clock stays: the next run begins with it.
        """
        untold = {loss.run for loss in self.losses.untold()}
        clocked = next((r.run for r in reversed(self._runs.values()) if r.boot == self.current.boot and r.clocks), "")
        keep = {self.current.run, clocked, *untold, *with_files}
        self._runs = {run.run: run for run in self._runs.values() if not run.empty or run.run in keep}
        used = {schema_id for run in self._runs.values() for schema_id in run.schemas}
        self._schemas = {schema_id: schema for schema_id, schema in self._schemas.items() if schema_id in used}

    # --- what the manifest has to say ---------------------------------------------------------------------------------

    def changes(self) -> list[Entry]:
        """Return the entries that the manifest does not have yet, releases last."""
        released = [entry for run in self._runs.values() for entry in entries.absent(run.run, run.unnoted)]
        return [*self.unwritten, *released]

    def everything(self, on_their_way: Intervals) -> list[Entry]:
        """Return all entries of a new manifest. Numbers of the current run on their way to the disk are not absent."""
        found = [entries.schema(schema) for schema in self._schemas.values()]
        for run in self._runs.values():
            found.append(entries.began(run.run, run.boot))
            if run is not self.current:
                found.append(entries.ended(run.run, run.last))
            found += [entries.uses(run.run, schema_id) for schema_id in sorted(run.schemas)]
            found += [entries.clock(run.run, clock) for clock in run.clocks]
            absent = run.absent()
            found += entries.absent(run.run, absent.minus(on_their_way) if run is self.current else absent)
        return found + [entries.lost(loss) for loss in self.losses.untold()]

    def written(self) -> None:
        """The manifest has it all now."""
        self.unwritten.clear()
        for run in self._runs.values():
            run.unnoted = Intervals()
