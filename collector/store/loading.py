"""What a new owner loads, each row read by itself: one that cannot be read costs only itself. Pure.

What becomes of a row that is damaged: a run begins anew (what an agent still holds comes again), a schema is asked for
again, a problem is told again when it changes, an entry of the journal leaves what stood before it. All of these go to
quarantine as they were. A ticket lives on with what the rest of its row says, and its course says what cannot be read.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from collector.core.identities import IdentityError, ProblemKey
from collector.core.problems import ProblemRef
from collector.core.tickets.events import Migration, Opening, TicketEvent
from collector.core.tickets.ticket import TicketProblem
from collector.store import journal
from collector.store.journal import Behind
from collector.store.rows import Changes, DamagedRow, QuarantineRow, RunKey, RunRow, SchemaKey, SiteData
from collector.store.ticket_rows import read_event, read_tracked, unread_event
from telemetry.intervals import Intervals
from telemetry.records import Clock, Schema

T = TypeVar("T")

SELECTS = (
    "SELECT last_batch, state FROM site WHERE site = {}",
    "SELECT vehicle, state FROM vehicle WHERE site = {}",
    "SELECT vehicle, agent, run, boot, seen, lost, gone_clock, first_ms, last_ms, heard_ms FROM run WHERE site = {}",
    "SELECT vehicle, agent, id, content FROM schema WHERE site = {}",
    "SELECT vehicle, agent, run, number, mono_ms, wall_ms, source, uncertainty_ms FROM clock WHERE site = {}"
    " ORDER BY vehicle, agent, run, number",
    "SELECT vehicle, agent, run, names FROM run_schema WHERE site = {}",
    "WITH RECURSIVE kept(id) AS ("
    "SELECT id FROM ticket WHERE site = {0} AND live"
    " UNION SELECT merged.id FROM ticket merged JOIN kept ON merged.merged_into = kept.id"
    " WHERE merged.site = {0} AND merged.merged_into <> '')"
    " SELECT ticket, number, what, at_ms, recorded_ms, who, body FROM ticket_event JOIN kept ON kept.id = ticket"
    " WHERE site = {0} ORDER BY ticket, number",
    "SELECT vehicle, key, ticket, content FROM problem WHERE site = {0} AND (state NOT IN ('over', 'orphaned')"
    " OR EXISTS (SELECT 1 FROM ticket_problem held WHERE held.site = {0} AND held.vehicle = problem.vehicle"
    " AND held.key = problem.key AND held.holds)) ORDER BY vehicle, key",
    "SELECT year, max(number) FROM ticket WHERE site = {0} AND year IS NOT NULL GROUP BY year",
    "SELECT max(at_ms) FROM snapshot WHERE site = {}",
    "SELECT vehicle, sum(length(payload)) FROM quarantine WHERE site = {} GROUP BY vehicle",
    "SELECT content FROM journal WHERE site = {} ORDER BY revision",
    "SELECT id, live, source, vehicle, device, key, fault, severity, sla_class, rule, rule_version, event_ms,"
    " detected_ms, opened_ms, in_contract FROM ticket WHERE site = {} AND (live OR merged_into <> '')",
    "SELECT ticket, vehicle, key, role FROM ticket_problem WHERE site = {} AND holds",
)
"""What an owner loads, in the order in which ``assemble`` takes the answers; ``{}`` is the site's parameter."""
_pairs = msgspec.json.Decoder(list[tuple[int, int]])
_schema = msgspec.json.Decoder(Schema)
_names = msgspec.json.Decoder(dict[int, str])


class _Reader:
    """Reads rows, each within a boundary of its own, and notes those that cannot be read."""

    def __init__(self) -> None:
        self.damaged: list[DamagedRow] = []

    def read(self, table: str, names: Sequence[str], content: object, decode: Callable[[], T]) -> T | None:
        """Return what ``decode`` does; ``None`` and a note, whatever it raises.

        ``names`` are the vehicle, the agent and what the row is about.
        """
        try:
            return decode()
        except Exception as error:  # bytes that are no UTF-8, a list 20,000 deep
            raw = content if isinstance(content, bytes) else str(content).encode(errors="replace")
            vehicle, agent, name = names
            self.damaged.append(DamagedRow(table, vehicle, agent, name, raw, f"{type(error).__name__}: {error}"[:300]))
            return None


