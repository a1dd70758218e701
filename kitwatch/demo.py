"""``kitwatch demo``: everything on this machine, with a simulated kit on real protocols.

Two vehicles (the first with two agents) and this very machine, an embedded broker, a collector on SQLite with the
shipped rules, and a page. Real servers take the embedded parts' place with ``--mqtt`` and ``--influxdb``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import secrets
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec
import yaml

from telemetry.files import FileError
from telemetry.records import Record, Sample
from telemetry.topics import AgentName

if TYPE_CHECKING:
    from collector.main import Running
    from collector.read.tickets import TicketRow

SITE: Final = "centre"
COMMUNITY: Final = "demo-only"
ENCODER_PASSWORD: Final = "demo-only-too"
SPEED: Final = 60.0
DRAIN_S: Final = 20.0
"""Most time that the agents get at the end to bring home what they hold."""
RecordKey = tuple[str, str, str, int]
"""(vehicle, agent, run, sequence)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the demo takes."""
    parser.add_argument(
        "--for", dest="duration", metavar="TIME", type=_duration, help="end by itself after 45s, 2m, ..."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON summary at the end, nothing else")
    parser.add_argument("--speed", type=float, default=SPEED, help="divide the rules' durations (default %(default)g)")
    parser.add_argument("--scenario", default="first-look", help="a shipped scenario's name, or a file")
    parser.add_argument("--port", type=int, default=0, help="port of the page (default: a free one)")
    parser.add_argument("--mqtt", metavar="URL", help="mqtt://[user:password@]host[:port] in place of the embedded one")
    parser.add_argument("--influxdb", metavar="URL", help="write to this InfluxDB too")
    parser.add_argument("--token", help="its token (better: in the environment as INFLUXDB_TOKEN)")
    parser.add_argument("--org", default="kitwatch", help="its organisation (default %(default)s)")
    parser.add_argument("--bucket", default="kitwatch", help="its bucket (default %(default)s)")
    parser.add_argument("--directory", help="keep configuration, outboxes and database here (default: thrown away)")


def run(args: argparse.Namespace) -> int:
    """Run the demo. Returns 0; 1 if samples were lost or stored twice; 2 for a call that is wrong."""
    if args.influxdb and not (args.token or os.environ.get("INFLUXDB_TOKEN")):
        raise FileError("--token", "", "expected a token beside --influxdb, found none")
    if not args.speed > 0:
        raise FileError("--speed", "", f"expected a number over 0, found {args.speed:g}")
    with contextlib.ExitStack() as stack:
        if args.directory:
            directory = Path(args.directory).resolve()
            directory.mkdir(parents=True, exist_ok=True)
        else:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kitwatch-demo-")))
        broker = _broker(args, directory, stack)
        with contextlib.suppress(KeyboardInterrupt):
            return asyncio.run(_Demo(args, directory, broker).run())
        return 0


def _broker(args: argparse.Namespace, directory: Path, stack: contextlib.ExitStack) -> dict[str, Any]:
    """Return the ``broker`` part of the configuration files: the given server's, or an embedded one's."""
    if not args.mqtt:
        from kitwatch.embedded import embedded_broker

        return {"host": "127.0.0.1", "port": stack.enter_context(embedded_broker(directory))}
    url = urlsplit(args.mqtt)
    if url.scheme != "mqtt" or not url.hostname:
        raise FileError("--mqtt", "", f"expected mqtt://host[:port], found {args.mqtt!r}")
    broker: dict[str, Any] = {"host": url.hostname, "port": url.port or 1883}
    if url.username:
        broker["user"] = url.username
    if url.password:
        broker["password_file"] = str(_secret(directory / "mqtt-password", url.password))
    return broker


def _secret(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected a time such as 45s or 2m, found {text!r}")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2] or "s"]


@dataclass
class _Demo:
    args: argparse.Namespace
    directory: Path
    broker: dict[str, Any]
    published: set[RecordKey] = field(default_factory=set)
    kits: list[Any] = field(default_factory=list)

    async def run(self) -> int:
        """Start everything, show it, end it, and count."""
        from collector import main as collector
        from collector.config import load_config
        from simulator.kit import Kit
        from simulator.scenario import load_scenario

        scenario = load_scenario(self.args.scenario)
        self.kits = [
            Kit("amb-01", scenario, COMMUNITY, ups=True, encoder_password=ENCODER_PASSWORD),
            Kit("amb-02", scenario, COMMUNITY, cameras=(), modem="fibocom"),
        ]
        begun = time.monotonic()
        endpoints = [await kit.start(begun) for kit in self.kits]
        try:
            fleet_file = self._write_fleet(endpoints)
            config = load_config(self._write_collector(fleet_file))
            stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
            serving = asyncio.create_task(collector.run(config, stop=stop, on_ready=ready.set_result))
            await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            running: Running = ready.result()
            try:
                log = _Log(running)
                await self._drive(running, log, fleet_file, serving)
                return await self._finish(running, log)
            finally:
                stop.set()
                await serving
        finally:
            for kit in self.kits:
                await kit.stop()

    async def _drive(self, running: Running, log: _Log, fleet_file: Path, serving: asyncio.Task[None]) -> None:
        """Run the agents for the time asked, or until told to stop; then let them bring home what they hold."""
        from agent import config as agent_config
        from agent import main as agent
        from telemetry.fleet import agent_names, load_fleet

        fleet = load_fleet(fleet_file)
        stop_agents = asyncio.Event()
        tasks = []
        for name in agent_names(fleet, SITE):
            path = self.directory / f"agent-{name.vehicle}-{name.agent}.yaml"
            text = yaml.safe_load(agent_config.render(fleet, name.vehicle, name.agent, fleet_file))
            text["state_directory"] = str(self.directory / "agents" / f"{name.vehicle}-{name.agent}")
            text["waits"] = {"own_figures": 5, "resend": 15, "problem_repeat": 2}
            path.write_text(yaml.safe_dump(text, allow_unicode=True), encoding="utf-8")
            config = agent_config.load(path)
            run = secrets.token_hex(8)
            tasks.append(
                asyncio.create_task(
                    agent.run(config, stop=stop_agents, run_id=run, on_record=self._copy(name, run)), name=str(name)
                )
            )
        watching = asyncio.create_task(self._watch(running, log))
        try:
            await asyncio.wait(
                {*tasks, watching, serving}, timeout=self.args.duration, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            watching.cancel()
            stop_agents.set()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException):
                raise error

    def _copy(self, name: AgentName, run: str) -> Callable[[Record], None]:
        """Return what notes the samples of one agent as they enter its outbox."""

        def copy(record: Record) -> None:
            if isinstance(record, Sample):
                self.published.add((name.vehicle, name.agent, run, record.sequence))

        return copy

    # --- what is written ----------------------------------------------------------------------------------------------

    def _write_fleet(self, endpoints: list[Any]) -> Path:
        from simulator.kit import ENCODER_USER

        community = str(_secret(self.directory / "community", COMMUNITY))
        password = str(_secret(self.directory / "encoder-password", ENCODER_PASSWORD))
        every = {"interval": 1, "deadline": 1}

        def snmp(port: int) -> dict[str, Any]:
            return {"address": "127.0.0.1", "port": port, "community_file": community, "timeout": 0.4, **every}

        def kit(ends: Any) -> dict[str, Any]:
            devices: dict[str, Any] = {
                "router": {"kind": "router", "snmp": snmp(ends.router_port)},
                "modem": {"kind": "modem", "modem": {"port": ends.modem_port, **every}, "depends_on": ["router"]},
                "gnss": {"kind": "gnss", "gnss": {"port": ends.gnss_port, **every}},
            }
            for camera, port in ends.camera_ports.items():
                devices[camera] = {"kind": "camera", "snmp": snmp(port), "depends_on": ["router"]}
            for name, port in {"ups": ends.ups_port, "power": ends.panel_port}.items():
                if port is not None:
                    devices[name] = {"kind": name, "snmp": snmp(port) | {"interval": 2}}
            if ends.encoder_url is not None:
                login = {"user": ENCODER_USER, "password_file": password}
                devices["encoder"] = {
                    "kind": "encoder",
                    "http": {
                        "url": ends.encoder_url,
                        "profile": "hikvision/isapi",
                        **login,
                        "interval": 2,
                        "deadline": 2,
                    },
                    "stream": {"url": ends.stream_url, **login, "play": 2, "interval": 5, "deadline": 4},
                    "depends_on": ["router"],
                }
            return {"devices": devices}

        target = {"kind": "tcp", "address": self.broker["host"], "port": self.broker["port"]}
        host = {"kind": "host", "system": {"interval": 2, "deadline": 2}}
        uplink = {"kind": "link", "probe": {"targets": {"broker": target}, "interval": 2, "deadline": 2}}
        vehicles = {
            "amb-01": {
                "name": "急救01车",
                "plate": "沪A·D0001",
                "agents": {"router": kit(endpoints[0]), "tablet": {"devices": {"tablet": host, "uplink": uplink}}},
            },
            "amb-02": {"name": "急救02车", "plate": "沪A·D0002", "agents": {"router": kit(endpoints[1])}},
            "this-machine": {
                "name": "本机 this machine",
                "agents": {"local": {"devices": {"machine": host, "uplink": uplink}}},
            },
        }
        site = {"name": "示范急救中心", "hotline": "120", "broker": self.broker, "vehicles": vehicles}
        return self._write("fleet.yaml", {"sites": {SITE: site}})

    def _write_collector(self, fleet_file: Path) -> Path:
        config: dict[str, Any] = {
            "broker": self.broker,
            "database": f"sqlite:///{self.directory / 'kitwatch.sqlite'}",
            "fleet": str(fleet_file),
            "web": {"host": "127.0.0.1", "port": self.args.port},
            "timings": {"receipt": 2, "beat": 1, "reconnect_window": 5},
            "speed": self.args.speed,
        }
        if self.args.influxdb:
            token = self.args.token or os.environ["INFLUXDB_TOKEN"]
            config["influxdb"] = {
                "url": self.args.influxdb,
                "token_file": str(_secret(self.directory / "influxdb-token", token)),
                "org": self.args.org,
                "bucket": self.args.bucket,
            }
        return self._write("collector.yaml", config)

    def _write(self, name: str, content: dict[str, Any]) -> Path:
        path = self.directory / name
        path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
        return path

    # --- what is shown ------------------------------------------------------------------------------------------------

    async def _watch(self, running: Running, log: _Log) -> None:
        """Show the page's address, and a table that lives: redrawn on a terminal, silent in a pipe."""
        if not self.args.json:
            print(f"page: {running.address}   (Ctrl-C ends the demo)", flush=True)
        while True:
            await asyncio.sleep(1.0)
            await asyncio.to_thread(log.read_on)
            if sys.stdout.isatty() and not self.args.json:
                lines = await asyncio.to_thread(_table, running)
                print("\033[H\033[J" + "\n".join([f"page: {running.address}", "", *lines]), flush=True)

    async def _finish(self, running: Running, log: _Log) -> int:
        """Compare what the agents put into their outboxes with what the collector holds; print and judge it."""
        stored: Counter[RecordKey] = Counter()
        end = time.monotonic() + DRAIN_S
        while time.monotonic() < end:
            stored = await asyncio.to_thread(log.read_on)
            if self.published <= stored.keys():
                break
            await asyncio.sleep(0.5)
        if any(one.sink.name == "influxdb" for one in running.sinks[SITE]):
            await self._drained(running)
        tickets = await asyncio.to_thread(_tickets, running)
        summary = {
            "vehicles": list(running.fleet.sites[SITE].vehicles),
            "samples_published": len(self.published),
            "samples_stored": len(stored),
            "samples_lost": len(self.published - stored.keys()),
            "samples_duplicated": sum(count - 1 for count in stored.values()),
            "tickets": [_row(ticket) for ticket in tickets],
            "breach_to_ticket_seconds": await asyncio.to_thread(_delays, running, tickets),
        }
        if self.args.json:
            print(msgspec.json.format(msgspec.json.encode(summary)).decode())
        else:
            print(f"\n{summary['samples_published']} samples published, {summary['samples_stored']} stored,")
            print(f"{summary['samples_lost']} lost, {summary['samples_duplicated']} twice; {len(tickets)} tickets")
        return 1 if summary["samples_lost"] or summary["samples_duplicated"] else 0

    async def _drained(self, running: Running) -> None:
        from collector.sinks.influxdb import NAME
        from collector.store import log

        end = time.monotonic() + DRAIN_S
        while time.monotonic() < end:
            if log.position(running.store, SITE, NAME) >= log.last(running.store, SITE):
                return
            await asyncio.sleep(0.2)


