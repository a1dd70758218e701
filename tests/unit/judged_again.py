"""Judging a site's commits again, and what of it must come out the same, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from collector.replay import replay
from collector.site.in_force import InForce
from collector.site.memory import Memory
from collector.store import snapshot
from collector.store.batch import Batch, decode
from collector.store.rows import Changes, SiteData
from collector.store.ticket_rows import event_row, ticket_row, tracked_row

Rows = dict[str, dict[Any, Any]]


def rows_of(commits: Sequence[Changes]) -> Rows:
    """Return problems, tickets, their events and closed notes as the database would hold them after these commits."""
    found: Rows = {"problem": {}, "ticket": {}, "ticket_event": {}, "note": {}, "state": {}}
    for changes in commits:
        for tracked in changes.problems:
            row = tracked_row(tracked)
            found["problem"][row[:2]] = row
        for recorded in changes.recorded:
            found["ticket"][recorded.ticket.id] = ticket_row(recorded.ticket)
            event = event_row(recorded.ticket.id, recorded.event)
            assert found["ticket_event"].setdefault(event[:2], event) == event
        for note in changes.notes:
            found["note"][len(found["note"])] = note
        found["state"].update(changes.vehicles)
        if changes.site_state is not None:
            found["state"][""] = changes.site_state
    return found


def batches_of(site: str, commits: Sequence[Changes]) -> list[Batch]:
    """Return the log that these commits have written."""
    rows = [changes.batch for changes in commits if changes.batch is not None]
    return [Batch(site, row.number, row.received_ms, row.now_ms, *decode(row.content)) for row in rows]


def judged_again(in_force: InForce, commits: Sequence[Changes]) -> Rows:
    """Return the same rows as ``rows_of``, from nothing but the log."""
    data = SiteData({}, None, {}, _schemas(commits), {}, 0)
    return rows_of(
        list(replay(Memory.of(in_force, data), in_force, batches_of(in_force.site_id, commits), _contents(commits)))
    )


def judged_again_from_snapshots(in_force: InForce, commits: Sequence[Changes]) -> list[tuple[int, Rows, Rows]]:
    """Return, for each snapshot: its batch, what came after, and the same from it and the rest of the log."""
    found = []
    for at, changes in enumerate(commits):
        if changes.snapshot is None:
            continue
        data, editions = snapshot.decode(changes.snapshot.content)
        data.schemas = _schemas(commits)
        data.last_batch = changes.snapshot.number
        then = in_force
        for kind, number in editions.items():
            then = then.edited(kind, number, _contents(commits)[kind, number])
        rest = commits[at:]
        again = list(replay(Memory.of(then, data), then, batches_of(in_force.site_id, rest), _contents(commits)))
        found.append((changes.snapshot.number, rows_of(rest), rows_of(again)))
    return found


def _schemas(commits: Sequence[Changes]) -> dict[Any, Any]:
    return {key: schema for changes in commits for key, schema in changes.schemas.items()}


def _contents(commits: Sequence[Changes]) -> dict[tuple[str, int], bytes]:
    return {(row.kind, row.number): row.content for changes in commits for row in changes.editions}
