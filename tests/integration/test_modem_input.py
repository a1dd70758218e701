"""The modem input on real pseudo-terminals: replies replayed, ports that vanish, ports that others hold."""

import asyncio
import contextlib
import fcntl
import os
import pty
import subprocess
import sys
import termios
import threading
import time
import tty
from pathlib import Path

import pytest

from agent import serial_port
from agent.inputs.base import Poll
from agent.inputs.modem import Modem
from agent.serial_port import PortError, PortGone, PortHeld, PortMissing, Retry, SerialPort, holders
from telemetry.inputs import ModemInput
from tests.services.fake_collector import until
from tests.services.modem import Kit, kit, values
from tests.services.stopwatch import Stopwatch

# What an RM500Q on LTE with an NR leg says; the radio lines are those of AT.md's worked examples 18 and 20.
ENDC = {
    "AT": [],
    "AT+CGMI": ["Quectel"],
    "AT+CGMM": ["RM500Q-GL"],
    "AT+CGMR": ["RM500QGLAAR11A06M4G"],
    "AT+CGSN": ["869119000000008"],
    "AT+QCCID": ["+QCCID: 89860300000000000000"],
    "AT+CMEE=1": [],
    "AT+COPS=3,2": [],
    "AT+CPIN?": ["+CPIN: READY"],
    "AT+CREG?": ["+CREG: 0,1"],
    "AT+CEREG?": ["+CEREG: 0,1"],
    "AT+COPS?": ['+COPS: 0,2,"51503",13'],
    'AT+QENG="servingcell"': [
        '+QENG: "servingcell","NOCONN"',
        '+QENG: "LTE","FDD",515,03,3359966,1,150,1,5,5,4AA3,-89,-13,-58,16,15,20,-',
        '+QENG:"NR5G-NSA",515,03,832,-76,21,-11,528030,41,8,1',
    ],
    "AT+QTEMP": ['+QTEMP:"xo-therm-usr","50"'],
    "AT+CSQ": ["+CSQ: 27,99"],
}


async def polls(modem: Modem, count: int = 1, start: float = 0.0) -> list[Poll]:
    return [await modem.poll(start + 10.0 * number) for number in range(count)]


def once(port: str, deadline: float = 5.0) -> Poll:
    async def run() -> Poll:
        modem = Modem(ModemInput(port=port, deadline=deadline))
        try:
            return await modem.poll(0.0)
        finally:
            await modem.close()

    return asyncio.run(run())


@pytest.mark.parametrize("echo", [False, True])
def test_a_poll_of_both_legs(echo: bool) -> None:
    with kit(ENDC, echo=echo) as modem:
        poll = once(modem.name)
    assert values(poll) == {
        "device.reachable": True,
        "port_open": True,
        "registration": "home",
        "sim": "ready",
        "technology": "5g_nsa",
        "plmn": "51503",
        "temperature_c": 50,
        "rssi_dbm/lte": -58,
        "rsrp_dbm/lte": -89,
        "rsrq_db/lte": -13,
        "sinr_db/lte": 12,  # RM5xxQ: 2 * 16 - 20
        "band/lte": "B1",
        "bandwidth_mhz/lte": 20,
        "cell_id/lte": 0x3359966,
        "pci/lte": 1,
        "tac/lte": 0x4AA3,
        "rsrp_dbm/nr": -76,
        "sinr_db/nr": 21,
        "rsrq_db/nr": -11,
        "band/nr": "n41",
        "bandwidth_mhz/nr": 60,
        "pci/nr": 832,
    }
    assert poll.problem is None
    assert poll.identity is not None
    assert (poll.identity.vendor, poll.identity.model) == ("Quectel", "RM500Q-GL")
    assert (poll.identity.imei, poll.identity.iccid) == ("869119000000008", "89860300000000000000")


