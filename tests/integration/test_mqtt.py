"""Both MQTT connections against a real Mosquitto, a broker that packs TLS records, and one that says nothing."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import ipaddress
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import collector.site.mqtt
import telemetry.paho_mqtt
from telemetry.fleet import Broker, Tls
from telemetry.mqtt import LastWill, Message, MqttError
from telemetry.paho_mqtt import Connection
from tests.services.fake_collector import until
from tests.services.mosquitto import mosquitto
from tests.services.process import Server, free_port
from tests.services.relay import Relay, relay
from tests.services.stopwatch import Stopwatch

CLIENTS = {"paho": telemetry.paho_mqtt.Connection, "mqtt5": collector.site.mqtt.Connection}


@pytest.fixture(autouse=True, params=CLIENTS)
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs over both: the promise is one."""
    monkeypatch.setattr(sys.modules[__name__], "Connection", CLIENTS[request.param])
    return str(request.param)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mosquitto(tmp_path_factory.mktemp("mosquitto")) as running:
        yield running


def broker(server: Server | Relay, **extra: object) -> Broker:
    return Broker(host="127.0.0.1", port=server.port, **extra)  # type: ignore[arg-type]


class Inbox:
    """Messages as they come, and waiting for a number of them."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._changed = asyncio.Event()

    def __call__(self, message: Message) -> None:
        self.messages.append(message)
        self._changed.set()

    async def wait(self, count: int, seconds: float = 60.0) -> list[Message]:
        async with asyncio.timeout(seconds):
            while len(self.messages) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.messages


def test_a_thousand_messages_arrive_in_order_and_are_counted(server: Server) -> None:
    async def scenario() -> None:
        inbox = Inbox()
        async with (
            Connection(broker(server), "reader", on_message=inbox) as reader,
            Connection(broker(server), "writer", on_message=Inbox()) as writer,
        ):
            await reader.subscribe("t/#")
            codes: list[int] = []
            for number in range(1000):
                writer.publish("t/x", b"%d" % number, done=codes.append)
            await writer.deliver("t/x", b"1000")
            received = await inbox.wait(1001)
            assert [int(message.payload) for message in received] == list(range(1001))
            assert codes == [0] * 1000
            # 1,001 publishes of at least 9 bytes each, and headers on top
            assert writer.bytes_sent > 9000
            assert reader.bytes_received > 9000
            assert writer.bytes_received > 1001 * 4  # a PUBACK each

    asyncio.run(scenario())


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_what_comes_one_by_one_is_read_together(tmp_path: Path, tls: bool) -> None:
    """The first ones at once; then the socket rests, and what has come meanwhile comes in one turn of the loop."""
    turns: list[asyncio.Future[None]] = []
    certificate, key = _certificates(tmp_path)
    port = free_port()
    secure = f"listener {port} 127.0.0.1\ncafile {certificate}\ncertfile {certificate}\nkeyfile {key}"

    async def scenario(server: Server) -> None:
        loop, inbox = asyncio.get_running_loop(), Inbox()

        def note(message: Message) -> None:
            if not turns or turns[-1].done():
                turns.append(loop.create_future())
                loop.call_soon(turns[-1].set_result, None)
            inbox(message)

        where = Broker(host="127.0.0.1", port=port, tls=Tls(ca=str(certificate))) if tls else broker(server)
        async with (
            Connection(where, "reader", on_message=note, manual_ack=True, coalesce=0.4) as reader,
            Connection(broker(server), "writer", on_message=Inbox()) as writer,
        ):
            await reader.subscribe("t/#")
            for number in range(20):
                await writer.deliver("t/x", b"%d" % number)
                await asyncio.sleep(0.005)
            for message in await inbox.wait(20):
                reader.ack(message)
            await writer.deliver("t/x", b"20")
            assert [int(message.payload) for message in await inbox.wait(21)] == list(range(21))

    with mosquitto(tmp_path, extra=secure) as server:
        asyncio.run(scenario(server))
    assert len(turns) <= 14


def test_large_messages_let_nobody_rest(server: Server) -> None:
    """One comes with each look, so that by their number they were few, and all else waited behind them."""

    async def scenario() -> float:
        loop, inbox = asyncio.get_running_loop(), Inbox()
        async with (
            Connection(broker(server), "reader", on_message=inbox, coalesce=2.0) as reader,
            Connection(broker(server), "writer", on_message=Inbox()) as writer,
        ):
            await reader.subscribe("t/#")
            began_s = loop.time()
            for _ in range(20):
                await writer.deliver("t/x", bytes(400_000))
            await inbox.wait(20)
            return loop.time() - began_s

    assert asyncio.run(scenario()) < 20, "or two seconds each"


def test_who_rests_closes_at_once_and_brings_no_will(server: Server) -> None:
    async def scenario() -> None:
        inbox, will = Inbox(), LastWill("will/rests", b"gone", retain=False)
        async with Connection(broker(server), "watcher", on_message=inbox) as watcher:
            await watcher.subscribe("will/#")
            rests = Inbox()
            connection = Connection(broker(server), "rests", on_message=rests, will=will, coalesce=3600)
            async with connection:
                await connection.subscribe("t/#")
                await watcher.deliver("t/1", b"")
                await rests.wait(1)
                await watcher.deliver("t/2", b"")
                watch = Stopwatch()
            assert watch.seconds < 1.5, "it waits 2 s for a broker that says nothing"
            await asyncio.sleep(0.1)
            assert inbox.messages == []

    asyncio.run(scenario())


def test_the_brokers_receive_maximum_is_kept(tmp_path: Path) -> None:
    async def scenario(server: Server) -> None:
        codes: list[int] = []
        async with Connection(broker(server), "writer", on_message=Inbox()) as writer:
            for number in range(500):
                writer.publish("t/x", b"%d" % number, done=codes.append)
            await writer.deliver("t/x", b"last")
            assert writer.limits.receive_maximum == 3
        assert len(codes) == 500

    with mosquitto(tmp_path, extra="max_inflight_messages 3") as server:
        asyncio.run(scenario(server))


def test_a_will_follows_an_abort_and_not_a_close(server: Server) -> None:
    async def scenario() -> None:
        inbox = Inbox()
        async with Connection(broker(server), "watcher", on_message=inbox) as watcher:
            await watcher.subscribe("will/#")
            for name, ends_well in (("clean", True), ("lost", False)):
                connection = Connection(
                    broker(server), name, on_message=Inbox(), will=LastWill(f"will/{name}", b"gone", retain=False)
                )
                await connection.open()
                if ends_well:
                    await connection.close()
                else:
                    connection.abort(MqttError("test"))
                assert connection.ended is not None
            await inbox.wait(1)
            await asyncio.sleep(0.1)
            assert [message.topic for message in inbox.messages] == ["will/lost"]

    asyncio.run(scenario())


def test_a_raising_handler_ends_the_connection_with_that_error(server: Server) -> None:
    def raises(message: Message) -> None:
        raise LookupError(message.topic)

    async def scenario() -> None:
        connection = Connection(broker(server), "raises", on_message=raises)
        await connection.open()
        await connection.subscribe("boom")
        connection.publish("boom", b"x")
        reason = await asyncio.wait_for(connection.wait_closed(), 60)
        assert isinstance(reason, LookupError)
        assert not connection.is_open
        with pytest.raises(MqttError, match="boom"):
            connection.publish("boom", b"y")

        def raises_too(code: int) -> None:
            raise ZeroDivisionError

        async with Connection(broker(server), "raises", on_message=Inbox()) as second:
            second.publish("boom", b"x", done=raises_too)
            assert isinstance(await asyncio.wait_for(second.wait_closed(), 60), ZeroDivisionError)

    asyncio.run(scenario())


def test_unacknowledged_messages_come_again_in_a_resumed_session(server: Server, client: str) -> None:
    async def scenario() -> None:
        def owner(inbox: Inbox) -> Connection:
            return Connection(
                broker(server),
                f"owner-{client}",
                on_message=inbox,
                clean_start=False,
                session_expiry=60,
                manual_ack=True,
            )

        first = Inbox()
        async with Connection(broker(server), "agent", on_message=Inbox()) as agent:
            before = owner(first)
            await before.open()
            assert not before.session_present
            await before.subscribe("up/#")
            for number in range(5):
                await agent.deliver("up/x", b"%d" % number)
            await first.wait(5)
            for message in first.messages[:2]:
                before.ack(message)
            await before.deliver("other", b"")  # answered in order: the broker has read what we acknowledged
            before.abort(MqttError("test"))
            await agent.deliver("up/x", b"5")
            again = Inbox()
            async with owner(again) as after:
                assert after.session_present
                await again.wait(4)
            assert [int(message.payload) for message in again.messages] == [2, 3, 4, 5]
            assert [message.duplicate for message in again.messages] == [True, True, True, False]

    asyncio.run(scenario())


def test_messages_expire_at_the_broker(server: Server) -> None:
    async def scenario() -> None:
        async def session(inbox: Inbox) -> Connection:
            connection = Connection(broker(server), "sleeper", on_message=inbox, clean_start=False, session_expiry=60)
            await connection.open()
            return connection

        first = await session(Inbox())
        await first.subscribe("exp/#")
        await first.close()
        async with Connection(broker(server), "expiring", on_message=Inbox()) as writer:
            await writer.deliver("exp/short", b"", expiry=1)
            await writer.deliver("exp/long", b"", expiry=600)
        await asyncio.sleep(2.2)
        inbox = Inbox()
        second = await session(inbox)
        await inbox.wait(1)
        await asyncio.sleep(0.1)
        await second.close()
        assert [message.topic for message in inbox.messages] == ["exp/long"]

    asyncio.run(scenario())


def test_a_killed_broker_ends_the_connection(tmp_path: Path) -> None:
    async def scenario(server: Server) -> None:
        connection = Connection(broker(server), "x", on_message=Inbox())
        await connection.open()
        server.kill()
        reason = await asyncio.wait_for(connection.wait_closed(), 60)
        assert isinstance(reason, MqttError)
        with pytest.raises(OSError, match="nothing listens at"):
            await Connection(broker(server), "x", on_message=Inbox()).open()

    with mosquitto(tmp_path) as server:
        asyncio.run(scenario(server))


def test_a_silent_peer_and_a_cancelled_open_leave_no_socket() -> None:
    async def scenario(port: int, accepted: list[asyncio.StreamReader]) -> None:
        silent = Broker(host="127.0.0.1", port=port)
        with pytest.raises(MqttError, match="no answer"):
            await Connection(silent, "x", on_message=Inbox(), timeout=0.3).open()
        task = asyncio.create_task(Connection(silent, "x", on_message=Inbox()).open())
        await until(lambda: len(accepted) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for reader in accepted:  # both ends closed, for only then comes EOF
            await asyncio.wait_for(reader.read(), 60)

    async def serve() -> None:
        accepted: list[asyncio.StreamReader] = []
        server = await asyncio.start_server(lambda reader, _: accepted.append(reader), "127.0.0.1", 0)
        async with server:
            await scenario(server.sockets[0].getsockname()[1], accepted)

    asyncio.run(serve())


def test_a_refusal_is_told_with_its_code(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("wrong\n")
    password.chmod(0o600)
    (tmp_path / "users").write_text("someone:$6$x$x\n")
    with mosquitto(tmp_path, extra=f"password_file {tmp_path / 'users'}") as server:

        async def wrong_password() -> None:
            settings = broker(server, user="someone", password_file=str(password))
            with pytest.raises(MqttError, match="refuses") as told:
                await Connection(settings, "x", on_message=Inbox()).open()
            assert told.value.code in (0x86, 0x87)  # bad user name or password, not authorized

        asyncio.run(wrong_password())


# --- TLS --------------------------------------------------------------------------------------------------------------


def _certificates(directory: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate for 127.0.0.1 and its key; return both paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test broker")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=400))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return directory / "cert.pem", directory / "key.pem"


@contextlib.asynccontextmanager
async def packing_broker(directory: Path, packets: bytes) -> AsyncIterator[int]:
    """Serve TLS: answer CONNECT and then send ``packets`` in one single TLS record."""
    certificate, key = _certificates(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"\x20\x03\x00\x00\x00" + packets)  # CONNACK, success, no properties (MQTT 5.0, 3.2)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def test_packets_packed_into_one_tls_record_are_all_read(tmp_path: Path) -> None:
    # PUBLISH QoS 0, topic "t", no properties, payload one byte (MQTT 5.0, 3.3)
    packets = b"".join(b"\x30\x05\x00\x01t\x00" + bytes([number]) for number in range(100))

    async def scenario() -> None:
        inbox = Inbox()
        async with packing_broker(tmp_path, packets) as port:
            settings = Broker(host="127.0.0.1", port=port, tls=Tls(ca=str(tmp_path / "cert.pem")))
            async with Connection(settings, "x", on_message=inbox):
                await inbox.wait(100, 20.0)  # not by the answer to a ping, which comes after a minute
        assert [message.payload[0] for message in inbox.messages] == list(range(100))

    asyncio.run(scenario())


# --- a broker that says what it likes ---------------------------------------------------------------------------------

CONNACK = b"\x20\x03\x00\x00\x00"  # success, no properties (MQTT 5.0, 3.2)


@contextlib.asynccontextmanager
async def saying(*packets: bytes) -> AsyncIterator[tuple[Broker, bytearray]]:
    """Answer CONNECT with these packets, each in a write of its own; what came in stands in the bytearray."""
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(1000))
        for packet in packets:
            writer.write(packet)
            await writer.drain()
            await asyncio.sleep(0.02)
        with contextlib.suppress(ConnectionError):
            while more := await reader.read(1000):
                heard.extend(more)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Broker(host="127.0.0.1", port=server.sockets[0].getsockname()[1], keepalive=5), heard


def test_a_topic_that_is_no_text_is_handed_on_without_one_and_acknowledged(client: str) -> None:
    """It must not end the connection: the broker would bring it again for ever."""
    bad = b"\x32\x0a\x00\x03a\xff\xfe\x00\x07\x00xy"  # PUBLISH QoS 1, packet 7
    good = b"\x32\x08\x00\x01t\x00\x08\x00xy"

    async def scenario() -> None:
        inbox = Inbox()
        async with saying(CONNACK, bad + good) as (settings, heard):
            async with Connection(settings, "x", on_message=inbox, manual_ack=True) as connection:
                for message in await inbox.wait(2):
                    connection.ack(message)
                await until(lambda: b"\x40\x02\x00\x07" in heard and b"\x40\x02\x00\x08" in heard)  # PUBACK
                assert connection.is_open
            assert [(message.topic, message.mid) for message in inbox.messages] == [("", 7), ("t", 8)]

    asyncio.run(scenario())


def test_a_broker_that_sends_without_end_leaves_the_others_their_turn() -> None:
    """What was bounded by a number of packets took seconds with large ones, and was asked for once more each turn."""
    packet = b"\x30\xa4\x9c\x04\x00\x01t\x00" + bytes(69_152)  # PUBLISH QoS 0

    def flood(listening: socket.socket) -> None:
        with contextlib.suppress(OSError), listening.accept()[0] as peer:
            peer.recv(1000)
            peer.sendall(CONNACK)
            while True:
                peer.sendall(packet)

    async def scenario() -> list[int]:
        handled, in_a_turn = 0, []

        def handle(message: Message) -> None:
            nonlocal handled
            assert len(message.payload) == 69_152
            handled += 1
            time.sleep(0.004)

        with socket.create_server(("127.0.0.1", 0)) as listening:
            threading.Thread(target=flood, args=[listening], daemon=True).start()
            settings = Broker(host="127.0.0.1", port=listening.getsockname()[1])
            connection = Connection(settings, "x", on_message=handle)
            await connection.open()
            while handled < 300 and connection.is_open:
                before = handled
                await asyncio.sleep(0)
                in_a_turn.append(handled - before)
            assert connection.is_open
            connection.abort(MqttError("enough"))
        return in_a_turn

    assert max(asyncio.run(scenario())) < 20


@pytest.mark.parametrize(
    "packet",
    [b"\xf0\x00", b"\x00\x00", b"\x32\x02\xff\xff", b"\x36\x05\x00\x01t\x00\x00", b"\x30\xff\xff\xff\xff\x01"],
    ids=["auth", "type 0", "short", "qos 3", "length"],
)
def test_a_malformed_packet_ends_the_connection_and_says_so(packet: bytes, client: str) -> None:
    if client == "paho":
        pytest.skip("paho reads most of these as something else")

    async def scenario() -> None:
        async with saying(CONNACK, packet) as (settings, _):
            connection = Connection(settings, "x", on_message=Inbox())
            await connection.open()
            reason = await asyncio.wait_for(connection.wait_closed(), 60)
            assert isinstance(reason, MqttError)
            assert "malformed" in str(reason) or "never asked" in str(reason)

    asyncio.run(scenario())


def test_packets_may_be_cut_anywhere() -> None:
    packets = b"".join(b"\x30\x05\x00\x01t\x00" + bytes([number]) for number in range(20))

    async def scenario() -> None:
        for size in (1, 3, 7):
            inbox = Inbox()
            cut = 28 // size * size
            parts = [packets[start : start + size] for start in range(0, cut, size)] + [packets[cut:]]
            async with saying(CONNACK, *parts) as (settings, _), Connection(settings, "x", on_message=inbox):
                await inbox.wait(20)
            assert [message.payload[0] for message in inbox.messages] == list(range(20))

    asyncio.run(scenario())


def test_a_packet_larger_than_the_broker_takes_is_refused_here() -> None:
    connack = b"\x20\x08\x00\x00\x05\x27\x00\x00\x00\x64"  # Maximum Packet Size 100

    async def scenario() -> None:
        async with saying(connack) as (settings, heard):
            async with Connection(settings, "x", on_message=Inbox()) as connection:
                with pytest.raises(MqttError, match="the broker takes 100"):
                    connection.publish("t", b"x" * 100)
                room = connection.limits.room("t")
                assert room is not None
                assert 80 < room < 100
                connection.publish("t", b"y" * room, expiry=600)
                await until(lambda: b"y" * room in heard)
            assert b"x" * 10 not in heard
            assert heard.index(b"y") + room - heard.index(b"\x32") <= 100

    asyncio.run(scenario())


def test_everything_that_a_real_broker_announces_is_known_and_kept(tmp_path: Path) -> None:
    port = free_port()
    extra = "\n".join(
        (
            "max_packet_size 2000",
            "max_keepalive 11",
            "retain_available false",
            f"listener {port} 127.0.0.1",
            "max_qos 0",
            "max_topic_alias 4",
        )
    )

    async def scenario(server: Server) -> None:
        settings = Broker(host="127.0.0.1", port=port, keepalive=60)
        inbox = Inbox()
        codes: list[int] = []
        async with Connection(settings, "x", on_message=inbox) as connection:
            limits = connection.limits
            found = (limits.maximum_packet, limits.maximum_qos, limits.retain_available, limits.server_keep_alive)
            assert found == (2000, 0, False, 11)
            await connection.subscribe("t")
            connection.publish("t", b"QoS 1 where there is none", qos=1, done=codes.append)
            room = limits.room("t")
            assert room is not None
            connection.publish("t", b"x" * room)
            for refused, reason in (
                ({"payload": b"x" * 2000}, "takes 2000"),
                ({"payload": b"", "retain": True}, "retained"),
            ):
                with pytest.raises(MqttError, match=reason):
                    connection.publish("t", **refused)
            assert [message.qos for message in await inbox.wait(2)] == [0, 0]
            assert codes == [0]
            assert connection.is_open  # it would be gone if the broker had been sent what it does not take

    with mosquitto(tmp_path, extra=extra) as server:
        asyncio.run(scenario(server))


def test_the_brokers_keep_alive_counts_and_silence_ends_it() -> None:
    connack = b"\x20\x06\x00\x00\x03\x13\x00\x02"  # Server Keep Alive 2

    async def scenario() -> None:
        async with saying(connack) as (settings, heard):
            connection = Connection(settings, "x", on_message=Inbox(), keepalive=600)
            await connection.open()
            reason = await asyncio.wait_for(connection.wait_closed(), 60)
            assert "no word from the broker" in str(reason)
            assert heard.count(b"\xc0\x00") == 1  # PINGREQ

    asyncio.run(scenario())


def test_an_answer_that_never_comes_ends_the_connection_long_before_the_keep_alive(server: Server) -> None:
    """The broker's TCP takes every byte and the broker says nothing: a hung process, or a path that was forgotten."""

    async def scenario(link: Relay) -> tuple[float, Exception]:
        connection = Connection(broker(link, keepalive=600), "waits", on_message=Inbox(), unanswered=2.0)
        await connection.open()
        await connection.deliver("t", b"the way is free")
        link.set("stall")
        await asyncio.sleep(4)
        assert connection.is_open  # nobody waits for anything
        began = asyncio.get_running_loop().time()
        connection.publish("t", b"into the void")
        reason = await asyncio.wait_for(connection.wait_closed(), 60)
        return asyncio.get_running_loop().time() - began, reason

    with relay(server.port) as link:
        seconds, reason = asyncio.run(scenario(link))
    assert "no word from the broker" in str(reason)
    assert 2 <= seconds < 20


