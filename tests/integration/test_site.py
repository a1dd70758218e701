"""A site's owner against a real broker and both databases; the messages of the agents are written by hand here."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, text, update

import collector.site.mqtt
import collector.site.ownership
import telemetry.paho_mqtt
from collector.config import Timings
from collector.core.rules.files import load_rules
from collector.core.rules.types import Rules
from collector.read import sites, vehicles
from collector.site.caution import digest_of
from collector.site.in_force import InForce
from collector.site.intake import Incoming, RecordsMessage
from collector.site.owner import SiteOwner
from collector.site.quotas import Quotas
from collector.site.unit_of_work import UnitOfWork
from collector.store import log, queries, schema
from collector.store.batch import decode_groups as decode_batch
from collector.store.errors import CommitFailed
from collector.store.on_sqlite import SqliteSite
from collector.store.rows import Changes
from collector.store.store import Store
from kitwatch.embedded import embedded_broker
from telemetry.fleet import AgentPlan, Broker, Device, Site, VehiclePlan
from telemetry.inputs import ModemInput
from telemetry.intervals import Intervals
from telemetry.message import (
    DEFLATED,
    NUMBERED,
    PLAIN,
    Ask,
    Birth,
    Down,
    HeldRun,
    Moment,
    Needed,
    Presence,
    Receipt,
    SchemaBody,
    Time,
    Up,
    Will,
    decode,
    encode,
)
from telemetry.mqtt import Message
from telemetry.paho_mqtt import Connection
from telemetry.records import Clock, Column, Schema
from telemetry.topics import AgentName, presence
from tests.services.mosquitto import mosquitto
from tests.services.process import Server

SITE = "north"
AGENT = AgentName(SITE, "amb-3", "router")
RUN = "00000000000000aa"
FLEET = Site(
    vehicles={
        "amb-3": VehiclePlan(
            agents={"router": AgentPlan(devices={"modem-1": Device(kind="modem", modem=ModemInput(port="/dev/null"))})}
        )
    }
)
SCHEMA = Schema("modem", "modem-1", (Column("modem.rsrp_dbm", {"leg": "nr"}), Column("modem.sim")))
NEWER = Schema("modem", "modem-1", (Column("modem.invented_later"), Column("modem.sim")))
BOOT = "boot-1"


def clock(now_ms: int) -> Clock:
    """The agent's clock: its boot was 1,000 s ago."""
    return Clock(0, 1_000_000, now_ms, "ntp", 5)


class Agent:
    """What an agent would say and hear, on one connection."""

    def __init__(self, port: int, name: AgentName = AGENT, run: str = RUN) -> None:
        self.name, self.run = name, run
        self.receipts: list[Receipt] = []
        self.times: list[Time] = []
        self.presences: list[Presence] = []
        self.connection = Connection(
            Broker(host="127.0.0.1", port=port), f"test-{name.vehicle}-{name.agent}", on_message=self._on_message
        )

    async def __aenter__(self) -> Agent:
        await self.connection.open()
        await self.connection.subscribe(self.name.down("receipt"), self.name.down("time"), presence(SITE))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.connection.close()

    def _on_message(self, message: Message) -> None:
        if message.topic == presence(SITE):
            body: Any = decode(message.payload, Presence)[1]
            self.presences.append(body)
        elif message.topic.endswith("/receipt"):
            self.receipts.append(decode(message.payload, Receipt)[1])
        else:
            self.times.append(decode(message.payload, Time)[1])

    async def say(self, kind: str, body: object, numbers: Intervals | None = None, format: int = DEFLATED) -> None:
        retain = kind == "state"
        await self.connection.deliver(self.name.up(kind), encode(format, self.run, body, numbers), retain=retain)

    async def birth(self, session: int = 1, **held: HeldRun) -> None:
        await self.say(
            "state", Birth(session, BOOT, "machine-1", "0.1.0", 10.0, {self.run: HeldRun(BOOT, 0, 0), **held})
        )

    async def schema(self, now_ms: int, *schemas: Schema) -> None:
        body = SchemaBody(
            BOOT,
            {one.id(): one for one in schemas},
            (clock(now_ms),),
            numbers={one.id(): number for number, one in enumerate(schemas)},
        )
        await self.say("schema", body)

    async def live(self, first: int, *values: list[Any], schema: Schema = SCHEMA, number: int | None = 0) -> None:
        """One sample each of ``values``, ten seconds apart, from sequence ``first`` on."""
        body = [Moment(1_000_000 + (first + n) * 100, number, [[schema.id(), value]]) for n, value in enumerate(values)]
        await self.say("live", body, Intervals([(first, first + len(values) - 1)]))

    def receipt(self) -> Receipt:
        """The last one; an empty one of no birth before the first."""
        return self.receipts[-1] if self.receipts else Receipt(0, ("", 0), {})

    def done(self) -> list[tuple[int, int]] | None:
        return self.receipt().runs.get(self.run)

    def needed(self) -> Needed | None:
        return self.receipt().needed.get(self.run)


async def until(what: Callable[[], bool], seconds: float = 60, why: Callable[[], object] = lambda: "") -> None:
    """Wait until something is so."""
    try:
        async with asyncio.timeout(seconds):
            while not what():  # noqa: ASYNC110 - a condition on a database sends no events
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"not in time: {why()}")


