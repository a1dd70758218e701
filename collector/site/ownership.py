"""One epoch of a site: its MQTT session, its vehicles in memory, its commit loop (docs/architecture.md).

What holds: memory is what is committed; a message is acknowledged, in the order of delivery, and a record receipted
only after the commit that took it; vehicles share our time by records, and what is beyond a vehicle's quotas is refused
when it comes in; the lock is looked at before every attempt to connect and once a second; presence stands while we can
commit and is withdrawn while we cannot.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.metadata
import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from collector.config import Timings
from collector.core.health import PartReport
from collector.core.tickets.calendar_need import missing_years
from collector.outgoing import one_line
from collector.site.acts import ticket_of
from collector.site.bell import Bell
from collector.site.caution import Caution, Doubtful
from collector.site.handover import Handover
from collector.site.health import (
    DROPPED_TOPIC,
    LISTEN_MS,
    CalendarHealth,
    CertificateHealth,
    ClockHealth,
    DropsHealth,
    QuarantineHealth,
    Watched,
    news,
    unattended,
)
from collector.site.heartbeat import Heartbeat
from collector.site.in_force import InForce
from collector.site.intake import AskMessage, Incoming, Refused, read, read_beat
from collector.site.memory import Memory
from collector.site.mqtt import Connection
from collector.site.quotas import Quotas, words_of
from collector.site.receipts import MAX_PAIRS, Receipts
from collector.site.setting_aside import again
from collector.site.turns import Turns, cost_of, least_weight_of, vehicle_of, weight_of
from collector.site.unit_of_work import UnitOfWork
from collector.store import queries
from collector.store.commit import SiteConnection
from collector.store.errors import LostOwnership
from collector.store.rows import Action, Changes, Quarantined, SiteReport
from collector.store.store import Store
from telemetry.backoff import Backoff
from telemetry.files import FileError
from telemetry.fleet import Broker
from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, FORMATS, PLAIN, Beat, Down, Time, Up, encode
from telemetry.mqtt import LastWill, Message, MqttConnection, MqttError
from telemetry.topics import AgentName, presence, site_filter
from telemetry.topics import beat as beat_topic

log = logging.getLogger(__name__)
T = TypeVar("T")

RECEIVE_MAXIMUM: Final = 20_000
"""Most messages that wait here unacknowledged, as systemd/ ships it; a broker's own limit may be lower. What is refused
waits here for those before it, so that fewer would let a flood wait in the broker, and its neighbours behind it."""
UNIT_BYTES: Final = 256 * 1024
UNIT_RECORDS: Final = 2_000
"""Most that one unit of work takes in, so that a backlog does not hold up what is live for long."""
FULL_UNIT: Final = 200
"""Messages that are company enough: a unit of so many waits for no more."""
QUESTION_RECORDS: Final = 50
"""For so many records a question for the time counts, which is answered before anybody's turn; few are honest."""
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
OVER_QUOTA_MS: Final = 3_600_000
"""A vehicle is shown as being over a quota for so long after the last refusal, as its ticket lasts."""
STUCK_S: Final = 30.0
"""An owner that has got no further for so long is stuck."""
FAILING_S: Final = 60.0
"""Ownerships that end by failures for so long, nothing being committed between them, are no progress either."""


