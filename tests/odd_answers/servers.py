"""Servers that answer oddly: InfluxDB, a webhook's receiver, an MQTT broker, and those of ours that talk to them."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from typing import Any, Final, cast

import aiohttp

import collector.site.mqtt
import telemetry.paho_mqtt
from collector.channels.channel import Delivered, Notification, Refused, Retry
from collector.channels.webhook import Webhook
from collector.config import InfluxDB
from collector.sinks import influxdb_server, influxdb_v2
from collector.sinks import sink as sinks
from collector.sinks.influxdb import InfluxSink
from collector.sinks.sink import Item, NotNow
from telemetry.fleet import Broker
from tests.odd_answers.devices import reply
from tests.odd_answers.mutations import odd
from tests.odd_answers.run import Kind


class _HttpServer(Kind):
    """Answers each request with its body, whatever it asks."""

    body: bytes = b""

    async def serve(self, stack: AsyncExitStack) -> int:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        stack.callback(server.close)
        return int(server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
                await reader.readexactly(int(length or b"0"))
                writer.write(self.answered(self.answer()))
                await writer.drain()
                if self.chance.random() < 0.7:
                    break
        writer.close()

    def answer(self) -> bytes:
        good = reply(self, b"HTTP/1.1", self.chance.choice(self.bodies()), self.headers())
        return odd(self.chance, good) if self.oddly(0.2) else good

    def bodies(self) -> tuple[bytes, ...]:
        return (b"",)

    def headers(self) -> tuple[bytes, ...]:
        return ()


_REFUSALS: Final = (
    b'{"error": "partial write: field type conflict: input field \\"value\\" is type float dropped=1"}',
    b'{"error": "partial write: max-series-per-database limit exceeded: (1000000) dropped=1"}',
    b'{"error": "partial write: points beyond retention policy dropped=2"}',
    b'{"error": "unable to parse \'x y=z\': invalid boolean"}',
    b'{"code": "invalid", "message": "unable to parse line 2"}',
    b'{"error": "partial write", "data": [{"error_message": "no", "line_number": 1, "original_line": "x"}]}',
    b'{"error": "timeout"}',
    b'{"error": "database not found: \\"kit\\""}',
    b'{"results": [{"series": [{"values": [["a", "168h0m0s"]]}]}]}',
)


class Influxdb(_HttpServer):
    """InfluxDB of any version, by its own account."""

    side_by_side = 40
    deadline_s = 1.0

    def bodies(self) -> tuple[bytes, ...]:
        return _REFUSALS

    def headers(self) -> tuple[bytes, ...]:
        return (b"X-Influxdb-Version: " + self.chance.choice((b"1.6.7", b"1.8.10", b"v2.7.1", b"3.0.1", b"x", b"")),)

    async def read(self, number: int, wanted: int, stack: AsyncExitStack) -> None:
        # as shipped 30 s: an answer that ends in the middle would make one answer of this half a minute
        influxdb_server.TIMEOUT = influxdb_v2.TIMEOUT = aiohttp.ClientTimeout(total=self.deadline_s / 2)  # type: ignore
        port = await self.serve(stack)
        config = InfluxDB(url=f"http://127.0.0.1:{port}", bucket="kit")
        sink = InfluxSink(cast(Any, None), "north", config)
        items = [Item(n, f"modem,vehicle=amb-{n} rsrp_dbm={-90 - n} {1_790_000_000_000 + n}") for n in range(5)]
        while self.told.answers < wanted:
            try:
                await self.call(sink.send([item.text for item in items]))
                self.told.outcomes["taken"] += 1
            except NotNow:
                self.told.outcomes["not now"] += 1
                await self.call(sink.reset())
            except sinks.Refused as refused:
                self.told.outcomes["refused"] += 1
                with contextlib.suppress(NotNow):
                    again, letters = await self.call(sink.divide(items, refused))
                    set_aside = sum(len(letter.content.splitlines()) for letter in letters)
                    assert len(again) + set_aside == len(items)
                    sink.blamed(items[0], str(refused))
                    await self.call(sink.prove())
        await sink.reset()


class Receiver(_HttpServer):
    """Who gets notifications by webhook."""

    side_by_side = 40
    deadline_s = 0.5

    def bodies(self) -> tuple[bytes, ...]:
        return (b"ok", b'{"errcode": 0}', b"<html>no</html>")

    async def read(self, number: int, wanted: int, stack: AsyncExitStack) -> None:
        port = await self.serve(stack)
        channel = Webhook(url=f"http://127.0.0.1:{port}/hook", timeout_s=self.deadline_s).open()
        while self.told.answers < wanted:
            outcome = await self.call(channel.send(Notification("n1", "2026-0001", '{"ticket": "2026-0001"}')))
            assert isinstance(outcome, Delivered | Retry | Refused)
            self.told.outcomes[type(outcome).__name__.lower()] += 1
        await channel.close()


# --- the broker -------------------------------------------------------------------------------------------------------

_CONNACK: Final = (
    b"\x20\x03\x00\x00\x00",
    b"\x20\x13\x00\x00\x10\x21\x00\x0a\x24\x00\x25\x01\x27\x00\x00\x10\x00\x13\x00\x3c\x22\x00\x00",
)
_PACKETS: Final = (
    b"\x30\x05\x00\x01t\x00x",
    b"\x32\x07\x00\x01t\x00\x07\x00x", b"\x34\x07\x00\x01t\x00\x08\x00x", b"\x40\x02\x00\x01",
    b"\x40\x04\x00\x01\x10\x00", b"\x90\x04\x00\x02\x00\x01", b"\xd0\x00", b"\xe0\x02\x8e\x00", b"\x62\x02\x00\x08",
    b"\x50\x02\x00\x01", b"\x70\x02\x00\x01", b"\xf0\x02\x18\x00", b"\xb0\x04\x00\x02\x00\x00", b"\x10\x00",
    b"\x30\x0b\x00\x01t\x06\x26\x00\x01a\x00\x01b", b"\x30\xff\xff\xff\x7f",
)  # fmt: skip
_CLIENTS: Final = (telemetry.paho_mqtt.Connection, collector.site.mqtt.Connection)


class MqttBroker(Kind):
    """A broker: mostly a sound CONNACK, then any packets; both of our connections by turns."""

    side_by_side = 24
    deadline_s = 6.0

    async def read(self, number: int, wanted: int, stack: AsyncExitStack) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        stack.callback(server.close)
        broker = Broker(host="127.0.0.1", port=server.sockets[0].getsockname()[1], keepalive=5)
        while self.told.answers < wanted:
            await self.call(self._connect(broker, self.chance.randrange(2)))

    async def _connect(self, broker: Broker, client: int) -> None:
        connection = _CLIENTS[client](broker, "x", on_message=lambda message: None, timeout=0.5)
        try:
            await connection.open()
        except OSError as error:
            self.told.outcomes[f"refused: {type(error).__name__}"] += 1
            return
        try:
            async with asyncio.timeout(0.4):
                with contextlib.suppress(OSError):
                    await connection.subscribe("t/#")
                    for _ in range(3):
                        await connection.deliver("t", b"hello")
        except TimeoutError:
            pass
        ended = connection.ended
        connection.abort(ConnectionError("enough"))
        self.told.outcomes[f"open, then {'nothing' if ended is None else type(ended).__name__}"] += 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chance = self.chance
        with contextlib.suppress(OSError):
            await reader.read(1000)
            connack = chance.choice(_CONNACK)
            writer.write(self.answered(odd(chance, connack) if chance.random() < 0.2 else connack))
            for _ in range(chance.randrange(60)):
                packet = chance.choice(_PACKETS)
                writer.write(self.answered(odd(chance, packet) if self.oddly(0.4) else packet))
                if chance.random() < 0.1:
                    await writer.drain()
                    await asyncio.sleep(0)
            await writer.drain()
            if chance.random() < 0.5:
                await asyncio.wait_for(reader.read(10_000), 0.5)
        writer.close()
