"""Signing in and out: ``/sign-in``, ``/sign-out``, and who one is: ``GET /api/me``.

The cookie has no ``Path``: the browser takes the folder of the page that it sees, so that it is right below whatever
path a proxy puts the pages. It is ``Secure`` where the proxy says that people come over TLS.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time
from typing import Final

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from collector.accounts import accounts, secrets
from collector.accounts.accounts import Author
from collector.accounts.attempts import Attempts
from collector.accounts.passwords import is_right
from collector.accounts.roles import PERMISSIONS, Principal
from collector.web import answer_types as shown
from collector.web.app import SOURCES, json
from collector.web.identity import COOKIE, FORM_FIELD, GATE, author_of, principal_of, refusal
from collector.web.operations import operation
from collector.web.pages import TEMPLATES, language_of, page
from collector.web.requests import form_of, refuse_other_origin
from collector.web.texts import Words

routes = web.RouteTableDef()
_FORM_COOKIE: Final = "kitwatch_form"
_LONG_S: Final = 400 * 86_400
"""The longest that browsers keep a cookie (RFC 6265bis, 5.5)."""
AT_ONCE: Final = 2
"""Passwords that are hashed at a time: 19 MiB and tens of milliseconds each."""
ATTEMPTS: web.AppKey[Attempts] = web.AppKey("attempts", Attempts)
HASHING: web.AppKey[asyncio.Semaphore] = web.AppKey("hashing", asyncio.Semaphore)


@routes.get("/sign-in")
@page
async def show_sign_in(request: web.Request) -> web.StreamResponse:
    """Show the form, in Chinese or, with ``?language=en``, in English; who is signed in finds how to sign out."""
    try:
        principal = await request.app[GATE].principal(request)
    except SQLAlchemyError:
        return _form(request, 503, "no_database")
    if principal is None or not principal.session:
        return _form(request)
    return _signed_in(request, principal)


@routes.post("/sign-in")
async def sign_in(request: web.Request) -> web.Response:
    """Sign in by name and password, or as a display by its token: 303 to the board.

    401: name or password is wrong. 403: the form is not ours, or too old. 429: tried too often.
    """
    refuse_other_origin(request)
    fields = await form_of(request)
    secret = request.cookies.get(_FORM_COOKIE, "")
    if not secret or not secrets.is_form_token(fields.get(FORM_FIELD, ""), secret):
        return _form(request, 403, "old_form")
    try:
        if fields.get("token"):
            return await _as_display(request, fields["token"])
        return await _by_password(request, fields.get("name", "").strip(), fields.get("password", ""))
    except SQLAlchemyError:
        return _form(request, 503, "no_database")


async def _by_password(request: web.Request, name: str, password: str) -> web.Response:
    app, now_s, address = request.app, time.monotonic(), client_address(request)
    name = name[:64]
    wait_s = app[ATTEMPTS].wait_s(name, address, now_s)
    if wait_s > 0:
        refused = _form(request, 429, "too_many_attempts", name, minutes=math.ceil(wait_s / 60))
        refused.headers["Retry-After"] = str(math.ceil(wait_s))
        return refused
    app[ATTEMPTS].note(name, address, now_s)
    engine, gate = app[SOURCES].store.engine, app[GATE]
    kept = await asyncio.to_thread(accounts.password_of, engine, name)
    async with app[HASHING]:
        is_them = await asyncio.to_thread(is_right, password, kept)
    if not is_them:
        return _form(request, 401, "wrong_password", name)
    app[ATTEMPTS].succeeded(name, address)

    def begin() -> str | None:
        by = Author(name, "session", time.time_ns() // 1_000_000)
        with app[SOURCES].store.transaction() as connection:
            made = accounts.begin_session(connection, name, by, gate.lasting)
        principal = gate.by_session(made)
        return made if principal is not None and principal.roles else None

    session = await asyncio.to_thread(begin)
    if session is None:
        return _form(request, 403, "of_no_roster", name)
    return _welcome(request, session, None)


async def _as_display(request: web.Request, token: str) -> web.Response:
    principal = await asyncio.to_thread(request.app[GATE].by_wall_token, token)
    if principal is None:
        return _form(request, 401, "bad_display_token")
    return _welcome(request, token, _LONG_S)


def _welcome(request: web.Request, secret: str, max_age_s: int | None) -> web.Response:
    answer = web.Response(status=303, headers={"Location": "./" if max_age_s is None else "./?wall"})
    _set_cookie(request, answer, COOKIE, secret, max_age_s)
    _set_cookie(request, answer, _FORM_COOKIE, "", 0)
    return answer


@routes.post("/sign-out")
async def sign_out(request: web.Request) -> web.Response:
    """End the session: 303 to the form."""
    principal, store = principal_of(request), request.app[SOURCES].store
    if principal.kind == "account" and principal.session:
        by = author_of(request)

        def end() -> None:
            with store.transaction() as connection:
                accounts.end_session(connection, principal.session, by)

        await asyncio.to_thread(end)
    answer = web.Response(status=303, headers={"Location": "sign-in"})
    _set_cookie(request, answer, COOKIE, "", 0)
    return answer


@routes.get("/api/me")
@operation(shown.Me)
async def who_am_i(request: web.Request) -> web.Response:
    """Say who asks: name, role and person at each site, what that allows, the token that forms need."""
    principal = principal_of(request)
    if not principal.roles:
        raise web.HTTPForbidden(text=refusal(principal))
    rosters = await asyncio.to_thread(request.app[GATE].rosters.now)
    sites: dict[str, shown.PersonAtSite] = {}
    for site, roster in rosters.items():
        id = principal.person_in(roster)
        if id is not None and (site in principal.roles or principal.kind != "account"):
            sites[site] = {"id": id, "name": roster[id].name, "role": roster[id].role}
    return json(
        shown.Me(
            {
                "kind": principal.kind,
                "name": principal.name,
                "login": principal.name if principal.kind == "system" else "",
                "roles": principal.roles,
                "departments": None if principal.departments is None else sorted(principal.departments),
                "may": sorted(permission for permission in PERMISSIONS if principal.may(permission)),
                "sites": sites,
                "csrf_token": secrets.form_token(principal.session) if principal.session else None,
            }
        )
    )


def client_address(request: web.Request) -> str:
    """Return from where somebody tries to sign in; behind a proxy of this machine, from where that says (last word)."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    address = peer[0].partition("%")[0] if isinstance(peer, tuple) else ""
    try:
        if address and ipaddress.ip_address(address).is_loopback:
            told = request.headers.getall("X-Forwarded-For", [""])[-1].rpartition(",")[2].strip()
            return str(ipaddress.ip_address(told)) if told else address
    except ValueError:
        pass
    return address


