"""One turn of a site: what came in and what time brought, as one set of changes (docs/architecture.md). Pure.

A turn works on copies of what is committed. ``changes`` goes into one transaction; only after it ``keep`` makes the
copies the memory, and ``tell`` lets the receipts know. A turn that is thrown away has touched nothing.

What holds: a record is stepped once; one on which ``step`` raises is set aside alone, and the vehicle is as it was
before it; a birth, goodbye or tick on which ``step`` raises leaves the vehicle as it was and counts as a fault of ours.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from collector.core.contract import DEFAULT, Contract
from collector.core.identities import IdentityError, InventoryKey
from collector.core.notifications import notifications_of
from collector.core.problems import ClosedNote, ProblemChange
from collector.core.rules.schemas import AGENT_DEVICE, SchemaPlan, compile_schema
from collector.core.rules.types import Rules
from collector.core.survey import SiteState, Verdict, survey
from collector.core.tickets.desk import DeskEvent, TimePassed, desk, desk_all
from collector.core.tickets.draft import DeskEffect, DeskState, EndProblem, ProblemKept, Recorded
from collector.core.tickets.on_problems import causes_first
from collector.core.vehicle.draft import Effect
from collector.core.vehicle.events import (
    Acknowledged,
    Acted,
    Born,
    Died,
    Event,
    Left,
    Listening,
    Observed,
    StateWish,
    Tick,
    Told,
)
from collector.core.vehicle.state import InventoryEntry, Vehicle
from collector.core.vehicle.step import Context, step, step_all
from collector.site.intake import (
    MAX_RECORDS,
    AskMessage,
    Incoming,
    KnownRun,
    Ready,
    Reason,
    RecordsMessage,
    Refused,
    SchemaMessage,
    StateMessage,
    body_of,
    judge,
    read,
)
from collector.site.receipts import NO_CLOCK, Birthday, Receipts
from collector.store import batch as log
from collector.store.rows import (
    Action,
    BatchRow,
    Changes,
    NotificationRow,
    Quarantined,
    QuarantineRow,
    RunKey,
    RunRow,
    SchemaKey,
    SiteData,
    TakenAction,
)
from telemetry.fleet import Site, VehiclePlan
from telemetry.intervals import Intervals
from telemetry.message import PLAIN, Birth, Goodbye, Header, encode, moments
from telemetry.records import Clock, Record, Run, Schema
from telemetry.topics import AgentName

MAX_UNNAMED: Final = 100
"""Most messages without any record's name that are kept of one agent and kind in one ownership; the rest is counted."""


@dataclass(slots=True)
class Memory:
    """What a site's owner knows, exactly as it is committed."""

    state: SiteState
    desk: DeskState
    vehicles: dict[str, Vehicle] = field(default_factory=dict)
    verdict: Verdict = field(default_factory=Verdict)
    runs: dict[RunKey, KnownRun] = field(default_factory=dict)
    plans: dict[SchemaKey, SchemaPlan] = field(default_factory=dict)
    last_batch: int = 0
    unsettled: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """By (vehicle, agent): runs that its last birth named, or that were heard since."""
    unnamed: Counter[tuple[str, str]] = field(default_factory=Counter)


UNKNOWN: Final = VehiclePlan(agents={})
"""A vehicle that the fleet file does not know."""


