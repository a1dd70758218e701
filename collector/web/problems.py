"""Errors of the API as problem details (RFC 9457): made here and nowhere else, whatever has gone wrong where.

A handler raises aiohttp's exception for the status, with words; where a value was not what it ought to be,
``unexpected`` makes it, and whoever asks is told the parts by name.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NotRequired, TypedDict

import msgspec
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from telemetry.files import FileError

if TYPE_CHECKING:
    from collector.web.requests import Handler

log = logging.getLogger(__name__)
MEDIA_TYPE: Final = "application/problem+json"
BLANK: Final = "about:blank"
UNEXPECTED: Final = "urn:kitwatch:problem:unexpected-value"
KEPT: Final = ("Allow", "Retry-After", "WWW-Authenticate")
AGAIN_S: Final = 5
"""When to ask again where the database is away."""
_MOST: Final = 200
"""Most characters of what was found that are told."""


class Problem(TypedDict):
    """Why a request has failed (RFC 9457, 3.1)."""

    type: str
    """`about:blank`: the status says all; `urn:kitwatch:problem:unexpected-value`: a value of the request is wrong, and
    `key`, `expected` and `found` say which."""
    title: str
    """The name of the status (RFC 9110, 15)."""
    status: int
    """The status of the answer."""
    detail: str
    """What a person needs to know, in a sentence."""
    instance: str
    """The path that was asked for, as the collector has it."""
    key: NotRequired[str]
    """Which parameter, header or key of the body is wrong; `body` for all of it."""
    expected: NotRequired[str]
    """What it may be."""
    found: NotRequired[str]
    """What it was, the first 200 characters."""


class Unexpected(msgspec.Struct, frozen=True):
    """A value that is not what it ought to be."""

    key: str
    expected: str
    found: str


_UNEXPECTED: Final = web.ResponseKey("unexpected", Unexpected)


def unexpected(
    key: str, expected: str, found: str | None, kind: type[web.HTTPException] = web.HTTPBadRequest
) -> web.HTTPException:
    """Return the error for a wrong value: ``key: expected ..., found ...``; ``found``: ``None`` for none at all."""
    said = "none" if found is None else found[:_MOST]
    error = kind(text=f"{key}: expected {expected}, found {said if found is None else repr(said)}")
    error[_UNEXPECTED] = Unexpected(key, expected, said)
    return error


def unexpected_in(error: FileError, kind: type[web.HTTPException] = web.HTTPBadRequest) -> web.HTTPException:
    """Return the same for what ``telemetry.files.convert`` has found."""
    key = f"{error.file}.{error.key}" if error.key else error.file
    expected, _, found = error.problem.removeprefix("expected ").rpartition(", found ")
    answer = kind(text=str(error))
    if expected:
        answer[_UNEXPECTED] = Unexpected(key, expected, found[:_MOST])
    return answer


@web.middleware
async def as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer the API's errors as problem details; pages keep their own."""
    if not request.path.startswith("/api/"):
        return await handler(request)
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        told = problem(request, error.status, _words(request, error), error.get(_UNEXPECTED))
        told.headers.update({name: error.headers[name] for name in KEPT if name in error.headers})
        return told
    except SQLAlchemyError as error:
        log.warning("%s: %s", request.path, error)
        told = problem(request, 503, "the database cannot be asked now")
        told.headers["Retry-After"] = str(AGAIN_S)
        return told
    except Exception:
        log.exception("%s %s: a fault of our own", request.method, request.path)
        return problem(request, 500, "a fault of kitwatch's own, which its log explains")


def problem(request: web.Request, status: int, detail: str, wrong: Unexpected | None = None) -> web.Response:
    """Return problem details as an answer."""
    title = HTTPStatus(status).phrase
    told: Problem = {
        "type": BLANK if wrong is None else UNEXPECTED,
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.rel_url.raw_path,
    }
    if wrong is not None:
        told |= {"key": wrong.key, "expected": wrong.expected, "found": wrong.found}
    return web.Response(
        body=msgspec.json.encode(told), status=status, content_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"}
    )


def _words(request: web.Request, error: web.HTTPException) -> str:
    """Return what an error says; aiohttp's own words are only the status."""
    if error.text and not error.text.startswith(f"{error.status}: "):
        return error.text
    path = request.path[:_MOST]
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"{path}: expected {', '.join(sorted(error.allowed_methods))}, found {error.method}"
    return f"nothing is at {path}" if error.status == 404 else error.reason