def taken(store: Store) -> list[tuple[str, str, int]]:
    """Every record in the log, as often as it is there: (agent, run, sequence)."""
    return [
        (group.agent, group.run, number)
        for batch in log.read(store, SITE, 0, 10_000)
        for group in batch.groups
        for number in Intervals(group.pairs)
    ]


TIMINGS = Timings(gather_ms=0, receipt=0.2, beat=0.5, retry=0.1, retry_most=0.5)


CLIENTS = {"mqtt5": collector.site.mqtt.Connection, "paho": telemetry.paho_mqtt.Connection}
CLIENT: dict[str, Callable[..., Any]] = {"now": CLIENTS["mqtt5"]}


@pytest.fixture(autouse=True, params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test runs over both ways of speaking MQTT."""
    CLIENT["now"] = CLIENTS[request.param]
    yield
    CLIENT["now"] = CLIENTS["mqtt5"]


@contextlib.asynccontextmanager
async def owner(
    store: Store, port: int, rules: Rules | None = None, timings: Timings = TIMINGS, quotas: Quotas | None = None
) -> AsyncIterator[SiteOwner]:
    """A running owner, stopped cleanly afterwards."""
    stop = asyncio.Event()
    judge = InForce(SITE, FLEET, rules or load_rules())
    one = SiteOwner(judge, Broker(host="127.0.0.1", port=port), store, timings, connect=CLIENT["now"], quotas=quotas)
    task = asyncio.create_task(one.run(stop))
    try:
        await until(lambda: one.status.connected, why=lambda: one.status)
        yield one
    finally:
        stop.set()
        await asyncio.wait_for(task, 60)


@pytest.fixture
def broker(tmp_path: Path) -> Any:
    with mosquitto(tmp_path / "mosquitto", persistence=True) as server:
        yield server


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_birth_schema_live_are_committed_and_receipted(store: Store, broker: Server) -> None:
    async def scene() -> None:
        async with owner(store, broker.port) as site, Agent(broker.port) as agent:
            await until(lambda: isinstance(agent.presences[-1], Up) if agent.presences else False)
            await agent.birth()
            await until(lambda: bool(agent.receipts))
            assert agent.receipts[0] == Receipt(site.status.epoch, (RUN, 1), {RUN: []}, {})
            await agent.schema(now_ms(), SCHEMA)
            await agent.live(0, [-80.0, "ready"], [-81, "ready"])
            await until(lambda: agent.done() == [(0, 1)], why=lambda: (agent.receipts, site.status))
            assert taken(store) == [("router", RUN, 0), ("router", RUN, 1)]
            await until(lambda: site.status.listening_since_ms is not None)
        await asyncio.sleep(0)
        assert site.status.state == "stopped"

    asyncio.run(scene())


@pytest.mark.alone
def test_a_site_listens_while_its_commits_gather(store: Store, broker: Server) -> None:
    """As by default; for several beats on end, also when a beat is shorter than the time for gathering."""
    timings = msgspec.structs.replace(TIMINGS, gather_ms=Timings().gather_ms, beat=0.9)

    async def scene() -> None:
        async with owner(store, broker.port, timings=timings) as site, Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA)
            await until(lambda: site.status.listening_since_ms is not None, why=lambda: site.status)
            since_ms = site.status.listening_since_ms
            for number in range(20):
                await agent.live(number, [-80.0, "ready"])
                await asyncio.sleep(0.2)
                assert site.status.listening_since_ms == since_ms

    asyncio.run(scene())


def test_no_commit_takes_more_records_than_a_unit_may_hold(store: Store, broker: Server) -> None:
    """However many come in while it gathers: who has news must not wait behind somebody's backlog."""
    timings = msgspec.structs.replace(TIMINGS, gather_ms=Timings().gather_ms)

    async def scene() -> None:
        async with owner(store, broker.port, timings=timings) as site, Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA)
            await until(lambda: agent.done() is not None, why=lambda: site.status)
            each = 900
            for first in range(0, 5 * each, each):
                body = [Moment(1_000_000, 0, [[SCHEMA.id(), [-80.0, "ready"]]] * each)]
                numbers = Intervals([(first, first + each - 1)])
                agent.connection.publish(AGENT.up("backlog"), encode(DEFLATED, RUN, body, numbers), qos=1)
            await until(lambda: agent.done() == [(0, 5 * each - 1)], why=lambda: (agent.receipt(), site.status))
            sizes = [sum(len(Intervals(g.pairs)) for g in one.groups) for one in log.read(store, SITE, 0, 10_000)]
            assert max(sizes) < collector.site.ownership.UNIT_RECORDS + each, sizes

    asyncio.run(scene())


def test_an_owner_that_begins_goes_on_showing_a_vehicles_figures(store: Store, broker: Server) -> None:
    """Until each device has spoken again; a page was half empty after every restart."""

    def shown() -> dict[str, object]:
        return {one.metric: one.value for one in queries.figures(store.engine, SITE).get("amb-3", ())}

    async def scene() -> None:
        async with owner(store, broker.port), Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA)
            await agent.live(0, [-80.0, "ready"])
            await until(lambda: shown() == {"modem.rsrp_dbm": -80.0, "modem.sim": "ready"}, why=shown)
        async with owner(store, broker.port), Agent(broker.port) as agent:
            assert shown() == {"modem.rsrp_dbm": -80.0, "modem.sim": "ready"}
            await agent.live(1, [None, "absent"])
            await until(lambda: shown() == {"modem.sim": "absent"}, why=shown)

    asyncio.run(scene())


