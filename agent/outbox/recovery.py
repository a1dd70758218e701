"""What an outbox finds at its start, in whatever state the last process left it.

Only names, event segments (few) and the last segment of a run that was not looked at before are read, so that a start
costs milliseconds with 64 full segments; everything else that is damaged shows when it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from agent.outbox import entries, manifest
from agent.outbox.disk import Disk, Entry, read_past_errors
from agent.outbox.entries import Contents, RunEntries
from agent.outbox.frames import CLASSES, Class
from agent.outbox.losses import Loss
from agent.outbox.runs import StoredRun
from agent.outbox.segment_file import Name
from agent.outbox.segment_store import SegmentStore
from telemetry.intervals import Intervals
from telemetry.records import Schema


class Found(msgspec.Struct):
    """What was found: runs, oldest first; schemas; losses not told yet; bytes that could not be read."""

    runs: dict[str, StoredRun] = msgspec.field(default_factory=dict)
    schemas: dict[str, Schema] = msgspec.field(default_factory=dict)
    losses: list[Loss] = msgspec.field(default_factory=list)
    skipped: int = 0


def recover(disk: Disk, directory: Path, store: SegmentStore) -> Found:
    """Return what is in the directory; its segments are put into ``store``. Raises OSError if that cannot be told now.

    Runs of which the manifest knows nothing come first, by the times of their files: they are the older ones.
    """
    listing = disk.list(directory)
    contents = _read_manifest(disk, directory, listing)
    files: dict[str, list[tuple[Name, Entry]]] = {}
    for entry in sorted(listing, key=lambda entry: entry.modified_ns):
        name = Name.parse(entry.name)
        if name is not None:
            files.setdefault(name.run, []).append((name, entry))
    found = Found(schemas=contents.schemas, losses=contents.losses, skipped=contents.skipped)
    strangers = [run for run in files if run not in contents.runs]
    for run in [*strangers, *contents.runs]:
        for name, entry in files.get(run, []):
            store.add(name, entry.size)
        found.runs[run] = _recover_run(store, run, contents.runs.get(run), found)
    return found


def _read_manifest(disk: Disk, directory: Path, listing: Iterable[Entry]) -> Contents:
    for entry in listing:
        if entry.name == manifest.FILE:
            return entries.read(read_past_errors(disk, directory / manifest.FILE, entry.size))
    return Contents()


def _recover_run(store: SegmentStore, run: str, noted: RunEntries | None, found: Found) -> StoredRun:
    """Return what is held of a run that is over."""
    first = 0
    if noted is None:  # what stood before its first file cannot be told, neither as held nor as lost
        noted = RunEntries()
        first = min(segment.name.first for kind in CLASSES for segment in store.of(kind, run))
    events, last_event = _look(store, "event", run, noted, found)
    _, last_sample = _look(store, "sample", run, noted, found)
    last_sample, last_event = _with_damaged_tail(store, run, noted, events, last_sample, last_event)
    absent_pairs = noted.absent.pairs()
    last = max(last_event, last_sample, noted.last if noted.last is not None else -1)
    last = max(last, absent_pairs[-1][1] if absent_pairs else -1)
    result = StoredRun(run, noted.boot, last, schemas=noted.schemas, clocks=noted.clocks)
    result.events = events.minus(noted.absent)
    if last >= first:
        result.samples = Intervals([(first, last)]).minus(noted.absent).minus(events)
    return result


def _look(store: SegmentStore, kind: Class, run: str, noted: RunEntries, found: Found) -> tuple[Intervals, int]:
    """Return the numbers read, and the highest that is known to have been used (-1: none) in this class.

    The last segment is cut to what it uses; one in which nothing was ever written is removed.
    """
    present = Intervals()
    if noted.last is None:
        while (segments := store.of(kind, run)) and store.index(segments[-1]).nothing:
            with suppress(OSError):
                store.remove(segments[-1])
                continue
            store.forget(segments[-1])
    segments = store.of(kind, run)
    last = max((segment.name.first for segment in segments), default=-1)
    for segment in segments:
        cut = noted.last is None and segment is segments[-1]
        if kind != "event" and not cut:
            continue
        index = store.index(segment)
        present.update(index.present)
        found.skipped += sum(gap.end - gap.offset for gap in index.gaps)
        if cut:
            with suppress(OSError):
                store.cut(segment, max([index.used, *(gap.end for gap in index.damaged)]))
    return present, max([last, *(pair[1] for pair in present.pairs()[-1:])])


def _with_damaged_tail(
    store: SegmentStore, run: str, noted: RunEntries, events: Intervals, last_sample: int, last_event: int
) -> tuple[int, int]:
    """Count in whole records that stand damaged behind the last good one: they were synced and published.

    Their numbers cannot be read; they are the next ones. A torn tail was never synced and does not count.
    """
    if noted.last is not None:
        return last_sample, last_event
    damaged = {kind: _damaged_tail(store, kind, run) for kind in CLASSES}
    if damaged["event"] and last_event > last_sample:  # else its number shows as a hole among the samples
        last_event += damaged["event"]
    for _ in range(damaged["sample"]):
        last_sample += 1
        while last_sample in events:
            last_sample += 1
    return last_sample, last_event


def _damaged_tail(store: SegmentStore, kind: Class, run: str) -> int:
    segments: Sequence[object] = store.of(kind, run)
    if not segments:
        return 0
    index = store.index(store.of(kind, run)[-1])
    return sum(gap.frames for gap in index.damaged if gap.offset >= index.used)