@dataclass(slots=True)
class Status:
    """What is told about a site to people and machines; counts are since the process started."""

    state: Literal["waiting", "owner", "stopped"] = "waiting"
    epoch: int = 0
    connected: bool = False
    alive_s: float = field(default_factory=time.monotonic)
    """When the loop last got on, by its own clock."""
    listening_since_ms: int | None = None
    waiting_messages: int = 0
    oldest_waiting_ms: int | None = None
    committed_ms: int | None = None
    editions: dict[str, int] = field(default_factory=dict)
    """By kind: the number of the edition in force."""
    differing: tuple[str, ...] = ()
    """Kinds of which this collector's own files say otherwise."""
    begun_anew: tuple[str, ...] = ()
    """Vehicles (empty: the site) whose stored state could not be read, in this ownership."""
    damaged: tuple[str, ...] = ()
    """Other stored rows that could not be read then."""
    error: str = ""
    failing_s: float | None = None
    """Since when (monotonic) ownerships have ended by failures and nothing was committed between them."""
    counts: Counter[str] = field(default_factory=Counter)
    refusals: dict[tuple[str, str], Refusals] = field(default_factory=dict)
    """What was beyond a quota, by (vehicle, quota)."""

    def hangs(self, now_s: float) -> str:
        """Say for how long this site's owner has got no further, empty while it does; ``now_s`` is monotonic."""
        return f"no progress for {now_s - self.alive_s:.0f} s" if now_s - self.alive_s > STUCK_S else ""

    def fails(self, now_s: float) -> str:
        """Say for how long this site's ownerships have failed: its retries are no progress."""
        if self.failing_s is None or now_s - self.failing_s <= FAILING_S:
            return ""
        return f"nothing committed for {now_s - self.failing_s:.0f} s: {self.error}"


def unwell(statuses: Mapping[str, Status], now_s: float) -> dict[str, str]:
    """Return the sites whose owner hangs or fails, each with why; ``now_s`` is monotonic."""
    found = {site: status.hangs(now_s) or status.fails(now_s) for site, status in statuses.items()}
    return {site: words for site, words in found.items() if words}


def stuck(statuses: Mapping[str, Status], now_s: float) -> dict[str, str]:
    """Return the sites for whose sake this process is to be restarted, each with why; ``now_s`` is monotonic.

    A site that hangs, and one that fails where no other gets on: else a restart every other minute would keep all the
    others from judging silence.
    """
    found = unwell(statuses, now_s)
    return (
        found
        if len(found) == len(statuses)
        else {site: why for site, why in found.items() if statuses[site].hangs(now_s)}
    )


@dataclass(slots=True)
class Refusals:
    """How often something was refused since the process started, and when last (UTC ms)."""

    number: int = 0
    last_ms: int = 0


@dataclass(frozen=True, slots=True)
class Parts:
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
    handover: Handover = field(default_factory=Handover)
    """What drains have learnt comes by it."""


@dataclass(slots=True)
class _Delivery:
    """A message that the broker has brought, until it is acknowledged."""

    message: Message
    received_ms: int
    incoming: Incoming | None = None
    """What is to be taken of it."""
    vehicle: str = ""
    weight: int = 0
    """For how many records it counts."""
    beat: Beat | None = None
    done: bool = False
    """Committed, or nothing to commit."""