def test_what_comes_twice_is_taken_once(store: Store, broker: Server) -> None:
    async def scene() -> None:
        async with owner(store, broker.port) as site, Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA)
            for _ in range(3):
                await agent.live(0, *([-80.0, "ready"] for _ in range(5)))
            await agent.live(3, *([-80.0, "ready"] for _ in range(5)))
            await until(lambda: agent.done() == [(0, 7)])
            assert taken(store) == [("router", RUN, n) for n in range(8)]
            assert site.status.counts["duplicates"] == 12

    asyncio.run(scene())


def test_what_is_needed_is_named_and_unknown_is_the_end_of_it(store: Store, broker: Server) -> None:
    async def scene() -> None:
        async with owner(store, broker.port), Agent(broker.port) as agent:
            await agent.birth()
            await agent.live(0, [-80.0, "ready"])
            await agent.live(1, [-80.0, "ready"], number=None)
            expected = Needed((SCHEMA.id(),), (-1, 0))
            await until(lambda: agent.needed() == expected)
            assert agent.done() == []
            await agent.schema(now_ms(), SCHEMA)
            await agent.live(0, [-80.0, "ready"])
            await until(lambda: agent.done() == [(0, 0)])
            assert agent.needed() is None
            await agent.live(2, [None, "ready"], schema=NEWER)
            await until(lambda: agent.needed() == Needed((NEWER.id(),), ()))
            await agent.say("schema", SchemaBody(BOOT, unknown_schemas=(NEWER.id(),), no_clock=True))
            await agent.live(1, [-80.0, "ready"], number=None)
            await agent.live(2, [None, "ready"], schema=NEWER)
            await until(lambda: agent.done() == [(0, 2)], why=lambda: agent.receipts)
            assert taken(store) == [("router", RUN, 0), ("router", RUN, 1)], "without a schema it is no batch's"
            (aside,) = queries.list_quarantine(store.engine)
            assert (aside.run, aside.pairs, aside.kind) == (RUN, [(2, 2)], "live")
            assert aside.reason.startswith("schema_gone")

    asyncio.run(scene())


def test_poison_stops_nobody_and_is_kept_under_its_name(store: Store, broker: Server) -> None:
    async def scene() -> None:
        async with owner(store, broker.port) as site, Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA, NEWER)
            await agent.live(0, [-80.0, "ready"], [12.0, "ready"], [-80.0, "sleeping"], [-80.0], [-80.0, "ready"])
            await agent.live(5, [42, "ready"], schema=NEWER)
            broken = encode(DEFLATED, RUN, [], Intervals([(6, 7)]))[:-3] + b"\xff\xff\xff"
            await agent.connection.deliver(AGENT.up("live"), broken)
            await agent.connection.deliver(AGENT.up("live"), b"\x00\x01")
            await agent.connection.deliver("kitwatch/v1/up/north/amb-3/router/nonsense", b"x")
            await agent.live(8, [-79.0, "ready"])
            await until(lambda: agent.done() == [(0, 8)], why=lambda: (agent.receipts, site.status))
            assert [number for _, _, number in taken(store)] == [0, 4, 5, 8]
            aside = {tuple(row.pairs): row for row in queries.list_quarantine(store.engine) if row.pairs}
            assert set(aside) == {((1, 1),), ((2, 2),), ((3, 3),), ((6, 7),)}
            assert "expected -160 to -20 dBm" in aside[((1, 1),)].reason
            assert "expected one of ready, absent" in aside[((2, 2),)].reason
            assert "expected 2 values, found 1" in aside[((3, 3),)].reason
            assert aside[((6, 7),)].payload == broken
            assert len(queries.list_quarantine(store.engine)) == 6, "two messages have no names"
            counters = {name: n for (_, name), n in sites.counters(store.engine).items()}
            assert counters["unknown_metric.modem.invented_later"] == 1
            assert counters["quarantined_invalid"] == 3
            assert counters["quarantined_undecodable"] == 4

    asyncio.run(scene())


