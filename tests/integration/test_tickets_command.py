"""The life of a ticket by ``kitwatch tickets`` alone, each person a user of the machine, against the real collector."""

from __future__ import annotations

import asyncio
import datetime
import functools
import json
import os
import pwd
import re
import subprocess
import sys
import tempfile
import zoneinfo
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from collector.config import load_config
from collector.main import Running, run
from kitwatch.main import main
from tests.integration.test_collector import FLEET, write
from tests.services.api import let_in
from tests.services.contract import in_force
from tests.services.mosquitto import mosquitto

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may speak as other users")

CONTRACT = """
roster:
  wang: {name: 王工, role: engineer, phone: "8001", login: daemon}
  qian: {name: 钱工, role: engineer, login: bin}
  zhao: {name: 赵, role: dispatcher, login: games}
  sun: {name: 孙经理, role: manager, login: man}
"""
LATE = """
escalation:
  response: [{after: 900d, to: [manager]}]
  solution: [{after: 900d, to: [manager]}]
"""
"""Nothing goes up: what is typed in a day later was due long ago."""
SAID = {
    "zh": [
        "02:10|赵  建单：车上没有图像，来源：电话，一般性故障，来电人 李护士 8001",
        "02:15|孙经理  指派：给 王工",
        "02:20|王工  受理",
        "02:40|王工  响应：编码器无输入，远程",
        "02:45|王工  等待：等待客户，依据：电话，至 2099-01-01 08:00",
        "03:00|王工  继续处理",
        "03:10|王工  提出解决方案：更换编码器",
        "03:50|王工  解决：更换编码器，现场测试：现场图像正常，所用备件：编码器 A2，该备件质保至 2099-01-31",
        "09:30|钱工  回访未解决（差）：图像仍卡顿，来电人 李护士 8001",
        "16:00|钱工  回访满意（优、良）：优，来电人 李护士 8001",
    ],
    "en": [
        "02:10|赵  opened: 车上没有图像, by telephone, general fault, caller 李护士 8001",
        "02:15|孙经理  assigned: to 王工",
        "02:40|王工  responded: 编码器无输入, remote",
        "02:45|王工  waits: for the customer, evidence: 电话, until 2099-01-01 08:00",
        "03:50|王工  resolved: 更换编码器, tested: 现场图像正常, spare part: 编码器 A2, its warranty until 2099-01-31",
        "09:30|钱工  call-back: not solved: 图像仍卡顿, caller 李护士 8001",
        "16:00|钱工  call-back: content: excellent, caller 李护士 8001",
    ],
}
SHANGHAI = zoneinfo.ZoneInfo("Asia/Shanghai")
AS_USERS = """
import _strptime, contextlib, hashlib, io, json, os, pwd, sys, zoneinfo
from kitwatch.main import main
zoneinfo.ZoneInfo("Asia/Shanghai")
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    for words in (["me"], ["ls"], ["show", "2026-0001"], ["draw", "2026-0001"]):
        main(["tickets", words[0], "--socket", sys.argv[1], *words[1:]])  # imports while we may read them
from collector.core.tickets import texts, timers
for line in sys.stdin:
    login, words = json.loads(line)
    outputs = [os.memfd_create("out"), os.memfd_create("err")]
    child = os.fork()
    if child == 0:
        for number, output in enumerate(outputs, 1):
            os.dup2(output, number)
        os.setgid(pwd.getpwnam(login).pw_gid)
        os.setuid(pwd.getpwnam(login).pw_uid)
        try:
            status = main(["tickets", words[0], "--socket", sys.argv[1], *words[1:]])
        except SystemExit as ended:
            status = ended.code
        sys.stdout.flush()
        os._exit(status or 0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = [os.pread(output, 10_000_000, 0).decode() for output in outputs]
    for output in outputs:
        os.close(output)
    print(json.dumps([status, *said]), flush=True)
"""
"""Becomes one user of the machine after the other: a process each, without importing everything anew."""


