"""The intake's MQTT v5 connection: the promise of ``telemetry.mqtt.MqttConnection``, read by the codec ``mqtt5``.

paho spends more on a packet that comes in than all that the collector does with it (docs/decisions/0023). Here one
call of the socket brings many packets: PUBLISH, of which there are thousands, is read in place, everything else by the
codec, and acknowledgements leave together. TLS, sessions, wills and errors are the same, and the same tests run over
both.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import mqtt5
from mqtt5 import PublishPacket, QoS

from collector.site.packets import decoded, packet_size, read_publish
from telemetry.broker_limits import BrokerLimits
from telemetry.files import read_secret
from telemetry.keepalive import Motion
from telemetry.mqtt import (
    MAX_PACKET,
    PACKET_TOO_LARGE,
    Message,
    MqttConnection,
    MqttError,
    mark_seen,
    reason_words,
)
from telemetry.tcp_bytes import bytes_on_air, bytes_taken, bytes_waiting
from telemetry.tls import check_not_expired, tls_context

_HEADER: Final = 5
"""Most bytes before a packet's content: its type and the length of the rest (MQTT 5.0, 2.1)."""
_LINGER_S: Final = 2.0
"""How long a close waits for the broker to have read our DISCONNECT."""
_PUBLISH: Final = 3
"""Its packet type (MQTT 5.0, 2.1.2)."""
_QOS: Final = (QoS.AT_MOST_ONCE, QoS.AT_LEAST_ONCE)