@dataclass
class _Log:
    """The names of all samples in the collector's log, read on before its passed batches are let go."""

    running: Running
    after: int = 0
    stored: Counter[RecordKey] = field(default_factory=Counter)
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def read_on(self) -> Counter[RecordKey]:
        """Return how often each sample stands in the log so far. Blocks."""
        from collector.store import log
        from telemetry.intervals import Intervals

        with self.one_at_a_time:
            while batches := log.read(self.running.store, SITE, self.after, 200):
                self.after = batches[-1].number
                for group in (group for batch in batches for group in batch.groups):
                    entries = [entry for moment in group.moments for entry in moment.entries]
                    for sequence, entry in zip(Intervals(group.pairs), entries, strict=True):
                        if len(entry) == 2:  # a sample: [schema, values]
                            self.stored[(group.vehicle, group.agent, group.run, sequence)] += 1
            return self.stored


def _tickets(running: Running) -> list[TicketRow]:
    from collector.read.tickets import all_tickets

    return sorted(all_tickets(running.store.engine), key=lambda ticket: ticket.opened_ms)


def _row(ticket: TicketRow) -> dict[str, Any]:
    from collector.web.answers import iso

    return {
        "vehicle": ticket.vehicle,
        "device": ticket.device,
        "fault": ticket.fault,
        "severity": ticket.severity,
        "sla_class": ticket.sla_class,
        "event_at": iso(ticket.event_ms),
        "opened_at": iso(ticket.opened_ms),
        "state": ticket.state,
        "resolved_at": iso(ticket.closed_ms if ticket.resolved_ms is None else ticket.resolved_ms),
    }


