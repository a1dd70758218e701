"""A vehicle: what is wrong and since when, what depends on what, its figures and its kit. ``/vehicles/{vehicle}``.

``/vehicles/{vehicle}/history`` has what the page's charts draw, as JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web

from collector.core.diagnosis import Graph
from collector.core.rules.files import shipped_topology
from collector.core.tickets.texts import Language
from collector.core.vehicle.key_figures import KeyFigure
from collector.core.vehicle.state import InventoryEntry
from collector.core.vehicle.summary import AgentSummary, Details, ProblemSummary
from collector.read import series
from collector.read import tickets as tickets_of
from collector.read import vehicles as read
from collector.read.clocks import next_due
from collector.read.tickets import TicketRow
from collector.store.chunks import AHEAD_MS
from collector.web.app import SOURCES, Sources, json
from collector.web.fleet_page import CLOCKS, FleetRow, TicketLine, line_of, row_of
from collector.web.identity import principal_of
from collector.web.outcome import shown
from collector.web.pages import Page, contracts_of, page, page_of, render
from collector.web.readings import READING
from collector.web.requests import MOST_FORM_BYTES, form_of
from collector.web.silences_page import last_duty
from collector.web.texts import Words
from collector.web.ticket_acts import Done, NotDone, with_refused
from collector.web.tickets import fault_name
from collector.web.vehicle_acts import Subject, do, vehicle_forms
from collector.web.vehicles import current_until_ms, site_of
from collector.web.view import IDENTIFIERS, view_of
from telemetry.fleet import Device, VehiclePlan

routes = web.RouteTableDef()
HOURS: Final = (1, 6, 24)
"""Spans of the charts."""
POINTS: Final = 360
"""Of a chart: each is the mean of what was read in its part of the span."""
CHARTS: Final[Mapping[str, Sequence[str]]] = {
    "signal": ("modem.rsrp_dbm", "modem.sinr_db"),
    "delay": ("link.rtt_ms", "link.loss_percent"),
    "video": ("stream.bitrate_kbps",),
    "power": ("power.supply_v", "power.battery_percent"),
}
PLACE_MS: Final = 600_000
"""Where a vehicle was longer before its last word is not told as its place."""
_NO_PLAN: Final = VehiclePlan(agents={})
_FIRST: Final = {"cause": 0, "symptom": 1, "unknown": 2, "well": 3}


class ProblemLine(msgspec.Struct, frozen=True):
    """Something that is wrong at a device."""

    name: Mapping[str, str]
    since_ms: int
    is_stale: bool
    ticket: str
    because: Mapping[str, str] | None
    """The fault that explains it; ``None``: it is a cause."""


class Node(msgspec.Struct):
    """A device, what is wrong with it, and what needs it."""

    id: str
    name: str
    kind: str
    state: str
    """``cause``, ``symptom``, ``unknown`` or ``well``."""
    heard_ms: int | None
    trouble: str
    problems: list[ProblemLine] = msgspec.field(default_factory=list)
    children: list[Node] = msgspec.field(default_factory=list)


class Part(msgspec.Struct, frozen=True):
    """A device as it says it is."""

    id: str
    name: str
    kind: str
    identity: Mapping[str, str]
    seen_ms: int


class Place(NamedTuple):
    """Where a vehicle was: degrees (WGS 84), and when that was read (UTC ms)."""

    latitude: float
    longitude: float
    time_ms: int


class VehicleView(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows."""

    row: FleetRow
    roots: Sequence[Node]
    others: Sequence[ProblemLine]
    """What is wrong with the vehicle as a whole."""
    tickets: Sequence[TicketLine]
    past: Sequence[TicketRow]
    agents: Mapping[str, AgentSummary]
    held: Mapping[str, KeyFigure]
    """What its agents have not delivered yet, by metric."""
    parts: Sequence[Part]
    hours: int
    charts: Sequence[str] = tuple(CHARTS)
    spans: Sequence[int] = HOURS


@routes.get("/vehicles/{vehicle}")
@page
async def vehicle(request: web.Request) -> web.StreamResponse:
    """Show one vehicle. 404 for one that nobody knows."""
    return await _shown(request, await page_of(request))


@routes.post("/vehicles/{vehicle}")
async def act(request: web.Request) -> web.StreamResponse:
    """Give the vehicle a duty, or silence its tickets: 303 to the page, or the form again with what is wrong.

    400: no form of the page. 409: it is not possible. 422: something is missing or cannot be read.
    """
    given = await form_of(request, MOST_FORM_BYTES)
    head, sources, name = await page_of(request), request.app[SOURCES], request.match_info["vehicle"]
    subject = await asyncio.to_thread(_subject, sources, await _site(request), name)
    result = await do(request, sources, head, subject, given)
    if isinstance(result, Done):
        return web.Response(status=303, headers={"Location": f"{name}?done={result.action}"})
    return await _shown(request, head, result)


