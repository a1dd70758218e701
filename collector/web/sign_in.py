"""Signing in and out: ``/sign-in``, ``/sign-out``, and who one is: ``GET /api/me``.

The cookie has no ``Path``: the browser takes the folder of the page that it sees, so that it is right below whatever
path a proxy puts the pages. It is ``Secure`` where the proxy says that people come over TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import math
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from collector.accounts import accounts, secrets
from collector.accounts.accounts import Author
from collector.accounts.attempts import Attempts
from collector.accounts.passwords import is_right
from collector.accounts.roles import PERMISSIONS, Principal
from collector.web import answer_types as shown
from collector.web.app import SOURCES, json
from collector.web.identity import COOKIE, FORM_FIELD, GATE, Forged, author_of, principal_of, refusal, root_of
from collector.web.operations import operation
from collector.web.pages import language_of, page, render_plain
from collector.web.requests import MOST_FIELDS, MOST_FORM_BYTES, Handler, form_of, refuse_other_origin
from collector.web.return_to import own
from collector.web.texts import Words

routes = web.RouteTableDef()
_FORM_COOKIE: Final = "kitwatch_form"
_LONG_S: Final = 400 * 86_400
"""The longest that browsers keep a cookie (RFC 6265bis, 5.5)."""
AT_ONCE: Final = 2
"""Passwords that are hashed at a time: 19 MiB and tens of milliseconds each."""
ATTEMPTS: web.AppKey[Attempts] = web.AppKey("attempts", Attempts)
HASHING: web.AppKey[asyncio.Semaphore] = web.AppKey("hashing", asyncio.Semaphore)


class Back(NamedTuple):
    """Where somebody wants to be after signing in."""

    to: str = ""
    """Which page was asked for, relative to the first one; as it was told, so it may be anything."""
    kept: str = ""
    """The fields of a form that was sent there."""


NOWHERE: Final = Back()


@web.middleware
async def keep_forms(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give back what was typed into a form whose session has ended: 401 with the way to sign in, 403 with the form.

    Only our own pages' forms: another origin's are refused before anything of them is shown.
    """
    try:
        return await handler(request)
    except (web.HTTPUnauthorized, Forged) as refused:
        is_form = request.content_type == "application/x-www-form-urlencoded"
        if request.method != "POST" or not is_form or request.path.startswith(("/api/", "/sign-")):
            raise
        refuse_other_origin(request)
        fields = await form_of(request, MOST_FORM_BYTES)
        fields.pop(FORM_FIELD, None)
        principal = await request.app[GATE].principal(request) if isinstance(refused, Forged) else None
        return _resumed(request, refused.status, request.path_qs.removeprefix("/"), fields, principal)


@routes.get("/sign-in")
@page
async def show_sign_in(request: web.Request) -> web.StreamResponse:
    """Show the form, in Chinese or, with ``?language=en``, in English; who is signed in finds how to sign out.

    ``?to=`` is the page that was asked for before.
    """
    try:
        principal = await request.app[GATE].principal(request)
    except SQLAlchemyError:
        return _form(request, 503, "no_database")
    if principal is None or not principal.session:
        return _form(request, back=Back(request.query.get("to", "")))
    return _signed_in(request, principal)


@routes.post("/sign-in")
async def sign_in(request: web.Request) -> web.Response:
    """Sign in by name and password, or as a display by its token: 303 to the page that was asked for, or the board.

    ``kept`` are the fields of a form whose session had ended: they come back with the way on.
    401: name or password is wrong. 403: the form is not ours, or too old. 429: tried too often.
    """
    refuse_other_origin(request)
    fields = await form_of(request, MOST_FORM_BYTES)
    if "kept" in fields and "name" not in fields:  # from a form whose session has ended: nothing is done yet
        return _form(request, 200, "session_over", back=Back(fields.get("to", ""), fields["kept"]))
    secret = request.cookies.get(_FORM_COOKIE, "")
    if not secret or not secrets.is_form_token(fields.get(FORM_FIELD, ""), secret):
        return _form(request, 403, "old_form")
    try:
        if fields.get("token"):
            return await _as_display(request, fields["token"])
        return await _by_password(request, fields)
    except SQLAlchemyError:
        return _form(request, 503, "no_database")


