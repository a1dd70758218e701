"""The collector's database judged again from its log: the same problems, tickets, events and notes, byte for byte."""

from __future__ import annotations

from typing import Any

import msgspec

from collector.core.contract import DEFAULT
from collector.core.rules.files import load_rules
from collector.replay import replay
from collector.site.in_force import InForce
from collector.site.memory import Memory
from collector.store import editions, journal, log
from collector.store.rows import SiteData
from collector.store.store import Store
from telemetry.fleet import Site
from telemetry.records import Schema
from tests.chaos.world import SITE, rows
from tests.unit.judged_again import rows_of

PAGE = 500
_TABLES = {
    "problem": "SELECT vehicle, key, fault, device, state, event_ms, ticket, content FROM problem",
    "ticket_event": "SELECT ticket, number, what, at_ms, recorded_ms, who, body FROM ticket_event",
    "state": "SELECT vehicle, state FROM vehicle",
}


def differences(database: str, site: str = SITE, in_force: InForce | None = None) -> list[tuple[str, Any]]:
    """Return what comes out otherwise when the whole log is judged again: (table, key).

    ``in_force``: what the site was judged by where no edition in the database says so.
    """
    store = Store.open(database)
    try:
        contents = editions.contents(store, site)
        in_force = in_force or InForce(site, Site(vehicles={}), load_rules(), (), DEFAULT)
        for kind, number in contents:
            if number == 1:
                in_force = in_force.edited(kind, number, contents[kind, number])
        schemas = {
            (vehicle, agent, id): msgspec.json.decode(content, type=Schema)
            for vehicle, agent, id, content in rows(database, "SELECT vehicle, agent, id, content FROM schema")
        }
        memory = Memory.of(in_force, SiteData({}, None, {}, schemas, {}, 0))
        commits, after = [], 0
        while batches := log.read(store, site, after, PAGE):
            commits += list(replay(memory, in_force, batches, contents))
            after = batches[-1].number
    finally:
        store.close()
    again = rows_of(commits)
    notes = [(note.vehicle, note.key, note.began_ms, note.ended_ms) for note in again["note"].values()]
    stored_notes = rows(database, "SELECT vehicle, key, began_ms, ended_ms FROM closed_note ORDER BY id")
    found: list[tuple[str, Any]] = [] if notes == [tuple(row) for row in stored_notes] else [("closed_note", "")]
    for table, query in _TABLES.items():
        width = 1 if table == "state" else 2
        stored: dict[Any, Any] = {}
        for row in rows(database, query):
            plain = tuple(bytes(one) if isinstance(one, memoryview) else one for one in row)
            stored[plain[0] if width == 1 else plain[:width]] = plain[-1] if width == 1 else plain
        if table == "state":
            for (content,) in rows(database, "SELECT content FROM journal ORDER BY revision"):
                stored.update(journal.decode(bytes(content))[0])
        judged = {key: row for key, row in again[table].items() if key != ""}
        found += [(table, key) for key in stored.keys() | judged.keys() if stored.get(key) != judged.get(key)]
    return found