# --- the page ---------------------------------------------------------------------------------------------------------


def _form(request: web.Request, status: int = 200, problem: str = "", given: str = "", **values: int) -> web.Response:
    secret = request.cookies.get(_FORM_COOKIE, "")
    if not secret.startswith(secrets.SESSION):
        secret = secrets.new_secret(secrets.SESSION)
    words = Words(language_of(request)).name("sign_in_problem", problem).format(**values) if problem else ""
    answer = _page(request, status, problem=words, given=given, csrf_token=secrets.form_token(secret), name=None)
    _set_cookie(request, answer, _FORM_COOKIE, secret, None)
    return answer


def _signed_in(request: web.Request, principal: Principal) -> web.Response:
    return _page(request, 200, problem="", csrf_token=secrets.form_token(principal.session), name=principal.name)


def _page(request: web.Request, status: int, **values: object) -> web.Response:
    text = TEMPLATES.get_template("sign_in.html").render(t=Words(language_of(request)), **values)
    answer = web.Response(text=text, content_type="text/html", status=status, headers={"Cache-Control": "no-store"})
    if status == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="kitwatch"'
    return answer


def _set_cookie(request: web.Request, answer: web.Response, name: str, value: str, max_age_s: int | None) -> None:
    is_tls = request.secure or request.headers.get("X-Forwarded-Proto", "") == "https"
    answer.set_cookie(
        name, value, max_age=max_age_s, httponly=True, samesite="Lax", secure=is_tls, path=""
    )  # fmt: skip
