"""``kitwatch agent`` as a process: systemd's protocol, signals, the run before."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import yaml

from agent.supervision import Progress
from telemetry.systemd import Notify
from tests.services.process import free_port


def start(config: Path, notify: Path, errors: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"NOTIFY_SOCKET": str(notify), "WATCHDOG_USEC": "600000"}
    environment.pop("WATCHDOG_PID", None)
    command = [sys.executable, "-m", "kitwatch.main", "agent", "--config", str(config)]
    with errors.open("wb") as stderr:
        return subprocess.Popen(command, env=environment, stderr=stderr)


def heard(server: socket.socket, seconds: float, enough: str) -> list[str]:
    """Return what systemd would have heard until it heard ``enough`` twice, or time is over."""
    told: list[str] = []
    end = time.monotonic() + seconds
    server.settimeout(0.2)
    while time.monotonic() < end and told.count(enough) < 2:
        try:
            told.append(server.recv(1000).decode())
        except TimeoutError:
            continue
    return told


def test_ready_watchdog_stop_and_a_kill_that_the_next_run_tells_of(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "site": "s",
                "vehicle": "v",
                "agent": "a",
                "broker": {"host": "127.0.0.1", "port": free_port()},
                "devices": {"host": {"kind": "host", "system": {"interval": 0.1, "deadline": 0.1}}},
                "state_directory": str(tmp_path / "state"),
                "waits": {"spread": 0},
            }
        )
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        for end, status in ((signal.SIGTERM, 0), (signal.SIGKILL, -9), (signal.SIGINT, 0)):
            log = tmp_path / f"{end.name}.log"
            process = start(path, tmp_path / "notify", log)
            try:
                told = heard(server, 60, "WATCHDOG=1")
                assert told.count("READY=1") == 1
                assert told.count("WATCHDOG=1") == 2
                patient = time.monotonic() + 60
                while "no connection" not in log.read_text() and time.monotonic() < patient:
                    time.sleep(0.05)
                time.sleep(0.5)
                process.send_signal(signal.SIGHUP)  # it has nothing to read again; and is no end
                process.send_signal(end)
                assert process.wait(60) == status
            finally:
                process.kill()
                process.wait()
                heard(server, 0.1, "nothing")  # what is left of this run
            errors = log.read_text()
            assert "Traceback" not in errors
            assert "no connection" in errors  # nothing is reachable, and that is said and no more
    export = subprocess.run(
        [sys.executable, "-m", "kitwatch.main", "outbox", "export", "--json", str(tmp_path / "state" / "outbox")],
        capture_output=True,
        check=True,
    )
    records = [msgspec.json.decode(line) for line in export.stdout.splitlines()]
    endings = [record["body"]["ended"] for record in records if record.get("event") == "started"]
    assert endings == [None, "stop", "killed"]
    assert len(records) > 10


def test_two_agents_do_not_share_an_outbox(tmp_path: Path) -> None:
    from agent.outbox.outbox import Outbox
    from kitwatch.main import main

    path = tmp_path / "agent.yaml"
    agent = {"site": "s", "vehicle": "v", "agent": "a", "broker": {"host": "127.0.0.1"}, "devices": {}}
    path.write_text(yaml.safe_dump(agent | {"state_directory": str(tmp_path)}))
    outbox = Outbox.open(tmp_path / "outbox", 2**22, "a" * 16, "boot")
    try:
        assert main(["agent", "--config", str(path)]) == 1
    finally:
        outbox.close()


def test_no_sign_of_life_when_polls_or_disk_stand_still() -> None:
    moments, busy_since = 1, None
    progress = Progress(lambda: moments, 10_000, lambda: busy_since)
    assert progress.stuck(0) is None
    assert progress.stuck(39_000) is None
    assert progress.stuck(41_000) == "no poll has begun"
    moments = 2
    assert progress.stuck(42_000) is None
    busy_since = 40_000
    moments = 3
    assert progress.stuck(100_000) is None
    moments = 4
    assert progress.stuck(100_001) == "the disk does not answer"


def test_the_watchdog_is_for_the_process_it_names() -> None:
    assert Notify({"WATCHDOG_USEC": "30000000"}).watchdog_s == 30.0
    assert Notify({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog_s is None
    assert Notify({}).watchdog_s is None
    Notify({"NOTIFY_SOCKET": "/none/such"}).say("READY=1")  # is logged, and that is all


def test_a_systemd_that_takes_nothing_holds_up_nobody(tmp_path: Path) -> None:
    """Its socket is full: what was to be said is counted, and said when there is room again."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as others,
    ):
        server.bind(str(tmp_path / "notify"))
        others.setblocking(False)
        fillers = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                others.sendto(b"STATUS=full", str(tmp_path / "notify"))
                fillers += 1
        notify = Notify({"NOTIFY_SOCKET": str(tmp_path / "notify")})

        def say() -> None:
            notify.say("READY=1")
            notify.say("WATCHDOG=1")

        saying = threading.Thread(target=say, daemon=True)
        saying.start()
        saying.join(30)
        assert not saying.is_alive(), "it waits for systemd"
        assert notify.dropped == 2
        for _ in range(fillers):
            assert server.recv(100) == b"STATUS=full"
        notify.repeat()
        notify.repeat()
        server.setblocking(False)
        assert server.recv(100) == b"READY=1\nWATCHDOG=1"
        with contextlib.suppress(BlockingIOError):
            raise AssertionError(f"said twice: {server.recv(100)!r}")


def test_from_its_first_instruction_a_hangup_is_no_end() -> None:
    for name, expected in (("agent", "SIG_IGN"), ("collector", "SIG_IGN"), ("tickets", "SIG_DFL")):
        script = (
            "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_DFL);"  # under nohup it is ignored already
            " import kitwatch.main as main; sys.argv = ['kitwatch', sys.argv[1]];"
            " main._main = lambda words, chosen: print(signal.getsignal(signal.SIGHUP).name) or 0;"
            " sys.exit(main.main())"
        )
        done = subprocess.run([sys.executable, "-c", script, name], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected, name
