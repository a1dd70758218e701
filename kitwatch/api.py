"""``kitwatch api``: the OpenAPI document of the collector's API, as ``/api/openapi.json`` has it. It asks nobody."""

from __future__ import annotations

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes: nothing."""


def run(args: argparse.Namespace) -> int:
    """Print it."""
    from aiohttp import web

    from collector.web.app import add_api
    from collector.web.openapi import document

    app = web.Application()
    add_api(app)
    print(json.dumps(document(app), ensure_ascii=False, indent=2))
    return 0
