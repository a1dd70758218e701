"""``kitwatch tickets``: what may happen to a ticket in which state."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="table")
    table = actions.add_parser("table", help="print the table of transitions as Markdown")
    table.add_argument("--language", choices=("zh", "en"), default="en", help="default: en")


def run(args: argparse.Namespace) -> int:
    """Run it."""
    from collector.core.tickets.texts import table

    print(table(args.language), end="")
    return 0