@dataclass(frozen=True, slots=True)
class Judge:
    """What judging goes by, the same for every turn of an ownership."""

    site_id: str
    site: Site
    rules: Rules
    receivers: tuple[tuple[str, str], ...] = ()
    """(receiver, channel) of those who are told; without any no notification is made, lest the first gets them all."""
    contract: Contract = DEFAULT

    def vehicle_plan(self, vehicle: str) -> VehiclePlan:
        """Return what the fleet file says of a vehicle; one that it does not know is watched all the same."""
        return self.site.vehicles.get(vehicle, UNKNOWN)

    def compile(self, key: SchemaKey, schema: Schema, vehicle: Vehicle | None) -> SchemaPlan:
        """Return the plan of an agent's schema; the vehicle's state knows the device's model."""
        fleet = self.vehicle_plan(key[0])
        agent = fleet.agents.get(key[1])
        device = agent.devices.get(schema.device) if agent else None
        kind = "agent" if schema.device == AGENT_DEVICE else device.kind if device else ""
        known = vehicle.inventory.get(InventoryKey(schema.device)) if vehicle else None
        model = known.model if known else ""
        return compile_schema(
            schema, self.rules, kind, site=self.site_id, vehicle=key[0], agent=key[1], model=model, fleet=fleet
        )

    def remember(self, data: SiteData) -> Memory:
        """Return what an owner begins with. Raises ValueError for a vehicle's state that cannot be read."""
        runs = {key: KnownRun(row, dict(data.clocks.get(key, {}))) for key, row in data.seen.items()}
        for key, clocks in data.clocks.items():
            runs.setdefault(key, KnownRun(RunRow(*key), dict(clocks)))
        vehicles = {name: Vehicle.from_json(state) for name, state in data.vehicles.items()}
        plans = {}
        for key, schema in data.schemas.items():
            with contextlib.suppress(IdentityError):  # the first version took such names; its agent is asked again
                plans[key] = self.compile(key, schema, vehicles.get(key[0]))
        unsettled: dict[tuple[str, str], set[str]] = {}
        for vehicle, agent, run in runs:
            unsettled.setdefault((vehicle, agent), set()).add(run)
        return Memory(
            SiteState.from_json(data.site_state) if data.site_state else SiteState.new(self.site_id),
            DeskState.of(self.site_id, data.ticket_events, data.problems, data.last_numbers, self.contract),
            vehicles,
            runs=runs,
            plans=plans,
            last_batch=data.last_batch,
            unsettled=unsettled,
        )


STATE_ACTION: Final = "state"
"""The kind of action that gives a vehicle a state; its body is a ``StateBody`` as JSON."""


class StateBody(msgspec.Struct, frozen=True):
    """What such an action says."""

    state: StateWish


_wish = msgspec.json.Decoder(StateBody).decode


