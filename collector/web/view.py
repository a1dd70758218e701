"""What whoever asks may see, and what is left out of an answer for a role that does not need it."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from collector.accounts.roles import Permission, Principal
from collector.read.view import View
from collector.web.app import SOURCES
from collector.web.identity import principal_of
from telemetry.fleet import Fleet

_POSITIONS: Final = frozenset({"home", "latitude", "longitude", "gnss.latitude", "gnss.longitude", "cell"})
POSITION_METRICS: Final = frozenset({"gnss.latitude", "gnss.longitude", "modem.cell_id", "modem.pci", "modem.tac"})
"""Metrics that tell where a vehicle is: a radio cell is a place."""
IDENTIFIERS: Final = frozenset({"imei", "imsi", "iccid", "msisdn"})


def view_of(request: web.Request, permission: Permission = "look") -> View:
    """Return what whoever asks may see, or do something to."""
    return view_for(principal_of(request), request.app[SOURCES].fleet, permission)


def view_for(principal: Principal, fleet: Fleet, permission: Permission = "look") -> View:
    """Return the same for a principal."""
    sites, departments = principal.sites(permission), principal.departments
    if departments is None:
        return View(sites)
    own = frozenset(
        (site, id)
        for site, plan in fleet.sites.items()
        if sites is None or site in sites
        for id, vehicle in plan.vehicles.items()
        if vehicle.department in departments
    )
    return View(sites, own)


def refuse_part(request: web.Request, permission: Permission, what: str) -> None:
    """Raise 403 for who sees only a part of the sites; ``what``: is told of all of them, or not at all."""
    if not view_of(request, permission).has_all(request.app[SOURCES].fleet.sites):
        raise web.HTTPForbidden(text=f"{what} tells of every site: expected a role at all of them")


def without_what_is_not_theirs(found: Any, principal: Principal, site: str) -> Any:
    """Return an answer's content without positions and identifiers for whose role does not need them."""
    hidden = frozenset[str]()
    if not principal.may("positions", site):
        hidden |= _POSITIONS
    if not principal.may("identifiers", site):
        hidden |= IDENTIFIERS
    return _without(found, hidden) if hidden else found


def _without(found: Any, hidden: frozenset[str]) -> Any:
    if isinstance(found, dict):
        places = "value" in found and not hidden.isdisjoint(_POSITIONS) and found.get("metric") in POSITION_METRICS
        own = hidden | {"value"} if places else hidden
        return {key: None if key in own else _without(value, hidden) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [_without(one, hidden) for one in found]
    return found
