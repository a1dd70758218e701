"""What has changed since: by the numbers of the sites' commits, never by comparing a fleet. Blocking.

A commit writes its number (``revision``) to the rows that pages show. Who has seen all up to a number asks for the rows
above it: that costs what has changed, whatever the size of the fleet, and misses nothing, however long ago it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import Column, ColumnElement, Engine, Select, and_, or_, select

from collector.read.rows import fetch
from collector.read.view import EVERYTHING, View
from collector.store import schema

MOST: Final = 500
"""Most changed rows of one kind that are named; beyond that everything is to be read anew."""
Revisions = Mapping[str, int]
"""By site: the number of a commit."""


class Changed(msgspec.Struct):
    """What is to be asked for again, as (site, id)."""

    vehicles: set[tuple[str, str]] = msgspec.field(default_factory=set)
    tickets: set[tuple[str, str]] = msgspec.field(default_factory=set)
    reset: bool = False
    """It cannot be named: everything is to be read anew."""


def revisions(engine: Engine) -> dict[str, int]:
    """Return the number of each site's last commit."""
    s = schema.site.c
    return {row.site: row.revision for row in fetch(engine, select(s.site, s.revision))}


def changed_after(since: Revisions, site: Column[str], revision: Column[int]) -> ColumnElement[bool]:
    """Return the condition for rows that commits after ``since`` have written; all of a site that is not in it."""
    later = [and_(site == name, revision > number) for name, number in since.items()]
    return or_(site.not_in(list(since)), *later)


def changed(engine: Engine, since: Revisions, now: Revisions, view: View = EVERYTHING) -> Changed:
    """Return what of a view the commits after ``since`` have changed, of those sites that have gone on ``now``.

    Nothing can be named where a site has gone back: its database was restored, and what was seen since then is not.
    """
    v, t = schema.vehicle_summary.c, schema.ticket.c
    found = Changed()
    for site, number in now.items():
        before = since.get(site, 0)
        if number == before:
            continue
        if number < before:
            return Changed(reset=True)
        vehicles: Select[Any] = select(v.vehicle).where(v.site == site, v.revision > before).limit(MOST + 1)
        tickets = select(t.id, t.vehicle).where(t.site == site, t.revision > before).limit(MOST + 1)
        vehicles = view.narrow(vehicles, v.site, v.vehicle)
        found.vehicles.update((site, row.vehicle) for row in fetch(engine, vehicles))
        for row in fetch(engine, view.narrow(tickets, t.site, t.vehicle)):
            found.tickets.add((site, row.id))
            if row.vehicle:
                found.vehicles.add((site, row.vehicle))
    if max(len(found.vehicles), len(found.tickets)) > MOST:
        return Changed(reset=True)
    return found
