"""Validation is as wide as storage: every field of every message with every odd value, to the last place where it goes.

The fields are found in the types of the wire, so that a new one is walked by itself; one of which the examples below
have nothing fails here. What is taken is committed (SQLite, PostgreSQL), drained to a real InfluxDB without a dead
letter, stands in history, and pages show it; what is not taken stands in quarantine.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import msgspec.inspect as types
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from sqlalchemy import select

from collector.config import InfluxDB
from collector.core.rules.files import load_rules
from collector.core.vehicle.events import Listening
from collector.outgoing import Progress
from collector.sinks.history import Compactor
from collector.sinks.influxdb import InfluxSink
from collector.sinks.runner import SinkRunner
from collector.site.in_force import InForce
from collector.site.intake import Incoming, Lost
from collector.site.memory import Memory
from collector.site.status import Status
from collector.site.unit_of_work import UnitOfWork
from collector.store import history, log, queries
from collector.store import schema as tables
from collector.store.commit import SiteConnection
from collector.store.store import Store
from collector.web.app import Sources, make_app
from telemetry.fleet import AgentPlan, Device, Fleet, Site, VehiclePlan
from telemetry.inputs import ModemInput
from telemetry.intervals import Intervals
from telemetry.message import Ask, Birth, EventEntry, Goodbye, HeldRun, Moment, SampleEntry, SchemaBody, Will
from telemetry.metrics import METRICS, Metric
from telemetry.records import Clock, Column, Schema
from telemetry.topics import AgentName
from tests.services.api import let_in
from tests.services.influxdb import influxdb, points
from tests.strangers.messages import header

SITE: Final = "north"
NOW_MS: Final = 1_790_000_000_000
RUN: Final = "00000000000000aa"
TEXTS: Final = (
    *("", " ", "\t", "\n", "a\nb", "\r\n", "\0", "a\0b", "\x1b[2J", "\x7f", "\x85", "\u2028", "/", "a/b", "..", "\\"),
    *("\u200f", "\u202eabc", "\u2066", "\ufeff", "\ufffe", "病", "e\u0301", "😀", "x" * 10_000, "病" * 10_000, "null"),
    *(",", "=", "a,b=c d", '"', "a\\", "\\,", "#", "+", "$SYS", "%00", "<script>", "'; DROP TABLE run; --", "NaN", "-"),
)
NUMBERS: Final = (
    *(0, -1, 1, 2**31, 2**53, 2**53 - 1, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1, 10**30, 10**400),
    *(0.5, -0.0, 1e-320, 1e12, 1e13, 1e308, -1e308, 1.7976931348623157e308, float("nan"), float("inf"), float("-inf")),
)
OTHERS: Final[tuple[Any, ...]] = (None, True, False, [], {}, [[]], {"": {}}, [None], {"a": {"b": [1]}}, [[[[[[1]]]]]])
ODD: Final = (*TEXTS, *NUMBERS, *OTHERS)
RAW: Final = (b'"\\ud800"', b'"a\\udfffb"', b'"\xff\xfe"', b"9" * 5_000, b"1e999", b"[" * 20_000 + b"]" * 20_000)
"""What JSON's own writer would not write: lone surrogates, no UTF-8, numbers beyond all, depth."""

ALL: Final = Schema(
    "modem", "modem-1", tuple(Column(name, dict.fromkeys(metric.labels, "1")) for name, metric in METRICS.items())
)
WALKED: Final = Schema(
    "modem",
    "modem-1",
    (
        Column("modem.rsrp_dbm", {"leg": "nr", "modem": "1"}),
        Column("interface.up", {"interface": "wan"}),
        Column("camera.invented_later", {"lens": "1"}),
    ),
)
UNKNOWN: Final = Schema("snmp", "cam-1", (Column("camera.invented_later", {"lens": "1"}),))
CLOCK: Final = Clock(0, 0, NOW_MS - 1_000_000, "ntp", 5)
BODIES: Final[dict[str, tuple[str, Any]]] = {
    "birth": (
        "state", Birth(1, "boot", "machine", "0.1.0", 10.0, {RUN: HeldRun("boot", 0, 9)}, {"modem-1": "modem"}),
    ),
    "goodbye": ("state", Goodbye(1, "parked")),
    "will": ("state", Will(1)),
    "schema": (
        "schema",
        SchemaBody("boot", {WALKED.id(): WALKED}, (CLOCK,), ("AAAAAA",), False, {WALKED.id(): 1}),
    ),
    "ask": ("ask", Ask(1)),
}  # fmt: skip
EVENTS: Final[dict[str, EventEntry]] = {
    "started": EventEntry("started", "", {"version": "1", "boots": 3, "run_before": None, "booted": True, "rate": 0.5}),
    "inventory": EventEntry("inventory", "modem-1", {"input": "modem", "model": "M", "firmware": "1", "serial": None}),
    "problem": EventEntry("problem", "modem-1", {"input": "modem", "problem": "no answer"}),
    "lost": EventEntry("lost", "", msgspec.to_builtins(Lost(RUN, [(900_000, 900_001)], "disk full"))),
}


