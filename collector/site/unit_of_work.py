"""A site's unit of work: what came in and what time brought, as one set of changes (docs/architecture.md). Pure.

It works on copies of what is committed. ``changes`` goes into one transaction; only after it ``keep`` makes the copies
the memory, and ``tell`` lets the receipts know. One that is thrown away has touched nothing.

What holds: a record is stepped once; one on which ``step`` raises is set aside alone, and the vehicle is as it was
before it; a birth, a goodbye or a look at the time that raises leaves the vehicle as it was and counts as an error of
ours.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from collector.core.health import PartReport
from collector.core.identities import OccurrenceKey
from collector.core.notifications import notifications_of
from collector.core.problems import ClosedNote, ProblemChange
from collector.core.rules.schemas import CompiledSchema
from collector.core.survey import SiteState, reported, survey
from collector.core.tickets.desk import DeskEvent, TimePassed, desk, desk_all
from collector.core.tickets.draft import DeskEffect, EndProblem, ProblemKept, Recorded
from collector.core.tickets.on_problems import causes_first
from collector.core.tickets.refused import Refused as ActRefused
from collector.core.tickets.texts import both_languages
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
    OverQuota,
    Told,
)
from collector.core.vehicle.state import InventoryEntry, Vehicle
from collector.core.vehicle.step import Context, look, needs_look, step, step_all
from collector.core.vehicle.summary import SHOWN_MS, shows_more
from collector.site.acts import EDITION_ACTION, STATE_ACTION, TICKET_ACTION, EditionBody, StateBody, TicketBody, act_of
from collector.site.in_force import InForce, digest
from collector.site.intake import (
    MAX_RECORDS,
    AskMessage,
    Incoming,
    KnownRun,
    Message,
    Ready,
    Reason,
    RecordsMessage,
    Refused,
    SchemaMessage,
    SetAside,
    StateMessage,
    body_of,
    judge,
    read,
)
from collector.site.memory import Memory
from collector.site.quotas import DAY_MS, OVER_QUOTA_FAULT, Account, Exceeded, Usage, words_of
from collector.site.receipts import NO_CLOCK, Birthday, Receipts
from collector.site.turns import vehicle_of
from collector.store import batch as log
from collector.store import snapshot
from collector.store.rows import (
    Action,
    BatchRow,
    Changes,
    EditionRow,
    NotificationRow,
    Quarantined,
    QuarantineRow,
    RunKey,
    RunRow,
    SchemaKey,
    SnapshotRow,
    TakenAction,
)
from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, PLAIN, Birth, Goodbye, Header, encode, records
from telemetry.records import Clock, Record, Run, Sample, Schema
from telemetry.topics import COLLECTOR, UP_KINDS, AgentName, is_id

MOST_REASONS: Final = 16
"""So many reasons for which records of one message are set aside have a row of their own in quarantine."""
MAX_UNNAMED: Final = 100
"""Most messages without any record's name that are kept of one vehicle and kind in one ownership; the rest is counted.
"""


_MANY_PIECES: Final = 100
"""Of a run's sequence numbers: from here on it is counted what a message adds to them."""
_PROBLEMS: Final = OccurrenceKey("quota", COLLECTOR, "problems")
_TOLD_AGAIN_MS: Final = 60_000
"""A vehicle that stays beyond a quota is told of so often: a flood must not fill the log."""
_AFTER_ERROR_MS: Final = 60_000
"""Time is looked at again so long after that has raised: an error of ours must not fill the log."""
_ANEW: Final = "what was known could not be read and began anew: a person must decide"
_wish = msgspec.json.Decoder(StateBody).decode
_edition = msgspec.json.Decoder(EditionBody).decode
_ticket_act = msgspec.json.Decoder(TicketBody).decode


