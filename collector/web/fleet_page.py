"""The fleet: which vehicle can send video, what is wrong with it, which ticket runs out next. ``/``, and ``/?wall``.

What the page shows is made by ``fleet_of`` as plain data. Its whole state is its address: ``find`` (words), ``site``,
``duty``, ``fault``, ``kind`` narrow it, ``open`` (again and again) names the groups that stand open.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web

from collector.core.clocks import Clock
from collector.core.tickets.texts import state_name
from collector.core.vehicle.key_figures import KeyFigure
from collector.core.vehicle.summary import SHOWN_MS, Details, ProblemSummary
from collector.core.vehicle.video import Video, newest_of, video_of
from collector.read import tickets as tickets_of
from collector.read import vehicles as vehicles_of
from collector.read.clocks import TicketClocks, next_due
from collector.read.tickets import TicketRow
from collector.read.vehicles import VehicleRow
from collector.read.view import EVERYTHING, View
from collector.web.app import SOURCES, Sources
from collector.web.pages import Page, SiteHead, contracts_of, page, page_of, render
from collector.web.tickets import fault_name, fault_or_request
from collector.web.view import view_of
from telemetry.faults import FAULTS, SLA_CLASSES, Severity, SlaClass, severity
from telemetry.fleet import VehiclePlan

routes = web.RouteTableDef()
CLOCKS: web.AppKey[TicketClocks] = web.AppKey("clocks", TicketClocks)
KNOWN: web.AppKey[vehicles_of.Known] = web.AppKey("known", dict)
"""What stands in vehicles' summaries: between two of them nothing changes for half a minute, and many look."""
GROUP_FROM: Final = 4
"""So many vehicles, or tickets, with one fault are one line that opens."""
CONTACT_MS: Final = 60_000
"""After so long without a word, and its sending interval, a vehicle that ought to speak is shown as silent."""
SCREEN: Final = 56
"""Vehicles that a wall shows at once: 14 rows of 4."""
_NO_PLAN: Final = VehiclePlan(agents={})
_SEVERITIES: Final[tuple[Severity, ...]] = ("critical", "major", "minor")
_CAN_RANK: Final = {"no": 0, "unknown": 1, "limited": 2, "yes": 3, "off": 4}
_DUTY_RANK: Final = {"on_mission": 0, "on_duty": 1}
DUTIES: Final = ("on_mission", "on_duty", "parked", "workshop", "silent", "unheard", "never_heard", "unknown")
Key = tuple[str, str]


class Worst(NamedTuple):
    """The worst that is wrong with a vehicle."""

    fault: str
    name: Mapping[str, str]
    severity: Severity
    since_ms: int
    ticket: str
    """Empty: there is none (yet)."""
    more: int
    """Other faults beside it."""
    is_suspected: bool = False
    """It is a guess from silence, and no problem yet."""


class FleetRow(msgspec.Struct, frozen=True, kw_only=True):
    """One vehicle, as its row shows it."""

    site: str
    vehicle: str
    name: str
    plate: str
    phone: str
    state: str
    inferred: bool
    video: Video
    is_fresh: bool
    heard_ms: int | None
    worst: Worst | None
    figures: Mapping[str, KeyFigure] = msgspec.field(default_factory=dict)
    """The newest of each metric."""
    kinds: frozenset[str] = frozenset()
    problem: str = ""
    """Why it cannot be shown."""

    def value(self, metric: str) -> Any:
        """Return a key figure's value, ``None`` if it is not known."""
        found = self.figures.get(metric)
        return None if found is None else found.value

    @property
    def rank(self) -> tuple[Any, ...]:
        """The worst first."""
        worst = self.worst
        grave = 3 if worst is None else _SEVERITIES.index(worst.severity) + 0.5 * worst.is_suspected
        return (
            not self.problem, grave, _DUTY_RANK.get(self.state, 2), _CAN_RANK[self.video.can],
            self.site, _by_number(self.name), self.vehicle,
        )  # fmt: skip


class TicketLine(msgspec.Struct, frozen=True, kw_only=True):
    """An open ticket, as the list shows it."""

    row: TicketRow
    vehicle_name: str
    fault_name: Mapping[str, str]
    clock: Clock | None
    """That runs out next."""
    is_over: bool
    """It has run out."""

    @property
    def state_name(self) -> Mapping[str, str]:
        """Its state, by language."""
        return state_name(self.row.state)

    @property
    def due_ms(self) -> int | None:
        """When that is."""
        return None if self.clock is None else self.clock.due_ms

    @property
    def rank(self) -> tuple[Any, ...]:
        """What has run out comes first, the gravest before all; then what runs out next; then what has no clock."""
        due, grave = self.due_ms, SLA_CLASSES.index(self.row.sla_class)
        urgent = 2 if due is None else 0 if self.is_over else 1
        return (urgent, grave if urgent != 1 else 0, due or 0, grave, self.row.opened_ms, self.row.id)


