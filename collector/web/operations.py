"""What each operation of the API takes and answers, said beside its handler: ``openapi.py`` makes the document of it.

What is said is what is done: parameters are read by the very type that the document shows, what no operation names is
refused, and answers are made as the types that stand here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web
from msgspec import inspect as shapes

from collector.web.problems import unexpected
from collector.web.requests import Handler
from telemetry.files import FileError, convert

JSON: Final = "application/json"
Q = TypeVar("Q", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Operation:
    """What a handler of the API takes and answers."""

    handler: Handler
    answer: Any
    """The type of what it answers when all goes well; ``None``: any JSON object."""
    status: int
    """The status of that."""
    media_type: str
    query: type[msgspec.Struct] | None
    """The type of its parameters; ``None``: it takes none."""
    body: type[msgspec.Struct] | None
    """The type of its body; ``None`` for an operation that changes something: none is looked at."""
    headers: Mapping[str, str]
    """Headers that it needs, and what they say."""
    refuses: Mapping[int, str]
    """Why it answers a status besides those that any operation may."""


_OPERATIONS: Final[dict[Handler, Operation]] = {}


def operation(
    answer: Any,
    *,
    status: int = 200,
    media_type: str = JSON,
    query: type[msgspec.Struct] | None = None,
    body: type[msgspec.Struct] | None = None,
    headers: Mapping[str, str] | None = None,
    refuses: Mapping[int, str] | None = None,
) -> Callable[[Handler], Handler]:
    """Say what a handler takes and answers; its docstring is the description. Unknown parameters are refused: 400."""

    def describe(handler: Handler) -> Handler:
        names = [] if query is None else [field.encode_name for field in msgspec.structs.fields(query)]

        @functools.wraps(handler)
        async def checked(request: web.Request) -> web.StreamResponse:
            for name in request.query:
                if name not in names:
                    raise unexpected("query", f"one of {', '.join(names)}" if names else "no parameters", name)
            return await handler(request)

        _OPERATIONS[checked] = Operation(
            checked, answer, status, media_type, query, body, headers or {}, refuses or {}
        )  # fmt: skip
        return checked

    return describe


def operation_of(route: web.AbstractRoute) -> Operation | None:
    """Return what is said of a route; ``None``: it is none of the API's, or nobody has said it."""
    return _OPERATIONS.get(route.handler)


def query_of(request: web.Request, type: type[Q]) -> Q:
    """Return the parameters of a request. Raises 400 for one that is wrong, or twice where it may stand once."""
    given: dict[str, Any] = {}
    info = shapes.type_info(type)
    assert isinstance(info, shapes.StructType)
    for field in info.fields:
        values = request.query.getall(field.encode_name, [])
        if isinstance(field.type, shapes.CollectionType):
            given[field.encode_name] = values
        elif len(values) > 1:
            raise unexpected(field.encode_name, "one value", f"{len(values)} values")
        elif values:
            given[field.encode_name] = _number(values[0]) if _is_number(field.type) else values[0]
    try:
        return convert(given, type, "query")
    except FileError as error:
        name = error.key.partition(".")[0]
        expected = error.problem.removeprefix("expected ").rpartition(", found ")[0] or error.problem
        raise unexpected(name, expected, ", ".join(request.query.getall(name, []))) from None


def _is_number(info: shapes.Type) -> bool:
    types = info.types if isinstance(info, shapes.UnionType) else (info,)
    return any(isinstance(one, shapes.IntType) for one in types)


def _number(text: str) -> int | str:
    """Return a parameter as a whole number; as the text that it is where it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else text
