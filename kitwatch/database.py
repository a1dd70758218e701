"""Which database a command means: the one of the collector's configuration, or one that is named."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collector.store.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--config`` and ``--database``, one of which must be given, and ``--json``."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", type=Path, metavar="FILE", help="collector.yaml, whose database is meant")
    which.add_argument("--database", metavar="URL", help="sqlite:///FILE or postgresql://USER@HOST/NAME")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def with_store(args: argparse.Namespace, work: Callable[[Store], int]) -> int:
    """Open the database, do the work, return its exit status; 2 and one line on standard error if it cannot be done."""
    from collector.store.errors import StoreError
    from collector.store.store import Store
    from telemetry.files import FileError

    try:
        store = Store.open(_url(args))
        try:
            return work(store)
        finally:
            store.close()
    except (FileError, StoreError, OSError) as error:
        print(f"kitwatch: {error}", file=sys.stderr)
        return 2


def user() -> str:
    """Return the user of this machine who gives the command, for the audit log."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


def _url(args: argparse.Namespace) -> str:
    if args.database is not None:
        return str(args.database)
    from collector.config import load_config

    return load_config(args.config).database
