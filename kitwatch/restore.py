"""``kitwatch restore``: fill an empty database from a backup, SQLite or PostgreSQL, and verify what came out."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from kitwatch import database

if TYPE_CHECKING:
    from collector.store.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    database.add_arguments(parser)
    parser.add_argument("file", type=Path, help="what kitwatch backup wrote")


def run(args: argparse.Namespace) -> int:
    """Run it; return the exit status."""
    return database.with_store(args, lambda store: _run(args, store))


def _run(args: argparse.Namespace, store: Store) -> int:
    from collector.accounts.accounts import Author, after_restore
    from collector.store.backup import restore

    rows = restore(store, args.file)
    with store.errors(), store.transaction() as connection:
        after_restore(connection, args.file.name, Author(database.user(), "command", time.time_ns() // 1_000_000))
    if args.json:
        print(json.dumps({"database": str(store), "rows": rows}))
    else:
        print(f"{store}: {sum(rows.values())} rows of {len(rows)} tables, verified")
    return 0