def assemble(
    site: Iterable[Any],
    vehicles: Any,
    runs: Any,
    schemas: Any,
    clocks: Any,
    run_schemas: Any,
    events: Any,
    problems: Any,
    numbers: Any,
    snapshots: Any,
    quarantined: Any,
    entries: Any,
    tickets: Any,
    held: Any,
) -> SiteData:
    """Return the rows of ``SELECTS`` as an owner's memory."""
    reader = _Reader()
    ((last_batch, state),) = site
    ((snapshot_ms,),) = snapshots
    seen: dict[RunKey, RunRow] = {}
    for vehicle, agent, run, boot, had, lost, no_clock, first_ms, last_ms, heard_ms in runs:
        row = RunRow(vehicle, agent, run, boot, no_clock=bool(no_clock), first_ms=first_ms, last_ms=last_ms)
        row.heard_ms = heard_ms
        row.seen = _numbers(reader, (vehicle, agent, run), had)
        row.lost = _numbers(reader, (vehicle, agent, run), lost)
        seen[(vehicle, agent, run)] = row
    known: dict[SchemaKey, Schema] = {}
    for vehicle, agent, id, content in schemas:
        schema = reader.read("schema", (vehicle, agent, id), content, functools.partial(_schema.decode, content))
        if schema is not None:
            known[(vehicle, agent, id)] = schema
    noted: dict[RunKey, dict[int, Clock]] = {}
    for vehicle, agent, run, number, mono_ms, wall_ms, source, uncertainty_ms in clocks:
        clock = Clock(number, mono_ms, wall_ms, source, uncertainty_ms)
        noted.setdefault((vehicle, agent, run), {})[number] = clock
    schema_names: dict[RunKey, Mapping[int, str]] = {}
    for vehicle, agent, run, content in run_schemas:
        names = reader.read("run_schema", (vehicle, agent, run), content, functools.partial(_names.decode, content))
        schema_names[(vehicle, agent, run)] = names or {}
    told, damaged = _tickets(reader, events, {row[0]: row[1:] for row in tickets})
    tracked = [
        reader.read("problem", (vehicle, "", key), content, functools.partial(read_tracked, ticket, content))
        for vehicle, key, ticket, content in problems
    ]
    return SiteData(
        vehicles={vehicle: bytes(content) for vehicle, content in vehicles},
        site_state=None if state is None else bytes(state),
        seen=seen,
        schemas=known,
        clocks=noted,
        schema_names=schema_names,
        last_batch=last_batch,
        ticket_events=told,
        held=_held(held, damaged),
        problems=[one for one in tracked if one is not None],
        last_numbers=dict(numbers),
        snapshot_ms=snapshot_ms,
        quarantine_bytes={vehicle: int(size) for vehicle, size in quarantined},
        journal=[bytes(content) for (content,) in entries],
        damaged=reader.damaged,
    )


def read_journal(data: SiteData) -> Iterator[tuple[dict[str, bytes], dict[RunKey, RunRow], int]]:
    """Put the journal's entries into ``data``, one after the other, and yield each with its size."""
    reader = _Reader()
    for content in data.journal:
        entry = reader.read("journal", ("", "", ""), content, functools.partial(journal.decode, content))
        if entry is not None:
            vehicles, runs = entry
            data.vehicles.update(vehicles)
            data.seen.update(runs)
            yield vehicles, runs, len(content)
    data.journal.clear()
    data.damaged += reader.damaged


