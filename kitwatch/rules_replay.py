"""``kitwatch rules replay``: which problems and tickets would these rules have given on the history that there is?"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kitwatch import database

if TYPE_CHECKING:
    from collector.store.store import Store
    from kitwatch.drill.history import Compared


def describe(parser: argparse.ArgumentParser) -> None:
    """Add what the action takes."""
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE|DIR", help="rules on top of the shipped ones")
    parser.add_argument("--site", required=True, help="whose history")
    database.add_arguments(parser)


def replay(args: argparse.Namespace) -> int:
    """Run it: 0 nothing would have been told otherwise, 1 something would, 2 there is no history to begin with."""
    from collector.core.rules.files import load_rules

    rules = load_rules(args.files)
    return database.with_store(args, lambda store: _replay(store, args.site, rules, as_json=args.json))


def _replay(store: Store, site: str, rules: Any, *, as_json: bool) -> int:
    from collector.core.rules.files import load_rules
    from collector.site.in_force import InForce
    from kitwatch.drill import history
    from telemetry.files import FileError
    from telemetry.fleet import Site

    try:
        found = history.of_store(store, site)
    except LookupError as error:
        raise FileError(str(store), "", str(error.args[0])) from None
    in_force = InForce(site, Site(vehicles={}), load_rules())
    was = history.as_it_was(found, in_force)
    would_be, lost = history.judged_by(found, in_force, rules, was)
    compared = history.compare(site, was, would_be, lost)
    if as_json:
        import msgspec

        told = {"site": site, "batches": len(found.batches)} | msgspec.to_builtins(compared)
        print(json.dumps(told, ensure_ascii=False))
    else:
        for line in _lines(compared):
            print(line)
    return 0 if compared.same else 1


def _lines(compared: Compared) -> list[str]:
    lines = [f"  only then  {_words(row)}" for row in compared.only_was]
    lines += [f"  only now   {_words(row)}" for row in compared.only_would_be]
    for row in compared.otherwise:
        changes = ", ".join(f"{key} {row['was'][key]} -> {row['would_be'][key]}" for key in row["was"])
        lines.append(f"  otherwise  {row['fault']} {row['at']}: {changes}")
    lines += [f"  problems   {fault}: {number:+d}" for fault, number in compared.problems.items()]
    if compared.acts_without_ticket:
        lines.append(f"  {compared.acts_without_ticket} acts of people would have found no ticket")
    return [*lines, f"{len(compared.was)} tickets then, {len(compared.would_be)} with these rules"]


def _words(row: dict[str, Any]) -> str:
    began = datetime.datetime.fromtimestamp(row["event_ms"] / 1000, datetime.UTC)
    return f"{row['fault']} {row['at']}, {row['class']}, begun {began:%Y-%m-%d %H:%M:%S} UTC"