async def _shown(request: web.Request, head: Page, refused: NotDone | None = None) -> web.Response:
    name, sources, site = request.match_info["vehicle"], request.app[SOURCES], await _site(request)
    seen_by = principal_of(request)
    shows_identifiers = seen_by.may("identifiers", site)
    view = await asyncio.to_thread(
        lambda: vehicle_view(
            sources, request.app[CLOCKS], head, site, name, _hours(request), shows_identifiers=shows_identifiers
        )
    )
    place = None
    if view.row.heard_ms is not None and seen_by.may("positions", site):
        async with request.app[READING]:
            place = await asyncio.to_thread(place_of, sources, site, name, view.row.heard_ms)
    acts = None
    if head.csrf_token and seen_by.may("duty", site):
        acts = vehicle_forms(head, await asyncio.to_thread(_subject, sources, site, name))
        acts = acts if refused is None else with_refused(acts, refused.form)
    quiet = await asyncio.to_thread(last_duty, sources, head, site, name) if view.row.state == "workshop" else None
    done = await asyncio.to_thread(shown, sources, request.query.get("done"), site, head.language)
    template, status = "_vehicle.html" if head.part else "vehicle.html", 200 if refused is None else refused.status
    return render(
        head, template, status, view=view, fault_name=fault_name, acts=acts, quiet=quiet, done=done, place=place
    )


def place_of(sources: Sources, site: str, name: str, heard_ms: int) -> Place | None:
    """Return where a vehicle was last, by what was read in the ten minutes before its last word. Blocks."""
    parts = ("gnss.latitude", "gnss.longitude")
    span = (heard_ms - PLACE_MS, heard_ms + AHEAD_MS)
    found = series.last_values(sources.store, site, name, *span, lambda _, metric: metric in parts)
    by_device: dict[str, dict[str, series.Last]] = {}
    for (device, metric, _), one in found.items():
        by_device.setdefault(device, {})[metric] = one
    whole = [[told[part] for part in parts] for told in by_device.values() if len(told) == len(parts)]
    if not whole:
        return None
    latitude, longitude = max(whole, key=lambda pair: pair[0].time_ms)
    return Place(float(latitude.value), float(longitude.value), latitude.time_ms)


def _subject(sources: Sources, site: str, name: str) -> Subject:
    open_ones = tickets_of.open_tickets_of(sources.store.engine, [(site, name)]).get((site, name), [])
    return Subject(site, name, [one.id for one in open_ones])


@routes.get("/vehicles/{vehicle}/history")
async def figures(request: web.Request) -> web.StreamResponse:
    """Return what the charts draw of the last ``?hours=`` (1, 6 or 24). 404 for a vehicle that nobody knows."""
    name, sources = request.match_info["vehicle"], request.app[SOURCES]
    site, head = await _site(request), await page_of(request)
    answer = json(await asyncio.to_thread(charts_of, sources, site, name, _hours(request), head))
    answer.enable_compression()
    return answer


async def _site(request: web.Request) -> str:
    """Return the vehicle's site. Raises 404 for one that nobody knows, or that whoever asks may not see."""
    name = request.match_info["vehicle"]
    site = await asyncio.to_thread(site_of, request.app[SOURCES], name)
    if site is None or not view_of(request).has(site, name):
        raise web.HTTPNotFound(text=f"no vehicle {name!r}")
    return site


def _hours(request: web.Request) -> int:
    text = request.query.get("hours", "")
    return int(text) if text in map(str, HOURS) else HOURS[0]


def vehicle_view(
    sources: Sources, clocks: Any, page: Page, site: str, name: str, hours: int, *, shows_identifiers: bool
) -> VehicleView:
    """Return what the page of a vehicle shows. Blocks."""
    engine, now_ms, key = sources.store.engine, page.now_ms, (site, name)
    found = read.vehicles_of(engine, [key]).get(key)
    details = found.details if found else Details()
    at = sources.fleet.sites.get(site)
    plan = (at.vehicles.get(name) if at else None) or _NO_PLAN
    open_ones = tickets_of.open_tickets_of(engine, [key]).get(key, [])
    due = clocks.of(engine, open_ones, contracts_of(sources, [site]))
    lines = [line_of(one, {key: plan.name}, next_due(due[one.site, one.id]), now_ms) for one in open_ones]
    past = [one for one in tickets_of.list_tickets(engine, site=site, vehicle=name, limit=40) if not one.is_open]
    devices = {id: device for _, id, device in plan.devices()}
    roots, others = tree_of(plan, details, open_ones, now_ms)
    return VehicleView(
        row=row_of(sources, {one.site: one for one in page.sites}, key, found, open_ones, now_ms),
        roots=roots,
        others=others,
        tickets=sorted(lines, key=lambda line: line.rank),
        past=past[:20],
        agents={**dict.fromkeys(plan.agents, AgentSummary(None, 0)), **details.agents},
        held={one.metric: one for one in details.figures if one.metric.startswith("agent.outbox")},
        parts=[
            _part(entry, devices.get(entry.device), shows_identifiers)
            for entry in read.list_inventory(engine, site=site, vehicle=name)
        ],
        hours=hours,
    )


def _part(entry: InventoryEntry, device: Device | None, shows_identifiers: bool) -> Part:
    hidden = frozenset[str]() if shows_identifiers else IDENTIFIERS
    identity = {name: value for name, value in sorted(entry.identity.items()) if value and name not in hidden}
    return Part(entry.device, device.name if device else "", device.kind if device else "", identity, entry.seen_ms)


