"""The real collector with one sabotage built in, each at a forced point and once.

``python -m tests.chaos.collector_process SABOTAGE MARKER --config FILE``. The file MARKER is made when the sabotage has
happened. None of this is in the product: its methods are wrapped here, from outside.

``killed_before_commit``, ``killed_after_commit``: no sabotage but the two moments at which a ``kill -9`` hurts most;
nothing may come of them. ``receipts_before_commit``: remembers, acknowledges and receipts first, and is killed before
it commits. ``forgets_seen``: after a commit, what was seen in it is forgotten, so that it is taken again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from collector.site import ownership as site
from collector.site import unit_of_work
from collector.site.session import Session
from collector.store.batch import Group
from collector.store.rows import Changes

LATE_ENOUGH = 3
"""In the batch with this number or a later one that holds records: by then schemas and clocks are known."""


class Point:
    """The forced point: it is reached once."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def reached(self, changes: Changes) -> bool:
        """Say whether this is the commit at which it happens."""
        batch = changes.batch
        return batch is not None and batch.records > 0 and batch.number >= LATE_ENOUGH and not self._marker.exists()

    def happened(self) -> None:
        """Note it."""
        self._marker.touch()

    def die(self) -> None:
        """``kill -9`` of ourselves."""
        self.happened()
        os.kill(os.getpid(), signal.SIGKILL)


Commit = Callable[[site.Ownership, Changes, Sequence[Any]], Awaitable[None]]


def killed_before_commit(point: Point) -> None:
    really: Commit = site.Ownership._commit

    async def commit(self: site.Ownership, changes: Changes, of_it: Sequence[Any]) -> None:
        if point.reached(changes):
            point.die()
        await really(self, changes, of_it)

    site.Ownership._commit = commit  # type: ignore[method-assign]


def killed_after_commit(point: Point) -> None:
    really: Commit = site.Ownership._commit

    async def commit(self: site.Ownership, changes: Changes, of_it: Sequence[Any]) -> None:
        await really(self, changes, of_it)
        if point.reached(changes):
            point.die()

    site.Ownership._commit = commit  # type: ignore[method-assign]


def receipts_before_commit(point: Point) -> None:
    really_commit: Commit = site.Ownership._commit
    really_speak = Session.speak
    really_wait = site.Ownership._wait
    held: list[Changes] = []

    async def commit(self: site.Ownership, changes: Changes, of_it: Sequence[Any]) -> None:
        if point.reached(changes):
            held.append(changes)  # later
        else:
            await really_commit(self, changes, of_it)

    def speak(self: Session) -> None:
        if held:
            self.receipts.repeat()  # at once, not only when the interval is over
        really_speak(self)

    async def wait(self: site.Ownership, unit: Any, until: float) -> None:
        if held:
            await asyncio.sleep(1)  # the receipts are on their way
            point.die()
        await really_wait(self, unit, until)

    site.Ownership._commit = commit  # type: ignore[method-assign]
    Session.speak = speak  # type: ignore[method-assign]
    site.Ownership._wait = wait  # type: ignore[method-assign]


def forgets_seen(point: Point) -> None:
    really_changes = unit_of_work.UnitOfWork.changes
    really_keep = unit_of_work.UnitOfWork.keep
    last: list[Changes | None] = [None]

    def changes(self: unit_of_work.UnitOfWork) -> Changes | None:
        last[0] = really_changes(self)
        return last[0]

    def keep(self: unit_of_work.UnitOfWork) -> None:
        really_keep(self)
        if last[0] is None or not point.reached(last[0]):
            return
        for group in (entry for entry in self._entries if isinstance(entry, Group)):
            seen = self._memory.runs[(group.vehicle, group.agent, group.run)].row.seen
            for first, last_one in group.pairs:
                seen.remove_range(first, last_one)
        point.happened()

    unit_of_work.UnitOfWork.changes = changes  # type: ignore[method-assign]
    unit_of_work.UnitOfWork.keep = keep  # type: ignore[method-assign]


SABOTAGES: dict[str, Callable[[Point], None]] = {
    made.__name__: made for made in (killed_before_commit, killed_after_commit, receipts_before_commit, forgets_seen)
}

if __name__ == "__main__":
    from kitwatch.main import main

    SABOTAGES[sys.argv[1]](Point(Path(sys.argv[2])))
    sys.exit(main(["collector", *sys.argv[3:]]))