class Turn:
    """One turn. ``now_ms`` (UTC) is the time of everything that it decides."""

    def __init__(self, memory: Memory, judge: Judge, listening: Listening, now_ms: int) -> None:
        self._memory = memory
        self._judge = judge
        self._listening = listening
        self._now_ms = now_ms
        self._verdict = memory.verdict
        self._state = memory.state
        self._desk = memory.desk
        self._changes: list[ProblemChange] = []
        """Of which the desk has not heard yet."""
        self._vehicles: dict[str, Vehicle] = {}
        self._contexts: dict[str, Context] = {}
        self._runs: dict[RunKey, KnownRun] = {}
        self._settled: set[RunKey] = set()
        self._plans: dict[SchemaKey, SchemaPlan] = {}
        self._schemas: dict[SchemaKey, Schema] = {}
        self._clocks: dict[RunKey, dict[int, Clock]] = {}
        self._groups: list[log.Group] = []
        self._effects: list[ClosedNote | InventoryEntry | DeskEffect] = []
        self._quarantine: list[QuarantineRow] = []
        self._released: list[int] = []
        self._acted: list[TakenAction] = []
        self._unnamed: Counter[tuple[str, str]] = Counter()
        self._news: list[Callable[[Receipts], None]] = []
        self._received_ms = now_ms
        self.taken = 0
        """Records taken."""
        self.counts: Counter[str] = Counter()
        """What nobody may overlook: duplicates, quarantine, unknown metrics, faults of ours."""
        self.faults: list[BaseException] = []
        """What our own judging raised, for the log."""

    # --- what came in -------------------------------------------------------------------------------------------------

    def take(self, incoming: Incoming) -> None:
        """Take in one message. Never raises for what the message holds."""
        try:
            message = read(incoming)
        except Refused as refused:
            self.set_aside(incoming, refused, "undecodable")
            return
        match message:
            case StateMessage():
                self._take_state(message)
            case SchemaMessage():
                self._take_schema(message)
            case RecordsMessage():
                self._take_records(message, incoming.received_ms)
            case AskMessage():
                pass  # answered when it came in

    def take_again(self, row: Quarantined) -> None:
        """Take in what was set aside before; what still cannot be taken is set aside again, so that nothing is lost."""
        agent = AgentName(row.site, row.vehicle, row.agent)
        again = Incoming(agent.up(row.kind), row.payload, row.at_ms)
        self._released.append(row.id)
        known = self._run(agent, row.run) if row.pairs else None
        for first, last in row.pairs:
            assert known is not None
            known.row.seen.remove_range(first, last)
        self.take(again)
        left = Intervals(row.pairs).minus(known.row.seen) if known else Intervals()
        if left:
            header = Header(PLAIN, Run(row.run), left)
            self.set_aside(again, Refused("its schema or clock is lacking", agent, header), "undecodable")

    def set_aside(self, incoming: Incoming, refused: Refused, reason: Reason) -> None:
        """Put a whole message into quarantine, under the names of its records as far as the header tells them."""
        agent, header = refused.agent, refused.header
        kind = incoming.topic.rpartition("/")[2][:32]
        vehicle, name = (agent.vehicle, agent.agent) if agent else ("", "")
        new = Intervals()
        if agent and header and header.sequences and kind in ("live", "backlog"):
            if len(header.sequences) > MAX_RECORDS:
                header = None
            else:
                known = self._run(agent, header.run)
                new = header.sequences.minus(known.row.seen)
                self._news.append(lambda receipts: receipts.changed(agent))
                if not new:
                    self.counts["duplicates"] += len(header.sequences)
                    return
                known.row.seen.update(new)
        if not new:
            self._unnamed[f"{vehicle}/{name}", kind] += 1
            if self._memory.unnamed[f"{vehicle}/{name}", kind] + self._unnamed[f"{vehicle}/{name}", kind] > MAX_UNNAMED:
                self.counts["quarantine_full"] += 1
                return
        self.counts[f"quarantined_{reason}"] += max(1, len(new))
        words = f"{refused.reason} (topic {incoming.topic})" if agent is None else refused.reason
        self._quarantine.append(
            QuarantineRow(
                vehicle, name, header.run if header else "", new.pairs(), kind, f"{reason}: {words}"[:500],
                incoming.payload, self._now_ms,
            )
        )  # fmt: skip

    def _take_state(self, message: StateMessage) -> None:
        agent, body = message.agent, message.body
        event: Event
        if isinstance(body, Birth):
            held = {run: told.first for run, told in body.runs.items()}
            for run, boot in {message.run: body.boot, **{run: told.boot for run, told in body.runs.items()}}.items():
                row = self._run(agent, run).row
                row.boot, row.heard_ms = boot, self._now_ms
            self._settle(agent, {message.run, *body.runs})
            birthday = Birthday(message.run, body.session, held)
            self._news.append(lambda receipts: receipts.born(agent, birthday))
            event = Born(agent.agent, message.run, body.session, body.machine, body.interval_s, body.version)
        elif isinstance(body, Goodbye):
            event = Left(agent.agent, message.run, body.session, body.reason)
        else:
            event = Died(agent.agent, message.run, body.session)
        self._try_step(agent.vehicle, event)

    def _settle(self, agent: AgentName, named: set[str]) -> None:
        """Shrink the runs that a birth names no more: what is not seen of them will not come, and nobody waits for it.

        What was seen stays exact: a restored image of the disk may name such a run again, and then holds the rest.
        """
        for run in self._memory.unsettled.get((agent.vehicle, agent.agent), set()) - named:
            self._settled.add((agent.vehicle, agent.agent, run))
            known = self._run(agent, run)
            known.row.lost, known.unknown_schemas = Intervals(), set()

    def _take_schema(self, message: SchemaMessage) -> None:
        agent, body = message.agent, message.body
        known = self._run(agent, message.run)
        known.row.boot = body.boot
        for name, schema in body.schemas.items():
            key = (agent.vehicle, agent.agent, name)
            if self._plan(key) is None:
                try:
                    self._plans[key] = self._judge.compile(key, schema, self._vehicle(agent.vehicle))
                except Exception as error:
                    self._fault("compile", error)
                    continue
                self._schemas[key] = schema
        for clock in body.clocks:
            if known.clocks.setdefault(clock.number, clock) == clock:
                self._clocks.setdefault((agent.vehicle, agent.agent, message.run), {})[clock.number] = clock
            else:
                self.counts["clock_changed"] += 1  # what was placed is never moved: the first one stands
        known.unknown_schemas.update(body.unknown_schemas)
        known.row.gone_clock = known.row.gone_clock or body.no_clock
        schemas = [*body.schemas, *body.unknown_schemas]
        clocks = set(known.clocks)
        if clocks or body.no_clock:
            clocks.add(NO_CLOCK)
        self._news.append(lambda receipts: receipts.supplied(agent, message.run, schemas, clocks))

    def _take_records(self, message: RecordsMessage, received_ms: int) -> None:
        agent = message.agent
        known = self._run(agent, message.run)
        judged = judge(message, known, lambda name: self._plan((agent.vehicle, agent.agent, name)), self._now_ms)
        known.row.heard_ms = self._now_ms
        for name, count in judged.unknown.items():
            self.counts[f"unknown_metric.{name}"] += count
        if judged.duplicates:
            self.counts["duplicates"] += judged.duplicates
        for aside in judged.aside:
            known.row.seen.add(aside.record.sequence)
            self._quarantine_record(message, aside.record, aside.reason, aside.words)
        for ready in judged.ready:
            known.row.seen.add(ready.record.sequence)
        stepped = self._step_records(message, judged.ready)
        _note_times(known.row, stepped)
        for ready in stepped:
            if ready.lost is not None:
                self._run(agent, ready.lost.run).row.lost.update(Intervals(ready.lost.intervals))
        if judged.schemas_lacking or judged.clocks_lacking:
            self._news.append(
                lambda receipts: receipts.lack(agent, message.run, judged.schemas_lacking, judged.clocks_lacking)
            )
        self._news.append(lambda receipts: receipts.changed(agent))
        if stepped:
            self._received_ms = min(self._received_ms, received_ms)
            self._log(message, [ready.record for ready in stepped], known)

    def _step_records(self, message: RecordsMessage, ready: Sequence[Ready]) -> Sequence[Ready]:
        """Step the records of a message and return those that were taken.

        All at once; if that raises, nothing has happened, and one at a time shows the one to blame.
        """
        vehicle = message.agent.vehicle
        try:
            self._step_all(vehicle, [one.told for one in ready if one.told is not None])
        except Exception as error:
            together = error
        else:
            return ready
        taken = []
        for one in ready:
            try:
                self._step_all(vehicle, () if one.told is None else (one.told,))
            except Exception as error:
                self._fault("record", error)
                self._quarantine_record(message, one.record, "poison", f"{type(error).__name__}: {error}")
            else:
                taken.append(one)
        if len(taken) == len(ready):
            self._fault("message", together)
        return taken

    def _log(self, message: RecordsMessage, taken: list[Record], known: KnownRun) -> None:
        self.taken += len(taken)
        moments = body_of(taken, message)
        names = message.header.sequences
        if len(taken) < len(message.placed):
            names = Intervals((record.sequence, record.sequence) for record in taken)
        clocks = {n: known.clocks[n] for n in {moment.clock for moment in moments} if n is not None}
        agent = message.agent
        self._groups.append(
            log.Group(agent.vehicle, agent.agent, message.run, message.lane, names.pairs(), clocks, moments)
        )

    # --- what people want ---------------------------------------------------------------------------------------------

    def act(self, action: Action) -> None:
        """Do what a person wants. What cannot be done is taken too, with the reason: nobody waits for it."""
        try:
            if action.kind != STATE_ACTION:
                raise ValueError(f"kind: expected {STATE_ACTION}, found {action.kind!r}")
            self._step(action.vehicle, Acted(_wish(action.body).state, action.who))
        except Exception as error:
            self._fault("action", error)
            self._acted.append(TakenAction(action.id, self._now_ms, f"{type(error).__name__}: {error}"[:500]))
        else:
            self._acted.append(TakenAction(action.id, self._now_ms))

    # --- what time brought --------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Let time pass: the site's verdict first, then every vehicle."""
        vehicles = {name: self._vehicle(name) for name in {**self._judge.site.vehicles, **self._memory.vehicles}}
        try:
            self._state, self._verdict, effects = survey(
                self._state,
                [(vehicle, self._judge.vehicle_plan(name)) for name, vehicle in vehicles.items()],
                self._listening,
                self._now_ms,
                self._judge.rules,
            )
        except Exception as error:
            self._fault("survey", error)
        else:
            self._changes += effects
            self._contexts.clear()
        for name in vehicles:
            self._try_step(name, Tick())
        if self._desk.wake_ms is not None and self._desk.wake_ms <= self._now_ms:
            self.tell_desk(TimePassed())

    # --- what that means for people -----------------------------------------------------------------------------------

    def tell_desk(self, event: DeskEvent) -> None:
        """Let the desk deal with an act or with time, after all that problems did before."""
        self._tell_desk_of_problems()
        self._tell_desk(event)

    def _tell_desk_of_problems(self) -> None:
        """All at once; if that raises, nothing has happened, and one at a time shows the one to blame."""
        changes, self._changes = self._changes, []
        if not changes:
            return
        try:
            self._desk, effects = desk_all(self._desk, changes, self._judge.contract, self._now_ms)
        except Exception:
            for change in changes:
                self._tell_desk(change)
        else:
            self._effects += effects

    def _tell_desk(self, event: DeskEvent) -> None:
        try:
            self._desk, effects = desk(self._desk, event, self._judge.contract, self._now_ms)
        except Exception as error:
            self._fault("desk", error)
            return
        for effect in effects:
            if isinstance(effect, EndProblem):
                self._try_step(effect.problem.vehicle, Acknowledged(effect.problem.key, effect.who))
            else:
                self._effects.append(effect)

    # --- after all ----------------------------------------------------------------------------------------------------

    def changes(self) -> Changes | None:
        """Return what is to be committed, ``None`` if that is nothing."""
        self._tell_desk_of_problems()
        recorded = [effect for effect in self._effects if isinstance(effect, Recorded)]
        changes = Changes(
            runs=[run.row for key, run in self._runs.items() if self._has_changed(key, run)],
            schemas=self._schemas,
            clocks=dict(self._clocks),
            vehicles={name: vehicle.to_json() for name, vehicle in self._vehicles.items()},
            site_state=None if self._state is self._memory.state else self._state.to_json(),
            problems=[effect.tracked for effect in self._effects if isinstance(effect, ProblemKept)],
            recorded=recorded,
            notes=[effect for effect in self._effects if isinstance(effect, ClosedNote)],
            inventory=[effect for effect in self._effects if isinstance(effect, InventoryEntry)],
            notifications=[
                NotificationRow(one.key, one.ticket, one.body, one.created_ms, self._judge.receivers)
                for one in (notifications_of(recorded, self._judge.site) if self._judge.receivers else ())
            ],
            quarantine=self._quarantine,
            released=self._released,
            actions_taken=self._acted,
            counters={name: count for name, count in self.counts.items() if count},
        )
        if self._groups:
            number = self._memory.last_batch + 1
            content = log.encode(self._groups)
            changes.batch = BatchRow(number, self._received_ms, self._now_ms, self.taken, content)
        return changes if any(getattr(changes, name) for name in changes.__dataclass_fields__) else None

    def keep(self) -> None:
        """After the commit: make what was worked out what is known."""
        memory = self._memory
        memory.vehicles.update(self._vehicles)
        memory.state, memory.verdict, memory.desk = self._state, self._verdict, self._desk
        memory.runs.update(self._runs)
        for vehicle, agent, run in self._runs:
            memory.unsettled.setdefault((vehicle, agent), set()).add(run)
        for vehicle, agent, run in self._settled:
            memory.unsettled[vehicle, agent].discard(run)
        memory.plans.update(self._plans)
        memory.unnamed.update(self._unnamed)
        self._compile_anew()
        if self._groups:
            memory.last_batch += 1

    def _compile_anew(self) -> None:
        """A device that is now known to be of another model may have other rules."""
        changed = {(entry.vehicle, entry.device) for entry in self._effects if isinstance(entry, InventoryEntry)}
        if not changed:
            return
        for key, plan in self._memory.plans.items():
            if (key[0], plan.device) in changed:
                self._memory.plans[key] = self._judge.compile(key, plan.schema, self._memory.vehicles.get(key[0]))

    def tell(self, receipts: Receipts) -> None:
        """After the commit: let the receipts know what is new."""
        for news in self._news:
            news(receipts)

    # --- copies of what is known --------------------------------------------------------------------------------------

    def _run(self, agent: AgentName, run: str) -> KnownRun:
        key = (agent.vehicle, agent.agent, run)
        known = self._runs.get(key)
        if known is None:
            before = self._memory.runs.get(key)
            known = self._runs[key] = before.copy() if before else KnownRun(RunRow(*key))
        return known

    def _has_changed(self, key: RunKey, run: KnownRun) -> bool:
        before = self._memory.runs.get(key)
        return before is None or before.row != run.row

    def _plan(self, key: SchemaKey) -> SchemaPlan | None:
        return self._plans.get(key) or self._memory.plans.get(key)

    def _vehicle(self, name: str) -> Vehicle:
        found = self._vehicles.get(name) or self._memory.vehicles.get(name)
        return found or Vehicle.new(self._judge.site_id, name, self._judge.vehicle_plan(name))

    def _step(self, vehicle: str, event: Event) -> None:
        after, effects = step(self._vehicle(vehicle), event, self._context(vehicle), self._judge.rules, self._now_ms)
        self._stepped(vehicle, after, effects)

    def _step_all(self, vehicle: str, events: Sequence[Told]) -> None:
        after, effects = step_all(
            self._vehicle(vehicle), events, self._context(vehicle), self._judge.rules, self._now_ms
        )
        self._stepped(vehicle, after, effects)

    def _stepped(self, vehicle: str, after: Vehicle, effects: list[Effect]) -> None:
        if after is not self._vehicles.get(vehicle, self._memory.vehicles.get(vehicle)):
            self._vehicles[vehicle] = after
        changes = [effect for effect in effects if isinstance(effect, ProblemChange)]
        self._effects += [effect for effect in effects if not isinstance(effect, ProblemChange)]
        self._changes += causes_first(changes)

    def _context(self, vehicle: str) -> Context:
        found = self._contexts.get(vehicle)
        if found is None:
            found = Context(self._judge.vehicle_plan(vehicle), self._listening, self._verdict)
            self._contexts[vehicle] = found
        return found

    def _try_step(self, vehicle: str, event: Event) -> None:
        try:
            self._step(vehicle, event)
        except Exception as error:
            self._fault(type(event).__name__.lower(), error)

    def _fault(self, what: str, error: BaseException) -> None:
        self.counts[f"fault.{what}"] += 1
        self.faults.append(error)

    def _quarantine_record(self, message: RecordsMessage, record: Record, reason: Reason, words: str) -> None:
        self.counts[f"quarantined_{reason}"] += 1
        agent, name = message.agent, Intervals([(record.sequence, record.sequence)])
        placed = [placed for placed in message.placed if placed.record is record]
        self._quarantine.append(
            QuarantineRow(
                agent.vehicle, agent.agent, message.run, name.pairs(), message.lane, f"{reason}: {words}"[:500],
                encode(PLAIN, message.run, moments(placed), name), self._now_ms,
            )
        )  # fmt: skip


def _note_times(row: RunRow, ready: Sequence[Ready]) -> None:
    """Note the times of samples in what is known of their run."""
    times = [one.told.time_ms for one in ready if isinstance(one.told, Observed)]
    if times:
        row.first_ms = min(times) if row.first_ms is None else min(row.first_ms, *times)
        row.last_ms = max(times) if row.last_ms is None else max(row.last_ms, *times)
