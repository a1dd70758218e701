"""The OpenAPI 3.1 document of the API, made from what stands beside its handlers (``operations.py``, ``access.py``).

A route of the API of which nobody has said what it takes and answers starts no collector.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

from collector.accounts.roles import PERMISSIONS
from collector.web import answer_types, ticket_types, vehicle_types
from collector.web.access import ACCESS, PUBLIC, name_of
from collector.web.app import json
from collector.web.identity import COOKIE, FORM_HEADER
from collector.web.operations import JSON, Operation, operation, operation_of
from collector.web.problems import MEDIA_TYPE, Problem
from telemetry import VERSION
from telemetry.json_schema import explain, types_in

Document = dict[str, Any]
_REF: Final = "#/components/schemas/{name}"
_MAY_BE_DAMAGED: Final = frozenset(
    _REF.format(name=one.__name__)
    for one in (
        ticket_types.TicketRow,
        ticket_types.Ticket,
        vehicle_types.Note,
        answer_types.Action,
        answer_types.Delivery,
    )
)
"""In whose place an ``Unshown`` may stand."""
_ABOUT: Final = """Vehicles, their readings and history, tickets and what people do about them. Whatever a page of
kitwatch does can be done here, by the same rules.

A program signs in with a token (`kitwatch token create`), a page's script with the cookie of its session and, where it
changes something, the header `X-CSRF-Token`. On the collector's own machine its socket answers too (`GET
http://localhost/api/me` over `/run/kitwatch/collector.sock`): there the system says who asks, and no token is looked
at.

Lists are read page by page: `after` takes the `next` of the page before. `since` takes a `revision`, and answers what
has changed after it. Times are ISO 8601; those in answers are UTC. Errors are problem details (RFC 9457)."""
_PARTS: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
    "vehicle": ({"type": "string"}, "As the fleet file names it."),
    "ticket": ({"type": "string"}, "Its number, such as 2026-0153."),
    "id": ({"type": "integer", "minimum": 0, "maximum": 10**18 - 1}, "Its number."),
}
"""The parts of paths."""
_ANY: Final[Mapping[int, str]] = {
    400: "A parameter, header or the body is wrong, or there is no Host; in plain text where it is no HTTP, or the path"
    " with its parameters is longer than 8,190 bytes.",
    401: "Nobody has signed in, or the token is unknown, revoked or too old.",
    403: "Whoever asks may not do this.",
    421: "The Host is none of this server's names (`web.names`).",
    500: "A fault of kitwatch's own, which its log explains.",
    503: "The database cannot be asked now, or no contract is in force yet.",
}
"""What any operation may answer."""
_CHANGING: Final[Mapping[int, str]] = {
    403: "Whoever asks may not do this, is nobody of the roster, or a page of another origin sent it.",
    408: "The body does not come.",
    413: "The body is too long.",
    415: "The body is no JSON.",
}
"""And what one may that changes something."""


routes = web.RouteTableDef()


@routes.get("/api/openapi.json")
@operation(None)
async def openapi(request: web.Request) -> web.Response:
    """Show this document (OpenAPI 3.1)."""
    return json(await asyncio.to_thread(document, request.app))


def check_described(app: web.Application) -> None:
    """Raise LookupError for an operation of the API of which nobody has said what it takes and answers."""
    for _ in _operations(app):
        pass


@functools.lru_cache(maxsize=1)
def document(app: web.Application) -> Document:
    """Return the document of an application's API."""
    operations = dict(_operations(app))
    types = [answer_types.Unshown, answer_types.Change, Problem]
    for one in operations.values():
        types += [part for part in (one.answer, one.query, one.body) if part is not None]
    schemas, components = _schemas(list(dict.fromkeys(types)))
    queries = {one.query.__name__: one.query for one in operations.values() if one.query is not None}
    shapes = {query: components.pop(name) for name, query in queries.items()}
    paths: Document = {}
    for name, one in operations.items():
        method, _, path = name.partition(" ")
        parameters = [*_in_path(path), *_in_query(shapes[one.query] if one.query else None), *_in_headers(one)]
        paths.setdefault(path, {})[method.lower()] = _operation(name, one, parameters, schemas)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "kitwatch",
            "version": VERSION,
            "description": _plain(_ABOUT),
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "..", "description": "Where this document comes from, below whatever path."}],
        "security": _security("GET"),
        "paths": paths,
        "components": {
            "schemas": _or_unshown(components),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Of `kitwatch token create`."},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "Of `/sign-in`."},
                "csrf": {"type": "apiKey", "in": "header", "name": FORM_HEADER, "description": "`GET api/me` has it."},
            },
        },
    }


