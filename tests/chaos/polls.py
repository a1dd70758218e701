"""A million polls with half the kit dead: does memory grow, does a file descriptor stay open?

``python -m tests.chaos.polls [--virtual 1000000] [--real 3000] [--json] [--record]``; exit status 1 if something grows.
The standard kit is polled 64,800 times a day at most: a week of it is 453,600 polls.

Two halves, both through the agent's real sampler. In *virtual* time: SNMP inputs with their profiles over a port in
memory: devices that answer, whose firmware and rows change, that are silent, that hang past their deadline, that raise.
In *real* time: the simulated kit over SNMP, HTTP, RTSP, AT and NMEA, and beside each live device a dead one of its
kind, among them UDP ports that swallow every request of the one pysnmp engine. A million virtual polls take some
minutes, 3,000 real ones about two.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import gc
import json
import os
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agent.inputs import open_input
from agent.inputs.base import Input, Poll
from agent.inputs.snmp import SnmpDevice
from agent.outbox.drafts import Draft
from agent.sampling.sampler import Poller, Sampler
from agent.snmp.port import SnmpSilentError, Walk
from firmware_profiles.answers import Kind, Wire
from firmware_profiles.own import profiles_of
from simulator.kit import ENCODER_USER, Kit
from simulator.panel import panel_table
from simulator.scenario import load_scenario
from simulator.snmp import Oid, Table
from simulator.ups import ups_table
from simulator.world import KitState, kit_state
from telemetry.inputs import GnssInput, HttpInput, ModemInput, SnmpInput, StreamInput
from telemetry.readings import Reading
from tests.long_run import Record
from tests.services.process import free_port
from tests.unit import virtual_time

BLOCKS_A_POLL: Final = 0.05
"""Blocks of memory that Python may hold more, a poll: one that is kept for each poll would be 1 or more."""
UNDER_WAY: Final = 2_500
"""Blocks that come and go with what is just under way: sessions, buffers, half a kit's polls."""
RSS_BYTES: Final = 6 << 20
"""By how much the process may grow after it has warmed up, whatever the number of polls: the allocator's business."""
MARKS: Final = 10
WARM: Final = 3
"""So many of the marks are warming up: profiles compiled, caches filled, the allocator's arenas made."""


@dataclass
class Mark:
    """What the process held when so many polls were done. ``descriptors`` None: it was not looked."""

    polls: int
    blocks: int
    rss: int
    descriptors: int


@dataclass
class Growth:
    """Marks from the beginning to the end of a run, and what became of its polls."""

    name: str
    under_way: int = 500
    marks: list[Mark] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def mark(self, polls: int) -> None:
        """Look at what the process holds now."""
        gc.collect()
        with Path("/proc/self/statm").open(encoding="ascii") as file:
            pages = int(file.read().split()[1])
        descriptors = len(os.listdir("/proc/self/fd"))
        self.marks.append(Mark(polls, sys.getallocatedblocks(), pages * os.sysconf("SC_PAGE_SIZE"), descriptors))

    def problems(self) -> list[str]:
        """Say what grew between the end of warming up and the end."""
        begin, end = self.marks[WARM], self.marks[-1]
        polls = end.polls - begin.polls
        told = []
        # A third of the marks a side, so that one odd moment decides nothing.
        low = min(mark.blocks for mark in self.marks[WARM : WARM + 3])
        late = min(mark.blocks for mark in self.marks[-3:])
        if late - low > max(BLOCKS_A_POLL * polls, self.under_way):
            told.append(f"{self.name}: {late - low} blocks of memory more after {polls} polls")
        if min(mark.rss for mark in self.marks[-3:]) - begin.rss > RSS_BYTES:
            told.append(f"{self.name}: {end.rss - begin.rss} bytes more resident after {polls} polls")
        if (more := self.descriptors_more()) > 0:
            told.append(f"{self.name}: {more} descriptors more after {polls} polls")
        return told

    def descriptors_more(self) -> int:
        """Say how many descriptors more stay open; what one moment has open beyond them is polls just under way."""
        before = max(mark.descriptors for mark in self.marks[: WARM + 1])
        return min(mark.descriptors for mark in self.marks[-3:]) - before

    def as_json(self) -> dict[str, Any]:
        """Return the figures."""
        begin, end = self.marks[WARM], self.marks[-1]
        return {
            "polls": end.polls,
            "seconds": round(self.seconds, 1),
            **self.counts,
            "blocks_more": end.blocks - begin.blocks,
            "rss_more_bytes": end.rss - begin.rss,
            "descriptors_more": self.descriptors_more(),
        }


class Sink:
    """Takes the drafts of a moment as the recorder would, and keeps none."""

    def __init__(self) -> None:
        self.samples = self.events = 0

    def deliver(self, drafts: list[Draft]) -> None:
        for draft in drafts:
            if hasattr(draft, "values"):
                self.samples += 1
            else:
                self.events += 1