def mended(data: SiteData, behind: Behind, now_ms: int) -> Changes:
    """Return the commit that puts damaged rows into quarantine, and what was read in their place.

    ``behind`` is what the journal says: it is emptied, for an entry of it may be damaged. Events of tickets stay where
    they are: a ticket's course is written once.
    """
    gone = [one for one in data.damaged if one.table not in ("ticket", "ticket_event")]
    runs = {(one.vehicle, one.agent, one.name) for one in gone if one.table == "run"}
    names = {(one.vehicle, one.agent, one.name) for one in gone if one.table == "run_schema"}
    return Changes(
        runs=list({**behind.runs, **{key: data.seen[key] for key in runs}}.values()),
        vehicles=dict(behind.vehicles),
        schema_names={key: data.schema_names[key] for key in names},
        dropped=[one for one in gone if one.table in ("schema", "problem")],
        quarantine=[
            QuarantineRow(
                one.vehicle, one.agent, one.name if one.table == "run" else "", [], one.table,
                f"state: {one.reason} ({one})"[:500], one.content, now_ms,
            )
            for one in gone
        ],
        counters={f"damaged.{one.table}": sum(other.table == one.table for other in gone) for one in gone},
        checkpoint=True,
    )  # fmt: skip


def _numbers(reader: _Reader, names: RunKey, content: str) -> Intervals:
    numbers = reader.read("run", names, content, lambda: Intervals(_pairs.decode(content)))
    return Intervals() if numbers is None else numbers


def _tickets(
    reader: _Reader, rows: Any, tickets: dict[str, Sequence[Any]]
) -> tuple[dict[str, list[TicketEvent]], set[str]]:
    """Return the events of each ticket, and the tickets of which some cannot be read.

    Of those, one that is not live any more is left out: it stands there for whoever looks, and nobody waits for it.
    """
    told: dict[str, list[TicketEvent]] = {}
    damaged: set[str] = set()
    for ticket, *row in rows:
        event = reader.read("ticket_event", ("", "", ticket), row[-1], functools.partial(read_event, *row))
        if event is None:
            damaged.add(ticket)
            number, what, at_ms, recorded_ms, who, _ = row
            event = unread_event(number, what, at_ms, recorded_ms, who, reader.damaged[-1].reason)
        told.setdefault(ticket, []).append(event)
    for id in damaged:
        is_live, *row = tickets.get(id, (False,))
        first: TicketEvent | None = told[id][0]
        if is_live and not isinstance(told[id][0].body, Opening):
            first = reader.read("ticket", ("", "", id), b"", functools.partial(_opened, told[id][0], *row))
        if is_live and first is not None:
            told[id][0] = first
        else:
            del told[id]
    return told, damaged


def _opened(
    event: TicketEvent,
    source: Any,
    vehicle: str,
    device: str,
    root: str,
    fault: str,
    severity: Any,
    sla_class: Any,
    rule: str,
    rule_version: int,
    event_ms: int,
    detected_ms: int,
    opened_ms: int,
    in_contract: bool,
) -> TicketEvent:
    """Return what a ticket begins with, by its own row, where the event that says so cannot be read."""
    problem = ProblemRef(vehicle, ProblemKey.parse(root)) if root else None
    body = Opening(
        source=source,
        fault=fault,
        sla_class=sla_class,
        severity=severity,
        vehicle=vehicle,
        device=device,
        event_ms=event_ms,
        detected_ms=detected_ms,
        problem=problem,
        rule=rule,
        rule_version=rule_version,
        text=getattr(event.body, "text", ""),
    )
    if not in_contract:
        body = Migration(**{name: getattr(body, name) for name in body.__struct_fields__}, opened_ms=opened_ms)
    return msgspec.structs.replace(event, what="opened" if in_contract else "migrated", body=body)


def _held(rows: Any, damaged: set[str]) -> dict[str, dict[ProblemRef, TicketProblem]]:
    found: dict[str, dict[ProblemRef, TicketProblem]] = {id: {} for id in damaged}
    for ticket, vehicle, key, role in rows:
        if ticket in damaged:
            with contextlib.suppress(IdentityError):
                found[ticket][ProblemRef(vehicle, ProblemKey.parse(key))] = TicketProblem(role)
    return found
