"""An agent whose clock starts in 1970, and one that was offline for an hour while a fault began and ended.

Field notes 24, 61, T7. Real Mosquitto, collector process and InfluxDB;
the agent is the real one in this process, given another machine's clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import AgentConfig
from agent.config import load as load_agent
from agent.machine import Machine, WallReading
from agent.main import run as run_agent
from agent.outbox.outbox import Outbox
from simulator.scenario import Scenario
from telemetry.records import Clock, Column, Record, Sample, Schema
from tests.chaos.judge import kept
from tests.chaos.world import World, rows, world
from tests.services.fake_collector import until
from tests.services.influxdb import points

QUIET = Scenario(name="quiet")
RUN = "00000000000000aa"
BEFORE = "00000000000000bb"
HOUR_MS = 3_600_000


def boottime_ms() -> int:
    return round(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)


class Epoch(Machine):
    """A machine without a battery clock: at boot it is 1970; at ``jump_s`` somebody sets it 56 years ahead."""

    def __init__(self, jump_s: float, back_s: float) -> None:
        super().__init__()
        self._begun = time.monotonic()
        self._jump_s = jump_s
        self._back_s = back_s

    def wall(self) -> WallReading:
        since = time.monotonic() - self._begun
        wall_ms = round(since * 1000) + 86_400_000
        if since > self._jump_s:
            wall_ms = round(time.time() * 1000) + 3 * HOUR_MS  # set by hand, and three hours wrong
        if since > self._back_s:
            wall_ms -= HOUR_MS
        return WallReading(boottime_ms(), wall_ms, False, 0)


async def drive(
    config: AgentConfig,
    seconds: float,
    records: list[Record],
    enough: Callable[[], bool] = lambda: True,
    **options: object,
) -> None:
    """Run the real agent for so long, and until that is ``enough``, for a minute more at most."""
    stop = asyncio.Event()
    task = asyncio.create_task(
        run_agent(config, stop=stop, on_record=records.append, run_id=RUN, **options)  # type: ignore[arg-type]
    )
    done, _ = await asyncio.wait({task}, timeout=seconds)
    assert not done, "the agent ended by itself"
    with contextlib.suppress(TimeoutError):  # what lacks is told by who asks for it
        await until(enough, 60)
    stop.set()
    await task


def asked(one: World, query: str) -> bool:
    """Say whether a query finds something; before the migration there is no table."""
    with contextlib.suppress(sqlite3.OperationalError):
        return rows(one.database, query) != []
    return False


def everything_is_in(one: World, count: int) -> None:
    one.wait(lambda: len(list(kept(one.database))) >= count, 60, f"{count} records")
    query = "SELECT site.last_batch, cursor.number FROM site JOIN cursor USING (site) WHERE sink = 'influxdb'"
    one.wait(lambda: all(last == number for last, number in rows(one.database, query)), 60, "InfluxDB has the log")


@pytest.mark.timeout(400)
def test_a_clock_of_1970_puts_no_point_at_a_wrong_time(tmp_path: Path) -> None:
    """The centre's time places what was seen before it was known, to within half the round trip."""
    with world(tmp_path / "world", None, QUIET) as one:
        one.set_links("cut")  # it begins with nobody to ask
        one.start_collector()
        one.wait(lambda: asked(one, "SELECT epoch FROM site WHERE epoch > 0"), 60, "the collector owns its site")
        config = load_agent(one.directory / "agent-amb-01-tablet.yaml")
        records: list[Record] = []

        async def main() -> None:
            asyncio.get_running_loop().call_later(4, one.set_links, "pass")
            await drive(config, 14, records, host=Epoch(jump_s=6, back_s=10))

        true_offset_ms = round(time.time() * 1000) - boottime_ms()
        asyncio.run(main())
        samples = [record for record in records if isinstance(record, Sample)]
        assert len(samples) >= 12
        everything_is_in(one, len(records) - 2)  # the last moment may still be at home
        one.stop("collector")
        found = points(one.influx)
        assert found
        known_ms = max(record.clock.uncertainty_ms for _, record in kept(one.database) if record.clock is not None)
        allowed_ms = max(250, known_ms)  # half of the round trip, which on a busy machine may be long
        true_ms = {sample.mono_ms + true_offset_ms for sample in samples}
        for measurement, tags, at in found:
            nearest = min(true_ms, key=lambda truth: abs(truth - at))
            assert abs(nearest - at) < allowed_ms, (measurement, tags, at - nearest)
        assert min(at for _, _, at in found) - min(true_ms) < allowed_ms, (
            "what came before the time was known is there too"
        )
        uptimes = sorted((at, f["uptime_s"]) for (m, _, at), f in found.items() if m == "host" and "uptime_s" in f)
        assert [up for _, up in uptimes] == sorted(up for _, up in uptimes), "uptime is monotone"


def put_an_hour_on_disk(config: AgentConfig, begun_wall_ms: int) -> list[tuple[int, Sample]]:
    """Write an hour of camera samples, one every ten seconds, into the outbox of an earlier boot; return (UTC ms, it).

    The camera is unreachable from minute 10 to minute 30. The clock of the run came from NTP.
    """
    camera = Schema("snmp", "camera-1", (Column("device.reachable"),))
    directory = Path(config.state_directory) / "outbox"
    directory.parent.mkdir(parents=True)
    outbox = Outbox.open(directory, config.outbox_bytes, BEFORE, "b" * 32)
    outbox.add_clock(BEFORE, Clock(0, 5_000_000, begun_wall_ms, "ntp", 5))
    schema_id = outbox.add_schema(camera)
    samples = [
        (begun_wall_ms + at, outbox.append(5_000_000 + at, schema_id, [not 600_000 <= at < 1_800_000]))
        for at in range(0, HOUR_MS - 10_000, 10_000)
    ]
    outbox.sync()
    outbox.close()
    return samples


@pytest.mark.timeout(400)
def test_a_fault_that_began_and_ended_while_offline_is_a_note_and_no_ticket(tmp_path: Path) -> None:
    """Late data, over before it was heard of: history and down time, no notice, no clock.

    Judged ten times faster: the backlog is the state when live has spoken for a while.
    """
    with world(tmp_path / "world", None, QUIET, speed=10.0) as one:
        config = load_agent(one.directory / "agent-amb-01-router.yaml")
        begun_ms = round(time.time() * 1000) - HOUR_MS
        samples = put_an_hour_on_disk(config, begun_ms)
        one.start_collector()
        records: list[Record] = []
        query = "SELECT device, fault, began_ms, ended_ms FROM closed_note WHERE vehicle = 'amb-01'"

        asyncio.run(drive(config, 12, records, lambda: asked(one, query)))
        everything_is_in(one, len(samples) + len(records) - 5)
        one.wait(lambda: asked(one, query), 60, "the backlog was judged")
        one.stop("collector")

        assert rows(one.database, "SELECT fault FROM ticket") == []
        (note,) = rows(one.database, query)
        assert note == ("camera-1", "camera_down", begun_ms + 600_000, begun_ms + 1_800_000)

        old = [key for key, _ in kept(one.database) if key[2] == BEFORE]
        assert sorted(old) == [("amb-01", "router", BEFORE, sample.sequence) for _, sample in samples]
        reachable = {
            at: fields["reachable"]
            for (measurement, tags, at), fields in points(one.influx).items()
            if measurement == "device" and ("device", "camera-1") in tags and at < begun_ms + HOUR_MS - 10_000
        }
        assert reachable == {at: sample.values[0] for at, sample in samples}
