"""A site with many vehicles: its files, its collector as a process, and what its agents would say, encoded beforehand.

A message is one moment of one agent: 40 readings of modem, gateway, power, encoder and UPS, five records.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import yaml

from bench.standard_kit import MOMENT_MS, PARTS, START_MS, KitSample, Part, samples
from telemetry.fleet import Broker
from telemetry.intervals import Intervals
from telemetry.message import NUMBERED, PLAIN, Birth, Moment, Presence, SchemaBody, Up, decode, encode
from telemetry.metrics import Value
from telemetry.mqtt import Message
from telemetry.paho_mqtt import Connection
from telemetry.records import Clock
from telemetry.topics import AgentName, presence

SITE: Final = "bench"
KINDS: Final = {"modem": "modem", "gateway": "host", "power": "power", "encoder": "encoder", "ups": "ups"}
FORTY: Final = tuple(part for part in PARTS if part.device in KINDS)
READINGS: Final = sum(len(part.keys) for part in FORTY)
Changed = tuple[str, str]
"""(device, metric without a label)."""
EXPIRY_S: Final = 600
"""As agents say it of live messages."""
_VARIANTS: Final = 20
"""Vehicles with values of their own; the others repeat these."""
_MOMENTS: Final = 60
"""Of a vehicle with values of its own; then they come again."""
_FLAT_OUT: Final = 4000
"""Messages a second that are told to be of one second where nothing holds them back."""


# --- files and processes ----------------------------------------------------------------------------------------------


def write_files(
    directory: Path,
    broker_port: int,
    database: str,
    vehicles: int,
    rules: Mapping[str, Any] | None = None,
    timings: Mapping[str, Any] | None = None,
) -> Path:
    """Write fleet, rules and collector file; return the latter. Everything is as shipped but what is named here."""
    devices: dict[str, Any] = {name: {"kind": kind, "system": {"interval": 10}} for name, kind in KINDS.items()}
    fleet = {
        "sites": {SITE: {"vehicles": {n.vehicle: {"agents": {n.agent: {"devices": devices}}} for n in names(vehicles)}}}
    }
    collector: dict[str, Any] = {
        "broker": {"host": "127.0.0.1", "port": broker_port},
        "database": database,
        "fleet": "fleet.yaml",
        "web": {"port": 0},
    }
    if rules:
        collector["rules"] = ["rules.yaml"]
        (directory / "rules.yaml").write_text(yaml.safe_dump(dict(rules)))
    if timings:
        collector["timings"] = dict(timings)
    (directory / "fleet.yaml").write_text(yaml.dump(fleet, Dumper=_NoAliases))
    path = directory / "collector.yaml"
    path.write_text(yaml.safe_dump(collector))
    return path


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


@contextlib.contextmanager
def process(
    directory: Path, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[psutil.Process]:
    """Run a process in ``directory`` and end it whatever happens; what it says is in ``<name>.log``."""
    root = Path(__file__).parents[1]
    with (directory / f"{name}.log").open("wb") as log:
        child = subprocess.Popen(
            command, cwd=root, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, env=environment
        )
        try:
            yield psutil.Process(child.pid)
        finally:
            child.terminate()
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(10)


def collector(
    directory: Path, config: Path, environment: Mapping[str, str] | None = None
) -> contextlib.AbstractContextManager[psutil.Process]:
    """Run a real collector, as the command does."""
    command = [str(Path(sys.executable).parent / "kitwatch"), "collector", "--config", str(config)]
    return process(directory, "collector", command, environment)


def as_shipped(unit: Path, directory: Path) -> dict[str, str]:
    """Return the environment in which a unit starts its process; compiled modules are kept in ``directory``."""
    found = dict(os.environ)
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    for line in unit.read_text(encoding="utf-8").splitlines():
        if line.startswith("Environment="):
            found |= dict(word.split("=", 1) for word in line.removeprefix("Environment=").split())
    return found | {"PYTHONPYCACHEPREFIX": str(directory / "compiled")}


def cpu_seconds(one: psutil.Process) -> float:
    """Return the CPU seconds of a process and all its threads."""
    times = one.cpu_times()
    return float(times.user + times.system)


# --- what the agents say ----------------------------------------------------------------------------------------------


def names(vehicles: int) -> list[AgentName]:
    """Return the agents of the site, one a vehicle."""
    return [AgentName(SITE, f"amb-{number:04d}", "router") for number in range(vehicles)]


@dataclass
class Speaker:
    """One agent. ``wall_ms``: UTC as its first moment was."""

    name: AgentName
    run: str
    moments: Sequence[Sequence[KitSample]]
    wall_ms: int
    parts: tuple[Part, ...] = FORTY
    sequence: int = 0
    number: int = 0
    boot: str = field(init=False)

    def __post_init__(self) -> None:
        self.boot = self.run * 2
        self._numbers = {part.schema_id: number for number, part in enumerate(self.parts)}

    def introduction(self) -> list[tuple[str, bytes, bool]]:
        """Return (topic, payload, retained) of birth and schemas."""
        birth = Birth(1, self.boot, "bench", "0.1.0", 10.0, {}, dict(KINDS))
        clock = Clock(0, START_MS, self.wall_ms, "ntp", 5)
        schemas = SchemaBody(
            self.boot, {part.schema_id: part.schema for part in self.parts}, (clock,), numbers=self._numbers
        )
        return [
            (self.name.up("state"), encode(PLAIN, self.run, birth), True),
            (self.name.up("schema"), encode(NUMBERED, self.run, schemas), False),
        ]

    def next(self) -> tuple[str, bytes]:
        """Return (topic, payload) of the next moment."""
        return self.at(START_MS + self.number * MOMENT_MS, {})

    def now(self, changed: Mapping[Changed, Value]) -> tuple[str, bytes]:
        """Return (topic, payload) of a moment at this very time."""
        return self.at_time(time.time_ns() // 1_000_000, changed)

    def at_time(self, now_ms: int, changed: Mapping[Changed, Value]) -> tuple[str, bytes]:
        """Return (topic, payload) of a moment at ``now_ms`` (UTC)."""
        return self.at(START_MS + now_ms - self.wall_ms, changed)

    def at(self, mono_ms: int, changed: Mapping[Changed, Value]) -> tuple[str, bytes]:
        """Return (topic, payload) of a moment at ``mono_ms``; ``changed`` are values that differ."""
        now = self.moments[self.number % len(self.moments)]
        self.number += 1
        entries: list[list[Any]] = []
        for one in now:
            values = list(one.values)
            for (device, metric), value in changed.items():
                if device == one.part.device:
                    values[one.part.keys.index((metric, ""))] = value
            entries.append([self._numbers[one.part.schema_id], values])
        numbers = Intervals([(self.sequence, self.sequence + len(entries) - 1)])
        self.sequence += len(entries)
        return self.name.up("live"), encode(NUMBERED, self.run, [Moment(mono_ms, 0, entries)], numbers)


def speakers(vehicles: int, moments: int, seed: int = 1) -> list[Speaker]:
    """Return the agents of the site, ready to send so many moments each, the last of them now."""
    whole = tuple(Part(p.input, p.device, 1, p.keys, p.schema, p.schema_id) for p in FORTY)
    driven = [list(samples(seed + variant, _MOMENTS, whole)) for variant in range(_VARIANTS)]
    chance = random.Random(seed)
    begun_ms = time.time_ns() // 1_000_000 - moments * MOMENT_MS
    return [
        Speaker(name, f"{chance.getrandbits(64):016x}", driven[number % _VARIANTS], begun_ms)
        for number, name in enumerate(names(vehicles))
    ]


async def owner_there(connection: Connection, heard: asyncio.Event, seconds: float = 60.0) -> None:
    """Wait for the site's owner; ``heard`` is set by ``on_presence``."""
    await connection.subscribe(presence(SITE))
    async with asyncio.timeout(seconds):
        await heard.wait()