@pytest.mark.parametrize("where", ["taking", "committing"])
def test_a_message_that_makes_our_own_code_raise_is_set_aside_by_its_digest(
    store: Store, broker: Server, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Whatever is raised, also by the commit, the messages around it are taken, and it stands in quarantine."""
    records, changes = UnitOfWork._take_records, UnitOfWork.changes

    def is_bad(message: RecordsMessage) -> bool:
        return 3 in message.header.sequences

    def take(work: UnitOfWork, message: RecordsMessage, received_ms: int) -> None:
        records(work, message, received_ms)
        if is_bad(message):
            if where == "taking":
                raise RecursionError("half done")
            work.counts["bad"] += 1

    def commit(work: UnitOfWork) -> Changes | None:
        if work.counts["bad"]:
            raise OverflowError("int too large to convert")
        return changes(work)

    monkeypatch.setattr(UnitOfWork, "_take_records", take)
    monkeypatch.setattr(UnitOfWork, "changes", commit)

    async def scene() -> None:
        async with owner(store, broker.port) as site, Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA)
            await until(lambda: agent.done() is not None)
            epoch = site.status.epoch
            await asyncio.gather(*(agent.live(n, [-80.0, "ready"]) for n in range(6)))
            await until(lambda: len(taken(store)) == 5, why=lambda: site.status)
            await agent.birth(2)  # as an agent does where the owner is another one
            await until(lambda: agent.done() == [(0, 5)], why=lambda: (agent.receipts, site.status))
            assert sorted(number for _, _, number in taken(store)) == [0, 1, 2, 4, 5]
            (aside,) = queries.list_quarantine(store.engine)
            assert (aside.run, aside.pairs, aside.kind) == (RUN, [(3, 3)], "live")
            word = "RecursionError: half done" if where == "taking" else "int too large to convert"
            assert aside.reason.startswith("poison: ")
            assert word in aside.reason
            assert digest_of(Incoming(AGENT.up("live"), aside.payload, 0)) in aside.reason
            if where == "taking":
                assert site.status.epoch == epoch, "nobody stood in line again for it"

    asyncio.run(scene())


DEEP = b"[" * 20_000 + b"]" * 20_000
DAMAGED = {
    "nothing": b"",
    "no UTF-8": b'{"format":1,"site":"\xff\xfe"}',
    "20,000 deep": b'{"format":1,"x":' + DEEP + b"}",
    "a number beyond all": b'{"format":' + b"9" * 5_000 + b"}",
    "no format": b'{"format":"one"}',
    "keys that are none": b'{"format":1,"sources":{"a/b":1}}',
    "half of it": b'{"format":1,"sou',
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_stored_state_that_cannot_be_read_begins_anew(
    what: str, store: Store, broker: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The site is owned all the same; the row is kept as it was, and log and status say so."""
    damaged = DAMAGED[what]

    async def scene() -> None:
        async with owner(store, broker.port), Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA)
            await agent.live(0, [-80.0, "ready"])
            await until(lambda: agent.done() == [(0, 0)])
        with store.transaction() as connection:
            connection.execute(update(schema.vehicle).values(state=damaged))
            connection.execute(update(schema.site).values(state=damaged))
        async with owner(store, broker.port) as one, Agent(broker.port) as agent:
            await agent.birth(2)
            await agent.live(1, [-81.0, "ready"])
            await until(lambda: len(taken(store)) == 2, why=lambda: one.status)
            assert one.status.begun_anew == ("amb-3", "")
            await until(lambda: sites.list_sites(store.engine)[0].report.begun_anew == ("amb-3", ""))
        rows = {(row.vehicle, row.kind): row for row in queries.list_quarantine(store.engine)}
        assert rows.keys() == {("amb-3", "vehicle_state"), ("", "site_state")}
        assert {row.payload for row in rows.values()} == {damaged}
        async with owner(store, broker.port) as one:
            assert one.status.begun_anew == (), "what was written instead can be read"

    asyncio.run(scene())
    assert "vehicle amb-3 cannot be read and begins anew" in caplog.text


def test_the_state_of_a_newer_version_is_not_thrown_away(store: Store, broker: Server) -> None:
    async def scene() -> None:
        async with owner(store, broker.port), Agent(broker.port) as agent:
            await agent.birth()
            await until(lambda: bool(agent.receipts))
        with store.transaction() as connection:
            connection.execute(update(schema.vehicle).values(state=b'{"format":999}'))
        stop = asyncio.Event()
        one = SiteOwner(InForce(SITE, FLEET, load_rules()), Broker(host="127.0.0.1", port=1), store, TIMINGS)
        task = asyncio.create_task(one.run(stop))
        await until(lambda: "written by a newer version" in one.status.error, why=lambda: one.status)
        stop.set()
        await task
        with store.engine.connect() as connection:
            assert bytes(connection.scalar(select(schema.vehicle.c.state)) or b"") == b'{"format":999}'

    asyncio.run(scene())


HOSTILE_QUESTIONS = {
    "nothing": b"",
    "no UTF-8": bytes(10) + b'{"mono_ms":"\xff"}',
    "20,000 deep": bytes(10) + DEEP,
    "an unknown field, 20,000 deep": bytes(10) + b'{"mono_ms":1,"x":' + DEEP + b"}",
    "a number beyond all": bytes(10) + b'{"mono_ms":' + b"9" * 5_000 + b"}",
    "2**63": bytes(10) + b'{"mono_ms":9223372036854775808}',
    "intervals to 2**63-1": bytes(9) + b"\1\0" + b"\xff" * 8 + b'\x7f{"mono_ms":1}',
}


def test_a_question_for_the_time_costs_itself_only(store: Store, broker: Server) -> None:
    """At both qualities of service: with 1 it comes again until it is acknowledged."""

    async def scene() -> None:
        async with owner(store, broker.port) as one, Agent(broker.port) as agent:
            for payload in HOSTILE_QUESTIONS.values():
                agent.connection.publish(AGENT.up("ask"), payload, qos=0)
                await agent.connection.deliver(AGENT.up("ask"), payload)
            agent.connection.publish(AGENT.up("ask"), encode(PLAIN, RUN, Ask(4711)), qos=0)
            await until(lambda: bool(agent.times))
            assert [answer.asked_mono_ms for answer in agent.times] == [4711]
            await until(lambda: len(queries.list_quarantine(store.engine)) == len(HOSTILE_QUESTIONS))
            assert (one.status.epoch, one.status.counts["connects"]) == (1, 1)

    asyncio.run(scene())


