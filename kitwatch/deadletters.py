"""``kitwatch deadletters``: what the intake put into quarantine and what InfluxDB refused; try again, or drop."""

from __future__ import annotations

import argparse
import base64
import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kitwatch import database

if TYPE_CHECKING:
    from collector.store.queries import LetterKind
    from collector.store.store import Store

_LETTERS: dict[str, LetterKind] = {"q": "quarantine", "d": "dead_letter"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ls|retry|drop")
    for name, says in (
        ("ls", "list them, newest first"),
        ("retry", "let the site's owner take them again"),
        ("drop", "delete them for good"),
    ):
        action = actions.add_parser(name, help=says, description=says)
        database.add_arguments(action)
        action.add_argument("--site", help="only this site's")
        if name == "ls":
            action.add_argument("--limit", type=int, default=100, help="most of each kind (default %(default)s)")
        else:
            which = action.add_mutually_exclusive_group(required=True)
            which.add_argument("ids", nargs="*", default=[], metavar="ID", help="as ls names them: q12, d7")
            which.add_argument("--all", action="store_true", help="all of them")


def run(args: argparse.Namespace) -> int:
    """Run it; return the exit status: 1 if an id that was named is not there."""
    work = _list if args.action == "ls" else _change
    return database.with_store(args, lambda store: work(args, store))


def _list(args: argparse.Namespace, store: Store) -> int:
    from collector.store.queries import list_dead_letters, list_quarantine

    store.require_current()
    letters: list[dict[str, Any]] = [
        {
            "id": f"q{row.id}",
            "site": row.site,
            "from": f"{row.vehicle}/{row.agent}/{row.run}",
            "what": f"{row.kind} {','.join(f'{first}-{last}' for first, last in row.pairs)}",
            "reason": row.reason,
            "at": _time(row.at_ms),
            "state": row.state,
            "content_base64": base64.b64encode(row.payload).decode(),
        }
        for row in list_quarantine(store.engine, site=args.site, limit=args.limit)
    ] + [
        {
            "id": f"d{row.id}",
            "site": row.site,
            "from": f"{row.sink} batch {row.batch}",
            "what": row.content,
            "lines": row.content.count("\n") + 1,
            "reason": row.reason,
            "at": _time(row.at_ms),
            "state": row.state,
        }
        for row in list_dead_letters(store.engine, site=args.site, limit=args.limit)
    ]
    if args.json:
        print(json.dumps({"letters": letters}, ensure_ascii=False))
    else:
        for letter in letters:
            first, _, rest = letter["what"].partition("\n")
            more = f" (and {letter['lines'] - 1} more lines)" if rest else ""
            print("{id:6} {at} {state:5} {site} {from}: {reason}".format(**letter), f"       {first}{more}", sep="\n")
    return 0


def _change(args: argparse.Namespace, store: Store) -> int:
    from collector.store import audit
    from collector.store.queries import drop_letters, retry_letters

    change = retry_letters if args.action == "retry" else drop_letters
    try:
        wanted = _ids(args.ids)
    except ValueError as error:
        print(f"kitwatch: deadletters {args.action}: {error}", file=sys.stderr)
        return 2
    store.require_current()
    with store.transaction() as connection:
        done = sum(
            change(connection, kind, None if args.all else wanted[kind], args.site) for kind in _LETTERS.values()
        )
        if done:
            audit.append(
                connection, at_ms=time.time_ns() // 1_000_000, who=database.user(), via="command",
                what=f"deadletters.{args.action}", site=args.site or "", subject=" ".join(args.ids) or "all",
                detail={"changed": done},
            )  # fmt: skip
    named = sum(len(ids) for ids in wanted.values())
    if args.json:
        print(json.dumps({"action": args.action, "named": None if args.all else named, "changed": done}))
    else:
        print(f"{args.action}: {done}" + ("" if args.all else f" of {named}"))
    return 0 if args.all or done == named else 1


def _ids(names: list[str]) -> dict[LetterKind, list[int]]:
    found: dict[LetterKind, list[int]] = {"quarantine": [], "dead_letter": []}
    for name in dict.fromkeys(names):
        if name[:1] not in _LETTERS or not name[1:].isdecimal():
            raise ValueError(f"expected an id such as q12 or d7, found {name!r}")
        found[_LETTERS[name[0]]].append(int(name[1:]))
    return found


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
