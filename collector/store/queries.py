"""What waits for a site's owner or a sink: quarantine, dead letters, what people want. Blocking: call from a thread.

Every function takes ``store.engine`` (or a connection of ``store.transaction()`` where it writes). Lists are newest
first. What pages show is asked in ``collector/read/``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, get_args

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Row,
    Select,
    Table,
    delete,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from collector.core.vehicle.key_figures import KeyFigure
from collector.store import schema
from collector.store.counters import count
from collector.store.errors import StoreError
from collector.store.rows import Action, Quarantined
from collector.store.statements import NOW_MS, SQLITE_NOW_MS
from collector.store.store import Store
from collector.store.summary_rows import read_details

LetterKind = Literal["quarantine", "dead_letter"]
LETTER_KINDS: Final[tuple[LetterKind, ...]] = get_args(LetterKind)
"""Quarantine: what the intake refused. Dead letters: what the other side of a sink refused."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """What a sink could not deliver: the number of its batch, the content (a line), the other side's words."""

    id: int
    site: str
    sink: str
    batch: int
    content: str
    reason: str
    at_ms: int
    state: str


_pairs = msgspec.json.Decoder(list[tuple[int, int]])


def unattended_ms(store: Store, site: str) -> int:
    """Return for how long nobody has owned a site, by the database's clock; 0 for one that never had an owner.

    Raises StoreError where the database cannot be asked.
    """
    s = schema.site.c
    now = literal_column(NOW_MS if store.engine.dialect.name == "postgresql" else SQLITE_NOW_MS, BigInteger)
    try:
        with store.engine.connect() as connection:
            found = connection.scalar(select(now - s.heartbeat_ms).where(s.site == site))
    except SQLAlchemyError as error:
        raise StoreError(f"{store}: {error}") from error
    return max(0, found or 0)


def figures(engine: Engine, site: str) -> dict[str, list[KeyFigure]]:
    """Return the key figures in the summaries of a site's vehicles; none of a summary that cannot be read."""
    v = schema.vehicle_summary.c
    found: dict[str, list[KeyFigure]] = {}
    with engine.connect() as connection:
        for row in connection.execute(select(v.vehicle, v.details).where(v.site == site)):
            with contextlib.suppress(ValueError, RecursionError):
                found[row.vehicle] = read_details(row.details).figures
    return found


# --- quarantine and dead letters --------------------------------------------------------------------------------------


def list_quarantine(
    engine: Engine, *, site: str | None = None, state: str | None = None, limit: int = 200
) -> list[Quarantined]:
    """Return what the intake refused; the owner takes those with ``state="retry"`` again (``Changes.released``)."""
    q = schema.quarantine
    query = _where(select(q).order_by(q.c.id.desc()).limit(limit), q, site=site, state=state)
    return [
        Quarantined(
            id=row.id,
            site=row.site,
            vehicle=row.vehicle,
            agent=row.agent,
            run=row.run,
            pairs=_names_of(row.pairs),
            kind=row.kind,
            reason=row.reason,
            payload=bytes(row.payload),
            at_ms=row.at_ms,
            state=row.state,
        )
        for row in _rows(engine, query)
    ]


def _names_of(pairs: str) -> list[tuple[int, int]]:
    """Return the names of a row's records; none where they cannot be read: the row is shown all the same."""
    try:
        return _pairs.decode(pairs)
    except ValueError:
        return []


def quarantine_bytes(engine: Engine, site: str) -> dict[str, int]:
    """Return how much is kept of each vehicle's that could not be taken."""
    q = schema.quarantine.c
    query = select(q.vehicle, func.sum(func.length(q.payload)).label("size")).where(q.site == site).group_by(q.vehicle)
    return {row.vehicle: int(row.size) for row in _rows(engine, query)}


def list_dead_letters(
    engine: Engine,
    *,
    site: str | None = None,
    sink: str | None = None,
    state: str | None = None,
    limit: int = 200,
) -> list[DeadLetter]:
    """Return what the other side of a sink refused; the sink sends those with ``state="retry"`` again."""
    d = schema.dead_letter
    query = _where(select(d).order_by(d.c.id.desc()).limit(limit), d, site=site, sink=sink, state=state)
    return [DeadLetter(**row._mapping) for row in _rows(engine, query)]


def retry_letters(connection: Connection, kind: LetterKind, ids: Sequence[int] | None, site: str | None = None) -> int:
    """Mark rows to be tried again (all of them where ``ids`` is ``None``); return how many."""
    table = _table(kind)
    return connection.execute(_letters(update(table), table, ids, site).values(state="retry")).rowcount


def drop_letters(connection: Connection, kind: LetterKind, ids: Sequence[int] | None, site: str | None = None) -> int:
    """Delete rows for good (all of them where ``ids`` is ``None``); return how many. Each site counts its own."""
    table = _table(kind)
    found = _letters(select(table.c.site, func.count()).group_by(table.c.site), table, ids, site)
    dropped = {row[0]: row[1] for row in connection.execute(found)}
    connection.execute(_letters(delete(table), table, ids, site))
    for name, number in dropped.items():
        count(connection, name, f"dropped.{kind}", number)
    return sum(dropped.values())


