"""What all answers of the API have in common: times, parameters, and that a bad row costs only itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from collector.web.problems import unexpected

MOST = 1_000
"""Rows of a page at most."""
T = TypeVar("T")


def iso(ms: int | None) -> str | None:
    """Return UTC milliseconds as ISO 8601. Raises ValueError or OverflowError for what is no time."""
    if ms is None:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def known(request: web.Request, *names: str) -> None:
    """Refuse parameters that mean nothing here: raises 400."""
    unknown = sorted(set(request.query) - set(names))
    if unknown:
        raise web.HTTPBadRequest(text=f"expected {', '.join(names[:-1])} or {names[-1]}, found {unknown[0][:50]!r}")


def limit(request: web.Request, default: int = 200) -> int:
    """Return how many rows are asked for. Raises 400."""
    text = request.query.get("limit", str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= MOST):
        raise unexpected("limit", f"1 to {MOST}", text)
    return int(text)


def one_of(request: web.Request, name: str, values: Sequence[str]) -> str | None:
    """Return a parameter that has only these values, ``None`` if it is not given. Raises 400."""
    found = request.query.get(name)
    if found is not None and found not in values:
        raise unexpected(name, f"one of {', '.join(values)}", found)
    return found


def each(rows: Iterable[T], show: Callable[[T], dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    """Return every row as it is shown. One that cannot be shown says so in ``problem``, beside its ``names``."""
    shown = []
    for row in rows:
        try:
            shown.append(show(row))
        except Exception as error:
            bad = {name: getattr(row, name) for name in names}
            shown.append({**bad, "problem": f"cannot be shown: {type(error).__name__}: {error}"[:500]})
    return shown


def as_json(text: str) -> object:
    """Return stored JSON for an answer; what is none as the text that it is."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text
