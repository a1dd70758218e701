"""``kitwatch notifications``: what people were told and what became of it; send again what failed."""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from kitwatch import database

if TYPE_CHECKING:
    from collector.store.store import Store


STATES: Final = ("waiting", "folded", "sent", "passed", "failed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ls|retry")
    for name, says in (("ls", "list them, newest first"), ("retry", "send again what was refused or given up")):
        action = actions.add_parser(name, help=says, description=says)
        database.add_arguments(action)
        action.add_argument("--site", help="only this site's")
        if name == "ls":
            action.add_argument("--ticket", help="only about this ticket")
            action.add_argument("--state", choices=STATES, help="only these")
            action.add_argument("--receiver", help="only what this person or receiver is told")
            action.add_argument("--limit", type=int, default=100, help="at most so many (default %(default)s)")
        else:
            which = action.add_mutually_exclusive_group(required=True)
            which.add_argument("ids", nargs="*", default=[], type=int, metavar="ID", help="as ls names them")
            which.add_argument("--all", action="store_true", help="all of them")


def run(args: argparse.Namespace) -> int:
    """Run it; return the exit status: 1 if nothing of what was named has failed."""
    work = _list if args.action == "ls" else _retry
    return database.with_store(args, lambda store: work(args, store))


def _list(args: argparse.Namespace, store: Store) -> int:
    from collector.channels import deliveries

    store.require_current()
    rows = [
        {
            "id": one.id,
            "site": one.site,
            "ticket": one.ticket,
            "created_at": _time(one.created_ms),
            "receiver": one.receiver,
            "channel": one.channel,
            "of_roster": one.of_roster,
            "folded_into": one.folded_into or None,
            "state": one.state,
            "attempts": one.attempts,
            "next_at": _time(one.next_ms) if one.state == "waiting" else None,
            "error": one.error,
            "body": json.loads(one.body),
        }
        for one in deliveries.listed(
            store.engine,
            site=args.site,
            ticket=args.ticket,
            state=args.state,
            receiver=args.receiver,
            limit=args.limit,
        )
    ]
    if args.json:
        print(json.dumps({"deliveries": rows}, ensure_ascii=False))
        return 0
    for row in rows:
        which = f"{row['site']} {row['ticket']} {row['body'].get('what', '')}".rstrip()
        to = f"to {row['receiver']} ({row['channel']}), {row['attempts']} attempts"
        print(f"{row['id']:6} {row['created_at']} {row['state']:7} {which} {to}")
        if row["folded_into"]:
            print(f"       in the message of {row['folded_into']}")
        if row["error"]:
            print(f"       {row['error']}")
    return 0


def _retry(args: argparse.Namespace, store: Store) -> int:
    from collector.channels import deliveries
    from collector.store import audit

    store.require_current()
    ids = None if args.all else list(dict.fromkeys(args.ids))
    with store.transaction() as connection:
        now_ms = time.time_ns() // 1_000_000
        done = deliveries.retry(connection, ids, now_ms, args.site)
        if done:
            audit.append(
                connection, at_ms=now_ms, who=database.user(), via="command", what="notification.retried",
                site=args.site or "", subject="all" if ids is None else " ".join(map(str, ids)),
                detail={"deliveries": done},
            )  # fmt: skip
    print(json.dumps({"action": "retry", "changed": done}) if args.json else f"retry: {done}")
    return 0 if args.all or done else 1


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