@functools.cache
def users(socket: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", AS_USERS, str(socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


class Person:
    """A user of the machine who calls the command."""

    def __init__(self, login: str, socket: Path) -> None:
        pwd.getpwnam(login)
        self.login = login
        self.socket = socket

    def calls(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = users(self.socket)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([self.login, words]) + "\n")
        process.stdin.flush()
        status, told, errors = json.loads(process.stdout.readline())
        return subprocess.CompletedProcess(words, status, told, errors)

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


def local(iso: str) -> str:
    return f"{datetime.datetime.fromisoformat(iso).astimezone(SHANGHAI):%Y-%m-%d %H:%M}"


def with_collector(scene: Callable[[Path, str], None], contract: str = CONTRACT, fleet: str = FLEET) -> None:
    """Run a scene in a thread while the collector runs: it is given the socket and the pages' address."""

    async def both(path: Path, socket: Path) -> None:
        stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
        task = asyncio.create_task(run(load_config(path), stop=stop, on_ready=ready.set_result))
        try:
            running: Running = await asyncio.wait_for(ready, 60)
            await in_force(running.store, *yaml.safe_load(fleet)["sites"])
            await asyncio.to_thread(scene, socket, running.address)
        finally:
            users(socket).communicate()
            stop.set()
            await asyncio.wait_for(task, 60)

    with folder() as where, mosquitto(where) as broker:
        (where / "contract.yaml").write_text(contract)
        socket = where / "collector.sock"
        path = write(where, broker.port, contract="contract.yaml", socket=str(socket))
        (where / "fleet.yaml").write_text(fleet)
        asyncio.run(both(path, socket))
        assert not socket.exists()


@pytest.mark.timeout(600)
def test_a_call_at_night_until_the_caller_is_content() -> None:
    """Typed in on the next day, each act with its own time: clocks go by what is stated."""
    night = datetime.datetime.now(datetime.UTC).astimezone(SHANGHAI) - datetime.timedelta(days=1)

    def at(clock: str, json_: bool = False) -> str:
        return f"{night:%Y-%m-%d} {clock}" if not json_ else f"{night:%Y-%m-%d}T{clock}:00"

    def scene(socket: Path, address: str) -> None:
        zhao, wang, qian, sun = (Person(login, socket) for login in ("games", "daemon", "bin", "man"))
        assert zhao.does("me")["sites"]["north"] == {"id": "zhao", "name": "赵", "role": "dispatcher"}
        steps = []

        def step(person: Person, *words: str) -> dict[str, Any]:
            ticket = person.does(*words)
            steps.append((ticket["state"], ticket["round"], ticket["history"][-1]["what"]))
            assert ticket["id"] == ticket["id"].strip()
            assert [event["number"] for event in ticket["history"]] == list(range(1, len(ticket["history"]) + 1))
            return ticket

        def clock(ticket: dict[str, Any], what: str) -> dict[str, Any]:
            return next(clock for clock in ticket["clocks"] if clock["clock"] == what)

        ticket = step(zhao, "open", "车上没有图像", "--vehicle", "amb-3", "--caller", "李护士", "--phone", "8001",
                      "--class", "general", "--at", at("02:10"))  # fmt: skip
        id = ticket["id"]
        assert re.fullmatch(r"20\d\d-0001", id)
        assert (ticket["callers"], ticket["source"]) == ([{"name": "李护士", "phone": "8001"}], "call")
        assert ticket["text"] == "车上没有图像"
        assert local(clock(ticket, "response")["due_at"]) == at("04:10")
        step(sun, "assign", id, "--to", "wang", "--at", at("02:15"))
        step(wang, "acknowledge", id, "--at", at("02:20"))
        answered = step(wang, "respond", id, "--how", "remote", "-m", "编码器无输入", "--at", at("02:40"))
        assert (clock(answered, "response")["status"], local(clock(answered, "solution")["start_at"])) == (
            "met", at("02:40"),
        )  # fmt: skip
        step(wang, "wait", id, "--reason", "customer", "--evidence", "电话", "--until", "2099-01-01 08:00",
             "--at", at("02:45"))  # fmt: skip
        assert "等待客户，至 2099-01-01 08:00" in zhao.calls("show", id).stdout
        step(wang, "go-on", id, "--at", at("03:00"))
        planned = step(wang, "plan", id, "-m", "更换编码器", "--at", at("03:10"))
        assert clock(planned, "solution")["status"] == "met"
        resolved = step(wang, "resolve", id, "--done", "更换编码器", "--test", "现场图像正常", "--at", at("03:50"),
                        "--spare", "编码器 A2", "--spare-warranty-until", "2099-01-31")  # fmt: skip
        drawn = resolved["history"][-1]
        assert drawn["what"] == "call_back_drawn"
        assert drawn["says"]["to"] in ("qian", "zhao"), "wang has worked on it"
        draw = sun.does("draw", id)["draws"]
        assert [(one["to"], one["again"], one["among"], one["same"]) for one in draw] == [
            (drawn["says"]["to"], drawn["says"]["to"], ["qian", "zhao"], True)
        ]
        refused = wang.calls("call-back", id, "--answer", "good", "--lang", "en")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "cannot make its call-back" in refused.stderr
        again = step(qian, "call-back-bad", id, "-m", "图像仍卡顿", "--at", at("09:30"))
        assert (again["state"], again["round"], local(again["notice_at"])) == ("new", 2, at("09:30"))
        step(wang, "respond", id, "--how", "on_site", "--at", at("10:40"))
        number = str(len(again["history"]) + 1)
        fixed = step(wang, "correct", id, "--number", number, "--at", at("10:04"), "--reason", "看错时间")
        (response,) = [event for event in fixed["history"] if event["number"] == int(number)]
        assert (local(response["at"]), local(response["corrected_at"])) == (at("10:40"), at("10:04"))
        assert local(clock(fixed, "response")["ended_at"]) == at("10:04")
        step(wang, "resolve", id, "--done", "重新接线", "--at", at("11:00"))
        closed = step(qian, "call-back", id, "--answer", "excellent", "--at", at("16:00"))
        assert (closed["state"], closed["closed_by"]) == ("closed", "confirmed")
        assert steps == [
            ("new", 1, "opened"), ("new", 1, "assigned"), ("acknowledged", 1, "acknowledged"),
            ("responded", 1, "responded"), ("responded", 1, "waits"), ("responded", 1, "goes_on"),
            ("planned", 1, "planned"), ("resolved", 1, "call_back_drawn"), ("new", 2, "dissatisfied"),
            ("responded", 2, "responded"), ("responded", 2, "corrected"), ("resolved", 2, "call_back_drawn"),
            ("closed", 2, "confirmed"),
        ]  # fmt: skip
        assert {event["who"] for event in closed["history"]} == {"zhao", "sun", "wang", "qian", "desk"}
        told = {lang: zhao.calls("show", id, "--lang", lang).stdout.splitlines() for lang in ("zh", "en")}
        assert told["zh"][0] == f"{id}  已关闭  一般性故障  amb-3  报修: 车上没有图像"
        assert told["en"][0] == f"{id}  closed  general fault  amb-3  a request: 车上没有图像"
        for lang, lines in SAID.items():
            for line in lines:
                day, _, words = line.partition("|")
                assert any(at(day) in one and one.endswith(words) for one in told[lang]), (line, told[lang])
        assert f"  {at('10:40')} [更正为 {at('10:04')}]  王工  响应：现场" in "\n".join(told["zh"])
        assert zhao.does("show", "1")["id"] == id, "as one says it on the telephone"
        assert f"{id}  已关闭  一般性故障" in zhao.calls("ls", "--state", "ended").stdout

    with_collector(scene, CONTRACT + LATE)


@pytest.mark.timeout(600)
def test_a_hardware_fault_says_whether_the_two_days_apply() -> None:
    """Warranty and spares stand in the fleet file; a spare part at hand is somebody's word."""

    def scene(socket: Path, address: str) -> None:
        zhao, wang = Person("games", socket), Person("daemon", socket)
        ticket = zhao.does("open", "dead", "--vehicle", "amb-3", "--device", "modem-1", "--class", "hardware")
        id = ticket["id"]
        assert ticket["hardware"] == {
            "r8": False, "lacks": ["spare_unsaid"], "warranty_until": "2099-12-31", "spare": None,
            "spares": [{"kind": "modem", "name": "RM520N", "place": "库房 2"}],
        }  # fmt: skip
        assert {clock["sla_class"] for clock in ticket["clocks"]} == {"general"}
        assert (
            "不适用 R8（未确认备件在手）：质保至 2099-12-31；站点备件：RM520N 库房 2" in zhao.calls("show", id).stdout
        )
        at_hand = wang.does("spare", id, "--spare", "at_hand")
        assert (at_hand["hardware"]["r8"], at_hand["hardware"]["lacks"]) == (True, [])
        assert "hardware" in {clock["sla_class"] for clock in at_hand["clocks"]}
        assert "R8 applies (hardware, spare at hand): warranty until 2099-12-31" in zhao.calls(
            "show", id, "--lang", "en"
        ).stdout  # fmt: skip
        done = wang.does(
            "resolve", id, "--done", "swapped", "--spare", "RM520N", "--spare-warranty-until", "2098-01-31"
        )
        says = next(event["says"] for event in done["history"] if event["what"] == "resolved")
        assert (says["spare"], says["spare_warranty_until"]) == ("RM520N", "2098-01-31")
        wrong = zhao.calls("resolve", id, "--done", "x", "--spare-warranty-until", "soon")
        assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
        assert "spare_warranty_until" in wrong.stderr

    fleet = FLEET.replace("    vehicles:", "    spares: [{kind: modem, name: RM520N, place: 库房 2}]\n    vehicles:", 1)
    fleet = fleet.replace("{kind: modem, modem", "{kind: modem, warranty_until: 2099-12-31, modem", 1)
    with_collector(scene, fleet=fleet)


@pytest.mark.timeout(600)
def test_a_time_is_corrected_on_a_ticket_that_is_over() -> None:
    def scene(socket: Path, address: str) -> None:
        zhao = Person("games", socket)
        now = datetime.datetime.now(datetime.UTC).astimezone(SHANGHAI)
        earlier = f"{now - datetime.timedelta(minutes=30):%Y-%m-%d %H:%M}"
        id = zhao.does("open", "no picture", "--vehicle", "amb-3", "--at", earlier)["id"]
        zhao.does("cancel", id, "--reason", "a question")
        stated = f"{now - datetime.timedelta(minutes=10):%Y-%m-%d %H:%M}"
        fixed = zhao.does("correct", id, "--number", "2", "--at", stated, "--reason", "typed late")
        assert [event["what"] for event in fixed["history"]] == ["opened", "cancelled", "corrected"]
        assert local(fixed["history"][1]["corrected_at"]) == stated
        refused = zhao.calls("comment", id, "-m", "x", "--lang", "en")
        assert (refused.returncode, "is cancelled" in refused.stderr) == (1, True)

    with_collector(scene, CONTRACT + LATE)


@pytest.mark.timeout(600)
def test_who_is_nobody_of_the_roster_or_speaks_over_tcp_changes_nothing() -> None:
    def scene(socket: Path, address: str) -> None:
        zhao, stranger = Person("games", socket), Person("nobody", socket)
        id = zhao.does("open", "no picture", "--vehicle", "amb-3")["id"]
        other = zhao.does("open", "no sound", "--vehicle", "amb-3", "--class", "consultation")["id"]
        raised = zhao.does("change-class", other, "--class", "general", "--why", "it is a fault")
        assert raised["sla_class"] == "general"
        zhao.does("cancel", "2", "--reason", "said twice")
        before = zhao.does("link", "1", "--other", "2")["history"]
        assert before[-1]["says"]["other"] == other, "as one says it on the telephone"
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
            (("merge", id, "--into", "999"), "-0999' of site north"),
            (("link", id, "--other", "2026-9999"), "no ticket '2026-9999'"),
            (("cancel", id, "--reason", ""), "必须填写内容：reason 为空"),
            (("merge", id, "--into", "2", "--lang", "en"), "The other ticket is not open."),
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
                    assert answer.status == 401
                    assert "signed in" in (await answer.json())["detail"]

    with_collector(scene)


def test_from_another_machine_a_token_says_who_asks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = tmp_path / "token"

    def asked(*words: str) -> tuple[int, str, str]:
        code = main(["tickets", *words])
        told = capsys.readouterr()
        return code, told.out, told.err

    def scene(socket: Path, address: str) -> None:
        where = ("--url", address, "--token-file", str(token))
        database = f"sqlite:///{socket.parent}/data/kitwatch.sqlite"
        for text, person in (("kwt_nobody", ""), ("kwt_of-zhao", "zhao")):
            token.write_text(text)
            token.chmod(0o600)
            let_in(database, person=person, secret=text)
            code, _, wrong = asked("open", "no picture", "--vehicle", "amb-3", *where)
            assert (code, "acts for nobody of the roster" in wrong) == ((1, True) if not person else (0, False)), wrong
        code, told, _ = asked("ls", *where, "--json")
        assert (code, json.loads(told)["tickets"][0]["vehicle"]) == (0, "amb-3")
        token.write_text("kwt_unknown")
        assert asked("ls", *where)[::2] == (2, f"kitwatch: {UNKNOWN}\n")

    with_collector(scene)
    assert asked("ls", "--url", "http://127.0.0.1:9")[::2] == (
        2, "kitwatch: --token-file: expected the file of a token (kitwatch token create), found none\n"
    )  # fmt: skip


UNKNOWN = "expected somebody who has signed in, or a token of the API (Authorization: Bearer)"


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
