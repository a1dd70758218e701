"""The shipped Mosquitto configuration and access list under Debian's main file, with `kitwatch setup`'s certificates.

Field notes 56 and 57, S2 to S4: who may connect, under which name, and write and read what. Wills
too stay below a vehicle's own name; client ids are the certificate's; a revoked certificate ends with its session.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from collector.site.health import DROPPED_TOPIC
from telemetry.broker_limits import BrokerLimits
from telemetry.fleet import Broker, Tls
from telemetry.mqtt import LastWill, Message, MqttError
from telemetry.paho_mqtt import Connection
from tests.services.certificates import Authority, Pair
from tests.services.fake_collector import until
from tests.services.secured_broker import SHIPPED, Secured, secured_broker, setup
from tests.services.stopwatch import Stopwatch


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


class Client:
    """A connection with a certificate, and what it received."""

    def __init__(
        self,
        secured: Secured,
        pair: Pair | None,
        name: str,
        *,
        will: LastWill | None = None,
        listener: str = "vehicles",
        session_expiry: int = 0,
    ) -> None:
        tls = Tls(
            ca=str(secured.directory / "ca.crt"),
            certificate=str(pair.certificate) if pair else None,
            key=str(pair.key) if pair else None,
        )
        self.received: list[Message] = []
        self.connection = Connection(
            Broker(host="localhost", port=secured.ports[listener], tls=tls),
            name,
            on_message=self.received.append,
            will=will,
            timeout=5,
            clean_start=not session_expiry,
            session_expiry=session_expiry,
        )

    def topics(self) -> list[str]:
        return [message.topic for message in self.received]


def the_collector(secured: Secured, session_expiry: int = 0) -> Client:
    pair = secured.certificate("collector")
    return Client(secured, pair, "collector-c1", listener="collector", session_expiry=session_expiry)


OWN = "kitwatch/v1/down/c1/amb-01/router/receipt"
PRESENCE = "kitwatch/v1/down/c1/collector/state"


def test_a_vehicle_reads_its_own_name_and_the_owners_presence(secured: Secured) -> None:
    """A subscription beyond that is refused, or granted and never served: brokers differ."""

    async def main() -> list[str]:
        collector = the_collector(secured)
        vehicle = Client(secured, secured.certificate("amb-01"), "agent-c1-amb-01-router")
        await collector.connection.open()
        await vehicle.connection.open()
        await vehicle.connection.subscribe(OWN, PRESENCE, qos=1)
        for topic in (OWN.replace("amb-01", "amb-02"), "kitwatch/v1/down/+/+/+/receipt", "kitwatch/v1/up/#"):
            with contextlib.suppress(MqttError):
                await vehicle.connection.subscribe(topic, qos=1)
        for topic in (OWN, OWN.replace("amb-01", "amb-02"), PRESENCE):
            await collector.connection.deliver(topic, b"from the collector", retain=False)
        await until(lambda: PRESENCE in vehicle.topics())  # a broker keeps the order: what was to come before has come
        await vehicle.connection.close()
        await collector.connection.close()
        return sorted(set(vehicle.topics()))

    assert asyncio.run(main()) == [OWN, PRESENCE]


def test_the_collector_reads_what_the_broker_drops_and_a_vehicle_does_not(secured: Secured) -> None:
    async def main() -> tuple[list[str], list[str]]:
        vehicle = Client(secured, secured.certificate("amb-01"), "agent-c1-amb-01-router")
        collector = the_collector(secured)
        await vehicle.connection.open()
        with contextlib.suppress(MqttError):
            await vehicle.connection.subscribe(DROPPED_TOPIC, "$SYS/#", qos=0)
        await collector.connection.open()
        await collector.connection.subscribe(DROPPED_TOPIC, qos=0)
        await until(lambda: collector.received)  # Mosquitto tells every 10 s
        await vehicle.connection.close()
        await collector.connection.close()
        return vehicle.topics(), collector.topics()

    found = asyncio.run(main())
    assert found == ([], [DROPPED_TOPIC] * len(found[1]))


def test_a_vehicle_writes_below_its_own_name_only(secured: Secured) -> None:
    """A connection each: Mosquitto 2.0.11 may end one on which it refused a message."""
    tried = (
        "kitwatch/v1/up/c1/amb-02/router/live",
        "kitwatch/v1/up/c1/collector/beat",
        PRESENCE,
        OWN,
        "kitwatch/v1/up/c2/amb-01/router/live",
        "kitwatch/v1/up/c1/amb-01/another/live",
        "kitwatch/v1/up/c1/amb-01/router/live/more",
        "kitwatch/v1/up/c1/amb-01/router/another",
        "kitwatch/v1/up/c1/amb-01/router/live",
    )

    async def main() -> list[str]:
        collector = the_collector(secured)
        await collector.connection.open()
        await collector.connection.subscribe("kitwatch/v1/up/#", "kitwatch/v1/down/#", qos=1)
        for number, topic in enumerate(tried):
            vehicle = Client(secured, secured.certificate("amb-01"), f"agent-{number}")
            await vehicle.connection.open()
            answered: list[int] = []
            vehicle.connection.publish(topic, b"from amb-01", qos=1, done=answered.append)
            await until(lambda vehicle=vehicle, answered=answered: answered or not vehicle.connection.is_open)  # type: ignore[misc]
            await vehicle.connection.close()
        await until(lambda: tried[-1] in collector.topics())
        await collector.connection.close()
        return [message.topic for message in collector.received if message.payload == b"from amb-01"]

    assert asyncio.run(main()) == ["kitwatch/v1/up/c1/amb-01/router/live"]


def test_a_vehicle_cannot_fill_the_broker_with_topics(secured: Secured) -> None:
    """A million retained topics (15 s of one connection) ended Mosquitto 2.0.11 at its memory limit: 1 KB each."""

    async def main() -> int:
        process = secured.server.process
        assert process is not None
        before = psutil.Process(process.pid).memory_info().rss
        vehicle = Client(secured, secured.certificate("amb-01"), "agent-c1-amb-01-router")
        await vehicle.connection.open()
        for number in range(50_000):
            topic = f"kitwatch/v1/up/c1/amb-01/{number}/state"
            vehicle.connection.publish(topic, b"retained", qos=0, retain=True)
            if number % 1000 == 0:
                await asyncio.sleep(0.01)
        heard = asyncio.Event()
        vehicle.connection.publish("kitwatch/v1/up/c1/amb-01/router/live", b"x", done=lambda _: heard.set())
        async with asyncio.timeout(60):  # acknowledged in order: all of them have been read
            await heard.wait()
        await vehicle.connection.close()
        return psutil.Process(process.pid).memory_info().rss - before

    assert asyncio.run(main()) < 20_000_000


def test_a_will_stays_below_the_vehicles_own_name(secured: Secured) -> None:
    """Field note 56: brokers do not all check a will when the client connects; none may be delivered."""

    async def main() -> list[str]:
        collector = the_collector(secured)
        await collector.connection.open()
        await collector.connection.subscribe("kitwatch/v1/up/c1/#", qos=1)
        for number, topic in enumerate(("amb-02/router/state", "amb-01/router/state")):
            will = LastWill(f"kitwatch/v1/up/c1/{topic}", b"will of amb-01")
            vehicle = Client(secured, secured.certificate("amb-01"), f"agent-{number}", will=will)
            try:
                await vehicle.connection.open()
            except MqttError:
                continue
            vehicle.connection.abort(MqttError("the vehicle drove into a tunnel"))
        await until(lambda: "kitwatch/v1/up/c1/amb-01/router/state" in collector.topics())
        await asyncio.sleep(0.5)  # and no other one
        await collector.connection.close()
        return collector.topics()

    assert asyncio.run(main()) == ["kitwatch/v1/up/c1/amb-01/router/state"]


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_without_a_certificate_of_ours_there_is_no_connection(secured: Secured, who: str, tmp_path: Path) -> None:
    pair = Authority(tmp_path / "another").issue("amb-01") if who == "stranger" else None

    async def main() -> None:
        client = Client(secured, pair, "agent-x")
        watch = Stopwatch()
        with pytest.raises((MqttError, OSError)):
            await client.connection.open()
        assert watch.seconds < 6

    asyncio.run(main())


@pytest.mark.parametrize(("who", "listener"), [("amb-01", "collector"), ("collector", "vehicles")])
def test_each_listener_takes_the_certificates_of_its_own_authority(secured: Secured, who: str, listener: str) -> None:
    async def main() -> None:
        client = Client(secured, secured.certificate(who), "collector-c1", listener=listener)
        with pytest.raises((MqttError, OSError)):
            await client.connection.open()

    asyncio.run(main())


def test_no_vehicle_takes_the_session_of_another_client(secured: Secured) -> None:
    """Whatever amb-01 calls itself, it is amb-01: the collector and amb-02 stay connected and get their messages."""

    async def main() -> None:
        collector = the_collector(secured, session_expiry=60)
        await collector.connection.open()
        await collector.connection.subscribe("kitwatch/v1/up/#", qos=1)
        neighbour = Client(secured, secured.certificate("amb-02"), "agent-c1-amb-02-router")
        await neighbour.connection.open()
        for name in ("collector-c1", "agent-c1-amb-02-router", "amb-02") * 3:
            thief = Client(secured, secured.certificate("amb-01"), name, session_expiry=60)
            await thief.connection.open()
            await thief.connection.close()
        assert collector.connection.is_open
        assert neighbour.connection.is_open
        await neighbour.connection.deliver("kitwatch/v1/up/c1/amb-02/router/live", b"still here")
        await until(lambda: b"still here" in [message.payload for message in collector.received])
        await neighbour.connection.close()
        await collector.connection.close()

    asyncio.run(main())


def test_a_certificate_has_one_session_whatever_names_it_makes_up(secured: Secured) -> None:
    async def main() -> list[bool]:
        present = []
        for number in range(5):
            vehicle = Client(secured, secured.certificate("amb-02"), f"made-up-{number}", session_expiry=60)
            await vehicle.connection.open()
            present.append(vehicle.connection.session_present)
            await vehicle.connection.close()
        await Client(secured, secured.certificate("amb-02"), "the-end").connection.open()  # clean: the session ends
        return present[1:]

    assert asyncio.run(main()) == [True] * 4


def test_two_agents_of_a_vehicle_have_names_of_their_own(secured: Secured) -> None:
    async def main() -> list[str]:
        pairs = {agent: secured.certificate(f"amb-03.{agent}") for agent in ("router", "tablet")}
        secured.server.stop()
        secured.server.start()  # as systemctl reload does: the access list has grown
        collector = the_collector(secured)
        await collector.connection.open()
        await collector.connection.subscribe("kitwatch/v1/up/c1/#", qos=1)
        agents = {agent: Client(secured, pair, f"agent-c1-amb-03-{agent}") for agent, pair in pairs.items()}
        for agent in agents.values():
            await agent.connection.open()
        await agents["tablet"].connection.subscribe("kitwatch/v1/down/c1/amb-03/tablet/receipt", PRESENCE, qos=1)
        agents["router"].connection.publish("kitwatch/v1/up/c1/amb-03/tablet/live", b"for the other", qos=1)
        for name, agent in agents.items():
            if agent.connection.is_open:
                agent.connection.publish(f"kitwatch/v1/up/c1/amb-03/{name}/live", b"its own", qos=1)
        await collector.connection.deliver("kitwatch/v1/down/c1/amb-03/tablet/receipt", b"thanks")
        await until(lambda: agents["tablet"].received and set(own) <= set(collector.topics()))
        assert agents["tablet"].topics() == ["kitwatch/v1/down/c1/amb-03/tablet/receipt"]
        for agent in agents.values():
            await agent.connection.close()
        await collector.connection.close()
        return sorted(message.topic for message in collector.received if not message.retain)

    own = [f"kitwatch/v1/up/c1/amb-03/{agent}/live" for agent in ("router", "tablet")]
    assert asyncio.run(main()) == own


def test_a_revoked_certificate_ends_with_its_session(secured: Secured) -> None:
    """As docs/installation says it: `kitwatch setup revoke`, then a restart; the neighbour comes back, it does not."""

    async def main() -> None:
        stolen, neighbour = (secured.certificate(name) for name in ("amb-01", "amb-02"))
        live = Client(secured, stolen, "agent-c1-amb-01-router")
        await live.connection.open()
        setup(secured.directory, "revoke", "amb-01")
        secured.server.stop()
        secured.server.start()
        await asyncio.wait_for(live.connection.wait_closed(), 60)
        with pytest.raises((MqttError, OSError)):
            await Client(secured, stolen, "agent-c1-amb-01-router").connection.open()
        other = Client(secured, neighbour, "agent-c1-amb-02-router")
        await other.connection.open()
        await other.connection.close()
        (secured.directory / "amb-01.tar").unlink()
        shutil.rmtree(secured.directory / "amb-01")
        again = Client(secured, secured.certificate("amb-01"), "agent-c1-amb-01-router")
        await again.connection.open()  # the box that comes in its place
        await again.connection.close()

    asyncio.run(main())


def test_the_broker_bounds_what_one_client_may_cost() -> None:
    settings = dict(
        line.split(" ", 1)
        for line in (SHIPPED / "mosquitto-kitwatch.conf").read_text().splitlines()
        if " " in line and not line.startswith("#")
    )
    for name in ("memory_limit", "max_queued_messages", "max_queued_bytes", "max_connections", "max_packet_size"):
        assert int(settings[name]) > 0, name
    assert settings["persistent_client_expiration"] == "1d"


def test_a_packet_over_the_bound_ends_its_connection(secured: Secured) -> None:
    async def main() -> None:
        vehicle = Client(secured, secured.certificate("amb-02"), "agent-c1-amb-02-router")
        await vehicle.connection.open()
        vehicle.connection.limits = BrokerLimits()  # as one that means harm: ours keep to what the broker said
        vehicle.connection.publish("kitwatch/v1/up/c1/amb-02/router/live", bytes(300_001), qos=1)
        await asyncio.wait_for(vehicle.connection.wait_closed(), 60)

    asyncio.run(main())
