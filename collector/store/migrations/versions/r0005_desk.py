"""Problems and tickets are two things; a ticket is its events.

Open tickets of the first version become new ones with one event ``migrated``, their history notes; resolved ones are
closed. None has clocks until a person takes it into the contract. Nothing here is imported from the product: what these
rows looked like at this revision does not change with it.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    PrimaryKeyConstraint,
    RowMapping,
    Text,
    column,
    insert,
    select,
    table,
    text,
    update,
)

revision = "0005"
down_revision: str | None = "0004"

_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_LABEL = re.compile(r"[a-z][a-z0-9_]{0,31}")
_SAFE = " ()[]*+:;@.!?$&'"
_UNSEEN_END = frozenset({"firmware_changed"})
_CHUNK = 500
Key = tuple[str, str, list[list[str]]]
"""(fault, device, labels)."""


def upgrade() -> None:
    """Make the tables, move the tickets into them, and let nobody change an event."""
    connection = op.get_bind()
    op.drop_index("ticket_one_open", "ticket")
    op.drop_index("ticket_opened", "ticket")
    op.rename_table("ticket", "ticket_of_first_version")
    if connection.dialect.name == "postgresql":
        op.execute("ALTER INDEX ticket_pkey RENAME TO ticket_of_first_version_pkey")
    _make_tables()
    _move(connection, time.time_ns() // 1_000_000)
    op.drop_table("ticket_of_first_version")
    op.drop_table("ticket_history")
    _make_indexes()
    _refuse_changes(connection)


def downgrade() -> None:
    """Raise: what people have said on tickets has no place in the tables of the first version."""
    raise RuntimeError("revision 0005 cannot be undone: restore the backup that was made before it")


# --- tables -----------------------------------------------------------------------------------------------------------


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _whole(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


def _bool(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


def _key(*names: str) -> PrimaryKeyConstraint:
    return PrimaryKeyConstraint(*names)


def _make_tables() -> None:
    op.create_table(
        "problem",
        *(_text(name) for name in ("site", "vehicle", "key", "fault", "device", "state")),
        _whole("event_ms"),
        _text("ticket"),
        _text("content"),
        _key("site", "vehicle", "key"),
        comment="what is or was true of the kit, the last word on each key (JSON, core/problems.py);"
        " ticket: the one that deals with it",
    )
    op.create_table(
        "ticket",
        _text("site"),
        _text("id"),
        _whole("year", null=True),
        _whole("number", null=True),
        *(_text(name) for name in ("source", "vehicle", "device", "key", "fault", "severity", "sla_class", "state")),
        _bool("live"),
        _whole("round"),
        _text("rule"),
        *(_whole(name) for name in ("rule_version", "event_ms", "detected_ms", "opened_ms", "notice_ms")),
        *(
            _whole(name, null=True)
            for name in (
                "over_event_ms", "over_ms", "acknowledged_ms", "responded_ms", "planned_ms", "resolved_ms",
                "closed_ms",
            )
        ),
        _text("closed_by"),
        _whole("changed_ms"),
        _text("assigned"),
        *(_bool(name) for name in ("touched", "recurring", "in_contract")),
        _text("waiting_reason"),
        _whole("waiting_until_ms", null=True),
        _whole("silenced_until_ms", null=True),
        _text("merged_into"),
        _key("site", "id"),
        comment="tickets as their events make them (core/tickets/ticket.py), for lists and pages; id: year and"
        " number, but for those of the first version",
    )  # fmt: skip
    op.create_table(
        "ticket_event",
        _text("site"),
        _text("ticket"),
        _whole("number"),
        _text("what"),
        _whole("at_ms"),
        _whole("recorded_ms"),
        _text("who"),
        _text("body"),
        _key("site", "ticket", "number"),
        comment="what happened to each ticket, in order; what is one of core/tickets/transitions.py, body its words"
        " (JSON); triggers refuse to change or delete a row",
    )
    op.create_table(
        "ticket_problem",
        *(_text(name) for name in ("site", "ticket", "vehicle", "key", "role")),
        _bool("holds"),
        _key("site", "ticket", "vehicle", "key"),
        comment="the problems of each ticket; role: root, symptom, attached; holds: no other ticket may be about it",
    )
    op.create_table(
        "ticket_link",
        *(_text(name) for name in ("site", "ticket", "other", "relation")),
        _key("site", "ticket", "other", "relation"),
        comment="tickets that have to do with each other; relation: related, cause, continues",
    )


def _make_indexes() -> None:
    """After the rows: it is faster, and finds two open tickets of one key if there ever were."""
    _partial("problem_lasts", "problem", ["site"], "state <> 'over'")
    op.create_index("ticket_opened", "ticket", ["opened_ms"])
    op.create_index("ticket_number", "ticket", ["site", "year", "number"], unique=True)
    _partial("ticket_live", "ticket", ["site"], "live")
    _partial("ticket_merged_into", "ticket", ["site", "merged_into"], "merged_into <> ''")
    op.create_index("ticket_event_recorded", "ticket_event", ["recorded_ms"])
    _partial("ticket_problem_one_live", "ticket_problem", ["site", "vehicle", "key"], "holds", unique=True)


def _partial(name: str, on: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    op.create_index(name, on, columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


def _refuse_changes(connection: Connection) -> None:
    """An event of a ticket is written once. SQLite's REPLACE deletes without a trigger, so it is refused beforehand."""
    if connection.dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER ticket_event_no_{verb.lower()} BEFORE {verb} ON ticket_event"
                " BEGIN SELECT RAISE(ABORT, 'an event of a ticket is never changed'); END"
            )
        op.execute(
            "CREATE TRIGGER ticket_event_no_replace BEFORE INSERT ON ticket_event WHEN EXISTS (SELECT 1 FROM"
            " ticket_event WHERE site = NEW.site AND ticket = NEW.ticket AND number = NEW.number)"
            " BEGIN SELECT RAISE(ABORT, 'an event of a ticket is never changed'); END"
        )
        return
    op.execute(
        "CREATE FUNCTION ticket_event_is_final() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'an event of a ticket is never changed'"
        " USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    op.execute(
        "CREATE TRIGGER ticket_event_is_final BEFORE UPDATE OR DELETE ON ticket_event"
        " FOR EACH ROW EXECUTE FUNCTION ticket_event_is_final()"
    )
    op.execute(
        "CREATE TRIGGER ticket_event_no_truncate BEFORE TRUNCATE ON ticket_event"
        " FOR EACH STATEMENT EXECUTE FUNCTION ticket_event_is_final()"
    )


