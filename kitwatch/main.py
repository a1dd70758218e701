"""The command. Each subcommand is one module of this package, imported only when it is called.

A subcommand's module has ``add_arguments(parser)`` and ``run(args) -> exit status``. Exit status: 0 done, 1 the thing
checked does not hold, 2 the call, the configuration or this machine is wrong (one line on standard error says what),
3 a fault of kitwatch's own. Nobody is shown a traceback who does not ask for one (``KITWATCH_TRACEBACK=1``).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from kitwatch.terminal import plain_output
from telemetry import VERSION
from telemetry.printable import plain

Part = Literal["agent", "collector", "demo", "either"]
"""What has to be installed: ``pip install 'kitwatch[PART]'``, or ``requirements/PART.lock``."""


class Command(NamedTuple):
    """A subcommand: what it is for, and which part of kitwatch it belongs to (``either``: agent or collector)."""

    about: str
    part: Part


COMMANDS: Final[Mapping[str, Command]] = MappingProxyType(
    {
        "demo": Command("everything on this machine: simulated kit, embedded broker, collector, pages", "demo"),
        "agent": Command("run the agent of a vehicle; check what it needs; poll the kit once", "agent"),
        "collector": Command("take records in, judge them, keep tickets", "collector"),
        "status": Command("how the centre gets on: sites, broker, InfluxDB, what waits, who is silent", "collector"),
        "decode": Command("what the agent would make of a capture", "agent"),
        "profiles": Command("firmware profiles: list, check, match, record", "agent"),
        "setup": Command("certificates: authorities, broker, collector, vehicles; revoke one", "either"),
        "fleet": Command("the fleet file: is it sound; an agent's configuration from it", "either"),
        "contract": Command("the contract: is it sound, a case computed aloud, the working calendar", "collector"),
        "rules": Command("rules: are they sound", "collector"),
        "drill": Command("play scenarios in virtual time through what judges, and compare what came", "collector"),
        "schema": Command("every key of every file, for editors and readers", "collector"),
        "api": Command("the API of the collector, as an OpenAPI document", "collector"),
        "outbox": Command("an agent's queue on disk", "agent"),
        "deadletters": Command("what InfluxDB or the intake refused", "collector"),
        "notifications": Command("what people were told, and what became of it", "collector"),
        "backup": Command("back up the collector's database", "collector"),
        "restore": Command("restore the collector's database", "collector"),
        "reload": Command("put fleet file, rules and contract in force, without a restart", "collector"),
        "migrate": Command("bring the collector's database to this version", "collector"),
        "duty": Command("put a vehicle on duty, on a mission, or into the workshop", "collector"),
        "user": Command("who may sign in: add, list, give a password or role, disable", "collector"),
        "token": Command("tokens of the API: create, list, revoke", "collector"),
        "audit": Command("what was changed, and by whom; is the record whole", "collector"),
        "tickets": Command("tickets: list, show, open one for a call, act on one", "collector"),
    }
)
"""Every subcommand; its module has its name."""
_DRAWS: Final = ("demo",)
"""Subcommands that clear the terminal themselves, and show nothing of strangers."""
_STAYS: Final = ("agent", "collector")
"""Subcommands that run for ever."""
_WIDTH: Final = 78
"""Of their help, in columns."""
Run = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in words if not word.startswith("-")), "")
    if argv is None and chosen in _STAYS:  # SIGHUP asks a collector to read its files; before it has, it is no end
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        try:
            return _main(words, chosen)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        _let_go_of_stdout()  # nobody reads on: no complaint, not at exit either
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("KITWATCH_TRACEBACK"):
            raise
        _let_go_of_stdout()
        status, words_of = _explained(error, chosen)
        print(f"kitwatch: {plain(words_of)}", file=sys.stderr)
        return status


def _main(words: Sequence[str], chosen: str) -> int:
    parser, runs = parser_of([chosen] if chosen in COMMANDS else [])
    args = parser.parse_args(words)
    if args.version:
        print(VERSION)
        return 0
    if args.command not in runs:
        parser.print_help(sys.stderr)
        return 2
    run = runs[args.command]
    del parser, runs  # what stays for ever does not keep them: 0.1 MB
    with contextlib.nullcontext() if chosen in _DRAWS else plain_output():
        return int(run(args))


def parser_of(names: Sequence[str]) -> tuple[argparse.ArgumentParser, dict[str, Run]]:
    """Return the parser, with the arguments of these subcommands only, and what runs each of them.

    Raises ModuleNotFoundError where a subcommand's own module needs a part that is not installed.
    """
    form: Any = argparse.HelpFormatter
    if not set(names).isdisjoint(_STAYS):  # argparse would load shutil for the terminal's width, 0.6 MB
        form = functools.partial(argparse.HelpFormatter, width=_WIDTH)
    parser = argparse.ArgumentParser(
        prog="kitwatch", description="Watches the 5G kit of ambulances.", formatter_class=form
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    runs: dict[str, Run] = {}
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(name, help=command.about, description=command.about, formatter_class=form)
        if name in names:
            module = importlib.import_module(f"kitwatch.{name}")
            module.add_arguments(subparser)
            runs[name] = module.run
    return parser, runs


def _explained(error: Exception, chosen: str) -> tuple[int, str]:
    """Return the exit status for an error that no subcommand has dealt with, and one line."""
    from telemetry.files import FileError

    if isinstance(error, FileError):
        return 2, str(error)
    if isinstance(error, ImportError) and not _is_ours(error.name):
        part = COMMANDS[chosen].part
        extra = "agent" if part == "either" else part
        return 2, f"{chosen}: {_plain(error)}: this part is not installed: pip install 'kitwatch[{extra}]'" + (
            "" if extra == "demo" else f", or what requirements/{extra}.lock names"
        )
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        return 2, f"{where}{error.strerror or _plain(error)}"
    where = _place(error)
    return 3, (
        f"a fault of kitwatch's own: {type(error).__name__}: {_plain(error)}{where}; please tell its developers, with "
        f"what KITWATCH_TRACEBACK=1 shows"
    )


def _is_ours(module: str | None) -> bool:
    """Say whether a module that could not be imported is one of this repository, which is no missing part."""
    ours = ("agent", "collector", "telemetry", "firmware_profiles", "kitwatch", "simulator")
    return (module or "").partition(".")[0] in ours


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


def _place(error: Exception) -> str:
    """Return the innermost place in our own code, for whoever reports it."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if _is_ours(module):
            place = f" in {module}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _let_go_of_stdout() -> None:
    """Let what is not written yet go nowhere: Python would complain of it at exit (its documentation, ``signal``)."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        pass


if __name__ == "__main__":
    sys.exit(main())
