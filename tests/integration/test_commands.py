"""Every subcommand as somebody calls it who has one part installed, a closed pipe, a full disk, no such folder.

The calls are made from the parser, so that a new subcommand, action or argument is in these tests by itself: whatever
happens, nobody sees a traceback, and what is wrong is one line (item 15-6).
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kitwatch.authority import Authority
from kitwatch.main import COMMANDS, parser_of
from tests.guide import LANGUAGES, printed
from tests.integration.test_wrong_configuration import FILES
from tests.services.environments import Part, lock_only

PARTS: tuple[Part, ...] = ("agent", "collector")
MISSING = re.compile(
    r"kitwatch: \w+: No module named '[\w.]+': this part is not installed: "
    r"pip install 'kitwatch\[(agent|collector|demo)\]'"
)
RUNS_ON = ("agent", "collector", "demo")
"""What runs until it is told to stop."""
WORDS = {
    "FILE": "fleet.yaml",
    "VEHICLE": "amb-01",
    "AGENT": "router",
    "HOST": "127.0.0.1",
    "TIME": "2026-05-08 16:00",
    "DIR": "folder",
    "NAME": "amb-01",
}
"""What an argument gets by its metavar, where nothing below says better; any other gets ``1``."""
FILES_OF = {"agent": "agent.yaml", "rules": "rules.yaml", "decode": "capture", "outbox": "folder"}
"""The file that a subcommand is about."""


@dataclass(frozen=True)
class Call:
    """A subcommand, or an action of one, with what must be given; ``paths`` are the places of paths in ``words``."""

    name: str
    words: tuple[str, ...]
    paths: tuple[int, ...]

    def __str__(self) -> str:
        return " ".join(word for word in self.words if re.fullmatch(r"[a-z-]*[a-z]", word) and word[0] != "-")


def calls() -> list[Call]:
    """Return a call of every subcommand and every action, from the parser."""
    parser, _ = parser_of(list(COMMANDS))
    (commands,) = _subparsers(parser)
    found: list[Call] = []
    for name, subparser in commands.choices.items():
        found += _calls(name, subparser, [name])
    return found


def _subparsers(parser: argparse.ArgumentParser) -> list[Any]:
    return [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]


def _calls(name: str, parser: argparse.ArgumentParser, before: list[str]) -> Iterator[Call]:
    for actions in _subparsers(parser):
        for action, subparser in actions.choices.items():
            yield from _calls(name, subparser, [*before, action])
        return
    words, paths = list(before), []
    groups = [group._group_actions for group in parser._mutually_exclusive_groups if group.required]
    chosen = [one[0 if one[0].dest == "config" else -1] for one in groups]
    left_out = [action for group in groups for action in group if action not in chosen]
    for action in parser._actions:
        positional = not action.option_strings and action.nargs not in ("?", "*")
        # a default such as /etc/kitwatch is this machine's own
        elsewhere = isinstance(action.default, Path) and action.default.is_absolute()
        if action in left_out or not (positional or elsewhere or action.required or action in chosen):
            continue
        words += action.option_strings[-1:]
        if action.nargs == 0:
            continue
        value = _value(name, action)
        if action.type is Path:
            paths.append(len(words))
        words.append(value)
    yield Call(name, tuple(words), tuple(paths))


def _value(name: str, action: argparse.Action) -> str:
    if action.choices:
        return str(next(iter(action.choices)))
    if action.dest == "config":
        return "agent.yaml" if name == "agent" else "collector.yaml"
    metavar = action.metavar if isinstance(action.metavar, str) else "FILE" if action.type is Path else action.dest
    if isinstance(action.default, Path) and metavar == "DIRECTORY":
        return "folder"
    return FILES_OF.get(name, "fleet.yaml") if metavar in ("FILE", "DIRECTORY") else WORDS.get(metavar.upper(), "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "community").write_text("read-only-4711\n")
    (tmp_path / "community").chmod(0o600)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text.replace("COMMUNITY", str(tmp_path / "community")))
    (tmp_path / "capture").write_text("AT\nOK\n")
    (tmp_path / "folder").mkdir()
    now = datetime.datetime.now(datetime.UTC)
    for which in ("centre", "vehicles"):
        made = Authority.new(tmp_path / "folder", which, "tests", now)
        (tmp_path / "folder" / f"{which}.key").write_bytes(made.pair.key)
        (tmp_path / "folder" / f"{which}.crt").write_bytes(made.pair.certificate)
    return tmp_path


def run(python: Path, folder: Path, call: Call, **more: Any) -> subprocess.CompletedProcess[str]:
    """Call it; what runs until it is told to stop is told so after three seconds."""
    command = [str(python), "-m", "kitwatch.main", *call.words]
    more = {"stdout": subprocess.PIPE, "stdin": subprocess.DEVNULL} | more
    environment = {name: text for name, text in os.environ.items() if name != "KITWATCH_TRACEBACK"}
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, env=environment, **more) as process:
        try:
            out, err = process.communicate(timeout=3 if call.name in RUNS_ON else 240)
        except subprocess.TimeoutExpired:
            assert call.name in RUNS_ON, f"{call} does not end"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=240)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def is_decent(done: subprocess.CompletedProcess[str]) -> None:
    """Nobody sees a traceback, a fault of our own, or more than a line where something is wrong."""
    told = done.stderr
    stopped = (130, -signal.SIGINT) if any(name in done.args for name in RUNS_ON) else ()
    assert done.returncode in (0, 1, 2, *stopped), told
    for ugly in ("Traceback", "Exception ignored", "a fault of kitwatch's own", "Task exception"):
        assert ugly not in told, told
    if done.returncode == 2 and not told.startswith("usage:"):
        assert len(told.splitlines()) == 1, told


@pytest.mark.parametrize("call", calls(), ids=str)
@pytest.mark.parametrize("part", PARTS)
def test_with_one_part_installed(part: Part, call: Call, folder: Path) -> None:
    done = run(lock_only(part), folder, call)
    is_decent(done)
    missing = MISSING.match(done.stderr)
    if COMMANDS[call.name].part in (part, "either"):
        assert missing is None, done.stderr
    elif "No module named" in done.stderr:
        assert missing is not None, done.stderr
        assert missing[1] == COMMANDS[call.name].part


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_missing_part_as_the_documents_show_it(language: str, folder: Path) -> None:
    done = run(lock_only("agent"), folder, Call("status", ("status", "--config", "collector.yaml"), ()))
    assert (done.returncode, done.stderr) == (2, printed(language, "missing part") + "\n")


@pytest.mark.parametrize("call", calls(), ids=str)
def test_with_a_pipe_that_nobody_reads_and_no_standard_input(call: Call, folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        is_decent(run(Path(sys.executable), folder, call, stdout=writing, preexec_fn=partial(os.close, 0)))
    finally:
        os.close(writing)


@pytest.mark.parametrize("words", [("profiles", "list"), ("schema", "fleet"), ("tickets", "table")])
def test_with_a_full_disk_and_without_standard_output(words: tuple[str, ...], folder: Path) -> None:
    call = Call(words[0], words, ())
    with Path("/dev/full").open("w") as full:
        done = run(Path(sys.executable), folder, call, stdout=full)
    is_decent(done)
    assert (done.returncode, done.stderr) == (2, "kitwatch: No space left on device\n")
    done = run(Path(sys.executable), folder, call, preexec_fn=partial(os.close, 1))
    is_decent(done)
    assert done.returncode == 0


@pytest.mark.parametrize("call", [call for call in calls() if call.paths], ids=str)
def test_with_every_path_where_nothing_can_be(call: Call, folder: Path) -> None:
    (folder / "a-file").write_text("")
    works = call.name not in RUNS_ON and run(Path(sys.executable), folder, call).returncode == 0
    for place in call.paths:
        for where in ("a-file/x", "/proc/nobody/x"):
            words = list(call.words)
            words[place] = where
            done = run(Path(sys.executable), folder, Call(call.name, tuple(words), ()))
            is_decent(done)
            assert done.returncode != 0
            if works:
                assert where in done.stderr, done.stderr


def test_a_port_that_is_taken(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = (folder / "collector.yaml").read_text()
        (folder / "collector.yaml").write_text(f"{text}\nweb: {{host: 127.0.0.1, port: {port}}}\n")
        for call in (
            Call("collector", ("collector", "--config", "collector.yaml"), ()),
            Call("demo", ("demo", "--port", str(port)), ()),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "kitwatch.main", *call.words],
                cwd=folder, capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
            assert done.returncode == 2
            assert "Traceback" not in done.stderr
            assert f"127.0.0.1:{port}" in done.stderr.splitlines()[-1]


def test_a_fault_of_our_own_is_one_line_too(folder: Path) -> None:
    """And whoever looks for it gets it whole."""
    program = (
        "import sys, kitwatch.tickets, kitwatch.main\n"
        "def run(args): raise TypeError('two\\nlines')\n"
        "kitwatch.tickets.run = run\n"
        "sys.exit(kitwatch.main.main(['tickets', 'table']))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3
    assert done.stderr.startswith("kitwatch: a fault of kitwatch's own: TypeError: two lines in kitwatch.main:")
    assert len(done.stderr.splitlines()) == 1
    environment = os.environ | {"KITWATCH_TRACEBACK": "1"}
    whole = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert "Traceback" in whole.stderr


def test_every_module_of_a_subcommand_is_offered() -> None:
    """A module that has ``add_arguments`` and ``run`` and no line in ``COMMANDS`` could be called by nobody."""
    found = {
        path.stem
        for path in (Path(__file__).parents[2] / "kitwatch").glob("*.py")
        if re.search(r"^def run\(args", path.read_text(), re.MULTILINE)
    } | {
        path.parent.name
        for path in (Path(__file__).parents[2] / "kitwatch").glob("*/__init__.py")
        if re.search(r"^def run\(args", path.read_text(), re.MULTILINE)
    }
    assert found == set(COMMANDS)
