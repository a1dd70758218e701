"""The GNSS input on a real pseudo-terminal: what it says when the receiver talks, lies, falls silent or vanishes."""

import asyncio
import contextlib
import datetime
import fcntl
import os
import time
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.inputs.base import Poll
from agent.inputs.gnss import FRESH, Gnss, boottime
from agent.protocols.nmea import checksum
from kitwatch.decode_nmea import decode_nmea, without_comments
from telemetry.inputs import GnssInput
from telemetry.metrics import metric
from tests.services.fake_collector import until

CAPTURES = os.environ.get("KITWATCH_CAPTURES")


class Receiver:
    """The other end of the line; ``path`` is a link, as udev makes them, and ``plug`` puts a new device behind it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "receiver"
        self.plug()

    def plug(self) -> None:
        self.main, self.line = os.openpty()
        tty.setraw(self.line)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(self.line))

    def unplug(self) -> None:
        for end in (self.main, self.line):
            os.close(end)
        self.main = self.line = -1
        self.path.unlink(missing_ok=True)

    def say(self, data: bytes) -> None:
        os.write(self.main, data)

    def epoch(self, moment: datetime.datetime, *, fix: bool = True) -> None:
        clock, date = moment.strftime("%H%M%S.%f")[:9], moment.strftime("%d%m%y")
        where = "3114.8950,N,12135.2442,E" if fix else ",,,"
        for text in (
            f"GNGGA,{clock},{where},{1 if fix else 0},{'08' if fix else '00'},{0.9 if fix else 99.99},10.0,M,8.0,M,,",
            f"GNRMC,{clock},{'A' if fix else 'V'},{where},20.0,90.0,{date},,,{'A' if fix else 'N'}",
        ):
            self.say(f"${text}*{checksum(text.encode()):02X}\r\n".encode())


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(tmp_path)
    yield made
    if made.main >= 0:
        made.unplug()


def gnss(receiver: Receiver, ahead: list[float] | None = None, deadline: float = 2.0) -> Gnss:
    """An input whose clock is ``ahead`` seconds before the real one, to let time pass without waiting."""
    shift = ahead or [0.0]
    return Gnss(GnssInput(port=str(receiver.path), deadline=deadline), lambda: boottime() + shift[0])


def values(poll: Poll) -> dict[str, Any]:
    for reading in poll.readings:
        metric(reading.metric).check(reading.value)
    return {reading.metric: reading.value for reading in poll.readings}


async def first_poll(device: Gnss) -> asyncio.Task[Poll]:
    """Start the first poll and wait until the port is open: opening throws away what has waited in the line."""
    polling = asyncio.create_task(device.poll(boottime()))
    await until(lambda: device._port.is_open)
    return polling


async def polled(device: Gnss, holds: Callable[[Poll], bool], ahead: float = 0.0) -> Poll:
    """Poll (``ahead`` s later) until it is so, a minute at most: what was printed is read when the loop comes to it."""
    end = time.monotonic() + 60
    while not holds(poll := await device.poll(boottime() + ahead)) and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    return poll


def has_fix(poll: Poll) -> bool:
    return values(poll).get("gnss.fix") == "3d"


def is_reachable(poll: Poll) -> bool:
    return values(poll)["device.reachable"] is True


@contextlib.asynccontextmanager
async def talking(receiver: Receiver, *, fix: bool = True, ahead: float = 0.0) -> AsyncIterator[None]:
    """Print an epoch every 100 ms, stamped with the real time (``ahead`` s later), while the block lasts."""

    async def talk() -> None:
        while True:
            receiver.epoch(datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=ahead), fix=fix)
            await asyncio.sleep(0.1)

    task = asyncio.create_task(talk())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def fixed(receiver: Receiver, ahead: list[float] | None = None) -> Gnss:
    """Return an input that has read a fix, from a receiver that talks no more."""
    device = gnss(receiver, ahead)
    polling = await first_poll(device)
    async with talking(receiver):
        await polling
        await polled(device, lambda poll: has_fix(poll) and device.utc() is not None)
    return device


def test_position_speed_and_the_clock_of_a_fix(receiver: Receiver) -> None:
    async def run() -> None:
        began = boottime()
        device = await fixed(receiver)
        found = values(await device.poll(boottime()))
        assert found["device.reachable"] is True
        assert (found["gnss.fix"], found["gnss.satellites"], found["gnss.hdop"]) == ("3d", 8, 0.9)
        assert found["gnss.latitude"] == pytest.approx(31.248250, abs=1e-6)
        assert found["gnss.longitude"] == pytest.approx(121.587403, abs=1e-6)
        assert found["gnss.speed_kmh"] == pytest.approx(37.04)
        assert 0 <= found["gnss.fix_age_s"] < boottime() - began
        utc = device.utc()
        assert utc is not None
        monotonic, wall, uncertainty = utc
        assert uncertainty == 18_000  # until 15 min from the first fix it may not know the leap seconds
        assert abs(time.time() * 1000 - (boottime() - monotonic) * 1000 - wall) <= 500
        await device.close()

    asyncio.run(run())


def test_after_15_minutes_of_fixes_the_leap_seconds_are_known(receiver: Receiver) -> None:
    async def run() -> None:
        ahead = [0.0]
        device = await fixed(receiver, ahead)
        first = boottime()
        for later, expected in ((890.0, 18_000), (905.0, 500)):
            ahead[0] = later - (boottime() - first)
            async with talking(receiver, ahead=ahead[0]):
                await until(lambda later=later: (utc := device.utc()) is not None and utc[0] > first + later)  # type: ignore[misc]
            utc = device.utc()
            assert utc is not None
            assert utc[2] == expected
        await device.close()

    asyncio.run(run())


def test_a_lost_fix_takes_the_position_with_it(receiver: Receiver) -> None:
    async def run() -> None:
        began = boottime()
        device = await fixed(receiver)
        async with talking(receiver, fix=False):
            found = values(await polled(device, lambda poll: not has_fix(poll), ahead=3))
        assert (found["gnss.fix"], found["gnss.satellites"]) == ("none", 0)
        assert not {"gnss.latitude", "gnss.longitude", "gnss.speed_kmh", "gnss.hdop"} & set(found)
        assert 3 < found["gnss.fix_age_s"] < 3 + boottime() - began
        await device.close()

    asyncio.run(run())


def test_silence_is_not_no_fix(receiver: Receiver) -> None:
    async def run() -> None:
        ahead = [0.0]
        device = await fixed(receiver, ahead)
        ahead[0] = FRESH + 1
        poll = await polled(device, lambda poll: not is_reachable(poll), ahead[0])
        assert values(poll) == {"device.reachable": False}
        assert poll.problem is not None
        assert "no NMEA" in poll.problem or "silent" in poll.problem
        await device.close()

    asyncio.run(run())


def test_a_binary_protocol_is_not_no_fix(receiver: Receiver) -> None:
    async def run() -> None:
        device = gnss(receiver, deadline=0.5)
        polling = await first_poll(device)
        receiver.say(bytes.fromhex("b5620501020006010f38") * 20)
        await polling
        poll = await polled(device, lambda poll: " 200 bytes " in (poll.problem or ""))
        assert values(poll) == {"device.reachable": False}
        words = "it talks UBX, the binary protocol of u-blox receivers"
        assert poll.problem == f"{receiver.path}: no NMEA among 200 bytes at 9600 baud; {words}"
        await device.close()

    asyncio.run(run())


def test_a_receiver_that_repeats_one_moment_is_stale(receiver: Receiver) -> None:
    async def run() -> None:
        ahead = [0.0]
        device = gnss(receiver, ahead)
        moment = datetime.datetime.now(datetime.UTC)
        polling = await first_poll(device)
        receiver.epoch(moment)
        await polling
        await polled(device, is_reachable)
        ahead[0] = FRESH + 5
        receiver.epoch(moment)
        poll = await polled(device, is_reachable, ahead[0])
        found = values(poll)
        assert found["device.reachable"] is True
        assert "gnss.latitude" not in found
        assert "gnss.fix" not in found
        assert [flag.split(":")[0] for flag in poll.flags] == ["stale gnss.fix"]
        await device.close()

    asyncio.run(run())


def test_what_waited_in_a_buffer_sets_no_clock(receiver: Receiver) -> None:
    async def run() -> None:
        device = gnss(receiver)
        polling = await first_poll(device)
        moment = datetime.datetime.now(datetime.UTC)
        for seconds in range(5):
            receiver.epoch(moment + datetime.timedelta(seconds=seconds))
        await polling
        await asyncio.sleep(0.5)
        assert has_fix(await polled(device, has_fix))
        assert device.utc() is None
        await device.close()

    asyncio.run(run())


def test_a_receiver_that_miscounts_its_weeks_sets_no_clock(receiver: Receiver) -> None:
    async def run() -> None:
        device = gnss(receiver)
        polling = await first_poll(device)
        rolled = datetime.timedelta(weeks=1024)
        for _ in range(6):
            receiver.epoch(datetime.datetime.now(datetime.UTC) - rolled)
            await asyncio.sleep(0.1)
        await polling
        assert has_fix(await polled(device, has_fix))
        assert device.utc() is None
        await device.close()

    asyncio.run(run())


def test_a_receiver_that_is_plugged_in_anew_is_found_again(receiver: Receiver) -> None:
    async def run() -> None:
        device = await fixed(receiver)
        receiver.unplug()
        gone = await polled(device, lambda poll: poll.problem is not None)
        assert gone.problem is not None
        assert str(receiver.path) in gone.problem
        assert values(gone) == {"device.reachable": False}
        receiver.plug()
        async with talking(receiver, fix=False):
            poll = await polled(device, lambda poll: "gnss.fix" in values(poll))
        assert poll.problem is None
        assert values(poll)["gnss.fix"] == "none"
        await device.close()

    asyncio.run(run())


def test_a_port_that_another_program_holds_is_reported(receiver: Receiver) -> None:
    other = os.open(receiver.path, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    async def run() -> None:
        device = gnss(receiver, deadline=0.5)
        poll = await polled(device, lambda poll: "held by" in (poll.problem or ""))
        assert values(poll) == {"device.reachable": False}
        assert poll.problem is not None
        assert "held by" in poll.problem
        await device.close()

    asyncio.run(run())
    os.close(other)


def test_no_such_port_is_reported_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        device = Gnss(GnssInput(port=str(tmp_path / "nothing"), deadline=60.0))
        began = time.monotonic()
        poll = await device.poll(boottime())
        assert time.monotonic() - began < 30
        assert values(poll) == {"device.reachable": False}
        assert poll.problem is not None
        assert "nothing" in poll.problem
        await device.close()

    asyncio.run(run())


def test_a_cancelled_poll_leaves_the_input_usable(receiver: Receiver) -> None:
    async def run() -> None:
        device = gnss(receiver, deadline=4.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(device.poll(boottime()), 0.2)
        async with talking(receiver):
            assert has_fix(await polled(device, has_fix))
        await device.close()

    asyncio.run(run())


@pytest.mark.skipif(not CAPTURES, reason="KITWATCH_CAPTURES is not set: the logs are not replayed")
@pytest.mark.parametrize(
    "name", ["bu353-glonass", "isync", "magellan-ec10", "mtk-3301", "ublox-f9p-hpnmea", "beidou-bd"]
)
def test_a_log_replayed_over_the_line_reads_as_the_file_does(receiver: Receiver, name: str) -> None:
    log = Path(CAPTURES or "", "serial", "nmea", f"{name}.log")
    expected = decode_nmea(log)["epochs"][-1]
    data = without_comments(log.read_bytes())

    async def run() -> None:
        device = gnss(receiver)
        polling = await first_poll(device)
        for at in range(0, len(data), 1000):
            receiver.say(data[at : at + 1000])
            await asyncio.sleep(0.01)
        keys = ("fix", "latitude", "longitude", "satellites", "hdop", "speed_kmh")

        def is_read(poll: Poll) -> bool:
            found = values(poll)
            return all(found.get(f"gnss.{key}") == expected[key] for key in keys)

        await polling
        found = values(await polled(device, is_read))
        for key in keys:
            assert found.get(f"gnss.{key}") == expected[key], key
        await device.close()

    asyncio.run(run())
