"""``kitwatch reload``: put fleet file, rules and contract of a collector's configuration in force without a restart.

They are checked first. Each that differs from what is in force becomes a new edition in the database, taken by the
site's owner, whichever collector that is; what was judged before stays as it was.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
from pathlib import Path

POLL_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="collector.yaml")
    parser.add_argument(
        "--wait", type=float, default=60.0, metavar="S", help="most seconds to wait for the sites' owners"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def run(args: argparse.Namespace) -> int:
    """Run it; return the exit status: 1 where an owner refused an edition, or did not take it in time."""
    from collector.config import load_config
    from collector.main import editions_of
    from collector.reload import differing, put
    from collector.store.errors import StoreError
    from collector.store.store import Store
    from telemetry.files import FileError

    try:
        config = load_config(args.config)
        own = editions_of(config, args.config)
        store = Store.open(config.database)
        try:
            store.require_current()
            wanted = [(site, kind) for site, force in own.items() for kind in differing(store, force)]
            ids = {
                put(store, own[site], kind, getpass.getuser(), time.time_ns() // 1_000_000): (site, kind)
                for site, kind in wanted
            }
            results = _wait(store, ids, args.wait)
        finally:
            store.close()
    except (FileError, StoreError, OSError) as error:
        print(f"kitwatch: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps({"editions": results}, ensure_ascii=False))
    else:
        for row in results:
            print(f"site {row['site']}: {row['kind']}: {row['result']}")
        if not results:
            print("everything is in force already")
    return 0 if all(row["result"] == "in force" for row in results) else 1


def _wait(store: object, ids: dict[int, tuple[str, str]], seconds: float) -> list[dict[str, str]]:
    from collector.store import queries
    from collector.store.store import Store

    assert isinstance(store, Store)
    end = time.monotonic() + seconds
    found: dict[int, str] = {}
    while len(found) < len(ids):
        for id in ids.keys() - found.keys():
            action = queries.action(store.engine, id)
            if action is not None and action.taken_ms is not None:
                found[id] = f"refused: {action.error}" if action.error else "in force"
        if time.monotonic() >= end:
            break
        time.sleep(POLL_S)
    waiting = "not taken yet: no collector owns the site"
    return [{"site": site, "kind": kind, "result": found.get(id, waiting)} for id, (site, kind) in ids.items()]
