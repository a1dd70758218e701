"""A site's MQTT session: what the broker has brought and is not acknowledged, and what is said to it.

What holds: a message is acknowledged in the order of delivery, and only when it is done; what is beyond a vehicle's
quotas is refused when it comes in; presence stands while we can commit and is withdrawn while we cannot.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from collector.config import Timings
from collector.site.bell import Bell
from collector.site.health import DROPPED_TOPIC, DropsHealth
from collector.site.heartbeat import Heartbeat
from collector.site.intake import AskMessage, Incoming, Refused, read, read_beat
from collector.site.quotas import Quotas
from collector.site.receipts import MAX_PAIRS, Receipts
from collector.site.status import Status
from collector.site.turns import Turns, least_weight_of, vehicle_of, weight_of
from telemetry import VERSION
from telemetry.backoff import Backoff
from telemetry.files import FileError
from telemetry.fleet import Broker
from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, FORMATS, PLAIN, Beat, Down, Time, Up, encode
from telemetry.mqtt import LastWill, Message, MqttConnection, MqttError
from telemetry.topics import AgentName, presence, site_filter
from telemetry.topics import beat as beat_topic

log = logging.getLogger(__name__)

RECEIVE_MAXIMUM: Final = 20_000
"""Most messages that wait here unacknowledged, as systemd/ ships it; a broker's own limit may be lower. What is refused
waits here for those before it, so that fewer would let a flood wait in the broker, and its neighbours behind it."""
FULL_UNIT: Final = 200
"""Messages that are company enough: a unit of so many waits for no more."""
QUESTION_RECORDS: Final = 50
"""For so many records a question for the time counts, which is answered before anybody's turn; few are honest."""


class Delivery(msgspec.Struct, gc=False):
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


