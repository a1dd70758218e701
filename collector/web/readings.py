"""What was read of a vehicle: ``GET /api/vehicles/{vehicle}/readings`` (now) and ``.../history``.

Both read the collector's own history, so they need no InfluxDB. Reading it costs: only a few are read at a time.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from aiohttp import web

from collector.core.vehicle.summary import Details
from collector.read import series, vehicles
from collector.store.chunks import AHEAD_MS
from collector.web import vehicle_types as shown
from collector.web.answers import Moment, in_ms, iso
from collector.web.app import SOURCES, Sources, json
from collector.web.identity import principal_of
from collector.web.operations import operation, query_of
from collector.web.problems import unexpected
from collector.web.vehicles import UNKNOWN, Key, current_until_ms, vehicle_meant
from collector.web.view import POSITION_METRICS
from telemetry.fleet import VehiclePlan

routes = web.RouteTableDef()
AT_ONCE: Final = 2
"""Requests that read history at a time."""
READING: web.AppKey[asyncio.Semaphore] = web.AppKey("reading", asyncio.Semaphore)
DAY_S: Final = 86_400
MOST_STEPS: Final = 1_500
STEPS: Final = 360
"""Steps of a span if nobody says how long one is."""
LEAST_STEP_S: Final = 10
_UNKNOWN: Final = VehiclePlan(agents={})
Names = Annotated[list[str], msgspec.Meta(max_length=100)]


class ReadingsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which readings are wanted."""

    metric: Names = []
    """Only this metric, such as `modem.rsrp_dbm`; again and again."""
    device: Names = []
    """Only this device; again and again."""
    within: Annotated[int, msgspec.Meta(ge=60, le=DAY_S)] = 3600
    """Only what was read in so many seconds before the vehicle's last word."""


@routes.get("/api/vehicles/{vehicle}/readings")
@operation(shown.Readings, query=ReadingsQuery, refuses={404: UNKNOWN})
async def readings(request: web.Request) -> web.Response:
    """Show the last value of each series of a vehicle, with its time, unit and quality.

    Positions, and the cells that tell them, are left out for a role that needs none.
    """
    query, sources = query_of(request, ReadingsQuery), request.app[SOURCES]
    key = await vehicle_meant(request)
    wanted = _wanted(request, key[0], query.metric, query.device)
    async with request.app[READING]:
        return json(await asyncio.to_thread(_readings, sources, key, query.within * 1000, wanted))


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the past is wanted, and how finely."""

    from_: Moment | None = msgspec.field(default=None, name="from")
    """Where it begins; an hour before its end if it is not given."""
    until: Moment | None = None
    """Where it ends, at most a day later; now if it is not given."""
    step: Annotated[int, msgspec.Meta(ge=LEAST_STEP_S, le=DAY_S)] | None = None
    """Seconds of a step, of which there may be 1,500; a 360th of the span if it is not given, and at least 10."""
    metric: Names = []
    """Only this metric, such as `modem.rsrp_dbm`; again and again."""
    device: Names = []
    """Only this device; again and again."""


@routes.get("/api/vehicles/{vehicle}/history")
@operation(shown.History, query=HistoryQuery, refuses={404: UNKNOWN})
async def history(request: web.Request) -> web.Response:
    """Show what was read of a vehicle over time, by steps: numbers as their mean, anything else as the last word.

    A step in which nothing was read is ``null``. Single readings are kept for as long as retention says
    (docs/retention.md). Positions, and the cells that tell them, are left out for a role that needs none.
    """
    query, sources = query_of(request, HistoryQuery), request.app[SOURCES]
    from_ms, step_ms, steps = span_of(query, time.time_ns() // 1_000_000)
    site, name = await vehicle_meant(request)
    wanted = _wanted(request, site, query.metric, query.device)
    async with request.app[READING]:
        found = await asyncio.to_thread(
            series.series_of, sources.store, site, name, from_ms, step_ms, steps, wanted
        )  # fmt: skip
    answer = json(
        shown.History(
            {
                "site": site,
                "vehicle": name,
                "from": iso(from_ms),
                "until": iso(from_ms + step_ms * steps),
                "step": step_ms // 1000,
                "series": [
                    {
                        "device": one.device,
                        "metric": one.metric,
                        "labels": dict(one.labels),
                        "unit": series.unit_of(one.metric),
                        "values": one.values,
                    }
                    for one in found
                ],
            }
        )
    )
    answer.enable_compression()
    return answer


def span_of(query: HistoryQuery, now_ms: int) -> tuple[int, int, int]:
    """Return (beginning, step, number of steps) in UTC ms; steps begin at whole multiples of their length.

    Raises 400 for a span without end or beyond a day, and for too many steps.
    """
    until_ms, from_ms = in_ms(query.until), in_ms(query.from_)
    until_ms = now_ms if until_ms is None else until_ms
    from_ms = until_ms - 3_600_000 if from_ms is None else from_ms
    span_ms = until_ms - from_ms
    if not (0 < span_ms <= DAY_S * 1000 and from_ms >= 0 and until_ms <= _LAST_MS):
        raise unexpected("from", "a time since 1970 within the day before `until`", str(query.from_))
    step_s = query.step or max(LEAST_STEP_S, -(-span_ms // (1000 * STEPS)))
    begin_ms = from_ms // (step_s * 1000) * step_s * 1000
    steps = -(-(until_ms - begin_ms) // (step_s * 1000))
    if steps > MOST_STEPS:
        raise unexpected("step", f"seconds that make at most {MOST_STEPS} steps", str(step_s))
    return begin_ms, step_s * 1000, steps


_LAST_MS: Final = round(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000)


def _wanted(request: web.Request, site: str, metrics: list[str], devices: list[str]) -> series.Wanted:
    hidden = frozenset() if principal_of(request).may("positions", site) else POSITION_METRICS

    def wanted(device: str, metric: str) -> bool:
        return metric not in hidden and (not metrics or metric in metrics) and (not devices or device in devices)

    return wanted


def _readings(sources: Sources, key: Key, within_ms: int, wanted: series.Wanted) -> shown.Readings:
    """Return the last value of each series. Blocks."""
    site, name = key
    now_ms = time.time_ns() // 1_000_000
    row = vehicles.vehicles_of(sources.store.engine, [key]).get(key)
    heard_ms = row.heard_ms if row else None
    found: dict[series.Key, series.Last] = {}
    if heard_ms is not None:
        begin_ms = heard_ms - within_ms
        found = series.last_values(sources.store, site, name, begin_ms, now_ms + AHEAD_MS, wanted)
    details = row.details if row else Details()
    told = {(one.agent, one.device): one for one in details.devices}
    at = sources.fleet.sites.get(site)
    plan = (at.vehicles.get(name) if at else None) or _UNKNOWN
    planned = {(agent, id): device for agent, id, device in plan.devices()}

    def quality(device: str, one: series.Last) -> shown.Quality:
        of = (one.agent, device)
        until_ms = current_until_ms(planned.get(of), told.get(of), details.agents.get(one.agent))
        if not one.is_known:
            return "unknown"
        return "good" if until_ms is not None and until_ms >= now_ms else "stale"

    return {
        "site": site,
        "vehicle": name,
        "heard_at": iso(heard_ms),
        "readings": [
            {
                "device": device,
                "agent": one.agent,
                "metric": metric,
                "labels": dict(labels),
                "value": one.value,
                "unit": series.unit_of(metric),
                "at": iso(one.time_ms),
                "quality": quality(device, one),
            }
            for (device, metric, labels), one in sorted(found.items(), key=lambda item: item[0])
        ],
    }
