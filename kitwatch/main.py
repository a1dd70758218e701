"""The command. Each subcommand is one module of this package, imported only when it is called.

A subcommand's module has ``add_arguments(parser)`` and ``run(args) -> exit status``. Exit status: 0 done, 1 the thing
checked does not hold, 2 the call or the configuration is wrong (one line on standard error says what).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from kitwatch.terminal import plain_output

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "demo": "everything on this machine: simulated kit, embedded broker, collector, pages",
        "agent": "run the agent of a vehicle",
        "collector": "take records in, judge them, keep tickets",
        "status": "how the centre gets on: sites, broker, InfluxDB, what waits, who is silent",
        "decode": "what the agent would make of a capture",
        "profiles": "firmware profiles: list, check, match, record",
        "setup": "certificates: authorities, broker, collector, vehicles; revoke one",
        "fleet": "the fleet file: is it sound; an agent's configuration from it",
        "contract": "the contract: is it sound, a case computed aloud, the working calendar",
        "rules": "rules: are they sound",
        "schema": "every key of every file, for editors and readers",
        "drill": "scenarios in virtual time through the real code",
        "outbox": "an agent's queue on disk",
        "deadletters": "what InfluxDB or the intake refused",
        "notifications": "what people were told, and what became of it",
        "backup": "back up the collector's database",
        "restore": "restore the collector's database",
        "reload": "put fleet file, rules and contract in force, without a restart",
        "migrate": "bring the collector's database to this version",
        "tickets": "tickets: list, show, open one for a call, act on one",
    }
)
"""Every subcommand and what it is for; those without a module are not offered."""
_DRAWS: Final = ("demo",)
"""Subcommands that clear the terminal themselves, and show nothing of strangers."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    offered = [name for name in COMMANDS if importlib.util.find_spec(f"kitwatch.{name}") is not None]
    parser = argparse.ArgumentParser(prog="kitwatch", description="Watches the 5G kit of ambulances.")
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    chosen = next((word for word in words if not word.startswith("-")), None)
    run = None
    for name in offered:
        subparser = commands.add_parser(name, help=COMMANDS[name], description=COMMANDS[name])
        if name == chosen:
            module = importlib.import_module(f"kitwatch.{name}")
            module.add_arguments(subparser)
            run = module.run
    args = parser.parse_args(words)
    if args.version:
        from importlib import metadata

        print(metadata.version("kitwatch"))
        return 0
    if run is None:
        parser.print_help(sys.stderr)
        return 2
    with contextlib.nullcontext() if chosen in _DRAWS else plain_output():
        return _run(run, args)


def _run(run: object, args: argparse.Namespace) -> int:
    from telemetry.files import FileError

    assert callable(run)
    try:
        return int(run(args))
    except FileError as error:
        print(f"kitwatch: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads on: no complaint at exit
        return 0
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
