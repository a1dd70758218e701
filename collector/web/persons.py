"""In whose name somebody acts: the person of the contract's roster at a site."""

from __future__ import annotations

import asyncio

from aiohttp import web

from collector.accounts.roles import Permission, Principal
from collector.core.contract import Contract
from collector.web.app import SOURCES, Sources
from collector.web.identity import not_of_the_roster, principal_of, refuse_without
from collector.web.tickets import contract_of


def contract_in_force(sources: Sources, site: str) -> Contract:
    """Return the contract in force. Blocks. Raises 503 where no owner has put one in yet."""
    found = contract_of(sources.store, site)
    if found is None:
        raise web.HTTPServiceUnavailable(text=f"site {site}: no contract is in force yet")
    return found


async def person_at(request: web.Request, site: str, permission: Permission) -> tuple[Contract, str]:
    """Return the contract in force at a site, and who of its roster asks.

    Raises 403 for nobody of it and for a role that may not, 503 where no contract is in force yet.
    """
    principal = principal_of(request)
    contract = await asyncio.to_thread(contract_in_force, request.app[SOURCES], site)
    who = principal.person_in(contract.roster)
    if who is None:
        raise web.HTTPForbidden(text=nobody(principal))
    refuse_without(principal, permission, site)
    return contract, who


def nobody(principal: Principal) -> str:
    """Return the words for who is nobody of the roster."""
    if principal.kind == "token":
        return f"token {principal.name} acts for nobody of the roster: expected one with --person"
    return not_of_the_roster(principal)
