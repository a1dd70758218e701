"""Taking in what agents say, within a unit of work: records to the judges, all else into quarantine. Pure."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from collector.core.problems import ProblemChange
from collector.core.rules.schemas import CompiledSchema
from collector.core.survey import SiteState
from collector.core.vehicle.agents import OFF_MS
from collector.core.vehicle.events import (
    Born,
    ClockRead,
    Died,
    Event,
    Gone,
    Happened,
    Left,
    Missed,
    Observed,
    Quiet,
)
from collector.core.vehicle.state import Vehicle
from collector.site.intake import (
    AskMessage,
    Incoming,
    Judged,
    KnownRun,
    Message,
    Ready,
    RecordsMessage,
    Refused,
    SchemaMessage,
    Schemas,
    SetAside,
    StateMessage,
    Untimed,
    body_of,
    judge,
    lost_of,
    read,
)
from collector.site.quotas import Exceeded
from collector.site.receipts import NO_CLOCK, Birthday
from collector.site.setting_aside import SettingAside, again, new_pieces
from collector.store import batch as log
from collector.store.rows import (
    Quarantined,
    QuarantineRow,
    RunRow,
)
from telemetry.intervals import Intervals
from telemetry.message import PLAIN, Birth, Goodbye, Header, HeldRun, Moment
from telemetry.records import Run, Sample
from telemetry.topics import AgentName

_MANY_PIECES: Final = 100
"""Of a run's sequence numbers: from here on it is counted what a message adds to them."""
_ANEW: Final = "what was known could not be read and began anew: a person must decide"


