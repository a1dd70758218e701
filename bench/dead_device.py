"""How late live devices are polled when half the kit is dead, against the same devices with all of it alive.

The agent's sampler and its SNMP input poll eight devices each second. Four are looked at; the other four are simulated
devices like them, or UDP ports that swallow every request, so that each of their polls lasts to its deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.inputs.base import Poll
from agent.inputs.snmp import SnmpDevice
from agent.outbox.drafts import Draft
from agent.sampling.sampler import Poller, Sampler
from bench.row import Row, percentile, row
from bench.simulated_kit import COMMUNITY, simulated_kit
from firmware_profiles.own import profiles_of
from telemetry.inputs import SnmpInput

DEVICES: Final = 8
SECONDS: Final = 10.0
WARM: Final = 3.0
"""Seconds in which devices are found out about; not counted."""
RUNS: Final = 2
INTERVAL: Final = 1.0
DEADLINE: Final = 0.8
TIMEOUT: Final = 0.3


def rows() -> list[Row]:
    """Return the rows for the beginning and the end of polls, in milliseconds after they were due."""
    half_dead: list[tuple[list[float], list[float]]] = []
    all_alive: list[tuple[list[float], list[float]]] = []
    with (
        tempfile.TemporaryDirectory(prefix="kitwatch-bench-") as name,
        simulated_kit(DEVICES - 1) as kit,
        _swallowing(DEVICES // 2) as dead,
    ):
        secret = Path(name) / "community"
        secret.write_text(COMMUNITY + "\n")
        secret.chmod(0o600)
        alive = [kit.router_port, *kit.camera_ports.values()]
        for _ in range(RUNS):
            all_alive.append(asyncio.run(_lateness(alive, secret)))
            half_dead.append(asyncio.run(_lateness(alive[: DEVICES // 2] + dead, secret)))
    return [
        row(
            f"a live device's poll {what} after it was due, half the kit dead, p{share * 100:g}, ms",
            [percentile(run[part], share) for run in half_dead],
            "the same with all alive",
            [percentile(run[part], share) for run in all_alive],
            target="ratio <= 1.5" if (part, share) == (1, 0.5) else None,
        )
        for part, what in ((0, "begins"), (1, "ends"))
        for share in (0.5, 0.99)
    ]


class _Timed:
    """An input that notes when its polls begin and end, in ms after their moment."""

    def __init__(self, source: SnmpDevice, begins: list[float], ends: list[float], count_from: float) -> None:
        self._source = source
        self._begins = begins
        self._ends = ends
        self._count_from = count_from

    async def poll(self, now: float) -> Poll:
        moment = now // INTERVAL * INTERVAL
        found = await self._source.poll(now)
        if now >= self._count_from:
            if len(found.readings) < 2:
                raise RuntimeError(f"a live device did not answer: {found.problem}")
            self._begins.append((now - moment) * 1000)
            self._ends.append((_monotonic() - moment) * 1000)
        return found

    async def close(self) -> None:
        await self._source.close()


async def _lateness(ports: list[int], secret: Path) -> tuple[list[float], list[float]]:
    """Return when polls of the first half of the devices began and ended."""
    begins: list[float] = []
    ends: list[float] = []
    count_from = _monotonic() + WARM
    pollers = []
    for number, port in enumerate(ports):
        config = SnmpInput(
            address="127.0.0.1", port=port, community_file=str(secret), interval=INTERVAL, deadline=DEADLINE,
            timeout=TIMEOUT,
        )  # fmt: skip
        source = SnmpDevice(config, profiles_of())
        timed = _Timed(source, begins, ends, count_from) if number < len(ports) // 2 else source
        pollers.append(Poller(f"device-{number}", "snmp", timed, INTERVAL, DEADLINE))
    delivered: list[Draft] = []
    sampler = Sampler(pollers, monotonic=_monotonic, deliver=delivered.extend, straggler=DEADLINE)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WARM + SECONDS):
            await sampler.run()
    if sampler.counts["fault"] or not begins:
        raise RuntimeError(f"the sampler counted {dict(sampler.counts)}, {len(begins)} polls")
    return begins, ends


def _monotonic() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@contextlib.contextmanager
def _swallowing(count: int) -> Iterator[list[int]]:
    """Yield UDP ports on which somebody listens and nobody answers."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        yield [one.getsockname()[1] for one in sockets]
