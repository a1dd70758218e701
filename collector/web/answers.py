"""What all answers of the API have in common: times, pages of lists, and that a bad row costs only itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar, cast

import msgspec

from collector.core.tickets.texts import Language
from collector.web.answer_types import Lines, Words

T = TypeVar("T")
S = TypeVar("S")
MOST: Final = 1_000
"""Rows of a page at most."""
PAGE: Final = 200
"""Rows of a page if nobody says how many."""
Limit = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time as a parameter: ISO 8601 with its zone."""


def iso(ms: int | None) -> str | None:
    """Return UTC milliseconds as ISO 8601. Raises ValueError or OverflowError for what is no time."""
    if ms is None:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def in_ms(at: datetime | None) -> int | None:
    """Return a time as UTC milliseconds."""
    return None if at is None else round(at.timestamp() * 1000)


def each(rows: Iterable[T], show: Callable[[T], S], *names: str) -> list[S]:
    """Return every row as it is shown; in place of one that cannot be, an ``Unshown`` with its ``names``."""
    shown: list[S] = []
    for row in rows:
        try:
            shown.append(show(row))
        except Exception as error:
            bad: dict[str, Any] = {name: getattr(row, name) for name in names}
            bad["problem"] = f"cannot be shown: {type(error).__name__}: {error}"[:500]
            shown.append(cast(S, bad))
    return shown


def both(say: Callable[[Language], str]) -> Words:
    """Return what is said in each language."""
    return {"zh": say("zh"), "en": say("en")}


def both_lines(say: Callable[[Language], Iterable[str]]) -> Lines:
    """Return the lines that are said in each language."""
    return {"zh": list(say("zh")), "en": list(say("en"))}


def as_json(text: str) -> object:
    """Return stored JSON for an answer; what is none as the text that it is."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text
