"""What has changed since: by the numbers of the sites' commits, never by comparing a fleet. Blocking.

A commit writes its number (``revision``) to the rows that pages show. Who has seen all up to a number asks for the rows
above it: that costs what has changed, whatever the size of the fleet, and misses nothing, however long ago it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Engine, select

from collector.read.rows import fetch
from collector.store import schema

MOST: Final = 500
"""Most changed rows of one kind that are named; beyond that everything is to be read anew."""
Revisions = Mapping[str, int]
"""By site: the number of a commit."""


@dataclass(slots=True)
class Changed:
    """What is to be asked for again, as (site, id)."""

    vehicles: set[tuple[str, str]] = field(default_factory=set)
    tickets: set[tuple[str, str]] = field(default_factory=set)
    everything: bool = False
    """Too much to be named."""


def revisions(engine: Engine) -> dict[str, int]:
    """Return the number of each site's last commit."""
    s = schema.site.c
    return {row.site: row.revision for row in fetch(engine, select(s.site, s.revision))}


def changed(engine: Engine, since: Revisions, now: Revisions) -> Changed:
    """Return what the commits after ``since`` have changed, of those sites that have gone on ``now``."""
    v, t = schema.vehicle_summary.c, schema.ticket.c
    found = Changed()
    for site, number in now.items():
        before = since.get(site, 0)
        if number == before:
            continue
        vehicles = select(v.vehicle).where(v.site == site, v.revision > before).limit(MOST + 1)
        tickets = select(t.id, t.vehicle).where(t.site == site, t.revision > before).limit(MOST + 1)
        found.vehicles.update((site, row.vehicle) for row in fetch(engine, vehicles))
        for row in fetch(engine, tickets):
            found.tickets.add((site, row.id))
            if row.vehicle:
                found.vehicles.add((site, row.vehicle))
    if max(len(found.vehicles), len(found.tickets)) > MOST:
        return Changed(everything=True)
    return found
