"""The whole product as real processes beside real servers, to be broken and judged.

The agents' records are copied as they enter the outbox (``agent_process``), and what a killed agent had on disk but
had not copied is read from its outbox. That set is the obligation; ``judge`` holds InfluxDB, the log and the tickets
against it with code of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import yaml

from collector.store import journal
from collector.store.rows import RunKey
from simulator.kit import Endpoints, Kit
from simulator.scenario import Scenario
from telemetry.intervals import Intervals
from telemetry.records import Clock, Event, Record, Sample, Schema
from tests.services.influxdb import Influx, influxdb
from tests.services.mosquitto import mosquitto
from tests.services.process import Server, free_port
from tests.services.relay import Mode, Relay, relay
from tests.services.webhook import Webhook, webhook

SITE = "centre"
COMMUNITY = "chaos-only"
AgentKey = tuple[str, str]
"""(vehicle, agent)."""
AGENTS: tuple[AgentKey, ...] = (("amb-01", "router"), ("amb-01", "tablet"), ("amb-02", "router"))
RecordKey = tuple[str, str, str, int]
"""(vehicle, agent, run, sequence)."""


DATABASE_DOWN = (psycopg.Error, sqlite3.OperationalError)


@dataclass
class Obligation:
    """One record that an agent put into its outbox, with all that is needed to say where it must be found."""

    record: Record
    schema: Schema | None
    clocks: list[Clock] = field(default_factory=list)


class KitThread:
    """Simulated kits in a thread of their own, one a vehicle; the first vehicle has a camera."""

    def __init__(self, scenario: Scenario, vehicles: Sequence[str]) -> None:
        self._kits = {
            vehicle: Kit(vehicle, scenario, COMMUNITY, cameras=("camera-1",) if vehicle == "amb-01" else ())
            for vehicle in vehicles
        }
        self.begun = time.monotonic()
        self.ends: dict[str, Endpoints] = {}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kit", daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(60)

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
    """Everything that runs, by name; see ``world``. An agent's name is ``VEHICLE-AGENT``."""

    def __init__(
        self,
        directory: Path,
        agents: Sequence[AgentKey],
        broker: Server,
        links: dict[str, Relay],
        influx: Influx,
        kits: KitThread,
        database: str,
        channel: Webhook,
        *,
        speed: float = 60.0,
        hosts: int = 0,
    ) -> None:
        self.directory = directory
        self.agents = tuple(agents)
        self.broker = broker
        self.links = links
        self.influx = influx
        self.kits = kits
        self.database = database
        self.speed = speed
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, list[str]] = {}
        self.found_on_disk: dict[RecordKey, Record] = {}
        self.crashes = 0
        """Collectors killed."""
        self.ended: list[tuple[str, int]] = []
        """(name, exit status) of those that ended without having been told to."""
        self.channel = channel
        self._write_files(hosts)

    # --- files --------------------------------------------------------------------------------------------------------

    def _write_files(self, hosts: int) -> None:
        vehicles: dict[str, Any] = {}
        for vehicle, agent in self.agents:
            devices = self._devices(vehicle, agent, hosts)
            vehicles.setdefault(vehicle, {"agents": {}})["agents"][agent] = {"devices": devices}
            self._write_agent(vehicle, agent, devices)
        self._yaml("fleet.yaml", {"sites": {SITE: {"vehicles": vehicles}}})

    def _devices(self, vehicle: str, agent: str, hosts: int) -> dict[str, Any]:
        """Return the kit for a router's agent, the machine itself for others; ``hosts`` more to have more records."""
        every = {"interval": 1, "deadline": 1}
        devices: dict[str, Any] = {f"box-{n + 1}": {"kind": "host", "system": every} for n in range(hosts)}
        if agent != "router":
            return {agent: {"kind": "host", "system": every}, **devices}
        community = self._secret("community", COMMUNITY)
        ends = self.kits.ends[vehicle]

        def snmp(port: int) -> dict[str, Any]:
            return {"address": "127.0.0.1", "port": port, "community_file": community, "timeout": 0.4, **every}

        devices |= {
            "router": {"kind": "router", "snmp": snmp(ends.router_port)},
            "modem": {"kind": "modem", "modem": {"port": ends.modem_port, **every}},
            "gnss": {"kind": "gnss", "gnss": {"port": ends.gnss_port, **every}},
        }
        for camera, port in ends.camera_ports.items():
            devices[camera] = {"kind": "camera", "snmp": snmp(port)}
        return devices

    def _write_agent(self, vehicle: str, agent: str, devices: dict[str, Any]) -> None:
        name = f"{vehicle}-{agent}"
        self._yaml(
            f"agent-{name}.yaml",
            {
                "site": SITE,
                "vehicle": vehicle,
                "agent": agent,
                "broker": {"host": "127.0.0.1", "port": self.links[name].port, "keepalive": 5},
                "state_directory": str(self.directory / f"state-{name}"),
                "devices": devices,
                "waits": {
                    "backoff_cap": 2,
                    "resend": 6,
                    "own_figures": 3,
                    "schema_repeat": 1,
                    "clock_patience": 5,
                    "spread": 1,
                    "connect": 5,
                    "birth_repeat": 5,
                    "drain": 60,
                },
            },
        )

    def _write_collector(self, name: str) -> None:
        self._yaml(
            f"{name}.yaml",
            {
                "broker": {"host": "127.0.0.1", "port": self.broker.port, "keepalive": 5},
                "database": self.database,
                "fleet": "fleet.yaml",
                "web": {"port": free_port()},
                "timings": {"receipt": 1, "beat": 1, "reconnect_window": 10, "retry": 0.2, "retry_most": 2},
                "influxdb": {
                    "url": self.influx.url,
                    "token_file": self._secret("token", self.influx.token),
                    "org": self.influx.org,
                    "bucket": self.influx.bucket,
                },
                "notifications": [{"channel": "webhook", "url": self.channel.url}],
                "speed": self.speed,
            },
        )

    def told(self) -> bool:
        """Say whether no notification waits any more."""
        return rows(self.database, "SELECT count(*) FROM delivery WHERE state = 'waiting'") == [(0,)]

    def _secret(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text + "\n")
        path.chmod(0o600)
        return str(path)

    def _yaml(self, name: str, content: dict[str, Any]) -> None:
        (self.directory / name).write_text(yaml.safe_dump(content))

    # --- processes ----------------------------------------------------------------------------------------------------

    def start_collector(self, name: str = "collector", *, sabotage: Sequence[str] = ()) -> None:
        """Start a collector; ``sabotage``: the arguments of ``tests.chaos.collector_process`` to be started instead."""
        self._write_collector(name)
        command = [str(Path(sys.executable).parent / "kitwatch"), "collector"]
        if sabotage:
            command = [sys.executable, "-m", "tests.chaos.collector_process", *sabotage]
        self._spawn(name, [*command, "--config", f"{name}.yaml"])

    def start_agent(self, vehicle: str, agent: str, disk: str = "real") -> None:
        """Start an agent; ``disk``: see ``tests.chaos.agent_process``."""
        name = f"{vehicle}-{agent}"
        command = [sys.executable, "-m", "tests.chaos.agent_process"]
        command += [str(self.directory / f"agent-{name}.yaml"), str(self.directory / f"journal-{name}.jsonl"), disk]
        self._spawn(name, command)

    def _spawn(self, name: str, command: list[str]) -> None:
        root = Path(__file__).parents[2]
        self._commands[name] = command
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.directory,
                env={**os.environ, "PYTHONPATH": str(root)},
                start_new_session=True,  # an interrupt of the harness is not theirs
            )

    def revive(self) -> None:
        """Do what systemd does for our units (``Restart=always``): start again what ended by itself, and note it."""
        for name, process in list(self.processes.items()):
            code = process.poll()
            if code is not None:
                self.ended.append((name, code))
                self._spawn(name, self._commands[name])

    def is_agent(self, name: str) -> bool:
        """Say whether a process is an agent's."""
        return name in self.links

    def kill(self, name: str) -> None:
        """``kill -9``; of an agent, then read what it had on disk and had not copied."""
        process = self.processes.pop(name)
        process.kill()
        process.wait(10)
        if self.is_agent(name):
            self._read_outbox(name)
        else:
            self.crashes += 1

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal: ``SIGSTOP``, ``SIGCONT``."""
        self.processes[name].send_signal(number)

    def stop(self, *names: str) -> None:
        """Ask them to end, and see that they do so well. An agent waits until everything it holds is receipted."""
        ending = {name: self.processes.pop(name) for name in names}
        try:
            for process in ending.values():
                process.terminate()
            for name, process in ending.items():
                code = process.wait(90)
                assert code == 0, f"{name} ended with {code}: {self.log(name)}"
        finally:
            for process in ending.values():
                process.kill()
                process.wait(10)

    def log(self, name: str) -> str:
        """Return the end of what a process said."""
        return (self.directory / f"{name}.log").read_text(errors="replace")[-3000:]

    def set_links(self, mode: Mode) -> None:
        """Do the same to the links of all agents."""
        for link in self.links.values():
            link.set(mode)

    def wipe_broker(self) -> None:
        """``kill -9``, all its files gone."""
        self.broker.kill()
        shutil.rmtree(self.directory / "broker" / "store", ignore_errors=True)
        (self.directory / "broker" / "store").mkdir()

    def end(self) -> None:
        """Kill what still runs."""
        for process in self.processes.values():
            process.kill()
            process.wait(10)

    def _read_outbox(self, name: str) -> None:
        from agent.outbox.disk import Disk, read_past_errors
        from agent.outbox.segment_file import records
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
        schemas: dict[tuple[str, str, str], Schema] = {}
        clocks: dict[tuple[str, str, str], list[Clock]] = {}
        found = dict(self.found_on_disk)
        for vehicle, agent in self.agents:
            for line in self.journal(vehicle, agent):
                if line.schema is not None:
                    schemas[(vehicle, agent, line.schema.id())] = line.schema
                if line.clock is not None:
                    clocks.setdefault((vehicle, agent, line.run), []).append(line.clock)
                if line.record is not None:
                    found[(vehicle, agent, line.run, line.record.sequence)] = line.record
        for key, record in found.items():
            schema = schemas[(*key[:2], record.schema)] if isinstance(record, Sample) else None
            owed[key] = Obligation(record, schema, clocks.get(key[:3], []))
        return owed

    def journal(self, vehicle: str, agent: str) -> list[Line]:
        """Return what an agent wrote down so far."""
        path = self.directory / f"journal-{vehicle}-{agent}.jsonl"
        if not path.exists():
            return []
        return [_line.decode(raw) for raw in path.read_bytes().splitlines(keepends=True) if raw.endswith(b"\n")]

    def wait(self, what: Callable[[], bool], seconds: float, why: str) -> float:
        """Wait until ``what()`` holds; return how long it took."""
        begun = time.monotonic()
        while time.monotonic() < begun + seconds:
            if what():
                return time.monotonic() - begun
            time.sleep(0.2)
        logs = "\n".join(f"--- {name}\n{self.log(name)}" for name in self.processes)
        raise AssertionError(f"{why}: not within {seconds} s\n{logs}")


class Line(msgspec.Struct):
    """A line of an agent's journal."""

    run: str = ""
    record: Sample | Event | None = None
    clock: Clock | None = None
    schema: Schema | None = None


