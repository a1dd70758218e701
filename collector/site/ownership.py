"""One epoch of a site: its vehicles in memory and its commit loop over the site's session (docs/architecture.md).

What holds: memory is what is committed; a message is acknowledged, and a record receipted, only after the commit that
took it; vehicles share our time by records; the lock is looked at before every attempt to connect and once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from collector.config import Timings
from collector.core.health import PartReport
from collector.core.tickets.calendar_need import missing_years
from collector.outgoing import one_line
from collector.site.acts import ticket_of
from collector.site.bell import Bell
from collector.site.catching_up import CatchingUp
from collector.site.caution import Caution, Doubtful
from collector.site.cpu_meter import CpuMeter
from collector.site.handover import Handover
from collector.site.health import (
    LISTEN_MS,
    CalendarHealth,
    CertificateHealth,
    ClockHealth,
    QuarantineHealth,
    Watched,
    news,
    unattended,
)
from collector.site.in_force import InForce
from collector.site.intake import Incoming, Refused, read
from collector.site.memory import Memory
from collector.site.mqtt import Connection
from collector.site.quotas import Quotas, words_of
from collector.site.session import FULL_UNIT, Delivery, Session
from collector.site.setting_aside import again
from collector.site.status import STUCK_S, Refusals, Status
from collector.site.turns import cost_of
from collector.site.unit_of_work import UnitOfWork
from collector.store import queries
from collector.store.commit import SiteConnection
from collector.store.errors import LostOwnership
from collector.store.rows import Action, Changes, Quarantined, SiteReport
from collector.store.store import Store
from telemetry.backoff import Backoff
from telemetry.fleet import Broker
from telemetry.mqtt import MqttConnection

log = logging.getLogger(__name__)
T = TypeVar("T")

UNIT_BYTES: Final = 256 * 1024
UNIT_RECORDS: Final = 2_000
"""Most that one unit of work takes in, so that a backlog does not hold up what is live for long."""
BREATH_S: Final = 0.005
"""After so much of a unit others have their turn in the loop: what comes in, time answers, pages."""
CHECK_S: Final = 1.0
"""How often the lock is looked at, and the rows that people write."""
RETRY_CHECKS: Final = 5
"""In how many checks quarantine is looked through for what is to be taken again."""
CLOCK_SET_MS: Final = 5_000
"""The wall clock was set when it and the monotonic one have parted by so much."""
SLOW_COMMIT_S: Final = 10.0
"""A commit that takes longer means that we cannot commit: agents are told to keep their records."""


class Parts(msgspec.Struct, frozen=True):
    """What every ownership of a site is made of. ``on_commit`` is called after each commit, in the loop."""

    in_force: InForce
    broker: Broker
    store: Store
    timings: Timings
    now_ms: Callable[[], int]
    on_commit: Callable[[Changes], None]
    quotas: Quotas
    connect: Callable[..., MqttConnection] = Connection
    """Makes the connection to the broker."""
    to_put: tuple[str, ...] = ()
    """Kinds of editions of which our own are to be put into the database."""
    watched: tuple[Watched, ...] = ()
    """The centre's parts beside the broker that this site depends on."""
    handover: Handover = msgspec.field(default_factory=Handover)
    """What drains have learnt comes by it."""


class _Unit(msgspec.Struct):
    """A unit of work that is still open, and what it will acknowledge."""

    work: UnitOfWork
    began_ms: int
    connection: MqttConnection | None
    """Which delivered its messages."""
    opened_s: float
    """The loop's clock."""
    deliveries: list[Delivery] = msgspec.field(default_factory=list)
    wishes: list[Doubtful] = msgspec.field(default_factory=list)
    """What people want that it holds: acts, and messages to be taken again."""
    records: int = 0
    bytes: int = 0
    steps: list[Callable[[UnitOfWork], None]] = msgspec.field(default_factory=list)
    """What ``work`` has been given so far, to be given to another one."""

    def take(self, step: Callable[[UnitOfWork], None]) -> None:
        """Give the unit of work something. What that raises is the caller's; then ``work`` is of no use any more."""
        step(self.work)
        self.steps.append(step)

    def begin_again(self, work: UnitOfWork) -> None:
        """Go on with another ``work``, which is given all that the one before was given and took."""
        self.work = work
        for step in self.steps:
            step(work)