def good(metric: Metric | None) -> Any:
    """Return a value that a metric can have; a number for one that nobody knows."""
    if metric is None:
        return 1
    middle = max(metric.low, min(metric.high, 1))
    by_kind = {"float": float(middle), "int": int(middle), "bool": True, "text": "text"}
    return metric.states[0] if metric.kind == "state" else by_kind[metric.kind]


GOOD: Final = [good(metric) for metric in METRICS.values()]
Path_ = tuple[str | int, ...]
_NUMBERS: Final = itertools.count(2)


def examples() -> dict[str, tuple[str, Any]]:
    """By name: the topic's kind and the body as JSON has it."""
    found = dict(BODIES)
    found["sample"] = ("live", [Moment(1_000, 0, [[ALL.id(), GOOD]])])
    for name, event in EVENTS.items():
        found[name] = ("backlog", [Moment(1_000, 0, [[event.kind, event.device, event.body]])])
    return {name: (kind, json.loads(msgspec.json.encode(body))) for name, (kind, body) in found.items()}


def places(body: Any, at: Path_ = ()) -> Iterator[tuple[Path_, bool]]:
    """Yield every place of a body, and whether its key can be another: of a mapping, which names things."""
    yield at, bool(at) and isinstance(at[-1], str)
    if isinstance(body, dict | list):
        for key, inner in body.items() if isinstance(body, dict) else enumerate(body):
            yield from places(inner, (*at, key))


def replaced(body: Any, at: Path_, value: Any, *, key: bool = False) -> Any:
    """Return a body with another value, or key, at a place."""
    if not at:
        return value
    found = copy.deepcopy(body)
    inside = found
    for step in at[:-1]:
        inside = inside[step]
    if key:
        inside[value] = inside.pop(at[-1])
    else:
        inside[at[-1]] = value
    return found


def named_anew(body: Any) -> tuple[Any, Schema | None]:
    """Return a schema's message in which each schema has its own name again, and the schema if it is one."""
    try:
        (name,), (content,) = body["schemas"].keys(), body["schemas"].values()
        told = msgspec.convert(content, Schema)
        renamed = {**body, "schemas": {told.id(): content}}
        if body.get("numbers") == {name: 1}:
            renamed["numbers"] = {told.id(): next(_NUMBERS)}  # a number that is given is never another's
        return renamed, told
    except (msgspec.ValidationError, AttributeError, KeyError, TypeError, ValueError):
        return body, None


def variants(kind: str, body: Any, at: Path_, renamable: bool) -> Iterator[tuple[bytes, Schema | None]]:
    """Yield a body as bytes with every odd value at one place, and the schema that it tells."""
    for value in ODD:
        for key in (False, True) if renamable and isinstance(value, str) else (False,):
            found, schema = replaced(body, at, value, key=key), None
            if kind == "schema":
                found, schema = named_anew(found)
            yield json.dumps(found).encode(), schema
    marked = json.dumps(replaced(body, at, "@@here@@")).encode()
    for raw in RAW:
        yield marked.replace(b'"@@here@@"', raw), None


def struct_fields(type_: Any) -> set[tuple[str, str]]:
    """Return (struct, field as the wire names it) of all structs that a type holds."""
    found: set[tuple[str, str]] = set()
    waiting = [types.type_info(type_)]
    while waiting:
        one = waiting.pop()
        if isinstance(one, types.StructType):
            for field in one.fields:
                if (one.cls.__name__, field.encode_name) not in found:
                    found.add((one.cls.__name__, field.encode_name))
                    waiting.append(field.type)
        for name in ("types", "item_types"):
            waiting += getattr(one, name, ())
        for name in ("item_type", "key_type", "value_type", "type"):
            inner = getattr(one, name, None)
            if isinstance(inner, types.Type):
                waiting.append(inner)
    return found


def told_fields(value: Any) -> set[tuple[str, str]]:
    """Return the same of what an example really has: nothing of what is empty or not set."""
    if isinstance(value, msgspec.Struct):
        found = set()
        for field in msgspec.structs.fields(value):
            inner = getattr(value, field.name)
            if inner is not msgspec.UNSET and inner not in ({}, [], ()):
                found |= {(type(value).__name__, field.encode_name)} | told_fields(inner)
        return found
    if isinstance(value, dict):
        value = list(value.values())
    return set().union(*map(told_fields, value)) if isinstance(value, list | tuple) else set()


