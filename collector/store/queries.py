"""What pages, API and commands read, and the few things that people may change. Blocking: call from a thread.

Every function takes ``store.engine`` (or a connection of ``store.transaction()`` where it writes) and gives facts as
types of ``collector.core`` or as rows of this module. Lists are newest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

import msgspec
from sqlalchemy import Connection, Engine, Row, Select, Table, delete, func, select, update

from collector.core.problems import ClosedNote
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.fold import fold
from collector.core.tickets.ticket import Ticket
from collector.core.tickets.transitions import OPEN, State
from collector.core.vehicle.state import InventoryEntry
from collector.store import schema
from collector.store.errors import SeveralTickets
from collector.store.rows import Action, Quarantined
from collector.store.ticket_rows import read_event
from telemetry.faults import Severity, SlaClass

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


class TicketRow(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket as lists show it: the columns of its projection. Times are UTC milliseconds, see ``Ticket``."""

    site: str
    id: str
    vehicle: str
    device: str
    fault: str
    severity: Severity
    sla_class: SlaClass
    state: State
    live: bool
    round: int
    event_ms: int
    detected_ms: int
    opened_ms: int
    notice_ms: int
    over_event_ms: int | None
    resolved_ms: int | None
    closed_ms: int | None
    closed_by: str
    changed_ms: int
    assigned: str
    recurring: bool
    in_contract: bool
    waiting_reason: str
    waiting_until_ms: int | None
    silenced_until_ms: int | None
    merged_into: str

    @property
    def is_open(self) -> bool:
        """Whether somebody owes something."""
        return self.state in OPEN


class SiteRow(msgspec.Struct, frozen=True, kw_only=True):
    """Who owns a site, since when nothing was heard of it (UTC ms of the database's clock), how long its log is."""

    site: str
    epoch: int
    owner: str
    heartbeat_ms: int
    last_batch: int


_pairs = msgspec.json.Decoder(list[tuple[int, int]])
_identity = msgspec.json.Decoder(dict[str, str | None])


def list_tickets(
    engine: Engine,
    *,
    site: str | None = None,
    state: State | Literal["open"] | None = None,
    vehicle: str | None = None,
    limit: int = 200,
) -> list[TicketRow]:
    """Return tickets, the last opened first; ``open`` is every state in which somebody owes something."""
    t = schema.ticket
    query = select(*(t.c[name] for name in TicketRow.__struct_fields__))
    query = query.order_by(t.c.opened_ms.desc(), t.c.site, t.c.id).limit(limit)
    if state == "open":
        query = query.where(t.c.live, t.c.state.in_(OPEN))
    elif state is not None:
        query = query.where(t.c.state == state)
    query = _where(query, t, site=site, vehicle=vehicle)
    return [TicketRow(**row._mapping) for row in _rows(engine, query)]


def ticket(engine: Engine, id: str, site: str | None = None) -> tuple[Ticket, list[TicketEvent]] | None:
    """Return a ticket with all that happened to it, in order; ``None``: there is none.

    Numbers count per site: raises SeveralTickets where the same one stands in several sites and ``site`` names none.
    """
    e = schema.ticket_event
    columns = (e.c.site, e.c.number, e.c.what, e.c.at_ms, e.c.recorded_ms, e.c.who, e.c.body)
    rows = _rows(engine, _where(select(*columns).order_by(e.c.site, e.c.number), e, site=site, ticket=id))
    sites = sorted({row.site for row in rows})
    if len(sites) > 1:
        raise SeveralTickets(id, sites)
    events = [read_event(row.number, row.what, row.at_ms, row.recorded_ms, row.who, row.body) for row in rows]
    return (fold(sites[0], id, events), events) if events else None


def list_notes(
    engine: Engine, *, site: str | None = None, vehicle: str | None = None, limit: int = 200
) -> list[ClosedNote]:
    """Return faults that were over before we heard of them, the last noted first."""
    n = schema.closed_note
    query = _where(select(n).order_by(n.c.id.desc()).limit(limit), n, site=site, vehicle=vehicle)
    names = ClosedNote.__struct_fields__
    return [ClosedNote(**{name: getattr(row, name) for name in names}) for row in _rows(engine, query)]


