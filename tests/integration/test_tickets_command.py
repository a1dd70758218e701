"""The life of a ticket by ``kitwatch tickets`` alone, each person a user of the machine, against the real collector."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from collector.config import load_config
from collector.main import Running, run
from kitwatch.main import main
from tests.integration.test_collector import write
from tests.services.mosquitto import mosquitto

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may speak as other users")

CONTRACT = """
roster:
  wang: {name: 王工, role: engineer, phone: "8001", login: daemon}
  qian: {name: 钱工, role: engineer, login: bin}
  zhao: {name: 赵, role: dispatcher, login: games}
  sun: {name: 孙经理, role: manager, login: man}
"""
AS_USER = """
import _strptime, contextlib, io, os, pwd, sys, zoneinfo
from kitwatch.main import main
login, socket, *words = sys.argv[1:]
zoneinfo.ZoneInfo("Asia/Shanghai")
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    main(["tickets", "me", "--socket", socket])  # imports are done while we may still read them
    main(["tickets", words[0], "--socket", socket, "--json", *words[1:]]) if words[0] in ("ls", "show") else None
os.setgid(pwd.getpwnam(login).pw_gid)
os.setuid(pwd.getpwnam(login).pw_uid)
sys.exit(main(["tickets", words[0], "--socket", socket, *words[1:]]))
"""


class Person:
    """A user of the machine who calls the command."""

    def __init__(self, login: str, socket: Path) -> None:
        self.login = login
        self.socket = socket

    def calls(self, *words: str) -> subprocess.CompletedProcess[str]:
        pwd.getpwnam(self.login)
        return subprocess.run(
            [sys.executable, "-c", AS_USER, self.login, str(self.socket), *words],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def does(self, *words: str) -> dict[str, Any]:
        result = self.calls(*words, "--json")
        assert (result.returncode, result.stderr) == (0, ""), result.stderr
        found: dict[str, Any] = json.loads(result.stdout)
        return found


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that every user may look into."""
    with tempfile.TemporaryDirectory(prefix="kitwatch-people-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def with_collector(scene: Callable[[Path, str], None]) -> None:
    """Run a scene in a thread while the collector runs: it is given the socket and the pages' address."""

    async def both(path: Path, socket: Path) -> None:
        stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
        task = asyncio.create_task(run(load_config(path), stop=stop, on_ready=ready.set_result))
        try:
            running: Running = await asyncio.wait_for(ready, 60)
            await asyncio.to_thread(scene, socket, running.address)
        finally:
            stop.set()
            await asyncio.wait_for(task, 60)

    with folder() as where, mosquitto(where) as broker:
        (where / "contract.yaml").write_text(CONTRACT)
        socket = where / "collector.sock"
        path = write(where, broker.port, contract="contract.yaml", socket=str(socket))
        asyncio.run(both(path, socket))
        assert not socket.exists()


@pytest.mark.timeout(180)
def test_a_call_at_night_until_the_caller_is_content() -> None:
    def scene(socket: Path, address: str) -> None:
        zhao, wang, qian, sun = (Person(login, socket) for login in ("games", "daemon", "bin", "man"))
        assert zhao.does("me")["sites"]["north"] == {"id": "zhao", "name": "赵", "role": "dispatcher"}
        steps = []

        def step(person: Person, *words: str) -> dict[str, Any]:
            ticket = person.does(*words)
            steps.append((ticket["state"], ticket["round"], ticket["history"][-1]["what"]))
            return ticket

        ticket = step(zhao, "open", "车上没有图像", "--vehicle", "amb-3", "--caller", "李护士", "--phone", "8001",
                      "--class", "general")  # fmt: skip
        id = ticket["id"]
        assert ticket["callers"] == [{"name": "李护士", "phone": "8001"}]
        assert ticket["text"] == "车上没有图像"
        assert [clock["status"] for clock in ticket["clocks"] if clock["clock"] == "response"] == ["running"]
        step(sun, "assign", id, "--to", "wang")
        step(wang, "acknowledge", id)
        answered = step(wang, "respond", id, "--how", "remote", "-m", "编码器无输入")
        assert [clock["status"] for clock in answered["clocks"] if clock["clock"] == "response"] == ["met"]
        step(wang, "plan", id, "-m", "更换编码器")
        step(wang, "wait", id, "--reason", "customer", "--evidence", "电话", "--until", "2099-01-01 08:00")
        step(wang, "go-on", id)
        resolved = step(wang, "resolve", id, "--done", "更换编码器", "--test", "现场图像正常")
        drawn = resolved["history"][-1]
        assert drawn["what"] == "call_back_drawn"
        assert drawn["says"]["to"] in ("qian", "zhao"), "wang has worked on it"
        refused = wang.calls("call-back", id, "--answer", "good", "--lang", "en")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "cannot make its call-back" in refused.stderr
        again = step(qian, "call-back-bad", id, "-m", "图像仍卡顿")
        assert (again["state"], again["round"], again["clocks"][0]["status"]) == ("new", 2, "running")
        step(wang, "respond", id, "--how", "on_site")
        step(wang, "resolve", id, "--done", "重新接线")
        closed = step(qian, "call-back", id, "--answer", "excellent")
        assert (closed["state"], closed["closed_by"]) == ("closed", "confirmed")
        assert steps == [
            ("new", 1, "opened"), ("new", 1, "assigned"), ("acknowledged", 1, "acknowledged"),
            ("responded", 1, "responded"), ("planned", 1, "planned"), ("planned", 1, "waits"),
            ("planned", 1, "goes_on"), ("resolved", 1, "call_back_drawn"), ("new", 2, "dissatisfied"),
            ("responded", 2, "responded"), ("resolved", 2, "call_back_drawn"), ("closed", 2, "confirmed"),
        ]  # fmt: skip
        who = [event["who"] for event in closed["history"]]
        assert set(who) == {"zhao", "sun", "wang", "qian", "desk"}
        shown = zhao.calls("show", id)
        assert "响应" in shown.stdout
        assert "更换编码器" in shown.stdout
        assert id in zhao.calls("ls", "--state", "ended").stdout

    with_collector(scene)


@pytest.mark.timeout(120)
def test_who_is_nobody_of_the_roster_or_speaks_over_tcp_changes_nothing() -> None:
    def scene(socket: Path, address: str) -> None:
        zhao, stranger = Person("games", socket), Person("nobody", socket)
        id = zhao.does("open", "no picture", "--vehicle", "amb-3")["id"]
        before = zhao.does("show", id)["history"]
        told = stranger.calls("acknowledge", id)
        assert told.returncode == 1
        assert "expected a person with login: nobody in contract.yaml" in told.stderr
        for words, said in (
            (("respond", id, "--how", "remote", "--at", "2026-01-02 08:00", "--lang", "en"), "before the notice"),
            (("assign", id, "--to", "nobody-here", "--lang", "en"), "nobody of the id nobody-here"),
            (("assign", id, "--to", "nobody-here"), "合同人员名单中没有 nobody-here"),
            (("acknowledge", "2026-9999"), "no ticket '2026-9999'"),
            (("respond", id, "--how", "remote", "--at", "soon"), "--at: expected a time such as"),
            (("open", "x", "--vehicle", "amb-99"), "no vehicle 'amb-99'"),
            (("open", "x", "--vehicle", "amb-3", "--fault", "no_such"), "fault: expected one of the catalogue"),
            (("comment", id, "-m", "a\x07b"), "text: expected printable text"),
        ):
            result = zhao.calls(*words)
            assert result.returncode in (1, 2), words
            assert said in result.stderr, (words, result.stderr)
            assert "Traceback" not in result.stderr
        asyncio.run(over_tcp(address, id))
        assert zhao.does("show", id)["history"] == before

    async def over_tcp(address: str, id: str) -> None:
        forged = {"X-Forwarded-User": "zhao", "Remote-User": "zhao"}
        async with aiohttp.ClientSession() as session:
            for path, body in ((f"/api/tickets/{id}/acts", {"act": "acknowledged"}), ("/api/tickets", {"text": "x"})):
                async with session.post(f"{address}{path}", json=body, headers=forged) as answer:
                    assert answer.status == 403
                    assert "over the collector's socket" in (await answer.json())["error"]

    with_collector(scene)


def test_a_zone_that_is_none_is_a_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tickets", "ls", "--zone", "Mars/Base"]) == 2
    assert capsys.readouterr().err == "kitwatch: --zone: expected a zone such as Asia/Shanghai, found 'Mars/Base'\n"


def test_without_a_collector_it_says_so_in_a_line(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "kitwatch.main", "tickets", "ls", "--socket", str(tmp_path / "none.sock")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (2, "")
    assert "none.sock: expected a collector that answers, found:" in result.stderr
    assert result.stderr.count("\n") == 1