def test_identity_is_told_once_and_what_is_refused_is_asked_no_more() -> None:
    async def run(port: str) -> list[Poll]:
        modem = Modem(ModemInput(port=port))
        try:
            return await polls(modem, 6)
        finally:
            await modem.close()

    with kit(ENDC) as modem:
        found = asyncio.run(run(modem.name))
        assert [poll.identity is not None for poll in found] == [True, False, False, False, False, False]
        assert modem.heard.count("AT+CGMM") == 1
        assert modem.heard.count("AT+C5GREG?") == 3
        assert modem.heard.count("AT+CPIN?") == 6
    assert all(values(poll) == values(found[0]) for poll in found)


def test_unsolicited_codes_noise_and_late_data() -> None:
    def hook(command: str) -> bytes | None:
        if command == "AT+CSQ":
            return b'\r\n+QIND: "csq",1\r\nRDY\r\n+CSQ: 27,99\r\n\r\nOK\r\n'
        if command == "AT+COPS?":
            return b'\r\nOK\r\n\r\n+COPS: 0,2,"51503",13\r\n'
        if command == "AT+CEREG?":
            return b'\r\n+CEREG: 1,"4AA3","3359966",7\r\n\x00\x00\r\n+CEREG: 0,1\r\n\r\nOK\r\n'
        return None

    with kit(ENDC, hook=hook) as modem:
        modem.say(b"\x00\xff\x80boot noise\r\nRDY\r\n+CFUN: 1\r\n+CSQ: 1,99\r\n")
        poll = once(modem.name)
    found = values(poll)
    assert (found["plmn"], found["registration"], found["rsrp_dbm/nr"]) == ("51503", "home", -76)
    assert found["rssi_dbm/lte"] == -58


def test_a_flood_of_unsolicited_codes_is_bounded_and_counted() -> None:
    flood = b'\r\n+QIND: "csq",1\r\n' * 5000

    def hook(command: str) -> bytes | None:
        return flood + b"\r\n+CSQ: 27,99\r\n\r\nOK\r\n" if command == "AT+CSQ" else None

    with kit(ENDC, hook=hook) as modem:
        poll = once(modem.name)
    assert values(poll)["rsrp_dbm/nr"] == -76
    (counted,) = [flag for flag in poll.flags if flag.endswith("unsolicited lines")]
    assert 5000 - 256 <= int(counted.split()[2]) < 5000


def test_without_a_sim_figures_are_withheld() -> None:
    with kit(ENDC | {"AT+CPIN?": []}, hook=lambda c: b"\r\n+CME ERROR: 10\r\n" if c == "AT+CPIN?" else None) as modem:
        poll = once(modem.name)
    found = values(poll)
    assert found["sim"] == "absent"
    assert not [key for key in found if key.startswith(("rsrp", "rsrq", "rssi", "sinr"))]
    assert any(flag.startswith("withheld modem.rsrp_dbm nr -76.0 sim absent") for flag in poll.flags)


def test_another_sim_is_another_identity() -> None:
    async def run(modem: Kit) -> list[Poll]:
        live = Modem(ModemInput(port=modem.name))
        try:
            found = await polls(live, 1)
            modem.table["AT+CPIN?"] = ["+CPIN: NOT INSERTED"]
            found += await polls(live, 1, 10.0)
            modem.table["AT+CPIN?"] = ["+CPIN: READY"]
            modem.table["AT+QCCID"] = ["+QCCID: 89860300000000000018"]
            return found + await polls(live, 2, 20.0)
        finally:
            await live.close()

    with kit(ENDC) as modem:
        found = asyncio.run(run(modem))
    assert [values(poll)["sim"] for poll in found] == ["ready", "absent", "ready", "ready"]
    assert [poll.identity.iccid if poll.identity else None for poll in found] == [
        "89860300000000000000",
        None,
        "89860300000000000018",
        None,
    ]


