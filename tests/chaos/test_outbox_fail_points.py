"""Kill and power loss at every single step that the outbox takes on its disk (field notes T2, T3)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.outbox.outbox import Outbox
from telemetry.intervals import Intervals
from telemetry.records import Clock, Column, Record, Schema
from tests.chaos.disks import Killed, MemoryDisk, kill_at
from tests.unit.bounds import cost

HERE = Path("outbox")
MIB = 1024 * 1024
OLD, RUN, NEXT = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc"
SCHEMA = Schema("snmp", "router", (Column("modem.rsrp_dbm", {"leg": "lte"}),))


class Story:
    """What a process did with its outbox until it was killed: what it was promised, what it let go."""

    def __init__(self) -> None:
        self.written: dict[str, dict[int, Record]] = {OLD: {}, RUN: {}}
        self.synced: dict[str, set[int]] = {OLD: set(), RUN: set()}
        self.released: dict[str, set[int]] = {OLD: set(), RUN: set()}
        self.run = OLD

    def records(self, outbox: Outbox, count: int, size: int) -> None:
        """A sync with ``count`` samples and an event between them."""
        mono_ms = 1000 * len(self.written[self.run])
        records: list[Record] = []
        for number in range(count):
            records.append(outbox.append(mono_ms, SCHEMA.id(), ["x" * size]))
            if number == count // 2:
                records.append(outbox.append_event(mono_ms, "problem", "camera", {"text": "y" * (size // 4)}))
        self.written[self.run] |= {record.sequence: record for record in records}
        assert outbox.sync()
        self.synced[self.run].update(record.sequence for record in records)

    def release(self, outbox: Outbox, run: str, first: int, last: int) -> None:
        self.released[run].update(range(first, last + 1))  # before: the collector has it, whatever happens here
        outbox.release(run, Intervals([(first, last)]))


def start(story: Story, outbox: Outbox) -> None:
    outbox.add_schema(SCHEMA)
    outbox.add_clock(story.run, Clock(0, 0, 1_790_000_000_000, "ntp", 5))


def live(story: Story, disk: MemoryDisk) -> None:
    """An old run, then one that appends, rotates both classes, releases, deletes and stops: no eviction."""
    outbox = Outbox.open(HERE, 4 * MIB, OLD, "boot-a", disk=disk)
    start(story, outbox)
    for _ in range(3):
        story.records(outbox, 40, 2000)
    outbox.close()
    story.run = RUN
    outbox = Outbox.open(HERE, 4 * MIB, RUN, "boot-b", disk=disk)
    start(story, outbox)
    for turn in range(12):
        story.records(outbox, 60, 2000)
        if turn == 3:
            story.release(outbox, OLD, 0, 50)
        if turn == 6:
            story.release(outbox, OLD, 0, 200)
        if turn > 4:
            story.release(outbox, RUN, (turn - 5) * 70, (turn - 5) * 70 + 69)
    outbox.close()


def overrun(story: Story, disk: MemoryDisk) -> None:
    """More than the outbox holds: segments are evicted, losses are told."""
    story.run = RUN
    outbox = Outbox.open(HERE, MIB, RUN, "boot-b", disk=disk)
    start(story, outbox)
    for turn in range(14):
        story.records(outbox, 50, 2000)
        for loss in outbox.take_losses():
            event = outbox.append_event(turn, "lost", "", loss.body())
            story.written[RUN][event.sequence] = event
    outbox.close()


def check(story: Story, disk: MemoryDisk, max_bytes: int, *, evicts: bool) -> None:
    """T2: start again within 5 s, find everything that was promised, and go on."""
    outbox, took_s = cost(lambda: Outbox.open(HERE, max_bytes, NEXT, "boot-c", disk=disk))
    assert took_s < 5
    assert disk.used() <= max_bytes
    told: dict[str, set[int]] = {OLD: set(), RUN: set()}
    held: dict[str, dict[int, Record]] = {}
    for run in (OLD, RUN):
        held[run] = {}
        while part := outbox.read(run, max(held[run], default=-1) + 1, 100):
            held[run] |= {record.sequence: record for record in part}
    for loss in outbox.take_losses():
        told[loss.run].update(Intervals(loss.intervals))
    told[RUN] |= _told_by_events(held[RUN])
    for run in (OLD, RUN):
        assert held[run].items() <= story.written[run].items(), "nothing that was never written"
        promised = story.synced[run] - story.released[run]
        assert promised - told[run] <= held[run].keys(), "every promise is held or told as lost"
        if not evicts:
            assert not promised & told[run], "nothing promised is lost"
            assert not story.released[run] & told[run], "nothing released is told as lost"
        assert not told[run] & held[run].keys()
        if held[run]:
            assert outbox.schemas(run) == {SCHEMA.id(): SCHEMA}
            assert [clock.number for clock in outbox.clocks(run)] == [0]
        used = max([-1, *held[run], *told[run]])
        assert set(range(used + 1)) <= held[run].keys() | told[run] | story.released[run]
    event = outbox.append_event(0, "started")
    sample = outbox.append(0, SCHEMA.id(), [1])
    assert outbox.sync()
    assert outbox.read(NEXT, 0, 9) == [event, sample]
    assert disk.used() <= max_bytes
    outbox.close()


def _told_by_events(held: dict[int, Record]) -> set[int]:
    """Return the numbers that the ``lost`` events among the records tell."""
    bodies = (record.body for record in held.values() if getattr(record, "kind", "") == "lost")  # type: ignore[union-attr]
    return {number for body in bodies for number in Intervals(tuple(pair) for pair in body["intervals"])}


def steps_of(scenario: Callable[[Story, MemoryDisk], None]) -> int:
    disk = MemoryDisk()
    scenario(Story(), disk)
    return disk.steps


def killed_at_every_step(scenario: Callable[[Story, MemoryDisk], None]) -> Iterator[tuple[int, Story, MemoryDisk]]:
    for step in range(steps_of(scenario)):
        disk, story = MemoryDisk(), Story()
        disk.halves = step % 2 == 0
        kill_at(disk, step)
        with pytest.raises(Killed):
            scenario(story, disk)
        yield step, story, disk


@pytest.mark.parametrize(("scenario", "max_bytes"), [(live, 4 * MIB), (overrun, MIB)])
def test_kill_at_every_step(scenario: Callable[[Story, MemoryDisk], None], max_bytes: int) -> None:
    """T2, field notes 2, 9: append, rotate, release, delete, evict and stop; a write cut in half every other time."""
    steps = 0
    for steps, story, disk in killed_at_every_step(scenario):  # noqa: B007
        check(story, disk.killed(), max_bytes, evicts=scenario is overrun)
    assert steps > 60


@pytest.mark.parametrize(("scenario", "max_bytes"), [(live, 4 * MIB), (overrun, MIB)])
def test_power_loss_at_every_step(scenario: Callable[[Story, MemoryDisk], None], max_bytes: int) -> None:
    """T3, field notes 6, 9: of what was not synced any part may be gone, sector by sector and name by name."""
    for step, story, disk in killed_at_every_step(scenario):
        for seed in range(4):
            check(story, disk.without_power(step * 10 + seed), max_bytes, evicts=scenario is overrun)


def test_kill_at_every_step_of_the_start_after_a_kill() -> None:
    """Field note 9: no crash loop, whatever the start before was doing when it was killed."""
    disk, story = MemoryDisk(), Story()
    kill_at(disk, steps_of(live) - 20)
    with pytest.raises(Killed):
        live(story, disk)
    for step in range(60):
        again = disk.without_power(7)
        kill_at(again, step)
        try:
            Outbox.open(HERE, 4 * MIB, "dddddddddddddddd", "boot-d", disk=again)
        except Killed:
            for seed in range(3):
                check(story, again.without_power(seed), 4 * MIB, evicts=False)
            continue
        assert step > 3
        return
    pytest.fail("the start never ended")


def test_an_outbox_that_does_not_sync_is_caught() -> None:
    """The power-loss model can fail. An fdatasync that does nothing loses promised records."""

    class Forgetful(MemoryDisk):
        def fdatasync(self, handle: int) -> None:
            self._step("fdatasync")

    disk, story = Forgetful(), Story()
    kill_at(disk, 100)
    with pytest.raises(Killed):
        live(story, disk)
    caught = 0
    for seed in range(8):
        try:
            check(story, disk.without_power(seed), 4 * MIB, evicts=False)
        except AssertionError:
            caught += 1
    assert caught > 2


WRITER = """
import sys
from pathlib import Path
from agent.outbox.outbox import Outbox
outbox = Outbox.open(Path(sys.argv[1]), 1 << 20, sys.argv[2], "boot")
print("open", flush=True)
number = 0
while True:
    for _ in range(20):
        number = outbox.append(number * 1000, "aB_-9z", [number, "x" * 60]).sequence + 1
    event = outbox.append_event(number * 1000, "problem", "camera", {"n": number})
    outbox.sync()
    print(event.sequence, flush=True)
    number = event.sequence + 1
