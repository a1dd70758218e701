"""The shipped Mosquitto configuration and access list, with real certificates: who may write and read what.

DESIGN 2 (Messages), FIELD_NOTES 56 and 57, S2 to S4: a vehicle's certificate is its user name; wills too stay below it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry.fleet import Broker, Tls
from telemetry.mqtt import Connection, LastWill, Message, MqttError
from tests.services.certificates import Authority, Pair
from tests.services.process import Server, free_port, need, running

SHIPPED = Path(__file__).parents[2] / "systemd"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Authority]]:
    """The shipped files with other paths and port, nothing else changed."""
    directory = tmp_path_factory.mktemp("broker")
    authority = Authority(directory / "certificates")
    server = authority.issue("localhost")
    port = free_port()
    text = (SHIPPED / "mosquitto-kitwatch.conf").read_text()
    for shipped, ours in (
        ("listener 8883", f"listener {port} 127.0.0.1"),
        ("/etc/mosquitto/certs/ca.crt", str(authority.ca)),
        ("/etc/mosquitto/certs/server.crt", str(server.certificate)),
        ("/etc/mosquitto/certs/server.key", str(server.key)),
        ("/etc/mosquitto/kitwatch.acl", str(SHIPPED / "mosquitto-kitwatch.acl")),
        ("/var/lib/mosquitto/", f"{directory}/"),
    ):
        assert shipped in text
        text = text.replace(shipped, ours)
    (directory / "mosquitto.conf").write_text(f"{text}\nuser root\n")
    program = need("mosquitto", "mosquitto")
    command = [program, "-c", str(directory / "mosquitto.conf")]
    with running(Server(command, port, directory / "mosquitto.log")):
        yield port, authority


class Client:
    """A connection with a certificate, and what it received."""

    def __init__(
        self, secured: tuple[int, Authority], pair: Pair | None, name: str, will: LastWill | None = None
    ) -> None:
        port, authority = secured
        tls = Tls(
            ca=str(authority.ca),
            certificate=str(pair.certificate) if pair else None,
            key=str(pair.key) if pair else None,
        )
        self.received: list[Message] = []
        broker = Broker(host="localhost", port=port, tls=tls)
        self.connection = Connection(broker, name, on_message=self.received.append, will=will, timeout=5)

    def topics(self) -> list[str]:
        return [message.topic for message in self.received]


OWN = "kitwatch/v1/down/c1/amb-01/router/receipt"
PRESENCE = "kitwatch/v1/down/c1/collector/state"


def test_a_vehicle_reads_its_own_name_and_the_owners_presence(secured: tuple[int, Authority]) -> None:
    """A subscription beyond that is refused, or granted and never served: brokers differ."""
    authority = secured[1]

    async def main() -> list[str]:
        collector = Client(secured, authority.issue("collector"), "collector-c1")
        vehicle = Client(secured, authority.issue("amb-01"), "agent-c1-amb-01-router")
        await collector.connection.open()
        await vehicle.connection.open()
        await vehicle.connection.subscribe(OWN, PRESENCE, qos=1)
        for topic in (OWN.replace("amb-01", "amb-02"), "kitwatch/v1/down/+/+/+/receipt", "kitwatch/v1/up/#"):
            with contextlib.suppress(MqttError):
                await vehicle.connection.subscribe(topic, qos=1)
        for topic in (OWN, OWN.replace("amb-01", "amb-02"), PRESENCE):
            await collector.connection.deliver(topic, b"from the collector", retain=False)
        await asyncio.sleep(0.5)
        await vehicle.connection.close()
        await collector.connection.close()
        return sorted(set(vehicle.topics()))

    assert asyncio.run(main()) == [OWN, PRESENCE]


def test_a_vehicle_writes_below_its_own_name_only(secured: tuple[int, Authority]) -> None:
    """A connection each: Mosquitto 2.0.11 may end one on which it refused a message."""
    authority = secured[1]
    tried = (
        "kitwatch/v1/up/c1/amb-02/router/live",
        "kitwatch/v1/up/c1/collector/beat",
        PRESENCE,
        OWN,
        "kitwatch/v1/up/c1/amb-01/router/live",
    )

    async def main() -> list[str]:
        collector = Client(secured, authority.issue("collector"), "collector-c1")
        await collector.connection.open()
        await collector.connection.subscribe("kitwatch/v1/up/#", "kitwatch/v1/down/#", qos=1)
        for number, topic in enumerate(tried):
            vehicle = Client(secured, authority.issue("amb-01"), f"agent-{number}")
            await vehicle.connection.open()
            vehicle.connection.publish(topic, b"from amb-01", qos=1)
            await asyncio.sleep(0.3)
            await vehicle.connection.close()
        await collector.connection.close()
        return [message.topic for message in collector.received if message.payload == b"from amb-01"]

    assert asyncio.run(main()) == ["kitwatch/v1/up/c1/amb-01/router/live"]


def test_a_will_stays_below_the_vehicles_own_name(secured: tuple[int, Authority]) -> None:
    """FIELD_NOTES 56: brokers do not all check a will when the client connects; none may be delivered."""
    authority = secured[1]

    async def main() -> list[str]:
        collector = Client(secured, authority.issue("collector"), "collector-c1")
        await collector.connection.open()
        await collector.connection.subscribe("kitwatch/v1/up/c1/#", qos=1)
        for number, topic in enumerate(("amb-02/router/state", "amb-01/router/state")):
            will = LastWill(f"kitwatch/v1/up/c1/{topic}", b"will of amb-01")
            vehicle = Client(secured, authority.issue("amb-01"), f"agent-{number}", will)
            try:
                await vehicle.connection.open()
            except MqttError:
                continue
            vehicle.connection.abort(MqttError("the vehicle drove into a tunnel"))
        await asyncio.sleep(1.0)
        await collector.connection.close()
        return collector.topics()

    assert asyncio.run(main()) == ["kitwatch/v1/up/c1/amb-01/router/state"]


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_without_a_certificate_of_ours_there_is_no_connection(
    secured: tuple[int, Authority], who: str, tmp_path: Path
) -> None:
    pair = Authority(tmp_path / "another").issue("amb-01") if who == "stranger" else None

    async def main() -> None:
        client = Client(secured, pair, "agent-x")
        begun = time.monotonic()
        with pytest.raises((MqttError, OSError)):
            await client.connection.open()
        assert time.monotonic() - begun < 6

    asyncio.run(main())