def test_a_dead_modem_is_not_reachable_within_the_deadline_and_blocks_nobody() -> None:
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            watch = Stopwatch()
            await asyncio.sleep(0.01)
            gaps.append(watch.seconds)

    async def run(port: str) -> Poll:
        ticking = asyncio.create_task(tick())
        modem = Modem(ModemInput(port=port, deadline=2.0))
        watch = Stopwatch()
        try:
            poll = await modem.poll(0.0)
            assert watch.seconds < 2.0
            return poll
        finally:
            ticking.cancel()
            await modem.close()

    with kit(ENDC, hook=lambda command: b"") as modem:
        poll = asyncio.run(run(modem.name))
        assert values(poll) == {"device.reachable": False, "port_open": True}
        assert poll.problem == f"{modem.name}: no answer to AT"
    assert max(gaps) < 0.5


def test_a_modem_that_dies_and_comes_back_is_read_again() -> None:
    dead = False

    def hook(command: str) -> bytes | None:
        return b"" if dead else None

    async def run(port: str) -> list[Poll]:
        nonlocal dead
        modem = Modem(ModemInput(port=port, deadline=3.0))
        try:
            found = await polls(modem, 1)
            dead = True
            found += await polls(modem, 1, 10.0)
            dead = False
            return found + await polls(modem, 1, 20.0)
        finally:
            await modem.close()

    with kit(ENDC, hook=hook) as modem:
        alive, gone, again = asyncio.run(run(modem.name))
    assert values(gone) == {"device.reachable": False, "port_open": True}
    assert values(again) == values(alive)


def test_a_cancelled_poll_leaves_the_next_one_right() -> None:
    slow, answered = threading.Event(), threading.Event()

    def hook(command: str) -> bytes | None:
        if command == "AT+CEREG?" and slow.is_set():
            slow.clear()
            answered.wait(60)
            return b"\r\n+CEREG: 0,5\r\n\r\nOK\r\n"
        return None

    async def run(port: str) -> Poll:
        modem = Modem(ModemInput(port=port))
        try:
            await modem.poll(0.0)
            slow.set()
            cut = asyncio.create_task(modem.poll(10.0))
            await until(lambda: not slow.is_set())
            cut.cancel()
            await asyncio.gather(cut, return_exceptions=True)
            assert cut.cancelled()
            asyncio.get_running_loop().call_later(0.15, answered.set)
            return await modem.poll(20.0)
        finally:
            await modem.close()

    with kit(ENDC, hook=hook) as modem:
        found = values(asyncio.run(run(modem.name)))
    assert (found["registration"], found["sim"], found["rsrp_dbm/lte"]) == ("home", "ready", -89)


def test_a_command_that_hangs_costs_its_reading_only() -> None:
    with kit(ENDC, hook=lambda command: b"" if command == "AT+QTEMP" else None) as modem:
        poll = once(modem.name, deadline=6.0)
    assert "temperature_c" not in values(poll)
    assert values(poll)["rsrp_dbm/nr"] == -76
    assert "truncated device.reachable AT+QTEMP had no final result code" in poll.flags


# A Fibocom FM160-CN without SIM: AT+CCID answers nothing for 10.3 s (a public hardware record).
WITHOUT_SIM = {
    "AT": [],
    "AT+CGMI": ["Fibocom Wireless Inc."],
    "AT+CGMM": ["FM160-CN"],
    "AT+CGMR": ["89614.1000.00.04.01.02"],
    "AT+CGSN": ["861700000000001"],
    "AT+CMEE=1": [],
    "AT+COPS=3,2": [],
    "AT+CEREG?": ["+CEREG: 0,2"],
    "AT+CSQ": ["+CSQ: 31,99"],
}


def blocked(seconds: float, at: str, table: dict[str, list[str]]) -> tuple[list[Poll], list[str]]:
    """Poll four times a modem that says nothing at all for ``seconds`` after it was asked ``at``."""

    def hook(command: str) -> bytes | None:
        if command == at:
            time.sleep(seconds)
            return b""
        return b"\r\n+CME ERROR: 10\r\n" if command == "AT+CPIN?" and at == "AT+CCID" else None

    async def run(name: str) -> list[Poll]:
        modem = Modem(ModemInput(port=name, deadline=3.0))
        try:
            found = []
            for number in range(4):
                found.append(await modem.poll(100.0 * number))
                await asyncio.sleep(seconds if at in device.heard and number < 2 else 0)
            return found
        finally:
            await modem.close()

    with kit(table, hook=hook) as device:
        return asyncio.run(run(device.name)), device.heard