"""


def test_kill_minus_nine_of_a_real_process(tmp_path: Path) -> None:
    """T2, field notes 2, 3: a process killed at random on the real disk; every number it printed is held or told."""
    chance = random.Random(11)
    promised: dict[str, int] = {}
    for turn in range(6):
        run = f"{turn:016x}"
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), run], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        said = [process.stdout.readline() for _ in range(chance.randrange(1, 20))]
        time.sleep(chance.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        lines = [*said, *process.stdout.read().splitlines()]
        process.wait()
        promised[run] = int(lines[-1])
    assert max(promised.values()) > 100
    outbox, took_s = cost(lambda: Outbox.open(tmp_path, MIB, NEXT, "boot"))
    assert took_s < 5
    assert sum(file.stat().st_blocks * 512 for file in tmp_path.iterdir()) <= MIB
    found: dict[str, set[int]] = {run: set() for run in promised}
    for run, numbers in found.items():
        while part := outbox.read(run, max(numbers, default=-1) + 1, 500):
            for record in part:
                if record.sequence % 21 != 20:
                    assert record.values == [record.sequence, "x" * 60]  # type: ignore[union-attr]
            numbers.update(record.sequence for record in part)
    for loss in outbox.take_losses():
        assert loss.reason == "evicted" or min(n for pair in loss.intervals for n in pair) > promised[loss.run]
        found[loss.run].update(Intervals(loss.intervals))
    for run, last in promised.items():
        assert set(range(last + 1)) <= found[run]
    outbox.close()
