"""What a request must be before anybody looks at what it wants: to one of our names, from our own pages, whole in time.

A page of another origin must not be able to speak in its reader's name. A browser lets it send no JSON unasked
(Fetch, 4.9 CORS-preflight), its ``Origin`` is not ours, and where its name was made to lead to our address (DNS
rebinding, which makes the two agree) the ``Host`` is none of ours. The token of a session (``identity.py``) stands
behind these.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Collection
from typing import Final, TypeVar
from urllib.parse import parse_qsl, urlsplit

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from collector.web.problems import unexpected, unexpected_in
from telemetry.files import FileError, convert

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
T = TypeVar("T")
BODY_S: Final = 10.0
"""Most time for a body to arrive."""
MOST_BYTES: Final = 4096
"""The longest body of the API, and of a form of somebody unknown."""
MOST_FORM_BYTES: Final = 65_536
"""The longest form of somebody who has signed in: what people write, each Chinese character nine bytes of it."""
MOST_FIELDS: Final = 20
"""Fields of a form."""
MOST_DEPTH: Final = 16
"""How deep lists and mappings may stand in each other."""


def only_for(names: Collection[str]) -> Middleware:
    """Return the middleware that answers requests for this machine itself and for ``names``, no others.

    This machine: ``localhost``, and the address that the connection came in at. 400: no Host, several, or one that is
    none (RFC 9112, 3.2). 421: somebody else's (RFC 9110, 15.5.20).
    """
    ours = {name.lower() for name in names} | {"localhost"}

    @web.middleware
    async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.getall("Host", [])
        name = _host_name(given[0]) if len(given) == 1 else ""
        if not name:
            raise unexpected("Host", "one name", ", ".join(given) or None)
        if name not in ours and name != _own_address(request):
            raise unexpected("Host", "this machine's address or a name of web.names", name, web.HTTPMisdirectedRequest)
        return await handler(request)

    return check_host


def _host_name(host: str) -> str:
    """Return a Host without its port and brackets; empty for what is none."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError:
        return ""
    return (parts.hostname or "") if parts.netloc == host and parts.username is None else ""


def _own_address(request: web.Request) -> str:
    """Return the address that the connection came in at, as a Host says it."""
    name = request.transport.get_extra_info("sockname") if request.transport is not None else None
    if not isinstance(name, tuple):
        return ""
    address = ipaddress.ip_address(name[0].partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


@web.middleware
async def only_text(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a path or a parameter that no database can be asked for: 400 for NUL and for what is no text."""
    try:
        found = [request.path, *request.query, *request.query.values()]
        odd = any("\0" in text or not _is_text(text) for text in found)
    except ValueError:
        odd = True
    if odd:
        raise web.HTTPBadRequest(text="expected text in UTF-8 without NUL in path and parameters")
    return await handler(request)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def refuse_foreign(request: web.Request) -> None:
    """Let no page of another origin want something of us: raises 415 for what is no JSON, 403 for another Origin."""
    if request.content_type != "application/json":
        raise _other_type(request, "application/json")
    refuse_other_origin(request)


def refuse_other_origin(request: web.Request) -> None:
    """Raise 403 for a request that a page of another origin has sent."""
    origin = request.headers.get("Origin")
    if origin is not None and _netloc(origin) != request.host:
        raise unexpected("Origin", f"this server's ({request.host})", origin, web.HTTPForbidden)


def _other_type(request: web.Request, expected: str) -> web.HTTPException:
    return unexpected("Content-Type", expected, request.headers.get("Content-Type"), web.HTTPUnsupportedMediaType)


def _netloc(origin: str) -> str:
    """Return an origin's host and port; empty for what is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


async def body_of(request: web.Request, type: type[T]) -> T:
    """Return the body as ``type``. Raises 400 for what is none, 408 for one that does not come, 413 for a long one."""
    return read_body(await bytes_of(request), type)


async def bytes_of(request: web.Request, most: int = MOST_BYTES) -> bytes:
    """Return the body. Raises 400 for one that cannot be read, 408 for one that does not come, 413 for a long one."""
    if request.content_length is not None and request.content_length > most:
        raise _too_long(request.content_length, most)
    try:
        async with asyncio.timeout(BODY_S):
            body = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"body: expected within {BODY_S:g} s, found only a part") from None
    except web.HTTPException:
        raise
    except Exception as error:  # whatever its encoding makes aiohttp raise
        raise web.HTTPBadRequest(text=f"body: cannot be read: {error.__class__.__name__}") from None
    if len(body) > most:
        raise _too_long(len(body), most)
    return body


def _too_long(found: int, most: int) -> web.HTTPException:
    text = f"body: expected at most {most} bytes, found {found}"
    return web.HTTPRequestEntityTooLarge(most, found, text=text)


async def form_of(request: web.Request, most: int = MOST_BYTES) -> dict[str, str]:
    """Return the fields of a form. Raises 415 for what is none, 400, 408 and 413 as for every body."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise _other_type(request, "application/x-www-form-urlencoded")
    try:
        return dict(
            parse_qsl((await bytes_of(request, most)).decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
        )
    except ValueError:
        raise web.HTTPBadRequest(text=f"body: expected at most {MOST_FIELDS} fields in UTF-8") from None


def _too_deep(data: object) -> bool:
    """Say whether lists and mappings stand deeper in each other than anybody who comes after us may have to follow."""
    level = [data]
    for _ in range(MOST_DEPTH + 1):
        inner = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level = [one for parts in inner for one in parts]
        if not level:
            return False
    return True


def read_body(body: bytes, type: type[T]) -> T:
    """Return JSON as ``type``. Raises 400 for what is none."""
    try:
        data = msgspec.json.decode(body)
        if _too_deep(data):
            raise RecursionError
        return convert(data, type, "body")
    except RecursionError:
        raise unexpected(
            "body", f"JSON, at most {MOST_DEPTH} deep", "lists or mappings too deep in each other"
        ) from None
    except FileError as error:
        raise unexpected_in(error) from None
    except ValueError as error:  # no JSON, no UTF-8, a number of too many digits
        raise unexpected("body", "JSON", str(error)) from None