class UnitOfWork:
    """One unit of work. It begins at ``now_ms`` (UTC), the time of all that it decides until ``go_on`` says another."""

    def __init__(self, memory: Memory, in_force: InForce, listening: Listening, now_ms: int) -> None:
        self._memory = memory
        self._in_force = in_force
        self.in_force = in_force
        """What the next unit of work goes by."""
        self._listening = listening
        self._began_ms = self._logged_ms = self._now_ms = now_ms
        self._verdict = memory.verdict
        self._state = memory.state
        self._desk = memory.desk
        self._changes: list[ProblemChange] = []
        """Of which the desk has not heard yet."""
        self._vehicles: dict[str, Vehicle] = {}
        self._contexts: dict[str, Context] = {}
        self._runs: dict[RunKey, KnownRun] = {}
        self._settled: set[RunKey] = set()
        self._compiled: dict[SchemaKey, CompiledSchema] = {}
        self._schemas: dict[SchemaKey, Schema] = {}
        self._clocks: dict[RunKey, dict[int, Clock]] = {}
        self._numbered: set[RunKey] = set()
        """Runs of which numbers of schemas are new."""
        self._entries: list[log.Entry] = []
        self._editions: list[EditionRow] = []
        self._snapshot: SnapshotRow | None = None
        self._shown: dict[str, Vehicle] = {}
        self._all_shown = False
        self._to_look: set[str] = set()
        self._wakes: dict[str, int | None] = {}
        self._effects: list[ClosedNote | InventoryEntry | DeskEffect] = []
        self._quarantine: list[QuarantineRow] = []
        self._released: list[int] = []
        self._acted: list[TakenAction] = []
        self._unnamed: Counter[tuple[str, str]] = Counter()
        self._accounts: dict[str, Account] = {}
        self._news: list[Callable[[Receipts], None]] = []
        self._received_ms = now_ms
        self.urgent = False
        """Somebody waits for the commit: a problem has changed, a person acts, an agent was born or sends a schema."""
        self.taken = 0
        """Records taken."""
        self.counts: Counter[str] = Counter()
        """What nobody may overlook: duplicates, quarantine, unknown metrics, faults of ours."""
        self.refused: Counter[tuple[str, str]] = Counter()
        """Messages beyond a quota, by (vehicle, quota)."""
        self.withheld: Counter[tuple[str, str]] = Counter()
        """The same of what came of them, found when all was done: the next unit of work is told of it (``refuse``)."""
        self.faults: list[BaseException] = []
        """What our own judging raised, for the log."""

    def go_on(self, now_ms: int) -> None:
        """Let it be later. A unit of work may gather for a second: what comes in then is judged at its own time."""
        self._now_ms = max(self._now_ms, now_ms)

    # --- what came in -------------------------------------------------------------------------------------------------

    def take(self, incoming: Incoming) -> None:
        """Take in one message. Never raises for what the message holds."""
        try:
            message = read(incoming, self._schema_names)
        except Refused as refused:
            self.set_aside(incoming, refused, "undecodable")
            return
        try:
            self._account(message.agent.vehicle).agent(message.agent.agent)
            self._take(message, incoming.received_ms)
        except Exceeded as exceeded:
            self._refuse(message.agent.vehicle, exceeded.quota)

    def _take(self, message: Message, received_ms: int) -> None:
        """Take a message of an agent that may speak. Raises Exceeded before anything has changed."""
        match message:
            case StateMessage():
                self.urgent = True
                self._take_state(message)
            case SchemaMessage():
                self.urgent = True
                self._take_schema(message)
            case RecordsMessage():
                self._admit(message)
                self._take_records(message, received_ms)
            case AskMessage():
                pass  # answered when it came in

    def take_again(self, row: Quarantined) -> None:
        """Take in what was set aside before; what still cannot be taken is set aside again, so that nothing is lost."""
        agent, incoming = AgentName(row.site, row.vehicle, row.agent), again(row)
        self._released.append(row.id)
        self.urgent = True
        account, refused = self._account(row.vehicle), self.refused.total()
        account.spend("quarantine_bytes", -min(len(row.payload), account.usage.quarantine_bytes))
        known = self._run(agent, row.run) if row.pairs else None
        if known:
            known.forget(row.payload)
        before = len(self._quarantine)
        self.take(incoming)
        if self.refused.total() != refused:  # it stays where it is
            account.spend("quarantine_bytes", len(row.payload))
            self._released.remove(row.id)
            return
        left = Intervals(row.pairs).minus(known.row.seen) if known else Intervals()
        for one in self._quarantine[before:]:
            left = left.minus(Intervals(one.pairs))
        if left:
            header = Header(PLAIN, Run(row.run), left)
            self.set_aside(incoming, Refused("its schema or clock is lacking", agent, header), "undecodable")

    def set_aside(self, incoming: Incoming, refused: Refused, reason: Reason) -> None:
        """Put a whole message into quarantine, under the names of its records as far as the header tells them."""
        agent, header = refused.agent, refused.header
        kind = incoming.topic.rpartition("/")[2][:32]
        named = vehicle_of(incoming.topic)
        vehicle, name = (agent.vehicle, agent.agent) if agent else (named if is_id(named) else "", "")
        account = self._account(vehicle)
        known: KnownRun | None = None
        new = Intervals()
        try:
            if agent:
                account.agent(name)
            if agent and header and len(header.sequences) > MAX_RECORDS:
                header = None
            if agent and header and header.sequences and kind in ("live", "backlog"):
                if not self._may_begin(agent, header.run):
                    return
                known = self._run(agent, header.run)
                new = header.sequences.minus(known.row.seen)
                self._news.append(lambda receipts: receipts.changed(agent))
                if not new or known.holds(incoming.payload):
                    self.counts["duplicates"] += len(header.sequences)
                    return
                pieces = _new_pieces(known.aside, new)
                account.intervals(known.aside.pieces + pieces, pieces)
            elif self._is_one_too_many(vehicle, kind):
                return
            account.spend("quarantine_bytes", len(incoming.payload))
        except Exceeded as exceeded:
            self._refuse(vehicle, exceeded.quota)
            return
        if known:
            known.keep(incoming.payload, new)
        self.counts[f"quarantined_{reason}"] += max(1, len(new))
        words = f"{refused.reason} (topic {incoming.topic})" if agent is None else refused.reason
        self._quarantine.append(
            QuarantineRow(
                vehicle, name, header.run if header else "", new.pairs(), kind, f"{reason}: {words}"[:500],
                incoming.payload, self._now_ms,
            )
        )  # fmt: skip

    def _is_one_too_many(self, vehicle: str, kind: str) -> bool:
        """Count a message without any record's name, and say whether enough of its kind are kept."""
        key = vehicle, kind if kind in UP_KINDS else ""
        self._unnamed[key] += 1
        if self._memory.unnamed[key] + self._unnamed[key] <= MAX_UNNAMED:
            return False
        self.counts["quarantine_full"] += 1
        return True

    def refuse(self, vehicle: str, quota: str, words: str, number: int = 1) -> None:
        """Count messages that are not taken because their vehicle is beyond a quota, and tell judging now and then.

        They are not receipted: their agent keeps the records.
        """
        self.counts[f"over_quota.{quota}"] += number
        if not is_id(vehicle):
            return
        self.refused[vehicle, quota] += number
        known = self._vehicle(vehicle).occurrences.get(OccurrenceKey("quota", COLLECTOR, quota))
        if known is None or not 0 <= self._now_ms - known.noted_ms < _TOLD_AGAIN_MS:
            self._happened(vehicle, OverQuota(quota, words))

    def _refuse(self, vehicle: str, quota: str) -> None:
        self.refuse(vehicle, quota, words_of(quota, self._memory.quotas))

    def _account(self, vehicle: str) -> Account:
        """Return what a vehicle may have in this unit of work; ``keep`` makes it what it has cost."""
        found = self._accounts.get(vehicle)
        if found is None:
            known = self._memory.usage.get(vehicle)
            usage = known.copy() if known else Usage()
            planned = self._in_force.vehicle_plan(vehicle).agents
            found = self._accounts[vehicle] = Account(self._memory.quotas, usage, planned)
        found.usage.of_day(self._now_ms // DAY_MS)
        return found

    def _is_known(self, agent: AgentName, run: str) -> bool:
        key = (agent.vehicle, agent.agent, run)
        return key in self._runs or key in self._memory.runs

    def _admit(self, message: RecordsMessage) -> None:
        """Let the records of a message be taken. Raises Exceeded."""
        agent = message.agent
        begins = not self._is_known(agent, message.run)
        seen = Intervals() if begins else self._run(agent, message.run).row.seen
        self._account(agent.vehicle).records(
            (
                placed.record
                for placed in message.placed
                if not isinstance(placed.record, Sample) and placed.record.sequence not in seen
            ),
            _new_pieces(seen, message.header.sequences),
            seen.pieces,
            functools.partial(self._is_known, agent),
            begins=begins,
        )

    def _take_state(self, message: StateMessage) -> None:
        agent, body = message.agent, message.body
        event: Event
        if isinstance(body, Birth):
            held = {run: told.first for run, told in body.runs.items()}
            for run, boot in {message.run: body.boot, **{run: told.boot for run, told in body.runs.items()}}.items():
                if not self._may_begin(agent, run):
                    break  # their records will be refused; to be there is nobody forbidden
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
        self._happened(agent.vehicle, event)

    def _may_begin(self, agent: AgentName, run: str) -> bool:
        """Say whether a run may be remembered; one that is known is."""
        if not self._is_known(agent, run):
            try:
                self._account(agent.vehicle).spend("runs")
            except Exceeded as exceeded:
                self._refuse(agent.vehicle, exceeded.quota)
                return False
        return True

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
        if not self._may_begin(agent, message.run):
            return
        account = self._account(agent.vehicle)
        known = self._run(agent, message.run)
        known.row.boot = body.boot
        for name, schema in body.schemas.items():
            key = (agent.vehicle, agent.agent, name)
            if self._compiled_of(key) is None:
                try:
                    account.schema(schema)
                    self._compiled[key] = self._in_force.compile(key, schema, self._vehicle(agent.vehicle))
                except Exceeded as exceeded:  # what is known, and the clocks, are taken all the same
                    self._refuse(agent.vehicle, exceeded.quota)
                    break
                except Exception as error:
                    self._fault("compile", error)
                    continue
                self._schemas[key] = schema
        try:
            account.clocks(body.clocks, known.clocks)
        except Exceeded as exceeded:
            self._refuse(agent.vehicle, exceeded.quota)
            return
        for clock in body.clocks:
            if known.clocks.setdefault(clock.number, clock) == clock:
                self._clocks.setdefault((agent.vehicle, agent.agent, message.run), {})[clock.number] = clock
            else:
                self.counts["clock_changed"] += 1  # what was placed is never moved: the first one stands
        if len(known.unknown_schemas) + len(body.unknown_schemas) > self._memory.quotas.schemas:
            self._refuse(agent.vehicle, "schemas")
            return
        if body.numbers is not msgspec.UNSET:
            self._number_schemas(agent, message.run, body.numbers)
        known.unknown_schemas.update(body.unknown_schemas)
        known.row.no_clock = known.row.no_clock or body.no_clock
        schemas = [*body.schemas, *body.unknown_schemas]
        clocks = set(known.clocks)
        if clocks or body.no_clock:
            clocks.add(NO_CLOCK)
        self._news.append(lambda receipts: receipts.supplied(agent, message.run, schemas, clocks))

    def _number_schemas(self, agent: AgentName, run: str, numbers: Mapping[str, int]) -> None:
        """Note the numbers that a run gives its schemas. What was named is never renamed: the first name stands."""
        known = self._run(agent, run)
        names = dict(known.schema_names)
        if len(names) + len(set(numbers.values()) - names.keys()) > self._memory.quotas.schemas:
            self._refuse(agent.vehicle, "schemas")
            return
        for name, number in numbers.items():
            if names.setdefault(number, name) != name:
                self.counts["schema_number_changed"] += 1
        if names != known.schema_names:
            known.schema_names = names
            self._numbered.add((agent.vehicle, agent.agent, run))

    def _schema_names(self, agent: AgentName, run: str) -> Mapping[int, str]:
        key = (agent.vehicle, agent.agent, run)
        known = self._runs.get(key) or self._memory.runs.get(key)
        return known.schema_names if known else {}

    def _take_records(self, message: RecordsMessage, received_ms: int) -> None:
        agent = message.agent
        known = self._run(agent, message.run)
        judged = judge(message, known, lambda name: self._compiled_of((agent.vehicle, agent.agent, name)), self._now_ms)
        known.row.heard_ms = self._now_ms
        account = self._account(agent.vehicle)
        for name, count in judged.unknown.items():
            counted = account.metric(name)
            self.counts[f"unknown_metric.{counted}" if counted else "unknown_metrics_beyond_quota"] += count
            if not counted:
                self._refuse(agent.vehicle, "unknown_metrics")
        if judged.duplicates:
            self.counts["duplicates"] += judged.duplicates
        self._quarantine_records(message, judged.aside)
        stepped = self._step_records(message, judged.ready)
        for ready in stepped:
            known.row.seen.add(ready.record.sequence)
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
        taken, aside = [], []
        for one in ready:
            try:
                self._step_all(vehicle, () if one.told is None else (one.told,))
            except Exception as error:
                self._fault("record", error)
                aside.append(SetAside(one.record, "poison", f"{type(error).__name__}: {error}"))
            else:
                taken.append(one)
        self._quarantine_records(message, aside)
        if len(taken) == len(ready):
            self._fault("message", together)
        return taken

    def _log(self, message: RecordsMessage, taken: list[Record], known: KnownRun) -> None:
        self.taken += len(taken)
        moments = body_of(taken, message)
        names = message.header.sequences
        if len(taken) < len(message.placed):
            names = Intervals((record.sequence, record.sequence) for record in taken)
        named = {moment.clock for moment in moments}  # not all of them are known where the run has no clock
        clocks = {number: clock for number, clock in known.clocks.items() if number in named}
        agent = message.agent
        self._enter(log.Group(agent.vehicle, agent.agent, message.run, message.lane, names.pairs(), clocks, moments))

    def begin_anew(self, vehicle: str) -> None:
        """Begin anew with a vehicle (empty: with the site) whose stored state cannot be read.

        The row goes to quarantine as it is; problems that stood in it have nobody who judges them, and ask a person.
        """
        self.urgent = True
        unreadable = self._memory.unreadable[vehicle]
        self.counts["begun_anew"] += 1
        kind = "vehicle_state" if vehicle else "site_state"
        self._quarantine.append(
            QuarantineRow(
                vehicle, "", "", [], kind, f"state: {unreadable.reason}"[:500], unreadable.content, self._now_ms
            )
        )
        self._begin_anew(vehicle)

    def _begin_anew(self, vehicle: str) -> None:
        if vehicle:
            plan = self._in_force.vehicle_plan(vehicle)
            self._vehicles[vehicle] = Vehicle.new(self._in_force.site_id, vehicle, plan)
            self._to_look.add(vehicle)
        else:
            self._state = SiteState.new(self._in_force.site_id)
        for ref, tracked in self._memory.desk.problems.items():
            if ref.vehicle == vehicle and tracked.problem.state in ("active", "stale"):
                problem = msgspec.structs.replace(tracked.problem, state="orphaned")
                self._changes.append(ProblemChange(problem, "orphaned", _ANEW))
        self._entries.append(log.BegunAnew(vehicle))

    # --- what people want ---------------------------------------------------------------------------------------------

    def act(self, action: Action) -> None:
        """Do what a person wants. What cannot be done is taken too, with the reason: nobody waits for it."""
        self.urgent = True
        try:
            if action.kind == EDITION_ACTION:
                wish = _edition(action.body)
                self.put_in_force(wish.kind, wish.content.encode())
                self._acted.append(TakenAction(action.id, self._now_ms))
                return
            if action.kind == TICKET_ACTION:
                self._acted.append(TakenAction(action.id, self._now_ms, ticket=self._act_on_ticket(action)))
                return
            if action.kind != STATE_ACTION:
                kinds = f"{STATE_ACTION}, {EDITION_ACTION} or {TICKET_ACTION}"
                raise ValueError(f"kind: expected {kinds}, found {action.kind!r}")
            event = Acted(_wish(action.body).state, action.who)
            self._step(action.vehicle, event)
            self._enter(log.Stepped(action.vehicle, event))
        except ActRefused as refused:
            self._acted.append(TakenAction(action.id, self._now_ms, both_languages(refused)))
        except Exception as error:
            self._fault("action", error)
            self._acted.append(TakenAction(action.id, self._now_ms, f"{type(error).__name__}: {error}"[:500]))
        else:
            self._acted.append(TakenAction(action.id, self._now_ms))

    def _act_on_ticket(self, action: Action) -> str:
        """Do what a person does to a ticket; return which. Raises Refused, ValueError for a wrong field."""
        act = act_of(_ticket_act(action.body), action.who, self._in_force.contract)
        self._tell_desk_of_problems()
        self._enter(log.ActedOnTicket(action.who, action.body))  # refused or not: the desk has heard of problems now
        before = len(self._effects)
        self._desk, effects = desk(self._desk, act, self._in_force.contract, self._now_ms)
        self._take_desk_effects(effects)
        recorded = [one for one in self._effects[before:] if isinstance(one, Recorded) and one.event.who == action.who]
        return recorded[0].ticket.id if recorded else act.ticket

    def put_in_force(self, kind: str, content: bytes, *, anew: bool = False) -> None:
        """Go by another edition after this unit of work. Raises EditionError for one that cannot be used.

        ``anew``: it is written though it is what we go by already, because the database's cannot be used.
        """
        ours = self.in_force.contents().get(kind) == content
        number = self.in_force.editions.get(kind, 0)
        if ours and number and not anew:
            return
        changed = self.in_force.numbered(kind, number + 1) if ours else self.in_force.edited(kind, number + 1, content)
        self.urgent = True
        self.in_force = changed
        self._editions.append(EditionRow(kind, number + 1, self._now_ms, digest(content), content))
        self._enter(log.EditionTaken(kind, number + 1))

    # --- how the centre itself gets on -------------------------------------------------------------------------------

    def report(self, report: PartReport) -> None:
        """Judge what the site's owner says of a part of the centre."""
        try:
            self._state = reported(self._state, report, self._in_force.rules, self._now_ms)
        except Exception as error:
            self._fault("report", error)
            return
        self._enter(log.Reported(report))
        if self._survey():
            self._to_look.update(self._everyone())

    # --- what time brought --------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Look at what time alone can change, where that is due or has been brought forward by what came in.

        The site's verdict comes first, then its vehicles. What it changes nothing for leaves no trace.
        """
        memory, now_ms = self._memory, self._now_ms
        names = {*memory.wakes.due(now_ms), *self._to_look}
        if self._listening != memory.listening:
            names = set(self._everyone())
        survey_due = memory.verdict.wake_ms is not None and memory.verdict.wake_ms <= now_ms
        desk_due = self._desk.wake_ms is not None and self._desk.wake_ms <= now_ms
        changed: list[str] = []
        before = self._state
        if names or survey_due:
            if self._survey():
                names = set(self._everyone())
            changed = [name for name in sorted(names) if self._look_at(name)]
        if desk_due:
            self.tell_desk(TimePassed())
        if changed or desk_due or self._state is not before:
            self._enter(log.Woken(changed, bool(names or survey_due), desk_due))

    def _everyone(self) -> Iterable[str]:
        return {**self._in_force.site.vehicles, **self._memory.vehicles, **self._vehicles}

    def _survey(self) -> bool:
        """Survey the site; return whether that makes a difference to all vehicles."""
        try:
            self._state, verdict, effects = survey(
                self._state,
                [(self._vehicle(name), self._in_force.vehicle_plan(name)) for name in self._everyone()],
                self._listening,
                self._now_ms,
                self._in_force.rules,
            )
        except Exception as error:
            self._fault("survey", error)
            self._verdict = dataclasses.replace(self._verdict, wake_ms=self._now_ms + _AFTER_ERROR_MS)
            return False
        before, self._verdict = self._verdict, verdict
        self._contexts.clear()
        self._changes += effects
        self.urgent = self.urgent or bool(effects)
        return (before.problems, before.cleared_ms) != (verdict.problems, verdict.cleared_ms)

    def _look_at(self, name: str) -> bool:
        """Look at one vehicle; return whether that has changed anything."""
        vehicle = self._vehicle(name)
        try:
            after, effects, wake_ms = look(vehicle, self._context(name), self._in_force.rules, self._now_ms)
        except Exception as error:
            self._fault("timepassed", error)
            self._wakes[name] = self._now_ms + _AFTER_ERROR_MS
            return False
        self._wakes[name] = wake_ms
        if after is vehicle and not effects:
            return False
        self._stepped(name, after, effects)
        return True

    # --- all of it again ------------------------------------------------------------------------------------------

    def replay(self, entry: log.Entry) -> None:
        """Do again what the log says was done, in its order (``collector.replay``)."""
        if isinstance(entry, log.Group):
            agent = AgentName(self._in_force.site_id, entry.vehicle, entry.agent)
            known = self._run(agent, entry.run)
            known.clocks.update(entry.clocks)
            known.row.no_clock = True  # what stands in the log without a clock was taken without one
            header = Header(PLAIN, Run(entry.run), Intervals(entry.pairs))
            placed = records(header, entry.moments)
            message = RecordsMessage(agent, entry.run, entry.lane, header, entry.moments, placed)
            self._take_records(message, self._now_ms)
        elif isinstance(entry, log.TimePassed):
            self.go_on(entry.now_ms)
        elif isinstance(entry, log.ActedOnTicket):
            act = act_of(_ticket_act(entry.body), entry.who, self._in_force.contract)
            self._tell_desk_of_problems()
            with contextlib.suppress(ActRefused):
                self._desk, effects = desk(self._desk, act, self._in_force.contract, self._now_ms)
                self._take_desk_effects(effects)
        elif isinstance(entry, log.BegunAnew):
            self._begin_anew(entry.vehicle)
        elif isinstance(entry, log.Stepped):
            self._step(entry.vehicle, entry.event)
        elif isinstance(entry, log.Woken):
            if entry.surveyed:
                self._survey()
            for name in entry.vehicles:
                self._look_at(name)
            if entry.desk:
                self.tell_desk(TimePassed())
        elif isinstance(entry, log.Reported):
            self.report(entry.report)

    # --- what that means for people -----------------------------------------------------------------------------------

    def tell_desk(self, event: DeskEvent) -> None:
        """Let the desk deal with an act or with time, after all that problems did before."""
        self.urgent = True
        self._tell_desk_of_problems()
        self._tell_desk(event)

    def _tell_desk_of_problems(self) -> None:
        """All at once; if that raises, nothing has happened, and one at a time shows the one to blame."""
        changes, self._changes = self._changes, []
        if not changes:
            return
        try:
            self._desk, effects = desk_all(self._desk, changes, self._in_force.contract, self._now_ms)
        except Exception:
            for change in changes:
                self._tell_desk(change)
        else:
            self._effects += effects

    def _tell_desk(self, event: DeskEvent) -> None:
        try:
            self._desk, effects = desk(self._desk, event, self._in_force.contract, self._now_ms)
        except Exception as error:
            self._fault("desk", error)
            if isinstance(event, TimePassed):
                self._desk = msgspec.structs.replace(self._desk, not_before_ms=self._now_ms + _AFTER_ERROR_MS)
            return
        self._take_desk_effects(effects)

    def _take_desk_effects(self, effects: Iterable[DeskEffect]) -> None:
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
        notes = [one for one in self._effects if isinstance(one, ClosedNote) and self._may(one.vehicle, "closed_notes")]
        inventory = [
            one for one in self._effects if isinstance(one, InventoryEntry) and self._may(one.vehicle, "inventory")
        ]
        notifications = self._notifications(recorded)
        changes = Changes(
            runs=[run.row for key, run in self._runs.items() if self._has_changed(key, run)],
            schemas=self._schemas,
            clocks=dict(self._clocks),
            schema_names={key: self._runs[key].schema_names for key in self._numbered},
            vehicles={name: vehicle.to_json() for name, vehicle in self._vehicles.items()},
            summaries={name: self.in_force.summary(name, vehicle) for name, vehicle in self._to_summarise().items()},
            site_state=None if self._state is self._memory.state else self._state.to_json(),
            problems=[effect.tracked for effect in self._effects if isinstance(effect, ProblemKept)],
            recorded=recorded,
            notes=notes,
            inventory=inventory,
            notifications=notifications,
            quarantine=self._quarantine,
            released=self._released,
            actions_taken=self._acted,
            counters={name: count for name, count in self.counts.items() if count},
        )
        changes.editions = self._editions
        if self._entries:
            self._enter_time()  # the desk heard of it now
            changes.snapshot = self._snapshot = self._daily()
            number = self._memory.last_batch + 1
            editions = dict(self._in_force.editions)
            listening, most_problems = self._listening, self._memory.quotas.problems
            heading = log.Heading(listening.since_ms, listening.reconnect_ms, editions, most_problems)
            content = log.encode(self._entries, heading)
            changes.batch = BatchRow(number, self._received_ms, self._began_ms, self.taken, content)
        return changes if any(getattr(changes, name) for name in changes.__dataclass_fields__) else None

    def _notifications(self, recorded: Sequence[Recorded]) -> list[NotificationRow]:
        """Return whom to tell what. What a vehicle has beyond its day's share is shown and sent to nobody."""
        if not self._in_force.receivers:
            return []
        about = {one.ticket.id: one.ticket for one in recorded}
        return [
            NotificationRow(one.key, one.ticket, one.body, one.created_ms, self._in_force.receivers)
            for one in notifications_of(recorded, self._in_force.site)
            if not (vehicle := about[one.ticket].vehicle)
            or about[one.ticket].fault == OVER_QUOTA_FAULT
            or self._may(vehicle, "notifications")
        ]

    def _may(self, vehicle: str, what: str) -> bool:
        """Say whether a vehicle may have one more of what is counted by day; what it may not is told afterwards."""
        try:
            self._account(vehicle).spend(what)
        except Exceeded as exceeded:
            self.withheld[vehicle, exceeded.quota] += 1
            return False
        return True

    def _to_summarise(self) -> Mapping[str, Vehicle]:
        """Return the vehicles whose summary is to be another now: all where the fleet file or the rules are."""
        memory, now_ms = self._memory, self._now_ms
        if self.in_force is not self._in_force:
            self._shown = {**memory.vehicles, **self._vehicles}
        elif 0 <= now_ms - memory.shown_ms < SHOWN_MS:
            self._shown = {
                name: vehicle for name, vehicle in self._vehicles.items() if shows_more(memory.shown.get(name), vehicle)
            }
        else:
            self._all_shown = True
            self._shown = {**{name: memory.vehicles[name] for name in memory.to_show}, **self._vehicles}
        return self._shown

    def _daily(self) -> SnapshotRow | None:
        """Return what is known before this unit of work, once a day: there judging again may begin."""
        memory, now_ms = self._memory, self._now_ms
        if memory.snapshot_ms is not None and memory.snapshot_ms // DAY_MS == now_ms // DAY_MS:
            return None
        content = snapshot.encode(memory.state, memory.vehicles, memory.desk, self._in_force.editions)
        return SnapshotRow(memory.last_batch, now_ms, content)

    def keep(self) -> None:
        """After the commit: make what was worked out what is known."""
        memory = self._memory
        if self._snapshot is not None:
            memory.snapshot_ms = self._snapshot.at_ms
        memory.vehicles.update(self._vehicles)
        memory.shown.update(self._shown)
        memory.to_show.update(self._vehicles)
        memory.to_show.difference_update(self._shown)
        if self._all_shown:
            memory.shown_ms = self._now_ms
        memory.state, memory.verdict, memory.desk = self._state, self._verdict, self._desk
        for key, known in self._runs.items():
            had = memory.runs.get(key)
            self._account(key[0]).usage.intervals += known.pieces - (had.pieces if had else 0)
        memory.usage.update({name: account.usage for name, account in self._accounts.items()})
        memory.runs.update(self._runs)
        for vehicle, agent, run in self._runs:
            memory.unsettled.setdefault((vehicle, agent), set()).add(run)
        for vehicle, agent, run in self._settled:
            memory.unsettled[vehicle, agent].discard(run)
        memory.compiled.update(self._compiled)
        memory.unnamed.update(self._unnamed)
        for entry in self._entries:
            if isinstance(entry, log.BegunAnew):
                memory.unreadable.pop(entry.vehicle, None)
        memory.listening = self._listening
        memory.wakes.update(self._wakes)
        self._outdate_schemas()
        if self._entries:
            memory.last_batch += 1
        if self.in_force is not self._in_force:
            memory.go_by(self.in_force)

    def _outdate_schemas(self) -> None:
        """A device that is now known to be of another model may have other rules.

        Its schemas are compiled when they are next used: a word of an agent must not cost more than itself.
        """
        changed = {(entry.vehicle, entry.device) for entry in self._effects if isinstance(entry, InventoryEntry)}
        if changed:
            compiled = self._memory.compiled
            self._memory.outdated |= {key for key, one in compiled.items() if (key[0], one.device) in changed}

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

    def _compiled_of(self, key: SchemaKey) -> CompiledSchema | None:
        found = self._compiled.get(key)
        if found is not None:
            return found
        memory = self._memory
        found = memory.compiled.get(key)
        if found is not None and key in memory.outdated:
            found = memory.compiled[key] = self._in_force.compile(key, found.schema, memory.vehicles.get(key[0]))
            memory.outdated.discard(key)
        return found

    def _vehicle(self, name: str) -> Vehicle:
        found = self._vehicles.get(name) or self._memory.vehicles.get(name)
        return found or Vehicle.new(self._in_force.site_id, name, self._in_force.vehicle_plan(name))

    def _step(self, vehicle: str, event: Event) -> None:
        after, effects = step(self._vehicle(vehicle), event, self._context(vehicle), self._in_force.rules, self._now_ms)
        self._stepped(vehicle, after, effects)

    def _step_all(self, vehicle: str, events: Sequence[Told]) -> None:
        after, effects = step_all(
            self._vehicle(vehicle), events, self._context(vehicle), self._in_force.rules, self._now_ms
        )
        self._stepped(vehicle, after, effects)

    def _stepped(self, vehicle: str, after: Vehicle, effects: list[Effect]) -> None:
        before = self._vehicles.get(vehicle, self._memory.vehicles.get(vehicle))
        if after is not before:
            self._vehicles[vehicle] = after
            if before is None or needs_look(before, after):
                self._to_look.add(vehicle)
        if after.occurrences.get(_PROBLEMS) is not (before.occurrences.get(_PROBLEMS) if before else None):
            self.refused[vehicle, _PROBLEMS.reason] += 1
            self.counts[f"over_quota.{_PROBLEMS.reason}"] += 1
        changes = [effect for effect in effects if isinstance(effect, ProblemChange)]
        self._effects += [effect for effect in effects if not isinstance(effect, ProblemChange)]
        self._changes += causes_first(changes)
        self.urgent = self.urgent or bool(changes)

    def _context(self, vehicle: str) -> Context:
        found = self._contexts.get(vehicle)
        if found is None:
            plan, most_problems = self._in_force.vehicle_plan(vehicle), self._memory.quotas.problems
            found = Context(plan, self._listening, self._verdict, most_problems)
            self._contexts[vehicle] = found
        return found

    def _enter(self, entry: log.Entry) -> None:
        """Write into the log, and first what time it is."""
        self._enter_time()
        self._entries.append(entry)

    def _enter_time(self) -> None:
        if self._logged_ms != self._now_ms:
            self._logged_ms = self._now_ms
            self._entries.append(log.TimePassed(self._now_ms))

    def _happened(self, vehicle: str, event: Born | Left | Died | OverQuota) -> None:
        """Step what an agent, or the broker, says of an agent, or what a vehicle wanted, and write it into the log."""
        if self._try_step(vehicle, event):
            self._enter(log.Stepped(vehicle, event))

    def _try_step(self, vehicle: str, event: Event) -> bool:
        try:
            self._step(vehicle, event)
        except Exception as error:
            self._fault(type(event).__name__.lower(), error)
            return False
        return True

    def _fault(self, what: str, error: BaseException) -> None:
        self.counts[f"fault.{what}"] += 1
        self.faults.append(error)

    def _quarantine_records(self, message: RecordsMessage, aside: Sequence[SetAside]) -> None:
        """Put records of a message into quarantine, a row for each reason: a message must not become 10,000 rows.

        Those for which there is no more room are not receipted: their agent keeps them.
        """
        by_reason: dict[tuple[Reason, str], list[Record]] = {}
        for one in aside:
            key = (one.reason, one.words)
            if key not in by_reason and len(by_reason) >= MOST_REASONS:
                key = (one.reason, "for different reasons, of which others stand beside this")
            by_reason.setdefault(key, []).append(one.record)
        agent = message.agent
        known, account = self._run(agent, message.run), self._account(agent.vehicle)
        for (reason, words), those in by_reason.items():
            names = Intervals((record.sequence, record.sequence) for record in those)
            payload = encode(DEFLATED if len(those) > 1 else PLAIN, message.run, body_of(those, message), names)
            if known.holds(payload):
                self.counts["duplicates"] += len(those)
                continue
            try:
                account.spend("quarantine_bytes", len(payload))
            except Exceeded as exceeded:
                self._refuse(agent.vehicle, exceeded.quota)
                continue
            known.keep(payload, names)
            self.counts[f"quarantined_{reason}"] += len(those)
            self._quarantine.append(
                QuarantineRow(
                    agent.vehicle, agent.agent, message.run, names.pairs(), message.lane, f"{reason}: {words}"[:500],
                    payload, self._now_ms,
                )
            )  # fmt: skip


def _new_pieces(seen: Intervals, numbers: Intervals) -> int:
    """Return by how many pieces numbers will add to what was seen; exactly where it may matter."""
    if seen.pieces + numbers.pieces < _MANY_PIECES:
        return numbers.pieces
    both = seen.copy()
    both.update(numbers)
    return max(0, both.pieces - seen.pieces)


def again(row: Quarantined) -> Incoming:
    """Return a message that was set aside, as it came in."""
    return Incoming(AgentName(row.site, row.vehicle, row.agent).up(row.kind), row.payload, row.at_ms)


def _note_times(row: RunRow, ready: Sequence[Ready]) -> None:
    """Note the times of samples in what is known of their run."""
    times = [one.told.time_ms for one in ready if isinstance(one.told, Observed)]
    if times:
        row.first_ms = min(times) if row.first_ms is None else min(row.first_ms, *times)
        row.last_ms = max(times) if row.last_ms is None else max(row.last_ms, *times)
