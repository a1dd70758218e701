"""The broker with the shipped limits, a collector in a process of its own, one flood, and a neighbour beside it.

The neighbour is honest: he sends one sample every ``EVERY_S`` and notes how long each waits until the receipt that
names it has come back through the same broker: committed, and told.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
import yaml

from telemetry.fleet import Broker
from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, Birth, HeldRun, Moment, Receipt, SchemaBody, decode, encode
from telemetry.mqtt import Message
from telemetry.paho_mqtt import Connection
from telemetry.records import Clock
from telemetry.topics import AgentName
from tests.floods.floods import MODEM, SITE, VEHICLE
from tests.services.api import HEADERS, let_in
from tests.services.process import Server, free_port, need, running

EVERY_S: Final = 0.2
SETTLE_S: Final = 3.0
"""After the flood, until everything is committed."""
START_S: Final = 90.0
ROOT: Final = Path(__file__).parents[2]
LIMITS: Final = re.compile(r"^(max_(?!connections)|memory_limit|persistent_client|set_tcp)", re.MULTILINE)
DEVICES: Final = {"devices": {"modem-1": {"kind": "modem", "modem": {"port": "/dev/null"}}}}
FLEET: Final = {
    "sites": {
        SITE: {"vehicles": {name: {"agents": {"router": DEVICES}} for name in ("amb-1", "amb-2", "amb-3", VEHICLE)}}
    }
}


@dataclasses.dataclass
class Told:
    """What came of one flood."""

    flood: str
    database: str
    said: int = 0
    """Messages of the flood."""
    said_bytes: int = 0
    worst_wait_s: float = 0.0
    """Of the neighbour."""
    waits: int = 0
    """Samples that he sent, all of them receipted."""
    refused: dict[str, int] = dataclasses.field(default_factory=dict)
    """Messages by quota."""
    counted: dict[str, int] = dataclasses.field(default_factory=dict)
    """What was committed of counters."""
    tickets: int = 0
    """About quotas, of the flood's vehicle."""
    open_tickets: int = 0
    """Of the flood's vehicle, all of them."""
    over_quota: list[str] = dataclasses.field(default_factory=list)
    """As the site's status says."""
    memory_mb: float = 0.0
    """By which the collector's peak is above what it had before."""
    database_mb: float = 0.0
    """By which the database has grown."""
    restart_s: float = 0.0
    """Until the next collector owns the site and listens to the broker."""


@contextlib.contextmanager
def broker(directory: Path) -> Iterator[Server]:
    """Yield Mosquitto without passwords, with the limits of systemd/mosquitto-kitwatch.conf."""
    shipped = (ROOT / "systemd" / "mosquitto-kitwatch.conf").read_text()
    limits = [line for line in shipped.splitlines() if LIMITS.match(line)]
    assert len(limits) >= 6, limits
    port = free_port()
    user = "user root" if os.geteuid() == 0 else ""
    config = directory / "mosquitto.conf"
    config.write_text("\n".join([f"listener {port} 127.0.0.1", "allow_anonymous true", user, *limits, ""]))
    command = [need("mosquitto", "mosquitto"), "-c", str(config)]
    with running(Server(command, port, directory / "mosquitto.log")) as server:
        yield server