def test_quarantine_is_taken_again_when_asked(store: Store, broker: Server) -> None:
    """A version that knows better takes what the one before could not: here the bytes are repaired instead."""

    async def scene() -> None:
        async with owner(store, broker.port), Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA)
            await agent.live(0, [-80.0, "ready"], [12.0, "ready"], [13.0, "ready"])
            await until(lambda: agent.done() == [(0, 2)])
            rows = {row.pairs[0][0]: row for row in queries.list_quarantine(store.engine)}
            good = encode(PLAIN, RUN, [Moment(1_000_100, 0, [[SCHEMA.id(), [-81.0, "ready"]]])], Intervals([(1, 1)]))
            with store.transaction() as connection:
                table = schema.quarantine
                connection.execute(update(table).where(table.c.id == rows[1].id).values(payload=good))
                queries.retry_letters(connection, "quarantine", None)
            await until(lambda: len(taken(store)) == 2, why=lambda: taken(store))
            await until(lambda: [r.state for r in queries.list_quarantine(store.engine)] == ["held"])
            assert queries.list_quarantine(store.engine)[0].pairs == [(2, 2)]
            assert sorted(number for _, _, number in taken(store)) == [0, 1]

    asyncio.run(scene())


def test_a_vehicle_is_not_charged_for_the_garbage_collection_that_falls_upon_its_message(
    store: Store, broker: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The larger the centre's heap, the longer it takes, whoever has its turn then."""
    heap = [[number] for number in range(1_000_000)]
    paused_s: list[float] = []
    take = UnitOfWork.take

    def take_and_collect(self: UnitOfWork, incoming: Incoming) -> None:
        take(self, incoming)
        began_s = time.thread_time()
        gc.collect()
        paused_s.append(time.thread_time() - began_s)

    monkeypatch.setattr(UnitOfWork, "take", take_and_collect)

    async def scene() -> None:
        async with owner(store, broker.port, quotas=Quotas(cpu_s=0.06)) as site, Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA)
            for number in range(8):
                await agent.live(number, [-80.0, "ready"])
            await until(lambda: agent.done() == [(0, 7)], why=lambda: (agent.receipts, site.status))
            assert site.status.refusals == {}

    asyncio.run(scene())
    assert len(heap) == 1_000_000
    assert sum(paused_s) > 0.12, "it would have been refused"


def test_a_quarantine_that_a_person_empties_makes_room(store: Store, broker: Server) -> None:
    """What goes is counted; what was refused for want of room is kept when it comes again."""

    def poison(number: int) -> bytes:
        return encode(PLAIN, RUN, "x" * 400, Intervals([(number, number)]))

    async def scene() -> None:
        quotas = Quotas(quarantine_bytes=1_000)
        async with owner(store, broker.port, quotas=quotas) as site, Agent(broker.port) as agent:
            await agent.birth()
            for number in range(3):
                await agent.connection.deliver(AGENT.up("live"), poison(number), retain=False)
            await until(lambda: site.status.counts["over_quota.quarantine_bytes"] == 1, why=lambda: site.status)
            await until(lambda: agent.done() == [(0, 1)], why=agent.receipt)  # the third is the agent's still
            with store.transaction() as connection:
                assert queries.drop_letters(connection, "quarantine", None) == 2

            async def comes_again() -> None:
                while agent.done() != [(0, 2)]:
                    await agent.connection.deliver(AGENT.up("live"), poison(2), retain=False)
                    await asyncio.sleep(0.2)

            await asyncio.wait_for(comes_again(), 60)
        assert [row.pairs for row in queries.list_quarantine(store.engine)] == [[(2, 2)]]
        assert sites.counters(store.engine)[SITE, "dropped.quarantine"] == 2

    asyncio.run(scene())


def test_lost_is_kept_apart_from_seen(store: Store, broker: Server) -> None:
    async def scene() -> None:
        async with owner(store, broker.port), Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA)
            lost = {"run": RUN, "intervals": [[1, 3]], "reason": "evicted"}
            await agent.say("live", [Moment(1_000_000, 0, [["lost", "", lost]])], Intervals([(0, 0)]))
            await until(lambda: agent.done() == [(0, 3)])
            await agent.live(2, [-80.0, "ready"])
            await until(lambda: ("router", RUN, 2) in taken(store), why=lambda: taken(store))

    asyncio.run(scene())


def test_the_time_is_told_at_once(store: Store, broker: Server) -> None:
    async def scene() -> None:
        async with owner(store, broker.port), Agent(broker.port) as agent:
            before = now_ms()
            agent.connection.publish(AGENT.up("ask"), encode(PLAIN, RUN, Ask(4711)), qos=0)
            await until(lambda: len(agent.times) == 1)
            (answer,) = agent.times
            assert answer.asked_mono_ms == 4711
            assert before <= answer.received_ms <= answer.sent_ms <= now_ms()

    asyncio.run(scene())


