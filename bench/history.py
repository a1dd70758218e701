"""What history and places cost: CPU of their drains at their real pace, and bytes, against the log that they read.

Vehicles with the standard kit, a batch a moment, a look at the log every 5 minutes as in the product.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from typing import Any

from sqlalchemy import func, select

from bench.row import Row, row
from bench.standard_kit import PARTS, samples
from collector.sinks.history import Compactor
from collector.sinks.places import Places
from collector.sinks.runner import SinkRunner
from collector.site.handover import Handover
from collector.store import schema
from collector.store.batch import Group, encode
from collector.store.commit import SiteConnection
from collector.store.rows import BatchRow, Changes
from collector.store.store import Store
from telemetry.fleet import AgentPlan, Device, Site, VehiclePlan
from telemetry.inputs import SystemInput
from telemetry.message import Moment
from telemetry.records import Clock

VEHICLES = 20
MOMENTS = 360
"""An hour, ten seconds apart."""
A_LOOK = 30
"""Moments between two looks."""
START_MS = 1_790_000_000_000 // 3_600_000 * 3_600_000
RUN = "00000000000000aa"


def rows() -> list[Row]:
    """Return CPU a message, and bytes a vehicle and day of chunks and of hours."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(f"sqlite:///{folder}/kitwatch.sqlite")
        store.migrate()
        site = SiteConnection.acquire(store, "north", "bench")
        assert site is not None
        with site:
            commit_s, history_s, places_s, log_bytes = _hour(store, site)
        with store.engine.connect() as connection:
            chunks = connection.scalar(select(func.sum(func.length(schema.chunk.c.content)))) or 0
            hour = connection.scalar(
                select(func.sum(func.length(schema.hour.c.figures))).where(schema.hour.c.hour_ms == START_MS)
            )
            learnt = sum(
                connection.scalar(select(func.sum(func.length(column)))) or 0
                for column in (schema.gap.c.detail, schema.coverage.c.histogram, schema.journey.c.content)
            )
        store.close()
    messages, days = VEHICLES * MOMENTS, VEHICLES / 24
    return [
        row(
            "history, standard kit, µs of CPU a message",
            history_s / messages * 1e6,
            "the commit of the same messages",
            commit_s / messages * 1e6,
        ),
        row(
            "drain of places, standard kit, µs of CPU a message",
            places_s / messages * 1e6,
            "history of the same messages",
            history_s / messages * 1e6,
        ),
        row(
            "places, bytes of rows a vehicle after an hour of driving",
            learnt / VEHICLES,
            "its log",
            log_bytes / VEHICLES,
        ),
        row("history, bytes of chunks a vehicle and day", chunks / days, "the same in the log", log_bytes / days),
        row(
            "history, bytes of figures a vehicle and day",
            (hour or 0) / VEHICLES * 24,
            "its chunks",
            chunks / days,
        ),
    ]


def _hour(store: Store, site: SiteConnection) -> tuple[float, float, float, int]:
    """Commit and drain an hour; return the CPU seconds of commits and both drains, and the bytes of the log."""
    names = [f"vehicle-{n}" for n in range(VEHICLES)]
    plan = _plan(names)
    compactor = Compactor(store, "north", plan, now_ms=lambda: START_MS + 3_600_000)
    runner = SinkRunner(store, "north", compactor)
    learner = SinkRunner(store, "north", Places(store, "north", plan, Handover(), now_ms=lambda: START_MS + 3_600_000))
    streams = [samples(n, MOMENTS) for n in range(VEHICLES)]
    sequences = [0] * VEHICLES
    schemas = {(name, "router", part.schema_id): part.schema for name in names for part in PARTS}
    commit_s = history_s = places_s = 0.0
    size = 0
    first_ms: int | None = None
    for number, moment in enumerate(zip(*streams, strict=True)):
        groups = []
        for n, taken in enumerate(moment):
            first_ms = taken[0].mono_ms if first_ms is None else first_ms
            clock = Clock(0, first_ms, START_MS, "ntp", 20)
            entries: list[list[Any]] = [[one.part.schema_id, list(one.values)] for one in taken]
            pairs = [(sequences[n], sequences[n] + len(entries) - 1)]
            sequences[n] += len(entries)
            groups.append(
                Group(names[n], "router", RUN, "live", pairs, {0: clock}, [Moment(taken[0].mono_ms, 0, entries)])
            )
        size += len(encode(groups))
        now_ms = START_MS + number * 10_000
        batch = BatchRow(number + 1, now_ms, now_ms, sum(len(taken) for taken in moment), groups)
        changes = Changes(batch=batch, schemas=schemas if number == 0 else {})
        began = time.process_time()
        site.commit(changes)
        commit_s += time.process_time() - began
        if number % A_LOOK == A_LOOK - 1:
            began = time.process_time()
            asyncio.run(runner.catch_up())
            history_s += time.process_time() - began
            began = time.process_time()
            asyncio.run(learner.catch_up())
            places_s += time.process_time() - began
    return commit_s, history_s, places_s, size


def _plan(names: list[str]) -> Site:
    devices: dict[str, Any] = {}
    for part in PARTS:
        devices.setdefault(part.device, {})[part.input] = SystemInput(interval=part.every * 10.0)
    plan = AgentPlan(
        devices={
            id: Device(kind="host", **{k: v for k, v in inputs.items() if k != "agent"})
            for id, inputs in devices.items()
        }
    )
    return Site(vehicles={name: VehiclePlan(agents={"router": plan}) for name in names})
