"""``kitwatch token``: tokens of the API: for programs, for a display on a wall, for Prometheus.

A token is shown once, when it is created; the database keeps its hash alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kitwatch import database

if TYPE_CHECKING:
    from collector.accounts.roles import Role
    from collector.store.store import Store

_DAYS = 90
_DAY_MS = 86_400_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="create|ls|revoke")
    create = actions.add_parser("create", help="create one and print it, this once")
    _add_create(create)
    ls = actions.add_parser("ls", help="list them, those that are over too")
    revoke = actions.add_parser("revoke", help="let one open nothing any more, from the next request on")
    for action in (create, ls, revoke):
        database.add_arguments(action)
    revoke.add_argument("name", metavar="NAME")


def _add_create(create: argparse.ArgumentParser) -> None:
    from collector.accounts.roles import ACCOUNT_ROLES

    create.add_argument("name", metavar="NAME", nargs="?", help="a name for it (default: wall-SITE, metrics)")
    what = create.add_mutually_exclusive_group(required=True)
    what.add_argument("--role", choices=ACCOUNT_ROLES, help="what it may do")
    what.add_argument("--wall", metavar="SITE", help="for a display: reads this site, no positions, does not expire")
    what.add_argument("--metrics", action="store_true", help="for Prometheus: /metrics and /readyz, does not expire")
    create.add_argument("--site", action="append", default=[], metavar="SITE", help="only there; again for several")
    create.add_argument("--department", action="append", default=[], metavar="NAME", help="only its vehicles")
    create.add_argument("--person", default="", metavar="ID", help="of the roster, in whose name it acts")
    create.add_argument(
        "--days", type=int, metavar="N", help=f"how long it opens anything (default with --role: {_DAYS})"
    )


def run(args: argparse.Namespace) -> int:
    """Run it; return the exit status: 1 for what cannot be done, 2 where the database cannot be used."""
    return database.with_store(args, lambda store: _list(args, store) if args.action == "ls" else _change(args, store))


def _list(args: argparse.Namespace, store: Store) -> int:
    from collector.accounts.accounts import list_tokens

    store.require_current()
    now_ms = time.time_ns() // 1_000_000
    with store.errors():
        tokens = list_tokens(store.engine)
    rows = [
        {
            "name": one.name,
            "role": one.role,
            "sites": list(one.scope.sites),
            "departments": list(one.scope.departments),
            "person": one.person,
            "created_by": one.created_by,
            "created_at": _time(one.created_ms),
            "expires_at": _time(one.expires_ms),
            "revoked_at": _time(one.revoked_ms),
            "valid": one.is_valid(now_ms),
        }
        for one in tokens
    ]
    if args.json:
        print(json.dumps({"tokens": rows}, ensure_ascii=False))
        return 0
    for row in rows:
        until = f"revoked {row['revoked_at']}" if row["revoked_at"] else f"until {row['expires_at'] or 'revoked'}"
        where = ", ".join(row["sites"]) or "every site"  # type: ignore[arg-type]
        print(f"{row['name']}: {row['role']} at {where}, {until}{'' if row['valid'] else ' (opens nothing)'}")
    return 0


def _change(args: argparse.Namespace, store: Store) -> int:
    from collector.accounts import accounts

    store.require_current()
    by = accounts.Author(database.user(), "command", time.time_ns() // 1_000_000)
    told: dict[str, Any] = {"done": args.action}
    try:
        if args.action == "create":
            told |= _create(args, store, by)
        else:
            told["name"] = args.name
            with store.errors(), store.transaction() as connection:
                accounts.revoke_token(connection, args.name, by)
    except accounts.AccountError as error:
        print(f"kitwatch: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(told, ensure_ascii=False))
    else:
        print(told.get("token") or f"token {args.name}: revoked")
    return 0


def _create(args: argparse.Namespace, store: Store, by: Any) -> dict[str, Any]:
    """Create one; return its name and itself. Raises AccountError."""
    from collector.accounts.accounts import AccountError, Scope, add_token
    from telemetry.topics import is_id

    role: Role = args.role or ("wall" if args.wall else "metrics")
    name = args.name or (f"wall-{args.wall}" if args.wall else "metrics" if args.metrics else "")
    if not is_id(name) or (args.wall is not None and not is_id(args.wall)):
        raise AccountError("token: expected a name of at most 32 letters, digits, - and _, and such a site")
    if args.days is not None and not 1 <= args.days <= 3650:
        raise AccountError(f"--days: expected 1 to 3650, found {args.days}")
    if role in ("wall", "metrics") and (args.person or args.department or (args.wall and args.site)):
        raise AccountError(f"token {name}: a {role} token acts for nobody and has no other sites or departments")
    days = args.days if args.days is not None or role in ("wall", "metrics") else _DAYS
    scope = Scope((args.wall,) if args.wall else tuple(sorted(set(args.site))), tuple(sorted(set(args.department))))
    expires_ms = None if days is None else by.at_ms + days * _DAY_MS
    with store.errors(), store.transaction() as connection:
        made = add_token(connection, name, role, scope, by, person=args.person, expires_ms=expires_ms)
    return {"name": name, "role": role, "expires_at": _time(expires_ms), "token": made}


def _time(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