def test_presence_is_withdrawn_at_the_end_and_put_back_when_overwritten(store: Store, broker: Server) -> None:
    async def scene() -> None:
        async with Agent(broker.port) as agent:
            async with owner(store, broker.port) as site:
                epoch = site.status.epoch
                await until(lambda: bool(agent.presences) and isinstance(agent.presences[-1], Up))
                await agent.connection.deliver(presence(SITE), encode(PLAIN, RUN, Down(epoch - 1)), retain=True)
                await until(lambda: len(agent.presences) >= 3 and isinstance(agent.presences[-1], Up))
            await until(lambda: agent.presences[-1] == Down(epoch))
            async with owner(store, broker.port) as site:
                await until(lambda: isinstance(agent.presences[-1], Up))
                assert site.status.epoch == epoch + 1

    asyncio.run(scene())


def test_what_was_sent_while_we_were_away_comes_from_the_broker(store: Store, broker: Server) -> None:
    async def scene() -> None:
        async with owner(store, broker.port):
            pass
        async with Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA)
            for number in range(50):
                await agent.live(number, [-80.0, "ready"])
            async with owner(store, broker.port):
                await until(lambda: len(taken(store)) == 50, why=lambda: len(taken(store)))
                assert taken(store) == [("router", RUN, n) for n in range(50)]

    asyncio.run(scene())


def test_numbers_of_schemas_outlive_the_owner(store: Store, broker: Server) -> None:
    """What came by number while nobody was there is taken by the next owner, who was told no schema."""

    async def scene() -> None:
        async with owner(store, broker.port), Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), NEWER, SCHEMA)
            await until(lambda: agent.done() == [])
        async with Agent(broker.port) as agent:
            body = [Moment(1_000_000 + number, 0, [[1, [-80.0, "ready"]]]) for number in range(20)]
            await agent.say("live", body, Intervals([(0, 19)]), NUMBERED)
            await agent.say("live", [Moment(1_001_000, 0, [[2, [-80.0, "ready"]]])], Intervals([(20, 20)]), NUMBERED)
            async with owner(store, broker.port):
                await until(lambda: len(taken(store)) == 20, why=lambda: len(taken(store)))
                await agent.birth()
                await until(lambda: agent.needed() == Needed((2,), ()), why=lambda: agent.receipts)
        groups = [group for batch in log.read(store, SITE, 0, 10_000) for group in batch.groups]
        (group,) = [group for group in groups if group.pairs == [(0, 19)]]
        assert {entry[0] for moment in group.moments for entry in moment.entries} == {SCHEMA.id()}

    asyncio.run(scene())


def test_a_broker_that_lost_everything_is_joined_again(store: Store, broker: Server) -> None:
    async def scene() -> None:
        async with owner(store, broker.port) as site:
            broker.kill()
            await until(lambda: not site.status.connected)
            assert site.status.listening_since_ms is None
            for file in (broker.log.parent / "store").iterdir():
                file.unlink()
            await asyncio.to_thread(broker.start)
            await until(lambda: site.status.connected)
            async with Agent(broker.port) as agent:
                await until(lambda: bool(agent.presences))
                await agent.birth()
                await agent.schema(now_ms(), SCHEMA)
                await agent.live(0, [-80.0, "ready"])
                await until(lambda: agent.done() == [(0, 0)])

    asyncio.run(scene())


def test_a_will_and_a_second_site_do_not_disturb(store: Store, broker: Server) -> None:
    async def scene() -> None:
        async with owner(store, broker.port) as site, Agent(broker.port) as agent:
            await agent.birth()
            await agent.say("state", Will(1))
            other = Agent(broker.port, AgentName("south", "amb-9", "router"))
            async with other:
                await other.birth()
            await agent.birth(session=2)
            await until(lambda: agent.receipt().birth == (RUN, 2))
            assert site.status.counts["fault.died"] == 0
            (found,) = vehicles.list_vehicles(store.engine)
            assert (found.site, found.vehicle) == (SITE, "amb-3")

    asyncio.run(scene())


def test_an_owner_that_lost_its_epoch_ends_and_stands_in_line_again(store: Store, broker: Server) -> None:
    async def scene() -> None:
        async with owner(store, broker.port) as site:
            first = site.status.epoch
            with store.transaction() as connection:
                connection.execute(text("UPDATE site SET epoch = epoch + 1"))
            await until(lambda: site.status.epoch == first + 2 and site.status.connected, why=lambda: site.status)
            async with Agent(broker.port) as agent:
                await agent.birth()
                await until(lambda: agent.receipt().epoch == first + 2)

    asyncio.run(scene())


COLLECTOR = textwrap.dedent(
    """
    import asyncio, sys
    from tests.integration.test_site import FLEET, SITE, TIMINGS
    from collector.core.rules.files import load_rules
    from collector.site.owner import SiteOwner
    from collector.store.store import Store
    from collector.site.in_force import InForce
    from telemetry.fleet import Broker

    async def main():
        owner = SiteOwner(InForce(SITE, FLEET, load_rules()), Broker(host="127.0.0.1", port=int(sys.argv[2])),
                          Store.open(sys.argv[1]), TIMINGS)
        await owner.run(asyncio.Event())

    asyncio.run(main())
    """
)