class Ownership:
    """One epoch of a site."""

    def __init__(
        self,
        parts: Parts,
        lock: SiteConnection,
        worker: ThreadPoolExecutor,
        memory: Memory,
        status: Status,
        caution: Caution,
    ) -> None:
        self._in_force = parts.in_force
        self._site = parts.in_force.site_id
        timings = parts.timings
        self._now_ms = parts.now_ms
        self._on_commit = parts.on_commit
        self._engine = parts.store.engine
        self._lock = lock
        self._worker = worker
        self._memory = memory
        self._status = status
        self._caution = caution
        self._loop = asyncio.get_running_loop()
        self._gather_s = min(timings.gather_ms / 1000, timings.beat)
        """A beat that is back waits for its commit like all else; waiting longer would be taken for deafness."""
        self._quotas = parts.quotas
        self._bell = Bell(self._loop)
        self._session = Session(
            self._site,
            parts.broker,
            parts.connect,
            timings,
            parts.quotas,
            parts.now_ms,
            self._bell,
            status,
            lock.epoch,
            memory.committed,
        )
        self._heartbeat = self._session.heartbeat
        self._retry = (timings.retry, timings.retry_most)
        self._catching_up = CatchingUp(parts.store, memory, lambda: self._in_force, self._bell.ring)
        self._stopping = False
        self._checks = 0
        self._act_now = False
        self._clock_offset_ms: float | None = None
        self._to_put = parts.to_put
        self._handover = parts.handover
        self._watched = (
            Watched("broker", "", self._broker_health),
            Watched("broker_drops", "", self._session.drops),
            Watched("certificate", "broker", CertificateHealth("broker", lambda: self._session.certificate_ends_ms)),
            Watched("quarantine", "", QuarantineHealth(status.counts)),
            Watched("calendar", "", CalendarHealth(self._missing_years)),
            Watched("clock", "", ClockHealth()),
            *parts.watched,
        )
        self._not_listening_since_ms: int | None = parts.now_ms()
        self._reports: list[PartReport] = []
        """To be judged with the next unit of work."""
        self._ask_health = False
        """It is time to ask for more of them."""
        self._began_s = time.monotonic()
        self._meter = CpuMeter()

    def tell_unattended(self, since_ms: int, words: str) -> None:
        """Let the site's tickets tell that it was nobody's, or that nothing was committed, until now."""
        self._reports += unattended(since_ms, self._now_ms(), words)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set. Raises LostOwnership, CommitFailed or whatever else ended it."""
        units = asyncio.create_task(self._units())
        broker = asyncio.create_task(self._session.keep_connected(lambda: self._work(self._lock.check)))
        catching_up = asyncio.create_task(self._catch_up())
        stopping = asyncio.create_task(stop.wait())
        failed = False
        try:
            await asyncio.wait({units, broker, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self._stopping = True
            self._bell.ring()
            if broker.done():
                broker.result()
            await units  # the unit under way is finished: committed, acknowledged, receipted
        except LostOwnership:
            failed = True
            raise
        finally:
            for task in (units, broker, catching_up, stopping):
                task.cancel()
            await asyncio.gather(units, broker, catching_up, stopping, return_exceptions=True)
            await self._session.leave(say_so=not failed)

    @property
    def in_force(self) -> InForce:
        """What the site is judged by."""
        return self._in_force

    def look_for_actions(self) -> None:
        """Take what people want at once, rather than at the next check."""
        self._act_now = True
        self._bell.ring()

    async def _catch_up(self) -> None:
        """Step forks to the present, and again where the log could not be read."""
        backoff = Backoff(*self._retry)
        while not self._stopping:
            try:
                await self._catching_up.run()
            except SQLAlchemyError as error:
                log.warning("site %s: forks wait for the log: %s", self._site, error)
            await asyncio.sleep(backoff.next())

    # --- units of work ------------------------------------------------------------------------------------------------

    async def _units(self) -> None:
        """Do one unit of work after the other until told to stop. Raises LostOwnership or CommitFailed."""
        unit: _Unit | None = None
        next_check = self._loop.time()
        while not self._stopping or unit is not None:
            self._status.alive_s = time.monotonic()
            await self._wait(unit, next_check)
            checking = self._loop.time() >= next_check
            if checking:
                next_check = self._loop.time() + CHECK_S
                if await self._work(functools.partial(self._lock.check, self._report())):
                    self._act_now = True
                self._compare_clocks()
                self._ask_health = True
            retried = await self._asked_again() if checking else []
            actions = await self._wanted() if self._act_now else []
            told = checking and self._session.refused
            if unit is None and self._ask_health:
                self._look_at_health()
            given = (
                self._session.turns
                or retried
                or actions
                or told
                or self._to_put
                or self._reports
                or self._handover
                or self._catching_up.is_due
            )
            if unit is None and (given or self._memory.unreadable or self._must_look()):
                now_ms = self._now_ms()
                unit = _Unit(self._work_at(now_ms), now_ms, self._session.connection, self._loop.time())
                for kind in self._to_put:
                    content = self._in_force.contents()[kind]
                    unit.take(functools.partial(UnitOfWork.put_in_force, kind=kind, content=content, anew=True))
                self._to_put = ()
                for kind, content in self._handover.take():
                    unit.take(functools.partial(UnitOfWork.put_in_force, kind=kind, content=content))
                for report in self._reports:
                    unit.take(functools.partial(UnitOfWork.report, report=report))
                self._reports = []
                for vehicle, caught_up in self._catching_up.take().items():
                    if caught_up.stepped is None:
                        unit.take(functools.partial(UnitOfWork.give_up, name=vehicle))
                    else:
                        stepped, rounds = caught_up.stepped, caught_up.rounds
                        unit.take(functools.partial(UnitOfWork.rejoin, name=vehicle, stepped=stepped, rounds=rounds))
                for vehicle in self._memory.unreadable:
                    unit.take(functools.partial(UnitOfWork.begin_anew, vehicle=vehicle))
            if unit is not None:
                await self._take(unit, retried, actions)
                if self._is_ripe(unit):
                    await self._finish(unit)
                    unit = None
            self._session.speak()

    async def _wait(self, unit: _Unit | None, until: float) -> None:
        """Wait for a message, or until something is due."""
        if self._stopping or self._act_now:
            return
        if self._session.turns:
            return  # left over from a full unit, or come while we were at work
        if unit is not None:
            until = min(until, unit.opened_s + self._gather_s)
        wake_ms = self._memory.wake_ms()
        wait_s = until - self._loop.time()
        if wake_ms is not None:
            wait_s = min(wait_s, (wake_ms - self._now_ms()) / 1000)
        await self._bell.wait(wait_s)

    def _look_at_health(self) -> None:
        """Ask how the centre's parts get on. No unit of work is open: what was reported before is committed."""
        self._ask_health = False
        status = self._status
        self._reports += news(self._watched, self._memory.state.parts, self._now_ms())
        if (
            status.failing_s is not None
            and not self._session.waiting
            and time.monotonic() - self._began_s > STUCK_S / 2
        ):
            status.failing_s = None  # nothing came that could not be committed

    def _broker_health(self, now_ms: int) -> PartReport | None:
        """Say whether we hear: where the broker is not reached, or our heartbeat does not come back, we do not."""
        since_ms = self._heartbeat.listening(now_ms).since_ms
        if since_ms is not None:
            self._not_listening_since_ms = None
            return PartReport("broker", since_ms=since_ms)
        if self._not_listening_since_ms is None:
            self._not_listening_since_ms = now_ms
        if now_ms - self._not_listening_since_ms < LISTEN_MS:
            return None
        if self._status.connected:
            words = "connected, but our own heartbeat does not come back"
            return PartReport("broker", "", "not_listening", self._not_listening_since_ms, words)
        return PartReport("broker", "", "unreachable", self._not_listening_since_ms, one_line(self._status.error))

    def _missing_years(self, now_ms: int) -> list[int]:
        return missing_years(self._memory.desk, self._in_force.contract, now_ms)

    def _must_look(self) -> bool:
        """Say whether time alone may have changed something."""
        now_ms = self._now_ms()
        wake_ms = self._memory.wake_ms()
        return (wake_ms is not None and wake_ms <= now_ms) or self._heartbeat.listening(
            now_ms
        ) != self._memory.listening

    def _compare_clocks(self) -> None:
        """Look at every vehicle anew when the wall clock was set: what they asked for went by the old one."""
        offset_ms = self._now_ms() - time.monotonic() * 1000
        if self._clock_offset_ms is not None and abs(offset_ms - self._clock_offset_ms) > CLOCK_SET_MS:
            moved_s = (offset_ms - self._clock_offset_ms) / 1000
            log.warning("site %s: the wall clock was set by %+.0f s", self._site, moved_s)
            self._memory.wakes.all_at_once()
            self._clock_offset_ms = None
        if self._clock_offset_ms is None:
            self._clock_offset_ms = offset_ms

    async def _take(self, unit: _Unit, retried: list[Quarantined], actions: list[Action]) -> None:
        """Take what has arrived into a unit of work, and say what was refused."""
        self._go_on(unit)
        refused, self._session.refused = self._session.refused, Counter()
        for (vehicle, quota), number in refused.items():
            words = words_of(quota, self._quotas)
            unit.take(functools.partial(UnitOfWork.refuse, vehicle=vehicle, quota=quota, words=words, number=number))
        for row in retried:  # before the messages: one of these to blame must come to be alone
            if self._has_room(unit):
                self._take_again(unit, row)
        for action in actions:
            if self._has_room(unit):
                self._act(unit, action)
        self._meter.begin()
        since_s = 0.0
        while self._session.turns and unit.connection is self._session.connection and not self._is_full(unit):
            delivery = self._session.turns.take()
            assert delivery.incoming is not None
            unit.deliveries.append(delivery)
            unit.bytes += len(delivery.incoming.payload)
            self._take_one(unit, delivery.incoming)
            took_s = self._meter.took_s()
            for shed in self._session.turns.charge(delivery.vehicle, delivery.weight, took_s):
                self._session.let_go(shed, "cpu_s")
            unit.records += cost_of(delivery.weight, took_s)
            since_s += took_s
            if since_s >= BREATH_S:
                since_s = 0.0
                await asyncio.sleep(0)
                self._meter.begin()

    def _go_on(self, unit: _Unit) -> None:
        unit.take(functools.partial(UnitOfWork.go_on, now_ms=self._now_ms()))

    def _work_at(self, now_ms: int) -> UnitOfWork:
        return UnitOfWork(self._memory, self._in_force, self._heartbeat.listening(self._now_ms()), now_ms)

    def _take_one(self, unit: _Unit, incoming: Incoming) -> None:
        """The one boundary around each message: whatever it raises, it alone is set aside, by topic and digest.

        The unit of work that it may have left half done is thrown away, and all the others are taken again.
        """
        if not self._caution.refuses(incoming):
            try:
                unit.take(functools.partial(UnitOfWork.take, incoming=incoming))
                return
            except Exception as error:
                self._blame(incoming, error)
                unit.begin_again(self._work_at(unit.began_ms))
        refused = _unreadable(incoming, self._caution.reason(incoming))
        unit.take(functools.partial(UnitOfWork.set_aside, incoming=incoming, refused=refused, reason="poison"))

    def _has_room(self, unit: _Unit) -> bool:
        """Say whether one more of what people want fits in; what does not is asked for again at the next check."""
        return not self._caution.is_cautious or len(unit.deliveries) + len(unit.wishes) < self._caution.limit

    def _act(self, unit: _Unit, action: Action) -> None:
        """Do what a person wants; what no commit takes is refused, with the reason."""
        if self._caution.refuses(action):
            refused = functools.partial(UnitOfWork.refuse_act, action=action, why=self._caution.reason(action))
            unit.take(refused)
            return
        unit.wishes.append(action)
        unit.take(functools.partial(UnitOfWork.act, action=action))

    def _take_again(self, unit: _Unit, row: Quarantined) -> None:
        """Take in what was set aside before; where that raises, or its commit fails, it stays where it is."""
        incoming = again(row)
        if self._caution.refuses(incoming):
            return
        unit.wishes.append(incoming)
        try:
            unit.take(functools.partial(UnitOfWork.take_again, row=row))
        except Exception as error:
            self._blame(incoming, error)
            unit.begin_again(self._work_at(unit.began_ms))

    def _blame(self, incoming: Incoming, error: Exception) -> None:
        digest = self._caution.blame(incoming, f"{type(error).__name__}: {error}")
        log.error("site %s: %s, digest %s: set aside unread", self._site, incoming.topic, digest, exc_info=error)

    def _is_full(self, unit: _Unit) -> bool:
        number = len(unit.deliveries) + len(unit.wishes)
        return number >= self._caution.limit or unit.records >= UNIT_RECORDS or unit.bytes >= UNIT_BYTES

    def _is_ripe(self, unit: _Unit) -> bool:
        """Say whether a unit is to be committed now: urgent, large enough, or open for long enough."""
        return (
            unit.work.urgent
            or self._stopping
            or self._session.waiting >= FULL_UNIT
            or self._is_full(unit)
            or unit.connection is not self._session.connection
            or self._loop.time() >= unit.opened_s + self._gather_s
            or self._must_look()
        )

    async def _finish(self, unit: _Unit) -> None:
        """Commit, and only then remember, acknowledge to the broker and to the agents."""
        work = unit.work
        of_it = [delivery.incoming for delivery in unit.deliveries if delivery.incoming is not None] + unit.wishes
        try:
            self._go_on(unit)
            work.look()
            changes = work.changes()
        except Exception as error:
            self._caution.failed(of_it, str(error))
            raise
        if changes is not None:
            await self._commit(changes, of_it)
        work.keep()
        if work.in_force is not self._in_force:
            self._in_force = work.in_force
            self._status.editions = dict(work.in_force.editions)
            log.info("site %s: editions in force: %s", self._site, self._status.editions)
        work.tell(self._session.receipts)
        for delivery in unit.deliveries:
            delivery.done = True
        self._session.settle()
        self._catching_up.look()
        self._note(work, changes, self._now_ms())

    async def _asked_again(self) -> list[Quarantined]:
        """Return what somebody wants to be taken again (``kitwatch deadletters retry``); asked every few seconds."""
        self._checks += 1
        if self._checks % RETRY_CHECKS:
            return []
        await self._weigh_quarantine()
        ask = functools.partial(queries.list_quarantine, self._engine, site=self._site, state="retry", limit=20)
        try:
            return await self._work(ask)
        except SQLAlchemyError as error:
            log.warning("site %s: quarantine: %s", self._site, error)
            return []

    async def _weigh_quarantine(self) -> None:
        """Look what is kept of vehicles that have much there: somebody may have emptied it."""
        most = self._quotas.quarantine_bytes // 2
        full = [usage for usage in self._memory.usage.values() if usage.quarantine_bytes > most]
        if full:
            with contextlib.suppress(SQLAlchemyError):
                sizes = await self._work(functools.partial(queries.quarantine_bytes, self._engine, self._site))
                for name, usage in self._memory.usage.items():
                    usage.quarantine_bytes = sizes.get(name, 0)

    async def _wanted(self) -> list[Action]:
        """Return what people want of the site's vehicles, through whichever collector they said it."""
        self._act_now = False
        try:
            actions = await self._work(functools.partial(queries.waiting_actions, self._engine, self._site))
            return [await self._with_history(action) for action in actions]
        except SQLAlchemyError as error:
            log.warning("site %s: actions: %s", self._site, error)
            return []

    async def _with_history(self, action: Action) -> Action:
        """Return an action with what happened to its ticket, where the desk has let go of that."""
        ticket = ticket_of(action.kind, action.body)
        if not ticket or ticket in self._memory.desk.tickets:
            return action
        history = await self._work(functools.partial(queries.history_of, self._engine, self._site, ticket))
        return msgspec.structs.replace(action, history=history)

    async def _commit(self, changes: Changes, of_it: Sequence[Doubtful]) -> None:
        commit = asyncio.ensure_future(self._work(functools.partial(self._lock.commit, changes)))
        began_ms = self._now_ms()
        try:
            done, _ = await asyncio.wait({commit}, timeout=SLOW_COMMIT_S)
            if not done:
                self._session.withdraw()
            await commit
        except LostOwnership:
            raise
        except Exception as error:
            self._session.withdraw()
            self._caution.failed(of_it, str(error))
            raise
        if not done:
            await self._session.resume()
        self._caution.worked()
        self._status.failing_s = None
        self.tell_unattended(began_ms, "a commit took so long")
        self._on_commit(changes)

    def _note(self, work: UnitOfWork, changes: Changes | None, now_ms: int) -> None:
        status = self._status
        status.counts.update(work.counts)
        status.counts["records"] += work.taken
        status.counts["commits"] += changes is not None
        status.counts["batches"] += changes is not None and changes.batch is not None
        if changes is not None:
            status.committed_ms = now_ms
        status.listening_since_ms = self._heartbeat.listening(self._now_ms()).since_ms
        status.waiting_messages = self._session.waiting
        status.oldest_waiting_ms = self._oldest_waiting_ms()
        self._session.refused.update(work.withheld)
        for of, number in work.refused.items():
            refusals = status.refusals.setdefault(of, Refusals())
            refusals.number += number
            refusals.last_ms = now_ms
        for error in work.faults:
            log.error("site %s: our own judging raised", self._site, exc_info=error)

    def _oldest_waiting_ms(self) -> int | None:
        """Return since when something waits for its commit, whatever ownership it came to first; ``None``: nothing."""
        times = [self._session.oldest_ms]
        failing_s = self._status.failing_s
        if failing_s is not None:
            times.append(self._now_ms() - round((time.monotonic() - failing_s) * 1000))
        return min((time_ms for time_ms in times if time_ms is not None), default=None)

    def _report(self) -> SiteReport:
        """Return how we get on, for those who look into the database."""
        status = self._status
        return SiteReport(
            connected=status.connected,
            listening_since_ms=self._heartbeat.listening(self._now_ms()).since_ms,
            waiting_messages=self._session.waiting,
            oldest_waiting_ms=self._oldest_waiting_ms(),
            error=status.error,
            editions=dict(status.editions),
            differing=status.differing,
            over_quota=status.over_quota(self._now_ms()),
            begun_anew=status.begun_anew,
            damaged=status.damaged,
        )

    async def _work(self, call: Callable[[], T]) -> T:
        """Run something that blocks in the one worker thread."""
        return await self._loop.run_in_executor(self._worker, call)


def _unreadable(incoming: Incoming, why: str) -> Refused:
    """Return the name of a message that must not be taken, as far as it can be read."""
    try:
        message = read(incoming)
    except Refused as refused:
        return Refused(why, refused.agent, refused.header)
    return Refused(why, message.agent, getattr(message, "header", None))
