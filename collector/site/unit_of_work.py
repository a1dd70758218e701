"""A site's unit of work: what came in and what time brought, as one set of changes (docs/architecture.md). Pure.

It works on copies of what is committed. ``changes`` goes into one transaction; only after it ``keep`` makes the copies
the memory, and ``tell`` lets the receipts know. One that is thrown away has touched nothing.

What holds: a record is stepped once; one on which ``step`` raises is set aside alone, and the vehicle is as it was
before it; a birth, a goodbye or a look at the time that raises leaves the vehicle as it was and counts as an error of
ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from collector.core.health import PartReport
from collector.core.notifications import notifications_of
from collector.core.problems import ClosedNote
from collector.core.survey import listened, reported, survey
from collector.core.tickets.desk import TimePassed
from collector.core.tickets.draft import ProblemKept, Recorded
from collector.core.tickets.events import TicketEvent
from collector.core.vehicle import forks
from collector.core.vehicle.events import Listening, Observed, Rejoined
from collector.core.vehicle.forks import Stepping
from collector.core.vehicle.state import Fork, InventoryEntry, Vehicle
from collector.core.vehicle.step import look
from collector.core.vehicle.summary import SHOWN_MS, Summary, shows_more
from collector.core.vehicle.wake import Wake
from collector.site.addressing import receivers_of
from collector.site.in_force import InForce
from collector.site.later import Later
from collector.site.memory import Memory
from collector.site.people_work import PeopleWork
from collector.site.quotas import DAY_MS, OVER_QUOTA_FAULT, Exceeded
from collector.site.receipts import Receipts
from collector.site.taking import Taking
from collector.site.tape import Order, Tape, pieces_of, read_again
from collector.store import batch as log
from collector.store import snapshot
from collector.store.rows import (
    BatchRow,
    Changes,
    NotificationRow,
    SnapshotRow,
)
from telemetry.fleet import VehiclePlan
from telemetry.topics import AgentName

_AFTER_ERROR_MS: Final = 60_000
"""Time is looked at again so long after that has raised: an error of ours must not fill the log."""


class UnitOfWork(Taking, PeopleWork):
    """One unit of work. It begins at ``now_ms`` (UTC), the time of all that it decides until ``go_on`` says another."""

    def __init__(self, memory: Memory, in_force: InForce, listening: Listening, now_ms: int) -> None:
        super().__init__(memory, in_force, listening, now_ms)
        self._state = listened(memory.state, memory.vehicles.values(), listening, now_ms)
        if self._state is not memory.state:
            self._enter(log.Woken([], False, False))

    def look(self) -> None:
        """Look at what time alone can change, where that is due or has been brought forward by what came in.

        The site's verdict comes first, then its vehicles. What it changes nothing for leaves no trace.
        """
        memory, now_ms = self._memory, self._now_ms
        self._close()
        self._join_forks()
        put_off = self.put_off()
        self._wakes.update(put_off)
        names = {name for name, _ in memory.wakes.due(now_ms) if name not in put_off} | self._to_look
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

    def put_off(self) -> dict[str, Wake]:
        """Return the vehicles that need no look though it is due, because all that they wait for have spoken since."""
        found = {}
        for name, wake in self._memory.wakes.due(self._now_ms):
            later = wake.put_off(self._known(name))
            if later.at_ms > self._now_ms:
                found[name] = later
        return found

    @property
    def wants_look(self) -> bool:
        """Whether what came in may have brought forward what time alone can change."""
        return bool(self._to_look)

    def _join_forks(self) -> None:
        """Let forks whose hole is filled become the state, as far as that is little work."""
        memory, left = self._memory, self._memory.most_at_once
        names = {*memory.tapes, *(name for name, one in self._vehicles.items() if one.fork is not None)}
        mine = Counter[str]()
        for entry in self._entries if names else ():
            if isinstance(entry, log.Group):
                mine[entry.vehicle] += entry.count
        for name in sorted(names):
            fork, tape = self._vehicle(name).fork, memory.tapes.get(name)
            if fork is None or not fork.is_filled or not (tape is None or tape.is_whole):
                continue
            records = mine[name] + (tape.records if tape else 0)
            if left is None or records <= left:
                left = None if left is None else left - records
                self.rejoin(name)

    def rejoin(self, name: str, stepped: Stepping | None = None, rounds: tuple[int, ...] = ()) -> None:
        """Let a vehicle's fork become its state; ``stepped`` is how far it was stepped before, in which rounds.

        What is not filled any more, because another hole was found meanwhile, waits.
        """
        fork = self._vehicle(name).fork
        if fork is None or not fork.is_filled or (stepped is not None and stepped.position != fork.position):
            return
        try:
            self._rejoin(name, fork, stepped, rounds)
        except Exception as error:
            self._fault("rejoin", error)
            self.give_up(name)
        else:
            self._enter(log.Stepped(name, Rejoined(rounds)))

    def give_up(self, name: str) -> None:
        """Let a fork go that cannot be stepped: what live says stands, which is better than a hole for ever."""
        self.counts["forks_given_up"] += 1
        self._stepped(name, msgspec.structs.replace(self._vehicle(name), fork=None), [])
        self._enter(log.Stepped(name, Rejoined(given_up=True)))

    def _rejoin(self, name: str, fork: Fork, stepped: Stepping | None, rounds: tuple[int, ...]) -> None:
        context, rules = self._context(name), self._in_force.rules
        tape = self._memory.tapes.get(name) or Tape(fork.position, fork.position)
        rest = Tape(fork.position, fork.position)
        rest.add(tape.pieces)
        rest.add(
            piece
            for vehicle, piece in pieces_of(self._memory.last_batch + 1, self._began_ms, self._entries)
            if vehicle == name
        )
        begun, pieces = stepped is not None, rest.pieces
        stepped = stepped.copy() if stepped is not None else Stepping(fork)
        for bound in (*rounds, None):
            part = [one for one in pieces if bound is None or one.batch <= bound]
            pieces = pieces[len(part) :]
            if bound is None or not begun:
                order = Order(self._in_force.site_id, self._compiled_of, rules.settings)
                for one in part:
                    order.add(one)
                stepped.advance(order.events(), context, rules)
        after, effects = forks.rejoin(
            self._vehicle(name), stepped, context, rules, self._now_ms, lambda: self._others(name)
        )
        self._rejoined[name] = after
        self._stepped(name, after, effects)

    def _others(self, name: str) -> Iterator[tuple[Vehicle, VehiclePlan]]:
        for other in self._everyone():
            if other != name:
                yield self._vehicle(other), self._in_force.vehicle_plan(other)

    def _keep_tapes(self) -> None:
        """Keep what has come of vehicles with a fork, as long as that is not too much."""
        memory = self._memory
        for name, vehicle in self._vehicles.items():
            if vehicle.fork is None:
                memory.tapes.pop(name, None)
            elif name not in memory.tapes or memory.tapes[name].position != vehicle.fork.position:
                memory.tapes[name] = Tape(vehicle.fork.position, vehicle.fork.position)
        memory.to_join = False
        if not memory.tapes:
            return
        for name, piece in pieces_of(memory.last_batch + 1, self._began_ms, self._entries):
            if name in memory.tapes:
                memory.tapes[name].add([piece])
        memory.to_join = any(map(memory.is_little, memory.tapes))
        if memory.most_kept is None:
            return
        kept = sum(tape.records for tape in memory.tapes.values() if not tape.is_wanted)
        for tape in sorted(memory.tapes.values(), key=lambda one: -one.records):
            if kept <= memory.most_kept:
                break
            if not tape.is_wanted:
                kept -= tape.records
                tape.forget(memory.last_batch + 1)

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
            self._verdict = msgspec.structs.replace(self._verdict, wake_ms=self._now_ms + _AFTER_ERROR_MS)
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
            after, effects, wake = look(vehicle, self._context(name), self._in_force.rules, self._now_ms)
        except Exception as error:
            self._fault("timepassed", error)
            self._wakes[name] = Wake(self._now_ms + _AFTER_ERROR_MS)
            return False
        self._wakes[name] = wake
        if after is vehicle and not effects:
            return False
        self._stepped(name, after, effects)
        return True

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

    def replay(self, entry: log.Entry) -> None:
        """Do again what the log says was done, in its order (``collector.replay``)."""
        self._again = True
        if isinstance(entry, log.Group):
            agent = AgentName(self._in_force.site_id, entry.vehicle, entry.agent)
            message, again = read_again(entry, agent.site, self._schemas_by_name(agent))
            known = self._run(message.agent, entry.run)
            known.clocks.update(again.clocks)
            known.row.no_clock = True  # what stands in the log without a clock was taken without one
            self._take_records(message, self._now_ms)
        elif isinstance(entry, log.TimePassed):
            self.go_on(entry.now_ms)
        elif isinstance(entry, log.ActedOnTicket):
            self._act_again(entry)
        elif isinstance(entry, log.BegunAnew):
            self._begin_anew(entry.vehicle)
        elif isinstance(entry, log.Stepped):
            if isinstance(entry.event, Rejoined) and entry.event.given_up:
                self.give_up(entry.vehicle)
            elif isinstance(entry.event, Rejoined):
                self.rejoin(entry.vehicle, rounds=entry.event.rounds)
            else:
                self._step(entry.vehicle, entry.event)
                self._enter(entry)
        elif isinstance(entry, log.Woken):
            if entry.surveyed:
                self._survey()
            for name in entry.vehicles:
                self._look_at(name)
            if entry.desk:
                self.tell_desk(TimePassed())
        elif isinstance(entry, log.Reported):
            self.report(entry.report)

    def changes(self) -> Changes | None:
        """Return what is to be committed, ``None`` if that is nothing."""
        self._close()
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
            vehicles=Later(self._vehicles, lambda name, vehicle: vehicle.to_json()),
            summaries=Later(self._to_summarise(), self._summary),
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
            changes.batch = BatchRow(number, self._received_ms, self._began_ms, self.taken, self._entries, heading)
        return changes if any(getattr(changes, name) for name in changes.__struct_fields__) else None

    def _notifications(self, recorded: Sequence[Recorded]) -> list[NotificationRow]:
        """Return whom to tell what. What a vehicle has beyond its day's share is shown and sent to nobody."""
        if not self._in_force.receivers:
            return []
        force = self._in_force
        about = {one.ticket.id: one.ticket for one in recorded}
        found = []
        for one in notifications_of(recorded, force.site, force.contract, force.channels, self._events_of):
            receivers, vehicle = receivers_of(one, force), about[one.ticket].vehicle
            free = not vehicle or about[one.ticket].fault == OVER_QUOTA_FAULT
            if receivers and (free or self._may(vehicle, "notifications")):
                found.append(NotificationRow(one.key, one.ticket, one.body, one.created_ms, receivers))
        return found

    def _events_of(self, ticket: str) -> Sequence[TicketEvent]:
        """Return what has happened to a ticket; of one that is let go in this unit of work, before it."""
        return self._desk.events.get(ticket) or self._memory.desk.events.get(ticket, ())

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
        if not self.in_force.judges_as(self._in_force):
            self._shown = {**memory.vehicles, **self._vehicles}
        elif 0 <= now_ms - memory.shown_ms < SHOWN_MS:
            self._shown = {
                name: vehicle for name, vehicle in self._vehicles.items() if shows_more(memory.shown.get(name), vehicle)
            }
        else:
            self._all_shown = True
            self._shown = {**{name: memory.vehicles[name] for name in memory.to_show}, **self._vehicles}
        return self._shown

    def _summary(self, name: str, vehicle: Vehicle) -> Summary:
        """Return what lists show of a vehicle."""
        carried = self._memory.carried_of(name, self._now_ms)
        return self.in_force.summary(name, vehicle, self._last_samples_of(name), carried)

    def _last_samples_of(self, name: str) -> Iterable[Observed]:
        """Return the last live samples of a vehicle."""
        return {**self._memory.last_samples.get(name, {}), **self._last_samples.get(name, {})}.values()

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
        for name, samples in self._last_samples.items():
            memory.last_samples.setdefault(name, {}).update(samples)
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
        self._keep_tapes()
        memory.listening = self._listening
        memory.wakes.update(self._wakes)
        self._outdate_schemas()
        if self._entries:
            memory.last_batch += 1
        if self.in_force is not self._in_force:
            memory.go_by(self.in_force, self._in_force)

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