class Session:
    """The connection of one ownership to the broker, made again whenever it is lost."""

    def __init__(
        self,
        site_id: str,
        broker: Broker,
        connect: Callable[..., MqttConnection],
        timings: Timings,
        quotas: Quotas,
        now_ms: Callable[[], int],
        bell: Bell,
        status: Status,
        epoch: int,
        committed: Callable[[str, str, str], tuple[Intervals, Intervals]],
    ) -> None:
        """``committed`` says of a (vehicle, agent, run) what is in the log, and what is no longer waited for."""
        self._site = site_id
        self._presence, self._beat = presence(site_id), beat_topic(site_id)
        self._broker = broker
        self._connect_with = connect
        self._timings = timings
        self._now_ms = now_ms
        self._bell = bell
        self._status = status
        self._committed = committed
        self._loop = asyncio.get_running_loop()
        self._run = secrets.token_hex(8)
        self.heartbeat = Heartbeat(
            epoch, round(timings.beat * 1000), reconnect_ms=round(timings.reconnect_window * 1000)
        )
        self.receipts = Receipts(epoch, round(timings.receipt * 1000))
        self.connection: MqttConnection | None = None
        self.turns: Turns[Delivery] = Turns(quotas)
        """What waits to be taken."""
        self._deliveries: deque[Delivery] = deque()
        """All that this connection has brought and that is not acknowledged, in order."""
        self.refused: Counter[tuple[str, str]] = Counter()
        """Messages that came in beyond a quota and are not told yet, by (vehicle, quota)."""
        self.drops = DropsHealth()
        self._drops_are_told = True
        """The broker has not refused to say what it drops."""
        self._present = False
        self._up = encode(PLAIN, self._run, Up(epoch, FORMATS, VERSION))
        self._down = encode(PLAIN, self._run, Down(epoch))

    @property
    def waiting(self) -> int:
        """How many messages are not acknowledged."""
        return len(self._deliveries)

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest message came in that is not acknowledged (our clock)."""
        return self._deliveries[0].received_ms if self._deliveries else None

    @property
    def certificate_ends_ms(self) -> int | None:
        """When the broker's certificate ends (UTC ms); ``None`` without one."""
        return None if self.connection is None else self.connection.certificate_ends_ms

    # --- connecting ---------------------------------------------------------------------------------------------------

    async def leave(self, *, say_so: bool) -> None:
        """Disconnect cleanly; the broker keeps our queue. A lost ownership has nothing to say any more."""
        connection, self.connection = self.connection, None
        self._present = False
        if connection is None:
            return
        if say_so and connection.is_open:
            with contextlib.suppress(MqttError, TimeoutError):
                async with asyncio.timeout(2):
                    await connection.deliver(self._presence, self._down, retain=True)
        await connection.close()

    async def keep_connected(self, check: Callable[[], Awaitable[object]]) -> None:
        """Connect and connect again for ever; what ``check`` raises before an attempt ends it."""
        backoff = Backoff(self._timings.retry, self._timings.retry_most)
        while True:
            await check()
            try:
                await self._connect()
                backoff.reset()
                assert self.connection is not None
                error = await self.connection.wait_closed()
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
            coalesce=self._timings.linger_ms / 1000,
        )
        self.connection = connection
        self.heartbeat.disconnected()
        await connection.open()
        await self._ask_for_drops(connection)
        await connection.subscribe(site_filter(self._site), qos=1)
        await connection.subscribe(self._presence, qos=0)
        await self._appear(connection)
        self.heartbeat.connected()
        self.receipts.repeat()
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
        self.heartbeat.disconnected()
        self._status.listening_since_ms = None
        self._present = False
        self.turns.clear()
        self._deliveries.clear()  # the broker brings them again

    # --- what comes in ------------------------------------------------------------------------------------------------

    def _on_message(self, message: Message) -> None:
        now_ms = self._now_ms()
        if message.topic == DROPPED_TOPIC:
            self.drops.heard(message.payload)
            return
        if message.topic == self._presence:
            if message.payload != self._up and self._present:
                log.warning("site %s: somebody else's presence stood there", self._site)
                self._loop.call_later(0.2, self._reappear)
            return
        delivery = Delivery(message, now_ms)
        if message.topic == self._beat:
            delivery.beat, delivery.done = read_beat(message.payload), True
        elif message.retain and self.connection is not None and self.connection.session_present:
            delivery.done = True  # our session has brought it already, when it was new
        else:
            self._line_up(delivery)
        if not delivery.done or delivery.beat is not None or message.qos:
            self._deliveries.append(delivery)
        if delivery.done:
            self.settle()
        if delivery.beat is not None or not delivery.done or len(self._deliveries) == FULL_UNIT:
            self._bell.ring()

    def _line_up(self, delivery: Delivery) -> None:
        """Let a message wait for its vehicle's turn, unless that is beyond its quotas; to refuse must cost little."""
        message, turns = delivery.message, self.turns
        delivery.vehicle = vehicle = vehicle_of(message.topic)
        size, now_s, is_question = len(message.payload), self._loop.time(), message.topic.endswith("/ask")
        least = least_weight_of(message.payload)
        quota = turns.refusal(vehicle, least, size, now_s)
        if quota is None:
            delivery.weight = QUESTION_RECORDS if is_question else weight_of(message.payload)
            quota = turns.admit(vehicle, delivery.weight, size, now_s, least)
        if quota is not None:
            self.let_go(delivery, quota)
            return
        incoming = Incoming(message.topic, message.payload, delivery.received_ms)
        if is_question:
            self._answer(incoming)
            delivery.done = message.qos == 0
        if not delivery.done:
            delivery.incoming = incoming
            turns.put(vehicle, delivery.weight, size, delivery, is_backlog=message.topic.endswith("/backlog"))

    def let_go(self, delivery: Delivery, quota: str) -> None:
        """Refuse a message: nothing but its acknowledgement is left to do."""
        self.refused[delivery.vehicle, quota] += 1
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
        if self.connection is not None and self.connection.is_open:
            with contextlib.suppress(MqttError):
                self.connection.publish(topic, payload, qos=qos, retain=retain)

    # --- what is said -------------------------------------------------------------------------------------------------

    def withdraw(self) -> None:
        """We cannot commit: agents keep their records, and silence proves nothing."""
        self._present = False
        self.heartbeat.disconnected()
        self._publish(self._presence, self._down, qos=1, retain=True)

    async def resume(self) -> None:
        """Appear again: we can commit, and listen from the next beat on."""
        if self.connection is not None and self.connection.is_open:
            self.heartbeat.connected()
            await self._appear(self.connection)

    def settle(self) -> None:
        """Acknowledge what is dealt with in the order of delivery. A beat proves that all before it is."""
        now_ms = self._now_ms()
        with contextlib.suppress(MqttError):
            while self._deliveries and self._deliveries[0].done:
                delivery = self._deliveries.popleft()
                if delivery.beat is not None:
                    self.heartbeat.heard(delivery.beat, now_ms)
                    self._status.listening_since_ms = self.heartbeat.listening(now_ms).since_ms
                if delivery.message.qos and self.connection is not None:
                    self.connection.ack(delivery.message)

    def speak(self) -> None:
        """Send what is due: receipts, and the beat behind them."""
        if not self._present or self.connection is None or not self.connection.is_open:
            return
        now_ms = self._now_ms()
        for agent in self.receipts.due(now_ms):
            topic = agent.down("receipt")
            self._publish(topic, self._receipt(agent, now_ms, self.connection.limits.room(topic)), qos=0, retain=True)
            self._status.counts["receipts"] += 1
        beat = self.heartbeat.beat(now_ms)
        if beat is not None:
            self._publish(self._beat, encode(PLAIN, self._run, beat), qos=1)

    def _receipt(self, agent: AgentName, now_ms: int, room: int | None) -> bytes:
        """Return an agent's receipt, as much of it as the broker takes in one message."""
        committed = functools.partial(self._committed, agent.vehicle, agent.agent)
        most = MAX_PAIRS
        while True:
            run, receipt = self.receipts.make(agent, committed, now_ms, most)
            payload = encode(DEFLATED, run, receipt)
            if room is None or len(payload) <= room or most == 1:
                return payload
            most //= 2
