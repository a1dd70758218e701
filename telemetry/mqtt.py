"""A connection to an MQTT v5 broker with paho-mqtt, without its network thread and its reconnecting.

One ``Connection`` is one TCP connection. Whoever needs another makes another: a re-used paho client sends its old
messages again behind the outbox's back. What paho's callbacks raise ends the connection with that error.
"""

from __future__ import annotations

import abc
import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from telemetry.broker_limits import BrokerLimits, publish_size
from telemetry.files import read_secret
from telemetry.fleet import Broker
from telemetry.keepalive import UNANSWERED_S, Keepalive, Motion, Verdict
from telemetry.paho_loop import BoundedClient, PahoLoop
from telemetry.refusals import NOT_AUTHORIZED, explain, not_allowed
from telemetry.tls import tls_context

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


class Message(msgspec.Struct, frozen=True):
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

    def __init__(self, broker: Broker, keepalive: int | None, timeout: float, unanswered: float) -> None:
        self.session_present = False
        """Whether the broker still had our session."""
        self.certificate_ends_ms: int | None = None
        """When the broker's certificate ends, UTC ms; ``None`` without TLS or before the connection."""
        self.limits = BrokerLimits()
        """What the broker announced when it accepted us."""
        self._loop = asyncio.get_running_loop()
        self._broker = broker
        self._keepalive = keepalive or broker.keepalive
        self._timeout = timeout
        self._unanswered = unanswered
        self._alive = Keepalive(0, unanswered, self._loop.time())
        self._ticking: asyncio.TimerHandle | None = None
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._opened.add_done_callback(mark_seen)
        self._closed: asyncio.Future[Exception] = self._loop.create_future()
        self._subscribing: dict[int, asyncio.Future[list[int]]] = {}
        self._queued: deque[Outgoing] = deque()

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


