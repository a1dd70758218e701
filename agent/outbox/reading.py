"""Reading records back: from the segments, and from memory what is not on disk yet."""

from __future__ import annotations

from agent.outbox.frames import CLASSES
from agent.outbox.runs import StoredRun, StoredRuns
from agent.outbox.segment_store import SegmentStore
from agent.outbox.write_queue import WriteQueue
from telemetry.intervals import Intervals
from telemetry.records import Record


def read(
    runs: StoredRuns, segments: SegmentStore, queue: WriteQueue, run: StoredRun, wanted: Intervals, limit: int
) -> list[Record]:
    """Return up to ``limit`` records of a run that are wanted and held, ascending.

    What is held by name and can be read nowhere is lost from then on. Raises OSError where the disk cannot tell now.
    """
    rest = run.held().intersection(wanted)
    result: list[Record] = []
    while rest and len(result) < limit:
        part = _within_one_segment(segments, run.run, rest)
        found, looked_at = _read_part(runs, segments, queue, run, part, limit - len(result))
        result += found
        rest.remove_range(0, looked_at)
    return result


def _within_one_segment(segments: SegmentStore, run: str, numbers: Intervals) -> Intervals:
    """Return the lowest of the numbers, as far as one segment of each class is responsible."""
    first, last = numbers.pairs()[0][0], numbers.pairs()[-1][1]
    for kind in CLASSES:
        end = segments.next_first(kind, run, first)
        last = last if end is None else min(last, end - 1)
    return numbers.intersection(Intervals([(first, last)]))


def _read_part(
    runs: StoredRuns, segments: SegmentStore, queue: WriteQueue, run: StoredRun, part: Intervals, limit: int
) -> tuple[list[Record], int]:
    """Return up to ``limit`` records of a part and the number up to which it is done with."""
    first = part.pairs()[0][0]
    covering = [segments.covering(kind, run.run, first) for kind in CLASSES]
    there = Intervals()
    in_memory: dict[int, Record] = {}
    damaged = False
    for segment in covering:
        if segment is not None:
            index = segments.index(segment)
            there.update(index.present.intersection(part))
            damaged = damaged or bool(index.damaged)
    if run is runs.current:
        for kind in CLASSES:
            in_memory |= {entry.sequence: entry.record(kind) for entry in queue.all(kind) if entry.sequence in part}
    there.update(Intervals((number, number) for number in in_memory))
    chosen = there.head(limit)
    if len(chosen) == limit:
        part = part.intersection(Intervals([(first, chosen.pairs()[-1][1])]))
    found = {number: record for number, record in in_memory.items() if number in chosen}
    for segment in covering:
        if segment is not None:
            found |= {record.sequence: record for record in segments.records(segment, chosen)}
    missing = part.minus(Intervals((number, number) for number in found))
    if missing:
        runs.lose(run, missing, "damaged" if damaged else "missing")
    return [found[number] for number in sorted(found)], part.pairs()[-1][1]