def test_who_the_modem_is_costs_no_poll() -> None:
    found, heard = blocked(4.0, "AT+CCID", WITHOUT_SIM)
    assert "AT+CCID" not in heard  # there is no SIM to ask for
    for poll in found:
        assert values(poll)["device.reachable"] is True
        assert values(poll)["sim"] == "absent"
    assert found[0].identity is not None
    assert found[0].identity.model == "FM160-CN"


@pytest.mark.parametrize("command", ["AT+CGREG?", "ATI"])
def test_what_hangs_is_left_alone_on_its_port(command: str) -> None:
    """It outlasts the deadline: asked again at each contact it would make the modem unreachable for life."""
    found, heard = blocked(4.0, command, WITHOUT_SIM | {"AT+CPIN?": ["+CPIN: READY"]})
    assert [values(poll)["device.reachable"] for poll in found] == [True] * 4  # it answered something each time
    assert heard.count(command) == 2
    assert values(found[-1]) == {
        "device.reachable": True,
        "port_open": True,
        "registration": "searching",
        "sim": "ready",
    }


def test_the_sims_number_is_asked_last_and_is_no_complaint_about_the_sim() -> None:
    table = ENDC | {"AT+CPIN?": ["+CPIN: READY"]}
    del table["AT+QCCID"]

    def hook(command: str) -> bytes | None:
        return b"\r\n+CME ERROR: 13\r\n" if "CCID" in command else None

    with kit(table, hook=hook) as modem:
        poll = once(modem.name)
        assert modem.heard[-1] == "AT+ICCID"
    assert values(poll)["sim"] == "ready"
    assert not [flag for flag in poll.flags if "modem.sim" in flag]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"$GPGSV,1,1,00*79\r\n$GPRMC,,V,,,,,,,,,,N*53\r\n", "it talks NMEA, as a GNSS receiver does"),
        (b"\x10\x00\x08\x01\x93\x00\x04\xb1\x7e\x92\x00\x01\x02\x7e" * 4, "as a Qualcomm DIAG port does"),
        (bytes(range(128, 256)), "it talks a binary protocol, or at another baud rate"),
    ],
)
def test_a_port_that_talks_something_else_is_told_as_such(said: bytes, words: str) -> None:
    with kit({}, hook=lambda _: said) as modem:
        poll = once(modem.name, deadline=3.0)
    assert values(poll) == {"device.reachable": False, "port_open": True}
    assert poll.problem is not None
    assert poll.problem.startswith(f"{modem.name}: no answer to AT; it talks ")
    assert poll.problem.endswith(words)


def test_modemmanager_on_the_port_is_told() -> None:
    program = (
        "import ctypes, fcntl, os, sys, termios, time\n"
        "ctypes.CDLL(None).prctl(15, b'ModemManager')\n"
        "held = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)\n"
        "fcntl.ioctl(held, termios.TIOCEXCL)\n"
        "print('held', flush=True); time.sleep(30)\n"
    )
    with kit(ENDC) as modem:
        other = subprocess.Popen([sys.executable, "-c", program, modem.name], stdout=subprocess.PIPE)
        try:
            assert other.stdout is not None
            other.stdout.readline()
            poll = once(modem.name)
        finally:
            other.kill()
            other.wait()
    assert not poll.readings  # nobody knows how the modem is
    assert poll.problem is not None
    assert f"ModemManager (pid {other.pid})" in poll.problem
    assert poll.problem.endswith("tell it to leave this port alone: docs/serial-ports.md")


