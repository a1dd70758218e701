"""The audit log: everything that changed something, in order, each entry with the hash of the one before.

An entry is written in the transaction that changes what it tells of. The database refuses to change or delete one
(triggers, revision 0016); whoever drops these and changes one breaks the chain. Only somebody who rewrites every entry
from there on is not seen by that: therefore note the newest hash elsewhere now and then (``kitwatch audit verify``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Connection, Engine, select, text

from collector.store import schema

Via = Literal["session", "token", "socket", "command", "signature"]
"""How it was asked for: a session of the pages, a token of the API, the socket of this machine, a command on the
database, a signed message of another system."""
FIRST: Final = "0" * 64
"""What the first entry has for the hash of the one before."""
_LOCK: Final = 0x6B69746175646974
"""Advisory lock under which entries are written one after the other ("kitaudit")."""
_PAGE: Final = 1_000
_TRIGGERS: Final = {"sqlite": 3, "postgresql": 2}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that somebody changed."""

    number: int
    at_ms: int
    who: str
    via: Via
    what: str
    site: str
    subject: str
    """What was changed: a ticket, a vehicle, an account."""
    detail: str
    """JSON; never a secret."""
    previous: str
    hash: str

    def computed(self) -> str:
        """Return the hash that it ought to have."""
        words = [self.number, self.at_ms, self.who, self.via, self.what, self.site, self.subject, self.detail]
        return hashlib.sha256(msgspec.json.encode([*words, self.previous])).hexdigest()


def append(
    connection: Connection,
    *,
    at_ms: int,
    who: str,
    via: Via,
    what: str,
    site: str = "",
    subject: str = "",
    detail: Mapping[str, Any] | None = None,
) -> Entry:
    """Write an entry within a transaction that writes (``Store.transaction``); return it."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyway
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    a = schema.audit.c
    last = connection.execute(select(a.number, a.hash).order_by(a.number.desc()).limit(1)).first()
    number, previous = (1, FIRST) if last is None else (last.number + 1, last.hash)
    entry = Entry(
        number=number, at_ms=at_ms, who=who, via=via, what=what, site=site, subject=subject,
        detail=msgspec.json.encode(dict(detail or {})).decode(), previous=previous, hash="",
    )  # fmt: skip
    entry = msgspec.structs.replace(entry, hash=entry.computed())
    connection.execute(schema.audit.insert(), msgspec.structs.asdict(entry))
    return entry


def entries(engine: Engine) -> Iterator[Entry]:
    """Yield every entry, the oldest first. Blocks."""
    a, after = schema.audit.c, 0
    while True:
        with engine.connect() as connection:
            query = select(schema.audit).where(a.number > after).order_by(a.number).limit(_PAGE)
            page = [Entry(**row._mapping) for row in connection.execute(query)]
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].number


def newest(engine: Engine, limit: int) -> list[Entry]:
    """Return the newest entries, the newest first. Blocks."""
    query = select(schema.audit).order_by(schema.audit.c.number.desc()).limit(limit)
    with engine.connect() as connection:
        return [Entry(**row._mapping) for row in connection.execute(query)]


class Verified(msgspec.Struct, frozen=True):
    """What came of looking at the whole chain."""

    entries: int
    head: str
    """The hash of the newest entry; ``FIRST`` without any."""
    problems: list[str]


def verify(engine: Engine, noted: Mapping[int, str] | None = None) -> Verified:
    """Go through the chain. ``noted``: hashes, by number, that were written down before. Blocks."""
    problems, expected, head = [], 1, FIRST
    left = dict(noted or {})
    for entry in entries(engine):
        if entry.number != expected:
            problems.append(f"expected entry {expected}, found {entry.number}: entries are missing")
        if entry.previous != head:
            problems.append(f"entry {entry.number}: does not follow from the entry before it")
        if entry.computed() != entry.hash:
            problems.append(f"entry {entry.number}: was changed: its content does not give its hash")
        if (was := left.pop(entry.number, entry.hash)) != entry.hash:
            problems.append(f"entry {entry.number}: expected hash {was}, found {entry.hash}")
        expected, head = entry.number + 1, entry.hash
    problems += [f"entry {number}: noted before, is missing" for number in sorted(left)]
    with engine.connect() as connection:
        if (standing := _standing_triggers(connection)) != _TRIGGERS[engine.dialect.name]:
            problems.append(f"expected {_TRIGGERS[engine.dialect.name]} triggers that keep it, found {standing}")
    return Verified(expected - 1, head, problems)


def _standing_triggers(connection: Connection) -> int:
    if connection.dialect.name == "sqlite":
        query = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'"
    else:
        query = (
            "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'audit'::regclass AND NOT tgisinternal"
            " AND tgenabled IN ('O', 'A')"
        )
    return int(connection.execute(text(query)).scalar_one())
