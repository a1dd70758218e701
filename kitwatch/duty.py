"""``kitwatch duty``: put a vehicle on duty, on a mission, or into the workshop.

It speaks to the collector's API (``collector_api.py``); the contract's roster says which person acts. Dispatch systems
tell missions by themselves (docs/missions.md).
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
from typing import Final
from urllib.parse import quote

from kitwatch import collector_api
from kitwatch.collector_api import Told, api_of

DUTIES: Final = {"on_duty": "值班", "on_mission": "出车", "workshop": "维修"}
_WAIT_S: Final = 15.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("vehicle", metavar="VEHICLE", help="as the fleet file names it")
    parser.add_argument("duty", choices=tuple(DUTIES), help="on_duty, on_mission (出车) or workshop (维修)")
    collector_api.add_arguments(parser)
    parser.add_argument("--lang", choices=("zh", "en"), default="zh", help="of what is told (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def run(args: argparse.Namespace) -> int:
    """Run it; return the exit status: 1 for what is refused, 2 where nobody can be asked or nobody has taken it."""
    try:
        where = f"/api/vehicles/{quote(args.vehicle, safe='')}/state"
        api = api_of(args)
        found = api.taken(api.ask("POST", where, {"state": args.duty}), _WAIT_S)
    except Told as told:
        print(f"kitwatch: {told}", file=sys.stderr)
        return told.status
    except (OSError, http.client.HTTPException) as error:
        print(
            f"kitwatch: {args.url or args.socket}: expected a collector that answers, found: {error}", file=sys.stderr
        )
        return 2
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
    elif found["status"] == "taken":
        print(f"{args.vehicle}: {DUTIES[args.duty] if args.lang == 'zh' else args.duty}")
    else:
        waits = {"zh": "尚未处理：站点目前没有 collector", "en": "not taken yet: nobody owns the site"}[args.lang]
        print(f"kitwatch: {args.vehicle}: {found.get('error') or waits}", file=sys.stderr)
    return {"taken": 0, "refused": 1}.get(found["status"], 2)