def test_a_device_that_never_pauses_starves_nobody() -> None:
    """Bytes that are always there leave ``read`` no reason to wait: the loop must get its turn all the same."""
    flood = "import os, sys\nwhile True: os.write(int(sys.argv[1]), b'$GPGGA,,,,,,0,,,,,,,,*66\\r\\n' * 100)\n"
    master, slave = pty.openpty()
    tty.setraw(slave)
    writer = subprocess.Popen([sys.executable, "-c", flood, str(master)], pass_fds=[master])

    async def run() -> tuple[int, float, float]:
        port = SerialPort(os.ttyname(slave), 115200)
        await port.open()
        loop = asyncio.get_running_loop()
        taken = 0

        async def take() -> None:
            nonlocal taken
            while True:
                taken += len(await port.read())

        reading = asyncio.create_task(take())
        await until(lambda: taken > 0)  # it takes its time to begin
        worst, began, processor = 0.0, loop.time(), time.process_time()
        while loop.time() - began < 3.0:
            watch = Stopwatch()
            await asyncio.sleep(0.01)
            worst = max(worst, watch.seconds)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        port.close()
        return taken, worst, time.process_time() - processor

    try:
        taken, worst, processor = asyncio.run(run())
    finally:
        writer.kill()
        writer.wait()
        os.close(master)
        os.close(slave)
    assert 65_536 <= taken <= 5 * 65_536
    assert worst < 1.0  # it was for ever
    assert processor < 1.5


def test_the_port_vanishes_and_comes_back_under_another_name(tmp_path: Path) -> None:
    link = tmp_path / "usb-Quectel_RM500Q-if02"

    async def run() -> list[Poll]:
        modem = Modem(ModemInput(port=str(link)))
        try:
            found = await polls(modem, 1)  # not yet there
            with kit(ENDC) as first:
                link.symlink_to(first.name)
                found += await polls(modem, 1, 10.0)
            found += await polls(modem, 1, 20.0)  # unplugged: the link leads nowhere
            with kit(ENDC) as filler, kit(ENDC | {"AT+CEREG?": ["+CEREG: 0,5"], "AT+CREG?": []}) as second:
                assert filler.name != second.name
                link.unlink()
                link.symlink_to(second.name)
                found += await polls(modem, 1, 30.0)
                # Re-plugged between two polls, the old one still open: the next poll follows the link at once.
                link.unlink()
                link.symlink_to(filler.name)
                found += await polls(modem, 1, 40.0)
            return found
        finally:
            await modem.close()

    missing, first, gone, second, third = asyncio.run(run())
    assert values(missing) == values(gone) == {"device.reachable": False, "port_open": False}
    assert missing.problem == f"{link}: No such file or directory"
    assert gone.problem is not None
    assert values(first)["registration"] == values(third)["registration"] == "home"
    assert values(second)["registration"] == "roaming"


def test_the_tries_to_open_back_off() -> None:
    retry = Retry(first=1.0, most=30.0)
    tries = []
    for second in range(200):
        if retry.due(float(second)):
            tries.append(second)
            retry.failed(float(second))
    assert tries == [0, 1, 3, 7, 15, 31, 61, 91, 121, 151, 181]
    retry.succeeded()
    assert retry.due(199.0)


HOLD = """
import serial, sys, time
port = serial.Serial(sys.argv[1], exclusive=True)
print("held", flush=True)
time.sleep(60)
"""


def test_a_port_that_another_program_holds_is_reported_and_left_alone() -> None:
    async def run(modem: Kit, other: subprocess.Popen[bytes]) -> tuple[Poll, Poll, list[str], Poll]:
        live = Modem(ModemInput(port=modem.name))
        try:
            held = await live.poll(0.0)
            again = await live.poll(0.5)
            heard = list(modem.heard)
            other.kill()
            other.wait()
            return held, again, heard, await live.poll(10.0)
        finally:
            await live.close()

    with kit(ENDC) as modem:
        other = subprocess.Popen([sys.executable, "-c", HOLD, modem.name], stdout=subprocess.PIPE)
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            held, again, heard, free = asyncio.run(run(modem, other))
        finally:
            other.kill()
            other.wait()
            assert other.stdout is not None
            other.stdout.close()
    assert list(held.readings) == []
    assert held.problem is not None
    assert held.problem.startswith(f"{modem.name}: held by ")
    assert f"(pid {other.pid})" in held.problem
    assert again == held
    assert heard == []
    assert values(free)["device.reachable"] is True


