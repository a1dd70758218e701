"""Who asks, and whether they may: before any handler, by the table of ``access.py``.

Who somebody is comes from the cookie of a session, from a token of the API, or, over the socket of this machine, from
the system. An address is nobody: behind a proxy everybody comes from loopback. A cookie goes along with whatever any
page makes a browser send, so a request that changes something needs, beside it, what only our own pages can read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import msgspec
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from collector.accounts import accounts, secrets
from collector.accounts.accounts import SEEN_MS, Author, Lasting
from collector.accounts.roles import EVERYWHERE, Kind, Permission, Principal, Role, roles_by_login
from collector.accounts.rosters import Rosters
from collector.store.audit import Via
from collector.store.store import Store
from collector.web.access import ACCESS, PUBLIC, name_of
from collector.web.peer import system_user
from collector.web.requests import MOST_FORM_BYTES, Handler, form_of, refuse_other_origin

COOKIE: Final = "kitwatch_session"
FORM_HEADER: Final = "X-CSRF-Token"
FORM_FIELD: Final = "csrf_token"
_PRINCIPAL: Final = web.RequestKey("principal", Principal)
_VIA: Final[Mapping[Kind, Via]] = {"account": "session", "token": "token", "system": "socket"}
NOBODY: Final = Principal("account", "", {})


class Gate(msgspec.Struct, frozen=True):
    """Finds out who asks."""

    store: Store
    rosters: Rosters
    lasting: Lasting

    async def principal(self, request: web.Request) -> Principal | None:
        """Return who asks, ``None`` for nobody that is known. Raises SQLAlchemyError."""
        if (user := system_user(request)) is not None:
            return await asyncio.to_thread(self._system, *user)
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await asyncio.to_thread(self.by_token, secret.strip())
        secret = request.cookies.get(COOKIE, "")
        if not secret:
            return None
        if secret.startswith(secrets.TOKEN):
            return await asyncio.to_thread(self.by_wall_token, secret)
        return await asyncio.to_thread(self.by_session, secret)

    def by_session(self, secret: str) -> Principal | None:
        """Return whose session it is, and note that it is used. Blocks."""
        now_ms = time.time_ns() // 1_000_000
        found = accounts.account_of(self.store.engine, secret, now_ms, self.lasting)
        if found is None:
            return None
        account, seen_ms = found
        if now_ms - seen_ms >= min(SEEN_MS, self.lasting.idle_ms // 4):
            with contextlib.suppress(SQLAlchemyError), self.store.transaction() as connection:
                accounts.note_use(connection, secret, now_ms)
        return account.principal(self.rosters.now, secret)

    def by_token(self, secret: str) -> Principal | None:
        """Return what a token is. Blocks."""
        found = accounts.token_of(self.store.engine, secret, time.time_ns() // 1_000_000)
        return None if found is None else found.principal()

    def by_wall_token(self, secret: str) -> Principal | None:
        """Return what a token in a cookie is: of a display alone. Blocks."""
        found = accounts.token_of(self.store.engine, secret, time.time_ns() // 1_000_000)
        if found is None or found.role != "wall":
            return None
        principal = found.principal()
        return Principal("token", principal.name, principal.roles, session=secret)

    def _system(self, login: str, uid: int) -> Principal:
        """Return who a user of this machine is: the roster's; root and our own user hold the database anyway."""
        everywhere: dict[str, Role] = {EVERYWHERE: "admin"} if uid in (0, os.geteuid()) else {}
        return Principal("system", login, {**everywhere, **roles_by_login(login, self.rosters.now())})


GATE: web.AppKey[Gate] = web.AppKey("gate", Gate)


