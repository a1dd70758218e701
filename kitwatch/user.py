"""``kitwatch user``: who may sign in to the collector's pages: add, list, give a password, change, disable.

It works on the database, so that the first account needs none before it, and whoever is locked out is let in again by
whoever administers this machine. Each change stands in the audit log under the user of this machine who made it.
"""

from __future__ import annotations

import argparse
import getpass
import json
import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kitwatch import database

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from collector.accounts.accounts import Account, Author, Scope
    from collector.store.store import Store

_ADDS: Final = "add"
_PASSWORD: Final = "password"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, says in (
        (_ADDS, "let somebody sign in; without --role a person of the contract's roster"),
        ("ls", "list who may"),
        (_PASSWORD, "give a new password, and end their sessions"),
        ("change", "give another role, other sites or departments"),
        ("disable", "let somebody sign in no more, and end their sessions"),
        ("enable", "let them again"),
    ):
        action = actions.add_parser(name, help=says, description=says)
        database.add_arguments(action)
        if name == "ls":
            continue
        action.add_argument("name", metavar="NAME", help="of the account; of a person: the id in the roster")
        if name in (_ADDS, "change"):
            _add_scope(action)
        if name in (_ADDS, _PASSWORD):
            how = action.add_mutually_exclusive_group()
            how.add_argument("--generate", action="store_true", help="make a password and print it, this once")
            how.add_argument("--password-file", metavar="FILE", help="its first line; - for standard input")


def _add_scope(action: argparse.ArgumentParser) -> None:
    from collector.accounts.roles import ACCOUNT_ROLES

    action.add_argument("--role", choices=(*ACCOUNT_ROLES, "roster"), help="roster: as the contract's roster says")
    action.add_argument("--site", action="append", metavar="SITE", help="only there; again for several; '': everywhere")
    action.add_argument("--department", action="append", metavar="NAME", help="only its vehicles; '': all")


def run(args: argparse.Namespace) -> int:
    """Run it; return the exit status: 1 for what cannot be done, 2 where the database cannot be used."""
    return database.with_store(args, lambda store: _list(args, store) if args.action == "ls" else _change(args, store))


def _list(args: argparse.Namespace, store: Store) -> int:
    from collector.accounts.accounts import list_accounts
    from collector.accounts.rosters import rosters_in_force

    store.require_current()
    with store.errors():
        rosters = rosters_in_force(store)
        rows = [_row(one, rosters) for one in list_accounts(store.engine)]
    if args.json:
        print(json.dumps({"users": rows}, ensure_ascii=False))
        return 0
    for row in rows:
        where = ", ".join(f"{role} at {'every site' if site == '*' else site}" for site, role in row["roles"].items())
        only = f", only of {', '.join(row['departments'])}" if row["departments"] else ""
        off = " (disabled)" if row["disabled_at"] else ""
        print(f"{row['name']}{off}: {where or 'of no roster: may do nothing'}{only}")
    return 0


def _row(account: Account, rosters: Any) -> dict[str, Any]:
    principal = account.principal(lambda: rosters)
    return {
        "name": account.name,
        "of_roster": not account.role,
        "roles": dict(principal.roles),
        "departments": list(account.scope.departments),
        "created_at": _time(account.created_ms),
        "disabled_at": None if account.disabled_ms is None else _time(account.disabled_ms),
    }


def _change(args: argparse.Namespace, store: Store) -> int:
    from collector.accounts.accounts import AccountError, Author
    from collector.accounts.passwords import BadPassword

    store.require_current()
    by = Author(database.user(), "command", time.time_ns() // 1_000_000)
    told: dict[str, Any] = {"user": args.name, "done": args.action}
    try:
        password = _password(args) if args.action in (_ADDS, _PASSWORD) else ""
        role = _role(args, store) if args.action in (_ADDS, "change") else None
        with store.errors(), store.transaction() as connection:
            _do(args, connection, by, password, role)
    except (AccountError, BadPassword) as error:
        print(f"kitwatch: {error}", file=sys.stderr)
        return 1
    if getattr(args, "generate", False):
        told["password"] = password
    if args.json:
        print(json.dumps(told, ensure_ascii=False))
    else:
        print(f"user {args.name}: {_DONE[args.action]}" + (f": password {password}" if "password" in told else ""))
    return 0


_DONE: Final = {
    _ADDS: "may sign in",
    _PASSWORD: "has a new password",
    "change": "changed",
    "disable": "may sign in no more",
    "enable": "may sign in again",
}


def _do(args: argparse.Namespace, connection: Connection, by: Author, password: str, role: Any) -> None:
    from collector.accounts import accounts

    if args.action == _ADDS:
        accounts.add_account(connection, args.name, password, role, _scope(args), by)
    elif args.action == _PASSWORD:
        accounts.set_password(connection, args.name, password, by)
    elif args.action == "change":
        scope = None if args.site is None and args.department is None else _scope(args)
        accounts.change_account(connection, args.name, by, role=role, scope=scope)
    else:
        accounts.set_disabled(connection, args.name, args.action == "disable", by)


def _scope(args: argparse.Namespace) -> Scope:
    from collector.accounts.accounts import Scope

    lists = (tuple(sorted({one for one in given or () if one})) for given in (args.site, args.department))
    return Scope(*lists)


def _role(args: argparse.Namespace, store: Store) -> Any:
    """Return the role to keep: empty for a person of the roster, ``None`` for no change. Raises AccountError."""
    from collector.accounts.accounts import AccountError
    from collector.accounts.rosters import rosters_in_force

    if args.action == _ADDS:
        _check_name(args.name)
    if args.role not in (None, "roster"):
        return args.role
    if args.role is None and args.action == "change":
        return None
    with store.errors():
        rosters = rosters_in_force(store)
    if not any(args.name in roster for roster in rosters.values()):
        known = ", ".join(sorted({id for roster in rosters.values() for id in roster})) or "nobody"
        raise AccountError(f"user {args.name}: expected --role, or one of the rosters in force ({known})")
    return ""


def _check_name(name: str) -> None:
    from collector.accounts.accounts import AccountError
    from telemetry.topics import is_id

    if not is_id(name):
        raise AccountError(f"user: expected a name of at most 32 letters, digits, - and _, found {name[:50]!r}")


def _password(args: argparse.Namespace) -> str:
    if args.generate:
        return secrets.token_urlsafe(15)
    if args.password_file == "-":
        return sys.stdin.readline().rstrip("\r\n")
    if args.password_file is not None:
        return Path(args.password_file).read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    first = getpass.getpass(f"password of {args.name}: ")
    if getpass.getpass("again: ") != first:
        from collector.accounts.passwords import BadPassword

        raise BadPassword("password: expected the same twice")
    return first


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