class Collector:
    """A collector's process; started again it goes on with the same database."""

    def __init__(
        self,
        directory: Path,
        broker: Mapping[str, Any],
        database: str,
        fleet: Mapping[str, Any] = FLEET,
        **timings: float,
    ) -> None:
        self._log = directory / "collector.log"
        (self._site,) = fleet["sites"]
        self._web = free_port()
        self._database = database
        (directory / "fleet.yaml").write_text(yaml.safe_dump(fleet))
        self._config = directory / "collector.yaml"
        data: dict[str, Any] = {
            "broker": broker,
            "database": database,
            "fleet": "fleet.yaml",
            "web": {"port": self._web},
            "timings": {"receipt": 0, "beat": 1, "retry": 0.1, "retry_most": 0.5, **timings},
            "notifications": [{"channel": "webhook", "url": "http://127.0.0.1:9/"}],
        }
        self._config.write_text(json.dumps(data))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it; return after how many seconds it owns the site and is connected."""
        begun = time.monotonic()
        command = [str(Path(sys.executable).parent / "kitwatch"), "collector", "--config", str(self._config)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
        while time.monotonic() - begun < START_S:
            with contextlib.suppress(OSError, ValueError):
                found = self.get("healthz", timeout=1)
                if "sites" not in found:  # its database is made by now, and we are not known in it
                    let_in(self._database)
                    continue
                site = found["sites"][self._site]
                if site["state"] == "owner" and site["connected"]:
                    return time.monotonic() - begun
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"no collector after {START_S:g} s: {self._log.read_text()[-3000:]}")

    def stop(self) -> None:
        """End it as systemd would."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def get(self, path: str, timeout: float = 20) -> Any:
        """Return what the API says. Raises OSError while it does not answer."""
        return json.loads(self.read(path, timeout))

    def read(self, path: str, timeout: float = 20) -> str:
        """The same as text."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._web}/{path}", headers=HEADERS)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.read().decode())

    @property
    def web(self) -> int:
        """The port of its pages."""
        return self._web

    def peak_mb(self) -> float:
        """Return the most memory that it has had."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024

    def log(self) -> str:
        """Return what it has said."""
        return self._log.read_text()

    def memory_mb(self) -> float:
        """Return what it has now."""
        assert self._process is not None
        return float(psutil.Process(self._process.pid).memory_info().rss / 2**20)

    def database_mb(self) -> float:
        """Return the size of the database."""
        if self._database.startswith("sqlite"):
            file = Path(self._database.removeprefix("sqlite:///"))
            return sum(one.stat().st_size for one in file.parent.glob(f"{file.name}*")) / 2**20
        with psycopg.connect(self._database, autocommit=True) as connection:
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            assert row is not None
            return int(row[0]) / 2**20