def tree_of(
    plan: VehiclePlan, details: Details, tickets: Sequence[TicketRow], now_ms: int
) -> tuple[list[Node], list[ProblemLine]]:
    """Return the devices as a forest of what needs what, and what is wrong with none of them.

    A device hangs below that one of those which it needs that itself needs the most.
    """
    graph = Graph(shipped_topology(), plan)
    ticket_of = {(one.fault, one.device): one.id for one in tickets}
    by_key = {problem.key: problem for problem in details.problems}
    at_device: dict[str, list[ProblemSummary]] = defaultdict(list)
    for problem in sorted(details.problems, key=lambda one: (one.cause is not None, one.event_ms)):
        at_device[problem.device].append(problem)

    def line(problem: ProblemSummary) -> ProblemLine:
        cause = by_key.get(problem.cause) if problem.cause else None
        because = None if problem.cause is None else fault_name(cause.fault if cause else problem.cause.split("/")[0])
        return ProblemLine(
            fault_name(problem.fault), problem.event_ms, problem.state == "stale",
            ticket_of.get((problem.fault, problem.device), ""), because,
        )  # fmt: skip

    told = {(one.agent, one.device): one for one in details.devices}
    nodes: dict[str, Node] = {}
    for agent, id, device in plan.devices():
        one = told.get((agent, id))
        until_ms = current_until_ms(device, one, details.agents.get(agent))
        problems = [line(problem) for problem in at_device.pop(id, ())]
        heard_ms = one.answered_ms if one else None
        is_current = until_ms is not None and until_ms >= now_ms
        state = "unknown" if not is_current or any(problem.is_stale for problem in problems) else "well"
        if any(problem.because is not None for problem in problems):
            state = "symptom"
        if any(problem.because is None for problem in problems):
            state = "cause"
        nodes[id] = Node(id, device.name, device.kind, state, heard_ms, one.trouble if one else "", problems)
    needs = {id: {need for at, need in graph.needs(("device", id)) if at == "device" and need in nodes} for id in nodes}
    roots: list[Node] = []
    for id, node in nodes.items():
        parents = sorted(needs[id] - {id}, key=lambda need: (-len(needs[need] - {id}), need))
        parents = [need for need in parents if id not in needs[need]]
        (nodes[parents[0]].children if parents else roots).append(node)
    for siblings in (roots, *(node.children for node in nodes.values())):
        siblings.sort(key=lambda node: _FIRST[node.state])
    return roots, [line(problem) for rest in at_device.values() for problem in rest]


def charts_of(sources: Sources, site: str, name: str, hours: int, page: Page) -> dict[str, Any]:
    """Return the charts' series: means of equal parts of the span, ``null`` where nothing was read. Blocks."""
    step_ms = hours * 3_600_000 // POINTS
    from_ms = page.now_ms // step_ms * step_ms - (POINTS - 1) * step_ms
    metrics = {metric for metrics in CHARTS.values() for metric in metrics}
    found = series.series_of(
        sources.store, site, name, from_ms, step_ms, POINTS, lambda device, metric: metric in metrics
    )  # fmt: skip
    tickets = tickets_of.list_tickets(sources.store.engine, site=site, vehicle=name, limit=100)
    plan = sources.fleet.sites[site].vehicles.get(name, _NO_PLAN) if site in sources.fleet.sites else _NO_PLAN
    devices = {id: device for _, id, device in plan.devices()}
    return {
        "times": [(from_ms + at * step_ms) / 1000 for at in range(POINTS)],
        "charts": {chart: list(_drawn(found, metrics, devices, page.language)) for chart, metrics in CHARTS.items()},
        "marks": [
            {"at": one.event_ms / 1000, "text": fault_name(one.fault)[page.language]}
            for one in tickets
            if one.event_ms >= from_ms
        ],
    }


def _drawn(
    found: Sequence[series.Series],
    metrics: Iterable[str],
    devices: Mapping[str, Device],
    language: Language,
) -> Iterable[dict[str, Any]]:
    words = Words(language)
    names = {id: one.name or words.name("kind", one.kind) for id, one in devices.items()}
    for metric in metrics:
        for one in found:
            if one.metric == metric:
                of = names.get(one.device, one.device)
                of = f"{of} {one.device}" if list(names.values()).count(of) > 1 else of
                label = f"{words.name('metric', metric)} · {of} {' '.join(one.labels.values())}".rstrip()
                read = [at for at, value in enumerate(one.values) if value is not None]
                yield {
                    "metric": metric, "of": one.device, "unit": series.unit_of(metric), "values": one.values,
                    "label": label, "bridge": bridge(read),
                }  # fmt: skip


def bridge(parts: Collection[int]) -> int:
    """Return how many points in a row may be empty without being a gap: a device is asked less often than they stand.

    ``parts`` are the places of the points that were read. Readings go on until more than one of them is missing.
    """
    steps = [after - before for before, after in itertools.pairwise(sorted(parts))]
    return int(statistics.median(steps) * 2.5) - 1 if steps else 0