_line = msgspec.json.Decoder(Line)


@contextlib.contextmanager
def world(
    directory: Path,
    database: str | None,
    scenario: Scenario,
    speed: float = 60.0,
    *,
    agents: Sequence[AgentKey] = AGENTS,
    hosts: int = 0,
) -> Iterator[World]:
    """Yield a world whose servers run; agents and collector are the caller's to start. ``database`` None: SQLite."""
    (directory / "broker").mkdir(parents=True)
    kits = KitThread(scenario, [vehicle for vehicle, agent in agents if agent == "router"])
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(mosquitto(directory / "broker", persistence=True))
        links = {f"{vehicle}-{agent}": stack.enter_context(relay(broker.port)) for vehicle, agent in agents}
        influx = stack.enter_context(influxdb(directory / "influx"))
        kits.start()
        stack.callback(kits.stop)
        url = database or f"sqlite:///{directory / 'kitwatch.sqlite'}"
        channel = stack.enter_context(webhook())
        one = World(directory, agents, broker, links, influx, kits, url, channel, speed=speed, hosts=hosts)
        stack.callback(one.end)
        yield one


def rows(database: str, query: str) -> list[tuple[Any, ...]]:
    """Ask the collector's database directly. Raises one of ``DATABASE_DOWN`` while it cannot be asked."""
    if database.startswith("sqlite:///"):
        there = f"file:{database.removeprefix('sqlite:///')}?mode=rw"  # never made by us
        with contextlib.closing(sqlite3.connect(there, uri=True, timeout=10)) as connection:
            return connection.execute(query).fetchall()
    with psycopg.connect(database, connect_timeout=3) as connection:
        return connection.execute(query).fetchall()


def runs(database: str) -> dict[RunKey, tuple[Intervals, Intervals]]:
    """Return what is seen and what is lost of each run: by its row, and by the journal where that is behind."""
    found: dict[RunKey, tuple[Intervals, Intervals]] = {}
    for vehicle, agent, run, seen, lost in rows(database, "SELECT vehicle, agent, run, seen, lost FROM run"):
        found[vehicle, agent, run] = (Intervals(json.loads(seen)), Intervals(json.loads(lost)))
    for (content,) in rows(database, "SELECT content FROM journal ORDER BY site, revision"):
        found |= {key: (row.seen, row.lost) for key, row in journal.decode(content)[1].items()}
    return found


def execute(database: str, statement: str) -> None:
    """Change a SQLite database of the collector behind its back."""
    with contextlib.closing(sqlite3.connect(database.removeprefix("sqlite:///"), timeout=10)) as connection:
        connection.execute(statement)
        connection.commit()
