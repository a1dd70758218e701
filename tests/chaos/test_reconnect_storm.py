"""500 agents lose their broker at once and come back (field notes 54, 55, T10).

The real back-off with the waits that we ship and the real connection, against a real Mosquitto that is killed and stays
back at once or after a minute; one process in place of 500. Time is compressed by ``faster``: every wait of the
back-off is that much shorter, what is measured is that much longer in real life. What an agent does between connects is
not played, but for the subscription and the birth that each begins with.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.config import Waits
from agent.uplink.reconnect import Reconnect
from telemetry.fleet import Broker
from telemetry.message import PLAIN, Birth, encode
from telemetry.mqtt import MqttError
from telemetry.paho_mqtt import Connection
from telemetry.topics import AgentName, presence
from tests.services.mosquitto import mosquitto

AGENTS = 500
WINDOW_S = 180.0
"""All are to be back within this, in the agents' time."""
PEAK = 150
"""Most connects that the broker may see in one second of the agents' time: 500 within ``spread`` are 100 on average."""
HELD_S = 3600.0
"""The fleet had been connected for an hour when its broker went: how long a connection lived is told to be that."""


@dataclass
class Storm:
    """Whether each agent is connected, when each attempt was due and when each success was.

    Seconds of ``time.monotonic``.
    """

    port: int
    faster: float
    online: set[int] = field(default_factory=set)
    attempts: list[float] = field(default_factory=list)
    back: list[float] = field(default_factory=list)

    async def agent(self, number: int, chance: random.Random) -> None:
        """Connect, and connect again, for ever, as ``agent.uplink.uplink`` does."""
        waits = Waits()
        reconnect = Reconnect(
            base=waits.backoff_base,
            cap=waits.backoff_cap,
            spread=waits.spread,
            stable=waits.stable,
            chance=chance,
        )
        due = await self._wait(reconnect.first())
        while True:
            lasted = await self._one_connection(number, due)
            due = await self._wait(reconnect.after(lasted))

    async def _wait(self, seconds: float) -> float:
        """Wait, and return when that was to be over: all agents are in this one process, which may be late."""
        due = time.monotonic() + seconds / self.faster
        await asyncio.sleep(seconds / self.faster)
        return due

    async def _one_connection(self, number: int, due: float) -> float | None:
        name = AgentName("north", f"amb-{number:03}", "router")
        broker = Broker(host="127.0.0.1", port=self.port, keepalive=60)
        self.attempts.append(due)
        try:
            connection = Connection(broker, f"agent-{number}", on_message=lambda message: None)
            await connection.open()
            await connection.subscribe(presence(name.site), name.down("receipt"), name.down("time"))
            birth = Birth(1, "b" * 32, "box", "0", 10.0)
            await connection.deliver(name.up("state"), encode(PLAIN, f"{number:016x}", birth), retain=True)
        except (MqttError, OSError):
            return None
        self.online.add(number)
        self.back.append(time.monotonic())
        try:
            await connection.wait_closed()
        finally:
            self.online.discard(number)
            await connection.close()
        return HELD_S


async def _all_online(storm: Storm, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while len(storm.online) < AGENTS:  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.02)


def _peak(times: list[float], since: float, faster: float) -> int:
    """Return the most of these within one second of the agents' time."""
    return max(Counter(int((at - since) * faster) for at in times if at >= since).values())


@pytest.mark.alone
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("away_s", "faster"), [(0.0, 1.0), (60.0, 5.0)])
def test_500_agents_come_back_after_the_broker_was_away(away_s: float, faster: float, tmp_path: Path) -> None:
    with mosquitto(tmp_path, persistence=True) as broker:

        async def scene() -> tuple[Storm, float]:
            storm = Storm(broker.port, faster)
            chance = random.Random(4)
            tasks = [
                asyncio.create_task(storm.agent(number, random.Random(chance.random()))) for number in range(AGENTS)
            ]
            try:
                await _all_online(storm, 60)
                await asyncio.to_thread(broker.kill)
                while storm.online:  # noqa: ASYNC110 - a test looks from outside
                    await asyncio.sleep(0.01)
                await asyncio.sleep(away_s / faster)
                storm.attempts.clear()
                storm.back.clear()
                await asyncio.to_thread(broker.start)
                restarted = time.monotonic()
                await _all_online(storm, WINDOW_S / faster)
            finally:
                for task in tasks:
                    task.cancel()
                ends = await asyncio.gather(*tasks, return_exceptions=True)
            faults = [end for end in ends if not isinstance(end, asyncio.CancelledError)]
            assert not faults, faults[0]
            return storm, restarted

        storm, restarted = asyncio.run(scene())
        seen = re.findall(r"New client connected from \S+ as (agent-\d+) ", broker.log.read_text())
    took = (max(storm.back) - restarted) * faster
    peak = _peak(storm.attempts, restarted, faster)
    print(f"away {away_s:.0f} s: {AGENTS} agents back after {took:.0f} s, {peak} connects in the busiest second")
    assert Counter(Counter(seen).values()) == {2: AGENTS}, "each connected once before and once after"
    assert took < WINDOW_S
    assert peak < PEAK