class Taking(SettingAside):
    """The part of a unit of work that takes messages in. None of them raises for what it holds."""

    def take(self, incoming: Incoming) -> None:
        """Take in one message. Never raises for what the message holds."""
        try:
            message = read(incoming, self.schemas_of)
        except Refused as refused:
            self.set_aside(incoming, refused, "undecodable")
        else:
            self.take_message(message, incoming.received_ms)

    def take_message(self, message: Message, received_ms: int) -> None:
        """Take in a message that could be read. Never raises for what it holds."""
        try:
            self._account(message.agent.vehicle).agent(message.agent.agent)
            self._take(message, received_ms)
        except Exceeded as exceeded:
            self._refuse(message.agent.vehicle, exceeded.quota)

    def _take(self, message: Message, received_ms: int) -> None:
        """Take a message of an agent that may speak. Raises Exceeded before anything has changed."""
        match message:
            case RecordsMessage():
                self._admit(message)
                self._take_records(message, received_ms)
            case StateMessage():
                self.urgent = True
                self._take_state(message)
            case SchemaMessage():
                self.urgent = True
                self._take_schema(message)
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

    def _admit(self, message: RecordsMessage) -> None:
        """Let the records of a message be taken. Raises Exceeded."""
        agent, sequences = message.agent, message.header.sequences
        begins = not self._is_known(agent, message.run)
        seen = Intervals() if begins else self._run(agent, message.run).row.seen
        if message.samples is not None and seen.goes_on_with(sequences):
            return  # as nearly always: it brings no run, no device and no piece
        told = () if message.samples is not None else message.placed()
        events = [placed.record for placed in told if not isinstance(placed.record, Sample)]
        self._account(agent.vehicle).records(
            (event for event in events if event.sequence not in seen) if events else (),
            new_pieces(seen, sequences),
            seen.pieces,
            functools.partial(self._is_known, agent),
            begins=begins,
        )

    def _take_state(self, message: StateMessage) -> None:
        agent, body = message.agent, message.body
        event: Event
        if isinstance(body, Birth):
            held = {run: told.first for run, told in body.runs.items()}
            missing = []
            for run, boot in {message.run: body.boot, **{run: told.boot for run, told in body.runs.items()}}.items():
                if not self._may_begin(agent, run):
                    break  # their records will be refused; to be there is nobody forbidden
                known = self._run(agent, run)
                known.row.boot, known.row.heard_ms = boot, self._now_ms
                known.expect(body.runs.get(run), body.session)
                pairs = _missing_of(known, body.runs.get(run))
                if pairs:
                    missing.append((run, pairs))
            self._settle(agent, {message.run, *body.runs})
            birthday = Birthday(message.run, body.session, held)
            self._news.append(lambda receipts: receipts.born(agent, birthday))
            event = Born(
                agent.agent,
                message.run,
                body.session,
                body.machine,
                body.interval_s,
                body.version,
                body.boot,
                tuple(missing),
            )
        elif isinstance(body, Goodbye):
            event = Left(agent.agent, message.run, body.session, body.reason)
        else:
            event = Died(agent.agent, message.run, body.session)
        self._happened(agent.vehicle, event)

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

    def schemas_of(self, agent: AgentName, run: str, *, are_kept: bool = False) -> Schemas:
        """Return what is known of a run's schemas, for reading what it says."""
        key = (agent.vehicle, agent.agent, run)
        known = self._runs.get(key) or self._memory.runs.get(key)
        asked = self._by_name.setdefault((agent.vehicle, agent.agent), {})
        return Schemas(known.schema_names if known else {}, self._schemas_by_name(agent), are_kept, asked)

    def _schemas_by_name(self, agent: AgentName) -> Callable[[str], CompiledSchema | None]:
        return functools.partial(self._schema_by_name, (agent.vehicle, agent.agent))

    def _schema_by_name(self, agent: tuple[str, str], schema: str) -> CompiledSchema | None:
        asked = self._by_name.setdefault(agent, {})
        found = asked.get(schema) or self._compiled_of((*agent, schema))
        if found is not None and not found.unknown:
            asked[schema] = found
        return found

    def _take_records(self, message: RecordsMessage, received_ms: int) -> None:
        agent = message.agent
        known = self._run(agent, message.run)
        judged = judge(message, known, self._schemas_by_name(agent), self._now_ms)
        known.row.heard_ms = self._now_ms
        if judged.unknown:
            self._count_unknown(agent.vehicle, judged.unknown)
        if judged.duplicates:
            self.counts["duplicates"] += judged.duplicates
        if judged.aside:
            self._quarantine_records(message, judged.aside)
        if not self._again:
            self._notice(message, judged, known)
        for taken in self._step_records(message, judged):
            self._note_taken(message, taken, known, plain=judged.plain)
            self._received_ms = min(self._received_ms, received_ms)
        if judged.schemas_lacking or judged.clocks_lacking:
            self._news.append(
                lambda receipts: receipts.lack(agent, message.run, judged.schemas_lacking, judged.clocks_lacking)
            )
        self._news.append(lambda receipts: receipts.changed(agent))

    def _count_unknown(self, vehicle: str, unknown: Mapping[str, int]) -> None:
        """Count values of metrics that the catalogue does not know."""
        account = self._account(vehicle)
        for name, count in unknown.items():
            counted = account.metric(name)
            self.counts[f"unknown_metric.{counted}" if counted else "unknown_metrics_beyond_quota"] += count
            if not counted:
                self._refuse(vehicle, "unknown_metrics")

    def _note_taken(self, message: RecordsMessage, taken: Sequence[Ready], known: KnownRun, *, plain: bool) -> None:
        """Note records that were stepped together, and write them into the log as that. ``plain``: all are samples."""
        agent, whole = message.agent, len(taken) == len(message.header.sequences)  # as nearly always
        numbers = message.header.sequences if whole else _numbers(one.name.sequence for one in taken)
        known.row.seen.update(numbers)
        observed: Sequence[Any] = taken if plain else [one for one in taken if isinstance(one, Observed)]
        _note_times(known.row, observed)
        if self._known(agent.vehicle).fork is not None:
            self._came(agent.vehicle, agent.agent, message.run, numbers)
        if message.lane == "live":
            last = self._last_samples.setdefault(agent.vehicle, {})
            for one in observed:
                last[one.compiled.source] = one
        for event in taken if len(observed) < len(taken) else ():
            if isinstance(event, Happened) and event.kind == "lost":
                run, lost = lost_of(event.body)
                self._run(agent, run).row.lost.update(lost)
                self._came(agent.vehicle, agent.agent, run, lost)
        moments = list(message.body) if whole else body_of(numbers, message)
        self._read_clock(message, moments[-1], known)
        self.taken += len(taken)
        self._log(message, numbers, moments, known)

    def _read_clock(self, message: RecordsMessage, moment: Moment, known: KnownRun) -> None:
        """Note how far the newest moment taken of a live message shows its agent's clock from ours, where it is news.

        Of what was taken, because the log holds nothing else of the message.
        """
        clock = None if moment.clock is None else known.clocks.get(moment.clock)
        if message.lane != "live" or clock is None or self._listening.since_ms is None:
            return
        name, trusted, told = message.agent.agent, clock.is_trusted, clock.source != "rtc"
        off_ms = self._now_ms - clock.place(moment.mono_ms)
        agent = self._known(message.agent.vehicle).agents.get(name)
        known_so = agent is not None and agent.trusted == trusted and (agent.untold_ms is None) == told
        if not known_so or (agent is not None and agent.clock_off is not None) or abs(off_ms) >= OFF_MS:
            self._try_step(message.agent.vehicle, ClockRead(name, trusted, off_ms, told))

    def _notice(self, message: RecordsMessage, judged: Judged, known: KnownRun) -> None:
        """Note what a message shows to be missing, and whom it shows to be silent beside its own agent."""
        vehicle, name = message.agent.vehicle, message.agent.agent
        lacking = Intervals()
        if judged.schemas_lacking or judged.clocks_lacking:
            here = _numbers([*(one.name.sequence for one in judged.ready), *(one.sequence for one in judged.aside)])
            lacking = message.header.sequences.minus(here).minus(known.row.seen)
        missing = known.missing(message.header.sequences, lacking)
        if missing:
            self._happened(vehicle, Missed(name, message.run, tuple(missing.pairs())))
        if judged.aside:
            self._gone(message, judged.aside)
        state = self._known(vehicle)
        if len(state.agents) > 1:
            quiet_ms, longest_ms = (
                self._in_force.rules.settings.gap_ms, self._in_force.rules.settings.lateness_ms
            )  # fmt: skip
            silent = () if state.fork is None else state.fork.silent
            for other, agent in state.agents.items():
                if other == name or agent.heard_ms is None or agent.left or other in silent:
                    continue
                if quiet_ms + agent.interval_ms < self._now_ms - agent.heard_ms < longest_ms:
                    self._happened(vehicle, Quiet(other))

    def _gone(self, message: RecordsMessage, aside: Sequence[SetAside]) -> None:
        """Note that nobody waits for what was set aside."""
        vehicle = message.agent.vehicle
        if self._vehicle(vehicle).fork is not None:
            pairs = tuple(_numbers(one.sequence for one in aside).pairs())
            self._happened(vehicle, Gone(message.agent.agent, message.run, pairs))

    def _step_records(self, message: RecordsMessage, judged: Judged) -> Iterator[Sequence[Ready]]:
        """Step the records of a message; yield those that were taken, as they were stepped together.

        All at once; if that raises, nothing has happened, and one at a time shows the one to blame. Where none is new
        nothing is stepped: the log would not tell of it, and what time alone brings is a look's.
        """
        ready = judged.ready
        if not ready:
            return
        vehicle = message.agent.vehicle
        timed: list[Any] = ready if judged.plain else [one for one in ready if not isinstance(one, Untimed)]
        try:
            self._step_all(vehicle, timed)
        except Exception as error:
            together = error
        else:
            yield ready
            return
        aside = []
        for one in ready:
            try:
                self._step_all(vehicle, () if isinstance(one, Untimed) else (one,))
            except Exception as error:
                self._fault("record", error)
                aside.append(SetAside(one.name.sequence, "poison", f"{type(error).__name__}: {error}"))
            else:
                yield (one,)
        if aside:
            self._quarantine_records(message, aside)
            self._gone(message, aside)
        else:
            self._fault("message", together)

    def _log(self, message: RecordsMessage, numbers: Intervals, moments: list[Moment], known: KnownRun) -> None:
        named = {moment.clock for moment in moments}  # not all of them are known where the run has no clock
        clocks = {number: clock for number, clock in known.clocks.items() if number in named}
        agent = message.agent
        self._enter(log.Group(agent.vehicle, agent.agent, message.run, message.lane, numbers.pairs(), clocks, moments))

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
            self._drafts.pop(vehicle, None)
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


def _missing_of(run: KnownRun, held: HeldRun | None) -> tuple[tuple[int, int], ...]:
    """Return what a birth says that its agent holds of a run, and that has not come."""
    if held is None or held.first > held.last:
        return ()
    return tuple(Intervals([(held.first, held.last)]).minus(run.row.seen).minus(run.not_waited_for()).pairs())


def _numbers(numbers: Iterable[int]) -> Intervals:
    return Intervals((number, number) for number in numbers)


def _note_times(row: RunRow, observed: Sequence[Observed]) -> None:
    """Note the times of samples in what is known of their run."""
    times = [one.time_ms for one in observed]
    if times:
        first_ms, last_ms = min(times), max(times)
        row.first_ms = first_ms if row.first_ms is None else min(row.first_ms, first_ms)
        row.last_ms = last_ms if row.last_ms is None else max(row.last_ms, last_ms)