def test_the_examples_have_every_field_of_every_message() -> None:
    """A new field of the wire is walked by itself, or this says that the examples have nothing of it."""
    bodies = [body for _, body in BODIES.values()]
    wanted: set[tuple[str, str]] = set()
    for type_ in (Birth, Goodbye, Will, SchemaBody, Ask):
        wanted |= struct_fields(type_)
    assert told_fields(bodies) == wanted
    assert struct_fields(EventEntry) | struct_fields(SampleEntry) | struct_fields(Moment) == {
        *(("EventEntry", name) for name in ("kind", "device", "body")),
        *(("SampleEntry", name) for name in ("schema", "values")),
        *(("Moment", name) for name in ("mono_ms", "clock", "entries")),
    }
    assert struct_fields(Lost) == {("Lost", name) for name in EVENTS["lost"].body}
    assert {column.metric for column in ALL.columns} == METRICS.keys()


class Centre:
    """A site's real unit of work and real commit; time is given."""

    def __init__(self, store: Store) -> None:
        modem = Device(kind="modem", modem=ModemInput(port="/dev/x"))
        plan = VehiclePlan(agents={"router": AgentPlan(devices={"modem-1": modem})})
        self.fleet = Fleet(sites={SITE: Site(vehicles={"amb-1": plan, "amb-2": plan})})
        self.force = InForce(SITE, self.fleet.sites[SITE], load_rules())
        self.store = store
        lock = SiteConnection.acquire(store, SITE, "widths")
        assert lock is not None
        self.lock = lock
        self.memory = Memory.of(self.force, lock.load())
        self.now_ms = NOW_MS
        self.sequence = 0
        self.taken = 0
        self.counts: dict[str, int] = {}

    def do(self, messages: list[tuple[str, bytes]]) -> None:
        """One unit of work, committed: whatever it holds, nothing raises."""
        self.now_ms += 1_000
        work = UnitOfWork(self.memory, self.force, Listening(NOW_MS), self.now_ms)
        for topic, payload in messages:
            work.take(Incoming(topic, payload, self.now_ms))
        work.look()
        changes = work.changes()
        if changes is not None:
            self.lock.commit(changes)
        work.keep()
        assert work.faults == []
        self.taken += work.taken
        for name, count in work.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count

    def payload(self, content: bytes, records: int = 0) -> bytes:
        """A message of so many new records, in plain JSON."""
        pairs = [(self.sequence, self.sequence + records - 1)] if records else []
        self.sequence += records
        return header(0, bytes.fromhex(RUN), pairs) + content


@pytest.mark.timeout(1200)
def test_every_field_of_every_message_with_every_odd_value_to_the_last_place(tmp_path: Path, database_url: str) -> None:
    store = Store.open(database_url)
    store.migrate()
    centre = Centre(store)
    agent, other = AgentName(SITE, "amb-1", "router"), AgentName(SITE, "amb-2", "router")
    told = json.dumps(msgspec.to_builtins(SchemaBody("boot", {s.id(): s for s in (ALL, UNKNOWN)}, (CLOCK,)))).encode()
    for name in (agent, other):
        centre.do([(name.up("schema"), centre.payload(told))])
    named = 0
    for what, (kind, body) in examples().items():
        for at, renamable in places(body):
            unit: list[tuple[str, bytes]] = []
            for content, schema in variants(what, body, at, renamable):
                records = 1 if kind in ("live", "backlog") else 0
                named += records
                unit.append((agent.up(kind), centre.payload(content, records)))
                if schema is not None:  # a sample of it, so that its labels go where samples go
                    values = [good(METRICS.get(column.metric)) for column in schema.columns]
                    sample = json.dumps([[1_000 + centre.sequence, 0, [[schema.id(), values]]]]).encode()
                    named += 1
                    unit.append((agent.up("live"), centre.payload(sample, 1)))
            neighbour = json.dumps([[1_000 + centre.sequence, 0, [[ALL.id(), GOOD]]]]).encode()
            unit.append((other.up("live"), centre.payload(neighbour, 1)))
            named += 1
            centre.do(unit)
    for value in ODD:  # of a metric that nobody knows, too
        content = json.dumps([[1_000 + centre.sequence, 0, [[UNKNOWN.id(), [value]]]]]).encode()
        centre.do([(agent.up("live"), centre.payload(content, 1))])
        named += 1
    _all_of_them_somewhere(centre, named)
    centre.lock.close()
    _bounded_and_printable(store)
    with influxdb(tmp_path / "influx") as influx:
        token = tmp_path / "token"
        token.write_text(influx.token)
        token.chmod(0o600)
        config = InfluxDB(url=influx.url, token_file=str(token), bucket=influx.bucket, retention_days=36_500)
        for sink in (
            InfluxSink(store, SITE, config, now_ms=lambda: centre.now_ms),
            Compactor(store, SITE, centre.fleet.sites[SITE], days=36_500, now_ms=lambda: centre.now_ms),
        ):
            progress = asyncio.run(_drained(store, sink, centre.now_ms))
            assert (progress.error, progress.counts["errors"], progress.counts["refused"]) == ("", 0, 0)
        refused = [one.reason for one in queries.list_dead_letters(store.engine, limit=1_000)]
        assert [words for words in refused if "ahead" not in words and "older" not in words] == []
        measurements = {name for name, _, _ in points(influx)}
        assert measurements == {metric.measurement for metric in METRICS.values()}, "and no other"
    for vehicle in ("amb-1", "amb-2"):
        assert history.samples(store, SITE, vehicle, 0, 2**52)
        history.events(store, SITE, vehicle, 0, 2**52)
        history.hours(store, SITE, vehicle, 0, 2**52)
    asyncio.run(_pages(Sources(store, centre.fleet, {SITE: Status(state="owner", connected=True)})))
    lock = SiteConnection.acquire(store, SITE, "widths")
    assert lock is not None
    again = Memory.of(centre.force, lock.load())
    assert again.unreadable == {}
    assert again.vehicles == centre.memory.vehicles, "what was stored is what was known"
    lock.close()
    store.close()