@dataclass(slots=True)
class _Unit:
    """A unit of work that is still open, and what it will acknowledge."""

    work: UnitOfWork
    began_ms: int
    connection: MqttConnection | None
    """Which delivered its messages."""
    opened_s: float
    """The loop's clock."""
    deliveries: list[_Delivery] = field(default_factory=list)
    wishes: list[Doubtful] = field(default_factory=list)
    """What people want that it holds: acts, and messages to be taken again."""
    records: int = 0
    bytes: int = 0
    steps: list[Callable[[UnitOfWork], None]] = field(default_factory=list)
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
        self._presence, self._beat = presence(self._site), beat_topic(self._site)
        self._broker = parts.broker
        self._connect_with = parts.connect
        self._timings = timings = parts.timings
        self._now_ms = parts.now_ms
        self._on_commit = parts.on_commit
        self._engine = parts.store.engine
        self._lock = lock
        self._worker = worker
        self._memory = memory
        self._status = status
        self._caution = caution
        self._loop = asyncio.get_running_loop()
        self._run = secrets.token_hex(8)
        self._linger_s = timings.linger_ms / 1000
        self._gather_s = min(timings.gather_ms / 1000, timings.beat)
        """A beat that is back waits for its commit like all else; waiting longer would be taken for deafness."""
        self._heartbeat = Heartbeat(
            lock.epoch, round(timings.beat * 1000), reconnect_ms=round(timings.reconnect_window * 1000)
        )
        self._receipts = Receipts(lock.epoch, round(timings.receipt * 1000))
        self._connection: MqttConnection | None = None
        self._quotas = parts.quotas
        self._turns: Turns[_Delivery] = Turns(parts.quotas)
        """What waits to be taken."""
        self._deliveries: deque[_Delivery] = deque()
        """All that this connection has brought and that is not acknowledged, in order."""
        self._refused: Counter[tuple[str, str]] = Counter()
        """Messages that came in beyond a quota and are not told yet, by (vehicle, quota)."""
        self._bell = Bell(self._loop)
        self._stopping = False
        self._checks = 0
        self._act_now = False
        self._clock_offset_ms: float | None = None
        self._to_put = parts.to_put
        self._handover = parts.handover
        self._drops = DropsHealth()
        self._drops_are_told = True
        """The broker has not refused to say what it drops."""
        self._watched = (
            Watched("broker", "", self._broker_health),
            Watched("broker_drops", "", self._drops),
            Watched("certificate", "broker", CertificateHealth("broker", self._brokers_certificate)),
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
        self._present = False
        self._up = encode(PLAIN, self._run, Up(lock.epoch, FORMATS, importlib.metadata.version("kitwatch")))
        self._down = encode(PLAIN, self._run, Down(lock.epoch))

    def tell_unattended(self, since_ms: int, words: str) -> None:
        """Let the site's tickets tell that it was nobody's, or that nothing was committed, until now."""
        self._reports += unattended(since_ms, self._now_ms(), words)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set. Raises LostOwnership, CommitFailed or whatever else ended it."""
        units = asyncio.create_task(self._units())
        broker = asyncio.create_task(self._keep_connected())
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
            for task in (units, broker, stopping):
                task.cancel()
            await asyncio.gather(units, broker, stopping, return_exceptions=True)
            await self._leave(say_so=not failed)

    @property
    def in_force(self) -> InForce:
        """What the site is judged by."""
        return self._in_force

    def look_for_actions(self) -> None:
        """Take what people want at once, rather than at the next check."""
        self._act_now = True
        self._bell.ring()

    async def _leave(self, *, say_so: bool) -> None:
        """Disconnect cleanly; the broker keeps our queue. A lost ownership has nothing to say any more."""
        connection, self._connection = self._connection, None
        self._present = False
        if connection is None:
            return
        if say_so and connection.is_open:
            with contextlib.suppress(MqttError, TimeoutError):
                async with asyncio.timeout(2):
                    await connection.deliver(self._presence, self._down, retain=True)
        await connection.close()

    # --- the broker ---------------------------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        """Connect and connect again. Raises LostOwnership: the lock is looked at before every attempt."""
        backoff = Backoff(self._timings.retry, self._timings.retry_most)
        while not self._stopping:
            await self._work(self._lock.check)
            try:
                await self._connect()
                backoff.reset()
                assert self._connection is not None
                error = await self._connection.wait_closed()
            except (MqttError, OSError, FileError) as problem:
                error = problem
            self._disconnected(error)
            await asyncio.sleep(backoff.next())

    async def _connect(self) -> None:
        connection = self._connect_with(
            self._broker,
            f"collector-{self._site}",
            on_message=self._on_message,
            clean_start=False,
            session_expiry=self._timings.session_expiry,
            will=LastWill(self._presence, self._down),
            receive_maximum=RECEIVE_MAXIMUM,
            manual_ack=True,
        )
        self._connection = connection
        self._heartbeat.disconnected()
        await connection.open()
        await self._ask_for_drops(connection)
        await connection.subscribe(site_filter(self._site), qos=1)
        await connection.subscribe(self._presence, qos=0)
        await self._appear(connection)
        self._heartbeat.connected()
        self._receipts.repeat()
        self._status.connected = True
        self._status.counts["connects"] += 1
        log.info("site %s: connected, session %s", self._site, "kept" if connection.session_present else "new")
        self._bell.ring()

    async def _ask_for_drops(self, connection: MqttConnection) -> None:
        """Ask the broker to tell what it drops. Raises MqttError where it ends the connection for that, once."""
        if self._drops_are_told:
            try:
                await connection.subscribe(DROPPED_TOPIC, qos=0)
            except MqttError:
                self._drops_are_told = False
                if not connection.is_open:
                    raise

    async def _appear(self, connection: MqttConnection) -> None:
        self._present = True
        await connection.deliver(self._presence, self._up, retain=True)

    def _disconnected(self, error: Exception) -> None:
        log.warning("site %s: broker: %s", self._site, error)
        self._status.connected = False
        self._status.error = f"broker: {error}"
        self._heartbeat.disconnected()
        self._status.listening_since_ms = None
        self._present = False
        self._turns.clear()
        self._deliveries.clear()  # the broker brings them again

    def _on_message(self, message: Message) -> None:
        now_ms = self._now_ms()
        if message.topic == DROPPED_TOPIC:
            self._drops.heard(message.payload)
            return
        if message.topic == self._presence:
            if message.payload != self._up and self._present:
                log.warning("site %s: somebody else's presence stood there", self._site)
                self._loop.call_later(0.2, self._reappear)
            return
        delivery = _Delivery(message, now_ms)
        if message.topic == self._beat:
            delivery.beat, delivery.done = read_beat(message.payload), True
        elif message.retain and self._connection is not None and self._connection.session_present:
            delivery.done = True  # our session has brought it already, when it was new
        else:
            self._line_up(delivery)
        if not delivery.done or delivery.beat is not None or message.qos:
            self._deliveries.append(delivery)
        if delivery.done:
            self._settle()
        if len(self._turns) >= FULL_UNIT or (delivery.done and len(self._deliveries) == FULL_UNIT):
            self._bell.ring()
        elif delivery.beat is not None or not delivery.done:
            self._bell.ring_in(self._linger_s)

    def _line_up(self, delivery: _Delivery) -> None:
        """Let a message wait for its vehicle's turn, unless that is beyond its quotas; to refuse must cost little."""
        message, turns = delivery.message, self._turns
        delivery.vehicle = vehicle = vehicle_of(message.topic)
        size, now_s, is_question = len(message.payload), self._loop.time(), message.topic.endswith("/ask")
        quota = turns.refusal(vehicle, least_weight_of(message.payload), size, now_s)
        if quota is None:
            delivery.weight = QUESTION_RECORDS if is_question else weight_of(message.payload)
            quota = turns.admit(vehicle, delivery.weight, size, now_s)
        if quota is not None:
            self._let_go(delivery, quota)
            return
        incoming = Incoming(message.topic, message.payload, delivery.received_ms)
        if is_question:
            self._answer(incoming)
            delivery.done = message.qos == 0
        if not delivery.done:
            delivery.incoming = incoming
            turns.put(vehicle, delivery.weight, size, delivery, is_backlog=message.topic.endswith("/backlog"))

    def _let_go(self, delivery: _Delivery, quota: str) -> None:
        """Refuse a message: nothing but its acknowledgement is left to do."""
        self._refused[delivery.vehicle, quota] += 1
        delivery.done, delivery.incoming = True, None
        if delivery.message.qos:
            delivery.message = msgspec.structs.replace(delivery.message, payload=b"")

    def _reappear(self) -> None:
        if self._present:
            self._publish(self._presence, self._up, qos=1, retain=True)

    def _answer(self, incoming: Incoming) -> None:
        """Tell the time at once: every millisecond here would be an error there."""
        try:
            message = read(incoming)
        except Refused:
            return
        if isinstance(message, AskMessage):
            answer = Time(message.body.mono_ms, incoming.received_ms, self._now_ms())
            self._publish(message.agent.down("time"), encode(PLAIN, message.run, answer), qos=0)

    def _publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> None:
        """Publish if there is a connection; what needs certainty is repeated after the next connect."""
        if self._connection is not None and self._connection.is_open:
            with contextlib.suppress(MqttError):
                self._connection.publish(topic, payload, qos=qos, retain=retain)

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
            told = checking and self._refused
            if unit is None and self._ask_health:
                self._look_at_health()
            given = self._turns or retried or actions or told or self._to_put or self._reports or self._handover
            if unit is None and (given or self._memory.unreadable or self._must_look()):
                now_ms = self._now_ms()
                unit = _Unit(self._work_at(now_ms), now_ms, self._connection, self._loop.time())
                for kind in self._to_put:
                    content = self._in_force.contents()[kind]
                    unit.take(functools.partial(UnitOfWork.put_in_force, kind=kind, content=content, anew=True))
                self._to_put = ()
                for kind, content in self._handover.take():
                    unit.take(functools.partial(UnitOfWork.put_in_force, kind=kind, content=content))
                for report in self._reports:
                    unit.take(functools.partial(UnitOfWork.report, report=report))
                self._reports = []
                for vehicle in self._memory.unreadable:
                    unit.take(functools.partial(UnitOfWork.begin_anew, vehicle=vehicle))
            if unit is not None:
                await self._take(unit, retried, actions)
                if self._is_ripe(unit):
                    await self._finish(unit)
                    unit = None
            self._speak()

    async def _wait(self, unit: _Unit | None, until: float) -> None:
        """Wait for a message and its company, or until something is due."""
        if self._stopping or self._act_now:
            return
        if self._turns and not self._bell.will_ring:
            return  # left over from a full unit: it has waited long enough
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
        if status.failing_s is not None and not self._deliveries and time.monotonic() - self._began_s > STUCK_S / 2:
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

    def _brokers_certificate(self) -> int | None:
        return None if self._connection is None else self._connection.certificate_ends_ms

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
        refused, self._refused = self._refused, Counter()
        for (vehicle, quota), number in refused.items():
            words = words_of(quota, self._quotas)
            unit.take(functools.partial(UnitOfWork.refuse, vehicle=vehicle, quota=quota, words=words, number=number))
        for row in retried:  # before the messages: one of these to blame must come to be alone
            if self._has_room(unit):
                self._take_again(unit, row)
        for action in actions:
            if self._has_room(unit):
                self._act(unit, action)
        since_s = 0.0
        while self._turns and unit.connection is self._connection and not self._is_full(unit):
            delivery = self._turns.take()
            assert delivery.incoming is not None
            unit.deliveries.append(delivery)
            unit.bytes += len(delivery.incoming.payload)
            began_s = time.thread_time()
            self._take_one(unit, delivery.incoming)
            took_s = time.thread_time() - began_s
            for shed in self._turns.charge(delivery.vehicle, delivery.weight, took_s):
                self._let_go(shed, "cpu_s")
            unit.records += cost_of(delivery.weight, took_s)
            since_s += took_s
            if since_s >= BREATH_S:
                since_s = 0.0
                await asyncio.sleep(0)

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
            or len(self._deliveries) >= FULL_UNIT
            or self._is_full(unit)
            or unit.connection is not self._connection
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
        work.tell(self._receipts)
        for delivery in unit.deliveries:
            delivery.done = True
        self._settle()
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
                self._withdraw()
            await commit
        except LostOwnership:
            raise
        except Exception as error:
            self._withdraw()
            self._caution.failed(of_it, str(error))
            raise
        if not done and self._connection is not None and self._connection.is_open:
            self._heartbeat.connected()
            await self._appear(self._connection)
        self._caution.worked()
        self._status.failing_s = None
        self.tell_unattended(began_ms, "a commit took so long")
        self._on_commit(changes)

    def _withdraw(self) -> None:
        """We cannot commit: agents keep their records, and silence proves nothing."""
        self._present = False
        self._heartbeat.disconnected()
        self._publish(self._presence, self._down, qos=1, retain=True)

    def _settle(self) -> None:
        """Acknowledge what is dealt with in the order of delivery. A beat proves that all before it is."""
        now_ms = self._now_ms()
        with contextlib.suppress(MqttError):
            while self._deliveries and self._deliveries[0].done:
                delivery = self._deliveries.popleft()
                if delivery.beat is not None:
                    self._heartbeat.heard(delivery.beat, now_ms)
                    self._status.listening_since_ms = self._heartbeat.listening(now_ms).since_ms
                if delivery.message.qos and self._connection is not None:
                    self._connection.ack(delivery.message)

    def _speak(self) -> None:
        """Send what is due: receipts, and the beat behind them."""
        if not self._present or self._connection is None or not self._connection.is_open:
            return
        now_ms = self._now_ms()
        for agent in self._receipts.due(now_ms):
            topic = agent.down("receipt")
            self._publish(topic, self._receipt(agent, now_ms, self._connection.limits.room(topic)), qos=0, retain=True)
            self._status.counts["receipts"] += 1
        beat = self._heartbeat.beat(now_ms)
        if beat is not None:
            self._publish(self._beat, encode(PLAIN, self._run, beat), qos=1)

    def _receipt(self, agent: AgentName, now_ms: int, room: int | None) -> bytes:
        """Return an agent's receipt, as much of it as the broker takes in one message."""
        committed = functools.partial(self._committed, agent.vehicle, agent.agent)
        most = MAX_PAIRS
        while True:
            run, receipt = self._receipts.make(agent, committed, now_ms, most)
            payload = encode(DEFLATED, run, receipt)
            if room is None or len(payload) <= room or most == 1:
                return payload
            most //= 2

    def _committed(self, vehicle: str, agent: str, run: str) -> tuple[Intervals, Intervals]:
        known = self._memory.runs.get((vehicle, agent, run))
        return (known.row.seen, known.not_waited_for()) if known else (Intervals(), Intervals())

    def _note(self, work: UnitOfWork, changes: Changes | None, now_ms: int) -> None:
        status = self._status
        status.counts.update(work.counts)
        status.counts["records"] += work.taken
        status.counts["commits"] += changes is not None
        status.counts["batches"] += changes is not None and changes.batch is not None
        if changes is not None:
            status.committed_ms = now_ms
        status.listening_since_ms = self._heartbeat.listening(self._now_ms()).since_ms
        status.waiting_messages = len(self._deliveries)
        status.oldest_waiting_ms = self._oldest_waiting_ms()
        self._refused.update(work.withheld)
        for of, number in work.refused.items():
            refusals = status.refusals.setdefault(of, Refusals())
            refusals.number += number
            refusals.last_ms = now_ms
        for error in work.faults:
            log.error("site %s: our own judging raised", self._site, exc_info=error)

    def _oldest_waiting_ms(self) -> int | None:
        """Return since when something waits for its commit, whatever ownership it came to first; ``None``: nothing."""
        times = [self._oldest_ms()]
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
            waiting_messages=len(self._deliveries),
            oldest_waiting_ms=self._oldest_waiting_ms(),
            error=status.error,
            editions=dict(status.editions),
            differing=status.differing,
            over_quota=self._over_quota(),
            begun_anew=status.begun_anew,
            damaged=status.damaged,
        )

    def _oldest_ms(self) -> int | None:
        """Return when the oldest message came in that is not acknowledged."""
        return self._deliveries[0].received_ms if self._deliveries else None

    def _over_quota(self) -> dict[str, list[str]]:
        """Return which quotas each vehicle was beyond of late."""
        since_ms = self._now_ms() - OVER_QUOTA_MS
        found: dict[str, list[str]] = {}
        for (vehicle, quota), refusals in self._status.refusals.items():
            if refusals.last_ms > since_ms:
                found.setdefault(vehicle, []).append(quota)
        return found

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
