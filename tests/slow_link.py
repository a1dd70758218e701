"""``python -m tests.slow_link --hours 24 --record``: a backlog over a link of 20 kbit/s; ``make slowlink`` calls it.

An outbox holds the standard kit's records of so many hours (``bench/standard_kit.py``). A real agent brings them home
through a relay that passes so many bytes a second up, to a real Mosquitto and a collector that knows its manners; it
goes on sampling itself all the while. Held: every record arrives once, over one connection.

Exit status: 0 that was so; 1 it was not.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from agent.config import AgentConfig, Waits
from agent.machine import Machine
from agent.main import Agent
from agent.outbox.outbox import Outbox
from bench.standard_kit import MOMENT_MS, START_MS, samples
from telemetry.fleet import Broker, Device
from telemetry.inputs import SystemInput
from telemetry.records import Clock
from tests.long_run import LongRun, arguments
from tests.services.fake_collector import fake_collector
from tests.services.mosquitto import mosquitto
from tests.services.relay import relay

RATE: Final = 2500
"""20 kbit/s in bytes a second."""
EARLIER: Final = "00000000000000a1"


@dataclass(frozen=True)
class Told:
    """What became of the backlog."""

    records: int
    arrived: int
    doubled: int
    """Records that arrived more than once."""
    connections: int
    """That went through the slow link."""
    bytes_up: int
    seconds: float

    @property
    def held(self) -> bool:
        """Whether every record arrived once over one connection."""
        return self.arrived == self.records and self.doubled == 0 and self.connections == 1


def bring_home(
    directory: Path, hours: float, *, rate: int = RATE, unanswered: float = 30.0, keepalive: int = 60
) -> Told:
    """Bring a backlog home and return what became of it. It has ten times as long as its bytes take at that rate."""
    made = _fill(directory / "state" / "outbox", hours)

    async def scene() -> Told:
        to_broker = Broker(host="127.0.0.1", port=broker.port)
        over_link = Broker(host="127.0.0.1", port=link.port, keepalive=keepalive)
        config = AgentConfig(
            site="north",
            vehicle="amb-03",
            agent="tablet",
            broker=over_link,
            devices={"tablet": Device(kind="host", system=SystemInput(interval=10, deadline=5, disk="/"))},
            state_directory=str(directory / "state"),
            waits=Waits(spread=0.0, unanswered=unanswered),
        )
        stop = asyncio.Event()
        async with fake_collector(to_broker, config.name) as collector:
            agent = await Agent.start(config, host=Machine(), machine="box")
            working = asyncio.create_task(agent.work(stop))
            began, patience_s = time.monotonic(), 60 + made * 60 / rate * 10
            while time.monotonic() - began < patience_s:
                await asyncio.sleep(0.2)
                if sum(run == EARLIER for run, _ in collector.taken) == made:
                    break
            seconds = time.monotonic() - began
            arrived = sum(run == EARLIER for run, _ in collector.taken)
            told = Told(made, arrived, collector.doubled, link.connections, link.passed, round(seconds, 1))
            stop.set()
            await working
            await agent.close(clean=True)
        return told

    with mosquitto(directory) as broker, relay(broker.port, rate) as link:
        return asyncio.run(scene())


def _fill(directory: Path, hours: float) -> int:
    """Leave the kit's records of an earlier boot in an outbox; return how many."""
    directory.parent.mkdir(parents=True)
    outbox = Outbox.open(directory, 64 * 2**20, EARLIER, secrets.token_hex(16))
    count = 0
    moments = round(hours * 3_600_000 / MOMENT_MS)
    for kit in samples(seed=1, moments=moments):
        for sample in kit:
            outbox.add_schema(sample.part.schema)
            outbox.append(sample.mono_ms, sample.part.schema_id, list(sample.values))
            count += 1
        if count % 500 < len(kit):
            outbox.sync()
    outbox.sync()
    wall_ms = round(time.time() * 1000 - moments * MOMENT_MS)
    outbox.add_clock(EARLIER, Clock(0, START_MS, wall_ms, "ntp", 5))
    outbox.sync()
    outbox.close()
    return count


def main(argv: Sequence[str] | None = None) -> int:
    """Bring it home; return the exit status."""
    parser = arguments("tests.slow_link", (__doc__ or "").partition("\n")[0])
    parser.add_argument("--hours", type=float, default=24.0, help="how long the backlog is")
    parser.add_argument("--rate", type=int, default=RATE, help="bytes a second that the link passes")
    args = parser.parse_args(argv)
    long = LongRun("slow-link", "tests.slow_link", args, argv)
    with tempfile.TemporaryDirectory(prefix="kitwatch-slow-link-", ignore_cleanup_errors=True) as folder:
        told = bring_home(Path(folder), args.hours, rate=args.rate)
    return long.end({**asdict(told), "rate": args.rate, "hours": args.hours}, held=told.held, seeds=[1])


if __name__ == "__main__":
    sys.exit(main())