class Neighbour:
    """An honest vehicle; ``waits`` are seconds from sending to the receipt, by sequence number."""

    def __init__(self, broker: Broker, vehicle: str, site: str = SITE) -> None:
        self._name = AgentName(site, vehicle, "router")
        self.run = f"{int(vehicle.rpartition('-')[2]):016x}"
        self._sent: dict[int, float] = {}
        self.waits: dict[int, float] = {}
        self._connection = Connection(broker, f"neighbour-{vehicle}", on_message=self._on_message)

    async def open(self) -> None:
        """Connect and give birth."""
        await self._connection.open()
        await self._connection.subscribe(self._name.down("receipt"))
        await self._say("state", Birth(1, "b", "m", "1", 10.0, {self.run: HeldRun("b", 0, 0)}), retain=True)
        clock = Clock(0, 0, time.time_ns() // 1_000_000, "ntp", 5)
        self._began = time.monotonic()
        await self._say("schema", SchemaBody("b", {MODEM.id(): MODEM}, (clock,)))

    async def close(self) -> None:
        """Leave."""
        await self._connection.close()

    async def send(self) -> None:
        """Send one sample, without waiting for anything."""
        number = len(self._sent)
        body = [Moment(round((time.monotonic() - self._began) * 1000), 0, [[MODEM.id(), [-80.0, "ready"]]])]
        self._sent[number] = time.monotonic()
        payload = encode(DEFLATED, self.run, body, Intervals([(number, number)]))
        self._connection.publish(self._name.up("live"), payload)

    def open_since(self) -> dict[int, float]:
        """Return for how long each sample waits that has no receipt yet."""
        now = time.monotonic()
        return {number: now - at for number, at in self._sent.items() if number not in self.waits}

    async def _say(self, kind: str, body: object, *, retain: bool = False) -> None:
        await self._connection.deliver(self._name.up(kind), encode(DEFLATED, self.run, body), retain=retain)

    def _on_message(self, message: Message) -> None:
        now = time.monotonic()
        receipt: Receipt = decode(message.payload, Receipt)[1]
        for first, last in receipt.runs.get(self.run, ()):
            for number in range(first, last + 1):
                if number in self._sent:
                    self.waits.setdefault(number, now - self._sent[number])


async def stage(directory: Path, flood: str, seconds: float, database: str) -> Told:
    """Let one flood go over a fresh collector; an empty ``flood`` is none, to compare with."""
    told = Told(flood or "none", "sqlite" if database.startswith("sqlite") else "postgresql")
    with broker(directory) as server:
        collector = Collector(directory, {"host": "127.0.0.1", "port": server.port}, database)
        try:
            collector.start()
            had_mb = await _flood(collector, server.port, flood, seconds, told)
            told.memory_mb = collector.peak_mb() - had_mb
            collector.stop()
            told.restart_s = collector.start()
            await asyncio.sleep(1)
            told.memory_mb = max(told.memory_mb, collector.peak_mb() - had_mb)
        finally:
            collector.stop()
    return told


async def _flood(collector: Collector, port: int, flood: str, seconds: float, told: Told) -> float:
    """Let it flow; return the memory that the collector had before, in MB."""
    neighbours = [Neighbour(Broker(host="127.0.0.1", port=port), name) for name in ("amb-1", "amb-2")]
    for one in neighbours:
        await one.open()
        await one.send()
    while any(not one.waits for one in neighbours):  # noqa: ASYNC110 - a receipt sends no event here
        await asyncio.sleep(0.05)
    memory_mb, database_mb = collector.memory_mb(), collector.database_mb()
    async with _poured(port, flood, seconds, told) as ended:
        turn = 0
        while not ended.is_set() or any(one.open_since() for one in neighbours):
            if not ended.is_set():
                await neighbours[turn % 2].send()
                turn += 1
            elif max(max(one.open_since().values(), default=0) for one in neighbours) > 60:
                break
            await asyncio.sleep(EVERY_S)
    await asyncio.sleep(SETTLE_S)
    waits = [wait for one in neighbours for wait in (*one.waits.values(), *one.open_since().values())]
    told.worst_wait_s, told.waits = max(waits), len(waits)
    for one in neighbours:
        await one.close()
    told.database_mb = collector.database_mb() - database_mb
    await asyncio.to_thread(_look, collector, told)
    return memory_mb


def _look(collector: Collector, told: Told) -> None:
    """Ask the collector what it has counted and shown."""
    metrics = collector.read("metrics")
    for quota, number in re.findall(r'^kitwatch_over_quota_total{quota="(\w+)",.*} (\S+)$', metrics, re.MULTILINE):
        told.refused[quota] = told.refused.get(quota, 0) + int(float(number))
    for what, number in re.findall(r'^kitwatch_committed_total{.*what="([^"]+)"} (\S+)$', metrics, re.MULTILINE):
        told.counted[what] = int(float(number))
    tickets = collector.get(f"api/tickets?vehicle={VEHICLE}&limit=200")["tickets"]
    told.open_tickets = sum(bool(one["open"]) for one in tickets)
    told.tickets = sum(one["fault"] == "quarantine_growing" for one in tickets)
    (site,) = collector.get("api/sites")["sites"]
    told.over_quota = site["over_quota"].get(VEHICLE, [])


@contextlib.asynccontextmanager
async def _poured(port: int, flood: str, seconds: float, told: Told) -> AsyncIterator[asyncio.Event]:
    """Pour the flood in a process of its own while the block lasts; the event says that it is over."""
    ended = asyncio.Event()
    if not flood:
        asyncio.get_running_loop().call_later(seconds, ended.set)
        yield ended
        return
    command = [sys.executable, "-m", "tests.floods.flooder", str(port), flood, str(seconds)]
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdin is not None
    assert (await process.stdout.readline()) == b"begin\n"
    process.stdin.write(b"\n")

    async def wait() -> None:
        assert process.stdout is not None
        said = json.loads(await process.stdout.read())
        told.said, told.said_bytes = said["messages"], said["bytes"]
        await process.wait()
        ended.set()

    waiting = asyncio.create_task(wait())
    try:
        yield ended
    finally:
        if process.returncode is None:
            process.kill()
        await waiting
