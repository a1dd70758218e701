"""The commit as SQL, made from the tables: text and parameters, no connection.

On PostgreSQL a commit is one statement: the update of the site's row in its epoch, and every insert as a data-modifying
CTE that joins with that update, so that a lost epoch writes nothing. One statement is one round trip and one
transaction; nothing is ever left open. Rows come as one JSON array a table, which costs the client a sixth of one
array a column (0.4 and 2.2 µs a row of ten columns) and the server no more; tables with bytes take arrays.
On SQLite, a library in our own process, the same writes are prepared inserts between ``BEGIN IMMEDIATE`` and
``COMMIT``.
"""

from __future__ import annotations

import functools
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import BigInteger, Boolean, LargeBinary, Table, Text

from collector.store import schema
from collector.store.rows import Changes, RunRow, To
from collector.store.summary_rows import summary_row
from collector.store.ticket_rows import event_row, latest, link_rows, problem_rows, ticket_row, tracked_row
from telemetry.intervals import Intervals

Row = tuple[Any, ...]
There = Literal["replace", "update", "keep", "add", "never"]


class Write(msgspec.Struct, frozen=True, eq=False):
    """How rows of one table are written: their columns after ``site``, and what happens where the key is there.

    ``update`` puts the new columns into the old row. ``replace`` does the same by SQLite's ``REPLACE``, at half the
    cost for a table without rowid, and only right where no second unique index may find another row in the way.
    """

    table: Table
    columns: tuple[str, ...]
    there: There

    @property
    def binary(self) -> bool:
        """Whether the rows hold bytes, which JSON does not."""
        return any(isinstance(self.table.c[name].type, LargeBinary) for name in self.columns)


class Delete(msgspec.Struct, frozen=True, eq=False):
    """Rows of one table that go: those with these values in these columns and the site's; all of its without any."""

    table: Table
    columns: tuple[str, ...]


class Update(msgspec.Struct, frozen=True, eq=False):
    """Rows of one table that are there: the one with this ``id`` (and the site's) gets new values in ``columns``."""

    table: Table
    columns: tuple[str, ...]


def _write(table: Table, there: There, *without: str) -> Write:
    return Write(table, tuple(c.name for c in table.columns if c.name not in ("site", *without)), there)


_BATCH: Final = _write(schema.batch, "never")
_JOURNAL: Final = _write(schema.journal, "never")
_RUN: Final = _write(schema.run, "replace")
_SCHEMA: Final = _write(schema.schema, "keep")
_CLOCK: Final = _write(schema.clock, "keep")
_RUN_SCHEMA: Final = _write(schema.run_schema, "update")
_VEHICLE: Final = _write(schema.vehicle, "update")
_SUMMARY: Final = _write(schema.vehicle_summary, "update")
_PROBLEM: Final = _write(schema.problem, "update")
_TICKET: Final = _write(schema.ticket, "update")
_TICKET_EVENT: Final = _write(schema.ticket_event, "never")
_TICKET_PROBLEM: Final = _write(schema.ticket_problem, "update")
_TICKET_LINK: Final = _write(schema.ticket_link, "keep")
_NOTE: Final = _write(schema.closed_note, "never", "id")
_INVENTORY: Final = _write(schema.inventory, "update")
_QUARANTINE: Final = _write(schema.quarantine, "never", "id", "state")
_NOTIFICATION: Final = _write(schema.notification, "keep", "id")
_DELIVERY: Final = Write(
    schema.delivery, ("notification", "receiver", "channel", "of_roster", "address", "wait_ms", "next_ms"), "keep"
)
_COUNTER: Final = _write(schema.counter, "add")
_EDITION: Final = _write(schema.edition, "never")
_SNAPSHOT: Final = _write(schema.snapshot, "keep")

_ACTION: Final = Update(schema.action, ("taken_ms", "error", "ticket"))

_RELEASED: Final = Delete(schema.quarantine, ("id",))
_DROPPED_SCHEMA: Final = Delete(schema.schema, ("vehicle", "agent", "id"))
_DROPPED_PROBLEM: Final = Delete(schema.problem, ("vehicle", "key"))
_CHECKPOINT: Final = Delete(schema.journal, ())


Part = Write | Update | Delete


def parts(changes: Changes, revision: int) -> list[tuple[Part, list[Row]]]:
    """Return all that a commit does beside the site's own row, in the order in which it is done.

    ``revision`` is the number of the commit. Raises ValueError or OverflowError for what no column can hold.
    """
    return [*writes(changes, revision), *updates(changes), *deletes(changes)]


