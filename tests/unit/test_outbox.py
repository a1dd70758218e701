"""The outbox against a model of it, on a disk in memory; what needs a kill at every step stands in ``tests/chaos``."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.outbox.frames import FrameTooLarge
from agent.outbox.losses import Loss
from agent.outbox.outbox import NOTE_RELEASES_EVERY, Outbox, OutboxBusy
from telemetry.intervals import Intervals
from telemetry.records import Clock, Column, Record, Schema
from tests.chaos.disks import MemoryDisk

HERE = Path("outbox")
MIB = 1024 * 1024
RUNS = [f"{number:016x}" for number in range(1000)]
SCHEMA = Schema("snmp", "router", (Column("modem.rsrp_dbm", {"leg": "lte"}), Column("modem.sim")))


def open_outbox(disk: MemoryDisk, run: int = 0, boot: str = "boot", max_bytes: int = MIB, memory: int = MIB) -> Outbox:
    return Outbox.open(HERE, max_bytes, RUNS[run], boot, disk=disk, memory_bytes=memory)


def held(outbox: Outbox, run: int = 0) -> list[tuple[int, int]]:
    runs = outbox.runs()
    return runs[RUNS[run]].held.pairs() if RUNS[run] in runs else []


def fill(outbox: Outbox, count: int, *, size: int = 60, batch: int = 100, at: int = 0) -> list[Record]:
    """Append samples a second apart, synced in batches."""
    records: list[Record] = []
    for number in range(count):
        records.append(outbox.append(at + number * 1000, "aB_-9z", ["x" * size]))
        if number % batch == batch - 1:
            assert outbox.sync()
    assert outbox.sync()
    return records


def drain(outbox: Outbox, run: int = 0, limit: int = 200) -> list[Record]:
    found: list[Record] = []
    while part := outbox.read(RUNS[run], found[-1].sequence + 1 if found else 0, limit):
        found += part
    return found


def tell(outbox: Outbox, mono_ms: int = 0) -> list[Loss]:
    losses = outbox.take_losses()
    for loss in losses:
        outbox.append_event(mono_ms, "lost", "", loss.body())
    outbox.sync()
    return losses


def numbers(losses: Iterable[Loss]) -> Intervals:
    return Intervals(pair for loss in losses for pair in loss.intervals)


# --- a record's life --------------------------------------------------------------------------------------------------


def test_a_record_is_held_from_its_sync_until_its_release() -> None:
    outbox = open_outbox(MemoryDisk())
    sample = outbox.append(1000, "aB_-9z", [-90, None])
    event = outbox.append_event(1000, "problem", "camera", {"text": "no answer"})
    assert (sample.sequence, event.sequence) == (0, 1)
    assert held(outbox) == []
    assert outbox.read(RUNS[0], 0, 10) == []
    assert outbox.sync()
    assert held(outbox) == [(0, 1)]
    assert outbox.read(RUNS[0], 0, 10) == [sample, event]
    outbox.release(RUNS[0], Intervals([(0, 0)]))
    assert outbox.read(RUNS[0], 0, 10) == [event]
    outbox.release(RUNS[0], Intervals([(0, 500)]))
    outbox.release("ffffffffffffffff", Intervals([(0, 500)]))
    assert outbox.runs()[RUNS[0]].current
    assert held(outbox) == []
    assert outbox.stats().records == 0


def test_read_gives_what_is_wanted_ascending_and_no_more_than_asked() -> None:
    outbox = open_outbox(MemoryDisk())
    records: list[Record] = []
    for number in range(3000):  # several segments of both classes
        if number % 7 == 3:
            records.append(outbox.append_event(number, "problem", "camera", {"text": "x" * 100}))
        else:
            records.append(outbox.append(number, "aB_-9z", ["y" * 60]))
        if number % 50 == 0:
            outbox.sync()
    outbox.sync()
    assert outbox.read(RUNS[0], 0, 5) == records[:5]
    assert outbox.read(RUNS[0], Intervals([(10, 12), (700, 2500)]), 500) == records[10:13] + records[700:1197]
    assert drain(outbox, limit=77) == records
    assert outbox.take_losses() == []


def test_an_event_is_one_write_and_one_fdatasync_and_so_is_a_moment() -> None:
    """Field note 17: group commit. After the first of each, no other step touches the medium."""
    disk = MemoryDisk()
    outbox = open_outbox(disk)
    outbox.append(0, "aB_-9z", [1])
    outbox.append_event(0, "started")
    outbox.sync()
    steps: list[str] = []
    disk.before = steps.append
    for _ in range(14):
        outbox.append(10_000, "aB_-9z", [1])
    outbox.sync()
    assert steps == ["pwrite", "fdatasync"]
    outbox.append_event(10_000, "problem")
    outbox.sync()
    outbox.sync()
    assert steps == ["pwrite", "fdatasync"] * 2


def test_bytes_written_are_known() -> None:
    """Field note 17: the counter is what the disk was given, in whole pages, and no less."""
    disk = MemoryDisk()
    outbox = open_outbox(disk)
    before = outbox.stats().bytes_written
    outbox.append(0, "aB_-9z", ["x" * 100])
    outbox.sync()
    assert outbox.stats().bytes_written - before == 4096
    for _ in range(90):
        outbox.append(0, "aB_-9z", ["x" * 100])
    outbox.sync()  # 10 records of 129 bytes and 81 of 130 end at 11,820, in the third page
    assert outbox.stats().bytes_written - before == 4096 + 3 * 4096


def test_a_record_that_fits_nowhere_uses_no_number() -> None:
    outbox = open_outbox(MemoryDisk())
    with pytest.raises(FrameTooLarge):
        outbox.append(0, "aB_-9z", ["x" * 200_000])
    with pytest.raises(TypeError):
        outbox.append(0, "aB_-9z", [object()])  # type: ignore[list-item]
    assert outbox.append(0, "aB_-9z", []).sequence == 0


def test_a_record_larger_than_a_segment_is_kept() -> None:
    disk = MemoryDisk()
    outbox = open_outbox(disk)
    event = outbox.append_event(0, "inventory", "router", {"text": "x" * 120_000})  # segments have 64 KiB here
    small = outbox.append_event(0, "problem")
    outbox.sync()
    assert outbox.read(RUNS[0], 0, 5) == [event, small]
    outbox.close()
    assert drain(open_outbox(disk, 1)) == [event, small]


def test_append_does_not_wait_for_the_disk() -> None:
    """Field note 1, backpressure: a medium that hangs in a sync holds up nobody who has something to put in."""
    disk = MemoryDisk()
    outbox = open_outbox(disk)
    outbox.append(0, "aB_-9z", [1])
    hangs, go_on = threading.Event(), threading.Event()

    def before(step: str) -> None:
        if step == "fdatasync":
            hangs.set()
            assert go_on.wait(10)

    disk.before = before
    thread = threading.Thread(target=outbox.sync)
    thread.start()
    assert hangs.wait(10)
    assert outbox.append(0, "aB_-9z", [2]).sequence == 1
    go_on.set()
    thread.join(10)
    assert outbox.sync()
    assert held(outbox) == [(0, 1)]


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_restart_is_a_new_run_and_holds_the_old_ones() -> None:
    """Field note 1: what was not sent survives a restart. Numbers are never used twice within a run."""
    disk = MemoryDisk()
    outbox = open_outbox(disk, 0, "boot-a")
    first = fill(outbox, 10)
    outbox.close()
    outbox = open_outbox(disk, 1, "boot-b")
    second = fill(outbox, 3)
    assert second[0].sequence == 0
    runs = outbox.runs()
    assert [(run, info.boot, info.held.pairs(), info.current) for run, info in runs.items()] == [
        (RUNS[0], "boot-a", [(0, 9)], False),
        (RUNS[1], "boot-b", [(0, 2)], True),
    ]
    assert drain(outbox, 0) == first
    assert drain(outbox, 1) == second


def test_a_run_that_was_here_before_is_refused() -> None:
    disk = MemoryDisk()
    fill(open_outbox(disk), 1)
    with pytest.raises(ValueError, match="expected a new run"):
        open_outbox(disk.killed())
    with pytest.raises(ValueError, match="16 lower-case hex digits"):
        Outbox.open(HERE, MIB, "run", "boot", disk=MemoryDisk())


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path, MIB, RUNS[0], "boot")
    with pytest.raises(OutboxBusy, match="another process"):
        Outbox.open(tmp_path, MIB, RUNS[1], "boot")
    outbox.close()
    Outbox.open(tmp_path, MIB, RUNS[1], "boot").close()


def test_a_clean_stop_repeats_nothing_and_a_kill_at_most_500_records() -> None:
    """Field note 2: after a restart what was receipted does not come again, even from a segment that stays open."""
    disk = MemoryDisk()
    outbox = open_outbox(disk, max_bytes=64 * MIB)
    fill(outbox, 7000)  # one open segment of 1 MiB
    for number in range(6900):
        outbox.release(RUNS[0], Intervals([(number, number)]))
    after_kill = open_outbox(disk.killed(), 1, max_bytes=64 * MIB)
    [(first, last)] = held(after_kill)
    assert 6900 - NOTE_RELEASES_EVERY < first <= 6900
    assert last == 6999
    outbox.close()
    assert held(open_outbox(disk, 2, max_bytes=64 * MIB)) == [(6900, 6999)]


def test_a_full_outbox_that_was_receipted_leaves_nothing_to_send_again() -> None:
    disk = MemoryDisk()
    outbox = open_outbox(disk)
    fill(outbox, 8000)
    outbox.release(RUNS[0], outbox.runs()[RUNS[0]].held)
    assert held(open_outbox(disk.killed(), 1)) == []


def test_released_segments_are_deleted_and_their_room_is_free() -> None:
    disk = MemoryDisk()
    outbox = open_outbox(disk)
    fill(outbox, 5000)
    before = disk.used()
    outbox.release(RUNS[0], Intervals([(0, 4998)]))
    assert disk.used() < before / 3
    assert outbox.stats().bytes == disk.used()
    assert [record.sequence for record in drain(outbox)] == [4999]


@pytest.mark.long
def test_150_starts_in_a_loop_take_what_they_use() -> None:
    """Without cutting, 300 starts left 300 MiB. Each run has one event, so one page."""
    disk = MemoryDisk()
    for number in range(150):
        outbox = open_outbox(disk, number, max_bytes=64 * MIB)
        outbox.append_event(number, "started")
        outbox.sync()
        disk = disk.killed()
    outbox = open_outbox(disk, 150, max_bytes=64 * MIB)
    assert len(outbox.runs()) == 151
    assert disk.used() < 150 * 4096 + 200_000
    assert outbox.stats().records == 150


def test_a_manifest_written_anew_between_two_classes_loses_nothing() -> None:
    """A release in another thread rewrites the manifest when the event is durable and the older sample is not yet."""
    disk = MemoryDisk()
    outbox = open_outbox(disk)
    outbox.append_event(0, "started")
    outbox.append(0, "aB_-9z", [0])
    outbox.sync()
    records = [outbox.append(0, "aB_-9z", [1]), outbox.append_event(0, "problem")]
    writes = 0

    def before(step: str) -> None:
        nonlocal writes
        writes += step == "pwrite"
        if step == "pwrite" and writes == 2:  # the event's was the first
            outbox._rewrite_manifest()

    disk.before = before
    assert outbox.sync()
    assert writes > 2
    assert drain(open_outbox(disk.killed(), 1))[2:] == records


# --- schemas and clocks -----------------------------------------------------------------------------------------------


def test_schemas_and_clocks_are_kept_as_long_as_their_run_is_held() -> None:
    disk = MemoryDisk()
    outbox = open_outbox(disk, 0, "boot-a")
    assert outbox.add_schema(SCHEMA) == SCHEMA.id()
    outbox.add_schema(SCHEMA)
    clock = Clock(0, 5000, 1_790_000_000_000, "ntp", 20)
    outbox.add_clock(RUNS[0], clock)
    outbox.append(6000, SCHEMA.id(), [-90.0, "ready"])
    outbox.sync()
    disk = disk.without_power(1)
    outbox = open_outbox(disk, 1, "boot-b")
    assert outbox.schemas(RUNS[0]) == {SCHEMA.id(): SCHEMA}
    assert outbox.clocks(RUNS[0]) == [clock]
    assert outbox.schemas(RUNS[1]) == {}
    outbox.release(RUNS[0], Intervals([(0, 0)]))
    outbox.close()
    outbox = open_outbox(disk, 2, "boot-b")
    assert (outbox.schemas(RUNS[0]), outbox.clocks(RUNS[0])) == ({}, [])
    assert list(outbox.runs()) == [RUNS[2]]


def test_the_last_clock_of_the_boot_is_there_for_the_next_run() -> None:
    disk = MemoryDisk()
    for run in range(3):
        outbox = open_outbox(disk, run, "boot-a")
        assert outbox.last_clock() == (Clock(0, 1000 + run - 1, 5, "ntp", 1) if run else None)
        outbox.add_clock(RUNS[run], Clock(0, 1000 + run, 5, "ntp", 1))
        outbox.close()
    assert open_outbox(disk, 9, "boot-b").last_clock() is None


def test_clocks_come_in_order() -> None:
    outbox = open_outbox(MemoryDisk())
    with pytest.raises(ValueError, match="expected clock 0"):
        outbox.add_clock(RUNS[0], Clock(1, 0, 0, "ntp", 1))
    outbox.add_clock("ffffffffffffffff", Clock(7, 0, 0, "ntp", 1))
    assert outbox.clocks("ffffffffffffffff") == []


def test_a_schema_is_durable_before_the_sample_that_needs_it() -> None:
    """Power lost at any step: a sample that is there has its schema."""
    for step in range(40):
        disk = MemoryDisk()
        outbox = open_outbox(disk)
        from tests.chaos.disks import Killed, kill_at

        kill_at(disk, step)
        try:
            outbox.add_schema(SCHEMA)
            outbox.append(0, SCHEMA.id(), [1, "ready"])
            outbox.sync()
            done = True
        except Killed:
            done = False
        for seed in range(6):
            found = open_outbox(disk.without_power(seed), 1)
            if drain(found):
                assert found.schemas(RUNS[0]) == {SCHEMA.id(): SCHEMA}
            else:
                assert not done
        if done:
            return
    pytest.fail("the steps never ended")


# --- eviction ---------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_the_oldest_samples_go_first_and_are_told() -> None:
    """Field notes 1, 7: within a class the oldest first; numbers, first and last time and the class are told."""
    disk = MemoryDisk()
    outbox = open_outbox(disk)
    fill(outbox, 20_000)
    assert disk.most_used <= MIB
    [(first, last)] = held(outbox)
    assert last == 19_999
    [loss] = outbox.take_losses()
    assert (loss.run, loss.intervals, loss.reason, loss.kind) == (RUNS[0], ((0, first - 1),), "evicted", "sample")
    assert (loss.first_mono_ms, loss.last_mono_ms) == (0, (first - 1) * 1000)
    stats = outbox.stats()
    assert (stats.oldest_run, stats.oldest_mono_ms) == (RUNS[0], first * 1000)
    assert (stats.lost_total, stats.lost["evicted"]) == (first, first)
    assert outbox.take_losses() == []
    assert [record.sequence for record in drain(outbox)] == list(range(first, 20_000))


@pytest.mark.long
def test_events_are_never_evicted_for_samples() -> None:
    """Field notes 1, T5: 300 events among ten times what the outbox holds are all there, in this run and an old one."""
    disk = MemoryDisk()
    outbox = open_outbox(disk)
    events = []
    for number in range(300):
        events.append(outbox.append_event(number, "problem", "camera", {"n": number, "text": "x" * 50}))
        if number == 150:
            outbox.close()
            outbox = open_outbox(disk, 1)
        fill(outbox, 250)
    found = [record for run in (0, 1) for record in drain(outbox, run) if record in events]
    assert found == events[:151] + events[151:]
    told = numbers(loss for loss in outbox.take_losses() if loss.run == RUNS[0])
    assert told.intersection(Intervals((e.sequence, e.sequence) for e in events[:151])) == Intervals()
    assert len(told) > 10_000
    assert disk.most_used <= MIB


def test_events_go_for_newer_events_only_when_they_fill_the_outbox() -> None:
    disk = MemoryDisk()
    outbox = open_outbox(disk)
    for number in range(3000):
        outbox.append_event(number, "problem", "camera", {"text": "x" * 500})
        if number % 10 == 9:
            fill(outbox, 10)
    assert disk.most_used <= MIB
    losses = outbox.take_losses()
    events = numbers(loss for loss in losses if loss.kind == "event")
    left = [record.sequence for record in drain(outbox)]
    assert events
    assert max(events) < min(number for number in left if number % 20 < 10)
    assert any(number % 20 >= 10 for number in left), "samples keep an eighth"


def test_one_limit_in_bytes_covers_everything() -> None:
    """Field note 12: whatever the sizes, nothing but the limit ends it, and it is never passed."""
    chance = random.Random(3)
    disk = MemoryDisk()
    outbox = open_outbox(disk, max_bytes=2 * MIB)
    for number in range(4000):
        if chance.random() < 0.2:
            outbox.append_event(number, "problem", "c", {"text": "x" * chance.randrange(3000)})
        else:
            outbox.append(number, "aB_-9z", ["x" * chance.randrange(4000)])
        if chance.random() < 0.1:
            assert outbox.sync()
            assert outbox.stats().bytes == disk.used()
    assert disk.most_used <= 2 * MIB
    assert outbox.stats().bytes > 1.6 * MIB


@pytest.mark.long
def test_a_smaller_limit_after_a_restart_is_kept() -> None:
    disk = MemoryDisk()
    outbox = open_outbox(disk, max_bytes=8 * MIB)
    fill(outbox, 60_000, batch=1000)
    outbox.close()
    assert disk.used() > 5 * MIB
    outbox = open_outbox(disk, 1, max_bytes=2 * MIB)
    assert disk.used() <= 2 * MIB
    [loss] = tell(outbox)
    assert held(outbox) == [(loss.intervals[-1][1] + 1, 59_999)]


def test_hours_are_predicted_from_the_measured_rate() -> None:
    """T5, field note 16: what is predicted after an hour is what is held in the end, within 10 %."""
    disk = MemoryDisk()
    outbox = open_outbox(disk, max_bytes=4 * MIB)
    assert outbox.stats().hours_held is None
    chance = random.Random(1)

    def hours(begin: int, end: int) -> None:
        for moment in range(begin * 360, end * 360):
            for _ in range(7):
                outbox.append(moment * 10_000, "aB_-9z", ["x" * chance.randrange(60, 120)])
            if moment % 10 == 0:
                outbox.sync()
        outbox.sync()

    hours(0, 1)
    predicted = outbox.stats().hours_held
    assert predicted is not None
    left = outbox.stats().hours_left
    assert left is not None
    assert 0 < predicted - left < 2
    begin = 1
    while not outbox.stats().lost_total:
        hours(begin, begin + 1)
        begin += 1
    hours(begin, begin + 3)
    stats = outbox.stats()
    assert stats.oldest_mono_ms is not None
    really = ((begin + 3) * 3_600_000 - stats.oldest_mono_ms) / 3_600_000
    assert really == pytest.approx(predicted, rel=0.1)
    assert stats.hours_left == pytest.approx(0, abs=0.05 * predicted)


# --- losses are told --------------------------------------------------------------------------------------------------


def test_a_loss_is_told_until_the_event_that_tells_it_is_durable() -> None:
    disk = MemoryDisk()
    outbox = open_outbox(disk)
    fill(outbox, 20_000)
    lost = numbers(outbox.take_losses())  # taken, and then the power goes
    outbox = open_outbox(disk.without_power(2), 1)
    disk = outbox._disk  # type: ignore[assignment]
    assert numbers(tell(outbox)) == lost
    outbox.append(0, "aB_-9z", [])
    outbox.close()
    again = numbers(open_outbox(disk, 2).take_losses())  # room for that run's sample may have cost others
    assert again.intersection(lost) == Intervals()


@pytest.mark.long
def test_losses_of_more_than_256_pieces_are_told_in_parts() -> None:
    disk = MemoryDisk()
    outbox = open_outbox(disk)
    for number in range(20_000):
        if number % 8 == 0:
            outbox.append_event(number, "problem")
        else:
            outbox.append(number, "aB_-9z", ["x" * 100])
        if number % 100 == 0:
            outbox.sync()
    losses = outbox.take_losses()
    assert len(losses) > 1
    assert all(len(loss.intervals) <= 256 for loss in losses)
    outbox.sync()
    left = Intervals((record.sequence, record.sequence) for record in drain(outbox))
    everything = left.copy()
    everything.update(numbers(losses))
    everything.update(numbers(outbox.take_losses()))
    assert everything.pairs() == [(0, 19_999)]


# --- the model --------------------------------------------------------------------------------------------------------


class Model(RuleBasedStateMachine):
    """T2, T3, field note 3: appends, syncs, releases, evictions, kills and power losses in any order.

    Whatever happened: a synced record is read as it was, or was released, or is told as lost; nothing else is read; no
    number is used twice; the bound holds.
    """

    @initialize()
    def begin(self) -> None:
        self.disk = MemoryDisk()
        self.run_number = 0
        self.written: dict[int, dict[int, Record]] = {0: {}}
        self.durable: dict[int, set[int]] = {0: set()}
        self.released: dict[int, set[int]] = {0: set()}
        self.told: dict[int, set[int]] = {0: set()}
        self.unsynced: list[int] = []
        self.mono_ms = 0
        self.outbox = open_outbox(self.disk)

    def _put(self, make: Callable[[int], Record]) -> None:
        self.mono_ms += 1000
        record = make(self.mono_ms)
        assert record.sequence == len(self.written[self.run_number])
        self.written[self.run_number][record.sequence] = record
        self.unsynced.append(record.sequence)

    @rule(count=st.integers(1, 60), size=st.sampled_from((1, 50, 3000)))
    def append(self, count: int, size: int) -> None:
        for _ in range(count):
            self._put(lambda mono_ms: self.outbox.append(mono_ms, "aB_-9z", ["x" * size]))

    @rule(size=st.sampled_from((1, 50, 9000)))
    def append_event(self, size: int) -> None:
        self._put(lambda mono_ms: self.outbox.append_event(mono_ms, "problem", "camera", {"text": "x" * size}))

    @rule()
    def sync(self) -> None:
        assert self.outbox.sync()
        self.durable[self.run_number].update(self.unsynced)
        self.unsynced.clear()

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.written)))
        if self.durable[run]:
            first = data.draw(st.integers(0, max(self.durable[run])))
            last = data.draw(st.integers(first, max(self.durable[run])))
            self.outbox.release(RUNS[run], Intervals([(first, last)]))
            self.released[run].update(self.durable[run] & set(range(first, last + 1)))

    @rule()
    def take_losses(self) -> None:
        for loss in self.outbox.take_losses():
            self.told[RUNS.index(loss.run)].update(Intervals(loss.intervals))

    @rule(how=st.sampled_from(("stop", "kill", "power")), seed=st.integers(0, 1000))
    def restart(self, how: str, seed: int) -> None:
        if how == "stop":
            self.outbox.close()
            self.durable[self.run_number].update(self.unsynced)
            self.disk = self.disk.killed()
        else:
            self.disk = self.disk.killed() if how == "kill" else self.disk.without_power(seed)
        self.unsynced.clear()
        self.run_number += 1
        for part in (self.durable, self.released, self.told):
            part[self.run_number] = set()
        self.written[self.run_number] = {}
        self.outbox = open_outbox(self.disk, self.run_number)

    @precondition(lambda self: hasattr(self, "outbox"))
    @invariant()
    def bounded(self) -> None:
        assert self.disk.most_used <= MIB
        assert self.outbox.stats().bytes == self.disk.used()

    @rule()
    def everything_is_accounted_for(self) -> None:
        found = {run: {r.sequence: r for r in drain(self.outbox, run)} for run in self.written}
        self.take_losses()
        for run, records in found.items():
            assert records.items() <= self.written[run].items()
            told = self.told[run]
            missing = self.durable[run] - records.keys() - self.released[run] - told
            assert not missing, f"run {run}: neither held, released nor told: {sorted(missing)[:9]}"
            assert not told & records.keys(), "told as lost and there all the same"
            assert {n for pair in held(self.outbox, run) for n in range(pair[0], pair[1] + 1)} == records.keys()

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.everything_is_accounted_for()


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
