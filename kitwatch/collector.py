"""``kitwatch collector``: take records in, judge them, keep tickets; or check that the configuration holds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from kitwatch import logs
from telemetry.import_later import import_later

CONFIG: Final = Path("/etc/kitwatch/collector.yaml")
"""Where the shipped unit has it."""
LATER: Final = (
    "importlib.metadata",  # 1.0 MB: SQLAlchemy looks for plugins with it, of which there are none; never
    "shutil",  # 0.4 with bz2 and lzma: tempfile, by aiohttp's urllib.request; never
    "idna",  # 0.3: yarl; with a host's name beyond ASCII
    "attr.validators",  # 0.2: attr, by aiohttp; never
    "statistics",  # 0.2 with fractions: ours; where coverage is learnt, and with a vehicle's page
    "stringprep",  # 0.1: encodings.idna, by whoever looks a host's name up; with one beyond ASCII
    "msgspec.inspect",  # 0.2: msgspec; where the words for a file's mistake or the API's document are made
)
"""What others import and hardly use: MB, by whom, and when it comes after all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--check", action="store_true", help="check its files and say what it lacks; start nothing")
    parser.add_argument("--json", action="store_true", help="with --check: print one JSON object and nothing else")
    parser.add_argument("--verbose", action="store_true", help="say more on standard error")


def run(args: argparse.Namespace) -> int:
    """Run it; return the exit status: 0 after a clean stop, 2 where configuration, database or port cannot be used."""
    for name in LATER:
        import_later(name)
    from collector.config import load_config
    from collector.main import load, serve
    from collector.store.errors import StoreError
    from telemetry.files import FileError

    try:
        config = load_config(args.config)
        if args.check:
            from kitwatch.collector_check import check

            return check(config, args.config, as_json=args.json)
        load(config, args.config)
        logs.begin(verbose=args.verbose)
        serve(config, lambda running: print(f"kitwatch: {running.address or 'no pages'}", file=sys.stderr))
    except (FileError, StoreError, OSError) as error:
        print(f"kitwatch: {error}", file=sys.stderr)
        return 2
    return 0