async def _by_password(request: web.Request, fields: Mapping[str, str]) -> web.Response:
    app, now_s, address = request.app, time.monotonic(), client_address(request)
    name, password = fields.get("name", "").strip()[:64], fields.get("password", "")
    back = Back(fields.get("to", ""), fields.get("kept", ""))
    wait_s = app[ATTEMPTS].wait_s(name, address, now_s)
    if wait_s > 0:
        refused = _form(request, 429, "too_many_attempts", name, back, minutes=math.ceil(wait_s / 60))
        refused.headers["Retry-After"] = str(math.ceil(wait_s))
        return refused
    app[ATTEMPTS].note(name, address, now_s)
    engine, gate = app[SOURCES].store.engine, app[GATE]
    kept = await asyncio.to_thread(accounts.password_of, engine, name)
    async with app[HASHING]:
        is_them = await asyncio.to_thread(is_right, password, kept)
    if not is_them:
        return _form(request, 401, "wrong_password", name, back)
    app[ATTEMPTS].succeeded(name, address)

    def begin() -> str | None:
        by = Author(name, "session", time.time_ns() // 1_000_000)
        with app[SOURCES].store.transaction() as connection:
            made = accounts.begin_session(connection, name, by, gate.lasting)
        principal = gate.by_session(made)
        return made if principal is not None and principal.roles else None

    session = await asyncio.to_thread(begin)
    if session is None:
        return _form(request, 403, "of_no_roster", name, back)
    return _welcome(request, session, None, back)


async def _as_display(request: web.Request, token: str) -> web.Response:
    principal = await asyncio.to_thread(request.app[GATE].by_wall_token, token)
    if principal is None:
        return _form(request, 401, "bad_display_token")
    return _welcome(request, token, _LONG_S)


def _welcome(request: web.Request, secret: str, max_age_s: int | None, back: Back = NOWHERE) -> web.Response:
    answer = web.Response(status=303, headers={"Location": own(back.to) if max_age_s is None else "./?wall"})
    fields: dict[str, str] = {}
    with contextlib.suppress(ValueError):  # more fields than any form of ours has
        fields = dict(parse_qsl(back.kept, keep_blank_values=True, max_num_fields=MOST_FIELDS))
    if fields and own(back.to) != "./":
        answer = _resumed(request, 200, back.to, fields, Principal("account", "", {}, session=secret))
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


def _resumed(
    request: web.Request, status: int, to: str, fields: Mapping[str, str], principal: Principal | None
) -> web.Response:
    """Return the page that holds a form's fields: on to the form for who is signed in, to sign in for who is not."""
    token = secrets.form_token(principal.session) if principal is not None and principal.session else ""
    return _page(
        request, status, "resume.html", token=token, to=to, kept=urlencode(fields), fields=fields,
        address=(root_of(request) or "./") + own(to).removeprefix("./"),
    )  # fmt: skip


def _form(
    request: web.Request,
    status: int = 200,
    problem: str = "",
    given: str = "",
    back: Back = NOWHERE,
    **values: int,
) -> web.Response:
    secret = request.cookies.get(_FORM_COOKIE, "")
    if not secret.startswith(secrets.SESSION):
        secret = secrets.new_secret(secrets.SESSION)
    words = Words(language_of(request)).name("sign_in_problem", problem).format(**values) if problem else ""
    answer = _page(
        request, status, "sign_in.html", problem=words, given=given, csrf_token=secrets.form_token(secret), name=None,
        to=back.to, kept=back.kept,
    )  # fmt: skip
    _set_cookie(request, answer, _FORM_COOKIE, secret, None)
    return answer


def _signed_in(request: web.Request, principal: Principal) -> web.Response:
    return _page(
        request, 200, "sign_in.html", problem="", csrf_token=secrets.form_token(principal.session), name=principal.name
    )


def _page(request: web.Request, status: int, template: str, **values: Any) -> web.Response:
    answer = render_plain(request, template, status, **values)
    if status == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="kitwatch"'
    return answer


def _set_cookie(request: web.Request, answer: web.Response, name: str, value: str, max_age_s: int | None) -> None:
    is_tls = request.secure or request.headers.get("X-Forwarded-Proto", "") == "https"
    answer.set_cookie(
        name, value, max_age=max_age_s, httponly=True, samesite="Lax", secure=is_tls, path=""
    )  # fmt: skip
