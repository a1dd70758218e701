"""Tickets, and faults that were over before we heard of them. Blocking: call from a thread."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
from sqlalchemy import Engine, Select, func, select, text, tuple_

from collector.core.problems import ClosedNote
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.fold import fold
from collector.core.tickets.ticket import Ticket
from collector.core.tickets.transitions import OPEN, State
from collector.read.changes import Revisions, changed_after
from collector.read.rows import fetch, where
from collector.read.view import EVERYTHING, View
from collector.store import schema
from collector.store.errors import SeveralTickets
from collector.store.ticket_rows import read_event
from telemetry.faults import Severity, SlaClass

StateFilter = State | Literal["open", "ended"]
"""``open``: somebody owes something; ``ended``: nobody does any more."""
Order = Literal["opened", "changed"]
PAGE: Final = 1_000
_IS_LIVE: Final = text("ticket.live")
"""As the partial indexes have it: SQLAlchemy would write ``live = 1`` for SQLite, for which no index is used."""
_SITES: Final = select(schema.site.c.site).scalar_subquery()
"""Keys begin with a site: to ask for an id in all of them is to ask for it in each."""


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


class After(NamedTuple):
    """Where a page of tickets begins: behind this ticket. ``at_ms`` is what the list is ordered by."""

    at_ms: int
    site: str
    id: str

    @classmethod
    def of(cls, ticket: TicketRow, order: Order = "opened") -> After:
        """Return the place of a ticket in a list of that order."""
        return cls(ticket.opened_ms if order == "opened" else ticket.changed_ms, ticket.site, ticket.id)


def list_tickets(
    engine: Engine,
    *,
    site: str | None = None,
    state: StateFilter | None = None,
    vehicle: str | None = None,
    device: str | None = None,
    fault: str | None = None,
    sla_class: SlaClass | None = None,
    assigned: str | None = None,
    ids: Collection[str] | None = None,
    since: Revisions | None = None,
    from_ms: int | None = None,
    until_ms: int | None = None,
    order: Order = "opened",
    after: After | None = None,
    limit: int = 200,
    view: View = EVERYTHING,
) -> list[TicketRow]:
    """Return a page of a view's tickets, the last opened (or changed) first; ``after`` ended the page before.

    ``from_ms`` <= when it was opened (or changed) < ``until_ms``; ``since``: what later commits have changed.
    """
    t = schema.ticket.c
    at_ms = t.opened_ms if order == "opened" else t.changed_ms
    place = tuple_(at_ms, t.site, t.id)
    query = _rows().order_by(*(one.desc() for one in place.clauses)).limit(limit)
    if state == "open":
        query = query.where(_IS_LIVE, t.state.in_(OPEN))
    elif state == "ended":
        query = query.where(t.state.not_in(OPEN))
    elif state is not None:
        query = query.where(t.state == state)
    if ids is not None:
        query = query.where(t.id.in_(ids), t.site.in_(_SITES))
    if after is not None:
        query = query.where(place < tuple_(*after))
    if since is not None:
        query = query.where(changed_after(since, t.site, t.revision))
    if from_ms is not None:
        query = query.where(at_ms >= from_ms)
    if until_ms is not None:
        query = query.where(at_ms < until_ms)
    query = where(
        view.narrow(query, t.site, t.vehicle), schema.ticket, site=site, vehicle=vehicle, device=device, fault=fault,
        sla_class=sla_class, assigned=assigned,
    )  # fmt: skip
    return _found(engine, query)


def all_tickets(engine: Engine) -> Iterator[TicketRow]:
    """Yield every ticket, the last opened first, page by page."""
    page = list_tickets(engine, limit=PAGE)
    while page:
        yield from page
        page = list_tickets(engine, limit=PAGE, after=After.of(page[-1]))


def open_tickets_of(engine: Engine, vehicles: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[TicketRow]]:
    """Return the open tickets of these (site, vehicle), each list the last opened first."""
    t, wanted = schema.ticket.c, set(vehicles)
    found: dict[tuple[str, str], list[TicketRow]] = {}
    if wanted:
        sites, names = {site for site, _ in wanted}, {name for _, name in wanted}
        # by columns and sorted here: for pairs, or in an order, SQLite would rather walk all live tickets
        query = _rows().where(_IS_LIVE, t.state.in_(OPEN), t.site.in_(sites), t.vehicle.in_(names))
        for row in sorted(_found(engine, query), key=lambda row: (row.opened_ms, row.site, row.id), reverse=True):
            if (row.site, row.vehicle) in wanted:
                found.setdefault((row.site, row.vehicle), []).append(row)
    return found


def events_of(
    engine: Engine, id: str, site: str | None = None, view: View = EVERYTHING
) -> tuple[str, list[tuple[Any, ...]]] | None:
    """Return a ticket's site and the rows of what happened to it, in order; ``None``: there is none in the view.

    A row is (number, what, at_ms, recorded_ms, who, body). Numbers count per site: raises SeveralTickets where the same
    one stands in several sites and ``site`` names none.
    """
    e = schema.ticket_event
    columns = (e.c.site, e.c.number, e.c.what, e.c.at_ms, e.c.recorded_ms, e.c.who, e.c.body)
    query = select(*columns).where(e.c.site.in_(_SITES)).order_by(e.c.site, e.c.number)
    rows = fetch(engine, where(view.narrow(query, e.c.site), e, site=site, ticket=id))
    sites = sorted({row.site for row in rows})
    if len(sites) > 1:
        raise SeveralTickets(id, sites)
    if rows and view.vehicles is not None and not list_tickets(engine, site=sites[0], ids=[id], view=view):
        return None
    return (sites[0], [tuple(row)[1:] for row in rows]) if rows else None


def ticket(engine: Engine, id: str, site: str | None = None) -> tuple[Ticket, list[TicketEvent]] | None:
    """Return a ticket with all that happened to it, in order; ``None``: there is none.

    Raises SeveralTickets as ``events_of``, ValueError for an event that this version does not know.
    """
    found = events_of(engine, id, site)
    if found is None:
        return None
    events = [read_event(*row) for row in found[1]]
    return fold(found[0], id, events), events


def list_notes(
    engine: Engine, *, site: str | None = None, vehicle: str | None = None, limit: int = 200
) -> list[ClosedNote]:
    """Return faults that were over before we heard of them, the last noted first."""
    n = schema.closed_note
    query = where(select(n).order_by(n.c.id.desc()).limit(limit), n, site=site, vehicle=vehicle)
    names = ClosedNote.__struct_fields__
    return [ClosedNote(**{name: getattr(row, name) for name in names}) for row in fetch(engine, query)]


def count_open_tickets(engine: Engine) -> list[tuple[str, str, str, int]]:
    """Return (site, fault, class, number) of the open tickets."""
    t = schema.ticket.c
    query = select(t.site, t.fault, t.sla_class, func.count()).where(_IS_LIVE, t.state.in_(OPEN))
    return [tuple(row) for row in fetch(engine, query.group_by(t.site, t.fault, t.sla_class))]


def _rows() -> Select[Any]:
    return select(*(schema.ticket.c[name] for name in TicketRow.__struct_fields__))


def _found(engine: Engine, query: Select[Any]) -> list[TicketRow]:
    return [TicketRow(**row._mapping) for row in fetch(engine, query)]