def writes(changes: Changes, revision: int) -> list[tuple[Write, list[Row]]]:
    """Return what is to be inserted, tables in a fixed order; tables without rows are left out.

    A row stands once a key, the last one given: PostgreSQL refuses to touch a row twice in one statement.
    """
    batch = changes.batch
    tickets = latest(changes.recorded)
    found: list[tuple[Write, list[Row]]] = [
        (_BATCH, [(batch.number, batch.received_ms, batch.now_ms, batch.records, batch.content)] if batch else []),
        (_JOURNAL, [(revision, changes.journal)] if changes.journal else []),
        (_RUN, list({(r.vehicle, r.agent, r.run): _run(r) for r in changes.runs}.values())),
        (_SCHEMA, [(*key, _json(content)) for key, content in changes.schemas.items()]),
        (
            _CLOCK,
            [
                (*key, number, c.mono_ms, c.wall_ms, c.source, c.uncertainty_ms)
                for key, clocks in changes.clocks.items()
                for number, c in clocks.items()
            ],
        ),
        (_RUN_SCHEMA, [(*key, _json(names)) for key, names in changes.schema_names.items()]),
        (_VEHICLE, list(changes.vehicles.items())),
        (_SUMMARY, [(name, *summary_row(one, revision)) for name, one in changes.summaries.items()]),
        (_PROBLEM, list({one.problem.ref: tracked_row(one) for one in changes.problems}.values())),
        (_TICKET, [(*ticket_row(one), revision) for one in tickets]),
        (_TICKET_EVENT, [event_row(one.ticket.id, one.event) for one in changes.recorded]),
        (_TICKET_PROBLEM, problem_rows(tickets)),
        (_TICKET_LINK, link_rows(tickets)),
        (
            _NOTE,
            [
                (n.vehicle, n.device, n.key, n.fault, n.rule, n.rule_version, n.began_ms, n.ended_ms, n.noted_ms)
                for n in changes.notes
            ],
        ),
        (
            _INVENTORY,
            list(
                {
                    (i.vehicle, i.device, i.seen_ms): (i.vehicle, i.device, i.seen_ms, _json(i.identity))
                    for i in changes.inventory
                }.values()
            ),
        ),
        (
            _QUARANTINE,
            [
                (q.vehicle, q.agent, q.run, _json(q.pairs), q.kind, _clean(q.reason), q.payload, q.at_ms)
                for q in changes.quarantine
            ],
        ),
        (
            _NOTIFICATION,
            list({n.key: (n.key, n.ticket, _clean(n.body), n.created_ms) for n in changes.notifications}.values()),
        ),
        (
            _DELIVERY,
            [
                (key, *to, created_ms + to.wait_ms)
                for key, (receivers, created_ms) in {
                    n.key: (n.receivers, n.created_ms) for n in changes.notifications
                }.items()
                for to in dict.fromkeys(To(*one) for one in receivers)
            ],
        ),
        (_COUNTER, list(changes.counters.items())),
        (_EDITION, [(e.kind, e.number, e.at_ms, e.digest, e.content) for e in changes.editions]),
        (_SNAPSHOT, [(s.number, s.at_ms, s.content) for s in [changes.snapshot] if s is not None]),
    ]
    return [(write, rows) for write, rows in found if rows]


def updates(changes: Changes) -> list[tuple[Update, list[Row]]]:
    """Return what is to be changed in rows that others have made; a row is its id and the new values."""
    rows: list[Row] = [(one.id, one.taken_ms, _clean(one.error), one.ticket) for one in changes.actions_taken]
    return [(_ACTION, rows)] if rows else []


def deletes(changes: Changes) -> list[tuple[Delete, list[Row]]]:
    """Return what is to be deleted; tables that lose nothing are left out."""
    found: list[tuple[Delete, list[Row]]] = [
        (_RELEASED, [(id,) for id in changes.released]),
        (_DROPPED_SCHEMA, [(one.vehicle, one.agent, one.name) for one in changes.dropped if one.table == "schema"]),
        (_DROPPED_PROBLEM, [(one.vehicle, one.name) for one in changes.dropped if one.table == "problem"]),
        (_CHECKPOINT, [()] if changes.checkpoint else []),
    ]
    return [(delete, rows) for delete, rows in found if rows]


def _run(r: RunRow) -> Row:
    return (
        r.vehicle,
        r.agent,
        r.run,
        r.boot,
        _pairs(r.seen),
        _pairs(r.lost),
        r.no_clock,
        r.first_ms,
        r.last_ms,
        r.heard_ms,
    )


_encode = msgspec.json.Encoder().encode


def _json(value: object) -> str:
    return _encode(value).decode()


def _pairs(numbers: Intervals) -> str:
    return _json(numbers.pairs()) if numbers else "[]"


def _clean(text: str) -> str:
    """PostgreSQL's text holds no NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


# --- PostgreSQL -------------------------------------------------------------------------------------------------------

NOW_MS: Final = "(extract(epoch FROM clock_timestamp()) * 1000)::int8"
"""The server's clock: the same for every collector."""