@dataclass
class Counted:
    """An input, with how many polls of it were begun and how many found their device."""

    source: Input
    polls: int = 0
    found: int = 0

    async def poll(self, now: float) -> Poll:
        self.polls += 1
        poll = await self.source.poll(now)
        self.found += any(one.metric == "device.reachable" and one.value is True for one in poll.readings)
        return poll

    async def close(self) -> None:
        await self.source.close()


async def run_marked(pollers: Sequence[Poller], polls: int, growth: Growth, monotonic: Callable[[], float]) -> None:
    """Run pollers until so many polls were begun, marking on the way."""
    sources = [poller.source for poller in pollers]
    assert all(isinstance(source, Counted) for source in sources)
    sink = Sink()
    sampler = Sampler(pollers, monotonic=monotonic, deliver=sink.deliver)
    task = asyncio.create_task(sampler.run())
    begun = time.monotonic()

    def done() -> int:
        return sum(source.polls for source in sources if isinstance(source, Counted))

    growth.mark(0)
    for number in range(1, MARKS + 1):
        while done() < polls * number // MARKS:
            await asyncio.sleep(0.25)
            if task.done():
                await task
        growth.mark(done())
    growth.seconds = time.monotonic() - begun
    growth.counts.update(
        found=sum(source.found for source in sources if isinstance(source, Counted)),
        samples=sink.samples,
        events=sink.events,
        deadline=sampler.counts["deadline"],
        fault=sampler.counts["fault"],
        flags=sum(sampler.flags().values()),
    )
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# --- virtual time -----------------------------------------------------------------------------------------------------

_KINDS: Final[dict[str, Kind]] = {
    "string": "octets",
    **{k: k for k in ("integer", "oid", "counter32", "gauge32", "ticks", "counter64")},
}


@dataclass
class MemoryPort:
    """An SNMP port (``agent.snmp.port``) onto a simulated table; ``silent()`` says whether the device is dead now."""

    table: Callable[[], Table]
    silent: Callable[[], bool] = lambda: False
    answered: int = 0

    async def get(self, oids: Sequence[str], *, lost: dict[str, str] | None = None) -> dict[str, Wire]:
        await self._wait()
        table = self.table()
        return {oid: _wire(*table[key]) for oid in oids if (key := _key(oid)) in table}

    async def walk(
        self, columns: Sequence[str], *, rows: int = 256, seconds: float = 10.0, into: Walk | None = None
    ) -> Walk:
        await self._wait()
        walk = into if into is not None else Walk()
        keys = [_key(column) for column in columns]
        for oid, (kind, value) in self.table().items():
            if any(oid[: len(key)] == key for key in keys):
                walk.values[".".join(map(str, oid))] = _wire(kind, value)
        return walk

    async def close(self) -> None:
        pass

    async def _wait(self) -> None:
        if self.silent():
            await asyncio.sleep(0.3)
            raise SnmpSilentError("memory", "no answer")
        await asyncio.sleep(0.01)
        self.answered += 1


def _key(oid: str) -> Oid:
    return tuple(int(part) for part in oid.split("."))


def _wire(kind: str, value: Any) -> Wire:
    if kind == "string":
        return Wire("octets", str(value).encode())
    return Wire(_KINDS[kind], ".".join(map(str, value)) if kind == "oid" else value)


class Hangs:
    """Never answers: each poll is cut off at its deadline."""

    async def poll(self, now: float) -> Poll:
        await asyncio.sleep(3600)
        return Poll()

    async def close(self) -> None:
        pass


class Raises:
    """An internal error in every poll."""

    async def poll(self, now: float) -> Poll:
        raise RuntimeError(f"at {now}")

    async def close(self) -> None:
        pass


class Churns:
    """Rows of new names for ever, another problem and another flag in each poll: what could be hoarded."""

    def __init__(self) -> None:
        self._number = 0

    async def poll(self, now: float) -> Poll:
        self._number += 1
        rows = [Reading("interface.up", True, {"interface": f"tun{self._number}"})]
        flags = [f"unparsed modem.band {self._number}"]
        return Poll([Reading("device.reachable", True), *rows], None, flags, f"problem {self._number}")

    async def close(self) -> None:
        pass


def _state() -> KitState:
    """Return the truth of a quiet world at the virtual time."""
    return kit_state(_QUIET, "v", [], virtual_time.monotonic())


_QUIET: Final = load_scenario("quiet")


def _updated() -> Table:
    """Return a UPS whose firmware is another every hour."""
    table = dict(ups_table(_state(), "1"))
    table[(1, 3, 6, 1, 4, 1, 318, 1, 1, 1, 1, 2, 1, 0)] = ("string", f"UPS {int(virtual_time.monotonic() // 3600)}")
    return table


