"""What all pages have in common: templates, language, the head with hotline and duty. Each page is a module of its own.

Pages are made here and changed by htmx (docs/decisions/0076): what moves in the browser stands in ``static/pages.js``.
All their addresses are relative, so that a proxy may put them below any path.
"""

from __future__ import annotations

import asyncio
import datetime
import functools
import time
import zoneinfo
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from collector.accounts import secrets
from collector.core.contract import DEFAULT, Contract
from collector.core.tickets.texts import Language
from collector.read import sites as sites_of
from collector.read.sites import SiteRow
from collector.read.view import View
from collector.site.in_force import CONTRACT
from collector.store.editions import latest_of
from collector.web import wording
from collector.web.app import SOURCES, Sources
from collector.web.identity import principal_of, root_of
from collector.web.texts import Words
from collector.web.view import view_of

if TYPE_CHECKING:
    import jinja2

STATIC: Final = Path(__file__).parent / "static"
COOKIE: Final = "kitwatch_language"
_YEAR_S: Final = 365 * 86_400
_LEAST_COMPRESSED: Final = 1024
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class SiteHead(msgspec.Struct, frozen=True, kw_only=True):
    """What every page says of a site."""

    site: str
    name: str
    time_zone: str
    hotline: str
    condition: str
    """One of ``SiteCondition``, or ``never_owned``."""
    since_ms: int | None
    on_duty: Sequence[tuple[str, str]]
    """(name, telephone) of the engineers who are on duty now."""

    @property
    def is_listening(self) -> bool:
        """Whether anything is known of its vehicles now."""
        return self.condition == "listening"


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What every template is given."""

    language: Language
    root: str
    """The way from this page to the first one: ``./``, ``../``."""
    now_ms: int
    sites: Sequence[SiteHead]
    part: bool
    """Only what changes is asked for."""
    query: Mapping[str, Sequence[str]]
    may_act: bool = False
    """Whoever looks may do something somewhere, by forms."""
    who: str = ""
    """The account of whoever has signed in."""
    csrf_token: str = ""
    """What their forms hold; empty for who has no session."""

    @property
    def other(self) -> str:
        """Where the same page is in the other language."""
        pairs = [(name, value) for name, values in self.query.items() for value in values if name != "language"]
        return "?" + urlencode([*pairs, ("language", "en" if self.language == "zh" else "zh")])

    def toggled(self, group: str) -> str:
        """Return where the same page is with a group opened, or closed if it is open."""
        pairs = [(name, value) for name, values in self.query.items() for value in values if value]
        pair = ("open", group)
        return "?" + urlencode([one for one in pairs if one != pair] if pair in pairs else [*pairs, pair])

    @property
    def troubled(self) -> Sequence[SiteHead]:
        """Sites of whose vehicles nothing is known now."""
        return [site for site in self.sites if not site.is_listening]

    def name(self, site: str) -> str:
        """Return how people call a site."""
        return next((one.name for one in self.sites if one.site == site), site)

    def zone(self, site: str) -> str:
        """Return a site's time zone."""
        return next((one.time_zone for one in self.sites if one.site == site), "UTC")


def add_pages(app: web.Application) -> None:
    """Add the pages and their files below ``/static/``."""
    from collector.web import (
        call_backs_page,
        call_page,
        fleet_page,
        health_page,
        silences_page,
        ticket_page,
        vehicle_page,
    )

    for part in (call_backs_page, call_page, fleet_page, health_page, silences_page, ticket_page, vehicle_page):
        app.add_routes(part.routes)
    app.router.add_static("/static/", STATIC, follow_symlinks=False)


def page(handler: Handler) -> Handler:
    """Return a page's handler that takes the switch of the language too, and then goes back to the same page."""

    @functools.wraps(handler)
    async def handle(request: web.Request) -> web.StreamResponse:
        wanted = request.query.get("language")
        if wanted not in ("zh", "en"):
            return await handler(request)
        rest = [(name, value) for name, value in request.query.items() if name != "language"]
        here = request.path.rpartition("/")[2] or "./"
        answer = web.HTTPSeeOther(f"{here}?{urlencode(rest)}" if rest else here)
        answer.set_cookie(COOKIE, wanted, max_age=_YEAR_S, httponly=True, samesite="Lax", path="/")
        raise answer

    return handle


