"""A connection to an MQTT v5 broker with paho-mqtt, without its network thread and its reconnecting.

One ``Connection`` is one TCP connection. Whoever needs another makes another: a re-used paho client sends its old
messages again behind the outbox's back. What paho's callbacks raise ends the connection with that error.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from telemetry.broker_limits import BrokerLimits
from telemetry.files import read_secret
from telemetry.keepalive import Motion
from telemetry.mqtt import (
    MAX_PACKET,
    Message,
    MqttConnection,
    MqttError,
    Outgoing,
)
from telemetry.paho_loop import BoundedClient, PahoLoop
from telemetry.tls import tls_context


class Connection(MqttConnection):
    """One connection to a broker, by paho."""

    def _prepare(self) -> None:
        self._waiting: dict[int, Outgoing] = {}
        self._in_flight = 0
        self._read_error = ""
        self._client = self._make_client()
        self._driver = PahoLoop(self._client, self._end, self._looked)
        self._properties = _properties(
            PacketTypes.CONNECT,
            ReceiveMaximum=self._receive_maximum,
            MaximumPacketSize=MAX_PACKET,
            SessionExpiryInterval=self._session_expiry,
        )
        if self._will is not None:
            self._client.will_set(self._will.topic, self._will.payload, self._will.qos, self._will.retain)

    async def _begin(self) -> None:
        await self._driver.connect(self._connect)
        self.certificate_ends_ms = self._driver.certificate_ends_ms

    async def close(self) -> None:
        """See ``MqttConnection``."""
        if self.is_open and self._driver.attached:
            # paho closes as soon as the DISCONNECT is written; with something unread that resets the connection, and
            # the broker may never see it. A second descriptor keeps it until the broker has closed its side.
            self._read_on()
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

    def _make_client(self) -> paho.Client:
        client = BoundedClient(
            CallbackAPIVersion.VERSION2,
            self._client_id,
            protocol=paho.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=self._manual_ack,
        )
        client.most = MAX_PACKET
        client.suppress_exceptions = False
        client.connect_timeout = self._timeout
        client.max_inflight_messages_set(0)
        client.on_log = self._on_log
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_incoming
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        return client

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

    def _on_incoming(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        self._driver.handled += 1
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        payload = bytes(message.payload)
        self._hand_on(Message(topic, payload, message.qos, message.retain, message.dup, message.mid))

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

    def _pause_reading(self) -> None:
        self._driver.pause_reading()

    def _resume_reading(self) -> None:
        self._driver.resume_reading()

    # --- ending -------------------------------------------------------------------------------------------------------

    def _end(self, reason: Exception) -> None:
        if self._closed.done():
            return
        self._closed.set_result(reason)
        self._stop_timers()
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
