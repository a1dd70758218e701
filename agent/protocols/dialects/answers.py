"""Reply lines as records: what a line is the answer to, and its fields. Pure.

``+QENG:"NR5G-NSA",515`` becomes an :class:`Answer` named ``+QENG``; lines without a name that follow it
(``+GTCCINFO:``, ``!GSTATUS:``) are its ``rows``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from agent.protocols.at import Result, final_result

_NAMED: Final = re.compile(r"([+^!#*$%][A-Z0-9_]+)\s*:(.*)", re.IGNORECASE | re.DOTALL)
MAX_FIELDS: Final = 64
"""More than any record that is read here has."""


class Exchange(msgspec.Struct, frozen=True):
    """A command and what came back.

    ``command`` is None for lines that nobody asked for. ``result`` is None when no final result code was seen; only
    then may the last line be cut off (``cut``: the connection or the recording ended within it).
    """

    command: str | None
    lines: tuple[str, ...]
    result: Result | None = None
    cut: bool = False


@dataclass(slots=True)
class Answer:
    """One named reply line with the unnamed rows that follow it."""

    name: str
    text: str
    solicited: bool = True
    cut: bool = False
    rows: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list, repr=False, compare=False)

    @property
    def source(self) -> str:
        """The name without its mark: what facts call their source."""
        return self.name[1:]

    def record(self) -> Record:
        """Return the fields of this line."""
        record = Record(self.text, self.cut and not self.rows)
        self.records.append(record)
        return record

    def row(self, place: int) -> Record:
        """Return the fields of row ``place``."""
        record = Record(self.rows[place], self.cut and place == len(self.rows) - 1)
        self.records.append(record)
        return record

    def complete_rows(self) -> list[str]:
        """Return the rows without one that may have been cut off."""
        return self.rows[:-1] if self.cut else self.rows

    @property
    def doubted(self) -> bool:
        """Whether something was left out: the line may have been cut off, or has more than ``MAX_FIELDS``."""
        return any(record.doubted for record in self.records)


class Record:
    """Comma-separated fields, blanks and quotes around them removed. A missing field reads as None.

    ``cut`` says that the line may have been cut off: its last field is then not to be trusted.
    """

    def __init__(self, text: str, cut: bool = False) -> None:
        fields = split(text)
        self.fields = fields[:MAX_FIELDS]
        self.doubted = len(fields) > MAX_FIELDS
        self._cut = cut

    def __len__(self) -> int:
        return len(self.fields)

    def __getitem__(self, index: int) -> str | None:
        if not 0 <= index < len(self.fields):
            return None
        if self._cut and index == len(self.fields) - 1:
            self.doubted = True
            return None
        return self.fields[index].strip('"').strip()

    def whole(self, *counts: int) -> Record:
        """Trust the last field after all if the number of fields is one of a whole record."""
        if len(self.fields) in counts:
            self._cut = False
        return self

    def words(self, index: int) -> str:
        """Return field ``index`` in upper case, empty if it is missing."""
        return (self[index] or "").upper()


def split(text: str) -> list[str]:
    """Split at commas outside quotes; quotes are kept. A quote that is never closed splits like any other text."""
    if text.count('"') % 2:
        return [part.strip() for part in text.split(",")]
    parts, start, quoted = [], 0, False
    for place, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            parts.append(text[start:place].strip())
            start = place + 1
    return [*parts, text[start:].strip()]


def answers(exchange: Exchange) -> Iterator[Answer]:
    """Yield the named answers of an exchange, in order.

    Two records on one line (``+QCAINFO: ...+QCAINFO: ...``, seen where a line end was lost) are two answers.
    """
    current: Answer | None = None
    lines = [part for line in exchange.lines for part in _records(line)]
    for place, line in enumerate(lines):
        cut = exchange.cut and place == len(lines) - 1
        named = _NAMED.match(line)
        if named is not None:
            if current is not None:
                yield current
            current = Answer(named[1].upper(), named[2].strip(), exchange.command is not None, cut)
        elif current is not None and final_result(line) is None:
            current.rows.append(line)
            current.cut = cut
    if current is not None:
        yield current


def _records(line: str) -> list[str]:
    name = _NAMED.match(line)
    if name is None:
        return [line]
    mark = f"{name[1]}:"
    parts = re.split(f"(?={re.escape(mark)})", line, flags=re.IGNORECASE)
    return [part for part in parts if part.strip()]
