"""``kitwatch backup``: a consistent copy of the collector's database, taken while it runs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from kitwatch import database

if TYPE_CHECKING:
    from collector.store.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    database.add_arguments(parser)
    parser.add_argument("file", type=Path, help="where to write it; must not be there yet")


def run(args: argparse.Namespace) -> int:
    """Run it; return the exit status."""
    return database.with_store(args, lambda store: _run(args, store))


def _run(args: argparse.Namespace, store: Store) -> int:
    from collector.store.backup import backup

    rows = backup(store, args.file)
    size = args.file.stat().st_size
    if args.json:
        print(json.dumps({"file": str(args.file), "bytes": size, "rows": rows}))
    else:
        print(f"{args.file}: {sum(rows.values())} rows of {len(rows)} tables, {size} bytes")
    return 0