def test_kill_9_of_the_collector_loses_nothing_and_doubles_nothing(
    store: Store, broker: Server, database_url: str, tmp_path: Path
) -> None:
    """The agent sends again what is not receipted, as its outbox would; every record is in the log exactly once."""
    command = [sys.executable, "-c", COLLECTOR, database_url, str(broker.port)]
    told = tmp_path / "collector.log"

    def start() -> subprocess.Popen[bytes]:
        with told.open("ab") as out:
            return subprocess.Popen(command, stdout=out, stderr=out, cwd=os.getcwd())

    async def scene() -> int:
        process = start()
        sent = 0
        try:
            async with Agent(broker.port) as agent:
                for life in range(3):
                    epoch = life + 1
                    await until(
                        lambda epoch=epoch: any(isinstance(p, Up) and p.epoch == epoch for p in agent.presences),  # type: ignore[misc]
                        why=lambda: (agent.presences, told.read_text()[-2000:]),
                    )
                    await agent.birth(session=life)
                    await agent.schema(now_ms(), SCHEMA)
                    await until(
                        lambda life=life: agent.receipt().birth == (RUN, life),  # type: ignore[misc]
                        why=lambda: (agent.receipt(), agent.presences, told.read_text()[-2000:]),
                    )
                    missing = Intervals([(0, sent - 1)] if sent else []).minus(Intervals(agent.done() or []))
                    for number in missing:
                        await agent.live(number, [-80.0, "ready"])
                    for _ in range(300):
                        await agent.live(sent, [-80.0, "ready"])
                        sent += 1
                        if life < 2 and sent % 300 == 250:
                            process.send_signal(signal.SIGKILL)
                    if life < 2:
                        process.wait(10)
                        process = start()
                await until(
                    lambda: Intervals(agent.done() or []) == Intervals([(0, sent - 1)]),
                    why=lambda: (sent, agent.receipts[-1], told.read_text()[-2000:]),
                )
        finally:
            process.kill()
            process.wait(10)
        return sent

    sent = asyncio.run(scene())
    found = taken(store)
    assert sorted(found) == [("router", RUN, n) for n in range(sent)]


def test_a_run_that_no_birth_has_named_for_400_days_is_dropped_with_its_clocks(store: Store, broker: Server) -> None:
    day_ms = 86_400_000

    async def scene() -> None:
        async with owner(store, broker.port), Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA)
            await until(lambda: agent.done() == [])
        other = Agent(broker.port, run="00000000000000bb")
        async with owner(store, broker.port), other:
            await other.birth()
            await other.schema(now_ms(), SCHEMA)
            await until(lambda: other.done() == [])
        with store.transaction() as connection:
            ago = update(schema.run).values(heard_ms=now_ms() - 400 * day_ms - 1_000)
            connection.execute(ago.where(schema.run.c.run == RUN))
            near = update(schema.run).values(heard_ms=now_ms() - 399 * day_ms)
            connection.execute(near.where(schema.run.c.run == "00000000000000bb"))
        async with owner(store, broker.port):
            with store.engine.connect() as connection:
                assert set(connection.scalars(select(schema.run.c.run))) == {"00000000000000bb"}
                assert set(connection.scalars(select(schema.clock.c.run))) == {"00000000000000bb"}
                assert set(connection.scalars(select(schema.run_schema.c.run))) == {"00000000000000bb"}

    asyncio.run(scene())


# --- when the database cannot ----------------------------------------------------------------------------------------