class Connection(MqttConnection):
    """One connection to a broker, by paho."""

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
    ) -> None:
        super().__init__(broker, keepalive, timeout, unanswered)
        self._on_message_handler = on_message
        self._waiting: dict[int, Outgoing] = {}
        self._in_flight = 0
        self._read_error = ""
        self._client = self._make_client(client_id, manual_ack, timeout)
        self._driver = PahoLoop(self._client, self._end)
        self._connect_with(clean_start, session_expiry, receive_maximum)
        if will is not None:
            self._client.will_set(will.topic, will.payload, will.qos, will.retain)

    async def _begin(self) -> None:
        await self._driver.connect(self._connect)
        self.certificate_ends_ms = self._driver.certificate_ends_ms

    async def close(self) -> None:
        """See ``MqttConnection``."""
        if self.is_open and self._driver.attached:
            # paho closes as soon as the DISCONNECT is written; with something unread that resets the connection, and
            # the broker may never see it. A second descriptor keeps it until the broker has closed its side.
            lingering = self._driver.duplicate()
            try:
                async with asyncio.timeout(min(self._timeout, 2.0)):
                    self._client.disconnect()
                    await self.wait_closed()
                    lingering.setblocking(False)
                    lingering.shutdown(socket.SHUT_WR)
                    while await self._loop.sock_recv(lingering, 65536):
                        pass
            except (OSError, TimeoutError):
                pass
            finally:
                lingering.close()
        self._end(MqttError("closed by us"))

    def _send_queued(self) -> None:
        """Hand on what may be in flight: paho itself cannot be told the broker's limit once it is connected."""
        while self._queued and (self._queued[0].qos == 0 or self._in_flight < self.limits.receive_maximum):
            message = self._queued.popleft()
            self._alive.sent(self._loop.time())
            expiry = message.expiry
            properties = None if expiry is None else _properties(PacketTypes.PUBLISH, MessageExpiryInterval=expiry)
            info = self._client.publish(message.topic, message.payload, message.qos, message.retain, properties)
            if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise MqttError(f"publish: {paho.error_string(info.rc)}")
            self._waiting[info.mid] = message
            self._in_flight += message.qos > 0

    def _ask_for(self, filters: Sequence[str], qos: int, no_local: bool) -> int:
        options = SubscribeOptions(qos=qos, noLocal=no_local)
        result, mid = self._client.subscribe([(name, options) for name in filters])
        if result != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            raise MqttError(f"subscribe: {paho.error_string(result)}")
        return mid

    def ack(self, message: Message) -> None:
        """See ``MqttConnection``."""
        self._check_open()
        self._client.ack(message.mid, message.qos)

    def _count_air(self) -> tuple[int, int]:
        return self._driver.bytes_on_air()

    # --- making -------------------------------------------------------------------------------------------------------

    def _make_client(self, client_id: str, manual_ack: bool, timeout: float) -> paho.Client:
        client = BoundedClient(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=paho.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=manual_ack,
        )
        client.most = MAX_PACKET
        client.suppress_exceptions = False
        client.connect_timeout = timeout
        client.max_inflight_messages_set(0)
        client.on_log = self._on_log
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        return client

    def _connect_with(self, clean_start: bool, session_expiry: int, receive_maximum: int) -> None:
        self._clean_start = clean_start
        self._properties = _properties(
            PacketTypes.CONNECT,
            ReceiveMaximum=receive_maximum,
            MaximumPacketSize=MAX_PACKET,
            SessionExpiryInterval=session_expiry,
        )

    def _connect(self) -> None:
        """Blocking. Credentials are read now, so that a renewed certificate needs no restart."""
        broker = self._broker
        if broker.user is not None:
            password = read_secret(broker.password_file, "broker.password_file") if broker.password_file else None
            self._client.username_pw_set(broker.user, password)
        if broker.tls is not None:
            self._client.tls_set_context(tls_context(broker.tls))
        self._client.connect(
            broker.host,
            broker.port,
            self._keepalive,
            clean_start=self._clean_start,
            properties=self._properties,
        )

    # --- what paho tells ----------------------------------------------------------------------------------------------

    def _on_connect(self, client: paho.Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        self._driver.handled += 1
        if self._opened.done():
            return
        if reason.is_failure:
            self._opened.set_exception(MqttError(f"the broker refuses the connection: {reason}", reason.value))
            return
        self.session_present = bool(flags.session_present)
        standard = BrokerLimits()
        self._accepted_with(
            BrokerLimits(
                receive_maximum=getattr(properties, "ReceiveMaximum", standard.receive_maximum),
                maximum_qos=getattr(properties, "MaximumQoS", standard.maximum_qos),
                retain_available=bool(getattr(properties, "RetainAvailable", standard.retain_available)),
                maximum_packet=getattr(properties, "MaximumPacketSize", standard.maximum_packet),
                server_keep_alive=getattr(properties, "ServerKeepAlive", standard.server_keep_alive),
            )
        )

    def _on_disconnect(
        self, client: paho.Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._end(MqttError(f"the broker ended the connection: {reason}", reason.value))
        else:
            why = self._read_error or reason
            self._end(MqttError(f"connection lost: {why}" if reason.is_failure else "closed by us"))

    def _on_log(self, client: paho.Client, userdata: Any, level: int, text: str) -> None:
        """Keep why the socket could not be read: paho tells it to its log only, and calls it an unspecified error."""
        if level == paho.MQTT_LOG_ERR:
            self._read_error = text.removeprefix("failed to receive on socket: ")

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        self._driver.handled += 1
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        payload = bytes(message.payload)
        self._on_message_handler(Message(topic, payload, message.qos, message.retain, message.dup, message.mid))

    def _on_publish(self, client: paho.Client, userdata: Any, mid: int, reason: ReasonCode, properties: Any) -> None:
        self._driver.handled += 1
        message = self._waiting.pop(mid, None)
        if message is None:
            return
        self._in_flight -= message.qos > 0
        if message.done is not None:
            message.done(reason.value)
        self._send_queued()

    def _on_subscribe(
        self, client: paho.Client, userdata: Any, mid: int, reasons: list[ReasonCode], properties: Any
    ) -> None:
        self._driver.handled += 1
        self._subscribed(mid, [reason.value for reason in reasons])

    # --- while it is open ---------------------------------------------------------------------------------------------

    def _motion(self) -> Motion:
        return self._driver.motion(unacknowledged=bool(self._in_flight or self._subscribing))

    def _ping(self) -> None:
        self._driver.ping()

    # --- ending -------------------------------------------------------------------------------------------------------

    def _end(self, reason: Exception) -> None:
        if self._closed.done():
            return
        self._closed.set_result(reason)
        if self._ticking is not None:
            self._ticking.cancel()
        self._driver.stop()
        self._queued.clear()
        self._waiting.clear()
        if not self._opened.done():
            self._opened.set_exception(reason)


def _properties(packet: int, **values: int) -> Properties:
    """Return MQTT v5 properties of a packet."""
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


def mark_seen(future: asyncio.Future[Any]) -> None:
    """Mark an error as seen: it is told on another way too."""
    if not future.cancelled():
        future.exception()


def reason_words(packet: str, code: int) -> str:
    """Return a reason code of a packet (``CONNACK``, ``PUBACK``, ...) in the standard's words (MQTT 5.0, 2.4)."""
    try:
        return str(ReasonCode(getattr(PacketTypes, packet), identifier=code))
    except KeyError:
        return f"reason code {code}"