class Group(msgspec.Struct, frozen=True):
    """Rows or tickets with one fault, as one line that opens; ``key`` is empty for one that stands alone."""

    key: str
    rows: Sequence[Any]
    is_open: bool = False

    @property
    def first(self) -> Any:
        """The most urgent."""
        return self.rows[0]

    @property
    def size(self) -> int:
        """How many it stands for."""
        return len(self.rows)

    @property
    def can(self) -> str:
        """Whether all of these vehicles can send video; empty where that differs."""
        found = {row.video.can for row in self.rows}
        return found.pop() if len(found) == 1 else ""


class FleetView(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows."""

    vehicles: Sequence[Group]
    tickets: Sequence[Group]
    rows: Sequence[FleetRow]
    """The vehicles without groups."""
    total: int
    can: Mapping[str, int]
    """Vehicles by whether they can send video."""
    open_tickets: int
    alarms: Sequence[str]
    """Disasters that nobody has acknowledged, by ticket."""
    duties: Sequence[str] = ()
    faults: Sequence[str] = ()
    """That filters may name: those of the fleet now."""
    kinds: Sequence[str] = ()

    @property
    def screens(self) -> Sequence[Sequence[FleetRow]]:
        """The vehicles as a wall shows them, one screen after the other, all about equally full."""
        pages = -(-len(self.rows) // SCREEN) or 1
        each = -(-len(self.rows) // pages)
        return [self.rows[at * each : (at + 1) * each] for at in range(pages)]


@routes.get("/")
@page
async def fleet(request: web.Request) -> web.StreamResponse:
    """The fleet; ``?wall``: for a wall, without anything to press."""
    head = await page_of(request)
    clocks = request.app[CLOCKS]
    view = await asyncio.to_thread(fleet_of, request.app[SOURCES], clocks, head, view_of(request), request.app[KNOWN])
    wall = "wall" in request.query
    whole = "wall.html" if wall else "fleet.html"
    return render(head, f"_{whole}" if head.part else whole, view=view, fault_name=fault_name)


def fleet_of(
    sources: Sources,
    clocks: TicketClocks,
    page: Page,
    seen: View = EVERYTHING,
    known: vehicles_of.Known | None = None,
) -> FleetView:
    """Return the vehicles that somebody sees, and their open tickets. Blocks."""
    engine, now_ms = sources.store.engine, page.now_ms
    heads = {site.site: site for site in page.sites}
    rows = {(row.site, row.vehicle): row for row in _all_vehicles(sources, seen, known)}
    tickets = _all_open(sources, seen)
    by_vehicle: dict[Key, list[TicketRow]] = defaultdict(list)
    for ticket in tickets:
        by_vehicle[ticket.site, ticket.vehicle].append(ticket)
    keys = sorted({*(key for key in sources.vehicles if seen.has(*key)), *rows})
    everyone = [row_of(sources, heads, key, rows.get(key), by_vehicle.get(key, ()), now_ms) for key in keys]
    names = {(row.site, row.vehicle): row.name for row in everyone}
    due = clocks.of(engine, tickets, contracts_of(sources, sorted({ticket.site for ticket in tickets})))
    lines = sorted((line_of(one, names, next_due(due[one.site, one.id]), now_ms) for one in tickets), key=_rank)
    shown = sorted((row for row in everyone if _is_wanted(row, page.query)), key=_rank)
    opened = frozenset(page.query.get("open", ()))
    can: dict[str, int] = dict.fromkeys(_CAN_RANK, 0)
    for row in everyone:
        can[row.video.can] += 1
    return FleetView(
        vehicles=_grouped(shown, lambda row: f"v.{row.worst.fault}" if row.worst else "", opened),
        tickets=_grouped(lines, lambda line: f"t.{line.row.sla_class}.{line.row.fault}", opened),
        rows=shown,
        total=len(everyone),
        can=can,
        open_tickets=len(lines),
        alarms=[f"{one.site}/{one.id}" for one in tickets if one.sla_class == "disaster" and one.state == "new"],
        duties=sorted({row.state for row in everyone}, key=lambda one: DUTIES.index(one) if one in DUTIES else 99),
        faults=sorted({row.worst.fault for row in everyone if row.worst}),
        kinds=sorted(set().union(*(row.kinds for row in everyone))) if everyone else [],
    )


def _by_number(name: str) -> list[tuple[int, str]]:
    """Return what puts car 26 before car 264."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _rank(one: FleetRow | TicketLine) -> tuple[Any, ...]:
    return one.rank


def line_of(row: TicketRow, names: Mapping[Key, str], clock: Clock | None, now_ms: int) -> TicketLine:
    """Return a ticket as lists show it; ``names``: of vehicles."""
    return TicketLine(
        row=row,
        vehicle_name=names.get((row.site, row.vehicle), row.vehicle) or row.site,
        fault_name=fault_or_request(row.fault),
        clock=clock,
        is_over=clock is not None and clock.due_ms is not None and clock.due_ms < now_ms,
    )


def _all_vehicles(sources: Sources, seen: View, known: vehicles_of.Known | None) -> list[VehicleRow]:
    found: list[VehicleRow] = []
    after: Key | None = None
    while True:
        part = vehicles_of.list_vehicles(sources.store.engine, after=after, limit=1000, view=seen, known=known)
        found += part
        if len(part) < 1000:
            return found
        after = (part[-1].site, part[-1].vehicle)


def _all_open(sources: Sources, seen: View) -> list[TicketRow]:
    found: list[TicketRow] = []
    after: tickets_of.After | None = None
    while True:
        part = tickets_of.list_tickets(sources.store.engine, state="open", after=after, limit=1000, view=seen)
        found += part
        if len(part) < 1000:
            return found
        after = tickets_of.After.of(part[-1])


def row_of(
    sources: Sources,
    heads: Mapping[str, SiteHead],
    key: Key,
    row: VehicleRow | None,
    tickets: Sequence[TicketRow],
    now_ms: int,
) -> FleetRow:
    """Return a vehicle as its row shows it."""
    site, name = key
    at = sources.fleet.sites.get(site)
    plan = (at.vehicles.get(name) if at else None) or _NO_PLAN
    details = row.details if row else Details()
    state = row.state if row else "never_heard"
    heard_ms = row.heard_ms if row else None
    interval_ms = max((agent.interval_ms for agent in details.agents.values()), default=0)
    is_heard = heard_ms is not None and now_ms - heard_ms <= CONTACT_MS + SHOWN_MS + interval_ms
    listening = site in heads and heads[site].is_listening
    worst = worst_of(details.problems, tickets)
    if worst is None and heard_ms and not is_heard and listening and state in ("on_duty", "on_mission"):
        worst = Worst("vehicle_silent", fault_name("vehicle_silent"), "major", heard_ms, "", 0, True)
    return FleetRow(
        site=site,
        vehicle=name,
        name=plan.name or name,
        plate=plan.plate,
        phone=plan.phone,
        state=state,
        inferred=bool(details.parked_inferred),
        video=video_of(state, details, plan, is_heard=is_heard, is_listening=listening),
        is_fresh=is_heard and listening,
        heard_ms=heard_ms,
        worst=worst,
        figures=newest_of(details.figures),
        kinds=frozenset(device.kind for _, _, device in plan.devices()),
        problem=row.problem if row else "",
    )


def worst_of(problems: Sequence[ProblemSummary], tickets: Sequence[TicketRow]) -> Worst | None:
    """Return the worst of a vehicle's open tickets and of its problems without one; ``None``: nothing is wrong.

    A problem that another one explains is told where its cause is.
    """
    found = [
        Worst(one.fault, fault_or_request(one.fault), one.severity, one.event_ms, one.id, 0)
        for one in tickets
        if one.over_event_ms is None
    ]
    ticketed = {(one.fault, one.device) for one in tickets}
    for problem in problems:
        if problem.cause is None and (problem.fault, problem.device) not in ticketed:
            fault = FAULTS.get(problem.fault)
            sla_class: SlaClass = fault.sla_class if fault else "general"
            name = fault_name(problem.fault)
            found.append(Worst(problem.fault, name, severity(sla_class), problem.event_ms, "", 0))
    if not found:
        return None
    first = min(found, key=lambda one: (_SEVERITIES.index(one.severity), not one.ticket, one.since_ms))
    return first._replace(more=len(found) - 1)


def _is_wanted(row: FleetRow, query: Mapping[str, Sequence[str]]) -> bool:
    """Say whether the filters let a row be shown."""
    for name, found in (("site", {row.site}), ("duty", {row.state}), ("kind", row.kinds)):
        wanted = query.get(name, [""])[0]
        if wanted and wanted not in found:
            return False
    fault = query.get("fault", [""])[0]
    if fault and (row.worst is None or row.worst.fault != fault):
        return False
    can = query.get("video", [""])[0]
    if can and row.video.can != can:
        return False
    words = query.get("find", [""])[0].casefold().split()
    names = [*row.worst.name.values()] if row.worst else []
    text = " ".join((row.vehicle, row.name, row.plate, row.site, row.phone, *names)).casefold()
    return all(word in text for word in words)


def _grouped(rows: Sequence[Any], key: Any, opened: frozenset[str]) -> list[Group]:
    """Return rows in order, with those of one fault in one group where they are many."""
    by_key: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_key[key(row)].append(row)
    groups, done = [], set()
    for row in rows:
        name = key(row)
        if name and len(by_key[name]) >= GROUP_FROM:
            if name not in done:
                done.add(name)
                groups.append(Group(name, by_key[name], name in opened))
        else:
            groups.append(Group("", [row]))
    return groups