# --- rows -------------------------------------------------------------------------------------------------------------


def _move(connection: Connection, now_ms: int) -> None:
    old = table("ticket_of_first_version", *(column(name) for name in _OLD))
    lines = table("ticket_history", *(column(n) for n in ("site", "ticket", "id", "at_ms", "who", "what", "text")))
    offset = 0
    while True:
        page = select(old).order_by(old.c.site, old.c.id).limit(_CHUNK).offset(offset)
        tickets = list(connection.execute(page).mappings())
        if not tickets:
            break
        offset += len(tickets)
        names = {(row["site"], row["id"]) for row in tickets}
        query = select(lines).where(
            lines.c.site.in_({row["site"] for row in tickets}), lines.c.ticket.in_([row["id"] for row in tickets])
        )
        notes: dict[tuple[str, str], list[RowMapping]] = {name: [] for name in names}
        for line in connection.execute(query.order_by(lines.c.id)).mappings():
            if (line["site"], line["ticket"]) in names:
                notes[line["site"], line["ticket"]].append(line)
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in tickets:
            for name, made in _ticket(row, notes[row["site"], row["id"]], now_ms):
                rows.setdefault(name, []).append(made)
        for name, made_rows in rows.items():
            connection.execute(insert(table(name, *(column(key) for key in made_rows[0]))), made_rows)
    _move_notes(connection)


_OLD = (
    "site", "id", "vehicle", "device", "key", "fault", "severity", "sla_class", "state", "rule", "rule_version",
    "event_ms", "detected_ms", "opened_ms", "resolved_event_ms", "resolved_ms", "evidence",
)  # fmt: skip