def test_the_exclusive_flag_of_another_program_is_respected_by_root_too() -> None:
    with kit(ENDC) as modem:
        fcntl.ioctl(modem.slave, termios.TIOCEXCL)
        poll = once(modem.name)
        assert poll.problem is not None
        assert "held by" in poll.problem
        fcntl.ioctl(modem.slave, termios.TIOCNXCL)
        assert values(once(modem.name))["device.reachable"] is True


def test_a_lock_file_is_respected_while_its_owner_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_port, "_LOCK_DIRECTORY", tmp_path)
    with kit(ENDC) as modem:
        lock = tmp_path / f"LCK..{Path(modem.name).name}"
        owner = subprocess.Popen(["sleep", "60"])
        try:
            lock.write_text(f"{owner.pid:>10}\n")
            assert once(modem.name).problem == f"{modem.name}: held by pid {owner.pid}"
        finally:
            owner.kill()
            owner.wait()
        assert values(once(modem.name))["device.reachable"] is True


def test_holders_names_who_has_the_device_open() -> None:
    with kit(ENDC) as modem:
        assert holders(modem.name) == ()
        with open(modem.name, "rb", buffering=0) as port:
            other = subprocess.Popen(["sleep", "60"], stdin=port)
        try:
            deadline = time.monotonic() + 60
            while not holders(modem.name) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert holders(modem.name) == (f"sleep (pid {other.pid})",)
        finally:
            other.kill()
            other.wait()


def test_what_is_no_serial_port() -> None:
    async def opened(path: str) -> None:
        await SerialPort(path, 115200).open()

    with pytest.raises(PortMissing, match="No such file"):
        asyncio.run(opened("/dev/ttyUSB-none"))
    with pytest.raises(PortError, match="not a serial port"):
        asyncio.run(opened(__file__))


def test_port_read_write_close() -> None:
    async def run(modem: Kit) -> None:
        port = SerialPort(modem.name, 115200)
        with pytest.raises(PortGone):
            port.write(b"AT\r")
        await port.open()
        modem.say(b"\xff\x00\r\n")
        assert await port.read() == b"\xff\x00\r\n"
        with pytest.raises(PortHeld):
            await SerialPort(modem.name, 115200).open()
        waiting = asyncio.ensure_future(port.read())
        await asyncio.sleep(0.05)
        port.close()
        with pytest.raises(PortGone):
            await waiting

    with kit(ENDC) as modem:
        asyncio.run(run(modem))


def write_on(port: SerialPort) -> None:
    for _ in range(1000):
        port.write(b"x" * 1024)


def test_a_line_that_takes_nothing_is_given_up() -> None:
    async def run() -> None:
        master, slave = pty.openpty()
        tty.setraw(slave)
        port = SerialPort(os.ttyname(slave), 115200)
        try:
            await port.open()
            with pytest.raises(PortGone, match="takes no data"):
                write_on(port)
            assert not port.is_open
        finally:
            port.close()
            os.close(master)
            os.close(slave)

    asyncio.run(run())


def test_descriptors_stay_flat_over_many_openings() -> None:
    async def run(modem: Kit) -> tuple[int, int]:
        port = SerialPort(modem.name, 115200)
        await port.open()
        port.close()
        before = len(os.listdir("/proc/self/fd"))
        for number in range(100):
            await port.open()
            port.close()
            opening = asyncio.ensure_future(port.open())
            await asyncio.sleep(0)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            if number % 2:
                await port.open()  # takes over what was cancelled
            port.close()
        with contextlib.suppress(TimeoutError):
            await until(lambda: len(os.listdir("/proc/self/fd")) <= before)
        return before, len(os.listdir("/proc/self/fd"))

    with kit(ENDC) as modem:
        before, after = asyncio.run(run(modem))
    assert after == before