def virtual(polls: int) -> Growth:
    """Run so many polls in virtual time: eight inputs that are alive, eight dead ones."""
    growth = Growth("virtual")

    def snmp(table: Callable[[], Table], silent: Callable[[], bool] = lambda: False) -> SnmpDevice:
        config = SnmpInput(address="memory", community_file="none", interval=1, deadline=0.8)
        return SnmpDevice(config, profiles_of(), lambda _: MemoryPort(table, silent))

    def flapping() -> bool:
        return int(virtual_time.monotonic()) // 7 % 2 == 0

    def panel() -> Table:
        return panel_table(_state())

    alive: list[Input] = [snmp(panel) for _ in range(5)]
    alive += [snmp(_updated), snmp(panel, flapping), Churns()]
    dead: list[Input] = [*(snmp(panel, lambda: True) for _ in range(3)), *(Hangs() for _ in range(4)), Raises()]
    pollers = [Poller(f"d{n}", "snmp", Counted(source), 1.0, 0.8) for n, source in enumerate([*alive, *dead])]
    virtual_time.run(run_marked(pollers, polls, growth, virtual_time.monotonic))
    return growth


# --- real time --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def swallowing() -> Iterator[int]:
    """Yield a UDP port that takes every request and answers none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taker:
        taker.bind(("127.0.0.1", 0))
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        yield taker.getsockname()[1]


def real(polls: int) -> Growth:
    """Run so many polls of a simulated kit in real time, half of its devices dead."""
    growth = Growth("real", UNDER_WAY)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kitwatch-polls-")))
        dead_ports = [stack.enter_context(swallowing()) for _ in range(3)]
        asyncio.run(_real(polls, growth, folder, dead_ports))
    return growth


async def _real(polls: int, growth: Growth, folder: Path, dead_ports: Sequence[int]) -> None:
    secrets = {"community": "polls-only", "password": "polls-only-too"}
    for name, text in secrets.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text)
    kit = Kit("v", load_scenario("quiet"), secrets["community"], ups=True, encoder_password=secrets["password"])
    ends = await kit.start()
    every: dict[str, Any] = {"interval": 1.0, "deadline": 0.9}
    login: dict[str, Any] = {"user": ENCODER_USER, "password_file": str(folder / "password")}

    def snmp(port: int) -> SnmpInput:
        file = str(folder / "community")
        return SnmpInput(address="127.0.0.1", port=port, community_file=file, timeout=0.2, retries=1, **every)

    def stream(url: str, transport: Any) -> StreamInput:
        return StreamInput(url=url, play=0.2, transport=transport, **login, **every)

    closed = free_port()
    assert ends.ups_port is not None
    assert ends.panel_port is not None
    configs = {
        "ups": snmp(ends.ups_port),
        "power": snmp(ends.panel_port),
        "camera": snmp(ends.camera_ports["camera-1"]),
        "encoder": HttpInput(url=ends.encoder_url or "", profile="hikvision/isapi", **login, **every),
        "stream": stream(ends.stream_url or "", "tcp"),
        "stream-udp": stream(ends.stream_url or "", "udp"),
        "modem": ModemInput(port=ends.modem_port, **every),
        "gnss": GnssInput(port=ends.gnss_port, **every),
        **{f"dead-snmp-{number}": snmp(port) for number, port in enumerate(dead_ports)},
        "dead-encoder": HttpInput(url=f"http://127.0.0.1:{closed}", profile="hikvision/isapi", **login, **every),
        "dead-stream": stream(f"rtsp://127.0.0.1:{closed}/x", "tcp"),
        "dead-stream-udp": stream(f"rtsp://127.0.0.1:{closed}/x", "udp"),
        "dead-modem": ModemInput(port=str(folder / "ttyUSB0"), **every),
        "dead-gnss": GnssInput(port=str(folder / "ttyUSB1"), **every),
    }
    pollers = [
        Poller(name, "x", Counted(open_input(config)), config.interval, config.deadline)
        for name, config in configs.items()
    ]
    try:
        await run_marked(pollers, polls, growth, time.monotonic)
    finally:
        await kit.stop()


def main(argv: Sequence[str] | None = None) -> int:
    """Run both; return 1 if something grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.polls", description=__doc__.partition("\n")[0])
    parser.add_argument("--virtual", type=int, default=1_000_000, metavar="POLLS")
    parser.add_argument("--real", type=int, default=3_000, metavar="POLLS")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, nothing else")
    parser.add_argument("--record", action="store_true", help="write what came of it to bench/results/")
    args = parser.parse_args(argv)
    began, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    runs = [run(polls) for run, polls in ((virtual, args.virtual), (real, args.real)) if polls]
    problems = [problem for run in runs for problem in run.problems()]
    figures = {run.name: run.as_json() for run in runs}
    if args.json:
        print(json.dumps(figures))
    else:
        for name, told in figures.items():
            print(f"{name}: {', '.join(f'{key} {value}' for key, value in told.items())}")
    for problem in problems:
        print(f"polls: {problem}", file=sys.stderr)
    if args.record:
        words = sys.argv[1:] if argv is None else argv
        seconds = time.monotonic() - clock
        record = Record("polls", "tests.chaos.polls", words, [], began, seconds, figures, not problems)
        print(record.write(), file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
