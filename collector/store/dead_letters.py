"""Keeping what the other side of a sink refused, within bounds (docs/retention.md)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, delete, func, select

from collector.store import schema
from collector.store.counters import count

logger = logging.getLogger(__name__)

MOST_LETTERS: Final = 10_000
MOST_BYTES: Final = 64 * 2**20
"""Of one sink of one site; beyond either the oldest go, counted."""


Letter = tuple[int, str, str, str]
"""(batch, lines, the other side's words, ``held`` or ``retry``)."""


def add(connection: Connection, site: str, sink: str, letters: Sequence[Letter], at_ms: int) -> None:
    """Keep letters, within ``store.transaction()``. Counts them (``dead_letters``) and what goes for them."""
    if not letters:
        return
    table = schema.dead_letter
    rows = [
        {"site": site, "sink": sink, "batch": batch, "content": _clean(content), "reason": _clean(reason)}
        | {"state": state, "at_ms": at_ms}
        for batch, content, reason, state in letters
    ]
    connection.execute(table.insert(), rows)
    if kept := sum(1 for *_, state in letters if state == "held"):
        count(connection, site, "dead_letters", kept)
    here = (table.c.site == site) & (table.c.sink == sink)
    newest = table.c.id.desc()
    sized = (
        select(
            table.c.id,
            func.row_number().over(order_by=newest).label("number"),
            func.sum(func.length(table.c.content)).over(order_by=newest).label("bytes"),
        )
        .where(here)
        .subquery()
    )
    beyond = select(func.max(sized.c.id)).where((sized.c.number > MOST_LETTERS) | (sized.c.bytes > MOST_BYTES))
    last = connection.scalar(beyond)
    if last is not None:
        gone = connection.execute(delete(table).where(here, table.c.id <= last)).rowcount
        count(connection, site, "dead_letters_given_up", gone)
        logger.error("site %s: %d dead letters of %s are given up: there are too many", site, gone, sink)


def _clean(text: str) -> str:
    """PostgreSQL's text holds no NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
