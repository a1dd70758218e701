"""One epoch of a site: its MQTT session, its vehicles in memory, its commit loop (docs/architecture.md).

What holds: memory is what is committed; a message is acknowledged, in the order of delivery, and a record receipted
only after the commit that took it; the lock is looked at before every attempt to connect and once a second; presence
stands while we can commit and is withdrawn while we cannot.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import importlib.metadata
import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from collector.config import Timings
from collector.site.heartbeat import Ear
from collector.site.intake import AskMessage, Incoming, Refused, read, read_beat
from collector.site.mqtt import Connection
from collector.site.receipts import Receipts
from collector.site.unit_of_work import Judge, Memory, Turn
from collector.store import queries
from collector.store.commit import SiteConnection
from collector.store.errors import CommitFailed, LostOwnership
from collector.store.rows import Action, Changes, Quarantined
from collector.store.store import Store
from telemetry.backoff import Backoff
from telemetry.fleet import Broker
from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, FORMATS, PLAIN, Down, Time, Up, encode
from telemetry.mqtt import Connection as PahoConnection
from telemetry.mqtt import LastWill, Message, MqttError
from telemetry.topics import beat as beat_topic
from telemetry.topics import presence, site_filter

log = logging.getLogger(__name__)
T = TypeVar("T")

RECEIVE_MAXIMUM: Final = 5_000
"""Most messages that wait here unacknowledged; a broker's own limit may be lower (systemd/ ships 2,000)."""
TURN_MESSAGES: Final = 1_000
TURN_BYTES: Final = 256 * 1024
"""Most that one turn takes in, so that a backlog does not hold up what is live for long."""
FULL_TURN: Final = 200
"""Messages that are company enough: a turn of so many waits for no more."""
BREATH: Final = 10
"""After so many messages of a turn others have their turn in the loop: time answers, pages."""
TICK_S: Final = 1.0
RETRY_TICKS: Final = 5
"""In how many ticks quarantine is looked through for what is to be taken again."""
SLOW_COMMIT_S: Final = 10.0
"""A commit that takes longer means that we cannot commit: agents are told to keep their records."""
BLAMED_AFTER: Final = 3
"""A message that alone made the commit fail so often is set aside unread."""


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
    error: str = ""
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Caution:
    """How many messages one turn may hold. After a failed commit fewer and fewer, until the one to blame is alone."""

    limit: int = TURN_MESSAGES
    blamed: Counter[bytes] = field(default_factory=Counter)

    def failed(self, messages: list[Incoming]) -> None:
        """Note a turn whose commit failed."""
        if len(messages) == 1:
            self.blamed[_digest(messages[0])] += 1
        self.limit = max(1, min(self.limit, len(messages)) // 2)

    def worked(self) -> None:
        """Note a turn whose commit worked."""
        self.limit = min(TURN_MESSAGES, self.limit * 2)

    def refuses(self, message: Incoming) -> bool:
        """Say whether a message is to be set aside unread."""
        return bool(self.blamed) and self.blamed[_digest(message)] >= BLAMED_AFTER


def _digest(message: Incoming) -> bytes:
    return hashlib.blake2b(message.topic.encode() + b"\0" + message.payload, digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Parts:
    """What every ownership of a site is made of. ``on_commit`` is called after each commit, in the loop."""

    judge: Judge
    broker: Broker
    store: Store
    timings: Timings
    now_ms: Callable[[], int]
    on_commit: Callable[[Changes], None]
    connect: Callable[..., Connection | PahoConnection] = Connection
    """Makes the connection to the broker."""


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
        self._judge = parts.judge
        self._site = parts.judge.site_id
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
        self._ear = Ear(lock.epoch, round(timings.beat * 1000), reconnect_ms=round(timings.reconnect_window * 1000))
        self._receipts = Receipts(lock.epoch, round(timings.receipt * 1000))
        self._connection: Connection | PahoConnection | None = None
        self._pending: deque[tuple[Message, Incoming]] = deque()
        self._arrived = asyncio.Event()
        self._stopping = False
        self._ticks = 0
        self._act_now = False
        self._present = False
        self._up = encode(PLAIN, self._run, Up(lock.epoch, FORMATS, importlib.metadata.version("kitwatch")))
        self._down = encode(PLAIN, self._run, Down(lock.epoch))

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set. Raises LostOwnership, CommitFailed or whatever else ended it."""
        turns = asyncio.create_task(self._turns())
        broker = asyncio.create_task(self._keep_connected())
        stopping = asyncio.create_task(stop.wait())
        failed = False
        try:
            await asyncio.wait({turns, broker, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self._stopping = True
            self._arrived.set()
            if broker.done():
                broker.result()
            await turns  # the turn under way is finished: committed, acknowledged, receipted
        except LostOwnership:
            failed = True
            raise
        finally:
            for task in (turns, broker, stopping):
                task.cancel()
            await asyncio.gather(turns, broker, stopping, return_exceptions=True)
            await self._leave(say_so=not failed)

    def look_for_actions(self) -> None:
        """Take what people want at once, rather than at the next tick."""
        self._act_now = True
        self._arrived.set()

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
            except (MqttError, OSError) as problem:
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
        self._ear.disconnected()
        await connection.open()
        await connection.subscribe(site_filter(self._site), qos=1)
        await connection.subscribe(self._presence, qos=0)
        await self._appear(connection)
        self._ear.connected()
        self._receipts.repeat()
        self._status.connected = True
        self._status.counts["connects"] += 1
        log.info("site %s: connected, session %s", self._site, "kept" if connection.session_present else "new")
        self._arrived.set()

    async def _appear(self, connection: Connection | PahoConnection) -> None:
        self._present = True
        await connection.deliver(self._presence, self._up, retain=True)

    def _disconnected(self, error: Exception) -> None:
        log.warning("site %s: broker: %s", self._site, error)
        self._status.connected = False
        self._status.error = f"broker: {error}"
        self._ear.disconnected()
        self._present = False
        self._pending.clear()  # the broker brings them again

    def _on_message(self, message: Message) -> None:
        now_ms = self._now_ms()
        if message.topic == self._presence:
            if message.payload != self._up and self._present:
                log.warning("site %s: somebody else's presence stood there", self._site)
                self._loop.call_later(0.2, self._reappear)
            return
        incoming = Incoming(message.topic, message.payload, now_ms)
        if message.topic.endswith("/ask"):
            self._answer(incoming)
            if message.qos == 0:
                return
        self._pending.append((message, incoming))
        self._arrived.set()

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

    # --- turns --------------------------------------------------------------------------------------------------------

    async def _turns(self) -> None:
        """Take turns until told to stop. Raises LostOwnership or CommitFailed."""
        next_tick = self._loop.time()
        while not self._stopping:
            self._status.alive_s = time.monotonic()
            await self._wait(next_tick)
            ticking = self._loop.time() >= next_tick
            if ticking:
                next_tick = self._loop.time() + TICK_S
                await self._work(self._lock.check)
            await self._turn(ticking)
            self._speak()

    async def _wait(self, until: float) -> None:
        """Wait for a message and its company, or for the time of the next tick."""
        if not self._pending and not self._stopping and not self._act_now:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), max(0.0, until - self._loop.time()))
        if 0 < len(self._pending) < FULL_TURN and self._timings.linger_ms:
            await asyncio.sleep(self._timings.linger_ms / 1000)

    async def _turn(self, ticking: bool) -> None:
        """Take in what has arrived: judge, commit, and only then remember, acknowledge and receipt."""
        again = await self._asked_again() if ticking else []
        actions = await self._wanted() if ticking or self._act_now else []
        now_ms = self._now_ms()
        connection = self._connection
        messages = self._next_messages()
        turn = Turn(self._memory, self._judge, self._ear.listening(now_ms), now_ms)
        beats = []
        for number, (message, incoming) in enumerate(messages):
            if message.topic == self._beat:
                beats.append(read_beat(message.payload))
            elif message.retain and connection is not None and connection.session_present:
                continue  # our session has brought it already, when it was new
            elif self._caution.refuses(incoming):
                turn.set_aside(incoming, _unreadable(incoming), "poison")
            else:
                turn.take(incoming)
            if number % BREATH == BREATH - 1:
                await asyncio.sleep(0)
        for row in again:
            turn.take_again(row)
        for action in actions:
            turn.act(action)
        if ticking:
            turn.tick()
        changes = turn.changes()
        if changes is not None:
            await self._commit(changes, [incoming for _, incoming in messages])
        turn.keep()
        turn.tell(self._receipts)
        self._acknowledge(connection, [message for message, _ in messages])
        for beat in beats:
            if beat is not None:
                self._ear.heard(beat, now_ms)
        self._note(turn, changes, now_ms)

    async def _asked_again(self) -> list[Quarantined]:
        """Return what somebody wants to be taken again (``kitwatch deadletters retry``); asked every few seconds."""
        self._ticks += 1
        if self._ticks % RETRY_TICKS:
            return []
        ask = functools.partial(queries.list_quarantine, self._engine, site=self._site, state="retry", limit=20)
        try:
            return await self._work(ask)
        except SQLAlchemyError as error:
            log.warning("site %s: quarantine: %s", self._site, error)
            return []

    async def _wanted(self) -> list[Action]:
        """Return what people want of the site's vehicles, through whichever collector they said it."""
        self._act_now = False
        try:
            return await self._work(functools.partial(queries.waiting_actions, self._engine, self._site))
        except SQLAlchemyError as error:
            log.warning("site %s: actions: %s", self._site, error)
            return []

    def _next_messages(self) -> list[tuple[Message, Incoming]]:
        taken: list[tuple[Message, Incoming]] = []
        size = 0
        while self._pending and len(taken) < self._caution.limit and size < TURN_BYTES:
            taken.append(self._pending.popleft())
            size += len(taken[-1][1].payload)
        return taken

    async def _commit(self, changes: Changes, messages: list[Incoming]) -> None:
        commit = asyncio.ensure_future(self._work(functools.partial(self._lock.commit, changes)))
        try:
            done, _ = await asyncio.wait({commit}, timeout=SLOW_COMMIT_S)
            if not done:
                self._withdraw()
            await commit
        except CommitFailed:
            self._withdraw()
            self._caution.failed(messages)
            raise
        if not done and self._connection is not None and self._connection.is_open:
            self._ear.connected()
            await self._appear(self._connection)
        self._caution.worked()
        self._on_commit(changes)

    def _withdraw(self) -> None:
        """We cannot commit: agents keep their records, and silence proves nothing."""
        self._present = False
        self._ear.disconnected()
        self._publish(self._presence, self._down, qos=1, retain=True)

    def _acknowledge(self, connection: Connection | PahoConnection | None, messages: list[Message]) -> None:
        """Acknowledge in the order of delivery, on the connection that delivered them."""
        if connection is None or connection is not self._connection:
            return
        with contextlib.suppress(MqttError):
            for message in messages:
                if message.qos:
                    connection.ack(message)

    def _speak(self) -> None:
        """Send what is due: receipts, and the beat behind them."""
        if not self._present or self._connection is None or not self._connection.is_open:
            return
        now_ms = self._now_ms()
        for agent in self._receipts.due(now_ms):
            run, receipt = self._receipts.make(
                agent, functools.partial(self._committed, agent.vehicle, agent.agent), now_ms
            )
            self._publish(agent.down("receipt"), encode(DEFLATED, run, receipt), qos=0, retain=True)
            self._status.counts["receipts"] += 1
        beat = self._ear.beat(now_ms)
        if beat is not None:
            self._publish(self._beat, encode(PLAIN, self._run, beat), qos=1)

    def _committed(self, vehicle: str, agent: str, run: str) -> tuple[Intervals, Intervals]:
        known = self._memory.runs.get((vehicle, agent, run))
        return (known.row.seen, known.row.lost) if known else (Intervals(), Intervals())

    def _note(self, turn: Turn, changes: Changes | None, now_ms: int) -> None:
        status = self._status
        status.counts.update(turn.counts)
        status.counts["records"] += turn.taken
        status.counts["commits"] += changes is not None
        status.counts["batches"] += changes is not None and changes.batch is not None
        if changes is not None:
            status.committed_ms = now_ms
        status.listening_since_ms = self._ear.listening(now_ms).since_ms
        status.waiting_messages = len(self._pending)
        status.oldest_waiting_ms = self._pending[0][1].received_ms if self._pending else None
        for error in turn.faults:
            log.error("site %s: our own judging raised", self._site, exc_info=error)

    async def _work(self, call: Callable[[], T]) -> T:
        """Run something that blocks in the one worker thread."""
        return await self._loop.run_in_executor(self._worker, call)


def _unreadable(incoming: Incoming) -> Refused:
    """Return the name of a message that must not be taken: its commit failed again and again."""
    words = "the commit of this message alone failed again and again"
    try:
        message = read(incoming)
    except Refused as refused:
        return refused
    return Refused(words, message.agent, getattr(message, "header", None))