def list_inventory(engine: Engine, *, site: str | None = None, vehicle: str | None = None) -> list[InventoryEntry]:
    """Return who each device says it is now: the last entry of each, by vehicle and device."""
    i = schema.inventory
    query = _where(select(i).order_by(i.c.vehicle, i.c.device, i.c.seen_ms), i, site=site, vehicle=vehicle)
    newest = {(row.site, row.vehicle, row.device): row for row in _rows(engine, query)}
    return [
        InventoryEntry(
            site=row.site,
            vehicle=row.vehicle,
            device=row.device,
            seen_ms=row.seen_ms,
            identity=_identity.decode(row.identity),
        )
        for row in newest.values()
    ]


def vehicle_states(engine: Engine, site: str | None = None) -> dict[tuple[str, str], bytes]:
    """Return {(site, vehicle): state as JSON}, as committed."""
    v = schema.vehicle
    query = _where(select(v).order_by(v.c.site, v.c.vehicle), v, site=site)
    return {(row.site, row.vehicle): bytes(row.state) for row in _rows(engine, query)}


def count_open_tickets(engine: Engine) -> list[tuple[str, str, str, int]]:
    """Return (site, fault, class, number) of the open tickets."""
    t = schema.ticket.c
    query = select(t.site, t.fault, t.sla_class, func.count()).where(t.live, t.state.in_(OPEN))
    return [tuple(row) for row in _rows(engine, query.group_by(t.site, t.fault, t.sla_class))]


def list_sites(engine: Engine) -> list[SiteRow]:
    """Return the sites that ever had an owner, by name."""
    s = schema.site
    columns = (s.c.site, s.c.epoch, s.c.owner, s.c.heartbeat_ms, s.c.last_batch)
    return [SiteRow(**row._mapping) for row in _rows(engine, select(*columns).order_by(s.c.site))]


def counters(engine: Engine, site: str | None = None) -> dict[tuple[str, str], int]:
    """Return {(site, name): how often}."""
    c = schema.counter
    query = _where(select(c).order_by(c.c.site, c.c.name), c, site=site)
    return {(row.site, row.name): row.value for row in _rows(engine, query)}


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
            pairs=_pairs.decode(row.pairs),
            kind=row.kind,
            reason=row.reason,
            payload=bytes(row.payload),
            at_ms=row.at_ms,
            state=row.state,
        )
        for row in _rows(engine, query)
    ]


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
    """Delete rows for good (all of them where ``ids`` is ``None``); return how many."""
    table = _table(kind)
    return connection.execute(_letters(delete(table), table, ids, site)).rowcount


def _table(kind: LetterKind) -> Table:
    return schema.quarantine if kind == "quarantine" else schema.dead_letter


def _letters(statement: Any, table: Table, ids: Sequence[int] | None, site: str | None) -> Any:
    if ids is not None:
        statement = statement.where(table.c.id.in_(ids))
    return statement if site is None else statement.where(table.c.site == site)


# --- actions ----------------------------------------------------------------------------------------------------------


def add_action(
    connection: Connection, *, site: str, vehicle: str, kind: str, body: str, who: str, created_ms: int
) -> int:
    """Keep what a person wants of a vehicle for the site's owner, whichever collector that is; return the id."""
    row = {"site": site, "vehicle": vehicle, "kind": kind, "body": body, "who": who, "created_ms": created_ms}
    added = connection.execute(schema.action.insert(), row).inserted_primary_key
    assert added is not None
    return int(added[0])


def action(engine: Engine, id: int) -> Action | None:
    """Return an action, ``None`` if there is none of this id."""
    found = _rows(engine, select(schema.action).where(schema.action.c.id == id))
    return Action(**found[0]._mapping) if found else None


def waiting_actions(engine: Engine, site: str, limit: int = 100) -> list[Action]:
    """Return what the site's owner has not taken yet, the oldest first."""
    a = schema.action
    query = select(a).where(a.c.site == site, a.c.taken_ms.is_(None)).order_by(a.c.id).limit(limit)
    return [Action(**row._mapping) for row in _rows(engine, query)]


# --- rows -------------------------------------------------------------------------------------------------------------


def _where(query: Select[Any], table: Table, **equal: Any) -> Select[Any]:
    for name, value in equal.items():
        if value is not None:
            query = query.where(table.c[name] == value)
    return query


def _rows(engine: Engine, query: Select[Any]) -> Sequence[Row[Any]]:
    with engine.connect() as connection:
        return connection.execute(query).all()