def on_presence(heard: asyncio.Event) -> Any:
    """Return what notes that the owner says it is there."""

    def note(message: Message) -> None:
        if message.topic == presence(SITE) and isinstance(decode(message.payload, Presence)[1], Up):
            heard.set()

    return note


# --- publishing, in a process of its own ------------------------------------------------------------------------------


async def publish(port: int, vehicles: int, warm: int, moments: int, rate: float, wait_for_owner: bool) -> None:
    """Say everything: introductions and ``warm`` moments, then at a line on standard input ``moments`` more each.

    Four connections share the agents. ``rate`` is messages a second, 0 as fast as the broker takes them. What is said
    after the line is of the time at which it is sent, as live words are: of older ones a collector would think that the
    agent's clock is off. Says ``warm`` and ``sent`` on standard output.
    """
    everyone = speakers(vehicles, warm)
    pace_ms = 1000 * vehicles / (rate or _FLAT_OUT)
    heard = asyncio.Event()
    broker = Broker(host="127.0.0.1", port=port)
    async with contextlib.AsyncExitStack() as stack:
        links = [
            await stack.enter_async_context(Connection(broker, f"publisher-{n}", on_message=on_presence(heard)))
            for n in range(4)
        ]
        if wait_for_owner:
            await owner_there(links[0], heard)
        told = [message for one in everyone for message in one.introduction()]
        await _deliver(links, told)
        await _deliver(links, [(*one.next(), False) for _ in range(warm) for one in everyone])
        print("warm", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        times_ms = [time.time_ns() // 1_000_000 + round(n * pace_ms) for n in range(moments)]
        ready = [(*one.at_time(time_ms, {}), False) for time_ms in times_ms for one in everyone]
        await _deliver(links, ready, rate)
        print("sent", flush=True)


async def _deliver(links: Sequence[Connection], messages: Sequence[tuple[str, bytes, bool]], rate: float = 0) -> None:
    """Publish all, an agent's always over the same link, and wait until the broker has them."""
    left = len(messages)
    done = asyncio.Event()

    def acknowledged(code: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done.set()

    begun = time.monotonic()
    for number, (topic, payload, retain) in enumerate(messages):
        link = links[int(topic.split("/")[4][-4:]) % len(links)]
        link.publish(topic, payload, retain=retain, expiry=None if retain else EXPIRY_S, done=acknowledged)
        ahead = begun + number / rate - time.monotonic() if rate else 0.0
        if ahead > 0.001:
            await asyncio.sleep(ahead)
        elif number % 50 == 49:
            await asyncio.sleep(0)
    await done.wait()


class Publisher:
    """The publishing process. ``go`` after ``warm``, then ``sent``."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child

    def wait(self, word: str) -> None:
        """Wait for a word of the publisher. Raises RuntimeError if it ends instead."""
        assert self._child.stdout is not None
        said = self._child.stdout.readline().strip()
        if said != word:
            raise RuntimeError(f"the publisher said {said!r} in place of {word!r}")

    def go(self) -> None:
        """Let it send what is measured."""
        assert self._child.stdin is not None
        self._child.stdin.write("go\n")
        self._child.stdin.flush()


@contextlib.contextmanager
def publisher(
    port: int, vehicles: int, warm: int, moments: int, *, rate: float = 0, wait_for_owner: bool = True
) -> Iterator[Publisher]:
    """Run the publishing process."""
    numbers = [str(number) for number in (port, vehicles, warm, moments, rate, int(wait_for_owner))]
    command = [sys.executable, "-m", "bench.fleet_traffic", *numbers]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield Publisher(child)
        finally:
            child.kill()


if __name__ == "__main__":
    port, vehicles, warm, moments, rate, owner = itertools.islice(sys.argv, 1, 7)
    asyncio.run(publish(int(port), int(vehicles), int(warm), int(moments), float(rate), owner == "1"))