def _operations(app: web.Application) -> Iterator[tuple[str, Operation]]:
    """Yield what the API can do, by the names of ``access.py``. Raises LookupError for what nobody has described."""
    for route in app.router.routes():
        name = name_of(route)
        if name is None or route.method == "HEAD" or " /api/" not in name:
            continue
        found = operation_of(route)
        if found is None:
            raise LookupError(f"collector/web: expected what {name} takes and answers (operations.py), found nothing")
        yield name, found


def _schemas(types: Sequence[Any]) -> tuple[dict[Any, Document], Document]:
    """Return each type's schema and the components, with the meaning of each key."""
    found, components = msgspec.json.schema_components(types, ref_template=_REF)
    explain(components, [inner for one in types for inner in types_in(one)])
    return dict(zip(types, found, strict=True)), components


def _or_unshown(schema: Any) -> Any:
    """Return a schema in which an ``Unshown`` may stand in the place of what may be damaged."""
    if isinstance(schema, list):
        return [_or_unshown(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("$ref") in _MAY_BE_DAMAGED:
        return {"anyOf": [schema, {"$ref": _REF.format(name=answer_types.Unshown.__name__)}]}
    return {key: _or_unshown(value) for key, value in schema.items()}


def _operation(name: str, one: Operation, parameters: Sequence[Document], schemas: Mapping[Any, Document]) -> Document:
    method, _, path = name.partition(" ")
    summary, _, rest = (inspect.getdoc(one.handler) or "").partition("\n\n")
    permission = ACCESS[name]
    found: Document = {
        "operationId": one.handler.__name__,
        "summary": _plain(summary),
        "description": _plain(rest),
        "tags": [path.split("/")[2]],
        "parameters": parameters,
        "responses": {str(status): answer for status, answer in sorted(_responses(method, one, schemas).items())},
        "security": [] if permission == PUBLIC else _security(method),
    }
    if permission != PUBLIC:
        found["x-roles"] = sorted(PERMISSIONS[permission])
    if one.body is not None:
        found["requestBody"] = {"required": True, "content": {JSON: {"schema": schemas[one.body]}}}
    return {key: value for key, value in found.items() if value or key == "security"}


def _responses(method: str, one: Operation, schemas: Mapping[Any, Document]) -> dict[int, Document]:
    refused = {**_ANY, **(_CHANGING if method == "POST" else {}), **one.refuses}
    problem = {MEDIA_TYPE: {"schema": schemas[Problem]}}
    answers: dict[int, Document] = {status: {"description": why, "content": problem} for status, why in refused.items()}
    answers[400]["content"] = {**problem, "text/plain": {"schema": {"type": "string"}}}
    schema = {"type": "object"} if one.answer is None else _or_unshown(schemas[one.answer])
    if one.media_type != JSON:
        schema = {"type": "string"}
    answers[one.status] = {
        "description": f"{HTTPStatus(one.status).phrase}.",
        "content": {one.media_type: {"schema": schema}},
    }
    return answers


def _in_path(path: str) -> Iterator[Document]:
    for part in re.findall(r"{(\w+)}", path):
        schema, meaning = _PARTS[part]
        yield {"name": part, "in": "path", "required": True, "schema": schema, "description": meaning}


def _in_query(shape: Document | None) -> Iterator[Document]:
    """Yield the parameters of a schema of their type."""
    for key, schema in () if shape is None else shape["properties"].items():
        given = _given({word: value for word, value in schema.items() if word != "description"})
        yield {"name": key, "in": "query", "schema": given, "description": schema["description"]}


def _given(schema: Document) -> Document:
    """Return a parameter's schema without ``null``, which says that it is not given."""
    parts = [part for part in schema.get("anyOf", ()) if part != {"type": "null"}]
    return parts[0] if len(parts) == 1 else schema


def _in_headers(one: Operation) -> Iterator[Document]:
    for name, meaning in one.headers.items():
        yield {"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "description": meaning}


def _security(method: str) -> list[Document]:
    return [{"token": []}, {"session": []} if method == "GET" else {"session": [], "csrf": []}]


def _plain(text: str) -> str:
    """Return a docstring's text as CommonMark: one line a paragraph."""
    return "\n\n".join(" ".join(part.split()) for part in text.replace("``", "`").split("\n\n"))
