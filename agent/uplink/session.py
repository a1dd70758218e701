"""One connection to the broker: it does what its ``Conversation`` says, and tells it what arrives.

Everything with records is sent by one task (``_send_all``), in the order in which the conversation gives it.
``Uplink`` makes the next session.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from agent.clock import ClockKeeper
from agent.config import AgentConfig
from agent.outbox.recorder import Recorder
from agent.uplink.actions import Action, Publish, Release, SendRecords, SendSchemas
from agent.uplink.centre_time import CentreTime
from agent.uplink.conversation import Centre, Conversation, Speaker, Timing
from agent.uplink.resend import Resend
from telemetry import VERSION, topics
from telemetry.message import PLAIN, Ask, Goodbye, MessageError, Presence, Receipt, Time, Up, Will, decode, encode
from telemetry.mqtt import LastWill, Message, reason_words
from telemetry.paho_mqtt import Connection
from telemetry.records import Clock, Record
from telemetry.refusals import NOT_AUTHORIZED, not_allowed

log = logging.getLogger(__name__)


class Session:
    """See the module. Create it, ``await run(stop)``.

    ``number`` counts the connections of this run; ``boots`` are those of the earlier runs that were held at the start;
    ``will_qos`` is the QoS of our will.
    """

    def __init__(
        self,
        number: int,
        config: AgentConfig,
        *,
        recorder: Recorder,
        sending: Resend,
        keeper: ClockKeeper,
        centre: Centre,
        machine: str,
        boots: Mapping[str, str],
        now_ms: Callable[[], int],
        on_clock: Callable[[Clock], None],
        will_qos: int = 1,
    ) -> None:
        self.number = number
        self.opened_ms: int | None = None
        """When the broker accepted the connection, monotonic; ``None``: it has not."""
        self.heeds_stop = False
        """Whether ``run`` watches ``stop`` by itself: not before the broker has answered all that begins a session."""
        self._broker = config.broker
        self._waits = config.waits
        self._name = config.name
        self._collector_there: bool | None = None
        """What its presence said last; ``None``: nothing yet."""
        self._refused: set[str] = set()
        """Kinds of messages of which the broker has refused one over this connection."""
        self._untaken: set[str] = set()
        """Topics of which a message could not be taken over this connection."""
        self._recorder = recorder
        self._centre = centre
        self._now_ms = now_ms
        self._conversation = Conversation(
            _speaker(number, config, recorder, machine, boots),
            _timing(config),
            sending=sending,
            keeper=keeper,
            centre=centre,
        )
        self._wake = asyncio.Event()
        self._told_too_large = False
        self._time = CentreTime(
            keeper,
            config.waits,
            now_ms=now_ms,
            usable=lambda: self.usable,
            ask=self._ask_time,
            on_clock=on_clock,
        )
        self.connection = Connection(
            config.broker,
            f"agent-{self._name.site}-{self._name.vehicle}-{self._name.agent}",
            on_message=self._on_message,
            will=LastWill(self._name.up("state"), self._encode(Will(number)), will_qos),
            timeout=self._waits.connect,
            unanswered=self._waits.unanswered,
        )

    # --- life ---------------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> Exception | None:
        """Connect and speak until the connection ends, whose reason is returned, or ``stop`` is set (``None``).

        Cancelled before ``heeds_stop``, it leaves as far as it has come.
        Raises OSError or FileError when the connection does not come about.
        """
        connection = self.connection
        await connection.open()
        self.opened_ms = self._now_ms()
        try:
            await connection.subscribe(
                topics.presence(self._name.site), self._name.down("receipt"), self._name.down("time")
            )
            how = "over TLS" if self._broker.tls is not None else "without TLS"
            log.info("connected to %s:%d %s as %s", self._broker.host, self._broker.port, how, self._name)
            self._conversation.begin(self._now_ms(), connection.limits.room(self._name.up("backlog")))
            self.heeds_stop = True
            await self._serve(stop)
        except Exception as error:
            connection.abort(error)
        finally:
            for release in self._conversation.end():
                await self._recorder.release(release.run, release.numbers)
            if connection.ended is None:
                await self._leave()
        return connection.ended if not stop.is_set() else None

    async def _serve(self, stop: asyncio.Event) -> None:
        """Run the tasks of the session until one of them, the connection or the agent ends."""
        tasks = [
            asyncio.create_task(self._send_all()),
            asyncio.create_task(self._time.run()),
            asyncio.create_task(self.connection.wait_closed()),
            asyncio.create_task(stop.wait()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                while (action := self._conversation.last()) is not None:
                    await self._do(action)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _leave(self) -> None:
        """Say goodbye, as far as that can be said quickly."""
        try:
            async with asyncio.timeout(self._waits.goodbye):
                await self.connection.deliver(
                    self._name.up("state"), self._encode(Goodbye(self.number, "stop")), retain=True
                )
        except (OSError, TimeoutError) as error:
            log.info("the goodbye did not get through: %s", error)
        await self.connection.close()

    # --- what comes in ------------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether the collector is there and has been given our birth."""
        return self.connection.is_open and self._conversation.usable

    def _on_message(self, message: Message) -> None:
        try:
            if message.topic == topics.presence(self._name.site):
                self._on_presence(decode(message.payload, Presence)[1] if message.payload else None)
            elif message.topic == self._name.down("receipt"):
                if self._conversation.on_receipt(decode(message.payload, Receipt)[1], self._now_ms()):
                    log.error("a receipt names records that were never sent: somebody else speaks as %s", self._name)
            elif message.topic == self._name.down("time"):
                self._on_time(message.payload)
        except Exception as error:  # the one boundary: whatever it makes us raise, a message costs itself only
            self._cannot_take(message, error)
        self._wake.set()

    def _cannot_take(self, message: Message, error: Exception) -> None:
        """Leave a message aside: it may be retained, and then it comes with each connection. Told once a topic."""
        self._centre.undecodable += 1
        if message.topic in self._untaken:
            return
        self._untaken.add(message.topic)
        digest = hashlib.blake2b(message.payload, digest_size=16).hexdigest()
        words = str(error) if isinstance(error, MessageError) else f"{type(error).__name__}: {error}"
        log.warning("%s: cannot be taken: %r, digest %s", message.topic, words[:300], digest)

    def _on_presence(self, said: Presence | None) -> None:
        there = isinstance(said, Up)
        if there != self._collector_there:
            self._collector_there = there
            words = "takes records" if there else "is away: records are kept"
            log.info("the collector of site %s %s", self._name.site, words)
        self._conversation.on_presence(said, self._now_ms())

    def _on_time(self, payload: bytes) -> None:
        said: Time
        header, said = decode(payload, Time)
        if header.run == self._recorder.run:
            self._time.answer(said)

    def recorded(self, records: Sequence[Record]) -> None:
        """Take records that are durable now and kept by ``sending``."""
        self._conversation.recorded(records, self._now_ms())
        self._wake.set()

    def wake(self) -> None:
        """Look again at what can be sent: a clock was noted."""
        self._wake.set()

    # --- what goes out ------------------------------------------------------------------------------------------------

    async def _send_all(self) -> None:
        """Do what the conversation says, whenever something has happened or it is time."""
        conversation = self._conversation
        while True:
            while (action := conversation.next(self._now_ms())) is not None:
                if not await self._do(action):
                    break
            try:
                async with asyncio.timeout(conversation.next_look_ms(self._now_ms()) / 1000):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def _do(self, action: Action) -> bool:
        """Do one thing; return ``False`` if it is to be tried again later. Raises MqttError at the connection's end."""
        match action:
            case Release(run, numbers):
                await self._recorder.release(run, numbers)
            case Publish():
                self._publish(action)
                self._time.look()
            case SendSchemas(run):
                schemas, clocks = await self._recorder.schemas_of(run), await self._recorder.clocks_of(run)
                for message in self._conversation.schema_messages(action, schemas, clocks):
                    self._publish(message)
            case SendRecords(run=run):
                try:
                    records = action.records or await self._recorder.read(run, action.numbers)
                except OSError as error:
                    log.warning("the outbox cannot be read now: %s", error)
                    return False
                schemas, clocks = await self._recorder.schemas_of(run), await self._recorder.clocks_of(run)
                for message in self._conversation.record_messages(action, records, schemas, clocks, self._now_ms()):
                    self._publish(message)
                self._tell_too_large()
        return True

    def _tell_too_large(self) -> None:
        """Say once what the broker does not take, however it is cut."""
        size = self._conversation.too_large
        if size and not self._told_too_large:
            self._told_too_large = True
            log.error(
                "records stay in the outbox: a message needs %d bytes, the broker takes %d (Maximum Packet Size)",
                size,
                self._conversation.room,
            )

    def _publish(self, message: Publish) -> None:
        done = partial(self._on_acknowledged, message)
        self.connection.publish(
            self._name.up(message.kind), message.payload, retain=message.retain, expiry=message.expiry_s, done=done
        )

    def _on_acknowledged(self, message: Publish, code: int) -> None:
        if code >= 128 and message.kind not in self._refused:
            self._refused.add(message.kind)
            self._tell_refusal(self._name.up(message.kind), code)
        if message.lane is not None:
            self._conversation.acknowledged(message, code)
        if message.lane == "backlog" or self._conversation.releasing:
            self._wake.set()

    def _tell_refusal(self, topic: str, code: int) -> None:
        if code == NOT_AUTHORIZED:
            names = (self._name.vehicle, f"{self._name.vehicle}.{self._name.agent}")
            log.warning("%s", not_allowed(topic, self._broker, names))
        else:
            log.warning("the broker refuses %s: %s", topic, reason_words("PUBACK", code))

    def _encode(self, body: object) -> bytes:
        """Return one of the short messages: nobody may be there yet to say which formats it takes."""
        return encode(PLAIN, self._recorder.run, body)

    def _ask_time(self, mono_ms: int) -> None:
        self.connection.publish(self._name.up("ask"), self._encode(Ask(mono_ms)), qos=0)


def _speaker(number: int, config: AgentConfig, recorder: Recorder, machine: str, boots: Mapping[str, str]) -> Speaker:
    intervals = [settings.interval for device in config.devices.values() for _, settings in device.configured()]
    return Speaker(
        run=recorder.run,
        session=number,
        boot=recorder.boot,
        machine=machine,
        version=VERSION,
        interval_s=max(config.send_interval, min([*intervals, config.waits.own_figures])),
        devices={name: device.kind for name, device in config.devices.items()},
        boots=boots,
        clocks=recorder.clocks,
    )


def _timing(config: AgentConfig) -> Timing:
    waits = config.waits
    return Timing(
        presence_ms=round(waits.presence * 1000),
        birth_repeat_ms=round(waits.birth_repeat * 1000),
        schema_repeat_ms=round(waits.schema_repeat * 1000),
        clock_patience_ms=round(waits.clock_patience * 1000),
        send_interval_ms=round(config.send_interval * 1000),
        live_expiry_s=waits.live_expiry,
    )
