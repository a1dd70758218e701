"""``kitwatch audit``: what was changed and by whom, and whether the record of it is whole.

The newest hash that ``verify`` prints stands for every entry up to it. Kept elsewhere (on paper, in another system) and
given again with ``--noted``, it shows whoever rewrote the record from some entry on.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kitwatch import database

if TYPE_CHECKING:
    from collector.store.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ls|verify")
    ls = actions.add_parser("ls", help="list what was changed, the newest first")
    ls.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default %(default)s)")
    verify = actions.add_parser("verify", help="go through the chain of hashes, from the first entry to the last")
    verify.add_argument(
        "--noted", action="append", default=[], metavar="NUMBER:HASH", help="as it printed before; again for several"
    )
    for action in (ls, verify):
        database.add_arguments(action)


def run(args: argparse.Namespace) -> int:
    """Run it; return the exit status: 1 where the record is not whole."""
    return database.with_store(args, lambda store: (_list if args.action == "ls" else _verify)(args, store))


def _list(args: argparse.Namespace, store: Store) -> int:
    from collector.store.audit import newest

    store.require_current()
    with store.errors():
        found = newest(store.engine, args.limit)
    rows: list[dict[str, Any]] = [
        {
            "number": one.number,
            "at": datetime.fromtimestamp(one.at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "who": one.who,
            "via": one.via,
            "what": one.what,
            "site": one.site,
            "subject": one.subject,
            "detail": one.detail,
        }
        for one in found
    ]
    if args.json:
        print(json.dumps({"entries": rows}, ensure_ascii=False))
    else:
        for row in rows:
            where = f" {row['site']}" if row["site"] else ""
            print(f"{row['number']:6} {row['at']} {row['who']} ({row['via']}):{where} {row['what']} {row['subject']}")
            print(f"       {row['detail']}")
    return 0


def _verify(args: argparse.Namespace, store: Store) -> int:
    from collector.store.audit import verify

    noted = {}
    for text in args.noted:
        number, colon, hash = text.partition(":")
        if not (colon and number.isascii() and number.isdecimal() and len(hash) == 64):
            print(f"kitwatch: --noted: expected NUMBER:HASH, found {text!r}", file=sys.stderr)
            return 2
        noted[int(number)] = hash
    store.require_current()
    with store.errors():
        found = verify(store.engine, noted)
    if args.json:
        told = {"whole": not found.problems, "entries": found.entries, "head": found.head, "problems": found.problems}
        print(json.dumps(told, ensure_ascii=False))
    else:
        for problem in found.problems:
            print(f"BAD {problem}")
        print(f"{found.entries} entries, the newest {found.entries}:{found.head}")
    return 1 if found.problems else 0
