"""Which permission each route asks for: one table, so that who reviews it sees all of it.

A route that is not here makes the application refuse to start (``check_routes``).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from aiohttp import web

from collector.accounts.roles import Permission

PUBLIC: Final = "public"
ACCESS: Final[Mapping[str, Permission | Literal["public"]]] = MappingProxyType(
    {
        "GET /healthz": PUBLIC,  # restarts whoever does not live; says no more than that without a sign-in
        "GET /sign-in": PUBLIC,
        "POST /sign-in": PUBLIC,
        "POST /sign-out": "self",
        "GET /static": PUBLIC,  # the product's own files, of nobody's data
        "POST /api/missions": PUBLIC,  # signed by the dispatch system (missions.py)
        "GET /": "look",
        "GET /tickets/{ticket}": "look",
        "POST /tickets/{ticket}": "act",
        "GET /call-backs": "act",
        "GET /call": "act",
        "POST /call": "act",
        "GET /health": "look",
        "GET /vehicles/{vehicle}": "look",
        "POST /vehicles/{vehicle}": "duty",
        "GET /silences": "look",
        "GET /vehicles/{vehicle}/history": "look",
        "GET /readyz": "figures",
        "GET /metrics": "figures",
        "GET /api/me": "self",
        "GET /api/openapi.json": "self",
        "GET /api/sites": "look",
        "GET /api/vehicles": "look",
        "GET /api/vehicles/{vehicle}": "look",
        "GET /api/vehicles/{vehicle}/readings": "look",
        "GET /api/vehicles/{vehicle}/history": "look",
        "POST /api/vehicles/{vehicle}/state": "duty",
        "GET /api/devices": "look",
        "GET /api/tickets": "look",
        "POST /api/tickets": "act",
        "GET /api/tickets/{ticket}": "look",
        "POST /api/tickets/{ticket}/acts": "act",
        "GET /api/changes": "look",
        "GET /api/actions": "act",
        "GET /api/actions/{id}": "act",
        "GET /api/notifications": "notifications",
        "POST /api/notifications/{id}/retry": "retry",
    }
)
"""By method and path; HEAD is GET."""


def name_of(route: web.AbstractRoute) -> str | None:
    """Return the name of a route in the table; ``None``: it is none, the answer is 404 or 405."""
    resource = route.resource
    if resource is None:
        return None
    return f"{'GET' if route.method == 'HEAD' else route.method} {resource.canonical}"


def check_routes(app: web.Application) -> None:
    """Raise LookupError for a route of which the table does not say who may use it."""
    unsaid = sorted({name for route in app.router.routes() if (name := name_of(route)) not in ACCESS and name})
    if unsaid:
        raise LookupError(f"collector/web/access.py: expected who may use {', '.join(unsaid)}, found nothing")