class Connection(MqttConnection, asyncio.Protocol):
    """One connection to a broker, by ``mqtt5``; arguments and errors are those of ``paho_mqtt.Connection``."""

    def _prepare(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reads: asyncio.Transport | None = None
        """The transport that reads the socket: below TLS, which would read on while nobody wants to know."""
        self._lost = asyncio.Event()
        self._rest = b""
        """The beginning of a packet whose end has not come."""
        self._outgoing: list[bytes] = []
        self._in_flight: dict[int, Callable[[int], None] | None] = {}
        self._last_id = 0
        self._closing = False
        self._came = 0
        """How often something came in."""
        self._on_air = (0, 0)

    async def close(self) -> None:
        """See ``MqttConnection``."""
        if self.is_open and self._transport is not None:
            # what is unread when we close would reset the connection, and the broker may never see the DISCONNECT: so
            # we read on, without a word of it to anybody, until the broker has closed its side
            self._closing = True
            self._read_on()
            self._write(mqtt5.DisconnectPacket().write())
            self._flush()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._timeout, _LINGER_S)):
                    await self._lost.wait()
        self._end(MqttError("closed by us"))

    def _ask_for(self, filters: Sequence[str], qos: int, no_local: bool) -> int:
        wanted = [
            mqtt5.TopicFilter(name, max_qos=_QOS[qos], no_local=no_local, retain_as_published=False) for name in filters
        ]
        number = self._next_id()
        self._write(mqtt5.SubscribePacket(number, wanted).write())
        return number

    def ack(self, message: Message) -> None:
        """See ``MqttConnection``."""
        self._check_open()
        self._write(mqtt5.PubAckPacket(message.mid).write())

    # --- connecting ---------------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """Connect. Credentials are read now, so that a renewed certificate needs no restart."""
        broker = self._broker
        password = read_secret(broker.password_file, "broker.password_file") if broker.password_file else None
        context = tls_context(broker.tls) if broker.tls is not None else None
        sock = await _connected_socket(broker.host, broker.port, self._timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await self._loop.create_connection(lambda: self, sock=sock)
        assert self._transport is not None
        self._reads = self._transport
        if context is not None:
            self._transport = await self._loop.start_tls(self._reads, self, context, server_hostname=broker.host)
            assert self._transport is not None
            self.certificate_ends_ms = check_not_expired(self._transport.get_extra_info("peercert"))
        will = self._will
        self._write(
            mqtt5.ConnectPacket(
                self._client_id,
                username=broker.user,
                password=None if password is None else password.encode(),
                clean_start=self._clean_start,
                will=None
                if will is None
                else mqtt5.Will(will.topic, payload=will.payload, qos=_QOS[will.qos], retain=will.retain),
                keep_alive=self._keepalive,
                session_expiry_interval=self._session_expiry,
                receive_max=self._receive_maximum,
                max_packet_size=MAX_PACKET,
            ).write()
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._closed.done():  # we were told to stop while this was under way
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._lost.set()
        if self._closing:
            self._end(MqttError("closed by us"))
        else:
            self._end(MqttError(f"connection lost: {exc or 'the broker closed it'}"))

    def _motion(self) -> Motion:
        unacknowledged = bool(self._in_flight or self._subscribing)
        if self._transport is None:
            return Motion(self._came, 0, 0, False, unacknowledged)
        sock = self._transport.get_extra_info("socket")
        more = self._transport.get_write_buffer_size() > 0
        return Motion(self._came, bytes_taken(sock), bytes_waiting(sock), more, unacknowledged)

    def _ping(self) -> None:
        self._write(mqtt5.PingReqPacket().write())

    def _pause_reading(self) -> None:
        assert self._reads is not None
        self._reads.pause_reading()

    def _resume_reading(self) -> None:
        assert self._reads is not None
        self._reads.resume_reading()

    # --- what comes in ------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._came += 1
        if self._closing or self._closed.done():
            return
        if self._rest:
            data = self._rest + data
        try:
            read = self._read_all(data)
        except Exception as error:
            self._end(error)
            return
        self._looked()
        self._rest = data[read:]
        if len(self._rest) > MAX_PACKET + _HEADER:
            self._end(MqttError(f"the broker sent a packet of more than {MAX_PACKET} bytes", PACKET_TOO_LARGE))

    def _read_all(self, data: bytes) -> int:
        """Handle every whole packet; return how many bytes they took. Raises MqttError, or what a handler raised."""
        offset, end = 0, len(data)
        while offset < end:
            if data[offset] >> 4 == _PUBLISH:
                read = read_publish(data, offset)
                if read is None:
                    break
                message, offset = read
                self._hand_on(message)
                if message.qos and not self._manual_ack:
                    self._write(mqtt5.PubAckPacket(message.mid).write())
            else:
                size = packet_size(data, offset)
                if size is None or offset + size > end:
                    break
                self._handle(decoded(data[offset : offset + size]))
                offset += size
            if self._closed.done():
                break
        return offset

    def _handle(self, packet: Any) -> None:
        match packet:
            case mqtt5.PubAckPacket():
                self._acknowledged(packet.packet_id, int(packet.reason_code))
            case mqtt5.SubAckPacket():
                self._subscribed(packet.packet_id, [int(code) for code in packet.reason_codes])
            case mqtt5.ConnAckPacket():
                self._accepted(packet)
            case mqtt5.DisconnectPacket():
                code = int(packet.reason_code)
                self._end(MqttError(f"the broker ended the connection: {reason_words('DISCONNECT', code)}", code))
            case mqtt5.PingRespPacket():
                pass  # any byte is an answer
            case _:
                raise MqttError(f"the broker sent a packet that we never asked for: {type(packet).__name__}")

    def _accepted(self, packet: mqtt5.ConnAckPacket) -> None:
        if self._opened.done():
            return
        code = int(packet.reason_code)  # the codec's enumerations are no numbers
        if code >= 128:
            words = reason_words("CONNACK", code)
            self._opened.set_exception(MqttError(f"the broker refuses the connection: {words}", code))
            return
        self.session_present = packet.session_present
        self._accepted_with(
            BrokerLimits(
                receive_maximum=packet.receive_max,
                maximum_qos=int(packet.max_qos),
                retain_available=packet.retain_available,
                maximum_packet=packet.max_packet_size,
                server_keep_alive=packet.server_keep_alive,
            )
        )

    def _acknowledged(self, number: int, code: int) -> None:
        if number in self._in_flight:
            done = self._in_flight.pop(number)
            if done is not None:
                done(code)
            self._send_queued()

    # --- what goes out ------------------------------------------------------------------------------------------------

    def _send_queued(self) -> None:
        while self._queued and (self._queued[0].qos == 0 or len(self._in_flight) < self.limits.receive_maximum):
            message = self._queued.popleft()
            number = self._next_id() if message.qos else None
            packet = PublishPacket(
                message.topic,
                message.payload,
                qos=_QOS[message.qos],
                retain=message.retain,
                packet_id=number,
                message_expiry_interval=message.expiry,
            ).write()
            self._write(packet)
            if number is not None:
                self._in_flight[number] = message.done
            elif message.done is not None:
                self._loop.call_soon(self._tell, message.done)

    def _tell(self, done: Callable[[int], None]) -> None:
        if not self._closed.done():
            try:
                done(0)
            except Exception as error:
                self._end(error)

    def _next_id(self) -> int:
        while True:
            self._last_id = self._last_id % 65535 + 1
            if self._last_id not in self._in_flight and self._last_id not in self._subscribing:
                return self._last_id

    def _write(self, packet: bytes) -> None:
        """Send with whatever else is sent in this turn of the loop: one write for many acknowledgements."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(packet)

    def _flush(self) -> None:
        packets, self._outgoing = self._outgoing, []
        if packets and self._transport is not None and not self._transport.is_closing():
            self._alive.sent(self._loop.time())
            self._transport.write(b"".join(packets))

    # --- ending -------------------------------------------------------------------------------------------------------

    def _end(self, reason: Exception) -> None:
        if self._closed.done():
            return
        self._count_air()
        self._closed.set_result(reason)
        self._stop_timers()
        if self._transport is not None:
            self._transport.abort()
        self._queued.clear()
        self._in_flight.clear()
        self._outgoing.clear()
        if not self._opened.done():
            self._opened.set_exception(reason)

    def _count_air(self) -> tuple[int, int]:
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is not None and not self._closed.done():
            self._on_air = bytes_on_air(sock) or self._on_air
        return self._on_air


async def _connected_socket(host: str, port: int, seconds: float) -> socket.socket:
    """Look the name up and connect in a daemon thread: an exit never waits for a name server. Raises OSError."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[socket.socket] = loop.create_future()
    done.add_done_callback(mark_seen)

    def settle(sock: socket.socket | None, error: OSError | None) -> None:
        if done.done():  # nobody waits any more
            if sock is not None:
                sock.close()
        elif sock is not None:
            sock.setblocking(False)
            done.set_result(sock)
        else:
            done.set_exception(error or OSError("not connected"))

    def work() -> None:
        sock, problem = None, None
        try:
            sock = socket.create_connection((host, port), seconds)
        except OSError as error:
            problem = error
        try:
            loop.call_soon_threadsafe(settle, sock, problem)
        except RuntimeError:  # the loop is closed
            if sock is not None:
                sock.close()

    threading.Thread(target=work, name="mqtt-connect", daemon=True).start()
    return await done