def _ticket(old: RowMapping, notes: list[RowMapping], now_ms: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (table, row) of all that one ticket becomes."""
    key = _parsed(old["key"])
    is_open = old["resolved_ms"] is None
    evidence = json.loads(old["evidence"])
    told = [
        ("migrated", now_ms, "upgrade", _opening(old, key, evidence)),
        *(("noted", line["at_ms"], _who(line["who"]), _note(line)) for line in notes),
    ]
    if not is_open:
        told.append(("closed_by_upgrade", old["resolved_ms"], "upgrade", {}))
    for number, (what, at_ms, who, body) in enumerate(told, start=1):
        yield (
            "ticket_event",
            {
                "site": old["site"],
                "ticket": old["id"],
                "number": number,
                "what": what,
                "at_ms": at_ms,
                "recorded_ms": now_ms,
                "who": who,
                "body": _json(body),
            },
        )
    same = ("site", "id", "vehicle", "device", "fault", "severity", "sla_class", "rule", "rule_version")
    times = ("event_ms", "detected_ms", "opened_ms")
    year, number_ = _number(old["id"])
    yield (
        "ticket",
        {name: old[name] for name in (*same, *times)}
        | {
            "year": year,
            "number": number_,
            "source": "rule",
            "key": _key_text(key) if key else "",
            "state": "new" if is_open else "closed",
            "live": is_open,
            "round": 1,
            "notice_ms": old["opened_ms"],
            "over_event_ms": old["resolved_event_ms"],
            "over_ms": old["resolved_ms"],
            "acknowledged_ms": None,
            "responded_ms": None,
            "planned_ms": None,
            "resolved_ms": None,
            "closed_ms": old["resolved_ms"],
            "closed_by": "" if is_open else "closed_by_upgrade",
            "changed_ms": now_ms,
            "assigned": "",
            "touched": False,
            "recurring": False,
            "in_contract": False,
            "waiting_reason": "",
            "waiting_until_ms": None,
            "silenced_until_ms": None,
            "merged_into": "",
        },
    )
    if key is None:
        return
    place = {"site": old["site"], "vehicle": old["vehicle"], "key": _key_text(key)}
    yield "ticket_problem", place | {"ticket": old["id"], "role": "root", "holds": is_open}
    if is_open:
        yield (
            "problem",
            place
            | {
                "fault": key[0],
                "device": key[1],
                "state": "active",
                "event_ms": old["event_ms"],
                "ticket": old["id"],
                "content": _json(_problem(old, key, evidence)),
            },
        )


def _opening(old: RowMapping, key: Key | None, evidence: list[Any]) -> dict[str, Any]:
    body = {
        name: old[name]
        for name in (
            "fault", "sla_class", "severity", "vehicle", "device", "event_ms", "detected_ms", "rule", "rule_version",
            "opened_ms",
        )
    }  # fmt: skip
    body |= {"source": "rule", "evidence": evidence}
    if key is not None:
        body["problem"] = [old["vehicle"], key]
    if old["resolved_ms"] is not None:
        body |= {"over_event_ms": old["resolved_event_ms"], "over_ms": old["resolved_ms"]}
    return body


def _problem(old: RowMapping, key: Key, evidence: list[Any]) -> dict[str, Any]:
    return {
        "site": old["site"],
        "vehicle": old["vehicle"],
        "key": key,
        "rule": old["rule"],
        "rule_version": old["rule_version"],
        "state": "active",
        "event_ms": old["event_ms"],
        "detected_ms": old["detected_ms"],
        "sees_end": key[0] not in _UNSEEN_END,
        "evidence": evidence[:1],
    }


def _who(name: str) -> str:
    """The survey is judging too."""
    return "rule" if name == "survey" else name


def _note(line: RowMapping) -> dict[str, str]:
    return {"text": f"{line['what']}: {line['text']}" if line["text"] else line["what"]}


def _number(id: str) -> tuple[int | None, int | None]:
    """Return year and number of an id that could be one of the new ones, so that it is not given again."""
    found = re.fullmatch(r"(\d{4})-(\d{4,9})", id)
    return (int(found[1]), int(found[2])) if found else (None, None)


def _move_notes(connection: Connection) -> None:
    """Write the keys of closed notes as they are written now."""
    note = table("closed_note", column("id"), column("key"))
    for row in connection.execute(select(note)).all():
        key = _parsed(row.key)
        if key is not None and _key_text(key) != row.key:
            connection.execute(update(note).where(note.c.id == row.id).values(key=_key_text(key)))


# --- keys -------------------------------------------------------------------------------------------------------------


def _parsed(key: str) -> Key | None:
    """Return (fault, device, labels) of a key of the first version, whose values were not escaped.

    ``None`` where its device cannot be one: nothing that is judged now has this key.
    """
    fault, _, rest = key.partition("/")
    device, _, labels = rest.partition("/")
    if not fault or _ID.fullmatch(device) is None:
        return None
    found: list[list[str]] = []
    for part in labels.split(",") if labels else ():
        name, equals, value = part.partition("=")
        if equals and _LABEL.fullmatch(name) is None:
            return None
        if equals:
            found.append([name, value])
        elif found:
            found[-1][1] += f",{part}"
        else:
            return None
    return fault, device, sorted(found)


def _key_text(key: Key) -> str:
    fault, device, labels = key
    if not labels:
        return f"{fault}/{device}"
    return f"{fault}/{device}/" + ",".join(f"{name}={quote(value, _SAFE)}" for name, value in labels)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
