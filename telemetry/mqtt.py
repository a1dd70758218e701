"""A connection to an MQTT v5 broker: what it promises, whatever library speaks."""

from __future__ import annotations

import abc
import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from telemetry.broker_limits import BrokerLimits, publish_size
from telemetry.coalescing import LARGE, Coalescing
from telemetry.fleet import Broker
from telemetry.keepalive import UNANSWERED_S, Keepalive, Motion, Verdict
from telemetry.refusals import NOT_AUTHORIZED, explain, not_allowed

MAX_PACKET: Final = 2**20
"""Largest packet that we let a broker send us, in bytes."""
PACKET_TOO_LARGE: Final = 0x95
QOS_NOT_SUPPORTED: Final = 0x9B
RETAIN_NOT_SUPPORTED: Final = 0x9A


class MqttError(ConnectionError):
    """The connection did not come about, or it ended. ``code`` is the broker's reason code (MQTT 5.0, 2.4) if any."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message that came in. ``mid`` names it in ``Connection.ack``; ``topic`` is empty where it was no UTF-8."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool
    mid: int


class LastWill(msgspec.Struct, frozen=True):
    """What the broker says for us when the connection is lost."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True


class Outgoing(msgspec.Struct):
    """A message that waits to leave; ``expiry`` in seconds, ``done`` as ``MqttConnection.publish`` has it."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    expiry: int | None
    done: Callable[[int], None] | None


class MqttConnection(abc.ABC):
    """What a connection to a broker promises, whatever library speaks. Make it, then ``await open()``.

    ``on_message`` is called in the loop for each message, from the first one a resumed session brings. With
    ``manual_ack`` a QoS 1 message is acknowledged by ``ack`` only, which must be called in order of delivery.

    >>> async def example(broker: Broker) -> None:
    ...     async with Connection(broker, "me", on_message=print) as connection:
    ...         await connection.subscribe("news/#")
    ...         await connection.deliver("news/me", b"hello")
    ...         print(await connection.wait_closed())
    """

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        *,
        on_message: Callable[[Message], None],
        clean_start: bool = True,
        session_expiry: int = 0,
        will: LastWill | None = None,
        receive_maximum: int = 65535,
        manual_ack: bool = False,
        keepalive: int | None = None,
        timeout: float = 15.0,
        unanswered: float = UNANSWERED_S,
        coalesce: float = 0.0,
    ) -> None:
        """``coalesce``: for so many seconds at most what comes in may wait until it is read (``Coalescing``)."""
        self.session_present = False
        """Whether the broker still had our session."""
        self.certificate_ends_ms: int | None = None
        """When the broker's certificate ends, UTC ms; ``None`` without TLS or before the connection."""
        self.limits = BrokerLimits()
        """What the broker announced when it accepted us."""
        self._loop = asyncio.get_running_loop()
        self._broker = broker
        self._client_id = client_id
        self._on_message = on_message
        self._clean_start = clean_start
        self._session_expiry = session_expiry
        self._will = will
        self._receive_maximum = receive_maximum
        self._manual_ack = manual_ack
        self._keepalive = keepalive or broker.keepalive
        self._timeout = timeout
        self._unanswered = unanswered
        self._alive = Keepalive(0, unanswered, self._loop.time())
        self._ticking: asyncio.TimerHandle | None = None
        self._coalescing = Coalescing(coalesce)
        self._brought = 0
        """Messages since the last look at the socket; large ones count as many."""
        self._resting: asyncio.TimerHandle | None = None
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._opened.add_done_callback(mark_seen)
        self._closed: asyncio.Future[Exception] = self._loop.create_future()
        self._subscribing: dict[int, asyncio.Future[list[int]]] = {}
        self._queued: deque[Outgoing] = deque()
        self._prepare()

    @abc.abstractmethod
    def _prepare(self) -> None:
        """Make what this library needs, once all arguments are known."""

    async def open(self) -> None:
        """Connect and wait for the broker's word.

        Raises MqttError or OSError when that fails or takes longer than ``timeout``, in words that say what to do about
        it; FileError for a wrong password file or certificate.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._begin()
                await self._opened
        except TimeoutError:
            error = MqttError(f"no answer from {self._broker.host}:{self._broker.port} within {self._timeout:g} s")
            self._end(error)
            raise error from None
        except OSError as error:
            self._end(error)
            code = getattr(error, "code", None)
            spoken = isinstance(error, MqttError) and code is None
            why = explain(error, self._broker, spoken=spoken)
            if why is None:
                raise
            raise MqttError(why, code) from error
        except BaseException as error:
            self._end(error if isinstance(error, Exception) else MqttError("cancelled while connecting"))
            raise

    @abc.abstractmethod
    async def _begin(self) -> None:
        """Connect and ask the broker, whose word sets ``_opened``."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Send a clean DISCONNECT, so that no will is published; then close. ``deliver`` first what must arrive."""

    def abort(self, reason: Exception) -> None:
        """Close at once and without a word: the broker publishes the will."""
        self._end(reason)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def is_open(self) -> bool:
        """Whether the broker has accepted us and nothing has ended since."""
        return self._opened.done() and not self._closed.done()

    @property
    def ended(self) -> Exception | None:
        """Why the connection ended, whoever ended it; ``None`` while it has not."""
        return self._closed.result() if self._closed.done() else None

    async def wait_closed(self) -> Exception:
        """Wait for the end of the connection and return its reason. Any number of tasks may wait."""
        return await asyncio.shield(self._closed)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        expiry: int | None = None,
        done: Callable[[int], None] | None = None,
    ) -> None:
        """Queue a message; it leaves in order, as fast as the broker's Receive Maximum lets it. ``expiry``: seconds.

        ``done`` is called with the reason code when the broker has acknowledged it (QoS 0: when it was written); it is
        not called any more once the connection has ended. Where the broker takes QoS 0 only, that is what it gets.
        Raises MqttError when the connection has ended, or ``limits`` do not allow the message (``limits.room``).
        """
        self._check_open()
        qos = self._fitting(topic, payload, qos, retain)
        self._queued.append(Outgoing(topic, payload, qos, retain, expiry, done))
        self._send_queued()

    @abc.abstractmethod
    def _send_queued(self) -> None:
        """Hand on what may be in flight."""

    @property
    def bytes_sent(self) -> int:
        """Bytes that left, with TLS, TCP and IP headers, as the kernel counts them (0 where it does not)."""
        return self._count_air()[0]

    @property
    def bytes_received(self) -> int:
        """Bytes that came in, counted like ``bytes_sent``."""
        return self._count_air()[1]

    @abc.abstractmethod
    def _count_air(self) -> tuple[int, int]:
        """Return the bytes that left and that came in."""

    async def deliver(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, expiry: int | None = None
    ) -> None:
        """Publish and wait until the broker has acknowledged it. Raises MqttError if it refuses or the connection ends.

        "No matching subscribers" (16) is no refusal.
        """
        answer: asyncio.Future[int] = self._loop.create_future()

        def done(code: int) -> None:
            if not answer.done():
                answer.set_result(code)

        self.publish(topic, payload, qos=qos, retain=retain, expiry=expiry, done=done)
        code = await self._or_closed(answer)
        if code == NOT_AUTHORIZED:
            raise MqttError(not_allowed(topic, self._broker), code)
        if code >= 128:
            raise MqttError(f"the broker refused a message to {topic}: {reason_words('PUBACK', code)}", code)

    async def subscribe(self, *filters: str, qos: int = 1, no_local: bool = False) -> None:
        """Subscribe and wait for the broker's word. Raises MqttError if it refuses one of them."""
        self._check_open()
        number = self._ask_for(filters, qos, no_local)
        answer: asyncio.Future[list[int]] = self._loop.create_future()
        self._subscribing[number] = answer
        codes = await self._or_closed(answer)
        for name, code in zip(filters, codes, strict=False):
            if code >= 128:
                raise MqttError(f"the broker refuses {name}: {reason_words('SUBACK', code)}", code)

    @abc.abstractmethod
    def _ask_for(self, filters: Sequence[str], qos: int, no_local: bool) -> int:
        """Send a SUBSCRIBE and return its number, under which ``_subscribed`` tells the answer."""

    def _subscribed(self, number: int, codes: list[int]) -> None:
        answer = self._subscribing.pop(number, None)
        if answer is not None and not answer.done():
            answer.set_result(codes)

    @abc.abstractmethod
    def ack(self, message: Message) -> None:
        """Acknowledge a message (``manual_ack``). Raises MqttError once the connection has ended."""

    @abc.abstractmethod
    def _end(self, reason: Exception) -> None:
        """End it, once, with what is queued."""

    # --- while it is open ---------------------------------------------------------------------------------------------

    def _hand_on(self, message: Message) -> None:
        """A message came in. Raises what the handler raises."""
        self._brought += 1 + len(message.payload) // LARGE
        self._on_message(message)

    def _looked(self) -> None:
        """Let the socket rest, if that is worth it: all that had come is handed on."""
        rest_s = self._coalescing.rest_s(self._brought, self._loop.time())
        self._brought = 0
        if rest_s and self.is_open and self._resting is None:
            self._pause_reading()
            self._resting = self._loop.call_later(rest_s, self._read_on)

    def _read_on(self) -> None:
        """End a rest; harmless where there is none."""
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
            if not self._closed.done():
                self._resume_reading()

    def _stop_timers(self) -> None:
        """The connection has ended: nothing is to be done later."""
        for timer in (self._ticking, self._resting):
            if timer is not None:
                timer.cancel()

    @abc.abstractmethod
    def _pause_reading(self) -> None:
        """Leave the socket unread."""

    @abc.abstractmethod
    def _resume_reading(self) -> None:
        """Read it again, with what has come meanwhile."""

    def _accepted_with(self, limits: BrokerLimits) -> None:
        """The broker accepts us, and announced these."""
        self.limits = limits
        if limits.server_keep_alive is not None:
            self._keepalive = limits.server_keep_alive
        self._alive = Keepalive(self._keepalive, self._unanswered, self._loop.time())
        self._tick()
        self._opened.set_result(None)

    def _fitting(self, topic: str, payload: bytes, qos: int, retain: bool) -> int:
        """Return the QoS to publish with. Raises MqttError for a message that the broker does not take."""
        if retain and not self.limits.retain_available:
            raise MqttError(f"publish: the broker keeps no retained messages ({topic})", RETAIN_NOT_SUPPORTED)
        room = self.limits.room(topic)
        if room is not None and len(payload) > room:
            raise MqttError(
                f"publish: a packet of {publish_size(topic, len(payload))} bytes, "
                f"the broker takes {self.limits.maximum_packet}",
                PACKET_TOO_LARGE,
            )
        return min(qos, self.limits.maximum_qos)

    def _tick(self) -> None:
        """Once a second: ask a broker that is quiet, end a connection that stands still."""
        if self._closed.done():
            return
        self._ticking = self._loop.call_later(1.0, self._tick)
        verdict = self._alive.look(self._loop.time(), self._motion())
        if verdict is Verdict.OVER:
            self._end(MqttError(f"connection lost: no word from the broker for {self._alive.still_s:.0f} s"))
        elif verdict is Verdict.PING:
            self._ping()

    @abc.abstractmethod
    def _motion(self) -> Motion:
        """Return what the connection looks like now."""

    @abc.abstractmethod
    def _ping(self) -> None:
        """Send a PINGREQ."""

    def _check_open(self) -> None:
        if self._closed.done():
            raise MqttError(f"the connection has ended: {self._closed.result()}")
        if not self._opened.done():
            raise MqttError("the connection is not open yet")

    async def _or_closed(self, answer: asyncio.Future[Any]) -> Any:
        await asyncio.wait({answer, self._closed}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            raise MqttError(f"the connection has ended: {self._closed.result()}")
        return answer.result()


def mark_seen(future: asyncio.Future[Any]) -> None:
    """Mark an error as seen: it is told on another way too."""
    if not future.cancelled():
        future.exception()


def reason_words(packet: str, code: int) -> str:
    """Return a reason code of a packet (``CONNACK``, ``PUBACK``, ...) in the standard's words (MQTT 5.0, 2.4)."""
    from paho.mqtt.packettypes import PacketTypes  # with the first refusal: paho is 0.7 MB
    from paho.mqtt.reasoncodes import ReasonCode

    try:
        return str(ReasonCode(getattr(PacketTypes, packet), identifier=code))
    except KeyError:
        return f"reason code {code}"
