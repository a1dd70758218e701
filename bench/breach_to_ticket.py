"""How long it takes from a sample that completes a breach to the committed ticket: 1,000 breaches, one after another.

Beside them 200 vehicles report that all is well, 500 messages a second. The ticket's row is looked for every ms by a
connection of our own, so figures are up to a millisecond too long. Against a message of the same size to ourselves
through the same broker, taken after each breach. The collector lets ten messages come together (``linger_ms``).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from bench import fleet_traffic as traffic
from bench.fleet_traffic import Changed, Speaker
from bench.row import Row, percentile, row
from telemetry.fleet import Broker
from telemetry.metrics import Value
from telemetry.mqtt import Message
from telemetry.paho_mqtt import Connection
from tests.services.mosquitto import mosquitto

BREACHES: Final[Sequence[tuple[str, Changed, Value]]] = (
    ("sim_absent", ("modem", "modem.sim"), "absent"),
    ("encoder_down", ("encoder", "device.reachable"), False),
    ("host_hot", ("gateway", "host.temperature_c"), 97.0),
    ("on_battery", ("ups", "power.on_battery"), True),
)
"""Shipped rule, value that breaks it. Each is made to open at once; nothing else about it is changed."""
BREAKING: Final = 250
"""Vehicles that break, each by every rule."""
USUAL: Final = 200
USUAL_RATE: Final = 500.0
WARM: Final = 3


def rows() -> list[Row]:
    """Return the rows for the median and for one in a hundred, in milliseconds."""
    with tempfile.TemporaryDirectory(prefix="kitwatch-bench-") as name, mosquitto(Path(name)) as broker:
        directory = Path(name)
        file = directory / "kitwatch.sqlite"
        rules = {"overrides": [{"rule": rule, "set": {"for": "0s", "version": 2}} for rule, _, _ in BREACHES]}
        config = traffic.write_files(directory, broker.port, f"sqlite:///{file}", BREAKING + USUAL, rules)
        with traffic.collector(directory, config):
            delays, trips = asyncio.run(_measure(broker.port, file))
    against = "round trip through the same broker"
    return [
        row(
            f"breach to committed ticket, p{share * 100:g} of {len(delays)}, ms",
            percentile(delays, share),
            against,
            percentile(trips, share),
            target=f"ours <= {limit}",
        )
        for share, limit in ((0.5, 30), (0.99, 60))
    ]


async def _measure(port: int, file: Path) -> tuple[list[float], list[float]]:
    """Return the delays of all breaches and of as many round trips, in ms."""
    everyone = traffic.speakers(BREAKING + USUAL, WARM)
    heard, echo = asyncio.Event(), asyncio.Event()
    on_presence = traffic.on_presence(heard)

    def on_message(message: Message) -> None:
        if message.topic == "echo":
            echo.set()
        else:
            on_presence(message)

    broker = Broker(host="127.0.0.1", port=port)
    async with (
        Connection(broker, "breaks", on_message=on_message) as link,
        Connection(broker, "reports", on_message=on_message) as other,
    ):
        await traffic.owner_there(link, heard)
        await link.subscribe("echo")
        for one in everyone:
            for topic, payload, retain in one.introduction():
                link.publish(topic, payload, retain=retain)
        for one in [one for _ in range(WARM) for one in everyone]:
            await link.deliver(*one.next())
        usual = asyncio.create_task(_report(other, everyone[BREAKING:]))
        try:
            with _tickets(file) as tickets:
                return await _break(link, everyone[:BREAKING], tickets, echo)
        finally:
            usual.cancel()


async def _break(
    link: Connection, vehicles: Sequence[Speaker], tickets: Any, echo: asyncio.Event
) -> tuple[list[float], list[float]]:
    chance = random.Random(1)
    delays, trips = [], []
    changed: dict[Changed, Value] = {}
    for fault, what, value in BREACHES:
        changed[what] = value
        for one in vehicles:
            await asyncio.sleep(chance.uniform(0, 0.02))  # in no step with the collector's own rhythm
            topic, payload = one.now(changed)
            begun = time.perf_counter()
            link.publish(topic, payload, expiry=traffic.EXPIRY_S)
            async with asyncio.timeout(10):
                while (one.name.vehicle, fault) not in tickets():  # noqa: ASYNC110 - a database sends no events
                    await asyncio.sleep(0.0005)
            delays.append((time.perf_counter() - begun) * 1000)
            echo.clear()
            begun = time.perf_counter()
            link.publish("echo", payload)
            await echo.wait()
            trips.append((time.perf_counter() - begun) * 1000)
    return delays, trips


async def _report(link: Connection, vehicles: Sequence[Speaker]) -> None:
    """Go on reporting that all is well."""
    begun = time.monotonic()
    for number, one in enumerate(itertools.cycle(vehicles)):
        topic, payload = one.now({})
        link.publish(topic, payload, expiry=traffic.EXPIRY_S)
        await asyncio.sleep(max(0.0, begun + number / USUAL_RATE - time.monotonic()))


@contextlib.contextmanager
def _tickets(file: Path) -> Iterator[Any]:
    """Yield what returns the (vehicle, fault) of every ticket so far."""
    found: set[tuple[str, str]] = set()
    last = 0
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, isolation_level=None)) as connection:

        def look() -> set[tuple[str, str]]:
            nonlocal last
            query = "SELECT rowid, vehicle, fault FROM ticket WHERE rowid > ? ORDER BY rowid"
            for number, vehicle, fault in connection.execute(query, (last,)).fetchall():
                last = number
                found.add((vehicle, fault))
            return found

        yield look