@functools.lru_cache(maxsize=256)
def postgres(parts: tuple[Part, ...]) -> str:
    """Return the one statement of a commit. It gives one row: 1, or 0 where the epoch has ended.

    Parameters: number of the batch or NULL, site's state or NULL, site, epoch; those of ``postgres_parameters`` for
    each part.
    """
    ctes = [
        f"owner AS (UPDATE site SET heartbeat_ms = {NOW_MS}, committed_ms = {NOW_MS}, revision = revision + 1,"
        " last_batch = coalesce(%b::int8, last_batch),"
        " state = coalesce(%b::bytea, state) WHERE site = %b::text AND epoch = %b::int8 RETURNING site)"
    ]
    ctes += [_postgres_part(part) for part in parts]
    return f"WITH {', '.join(ctes)} SELECT count(*) FROM owner"


def _postgres_part(part: Part) -> str:
    if isinstance(part, Write):
        return _postgres_insert(part)
    return _postgres_update(part) if isinstance(part, Update) else _postgres_delete(part)


def _postgres_update(part: Update) -> str:
    name = part.table.name
    values = ", ".join(
        f"{column} = (given->>{at})::{_postgres_type(part.table, column)}"
        for at, column in enumerate(part.columns, start=1)
    )
    return (
        f"set_{name} AS (UPDATE {name} SET {values} FROM owner, jsonb_array_elements(%t::jsonb) AS given"
        f" WHERE {name}.site = owner.site AND {name}.id = (given->>0)::int8)"
    )


def _postgres_insert(part: Write) -> str:
    types = [_postgres_type(part.table, name) for name in part.columns]
    columns = ", ".join(part.columns)
    if part is _BATCH:
        rows = f"{', '.join(f'%b::{type}' for type in types)} FROM owner"
    elif part.binary:
        rows = f"given.* FROM owner, unnest({', '.join(f'%b::{type}[]' for type in types)}) AS given"
    else:
        fields = ", ".join(f"(given->>{at})::{type}" for at, type in enumerate(types))
        rows = f"{fields} FROM owner, jsonb_array_elements(%t::jsonb) AS given"
    name = part.table.name
    return f"put_{name} AS (INSERT INTO {name} (site, {columns}) SELECT owner.site, {rows}{_conflict(part)})"


def _postgres_delete(part: Delete) -> str:
    name = part.table.name
    same = "".join(
        f" AND {name}.{column} = (given->>{at})::{_postgres_type(part.table, column)}"
        for at, column in enumerate(part.columns)
    )
    return (
        f"drop_{name} AS (DELETE FROM {name} USING owner, jsonb_array_elements(%t::jsonb) AS given"
        f" WHERE {name}.site = owner.site{same})"
    )


def postgres_parameters(part: Part, rows: list[Row]) -> list[Any]:
    """Return the parameters of one part. Raises ValueError or OverflowError for what no column can hold."""
    if part is _BATCH:
        return list(rows[0])
    if isinstance(part, Write) and part.binary:
        return [list(column) for column in zip(*rows, strict=True)]
    return [_json(rows)]


def _postgres_type(table: Table, column: str) -> str:
    match table.c[column].type:
        case Boolean():
            return "bool"
        case LargeBinary():
            return "bytea"
        case BigInteger():
            return "int8"
        case Text():
            return "text"
        case other:
            raise TypeError(f"{table.name}.{column}: expected a type with a known array, found {other!r}")


# --- SQLite -----------------------------------------------------------------------------------------------------------

SQLITE_NOW_MS: Final = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
SQLITE_OWNER: Final = (
    f"UPDATE site SET heartbeat_ms = {SQLITE_NOW_MS}, committed_ms = {SQLITE_NOW_MS}, revision = revision + 1,"
    " last_batch = coalesce(?, last_batch), state = coalesce(?, state) WHERE site = ? AND epoch = ?"
)
"""Parameters as the first four of the PostgreSQL statement; it changes no row where the epoch has ended."""


@functools.lru_cache(maxsize=64)
def sqlite(part: Part) -> str:
    """Return the statement for one row; its parameters are the site and the row."""
    if isinstance(part, Update):
        values = ", ".join(f"{name} = ?{at}" for at, name in enumerate(part.columns, start=3))
        return f"UPDATE {part.table.name} SET {values} WHERE site = ?1 AND id = ?2"
    if isinstance(part, Delete):
        return f"DELETE FROM {part.table.name} WHERE site = ?{''.join(f' AND {name} = ?' for name in part.columns)}"
    columns = ", ".join(part.columns)
    marks = ", ".join("?" for _ in range(1 + len(part.columns)))
    verb, conflict = ("REPLACE", "") if part.there == "replace" else ("INSERT", _conflict(part))
    return f"{verb} INTO {part.table.name} (site, {columns}) VALUES ({marks}){conflict}"


def _conflict(part: Write) -> str:
    """Return the clause for a key that is there; the syntax is common to both databases."""
    key = [column.name for column in part.table.primary_key]
    if part.there == "never":
        return ""
    if part.there == "keep":
        return " ON CONFLICT DO NOTHING"  # the key may be another than the primary one
    rest = [name for name in part.columns if name not in key]
    old = f"{part.table.name}." if part.there == "add" else ""
    changes = (f"{name} = {old}{name} + excluded.{name}" if old else f"{name} = excluded.{name}" for name in rest)
    return f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join(changes)}"
