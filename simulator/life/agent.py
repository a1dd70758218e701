"""One agent's life: what it says, and when the centre hears it. Pure; times are UTC milliseconds that are true.

What a real agent does (docs/architecture.md): each moment's records are one message; after each connect the birth,
schemas and live records go at once and what was held waits for the receipt; who is cut off notices it after half a
minute and then tries again, at random times; the broker publishes the will of whoever it has lost.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from simulator.life import kit
from simulator.life.body import START_MS, Between, Body
from simulator.life.kit import Input
from telemetry.intervals import Intervals
from telemetry.message import PLAIN, Birth, Goodbye, HeldRun, Moment, SchemaBody, Will, encode
from telemetry.metrics import Value
from telemetry.records import Clock, ClockSource, EventKind, Schema
from telemetry.topics import AgentName

PER_MESSAGE: Final = 200
"""Records in a backlog message (agent.uplink.resend)."""
_BACKLOG_MS: Final = 125
"""Between two backlog messages: sixteen may be on their way, and a commit takes a second or two."""
_UNANSWERED_MS: Final = 30_000
"""A connection over which something waits is over after so long (agent.config.Waits.unanswered)."""
_LOST_MS: Final = 90_000
"""After one and a half keep alive intervals of 60 s the broker has lost a client (MQTT 5.0, 3.1.2.10)."""
_OVERRUN_MS: Final = 3_600_000
"""So much an outbox holds that overruns."""
_IN_1970_MS: Final = 300_000
"""So long after its start a box that woke in 1970 has the time."""
_RECEIPT_MS: Final = 30_000
"""How often an agent is told what is committed."""


_ANYHOW: Final = ("look", "start", "lost", "clock", "copy", "send")
"""What is planned and comes whatever happens to the connection."""


_NOTHING: Final = Intervals()


class Heard(msgspec.Struct, frozen=True):
    """A message at the centre's broker."""

    at_ms: int
    agent: AgentName
    kind: str
    run: str
    body: Any
    numbers: Intervals
    """Of the records in it."""
    event_ms: int = 0
    """Of its last record."""
    format: int = PLAIN
    """In which it goes over the wire."""

    @property
    def records(self) -> int:
        """How many it brings."""
        return len(self.numbers)

    @property
    def topic(self) -> str:
        """Where it is published."""
        return self.agent.up(self.kind)

    @property
    def payload(self) -> bytes:
        """Its bytes: made when they are asked for."""
        return encode(self.format, self.run, self.body, self.numbers)


class Outage(NamedTuple):
    """A time in which something of the centre's is away."""

    begins_ms: int
    ends_ms: int


@dataclass(frozen=True, slots=True)
class Centre:
    """What agents notice of the centre."""

    broker_away: tuple[Outage, ...] = ()
    collector_away: tuple[Outage, ...] = ()
    offset_ms: Callable[[int], int] = lambda time_ms: 0
    """How fast its clock is at a moment."""

    def reachable(self, time_ms: int) -> bool:
        """Say whether the broker is there."""
        return not any(begins <= time_ms < ends for begins, ends in self.broker_away)

    def listening(self, time_ms: int) -> bool:
        """Say whether the collector is there, as far as agents know."""
        away = any(begins <= time_ms < ends for begins, ends in self.collector_away)
        return not away and self.reachable(time_ms)

    def breaks(self) -> list[int]:
        """Return when any of that changes."""
        return sorted(time_ms for outage in (*self.broker_away, *self.collector_away) for time_ms in outage)


@dataclass(slots=True)
class Run:
    """One life of the agent's process."""

    id: str
    boot: str
    boot_ms: int
    """The wall time of its boot's beginning: ``CLOCK_BOOTTIME`` counts from there."""
    clocks: list[Clock] = field(default_factory=list)
    next: int = 0
    """The next sequence number."""
    committed: int = 0
    """So many of the first are known to be committed, as of the last receipt."""