@web.middleware
async def check_access(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let only through who may: 401 for nobody (a page: 303 to sign in), 403 for a role that may not."""
    name = name_of(request.match_info.route)
    permission = None if name is None else ACCESS.get(name)
    if permission is None or permission == PUBLIC:  # no such route: 404 or 405, which say nothing
        return await handler(request)
    principal = await request.app[GATE].principal(request)
    if principal is None:
        raise _sign_in(request)
    if not principal.may(permission):
        principal = await _looked_up_again(request, principal)
        if not principal.may(permission):
            raise web.HTTPForbidden(text=refusal(principal))
    if principal.session and request.method not in ("GET", "HEAD"):
        await refuse_forged(request, principal.session)
    request[_PRINCIPAL] = principal
    return await handler(request)


async def _looked_up_again(request: web.Request, principal: Principal) -> Principal:
    """Return the same by the rosters of this moment: a contract may have come into force since they were read.

    Raises 503 where that alone decides, and none is in force yet.
    """
    gate = request.app[GATE]
    if principal.kind == "token":
        return principal
    gate.rosters.forget()
    again = await gate.principal(request) or principal
    if (again.kind == "system" or not again.roles) and not await asyncio.to_thread(gate.rosters.now):
        raise web.HTTPServiceUnavailable(text="no contract is in force yet, so nobody is of its roster")
    return again


def principal_of(request: web.Request) -> Principal:
    """Return who asks; on a public route nobody."""
    found: Principal = request.get(_PRINCIPAL, NOBODY)
    return found


async def known_principal(request: web.Request) -> Principal:
    """Return who asks on a public route, as far as the database can be asked; else nobody."""
    with contextlib.suppress(SQLAlchemyError):
        return await request.app[GATE].principal(request) or NOBODY
    return NOBODY


async def still_may(request: web.Request, permission: Permission) -> bool:
    """Say whether whoever asked before may still do so, with the same role at the same sites."""
    now = await request.app[GATE].principal(request)
    return now is not None and now.may(permission) and now.roles == principal_of(request).roles


def author_of(request: web.Request) -> Author:
    """Return who asks and when, for the audit log."""
    principal = principal_of(request)
    return Author(principal.name, _VIA[principal.kind], time.time_ns() // 1_000_000)


def refuse_without(principal: Principal, permission: Permission, site: str) -> None:
    """Raise 403 for who may not do something at a site."""
    if not principal.may(permission, site):
        raise web.HTTPForbidden(text=f"{principal.name} may not do this at site {site}")


def refusal(principal: Principal) -> str:
    """Return the words for who may do nothing of the kind."""
    if principal.roles:
        return f"{principal.name} may not do this (role {', '.join(sorted(set(principal.roles.values())))})"
    return not_of_the_roster(principal)


def not_of_the_roster(principal: Principal) -> str:
    """Return the words for an account, or a user of this machine, whom no roster knows."""
    who = f"user {principal.name}" if principal.kind == "system" else principal.name
    key = "login" if principal.kind == "system" else "id"
    return f"{who} is nobody of the roster: expected a person with {key}: {principal.name} in contract.yaml"


class Forged(web.HTTPForbidden):
    """A request with somebody's cookie and without the token of their session: of a session before, or not of ours."""


async def refuse_forged(request: web.Request, secret: str) -> None:
    """Raise 403 for a request with somebody's cookie that none of our own pages has sent."""
    refuse_other_origin(request)
    given = request.headers.get(FORM_HEADER)
    if given is None and request.content_type == "application/x-www-form-urlencoded":
        given = (await form_of(request, MOST_FORM_BYTES)).get(FORM_FIELD, "")
    if not given or not secrets.is_form_token(given, secret):
        raise Forged(text=f"expected the token of this session in {FORM_HEADER} (GET api/me has it)")


def root_of(request: web.Request) -> str:
    """Return the way from the address that was asked for to the first page: empty, ``../``."""
    return "../" * (request.path.count("/") - 1)


def _sign_in(request: web.Request) -> web.HTTPException:
    """Return the answer to nobody: for whoever looks at a page the way to sign in, relative as all our links are."""
    accepts = request.headers.get("Accept", "")
    if request.method in ("GET", "HEAD") and "text/html" in accepts and not request.path.startswith("/api/"):
        wanted = request.path_qs.removeprefix("/")
        to = f"?to={quote(wanted, safe='')}" if wanted else ""
        return web.HTTPSeeOther(location=f"{root_of(request)}sign-in{to}")
    return web.HTTPUnauthorized(
        text="expected somebody who has signed in, or a token of the API (Authorization: Bearer)",
        headers={"WWW-Authenticate": 'Bearer realm="kitwatch"'},
    )
