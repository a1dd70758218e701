"""Who speaks over the socket in the runtime directory: the system says which user of this machine it is.

There is no login yet, so whatever changes something is taken there alone. No field and no header names the person; over
TCP it is refused, because behind a proxy everybody comes from loopback. What another system wants is signed instead
(``missions.py``).
"""

from __future__ import annotations

import pwd
import socket
import struct
from typing import Final

from aiohttp import web

from collector.core.contract import Contract
from collector.web.app import Sources
from collector.web.requests import refuse_foreign
from collector.web.tickets import contract_of

_PEER: Final = struct.Struct("3i")
"""``struct ucred`` of SO_PEERCRED (unix(7)): process, user, group."""


def login_of(request: web.Request, what: str) -> str:
    """Return the user of this machine at the other end of the socket. Raises 403 over TCP, 415 for what is no JSON.

    ``what`` says what is wanted and by which command, for the words of a refusal.
    """
    if request.method != "GET":
        refuse_foreign(request)
    transport = request.transport
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None or sock.family != socket.AF_UNIX:
        raise web.HTTPForbidden(text=f"{what} over the collector's socket, which knows who speaks")
    _, user, _ = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        raise web.HTTPForbidden(text=f"user {user} is none of this machine") from None


def contract_in_force(sources: Sources, site: str) -> Contract:
    """Return the contract in force. Blocks. Raises 503 where no owner has put one in yet."""
    found = contract_of(sources.store, site)
    if found is None:
        raise web.HTTPServiceUnavailable(text=f"site {site}: no contract is in force yet")
    return found


def person_of(contract: Contract, login: str) -> str | None:
    """Return who of the roster a user is."""
    return next((id for id, person in contract.roster.items() if person.login == login), None)


def nobody(login: str) -> str:
    """Return the words for a user who is nobody of the roster."""
    return f"user {login} is nobody of the roster: expected a person with login: {login} in contract.yaml"
