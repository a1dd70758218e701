"""The entries of the manifest: what each says, and what they say together. Pure.

An entry is a JSON array whose first item names it; ``agent.outbox.manifest`` keeps them in a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from agent.outbox import frames
from agent.outbox.frames import Gap
from agent.outbox.losses import Loss
from telemetry.intervals import Intervals
from telemetry.records import Clock, Schema

PAIRS_PER_ENTRY: Final = 256

Entry = tuple[Any, ...]


class RunEntries(msgspec.Struct):
    """What is known of a run."""

    boot: str = ""
    last: int | None = None
    """Its highest number, known once the run is over and was looked at."""
    absent: Intervals = msgspec.field(default_factory=Intervals)
    """Numbers released or lost."""
    schemas: set[str] = msgspec.field(default_factory=set)
    clocks: list[Clock] = msgspec.field(default_factory=list)


class Contents(msgspec.Struct):
    """Everything that the manifest says."""

    runs: dict[str, RunEntries] = msgspec.field(default_factory=dict)
    """In the order of their start."""
    schemas: dict[str, Schema] = msgspec.field(default_factory=dict)
    losses: list[Loss] = msgspec.field(default_factory=list)
    skipped: int = 0
    """Bytes that could not be read."""

    def run(self, run: str) -> RunEntries:
        """Return a run's entries, making them if need be."""
        return self.runs.setdefault(run, RunEntries())


def began(run: str, boot: str) -> Entry:
    """Return the entry: a run began in this boot."""
    return "run", run, boot


def ended(run: str, last: int) -> Entry:
    """Return the entry: the run is over and this was its last number."""
    return "end", run, last


def schema(content: Schema) -> Entry:
    """Return the entry: a schema."""
    return "schema", content


def uses(run: str, schema_id: str) -> Entry:
    """Return the entry: records of the run have this schema."""
    return "uses", run, schema_id


def clock(run: str, content: Clock) -> Entry:
    """Return the entry: a clock of the run."""
    return "clock", run, content


def absent(run: str, numbers: Intervals) -> Iterator[Entry]:
    """Yield entries: these numbers are held no more."""
    pairs = numbers.pairs()
    for at in range(0, len(pairs), PAIRS_PER_ENTRY):
        yield "gone", run, pairs[at : at + PAIRS_PER_ENTRY]


def lost(loss: Loss) -> Entry:
    """Return the entry: these are lost, and it is not told yet."""
    return "lost", loss


def told(run: str, intervals: Iterable[tuple[int, int]], reason: str) -> Entry:
    """Return the entry: the event that tells this loss is on disk."""
    return "told", run, tuple(intervals), reason


def read(data: bytes) -> Contents:
    """Return what a manifest says. What cannot be read is skipped and counted."""
    contents = Contents()
    for part in frames.scan(data):
        if isinstance(part, Gap):
            contents.skipped += part.end - part.offset if not part.torn else 0
            continue
        try:
            _take(contents, msgspec.json.decode(part.payload))
        except (msgspec.DecodeError, msgspec.ValidationError, ValueError, TypeError, LookupError):
            contents.skipped += part.end - part.offset
    return contents


def _take(contents: Contents, entry: list[Any]) -> None:
    match entry:
        case ["run", str(run), str(boot)]:
            contents.run(run).boot = boot
        case ["end", str(run), int(last)]:
            contents.run(run).last = last
        case ["schema", content]:
            made = msgspec.convert(content, Schema)
            contents.schemas[made.id()] = made
        case ["uses", str(run), str(schema_id)]:
            contents.run(run).schemas.add(schema_id)
        case ["clock", str(run), content]:
            contents.run(run).clocks.append(msgspec.convert(content, Clock))
        case ["gone", str(run), list(pairs)]:
            contents.run(run).absent.update(Intervals(pairs))
        case ["lost", content]:
            loss = msgspec.convert(content, Loss)
            contents.run(loss.run).absent.update(Intervals(loss.intervals))
            contents.losses.append(loss)
        case ["told", str(run), list(pairs), str(reason)]:
            contents.losses = list(_untold(contents.losses, run, Intervals(pairs), reason))
        case _:
            raise ValueError(f"expected an entry of the manifest, found {entry!r:.80}")


def _untold(losses: Iterable[Loss], run: str, numbers: Intervals, reason: str) -> Iterator[Loss]:
    for loss in losses:
        if (loss.run, loss.reason) != (run, reason):
            yield loss
            continue
        rest = Intervals(loss.intervals).minus(numbers)
        if rest:
            yield msgspec.structs.replace(loss, intervals=tuple(rest.pairs()))
