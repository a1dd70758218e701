"""The clocks of open tickets, as lists show them. Blocking: call from a thread.

A clock is a function of a ticket's events, the contract and the calendar (docs/architecture.md): it is worked out when
somebody looks, and remembered until the ticket or the contract is another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Engine, select

from collector.core.clocks import Clock
from collector.core.contract import Contract
from collector.core.tickets.fold import fold
from collector.core.tickets.promises import clocks_of
from collector.read.rows import fetch
from collector.read.tickets import TicketRow
from collector.store import schema
from collector.store.ticket_rows import read_event

Key = tuple[str, str]
"""(site, ticket)."""
MOST: Final = 20_000
"""Tickets whose clocks are remembered."""
_AT_ONCE: Final = 500


class TicketClocks:
    """The clocks of tickets, remembered."""

    def __init__(self) -> None:
        self._known: OrderedDict[Key, tuple[int, Contract, tuple[Clock, ...]]] = OrderedDict()

    def of(
        self, engine: Engine, rows: Sequence[TicketRow], contracts: Mapping[str, Contract]
    ) -> dict[Key, tuple[Clock, ...]]:
        """Return the clocks of these tickets; none for one whose events cannot be read."""
        known = self._known
        wanted = {(row.site, row.id): row for row in rows}
        for key, row in wanted.items():
            found = known.get(key)
            if found is not None and (found[0] != row.changed_ms or found[1] is not contracts[row.site]):
                del known[key]
        missing = [key for key in wanted if key not in known]
        for begin in range(0, len(missing), _AT_ONCE):
            part = missing[begin : begin + _AT_ONCE]
            for key, clocks in _worked_out(engine, part, contracts).items():
                known[key] = (wanted[key].changed_ms, contracts[key[0]], clocks)
        answer = {key: known[key][2] for key in wanted}
        while len(known) > MOST:
            known.popitem(last=False)
        return answer


def next_due(clocks: Sequence[Clock]) -> Clock | None:
    """Return the clock that runs out next, or has run out, and is not ended; ``None``: none runs."""
    running = [clock for clock in clocks if clock.ended_ms is None and clock.void_ms is None]
    return min(running, key=lambda clock: (clock.due_ms is None, clock.due_ms or 0), default=None)


def _worked_out(engine: Engine, keys: Sequence[Key], contracts: Mapping[str, Contract]) -> dict[Key, tuple[Clock, ...]]:
    e = schema.ticket_event.c
    columns = (e.site, e.ticket, e.number, e.what, e.at_ms, e.recorded_ms, e.who, e.body)
    sites, ids = {site for site, _ in keys}, {id for _, id in keys}
    query = select(*columns).where(e.site.in_(sites), e.ticket.in_(ids)).order_by(e.site, e.ticket, e.number)
    events: dict[Key, list[tuple[object, ...]]] = {key: [] for key in keys}
    for row in fetch(engine, query):
        if (row.site, row.ticket) in events:
            events[row.site, row.ticket].append(tuple(row)[2:])
    found: dict[Key, tuple[Clock, ...]] = {}
    for key, rows in events.items():
        try:
            read = [read_event(*row) for row in rows]  # type: ignore[arg-type]
            found[key] = clocks_of(fold(*key, read), read, contracts[key[0]])
        except Exception:  # a damaged event costs the ticket its clocks here; its own page says why
            found[key] = ()
    return found
