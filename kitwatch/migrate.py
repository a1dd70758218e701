"""``kitwatch migrate``: bring the collector's database to this version's tables; a copy is taken first."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from kitwatch import database

if TYPE_CHECKING:
    from collector.store.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    database.add_arguments(parser)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if there is something to do")


def run(args: argparse.Namespace) -> int:
    """Run it; return the exit status."""
    return database.with_store(args, lambda store: _run(args, store))


def _run(args: argparse.Namespace, store: Store) -> int:
    from collector.store import migrations
    from collector.store.upgrade import upgrade

    head = migrations.head()
    before = store.revision() if args.check else upgrade(store)
    current = before == head
    if args.json:
        print(json.dumps({"revision": before if args.check else head, "before": before, "newest": head}))
    elif current:
        print(f"{store}: revision {head}, nothing to do")
    elif args.check:
        print(f"{store}: revision {before or 'none'}, this version works with {head}")
    else:
        print(f"{store}: from revision {before or 'none'} to {head}")
    return 1 if args.check and not current else 0
