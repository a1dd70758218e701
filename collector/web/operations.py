"""What each operation of the API takes and answers, said beside its handler: ``openapi.py`` makes the document of it.

What is said is what is done: parameters are read by the very type that the document shows, what no operation names is
refused, and answers are made as the types that stand here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web
from msgspec import inspect as shapes

from collector.web.problems import unexpected
from collector.web.requests import Handler

JSON: Final = "application/json"
Q = TypeVar("Q", bound=msgspec.Struct)


class Operation(msgspec.Struct, frozen=True):
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
        name, kind = field.encode_name, _given(field.type)
        values = request.query.getall(name, [])
        if not values:
            continue
        if not isinstance(kind, shapes.ListType) and len(values) > 1:
            raise unexpected(name, "one value", f"{len(values)} values")
        if isinstance(kind, shapes.ListType):
            given[name] = values
        else:
            given[name] = _number(values[0]) if isinstance(kind, shapes.IntType) else values[0]
        try:
            msgspec.convert({name: given[name]}, type)
        except msgspec.ValidationError:
            raise unexpected(name, _expected(kind), ", ".join(values)) from None
    return msgspec.convert(given, type)


def _given(info: shapes.Type) -> shapes.Type:
    """Return what a parameter is where it is given."""
    while isinstance(info, shapes.Metadata | shapes.UnionType):
        parts = info.types if isinstance(info, shapes.UnionType) else (info.type,)
        info = next(one for one in parts if not isinstance(one, shapes.NoneType))
    return info


def _expected(info: shapes.Type) -> str:
    """Return in words what a parameter may be."""
    match info:
        case shapes.LiteralType():
            return f"one of {', '.join(map(str, info.values))}"
        case shapes.IntType():
            return f"a whole number from {info.ge or 0}" + ("" if info.le is None else f" to {info.le}")
        case shapes.DateTimeType():
            return "a time with its zone, such as 2026-05-08T16:00:00+08:00"
        case shapes.ListType():
            return f"at most {info.max_length} values"
        case _:
            return "text"


def _number(text: str) -> int | str:
    """Return a parameter as a whole number; as the text that it is where it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else text
