"""Judging all of it again: from a state and the log to the same problems and tickets, byte for byte. Pure.

The log holds every event that judging was given, with the ``now`` of each unit of work and what it went by. Nothing
else decides, so whoever steps it again comes to the same end, and what another edition of the rules would have made of
the same days shows as a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from collector.core.vehicle.events import Listening
from collector.site.in_force import InForce
from collector.site.memory import Memory
from collector.site.unit_of_work import UnitOfWork
from collector.store.batch import Batch, BatchError, EditionTaken
from collector.store.rows import Changes


def replay(
    memory: Memory, in_force: InForce, batches: Iterable[Batch], contents: Mapping[tuple[str, int], bytes]
) -> Iterator[Changes]:
    """Yield what each batch had changed, in order. ``memory`` is what was known after its last batch; it goes on.

    ``batches`` may begin before that: with what the forks of vehicles that have a hole are to be stepped through.

    ``contents`` are the editions by (kind, number). Raises whatever judging raises, EditionError for one that this
    version cannot go by, KeyError for one that is not there, BatchError for a batch that cannot be read.
    """
    for batch in batches:
        if batch.problem:
            raise BatchError(f"batch {batch.number}: {batch.problem}")
        if batch.number <= memory.last_batch:
            memory.remember(batch)
            continue
        memory.have_remembered()
        memory.last_batch = batch.number - 1
        listening = Listening(batch.heading.listening_since_ms, batch.heading.reconnect_ms)
        memory.quotas = msgspec.structs.replace(memory.quotas, problems=batch.heading.most_problems)
        work = UnitOfWork(memory, in_force, listening, batch.now_ms)
        before = in_force
        for entry in batch.entries:
            if isinstance(entry, EditionTaken):
                in_force = in_force.edited(entry.kind, entry.number, contents[entry.kind, entry.number])
            else:
                work.replay(entry)
        if work.faults:
            raise work.faults[0]
        changes = work.changes()
        work.keep()
        if changes is not None:
            yield changes
        if any(isinstance(entry, EditionTaken) for entry in batch.entries):
            memory.go_by(in_force, before)
