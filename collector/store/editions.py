"""Editions of what judging goes by, as the database has them."""

from __future__ import annotations

from sqlalchemy import func, select

from collector.store import schema
from collector.store.store import Store


def latest(store: Store, site: str) -> dict[str, tuple[int, str, bytes]]:
    """Return (number, digest, content) of the edition in force, by kind."""
    t = schema.edition.c
    newest = select(t.kind, func.max(t.number).label("number")).where(t.site == site).group_by(t.kind).subquery()
    query = select(t.kind, t.number, t.digest, t.content).where(
        t.site == site, t.kind == newest.c.kind, t.number == newest.c.number
    )
    with store.engine.connect() as connection:
        return {row.kind: (row.number, row.digest, bytes(row.content)) for row in connection.execute(query)}


def latest_of(store: Store, site: str, kind: str, at_ms: int | None = None) -> bytes | None:
    """Return the content of the edition of a kind that is in force, ``None`` where there is none.

    ``at_ms``: that was in force then (UTC ms); for a time before all of them the first one.
    """
    t = schema.edition.c
    query = select(t.content).where(t.site == site, t.kind == kind)
    queries = [query.order_by(t.number.desc())]
    if at_ms is not None:
        queries = [queries[0].where(t.at_ms <= at_ms), query.order_by(t.number)]
    with store.engine.connect() as connection:
        found = (connection.execute(one.limit(1)).scalar() for one in queries)
        content = next((one for one in found if one is not None), None)
    return None if content is None else bytes(content)


def contents(store: Store, site: str) -> dict[tuple[str, int], bytes]:
    """Return every edition by (kind, number)."""
    t = schema.edition.c
    query = select(t.kind, t.number, t.content).where(t.site == site)
    with store.engine.connect() as connection:
        return {(row.kind, row.number): bytes(row.content) for row in connection.execute(query)}
