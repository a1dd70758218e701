"""The log of what was committed, read by cursors (docs/architecture.md, "One transaction, then a log")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, select

from collector.store import schema
from collector.store.batch import Batch, BatchError, Heading, check
from collector.store.counters import count, insert_of
from collector.store.store import Store

_READ = (
    select(*(schema.batch.c[name] for name in ("number", "received_ms", "now_ms", "records", "content")))
    .where(schema.batch.c.site == bindparam("site"), schema.batch.c.number > bindparam("after"))
    .order_by(schema.batch.c.number)
    .limit(bindparam("limit"))
)


def read(store: Store, site: str, after: int, limit: int, *, sealed: bool = False) -> list[Batch]:
    """Return up to ``limit`` batches that follow number ``after``, in order. ``sealed``: not decoded
    (``Batch.content``).

    A number that is missing between them was given up beyond the log's bound (``trim``). One whose content cannot be
    read says so (``problem``): it costs nobody the others.
    """
    with store.engine.connect() as connection:
        rows = connection.execute(_READ, {"site": site, "after": after, "limit": limit}).all()
    found = [
        Batch(site, row.number, row.received_ms, row.now_ms, Heading(), [], "", row.content, row.records)
        for row in rows
    ]
    return [_sealed(one) if sealed else _opened(one) for one in found]


def _sealed(found: Batch) -> Batch:
    try:
        check(found.content)
    except BatchError as error:
        return _unread(found, error)
    return found


def _opened(found: Batch) -> Batch:
    try:
        return found.opened()
    except BatchError as error:
        return _unread(found, error)


def _unread(found: Batch, error: BatchError) -> Batch:
    return msgspec.structs.replace(found, content=b"", problem=str(error) or "unreadable")


def position(store: Store, site: str, sink: str) -> int:
    """Return the last batch that a sink has dealt with; 0 before the first."""
    cursor = schema.cursor
    with store.engine.connect() as connection:
        found = connection.scalar(select(cursor.c.number).where(cursor.c.site == site, cursor.c.sink == sink))
    return found or 0


def last(store: Store, site: str) -> int:
    """Return the number of the newest batch; 0 before the first."""
    with store.engine.connect() as connection:
        return connection.scalar(select(schema.site.c.last_batch).where(schema.site.c.site == site)) or 0


def advance(connection: Connection, site: str, sink: str, number: int) -> None:
    """Move a sink's cursor on, within the caller's ``store.transaction()``: with what the sink itself writes.

    A cursor never goes back: a sink that was paused and comes back after another took over changes nothing.
    """
    statement = insert_of(connection)(schema.cursor).values(site=site, sink=sink, number=number)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["site", "sink"],
            set_={"number": statement.excluded.number},
            where=schema.cursor.c.number < statement.excluded.number,
        )
    )


def waiting(store: Store, site: str, sink: str) -> tuple[int, int | None]:
    """Return how many batches a sink has before it, and when the oldest of them came in (UTC ms)."""
    b = schema.batch.c
    after = position(store, site, sink)
    with store.engine.connect() as connection:
        last = connection.scalar(select(func.max(b.number)).where(b.site == site)) or 0
        next = select(b.number, b.received_ms).where(b.site == site, b.number > after).order_by(b.number).limit(1)
        row = connection.execute(next).one_or_none()
    return (0, None) if row is None else (last - row.number + 1, row.received_ms)


class Trimmed(NamedTuple):
    """What ``trim`` deleted: how many batches every sink had passed, and the numbers given up before that, if any."""

    passed: int
    given_up: tuple[int, int] | None


def trim(
    connection: Connection, site: str, sinks: Sequence[str], *, oldest_ms: int, most_bytes: int, limit: int = 1000
) -> Trimmed:
    """Delete the batches beyond the bound, within ``store.transaction()``.

    The log stays for judging again, though every one of ``sinks`` has passed it: until it came in before ``oldest_ms``
    (UTC ms), or the batches after it fill ``most_bytes``. What is given up unread is counted (``log_given_up``) and
    returned to be reported; the sink finds its gap by the numbers. At most ``limit`` of each, so that no commit waits
    for long: call it again.
    """
    batch = schema.batch
    here = batch.c.site == site
    cursors = dict(
        connection.execute(
            select(schema.cursor.c.sink, schema.cursor.c.number).where(schema.cursor.c.site == site)
        ).all()
    )
    slowest = min((cursors.get(sink, 0) for sink in sinks), default=0)
    after = func.sum(func.length(batch.c.content)).over(order_by=batch.c.number.desc())
    sized = select(batch.c.number, batch.c.received_ms, after.label("bytes")).where(here).subquery()
    bound = connection.scalar(
        select(func.max(sized.c.number)).where((sized.c.received_ms < oldest_ms) | (sized.c.bytes > most_bytes))
    )
    first = connection.scalar(select(func.min(batch.c.number)).where(here)) or 0
    bound = bound or 0
    passed = connection.execute(
        delete(batch).where(here, batch.c.number <= min(slowest, bound, first + limit - 1))
    ).rowcount
    connection.execute(delete(schema.snapshot).where(schema.snapshot.c.site == site, schema.snapshot.c.number < bound))
    first = max(first, slowest + 1)
    last = min(bound, first + limit - 1)
    lost = connection.execute(delete(batch).where(here, batch.c.number.between(first, last))).rowcount
    if not lost:
        return Trimmed(passed, None)
    count(connection, site, "log_given_up", lost)
    return Trimmed(passed, (first, last))
