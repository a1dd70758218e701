"""``kitwatch demo``: everything on this machine, with a simulated kit on real protocols.

Two vehicles (the first with two agents) and this very machine, an embedded broker, a collector on SQLite with the
shipped rules, and a page. Real servers take the embedded parts' place with ``--mqtt`` and ``--influxdb``; the demo then
has a site of its own on them. Ctrl-C ends it in order: with the tally of what was published, stored and held.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import secrets
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from kitwatch.demo.files import COMMUNITY, ENCODER_PASSWORD, Files
from kitwatch.demo.table import table
from kitwatch.demo.tally import Log, Published, delays, row, tickets_of
from telemetry.files import FileError
from telemetry.topics import AgentName, is_id

if TYPE_CHECKING:
    from collector.main import Running
    from collector.store.store import Store
    from telemetry.fleet import Broker

SITE: Final = "demo"
USER: Final = "demo"
"""Who may sign in to the page."""
SPEED: Final = 60.0
DRAIN_S: Final = 20.0
"""Most time that the collector and its sinks get at the end for what the agents have sent."""
SETTLED_S: Final = 5.0
"""What was sent is committed within so long: a commit gathers for up to a second."""
PRESENCE_S: Final = 1.0
"""How long a broker may take to tell whether somebody owns a site: what is retained comes at once."""


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
    parser.add_argument("--site", default=SITE, help="the site's name on that broker (default %(default)s)")
    parser.add_argument("--influxdb", metavar="URL", help="write to this InfluxDB too")
    parser.add_argument("--token", help="its token (better: in the environment as INFLUXDB_TOKEN)")
    parser.add_argument("--org", default="kitwatch", help="its organisation (default %(default)s)")
    parser.add_argument("--bucket", default="kitwatch", help="its bucket (default %(default)s)")
    parser.add_argument("--directory", help="keep configuration, outboxes and database here (default: thrown away)")


def run(args: argparse.Namespace) -> int:
    """Run the demo. Returns 0; 1 if samples were lost or stored twice. Raises FileError for a call that is wrong."""
    if args.influxdb and not (args.token or os.environ.get("INFLUXDB_TOKEN")):
        raise FileError("--token", "", "expected a token beside --influxdb, found none")
    if not args.speed > 0:
        raise FileError("--speed", "", f"expected a number over 0, found {args.speed:g}")
    if not is_id(args.site):
        raise FileError("--site", "", f"expected 1 to 32 letters, digits, _ or -, found {args.site!r}")
    with contextlib.ExitStack() as stack:
        if args.directory:
            directory = Path(args.directory).resolve()
            directory.mkdir(parents=True, exist_ok=True)
        else:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kitwatch-demo-")))
        files = Files(directory, kept=bool(args.directory))
        stack.callback(files.close)
        broker = _broker(args, files, stack)
        # from here on a Ctrl-C ends it in order: one that comes before the loop listens waits until it does
        stack.callback(
            signal.pthread_sigmask, signal.SIG_SETMASK, signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        )
        try:
            return asyncio.run(_Demo(args, files, broker).run())
        except asyncio.CancelledError:  # told to stop a second time
            return 130


def _broker(args: argparse.Namespace, files: Files, stack: contextlib.ExitStack) -> dict[str, Any]:
    """Return the ``broker`` part of the configuration files: the given server's, or an embedded one's.

    Raises FileError for a server that cannot be used, and for one on which somebody owns the site.
    """
    if not args.mqtt:
        from kitwatch.embedded import embedded_broker

        return {"host": "127.0.0.1", "port": stack.enter_context(embedded_broker(files.directory))}
    url = urlsplit(args.mqtt)
    try:
        port = url.port or 1883
    except ValueError:
        port = 0
    if url.scheme != "mqtt" or not url.hostname or not port:
        raise FileError("--mqtt", "", f"expected mqtt://host[:port], found {args.mqtt!r}")
    broker: dict[str, Any] = {"host": url.hostname, "port": port}
    if url.username:
        broker["user"] = url.username
    if url.password:
        broker["password_file"] = files.secret("mqtt-password", url.password)
    from telemetry.files import convert
    from telemetry.fleet import Broker

    asyncio.run(_refuse_owned(convert(broker, Broker, "--mqtt"), args.site))
    return broker


async def _refuse_owned(broker: Broker, site: str) -> None:
    """Raise FileError if a collector owns the site, whose vehicles would be mixed with ours, or nobody answers."""
    from telemetry.message import MessageError, Presence, Up, decode
    from telemetry.mqtt import Message
    from telemetry.paho_mqtt import Connection
    from telemetry.topics import presence

    owners: list[Up] = []

    def hear(message: Message) -> None:
        with contextlib.suppress(MessageError):
            said: Presence = decode(message.payload, Presence)[1]
            if isinstance(said, Up):
                owners.append(said)

    try:
        async with Connection(broker, f"kitwatch-demo-{secrets.token_hex(4)}", on_message=hear) as connection:
            await connection.subscribe(presence(site))
            await asyncio.sleep(PRESENCE_S)
    except OSError as error:
        raise FileError("--mqtt", "", f"expected a broker, found none: {error}") from None
    if owners:
        raise FileError("--site", "", f"expected a site that nobody owns, found a collector's on {site!r}")


def let_in(store: Store) -> str:
    """Let ``USER`` sign in to the page, as an engineer; return the password, a new one each time. Blocks."""
    from collector.accounts.accounts import Author, Scope, add_account, list_accounts, set_password

    password, by = secrets.token_urlsafe(9), Author(USER, "command", time.time_ns() // 1_000_000)
    is_new = USER not in (one.name for one in list_accounts(store.engine))
    with store.transaction() as connection:
        if is_new:
            add_account(connection, USER, password, "engineer", Scope(), by)
        else:
            set_password(connection, USER, password, by)
    return password


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected a time such as 45s or 2m, found {text!r}")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2] or "s"]


@dataclass
class _Demo:
    args: argparse.Namespace
    files: Files
    broker: dict[str, Any]
    published: Published = field(default_factory=Published)
    agents: list[tuple[AgentName, str, Path]] = field(default_factory=list)
    """Each with its run and the folder of its outbox."""

    async def run(self) -> int:
        """Start everything, show it, end it, and count."""
        from collector import main as collector
        from collector.config import load_config
        from simulator.kit import Kit
        from simulator.scenario import load_scenario

        scenario = load_scenario(self.args.scenario)
        told_to_stop = self._listen_for_signals()
        kits = [
            Kit("amb-01", scenario, COMMUNITY, ups=True, encoder_password=ENCODER_PASSWORD),
            Kit("amb-02", scenario, COMMUNITY, cameras=(), modem="fibocom"),
        ]
        begun = time.monotonic()
        try:
            endpoints = [await kit.start(begun) for kit in kits]
            fleet_file = self.files.fleet(self.args.site, self.broker, endpoints)
            config = load_config(self._write_collector(fleet_file))
            stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
            serving = asyncio.create_task(collector.run(config, stop=stop, on_ready=ready.set_result))
            await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            running: Running = ready.result()
            try:
                log = Log(running, self.args.site)
                await self._drive(running, log, fleet_file, [serving, told_to_stop])
                return await self._finish(running, log)
            finally:
                stop.set()
                await serving
        finally:
            told_to_stop.cancel()
            for kit in kits:
                await kit.stop()

    def _listen_for_signals(self) -> asyncio.Task[Any]:
        """Return a task that ends when we are told to stop, once in order; a second time everything is cancelled."""
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        everything = asyncio.current_task()
        assert everything is not None

        def told() -> None:
            if stop.is_set():
                everything.cancel()
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, told)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return asyncio.create_task(stop.wait())

    def _write_collector(self, fleet_file: Path) -> Path:
        args, influxdb = self.args, None
        if args.influxdb:
            token = self.files.secret("influxdb-token", args.token or os.environ["INFLUXDB_TOKEN"])
            influxdb = {"url": args.influxdb, "token_file": token, "org": args.org, "bucket": args.bucket}
        pages = {"host": "127.0.0.1", "port": args.port}
        return self.files.collector(fleet_file, self.broker, influxdb, web=pages, speed=args.speed)

    async def _drive(self, running: Running, log: Log, fleet_file: Path, until: list[asyncio.Task[Any]]) -> None:
        """Run the agents for the time asked, or until told to stop; then let them bring home what they hold."""
        from agent import main as agent
        from telemetry.fleet import agent_names, load_fleet

        fleet = load_fleet(fleet_file)
        stop_agents = asyncio.Event()
        tasks = []
        for name in agent_names(fleet, self.args.site):
            config, run = self.files.agent(fleet, fleet_file, name), secrets.token_hex(8)
            self.agents.append((name, run, Path(config.state_directory) / agent.OUTBOX))
            work = agent.run(config, stop=stop_agents, run_id=run, on_record=self.published.copy(name, run))
            tasks.append(asyncio.create_task(work, name=str(name)))
        watching = asyncio.create_task(self._watch(running, log))
        try:
            await asyncio.wait(
                {*tasks, watching, *until}, timeout=self.args.duration, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            watching.cancel()
            stop_agents.set()
            ended = await asyncio.gather(watching, *tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
                raise error

    async def _watch(self, running: Running, log: Log) -> None:
        """Show the page's address, and a table that lives: redrawn on a terminal, silent in a pipe."""
        page = f"page: {running.address}   user {USER}, password {await asyncio.to_thread(let_in, running.store)}"
        if not self.args.json:
            print(f"{page}   (Ctrl-C ends the demo)", flush=True)
        on_terminal = sys.stdout is not None and sys.stdout.isatty() and not self.args.json
        while True:
            await asyncio.sleep(1.0)
            await asyncio.to_thread(log.read_on)
            if on_terminal:
                lines = await asyncio.to_thread(table, running)
                print("\033[H\033[J" + "\n".join([page, "", *lines]), flush=True)

    async def _finish(self, running: Running, log: Log) -> int:
        """Compare what the agents kept with what the collector stored and what they hold still; print and judge it."""
        published = self.published.samples
        held = await asyncio.to_thread(self.published.held, self.agents)
        grew_s, end = time.monotonic(), time.monotonic() + DRAIN_S
        stored = await asyncio.to_thread(log.read_on)
        while not published <= stored.keys() and time.monotonic() < end:
            if published <= stored.keys() | held and time.monotonic() - grew_s > SETTLED_S:
                break  # what is held was never sent: nothing of it is on its way
            await asyncio.sleep(0.5)
            before, stored = len(stored), await asyncio.to_thread(log.read_on)
            if len(stored) > before:
                grew_s = time.monotonic()
        if any(one.sink.name == "influxdb" for one in running.sinks[self.args.site]):
            await self._drained(running)
        tickets = await asyncio.to_thread(tickets_of, running)
        summary = {
            "vehicles": list(running.fleet.sites[self.args.site].vehicles),
            "samples_published": len(published),
            "samples_stored": len(stored),
            "samples_held": len(held - stored.keys()),
            "samples_lost": len(published - stored.keys() - held),
            "samples_duplicated": sum(count - 1 for count in stored.values()),
            "tickets": [row(ticket) for ticket in tickets],
            "breach_to_ticket_seconds": await asyncio.to_thread(delays, running, tickets),
        }
        if self.args.json:
            print(msgspec.json.format(msgspec.json.encode(summary)).decode())
        else:
            counts = {
                name: summary[f"samples_{name}"] for name in ("published", "stored", "held", "lost", "duplicated")
            }
            words = "{published} samples, {stored} stored, {held} held by their agents, {lost} lost, {duplicated} twice"
            print(f"\n{words.format(**counts)}; {len(tickets)} tickets")
        return 1 if summary["samples_lost"] or summary["samples_duplicated"] else 0

    async def _drained(self, running: Running) -> None:
        from collector.sinks.influxdb import NAME
        from collector.store import log

        site, end = self.args.site, time.monotonic() + DRAIN_S
        while time.monotonic() < end:
            if log.position(running.store, site, NAME) >= log.last(running.store, site):
                return
            await asyncio.sleep(0.2)