def _delays(running: Running, tickets: list[TicketRow]) -> dict[str, float | None]:
    """Return the seconds from the sample that completed a breach to the ticket, over all tickets. Blocks."""
    from collector.core.tickets.events import Opening
    from collector.read import tickets as read

    delays = []
    for ticket in tickets:
        found = read.ticket(running.store.engine, ticket.id, ticket.site)
        opening = found[1][0].body if found else None
        evidence = opening.evidence if isinstance(opening, Opening) else ()
        times = [sample["time_ms"] for one in evidence for sample in one.samples]
        if times:
            delays.append((ticket.opened_ms - max(times)) / 1000)
    delays.sort()
    if not delays:
        return {"p50": None, "max": None}
    return {"p50": delays[len(delays) // 2], "max": delays[-1]}


def _table(running: Running) -> list[str]:
    """Return what is so now, a line a vehicle and a line a ticket."""
    from collector.web.app import Sources
    from collector.web.vehicles import list_vehicles

    sources = Sources(running.store, running.fleet, {})
    lines = [f"{'vehicle':14} {'state':12} devices"]
    for vehicle in list_vehicles(sources)[0]:
        bad = {ticket["device"] for ticket in vehicle["open_tickets"]}
        devices = [f"{device['device']}{' !' if device['device'] in bad else ''}" for device in vehicle["devices"]]
        lines.append(f"{vehicle['vehicle']:14} {vehicle['state']:12} {', '.join(devices)}")
    lines += ["", f"{'ticket':12} {'fault':18} {'device':10} {'class':12} {'state':9} event"]
    for ticket in reversed(_tickets(running)[-15:]):
        event = time.strftime("%H:%M:%S", time.localtime(ticket.event_ms / 1000))
        lines.append(
            f"{ticket.id:12} {ticket.fault:18} {ticket.device:10} {ticket.sla_class:12} {ticket.state:9} {event}"
        )
    return lines
