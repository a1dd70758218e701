"""A collector's manners on the wire and nothing else: takes, receipts, answers. For tests of the agent alone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

import msgspec

from telemetry import topics
from telemetry.fleet import Broker
from telemetry.intervals import Intervals
from telemetry.message import (
    DEFLATED,
    FORMATS,
    PLAIN,
    Ask,
    Birth,
    Down,
    Goodbye,
    Moment,
    Needed,
    Receipt,
    SchemaBody,
    State,
    Time,
    Up,
    Will,
    decode,
    encode,
    records,
)
from telemetry.mqtt import Message
from telemetry.paho_mqtt import Connection
from telemetry.records import Clock, Record, Sample, Schema, SchemaRef
from telemetry.topics import AgentName, parse_up


class FakeCollector:
    """Keeps everything in memory; ``connect`` may be called again after a crash, with what it had committed.

    ``taken`` are records by (run, sequence), ``lanes`` on which each came first, ``times`` where its clock placed it.
    """

    def __init__(self, broker: Broker, agent: AgentName, *, receipt_every: float = 0.2) -> None:
        self.broker = broker
        self.agent = agent
        self.receipt_every = receipt_every
        self.epoch = 0
        self.taken: dict[tuple[str, int], Record] = {}
        self.lanes: dict[tuple[str, int], str] = {}
        self.times: dict[tuple[str, int], int | None] = {}
        self.order: list[tuple[str, str, list[int]]] = []
        self.seen: dict[str, Intervals] = {}
        self.schemas: dict[str, Schema] = {}
        self.clocks: dict[tuple[str, int], Clock] = {}
        self.no_clock: set[str] = set()
        self.births: list[tuple[str, Birth]] = []
        self.goodbyes: list[Goodbye] = []
        self.wills: list[Will] = []
        self.asks = 0
        self.doubled = 0
        self.ignores_schemas = False
        self.receipting = True
        self.answering = True
        self.formats: tuple[int, ...] = FORMATS
        self.names: dict[str, dict[int, str]] = {}
        self.clock_ahead_ms = 0
        self.kinds: Counter[str] = Counter()
        self._needed: dict[str, tuple[set[SchemaRef], set[int]]] = {}
        self._birth: tuple[str, int] | None = None
        self._named: set[str] = set()
        self._connection: Connection | None = None
        self._receipting: asyncio.Task[None] | None = None

    def now_ms(self) -> int:
        return int(time.time() * 1000) + self.clock_ahead_ms

    async def connect(self, *, new_epoch: bool = True) -> None:
        self.epoch += new_epoch
        connection = Connection(
            self.broker,
            f"collector-{self.agent.site}",
            on_message=self._on_message,
            clean_start=False,
            session_expiry=3600,
        )
        self._connection = connection
        await connection.open()
        await connection.subscribe(topics.site_filter(self.agent.site))
        await self.appear()
        self._receipting = asyncio.create_task(self._receipt_regularly())

    async def appear(self, epoch: int | None = None) -> None:
        await self._say(topics.presence(self.agent.site), Up(epoch or self.epoch, self.formats), qos=1)

    async def withdraw(self) -> None:
        await self._say(topics.presence(self.agent.site), Down(self.epoch), qos=1)

    async def crash(self) -> None:
        """Vanish without a word."""
        if self._receipting is not None:
            self._receipting.cancel()
        if self._connection is not None:
            self._connection.abort(ConnectionError("crash"))
            self._connection = None

    @property
    def connected(self) -> bool:
        return self._connection is not None and self._connection.is_open

    async def _say(self, topic: str, body: object, *, qos: int = 0, retain: bool = True, format: int = PLAIN) -> None:
        if self._connection is None or not self._connection.is_open:
            return
        self._connection.publish(topic, encode(format, "0" * 16, body), qos=qos, retain=retain)

    def _on_message(self, message: Message) -> None:
        received_ms = self.now_ms()
        agent, kind = parse_up(message.topic)
        assert agent == self.agent
        self.kinds[kind] += 1
        if kind == "state":
            self._on_state(message.payload)
        elif kind == "schema" and not self.ignores_schemas:
            header, body = decode(message.payload, SchemaBody)
            self.schemas |= body.schemas
            if body.numbers is not msgspec.UNSET:
                self.names.setdefault(header.run, {}).update({number: name for name, number in body.numbers.items()})
            self.clocks |= {(header.run, clock.number): clock for clock in body.clocks}
            if body.no_clock:
                self.no_clock.add(header.run)
            self._needed.pop(header.run, None)
        elif kind == "ask" and self.answering:
            self.asks += 1
            header, ask = decode(message.payload, Ask)
            answer = encode(PLAIN, header.run, Time(ask.mono_ms, received_ms, self.now_ms()))
            assert self._connection is not None
            self._connection.publish(self.agent.down("time"), answer, qos=0)
        elif kind in ("live", "backlog"):
            self._take(kind, message.payload)

    def _on_state(self, payload: bytes) -> None:
        header, state = decode(payload, State)
        if isinstance(state, Birth):
            self.births.append((header.run, state))
            self._birth = (header.run, state.session)
            self._named = {header.run, *state.runs}
            asyncio.get_running_loop().create_task(self._receipt())
        elif isinstance(state, Goodbye):
            self.goodbyes.append(state)
        else:
            self.wills.append(state)

    def _take(self, lane: str, payload: bytes) -> None:
        header, body = decode(payload, list[Moment])
        seen = self.seen.setdefault(header.run, Intervals())
        self.order.append((lane, header.run, list(header.sequences)))
        for placed in records(header, body, self.names.get(header.run, {})):
            record = placed.record
            name = (header.run, record.sequence)
            schemas, clocks = self._needed.get(header.run, (set(), set()))
            clock = None if placed.clock is None else self.clocks.get((header.run, placed.clock))
            if clock is None and not (placed.clock is None and header.run in self.no_clock):
                clocks = clocks | {-1 if placed.clock is None else placed.clock}
            if isinstance(record, Sample) and record.schema not in self.schemas:
                schemas = schemas | {record.schema if placed.number is None else placed.number}
            if schemas or clocks:
                self._needed[header.run] = (schemas, clocks)
                continue
            if record.sequence in seen:
                self.doubled += 1
                continue
            seen.add(record.sequence)
            self.taken[name] = record
            self.lanes[name] = lane
            self.times[name] = None if clock is None else clock.place(record.mono_ms)

    async def _receipt_regularly(self) -> None:
        while True:
            await asyncio.sleep(self.receipt_every)
            await self._receipt()

    async def _receipt(self) -> None:
        if self._birth is None or not self.receipting:
            return
        needed = {run: Needed(tuple(schemas), tuple(clocks)) for run, (schemas, clocks) in self._needed.items()}
        runs = {run: seen.lowest(256) for run, seen in self.seen.items() if run in self._named}
        await self._say(self.agent.down("receipt"), Receipt(self.epoch, self._birth, runs, needed), format=DEFLATED)


@contextlib.asynccontextmanager
async def fake_collector(broker: Broker, agent: AgentName) -> AsyncIterator[FakeCollector]:
    collector = FakeCollector(broker, agent)
    await collector.connect()
    try:
        yield collector
    finally:
        await collector.crash()


async def until(what: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not what():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.01)