def _table(kind: LetterKind) -> Table:
    return schema.quarantine if kind == "quarantine" else schema.dead_letter


def _letters(statement: Any, table: Table, ids: Sequence[int] | None, site: str | None) -> Any:
    if ids is not None:
        statement = statement.where(table.c.id.in_(ids))
    return statement if site is None else statement.where(table.c.site == site)


# --- actions ----------------------------------------------------------------------------------------------------------


def add_action(
    connection: Connection,
    *,
    site: str,
    vehicle: str,
    kind: str,
    body: str,
    who: str,
    created_ms: int,
    key: str = "",
) -> int:
    """Keep what somebody wants of a vehicle for the site's owner, whichever collector that is; return the id.

    ``key``: by which another system knows it. Raises IntegrityError for one that is there.
    """
    row = {"site": site, "vehicle": vehicle, "kind": kind, "body": body, "who": who, "created_ms": created_ms}
    row["key"] = key
    added = connection.execute(schema.action.insert(), row).inserted_primary_key
    assert added is not None
    return int(added[0])


def action(engine: Engine, id: int) -> Action | None:
    """Return an action, ``None`` if there is none of this id."""
    found = _rows(engine, select(schema.action).where(schema.action.c.id == id))
    return Action(**found[0]._mapping) if found else None


ActionStatus = Literal["waiting", "taken", "refused"]


def list_actions(
    engine: Engine,
    narrow: Callable[[Select[Any], Column[str], Column[str]], Select[Any]],
    *,
    site: str | None = None,
    vehicle: str | None = None,
    ticket: str | None = None,
    status: ActionStatus | None = None,
    from_ms: int | None = None,
    until_ms: int | None = None,
    before: int | None = None,
    limit: int = 200,
) -> list[Action]:
    """Return actions, the newest first; ``narrow``: to those that somebody may see, by site and vehicle.

    ``from_ms`` <= when it was wanted < ``until_ms``; ``before``: the last one of the page before.
    """
    a = schema.action
    query = narrow(select(a).order_by(a.c.id.desc()).limit(limit), a.c.site, a.c.vehicle)
    if status is not None:
        is_done = a.c.error == "" if status == "taken" else a.c.error != ""
        query = query.where(a.c.taken_ms.is_(None) if status == "waiting" else a.c.taken_ms.is_not(None) & is_done)
    if from_ms is not None:
        query = query.where(a.c.created_ms >= from_ms)
    if until_ms is not None:
        query = query.where(a.c.created_ms < until_ms)
    if before is not None:
        query = query.where(a.c.id < before)
    return [
        Action(**row._mapping) for row in _rows(engine, _where(query, a, site=site, vehicle=vehicle, ticket=ticket))
    ]


def action_of_key(engine: Engine, key: str) -> Action | None:
    """Return the action that another system knows by this key, ``None`` if there is none."""
    found = _rows(engine, select(schema.action).where(schema.action.c.key == key, schema.action.c.key != ""))
    return Action(**found[0]._mapping) if found else None


def count_waiting_actions(engine: Engine, site: str, vehicle: str) -> int:
    """Return how much people want of a vehicle that the site's owner has not taken yet."""
    a = schema.action.c
    query = select(func.count()).where(a.site == site, a.vehicle == vehicle, a.taken_ms.is_(None))
    with engine.connect() as connection:
        return connection.scalar(query) or 0


def waiting_actions(engine: Engine, site: str, limit: int = 100) -> list[Action]:
    """Return what the site's owner has not taken yet, the oldest first."""
    a = schema.action
    query = select(a).where(a.c.site == site, a.c.taken_ms.is_(None)).order_by(a.c.id).limit(limit)
    return [Action(**row._mapping) for row in _rows(engine, query)]


def history_of(engine: Engine, site: str, ticket: str) -> tuple[tuple[int, str, int, int, str, str], ...]:
    """Return the rows of what happened to a ticket, in order: number, what, at_ms, recorded_ms, who, body."""
    e = schema.ticket_event.c
    query = select(e.number, e.what, e.at_ms, e.recorded_ms, e.who, e.body)
    return tuple(
        tuple(row) for row in _rows(engine, query.where(e.site == site, e.ticket == ticket).order_by(e.number))
    )


# --- rows -------------------------------------------------------------------------------------------------------------


def _where(query: Select[Any], table: Table, **equal: Any) -> Select[Any]:
    for name, value in equal.items():
        if value is not None:
            query = query.where(table.c[name] == value)
    return query


def _rows(engine: Engine, query: Select[Any]) -> Sequence[Row[Any]]:
    with engine.connect() as connection:
        return connection.execute(query).all()