def refusing(monkeypatch: pytest.MonkeyPatch, refuse: Callable[[Changes], bool]) -> list[int]:
    """Make the database refuse some commits; return what was refused as numbers of records."""
    refused: list[int] = []
    real = SqliteSite._commit

    def commit(self: SqliteSite, changes: Changes, number: int | None) -> None:
        if refuse(changes):
            refused.append(changes.batch.records if changes.batch else 0)
            raise CommitFailed(SITE, "the test says no")
        real(self, changes, number)

    monkeypatch.setattr(SqliteSite, "_commit", commit)
    return refused


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_one_message_that_no_commit_takes_is_found_and_set_aside(
    store: Store, broker: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def holds_13(changes: Changes) -> bool:
        groups = decode_batch(changes.batch.content) if changes.batch else []
        return any(13 in Intervals(group.pairs) for group in groups)

    async def scene() -> None:
        async with Agent(broker.port) as agent:
            async with owner(store, broker.port):
                await agent.birth()
                await agent.schema(now_ms(), SCHEMA)
                await until(lambda: agent.done() == [])
            for number in range(20):
                await agent.live(number, [-80.0, "ready"])
            refused = refusing(monkeypatch, holds_13)
            async with owner(store, broker.port):
                await until(lambda: len(taken(store)) == 19, 60, lambda: (taken(store), refused))
                (aside,) = queries.list_quarantine(store.engine)
                assert aside.pairs == [(13, 13)]
                assert refused[0] > 1
                assert refused[-3:] == [1, 1, 1], "alone three times before it is blamed"
                await agent.birth(session=2)
                await until(lambda: agent.done() == [(0, 19)], why=agent.receipt)

    asyncio.run(scene())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_while_it_cannot_commit_nothing_is_receipted_and_presence_is_withdrawn(
    store: Store, broker: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ill = [False]

    async def scene() -> None:
        async with owner(store, broker.port) as site, Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA)
            await until(lambda: agent.done() == [])
            refusing(monkeypatch, lambda changes: ill[0])
            ill[0] = True
            first = site.status.epoch
            await agent.live(0, [-80.0, "ready"])
            await until(lambda: isinstance(agent.presences[-1], Down), why=lambda: agent.presences)
            assert agent.done() == []
            assert taken(store) == []
            ill[0] = False
            await until(lambda: isinstance(agent.presences[-1], Up) and agent.presences[-1].epoch > first)
            await agent.birth(session=2)
            await until(lambda: agent.done() == [(0, 0)], why=lambda: (agent.receipts, site.status))
            assert taken(store) == [("router", RUN, 0)]

    asyncio.run(scene())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_commit_that_hangs_withdraws_presence_until_it_is_done(
    store: Store, broker: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector.site.ownership, "SLOW_COMMIT_S", 1.0)

    async def scene() -> None:
        async with owner(store, broker.port) as site, Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA)
            await until(lambda: agent.done() == [])
            real, slow = SqliteSite._commit, [True]

            def commit(self: SqliteSite, changes: Changes, number: int | None) -> None:
                if slow.pop() if slow and changes.batch else False:
                    time.sleep(3.0)
                real(self, changes, number)

            monkeypatch.setattr(SqliteSite, "_commit", commit)
            before = len(agent.presences)
            await agent.live(0, [-80.0, "ready"])
            await until(lambda: agent.done() == [(0, 0)], why=lambda: (agent.receipts, site.status))
            await until(lambda: [type(p) for p in agent.presences[before:]] == [Down, Up])
            assert {p.epoch for p in agent.presences[before:]} == {site.status.epoch}

    asyncio.run(scene())


def test_a_backend_that_is_ended_costs_the_ownership_and_nothing_else(postgres_url: str, broker: Server) -> None:
    store = Store.open(postgres_url)
    store.migrate()

    async def scene() -> None:
        async with owner(store, broker.port) as site, Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA)
            await until(lambda: agent.done() == [])
            first = site.status.epoch
            ending = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE :name")
            with store.engine.connect() as connection:
                assert connection.execute(ending, {"name": f"kitwatch {SITE}%"}).all() == [(True,)]
            for number in range(20):
                await agent.live(number, [-80.0, "ready"])
            await until(lambda: site.status.epoch > first and site.status.connected, why=lambda: site.status)
            await agent.birth(session=2)
            await until(lambda: agent.done() == [(0, 19)], why=lambda: (agent.receipts, site.status))
            assert taken(store) == [("router", RUN, n) for n in range(20)]

    try:
        asyncio.run(scene())
    finally:
        store.close()


def test_two_owners_of_one_site_the_second_waits_and_takes_over(store: Store, broker: Server) -> None:
    async def scene() -> None:
        stop = asyncio.Event()
        waiting = SiteOwner(
            InForce(SITE, FLEET, load_rules()), Broker(host="127.0.0.1", port=broker.port), store, TIMINGS
        )
        async with Agent(broker.port) as agent:
            async with owner(store, broker.port) as first:
                task = asyncio.create_task(waiting.run(stop))
                await agent.birth()
                await agent.schema(now_ms(), SCHEMA)
                await agent.live(0, [-80.0, "ready"])
                await until(lambda: agent.done() == [(0, 0)])
                await until(lambda: (first.status.state, waiting.status.state) == ("owner", "waiting"))
            await until(lambda: waiting.status.connected, why=lambda: waiting.status)
            assert waiting.status.epoch == first.status.epoch + 1
            await agent.birth(session=2)
            await agent.live(0, [-80.0, "ready"])
            await agent.live(1, [-80.0, "ready"])
            await until(lambda: agent.receipt().epoch == waiting.status.epoch and agent.done() == [(0, 1)])
            assert taken(store) == [("router", RUN, 0), ("router", RUN, 1)]
            stop.set()
            await asyncio.wait_for(task, 60)

    asyncio.run(scene())


def test_the_embedded_broker_will_do(store: Store, tmp_path: Path) -> None:
    """``iotcore`` for the demo and a single machine: live, a queue of 500 while we are away, and a re-sent tail."""

    async def scene(port: int) -> None:
        async with owner(store, port), Agent(port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA)
            await agent.live(0, [-80.0, "ready"])
            await until(lambda: agent.done() == [(0, 0)], why=lambda: agent.receipts)
        async with Agent(port) as agent:
            for number in range(1, 500):
                await agent.live(number, [-80.0, "ready"])
            async with owner(store, port) as site:
                await until(lambda: len(taken(store)) == 500, 60, lambda: (len(taken(store)), site.status))
                await agent.birth(session=2)
                await agent.live(480, *([-80.0, "ready"] for _ in range(40)))
                await until(lambda: agent.done() == [(0, 519)], why=lambda: (agent.receipts, site.status))
                await until(lambda: site.status.listening_since_ms is not None)
        assert taken(store) == [("router", RUN, n) for n in range(520)]

    with embedded_broker(tmp_path) as port:
        asyncio.run(scene(port))
