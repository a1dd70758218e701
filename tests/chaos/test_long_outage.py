"""An outage longer than the outbox holds (field notes 1, 7, 12, 16, T5).

First in virtual time with the standard kit (`bench/standard_kit.py`), the agent's real sampler, recorder and outbox on
one side and the collector's real units of work and receipts on the other: an hour on line, twelve hours without, an
outbox of 2 MiB that holds seven. Then in real time, with Mosquitto and a whole collector and agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

import agent.main
from agent.config import AgentConfig, Waits
from agent.inputs.base import Poll
from agent.machine import Machine
from agent.outbox.disk import Disk
from agent.outbox.outbox import Outbox
from agent.outbox.recorder import Recorder
from agent.outbox.stats import OutboxStats
from agent.sampling.sampler import Poller, Sampler
from agent.uplink.resend import Resend
from bench.standard_kit import MOMENT_MS, PARTS, START_MS, KitSample, Part, samples
from collector.config import load_config
from collector.core.rules.files import load_rules
from collector.core.tickets.ticket import Ticket
from collector.core.vehicle.events import Listening
from collector.main import run as run_collector
from collector.sinks.lines import LineTemplate
from collector.site.in_force import InForce
from collector.site.intake import Incoming
from collector.site.memory import Memory
from collector.site.receipts import Receipts
from collector.site.unit_of_work import UnitOfWork
from collector.store import batch
from collector.store.rows import Changes, SiteData
from telemetry.files import convert
from telemetry.fleet import Broker, Device, Site
from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, PLAIN, Birth, HeldRun, Placed, Receipt, SchemaBody, decode, encode, moments
from telemetry.metrics import METRICS
from telemetry.mqtt import Message
from telemetry.paho_mqtt import Connection
from telemetry.readings import Reading
from telemetry.records import Clock, Column, Event, Record, Sample, Schema
from telemetry.topics import AgentName
from tests.chaos.disks import MemoryDisk
from tests.chaos.judge import kept
from tests.chaos.world import rows, runs
from tests.services.fake_collector import until
from tests.services.mosquitto import mosquitto
from tests.unit.virtual_time import VirtualLoop, monotonic

NAME = AgentName("north", "amb-1", "gateway")
RUN, BOOT = "00000000000000a1", "b" * 32
WALL_MS = 1_790_000_000_000
CLOCK = Clock(0, START_MS, WALL_MS, "ntp", 5)
HOUR_MS = 3_600_000
KINDS = {"link": "link", "power": "power", "gateway": "host", "encoder": "encoder", "ups": "ups", "tablet": "host"}
KINDS |= {"router": "router", "modem": "modem", "gnss": "gnss", "camera-1": "camera", "camera-2": "camera"}
SITE = {
    "vehicles": {
        "amb-1": {"agents": {"gateway": {"devices": {d: {"kind": k, "system": {}} for d, k in KINDS.items()}}}}
    }
}


# --- the vehicle ------------------------------------------------------------------------------------------------------


class Loop(VirtualLoop):
    """Virtual time in which work for a thread is done on the spot: time must not run on while the outbox works."""

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        future = self.create_future()
        future.set_result(func(*args))
        return future


class Kit:
    """The standard kit, moment by moment."""

    def __init__(self) -> None:
        self._moments = samples(seed=5, moments=10**6)
        self._now: list[KitSample] = []
        self._next = 0

    def read(self, part: Part, now: float) -> KitSample:
        number = round(now * 1000 - START_MS) // MOMENT_MS
        while self._next <= number:
            self._now = next(self._moments)
            self._next += 1
        return next(sample for sample in self._now if sample.part is part)


@dataclass
class Source:
    """One input of one device. The tablet cannot be read for ten minutes of every hour, which makes events."""

    kit: Kit
    part: Part

    async def poll(self, now: float) -> Poll:
        sample = self.kit.read(self.part, now)
        readings = [
            Reading(metric, value, {METRICS[metric].labels[0]: label} if label else {})
            for (metric, label), value in zip(self.part.keys, sample.values, strict=True)
            if value is not None
        ]
        bad = self.part.device == "tablet" and now % 3600 < 600
        return Poll(readings, problem="no answer within 5 s" if bad else None)

    async def close(self) -> None:
        pass


# --- the centre -------------------------------------------------------------------------------------------------------


@dataclass
class Centre:
    """The collector's core without I/O: what it would commit is kept here."""

    judge: InForce = field(default_factory=lambda: InForce(NAME.site, convert(SITE, Site, "site"), load_rules()))
    receipts: Receipts = field(default_factory=lambda: Receipts(epoch=1, interval_ms=0))
    commits: list[Changes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.memory = Memory.of(self.judge, SiteData({}, None, {}, {}, {}, 0))

    def take(self, now_ms: int, kind: str, payload: bytes) -> None:
        work = UnitOfWork(self.memory, self.judge, Listening(WALL_MS), now_ms)
        work.take(Incoming(NAME.up(kind), payload, now_ms))
        self._commit(work)

    def tick(self, now_ms: int) -> None:
        work = UnitOfWork(self.memory, self.judge, Listening(WALL_MS), now_ms)
        work.look()
        self._commit(work)

    def _commit(self, work: UnitOfWork) -> None:
        assert not work.faults
        changes = work.changes()
        if changes is not None:
            assert not changes.quarantine
            self.commits.append(changes)
        work.keep()
        work.tell(self.receipts)

    def receipt(self, now_ms: int) -> Receipt:
        def committed(run: str) -> tuple[Intervals, Intervals]:
            row = self.memory.runs[NAME.vehicle, NAME.agent, run].row
            return row.seen, row.lost

        return self.receipts.make(NAME, committed, now_ms)[1]

    def tickets(self) -> list[Ticket]:
        """Return the tickets as they stand."""
        found = {one.ticket.id: one.ticket for changes in self.commits for one in changes.recorded}
        return [*found.values()]

    def groups(self) -> Iterator[batch.Group]:
        for changes in self.commits:
            if changes.batch is not None:
                yield from batch.decode_groups(changes.batch.content)


@dataclass
class Agent:
    """The agent's real parts but for the connection, which is here."""

    outbox: Outbox
    centre: Centre
    made: dict[int, Record] = field(default_factory=dict)
    session: int = 0

    def __post_init__(self) -> None:
        self.sending = Resend()
        self.recorder = Recorder(self.outbox, RUN, BOOT, now_ms=self.now_ms, on_record=self._note)
        self.recorder.on_durable = lambda records: self.sending.hold(RUN, _numbers(records))
        self.recorder.on_lost = lambda run, numbers: self.sending.forget(run, numbers.pairs())
        kit = Kit()
        self.sampler = Sampler(
            [Poller(p.device, p.input, Source(kit, p), p.every * MOMENT_MS / 1000, 5.0) for p in PARTS],
            monotonic=monotonic,
            deliver=self.recorder.deliver,
        )

    def now_ms(self) -> int:
        return round(monotonic() * 1000)

    def _note(self, record: Record) -> None:
        self.made[record.sequence] = record

    async def bring_home(self) -> Receipt:
        """Connect, give birth, send the backlog until nothing is held; return the last receipt."""
        self.session += 1
        self.sending.start_over()
        held = self.sending.held()[RUN].pairs()
        now_ms = CLOCK.place(self.now_ms())
        birth = Birth(self.session, BOOT, "box", "0", 10.0, {RUN: HeldRun(BOOT, held[0][0], held[-1][1])})
        self.centre.take(now_ms, "state", encode(PLAIN, RUN, birth))
        schemas = SchemaBody(BOOT, self.recorder.schemas, tuple(self.recorder.clocks))
        self.centre.take(now_ms, "schema", encode(DEFLATED, RUN, schemas))
        receipt = await self._take(self.centre.receipt(now_ms), fresh=True)
        while (message := self.sending.next_backlog()) is not None:
            records = await self.recorder.read(*message)
            assert _numbers(records) == message[1]
            payload = encode(DEFLATED, RUN, moments([Placed(record, 0) for record in records]), message[1])
            self.centre.take(now_ms, "backlog", payload)
            self.sending.published("backlog", RUN, message[1], self.now_ms())
            receipt = await self._take(self.centre.receipt(now_ms))
        return receipt

    async def _take(self, receipt: Receipt, *, fresh: bool = False) -> Receipt:
        for run, numbers in self.sending.receipt(receipt.runs, self.now_ms(), fresh=fresh).items():
            await self.recorder.release(run, numbers)
        return receipt


def _numbers(records: list[Record]) -> Intervals:
    return Intervals((record.sequence, record.sequence) for record in records)


@dataclass
class Course:
    """What was seen on the way. Hours are of the standard kit at its full rate."""

    predicted: float = 0.0
    at_the_end: OutboxStats | None = None
    held: Intervals = field(default_factory=Intervals)
    receipt: Receipt | None = None
    now_ms: int = 0


async def _outage(agent: Agent, hours: float) -> Course:
    course = Course()
    working = [asyncio.create_task(agent.sampler.run()), asyncio.create_task(agent.recorder.commit_forever())]
    await agent.recorder.note_clock(CLOCK)
    await asyncio.sleep(3600)
    await agent.bring_home()
    predicted = (await agent.recorder.stats()).hours_held
    assert predicted is not None
    course.predicted = predicted
    await asyncio.sleep(hours * 3600)
    course.at_the_end = await agent.recorder.stats()
    working[0].cancel()
    await asyncio.wait([working[0]])
    await agent.recorder.commit()
    course.held = agent.outbox.runs()[RUN].held
    course.now_ms = agent.now_ms()
    course.receipt = await agent.bring_home()
    working[1].cancel()
    return course


def test_twelve_hours_on_an_outbox_of_seven() -> None:
    centre = Centre()
    with asyncio.Runner(loop_factory=lambda: Loop(START_MS / 1000 - 0.5)) as runner:

        async def scene() -> tuple[Agent, Course]:
            agent = Agent(Outbox.open(Path("/outbox"), 2 * 2**20, RUN, BOOT, disk=MemoryDisk()), centre)
            return agent, await _outage(agent, 12)

        vehicle, course = runner.run(scene())
    made, now_ms = vehicle.made, course.now_ms
    assert 0.9 * 13 * 2_700 < len(made) < 1.1 * 13 * 2_700  # 64,800 records a day

    assert course.at_the_end is not None
    # The hours held are the hours predicted.
    oldest_ms = min(made[number].mono_ms for number in course.held if isinstance(made[number], Sample))
    held_hours = (now_ms - oldest_ms) / HOUR_MS
    assert course.at_the_end.hours_left == pytest.approx(0, abs=0.05 * course.predicted)

    # Everything that was made has arrived or is told as lost, and only samples are.
    row = centre.memory.runs[NAME.vehicle, NAME.agent, RUN].row
    lost = set(row.lost)
    assert set(row.seen) | lost == set(made)
    assert not set(row.seen) & lost
    assert all(isinstance(made[number], Sample) for number in lost)
    print(f"predicted {course.predicted:.2f} h, held {held_hours:.2f} h; lost {len(lost)} of {len(made)} records")
    assert held_hours == pytest.approx(course.predicted, rel=0.1)
    assert len(lost) == course.at_the_end.lost_total > 10_000
    events = [record for record in made.values() if isinstance(record, Event)]
    told = [record for record in events if record.kind == "lost"]
    assert len(events) - len(told) > 20
    assert lost == {n for event in told for first, last in event.body["intervals"] for n in range(first, last + 1)}
    assert {event.body["reason"] for event in told} == {"evicted"}

    # The receipts are whole, and nothing is held any more or was sent twice.
    assert course.receipt is not None
    assert course.receipt.runs == {RUN: [(0, max(made))]}
    assert not vehicle.sending.held()
    assert not vehicle.outbox.runs()[RUN].held
    assert vehicle.sending.resent.total == 0

    _gap(centre, made, lost, told)
    _ticket(centre, now_ms, told)


def _gap(centre: Centre, made: Mapping[int, Record], lost: set[int], told: list[Event]) -> None:
    """The points that InfluxDB would get have one hole, exactly where the events say, and no other."""
    templates = {key[2]: LineTemplate(NAME.site, *key[:2], one.schema) for key, one in centre.memory.compiled.items()}
    times = set()
    for group in centre.groups():
        for moment in group.moments:
            for entry in moment.entries:
                if len(entry) == 2:
                    lines = templates[entry[0]].lines(entry[1], CLOCK.place(moment.mono_ms))
                    times |= {int(line.rpartition(" ")[2]) for line in lines}
    ordered = sorted(times)
    holes = [(a, b) for a, b in itertools.pairwise(ordered) if b - a > MOMENT_MS]
    gone = [CLOCK.place(made[number].mono_ms) for number in lost]
    first = CLOCK.place(min(event.body["first_mono_ms"] for event in told))
    last = CLOCK.place(max(event.body["last_mono_ms"] for event in told))
    assert (first, last) == (min(gone), max(gone))
    ((begin, end),) = holes
    assert begin <= first <= begin + MOMENT_MS
    assert end - MOMENT_MS <= last <= end
    assert (end - begin) / HOUR_MS > 3


def _ticket(centre: Centre, now_ms: int, told: list[Event]) -> None:
    """One ticket, whose event time is that of the first eviction."""
    centre.tick(CLOCK.place(now_ms) + 1000)
    (ticket,) = [ticket for ticket in centre.tickets() if ticket.fault == "outbox_overrun"]
    assert ticket.device == NAME.agent
    assert ticket.state == "new"
    assert ticket.event_ms == CLOCK.place(told[0].mono_ms)


# --- with a broker, a collector and an agent that are real ------------------------------------------------------------

BOX = Schema("system", "box", (Column("host.cpu_percent"), Column("host.load1")))


class Older(Machine):
    """This machine, up for a day longer: records of the last hours have a place in its boot."""

    def monotonic(self) -> float:
        return super().monotonic() + 86_400


class Killable(Disk):
    """A real disk that can let go of the outbox as the end of a process does: without a word."""

    def lock(self, directory: Path) -> int:
        self._locked = super().lock(directory)
        return self._locked

    def let_go(self) -> None:
        self.close(self._locked)


def _overrun(directory: Path, host: Machine) -> tuple[int, int]:
    """Fill an outbox of 1 MiB with six hours of records by a run that was killed; return (last number, first held)."""
    disk = Killable()
    outbox = Outbox.open(directory / agent.main.OUTBOX, 2**20, RUN, host.boot(), disk=disk)
    name = outbox.add_schema(BOX)
    begin_ms = round(host.monotonic() * 1000) - 6 * HOUR_MS
    outbox.append_event(begin_ms, "problem", "box", {"input": "system", "problem": "a test says so"})
    for number in range(20_000):
        sample = outbox.append(begin_ms + number * 1_000, name, [number % 100 / 2, 0.25])
        if number % 200 == 0:
            outbox.sync()
    outbox.sync()  # and no close: it was killed
    held = outbox.runs()[RUN].held.pairs()
    assert [len(held), held[0], held[1][1]] == [2, (0, 0), sample.sequence]  # the event, and the newest samples
    disk.let_go()
    return sample.sequence, held[1][0]


def _configuration(directory: Path, port: int) -> Path:
    devices = {"box": {"kind": "host", "system": {"interval": 1, "deadline": 1}}}
    fleet = {"sites": {NAME.site: {"vehicles": {NAME.vehicle: {"agents": {NAME.agent: {"devices": devices}}}}}}}
    (directory / "fleet.yaml").write_text(yaml.safe_dump(fleet))
    path = directory / "collector.yaml"
    path.write_text(
        json.dumps(
            {
                "broker": {"host": "127.0.0.1", "port": port},
                "database": "sqlite:///kitwatch.sqlite",
                "fleet": "fleet.yaml",
                "timings": {"receipt": 0.2, "beat": 0.5, "retry": 0.1},
            }
        )
    )
    return path


def test_a_gap_ends_in_the_table_of_runs_and_in_a_ticket(tmp_path: Path) -> None:
    host = Older()
    last, first_held = _overrun(tmp_path / "state", host)
    database = f"sqlite:///{tmp_path / 'kitwatch.sqlite'}"

    def done() -> bool:
        with contextlib.suppress(sqlite3.Error):  # before the migration there is no table
            found = [known for (_, _, run), known in runs(database).items() if run == RUN]
            return bool(rows(database, "SELECT id FROM ticket")) and found == [
                (Intervals([(0, 0), (first_held, last)]), Intervals([(1, first_held - 1)]))
            ]
        return False

    async def scene(port: int) -> None:
        stop = asyncio.Event()
        waits = Waits(spread=0, clocks=1, clock_patience=3, ask_repeat=0.2, own_figures=1, drain=50)
        config = AgentConfig(
            site=NAME.site,
            vehicle=NAME.vehicle,
            agent=NAME.agent,
            broker=Broker(host="127.0.0.1", port=port),
            devices=convert(
                {"box": {"kind": "host", "system": {"interval": 1, "deadline": 1}}}, dict[str, Device], "d"
            ),
            state_directory=str(tmp_path / "state"),
            outbox_bytes=2**20,
            waits=waits,
        )
        collector = asyncio.create_task(run_collector(load_config(_configuration(tmp_path, port)), stop=stop))
        vehicle_stop = asyncio.Event()
        vehicle = asyncio.create_task(agent.main.run(config, stop=vehicle_stop, host=host, run_id="00000000000000a2"))
        try:
            await until(done, 60)
            await _receipted(port, [(0, last)])
        finally:
            vehicle_stop.set()
            await asyncio.wait_for(vehicle, 60)
            stop.set()
            await asyncio.wait_for(collector, 60)

    with mosquitto(tmp_path / "broker") as broker:
        asyncio.run(scene(broker.port))
    tickets = rows(database, "SELECT vehicle, device, fault, state FROM ticket")
    assert tickets == [(NAME.vehicle, NAME.agent, "outbox_overrun", "new")]
    found = [key[3] for key, _ in kept(database) if key[2] == RUN]
    assert sorted(found) == [0, *range(first_held, last + 1)]
    left = Outbox.open(tmp_path / "state" / agent.main.OUTBOX, 2**20, "00000000000000a3", host.boot())
    assert list(left.runs()) == ["00000000000000a3"]  # the agent holds nothing any more
    left.close()


async def _receipted(port: int, numbers: list[tuple[int, int]]) -> None:
    """Wait until the receipt that stands at the broker names these numbers of the run."""
    found: list[Receipt] = []

    def note(message: Message) -> None:
        found.append(decode(message.payload, Receipt)[1])

    async with Connection(Broker(host="127.0.0.1", port=port), "reader", on_message=note) as connection:
        await connection.subscribe(NAME.down("receipt"))
        await until(lambda: bool(found) and found[-1].runs.get(RUN) == numbers, 60)


def test_the_dashboard_draws_no_line_over_a_gap() -> None:
    """Field note 7: Grafana joins two points that stand side by side; only a null between them parts them.

    ``fill(null)`` makes nulls where nothing was stored and ``spanNulls`` false keeps them open; where the query gives
    no nulls, ``insertNulls`` (milliseconds) makes them.
    """
    panels = json.loads((Path(__file__).parents[2] / "grafana" / "dashboards" / "kit.json").read_text("utf-8"))[
        "panels"
    ]
    drawn = [panel for panel in panels if panel["type"] == "timeseries"]
    assert drawn
    for panel in drawn:
        custom = panel["fieldConfig"]["defaults"]["custom"]
        nulls = all("fill(null)" in target["query"] for target in panel["targets"])
        assert custom["spanNulls"] is False, panel["title"]
        assert nulls or custom.get("insertNulls"), panel["title"]
