"""The whole product as real processes beside real servers, to be broken and judged.

The agents' records are copied as they enter the outbox (``agent_process``), and what a killed agent had on disk but
had not copied is read from its outbox. That set is the obligation; ``judge`` holds InfluxDB, the log and the tickets
against it with code of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import yaml

from simulator.kit import Endpoints, Kit
from simulator.scenario import Scenario
from telemetry.records import Clock, Event, Record, Sample, Schema
from tests.services.influxdb import Influx, influxdb
from tests.services.mosquitto import mosquitto
from tests.services.process import Server, free_port
from tests.services.relay import Relay, relay

SITE = "centre"
COMMUNITY = "chaos-only"
AGENTS = (("amb-01", "router"), ("amb-01", "tablet"), ("amb-02", "router"))
RecordKey = tuple[str, str, str, int]
"""(vehicle, agent, run, sequence)."""


@dataclass
class Obligation:
    """One record that an agent put into its outbox, with all that is needed to say where it must be found."""

    record: Record
    schema: Schema | None
    clocks: list[Clock] = field(default_factory=list)


class KitThread:
    """Simulated kits in a thread of their own."""

    def __init__(self, scenario: Scenario) -> None:
        self._kits = {
            "amb-01": Kit("amb-01", scenario, COMMUNITY),
            "amb-02": Kit("amb-02", scenario, COMMUNITY, cameras=()),
        }
        self.begun = time.monotonic()
        self.ends: dict[str, Endpoints] = {}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kit", daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)

        async def begin() -> None:
            self.begun = time.monotonic()
            for vehicle, kit in self._kits.items():
                self.ends[vehicle] = await kit.start(self.begun)
            self._ready.set()

        async def end() -> None:
            for kit in self._kits.values():
                await kit.stop()

        self._loop.run_until_complete(begin())
        self._loop.run_forever()
        self._loop.run_until_complete(end())
        self._loop.close()


class World:
    """Everything that runs, by name; see ``world``."""

    def __init__(
        self, directory: Path, broker: Server, link: Relay, influx: Influx, kits: KitThread, database: str, speed: float
    ) -> None:
        self.directory = directory
        self.broker = broker
        self.link = link
        self.influx = influx
        self.kits = kits
        self.database = database
        self.speed = speed
        self.web = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.found_on_disk: dict[RecordKey, Record] = {}
        self._write_files()

    # --- files --------------------------------------------------------------------------------------------------------

    def _write_files(self) -> None:
        community = self._secret("community", COMMUNITY)
        token = self._secret("token", self.influx.token)
        every = {"interval": 1, "deadline": 1}

        def snmp(port: int) -> dict[str, Any]:
            return {"address": "127.0.0.1", "port": port, "community_file": community, "timeout": 0.4, **every}

        def kit(ends: Endpoints) -> dict[str, Any]:
            devices: dict[str, Any] = {
                "router": {"kind": "router", "snmp": snmp(ends.router_port)},
                "modem": {"kind": "modem", "modem": {"port": ends.modem_port, **every}},
                "gnss": {"kind": "gnss", "gnss": {"port": ends.gnss_port, **every}},
            }
            for camera, port in ends.camera_ports.items():
                devices[camera] = {"kind": "camera", "snmp": snmp(port)}
            return devices

        tablet = {"tablet": {"kind": "host", "system": every}}
        self.devices = {
            ("amb-01", "router"): kit(self.kits.ends["amb-01"]),
            ("amb-01", "tablet"): tablet,
            ("amb-02", "router"): kit(self.kits.ends["amb-02"]),
        }
        vehicles: dict[str, Any] = {}
        for (vehicle, agent), devices in self.devices.items():
            vehicles.setdefault(vehicle, {"agents": {}})["agents"][agent] = {"devices": devices}
            self._yaml(
                f"agent-{vehicle}-{agent}.yaml",
                {
                    "site": SITE,
                    "vehicle": vehicle,
                    "agent": agent,
                    "broker": {"host": "127.0.0.1", "port": self.link.port, "keepalive": 5},
                    "state_directory": str(self.directory / f"state-{vehicle}-{agent}"),
                    "devices": devices,
                    "waits": {
                        "backoff_cap": 2,
                        "resend": 6,
                        "own_figures": 3,
                        "lacking_repeat": 1,
                        "clock_patience": 5,
                    },
                },
            )
        self._yaml("fleet.yaml", {"sites": {SITE: {"vehicles": vehicles}}})
        self._yaml(
            "collector.yaml",
            {
                "broker": {"host": "127.0.0.1", "port": self.broker.port, "keepalive": 5},
                "database": self.database,
                "fleet": "fleet.yaml",
                "web": {"port": self.web},
                "timings": {"receipt": 1, "beat": 1, "reconnect_window": 10, "retry": 0.2, "retry_most": 2},
                "influxdb": {
                    "url": self.influx.url,
                    "token_file": token,
                    "org": self.influx.org,
                    "bucket": self.influx.bucket,
                },
                "speed": self.speed,
            },
        )

    def _secret(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text + "\n")
        path.chmod(0o600)
        return str(path)

    def _yaml(self, name: str, content: dict[str, Any]) -> None:
        (self.directory / name).write_text(yaml.safe_dump(content))

    # --- processes ----------------------------------------------------------------------------------------------------

    def start_collector(self) -> None:
        command = [str(Path(sys.executable).parent / "kitwatch"), "collector", "--config", "collector.yaml"]
        self._spawn("collector", command)

    def start_agent(self, vehicle: str, agent: str, **environment: str) -> None:
        name = f"{vehicle}-{agent}"
        command = [sys.executable, "-m", "tests.chaos.agent_process"]
        command += [str(self.directory / f"agent-{name}.yaml"), str(self.directory / f"journal-{name}.jsonl")]
        self._spawn(name, command, environment)

    def _spawn(self, name: str, command: list[str], environment: dict[str, str] | None = None) -> None:
        root = Path(__file__).parents[2]
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.directory,
                env={**os.environ, "PYTHONPATH": str(root), **(environment or {})},
            )

    def kill(self, name: str) -> None:
        """``kill -9``; of an agent, then read what it had on disk and had not copied."""
        process = self.processes.pop(name)
        process.kill()
        process.wait(10)
        if name != "collector":
            self._read_outbox(name)

    def stop(self, name: str) -> None:
        """Ask it to end, and see that it does so well."""
        process = self.processes.pop(name)
        process.terminate()
        assert process.wait(30) == 0, f"{name} ended with {process.returncode}: {self.log(name)}"

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")[-3000:]

    def wipe_broker(self) -> None:
        """``kill -9``, all its files gone."""
        self.broker.kill()
        shutil.rmtree(self.directory / "broker" / "store", ignore_errors=True)
        (self.directory / "broker" / "store").mkdir()

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(10)

    def _read_outbox(self, name: str) -> None:
        from agent.disk import Disk, read_past_errors
        from agent.segments import records
        from kitwatch.outbox import look

        vehicle, agent = name.rsplit("-", 1)
        directory = self.directory / f"state-{name}" / "outbox"
        for segment, index, size in look(directory).segments:
            data = read_past_errors(Disk(), directory / str(segment), size)
            for record in records(segment.kind, data, index.present):
                self.found_on_disk[(vehicle, agent, segment.run, record.sequence)] = record

    # --- what must be found -------------------------------------------------------------------------------------------

    def obligations(self) -> dict[RecordKey, Obligation]:
        """Return every record that entered an outbox."""
        owed: dict[RecordKey, Obligation] = {}
        line_type = msgspec.json.Decoder(_Line)
        schemas: dict[tuple[str, str], dict[str, Schema]] = {}
        clocks: dict[tuple[str, str, str], list[Clock]] = {}
        for vehicle, agent in AGENTS:
            path = self.directory / f"journal-{vehicle}-{agent}.jsonl"
            known = schemas.setdefault((vehicle, agent), {})
            for raw in path.read_bytes().splitlines():
                line = line_type.decode(raw)
                known.update(line.schema)
                if len(line.clocks) >= len(clocks.get((vehicle, agent, line.run), [])):
                    clocks[(vehicle, agent, line.run)] = line.clocks
                schema = known[line.record.schema] if isinstance(line.record, Sample) else None
                owed[(vehicle, agent, line.run, line.record.sequence)] = Obligation(line.record, schema)
        for key, record in self.found_on_disk.items():
            if key not in owed:
                schema = schemas[key[:2]].get(record.schema) if isinstance(record, Sample) else None
                owed[key] = Obligation(record, schema)
        for key, obligation in owed.items():
            obligation.clocks = clocks[key[:3]]
        return owed

    def wait(self, what: Callable[[], bool], seconds: float, why: str) -> float:
        """Wait until ``what()`` holds; return how long it took."""
        begun = time.monotonic()
        while time.monotonic() < begun + seconds:
            if what():
                return time.monotonic() - begun
            time.sleep(0.2)
        logs = "\n".join(f"--- {name}\n{self.log(name)}" for name in self.processes)
        raise AssertionError(f"{why}: not within {seconds} s\n{logs}")


class _Line(msgspec.Struct):
    run: str
    record: Sample | Event
    clocks: list[Clock]
    schema: dict[str, Schema] = {}


@contextlib.contextmanager
def world(directory: Path, database: str | None, scenario: Scenario, speed: float = 60.0) -> Iterator[World]:
    """Yield a world whose servers run; agents and collector are the caller's to start. ``None``: SQLite."""
    (directory / "broker").mkdir(parents=True)
    kits = KitThread(scenario)
    with (
        mosquitto(directory / "broker", persistence=True) as broker,
        relay(broker.port) as link,
        influxdb(directory / "influx") as influx,
    ):
        kits.start()
        url = database or f"sqlite:///{directory / 'kitwatch.sqlite'}"
        one = World(directory, broker, link, influx, kits, url, speed)
        try:
            yield one
        finally:
            one.end()
            kits.stop()


def rows(database: str, query: str) -> list[tuple[Any, ...]]:
    """Ask the collector's database directly."""
    if database.startswith("sqlite:///"):
        with contextlib.closing(sqlite3.connect(database.removeprefix("sqlite:///"))) as connection:
            return connection.execute(query).fetchall()
    import psycopg

    with psycopg.connect(database) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]