class Held(msgspec.Struct, frozen=True):
    """Records of one moment that an agent has not been told to be committed."""

    run: Run
    first: int
    moment: Moment


class Agent:
    """See the module. ``way_out`` says whether its messages reach the broker; ``seed`` makes it reproducible."""

    format: int = PLAIN
    """In which it speaks."""

    def __init__(
        self,
        name: AgentName,
        inputs: tuple[Input, ...],
        body: Body,
        centre: Centre,
        way_out: Callable[[int], bool],
        *,
        begins_ms: int,
        until_ms: int,
        seed: str,
        clock: ClockSource = "gnss",
        interval_ms: int = 0,
    ) -> None:
        self.name = name
        self.inputs = inputs
        self.body = body
        self._centre = centre
        self._way_out = way_out
        self._begins_ms = begins_ms
        self._until_ms = until_ms
        self.chance = random.Random(seed)
        self._clock = clock
        self._interval_ms = interval_ms
        self._poll_ms = min(one.every_ms for one in inputs)
        self._cycle_ms = math.lcm(*(one.every_ms for one in inputs))
        self._due: dict[int, list[Input]] = {}
        """Which inputs are due, by when in that cycle."""
        self._is_box = name.agent == kit.BOX
        self._boots = 411
        self._run: Run | None = None
        self._before: Run | None = None
        self._ended = "stop"
        self._session = 0
        self._connected = False
        self._away = False
        """Nobody is at the centre's end."""
        self._lost_ms: int | None = None
        """Since when the connection leads nowhere."""
        self._named: set[str] = set()
        """Runs whose schemas and clocks were told over this connection."""
        self._air: list[Held] = []
        """Published, and lost if the connection is."""
        self._held: deque[Held] = deque()
        self._gathered: list[Held] = []
        self._receipt_ms = begins_ms
        self._told: dict[tuple[str, str], tuple[str, int]] = {}
        self._identity: dict[str, dict[str, str]] = {}
        self._noted: dict[str, Between] = {}
        """By input (its schema): while what held then holds, there is nothing to tell of it as long as it answers."""
        self._identities: dict[tuple[str, str], dict[str, str]] = {}
        """What devices can say, by (device, firmware that it has now; empty: its first)."""
        self._will: tuple[Run, int] | None = None
        """Whose will the broker holds: run and session."""
        self._events: list[tuple[int, int, str, int]] = []
        self._number = 0
        self._do: dict[str, Callable[[int], None]] = {
            "look": self._look, "start": self._start, "lost": self._lost, "dead": self._dead, "copy": self._copy,
            "connect": self._connect, "backlog": self._backlog, "clock": self._clock_found, "ask": self._ask,
            "send": self._send_gathered,
        }  # fmt: skip
        self._generation = 0
        """Counts connections and losses of them: what was planned for an earlier one is void."""
        self._out: list[tuple[int, int, Heard]] = []
        self._last_ms = begins_ms
        self._evicted: dict[str, Intervals] = {}
        self._copies = 0
        self._fewer: dict[tuple[str, frozenset[str]], tuple[str, tuple[int, ...]]] = {}
        """Schemas that lack metrics: (name of the whole one, which metrics) -> its name, the places that stay."""
        self._schemas: dict[str, Schema] = {one.schema_id: one.schema for one in inputs}
        self._boot_ms = begins_ms - 36_000_000 - self.chance.randrange(3_600_000)
        self._boot = f"{self.chance.randrange(2**64):016x}"

    # --- the course of events -----------------------------------------------------------------------------------------

    def says(self) -> Iterator[Heard]:
        """Yield what the broker hears of this agent, in order of time."""
        for time_ms in {*self.body.breaks, *self._centre.breaks()}:
            if self._begins_ms <= time_ms < self._until_ms:
                self._plan(time_ms, "look")
        self._plan(self._begins_ms, "look")
        moment_ms = self._next_moment(self._begins_ms)
        events = self._events
        while events or moment_ms < self._until_ms:
            if not events or moment_ms < events[0][0]:
                time_ms = moment_ms
                moment_ms = self._next_moment(moment_ms)
                if time_ms >= self._until_ms:
                    break
                if self._run is not None:
                    self._poll(time_ms)
            else:
                time_ms, _, what, generation = heapq.heappop(events)
                if time_ms >= self._until_ms:
                    break
                if what in _ANYHOW or generation == self._generation:
                    self._do[what](time_ms)
            while self._out and self._out[0][0] <= time_ms:
                yield heapq.heappop(self._out)[2]
        while self._out and self._out[0][0] <= self._until_ms:
            yield heapq.heappop(self._out)[2]

    def _next_moment(self, after_ms: int) -> int:
        since = after_ms - self._boot_ms
        return self._boot_ms + (since // self._poll_ms + 1) * self._poll_ms

    def _plan(self, time_ms: int, what: str) -> None:
        self._number += 1
        heapq.heappush(self._events, (time_ms, self._number, what, self._generation))

    def _say(self, time_ms: int, kind: str, run: str, body: object) -> None:
        """Let the broker hear something not before ``time_ms``."""
        self._hear(time_ms, kind, run, body, _NOTHING, 0)

    def _hear(self, time_ms: int, kind: str, run: str, body: object, numbers: Intervals, event_ms: int) -> None:
        """What one agent says keeps its order."""
        self._last_ms = time_ms = max(time_ms, self._last_ms)
        self._number += 1
        heard = Heard(time_ms, self.name, kind, run, body, numbers, event_ms, self.format)
        heapq.heappush(self._out, (time_ms, self._number, heard))

    @property
    def run(self) -> Run | None:
        """The run that goes on."""
        return self._run

    # --- the process --------------------------------------------------------------------------------------------------

    def _may_run(self, time_ms: int) -> bool:
        down = self.name.agent in self.body.between(time_ms).condition.boxes_down
        return not down and (not self._is_box or self.body.fed(time_ms))

    def _look(self, time_ms: int) -> None:
        """Something has changed: power, way out, the centre."""
        runs = self._may_run(time_ms)
        if self._run is not None and not runs:
            self._stop(time_ms)
        elif self._run is None and runs:
            fed_ms = self.body.started_ms("box", time_ms) if self._is_box else 0
            ready_ms = fed_ms + START_MS["box"] if fed_ms >= self._begins_ms else time_ms
            self._plan(max(ready_ms, time_ms), "start")
        if self._run is not None:
            self._look_at_clock(time_ms)
            self._look_at_line(time_ms)
            if self.name.agent in self.body.between(time_ms).condition.clash:
                self._plan(time_ms + 20_000, "copy")

    def _stop(self, time_ms: int) -> None:
        """The process ends: by plan with a goodbye, or without a word."""
        assert self._run is not None
        cut = self._is_box and not self.body.fed(time_ms)
        by_plan = cut and self._by_plan(time_ms)
        says_so = by_plan and self.body.wiring.goodbye and self._connected and self._lost_ms is None
        if says_so and self._centre.reachable(time_ms):
            self._send_gathered(time_ms)
            self._say(time_ms, "state", self._run.id, Goodbye(self._session, "parked"))
            self._will = None
        elif self._will is not None and self._connected:
            # a killed process closes its connection, a box without power does not
            self._plan(time_ms + (_LOST_MS if cut or self._lost_ms is not None else 200), "lost")
        # who is told to end notes that he did, whether or not anybody hears his goodbye
        self._ended = "stop" if by_plan and self.body.wiring.goodbye else "killed"
        self._held.extend(self._air)
        self._held.extend(self._gathered)
        self._air, self._gathered = [], []
        self._before, self._run = self._run, None
        self._end_run()
        self._connected, self._lost_ms = False, None
        self._generation += 1
        if cut:
            self._boot = ""

    def _by_plan(self, time_ms: int) -> bool:
        return any(begins <= time_ms < ends and planned for begins, ends, planned in self.body.off)

    def _start(self, time_ms: int) -> None:
        if self._run is not None or not self._may_run(time_ms):
            return
        booted = not self._boot
        if booted:
            self._boot_ms = time_ms - 20_000 - self.chance.randrange(10_000)
            self._boot = f"{self.chance.randrange(2**64):016x}"
        self._boots += booted or self._before is None
        run = Run(f"{self.chance.randrange(2**64):016x}", self._boot, self._boot_ms)
        self._run, self._session = run, 0
        self._begin_run(run)
        if self.body.having("clock_1970", time_ms - _IN_1970_MS) or self.body.having("clock_1970", time_ms):
            self._plan(time_ms + _IN_1970_MS, "clock")
        else:
            self._note_clock(run, time_ms)
        self._told, self._identity, self._noted = {}, {}, {}
        self._receipt_ms = time_ms
        body = {
            "version": "0.1.0",
            "python": "3.11.2",
            "boots": self._boots,
            "run_before": None if self._before is None else self._before.id,
            "ended": None if self._before is None else self._ended,
            "booted": self._before is None or booted,
        }
        self._record(time_ms, self._event(time_ms - run.boot_ms, "started", body))
        self._generation += 1
        self._plan(time_ms + self.chance.randrange(300, 5_000), "connect")

    def _note_clock(self, run: Run, time_ms: int) -> None:
        source, off_ms = self._time_of(time_ms)
        uncertainty = {"gnss": 100, "ntp": 20, "centre": 40, "rtc": 300_000}[source]
        run.clocks.append(Clock(len(run.clocks), time_ms - run.boot_ms, time_ms + off_ms, source, uncertainty))
        self._note_outbox_clock(run, run.clocks[-1])

    def _time_of(self, time_ms: int) -> tuple[ClockSource, int]:
        """Return who tells the time, and how fast that is."""
        condition, name = self.body.between(time_ms).condition, self.name.agent
        if name in condition.no_clock:
            return "rtc", 0
        off_s = condition.clock_offset_s.get(name)
        if off_s is not None:
            return "ntp", round(1000 * off_s)
        return self._clock, self._centre.offset_ms(time_ms) if self._clock == "centre" else 0

    def _look_at_clock(self, time_ms: int) -> None:
        """Note another clock where somebody else tells the time now, or another time."""
        run = self._run
        if run is None or not run.clocks:
            return
        source, off_ms = self._time_of(time_ms)
        last = run.clocks[-1]
        if last.source != source or abs(last.place(time_ms - run.boot_ms) - time_ms - off_ms) > 200:
            self._note_clock(run, time_ms)
            self._named.discard(run.id)

    def _ask(self, time_ms: int) -> None:
        """Have the centre's time, where no better one is known."""
        run = self._run
        if run is None or run.clocks:
            return
        off_ms = self._centre.offset_ms(time_ms)
        run.clocks.append(Clock(0, time_ms - run.boot_ms, time_ms + off_ms, "centre", 40))
        self._note_outbox_clock(run, run.clocks[-1])
        if self._held and not self._away:
            self._plan(time_ms + 1_000, "backlog")

    def _clock_found(self, time_ms: int) -> None:
        """The time is known at last: what waited for it may go."""
        if self._run is None or (self._run.clocks and self._run.clocks[-1].source == self._clock):
            return
        self._note_clock(self._run, time_ms)
        self._named.discard(self._run.id)
        if self._connected and self._lost_ms is None and not self._away and self._held:
            self._plan(time_ms + 1_000, "backlog")

    # --- the line -----------------------------------------------------------------------------------------------------

    def _reaches(self, time_ms: int) -> bool:
        if self.name.agent in self.body.between(time_ms).condition.cut_off:
            return False
        return self._way_out(time_ms) and self._centre.reachable(time_ms)

    def _look_at_line(self, time_ms: int) -> None:
        reaches = self._reaches(time_ms)
        if self._connected and self._lost_ms is None and not reaches:
            self._lost_ms = time_ms
            self._generation += 1
            if not self._centre.reachable(time_ms):  # the broker has closed it
                self._will = None
                self._dead(time_ms)
            else:
                self._plan(time_ms + _UNANSWERED_MS + self.chance.randrange(10_000), "dead")
                self._plan(time_ms + _LOST_MS - self.chance.randrange(10_000), "lost")
        elif self._connected and self._lost_ms is not None and reaches:
            self._lost_ms = None  # what waited in the socket comes after all
            self._generation += 1
            waited, self._air = self._air, []
            for held in waited:
                self._publish(time_ms + self.chance.randrange(500, 4_000), "live", [held])
            if self._held and not self._away:
                self._plan(time_ms + 4_000, "backlog")
        elif not self._connected and reaches:
            self._generation += 1
            self._plan(time_ms + self.chance.randrange(500, 30_000), "connect")
        if self._connected and self._lost_ms is None and self._away != (not self._centre.listening(time_ms)):
            self._away = not self._centre.listening(time_ms)
            if not self._away:
                self._named = set()
                self._birth(time_ms + self.chance.randrange(100, 600))

    def _dead(self, time_ms: int) -> None:
        """The connection is given up: what it carried is held."""
        self._connected, self._lost_ms = False, None
        self._held.extend(self._air)
        self._air = []
        self._send_gathered(time_ms)
        self._generation += 1

    def _connect(self, time_ms: int) -> None:
        if self._run is None or self._connected or not self._reaches(time_ms):
            return
        self._session += 1
        self._publish_will(time_ms)  # it is taken over
        self._tell_evicted(time_ms)
        self._connected, self._lost_ms = True, None
        self._away = not self._centre.listening(time_ms)
        self._named = set()
        self._generation += 1
        self._birth(time_ms + self.chance.randrange(80, 500))

    def _lost(self, time_ms: int) -> None:
        """The broker has lost the client."""
        if not (self._connected and self._lost_ms is None):
            self._publish_will(time_ms)

    def _publish_will(self, time_ms: int) -> None:
        if self._will is not None:
            run, session = self._will
            self._say(time_ms, "state", run.id, Will(session))
            self._will = None

    def _birth(self, time_ms: int) -> None:
        assert self._run is not None
        run = self._run
        held: dict[str, HeldRun] = {}
        for one in self._held:
            of = one.run
            last = one.first + len(one.moment.entries) - 1
            known = held.get(of.id)
            held[of.id] = HeldRun(of.boot, known.first if known else one.first, last)
        if run.next > run.committed:
            first = min(run.committed, held[run.id].first) if run.id in held else run.committed
            held[run.id] = HeldRun(run.boot, first, run.next - 1)
        devices = {one.device: kit.KINDS.get(one.device, "module") for one in self.inputs if one.device != "agent"}
        birth = Birth(self._session, run.boot, f"m-{self.name.vehicle}-{self.name.agent}", "0.1.0",
                      self._interval_ms / 1000, held, devices)  # fmt: skip
        self._say(time_ms, "state", run.id, birth)
        self._will = (run, self._session)
        if not run.clocks and not self._away:
            self._plan(time_ms + 1_000, "ask")
        if not self._away and self._held:
            self._plan(time_ms + self.chance.randrange(900, 1_800), "backlog")

    def _backlog(self, time_ms: int) -> None:
        if not self._connected or self._lost_ms is not None or self._away or not self._held:
            return
        run = self._held[0].run
        if not run.clocks:  # its time is not known yet
            return
        batch: list[Held] = []
        count = 0
        while self._held and self._held[0].run is run and count < PER_MESSAGE:
            batch.append(self._held.popleft())
            count += len(batch[-1].moment.entries)
        self._publish(time_ms, "backlog", batch)
        if self._held:
            self._plan(time_ms + _BACKLOG_MS, "backlog")

    def _publish(self, time_ms: int, lane: str, batch: list[Held]) -> None:
        run = batch[0].run
        event_ms = run.boot_ms + batch[-1].moment.mono_ms
        schemas = self._schemas_to_tell(run, named=run.id in self._named)
        if schemas is not None:
            self._hear(time_ms, "schema", run.id, schemas, _NOTHING, event_ms)
        numbers = Intervals()
        for one in batch:
            numbers.add_range(one.first, one.first + len(one.moment.entries) - 1)
        self._hear(time_ms, lane, run.id, self._moments(run, batch, numbers), numbers, event_ms)
        self._named.add(run.id)

    def _schemas_to_tell(self, run: Run, *, named: bool) -> SchemaBody | None:
        """Return what must be known of a run before its records, where it was not ``named`` over this connection."""
        return None if named else SchemaBody(run.boot, self._schemas, tuple(run.clocks))

    def _moments(self, run: Run, batch: Sequence[Held], numbers: Intervals) -> list[Moment]:
        """Return the records of a run, of these ``numbers``, as they are sent."""
        return [one.moment for one in batch]

    # --- records ------------------------------------------------------------------------------------------------------

    def _poll(self, time_ms: int) -> None:
        assert self._run is not None
        condition = self.body.between(time_ms).condition
        if self.name.agent in condition.hung:
            return
        mono_ms = time_ms - self._run.boot_ms
        due = self._due.get(mono_ms % self._cycle_ms)
        if due is None:
            due = self._due[mono_ms % self._cycle_ms] = [one for one in self.inputs if not mono_ms % one.every_ms]
        unread = condition.unread
        if unread:
            due = [one for one in due if unread.isdisjoint({("", one.device), (self.name.agent, one.device)})]
        entries = self._entries_of(due, time_ms, mono_ms)
        if entries:
            self._record(time_ms, entries)
        if time_ms - self._receipt_ms >= _RECEIPT_MS and self._connected and self._lost_ms is None and not self._away:
            self._receipt_ms = time_ms
            mine = [one.first for one in self._held if one.run is self._run]
            self._run.committed = min(mine, default=self._run.next)
            self._committed(self._run, self._run.committed)

    def _entries_of(self, due: Sequence[Input], time_ms: int, mono_ms: int) -> list[list[object]]:
        """Return what the inputs that are due bring, as it goes over the wire."""
        entries: list[list[object]] = []
        body, spot, noted, chance = self.body, self.body.drive.at(time_ms), self._noted, self.chance
        now = body.between(time_ms)
        gone = now.condition.without
        for one in due:
            values, problem = body.read(one, time_ms, spot, now, chance)
            if problem or noted.get(one.schema_id) is not now:
                self._note(entries, one, problem, time_ms)
            if values is not None:
                entries.append(self._sample(one, values, gone) if gone else [one.schema_id, values])
        return entries

    def _event(self, mono_ms: int, kind: EventKind, body: Mapping[str, Any]) -> list[list[object]]:
        """Return an event of the agent's own, as it goes over the wire."""
        return [[kind, "", body]]

    def _begin_run(self, run: Run) -> None:
        """Take note that a run begins."""

    def _end_run(self) -> None:
        """Take note that the run has ended."""

    def _note_outbox_clock(self, run: Run, clock: Clock) -> None:
        """Take note of a clock."""

    def _committed(self, run: Run, until: int) -> None:
        """Take note that the first so many records are committed."""

    def _sample(self, one: Input, values: list[Value | None], gone: Mapping[str, set[str]]) -> list[object]:
        """Return a sample on the wire, without what its device does not tell any more."""
        without = gone.get(one.device)
        if not without:
            return [one.schema_id, values]
        key = (one.schema_id, frozenset(without))
        if key not in self._fewer:
            stay = tuple(place for place, (metric, _) in enumerate(one.keys) if metric not in without)
            schema = Schema(one.name, one.device, tuple(one.schema.columns[place] for place in stay))
            self._fewer[key] = schema.id(), stay
            self._schemas = {**self._schemas, schema.id(): schema}
            self._named.clear()
        name, stay = self._fewer[key]
        return [name, [values[place] for place in stay]]

    def identity_of(self, device: str, time_ms: int) -> dict[str, str]:
        """Return who a device says it is."""
        firmware = self.body.between(time_ms).condition.firmware.get(device, "")
        known = self._identities.get((device, firmware))
        if known is None:
            known = self._identities[device, firmware] = kit.identity(device) | (
                {"firmware": firmware} if firmware else {}
            )
        return known

    def _note(self, entries: list[list[object]], one: Input, problem: str, time_ms: int) -> None:
        """Tell what an input cannot read, once a minute at most, and who a device is."""
        key = (one.device, one.name)
        text, told_ms = self._told.get(key, ("", None))
        if problem != text and (told_ms is None or time_ms - told_ms >= 60_000):
            self._told[key] = (problem, time_ms)
            entries.append(["problem", one.device, {"input": one.name, "problem": problem}])
        if problem:
            return
        if not self._told.get(key, ("", None))[0]:
            self._noted[one.schema_id] = self.body.between(time_ms)
        if not one.primary:
            return
        identity, known = self.identity_of(one.device, time_ms), self._identity.get(one.device)
        if identity and known is not identity and known != identity:
            self._identity[one.device] = identity
            entries.append(["inventory", one.device, {"input": one.name, **identity}])

    def _record(self, time_ms: int, entries: list[list[object]]) -> None:
        run = self._run
        assert run is not None
        clock = max(len(run.clocks) - 1, 0)
        held = Held(run, run.next, Moment(time_ms - run.boot_ms, clock, entries))
        run.next += len(entries)
        if not self._connected or self._away or not run.clocks:
            self._held.append(held)
            self._evict(time_ms)
        elif self._lost_ms is not None and not self._interval_ms:
            self._air.append(held)
        elif self._interval_ms:
            if not self._gathered:
                self._plan((time_ms // self._interval_ms + 1) * self._interval_ms, "send")
            self._gathered.append(held)
        else:
            self._publish(time_ms + self.chance.randrange(350, 900), "live", [held])

    def _evict(self, time_ms: int) -> None:
        """Let go of what is older than an hour, where the outbox holds no more."""
        if self.name.agent not in self.body.between(time_ms).condition.overruns:
            return
        while self._held and time_ms - self._held[0].run.boot_ms - self._held[0].moment.mono_ms > _OVERRUN_MS:
            gone = self._held.popleft()
            numbers = self._evicted.setdefault(gone.run.id, Intervals())
            numbers.add_range(gone.first, gone.first + len(gone.moment.entries) - 1)

    def _tell_evicted(self, time_ms: int) -> None:
        """Tell which records will never come."""
        evicted, self._evicted = self._evicted, {}
        for run, numbers in evicted.items():
            body = {"run": run, "intervals": [list(pair) for pair in numbers.pairs()], "reason": "evicted"}
            assert self._run is not None
            self._record(time_ms, self._event(time_ms - self._run.boot_ms, "lost", body))

    def _copy(self, time_ms: int) -> None:
        """A copy of the box connects under the same name: by turns each takes the other's connection over."""
        if self._run is None or self.name.agent not in self.body.between(time_ms).condition.clash:
            return
        if self._connected and self._lost_ms is None:
            self._publish_will(time_ms)
            self._connected = False
            self._copies += 1
            run = f"{0xC0FFEE:016x}"
            birth = Birth(self._copies, "c0" * 8, "m-copy", "0.1.0", self._interval_ms / 1000, {}, {})
            self._say(time_ms + 100, "state", run, birth)
            self._generation += 1
            self._plan(time_ms + self.chance.randrange(5_000, 20_000), "connect")
        self._plan(time_ms + 40_000, "copy")

    def _send_gathered(self, time_ms: int) -> None:
        """Send what was gathered, or hold it where that cannot be."""
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        if not self._connected or self._away:
            self._held.extend(gathered)
        elif self._lost_ms is not None:
            self._air.extend(gathered)
        else:
            self._publish(time_ms + self.chance.randrange(350, 900), "live", gathered)