def _bounded_and_printable(store: Store) -> None:
    """Look through all that was committed of what agents said; quarantine keeps the bytes as they came."""
    with store.engine.connect() as connection:
        schemas = [msgspec.json.decode(row.content, type=Schema) for row in connection.execute(select(tables.schema))]
        states = [msgspec.json.decode(row.state) for row in connection.execute(select(tables.vehicle))]
        runs = [[row.boot, row.run] for row in connection.execute(select(tables.run))]
    assert len(schemas) > 100
    for schema in schemas:
        for column in schema.columns:
            metric = METRICS.get(column.metric)
            assert metric is None or column.labels.keys() <= set(metric.labels), column
    entries = [batch.entries for batch in log.read(store, SITE, 0, 100_000)]
    for found in _values([msgspec.to_builtins(schemas), states, runs, msgspec.to_builtins(entries)]):
        if isinstance(found, str):
            assert found.isprintable(), repr(found[:200])
            assert len(found) <= 1_000, found[:200]
        elif isinstance(found, int | float):
            assert abs(found) <= 2**53, found


def _values(found: Any) -> Iterator[Any]:
    """Yield every value and every key of plain data."""
    waiting = [found]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple):
            waiting += one
        else:
            yield one


def _all_of_them_somewhere(centre: Centre, named: int) -> None:
    """Each record that was named is taken, in quarantine, or waits for its schema or clock; none is two of these."""
    known = centre.memory.runs["amb-1", "router", RUN], centre.memory.runs["amb-2", "router", RUN]
    seen = Intervals()
    for one in known:
        assert not seen.intersection(one.row.seen)
        seen.update(one.row.seen)
    aside = Intervals(pair for row in queries.list_quarantine(centre.store.engine, limit=100_000) for pair in row.pairs)
    assert not seen.intersection(aside)
    waiting = Intervals([(0, centre.sequence - 1)]).minus(seen).minus(aside)
    assert centre.sequence == named
    assert len(seen) == centre.taken
    assert len(seen) > 200
    assert len(aside) > 1_000
    assert len(waiting) < named // 4, "those of schemas and clocks that nobody has told"


async def _drained(store: Store, sink: Any, now_ms: int) -> Progress:
    runner = SinkRunner(store, SITE, sink, now_ms=lambda: now_ms)
    try:
        await asyncio.wait_for(runner.catch_up(), 400)
    finally:
        await sink.reset()
    return runner.progress


async def _pages(sources: Sources) -> None:
    """Ask all that a page asks: every answer is whole JSON in UTF-8, and nothing of it cannot be shown."""
    async with (
        TestServer(make_app(sources)) as server,
        ClientSession(server.make_url(""), headers=let_in(sources.store)) as client,
    ):
        paths = ["/api/vehicles", "/api/vehicles/amb-1", "/api/vehicles/amb-2", "/api/tickets?limit=1000", "/api/sites"]
        async with client.get("/api/tickets?limit=1000") as answer:
            paths += [f"/api/tickets/{ticket['id']}" for ticket in (await answer.json())["tickets"]]
        for path in (*paths, "/metrics", "/healthz"):
            async with client.get(path) as answer:
                text = (await answer.read()).decode()
                assert answer.status == 200, f"{path}: {text[:300]}"
                assert "cannot be shown" not in text, path
                if path.startswith("/api/"):
                    json.loads(text)