async def page_of(request: web.Request) -> Page:
    """Return what every page needs."""
    principal = principal_of(request)
    found = await asyncio.to_thread(
        _page, request.app[SOURCES], view_of(request), language_of(request), root_of(request) or "./", request.query,
        request.headers.get("HX-Request") == "true",
    )  # fmt: skip
    return msgspec.structs.replace(
        found,
        may_act=bool(principal.session) and principal.may("act"),
        who=principal.name if principal.session else "",
        csrf_token=secrets.form_token(principal.session) if principal.session else "",
    )


def language_of(request: web.Request) -> Language:
    """Return the language that the reader has switched to; Chinese for who never did."""
    return "en" if request.cookies.get(COOKIE) == "en" else "zh"


@functools.cache
def _templates() -> jinja2.Environment:
    """Return the templates. Jinja is loaded when somebody looks at a page: 1.7 MB."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        clock=wording.clock, exact=wording.exact, minute=wording.minute, span=wording.span, left=wording.left
    )
    return made


def render(page: Page, template: str, status: int = 200, **values: Any) -> web.Response:
    """Return a page as HTML."""
    words = Words(page.language)
    text = _templates().get_template(template).render(page=page, t=words, now=page.now_ms, root=page.root, **values)
    answer = web.Response(
        text=text,
        status=status,
        content_type="text/html",
        headers={"Cache-Control": "no-store", "Vary": "Cookie, HX-Request"},
    )
    if len(text) > _LEAST_COMPRESSED:
        answer.enable_compression()
    return answer


def render_plain(request: web.Request, template: str, status: int, **values: Any) -> web.Response:
    """Return a page without the head of the others, made without the database: signing in, and errors."""
    text = (
        _templates()
        .get_template(template)
        .render(t=Words(language_of(request)), root=root_of(request) or "./", **values)
    )
    return web.Response(text=text, content_type="text/html", status=status, headers={"Cache-Control": "no-store"})


def contracts_of(sources: Sources, sites: Sequence[str]) -> dict[str, Contract]:
    """Return the contracts in force; the default's where no owner has put one in yet. Blocks."""
    found = {site: latest_of(sources.store, site, CONTRACT) for site in sites}
    return {site: DEFAULT if content is None else _contract(content) for site, content in found.items()}


@functools.lru_cache(64)
def _contract(content: bytes) -> Contract:
    return msgspec.json.decode(content, type=Contract)


def _page(sources: Sources, view: View, language: Language, root: str, query: Any, part: bool) -> Page:
    rows = {row.site: row for row in sites_of.list_sites(sources.store.engine)}
    known = [*sources.fleet.sites, *(site for site in rows if site not in sources.fleet.sites)]
    names = [site for site in known if view.has_site(site)]
    contracts, now_ms = contracts_of(sources, names), time.time_ns() // 1_000_000
    return Page(
        language=language,
        root=root,
        now_ms=now_ms,
        sites=[_site(sources, name, rows.get(name), contracts[name], now_ms) for name in names],
        part=part,
        query={name: query.getall(name) for name in query},
    )


def _site(sources: Sources, name: str, row: SiteRow | None, contract: Contract, now_ms: int) -> SiteHead:
    plan = sources.fleet.sites.get(name)
    zone = plan.time_zone if plan else contract.time_zone
    condition, since_ms = ("never_owned", None) if row is None else row.condition
    local = datetime.datetime.fromtimestamp(now_ms / 1000, zoneinfo.ZoneInfo(zone))
    return SiteHead(
        site=name,
        name=(plan.name if plan else "") or name,
        time_zone=zone,
        hotline=plan.hotline if plan else "",
        condition=condition,
        since_ms=since_ms,
        on_duty=[
            (person.name, person.phone)
            for person in contract.roster.values()
            if person.role == "engineer" and person.is_on_duty(local) and person.away_on(local.date()) is None
        ],
    )