def test_a_slow_link_that_moves_is_left_alone(server: Server) -> None:
    """One message takes three times as long as we are patient: its bytes leave all the while, no answer comes."""

    async def scenario(link: Relay) -> float:
        began = asyncio.get_running_loop().time()
        async with Connection(broker(link, keepalive=5), "slow", on_message=Inbox(), unanswered=2.0) as connection:
            await connection.deliver("t", bytes(24_000))
        return asyncio.get_running_loop().time() - began

    with relay(server.port, rate=4000) as link:
        assert asyncio.run(scenario(link)) > 5
        assert link.connections == 1


def test_tls_against_mosquitto_checks_the_name_and_tolerates_a_box_in_1970(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = _certificates(tmp_path)
    port = free_port()
    extra = f"listener {port} 127.0.0.1\ncafile {certificate}\ncertfile {certificate}\nkeyfile {key}"

    async def scenario() -> None:
        settings = Broker(host="127.0.0.1", port=port, tls=Tls(ca=str(certificate)))
        inbox = Inbox()
        async with Connection(settings, "x", on_message=inbox) as connection:
            await connection.subscribe("t")
            await connection.deliver("t", b"secret")
            assert (await inbox.wait(1))[0].payload == b"secret"
        wrong = Broker(host="localhost", port=port, tls=Tls(ca=str(certificate)))
        with pytest.raises(MqttError, match="the broker's certificate is not for 'localhost'"):
            await Connection(wrong, "x", on_message=inbox).open()
        monkeypatch.setattr("telemetry.tls.time.time", lambda: 5.0)
        async with Connection(settings, "x", on_message=inbox) as connection:
            assert connection.is_open

    with mosquitto(tmp_path, extra=extra):
        asyncio.run(scenario())


def test_hundreds_of_connections_leave_nothing_open(server: Server) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def scenario() -> tuple[int, int]:
        before = 0
        for number in range(300):
            connection = Connection(broker(server), "often", on_message=Inbox())
            await connection.open()
            if number % 2:
                await connection.close()
            else:
                connection.abort(MqttError("test"))
            if number == 10:
                before = open_files()
        return before, open_files()

    before, after = asyncio.run(scenario())
    assert after <= before + 1


def test_a_close_with_unread_messages_brings_no_will(server: Server) -> None:
    async def scenario() -> None:
        inbox = Inbox()
        async with Connection(broker(server), "watcher", on_message=inbox) as watcher:
            await watcher.subscribe("w/#")
            for number in range(20):
                will = LastWill(f"w/{number}", b"gone", retain=False)
                connection = Connection(broker(server), "busy", on_message=Inbox(), will=will)
                await connection.open()
                await connection.subscribe("flood")
                for _ in range(200):
                    watcher.publish("flood", b"x" * 1000)
                await watcher.deliver("flood", b"last")
                await connection.close()
            await asyncio.sleep(0.2)
        assert inbox.messages == []

    asyncio.run(scenario())


def test_nagle_is_off(server: Server) -> None:
    async def scenario() -> int:
        opened: Any = Connection(broker(server), "nodelay", on_message=Inbox())  # of either client
        async with opened as connection:
            driver = getattr(connection, "_driver", None)
            sock = driver._socket if driver is not None else connection._transport.get_extra_info("socket")
            return int(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    assert asyncio.run(scenario()) == 1


def test_a_connection_given_up_while_it_connects_leaves_no_socket_open(server: Server) -> None:
    async def scenario() -> None:
        before = len(os.listdir("/proc/self/fd"))
        connection = Connection(broker(server), "hasty", on_message=Inbox())
        opening = asyncio.create_task(connection.open())
        await asyncio.sleep(0)  # the thread connects now, if there is one
        connection.abort(MqttError("given up"))
        with pytest.raises(ConnectionError):
            await opening
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)
        assert not connection.is_open

    gc.collect()
    gc.disable()  # else it may tidy up behind us
    try:
        asyncio.run(scenario())
    finally:
        gc.enable()
