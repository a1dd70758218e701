"""``kitwatch agent``: run the agent of a vehicle; or say what it would poll, or poll it once."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kitwatch import logs
from telemetry.import_later import import_later, import_without

if TYPE_CHECKING:
    from agent.config import AgentConfig

CONFIG: Final = Path("/etc/kitwatch/agent.yaml")
"""Where the shipped unit has it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help="default: %(default)s")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--check", action="store_true", help="say what it will poll and what it lacks; start nothing")
    instead.add_argument(
        "--once", nargs="?", const="", metavar="DEVICE", help="poll all devices, or one, and show what comes of it"
    )
    parser.add_argument("--json", action="store_true", help="with these: print one JSON object and nothing else")
    parser.add_argument("--verbose", action="store_true", help="say more on standard error")


def run(args: argparse.Namespace) -> int:
    """Run it; return 0 after a clean stop. Raises FileError for a wrong configuration."""
    import_without("msgspec", "typing_extensions")  # 0.3 MB, to read annotations as Python 3.11 does
    from agent.config import load

    config = load(args.config)
    if args.check:  # imported here: the agent that stays carries none of it
        from kitwatch.agent_check import check

        return check(config, args.config, as_json=args.json)
    if args.once is not None:
        from kitwatch.agent_once import once

        return once(config, args.config, args.once, as_json=args.json)
    logs.begin(verbose=args.verbose)
    return asyncio.run(_serve(config))


async def _serve(config: AgentConfig) -> int:
    import_later("urllib.request")  # paho looks for proxies with it where PySocks is installed; it draws 21 modules
    from agent.main import run as run_agent
    from agent.outbox.outbox import OutboxBusy

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await run_agent(config, stop=stop)
    except OutboxBusy as error:
        print(f"kitwatch: {error}", file=sys.stderr)
        return 1
    return 0
