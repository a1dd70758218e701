"""Records to InfluxDB line protocol (docs/architecture.md, Names in InfluxDB). Pure.

Source: InfluxData, "Line protocol reference" (v2): measurement, tags and field keys escape comma, equals sign and space
with a backslash; string fields stand in double quotes and escape quote and backslash; whole numbers end in ``i``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from telemetry.metrics import METRICS, Metric, Value
from telemetry.records import Schema

Writer = Callable[[Sequence[Any]], str]
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def escape_tag(text: str) -> str:
    """Return a tag key or value as line protocol has it.

    The protocol cannot say a line end, and servers disagree about a backslash before what needs one: control
    characters become a space, backslashes slashes.
    """
    text = _CONTROL.sub(" ", text).replace("\\", "/")
    return text.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")


@functools.lru_cache(maxsize=4096, typed=True)
def _string(value: Value) -> str:
    """Remembered, for most texts are states that come again: they were a third of what lines cost."""
    text = str(value).replace("\n", " ").replace("\\", "\\\\").replace('"', '\\"')  # a line stays one line
    return f'"{text}"'


_WRITTEN: Final[Mapping[str, str]] = {
    "float": "{float(v[%d])!r}",
    "int": "{int(v[%d])}i",
    "bool": "{'true' if v[%d] else 'false'}",
    "text": "{string(v[%d])}",
    "state": "{string(v[%d])}",
}
"""How a value is written, by the catalogue's kind: a field keeps one type for ever, whatever JSON made of the value."""


class _Columns(NamedTuple):
    """What of a sample stands in one line."""

    indices: tuple[int, ...]
    each: tuple[Writer, ...]
    """Writes one field each, of a sample's values."""
    all: Writer
    """Writes all fields, of a sample in which none of the values is missing."""


@functools.lru_cache(maxsize=4096)
def _columns(columns: tuple[tuple[int, str, str], ...]) -> _Columns:
    """Return how (index, field, kind) are written, the same for all that have them: vehicles are equipped alike.

    As one expression: a call for each field would be a third of what lines cost.
    """
    fields = [f"{field}={_WRITTEN[kind] % index}" for index, field, kind in columns]
    return _Columns(
        tuple(index for index, _, _ in columns),
        tuple(_written(field) for field in fields),
        _written(",".join(fields)),
    )


def _written(fields: str) -> Writer:
    """Return what writes fields. Their names are the catalogue's, which are plain words."""
    words = {"float": float, "int": int, "string": _string}
    writer: Writer = eval(f'lambda v: f"{fields}"', {"__builtins__": {}, **words})
    return writer


class LineTemplate:
    """One schema of one agent made ready: prefix and columns of every line that a sample of it becomes.

    Columns that the catalogue does not know are left out; the intake has counted them.
    """

    __slots__ = ("_lines",)

    def __init__(self, site: str, vehicle: str, agent: str, schema: Schema) -> None:
        groups: dict[str, list[tuple[int, str, str]]] = {}
        for index, column in enumerate(schema.columns):
            metric: Metric | None = METRICS.get(column.metric)
            if metric is None:
                continue
            tags = {**column.labels, "site": site, "vehicle": vehicle, "agent": agent, "device": schema.device}
            prefix = metric.measurement + "".join(
                f",{escape_tag(key)}={escape_tag(value)}" for key, value in sorted(tags.items()) if key and value
            )
            groups.setdefault(prefix, []).append((index, metric.field, metric.kind))
        self._lines = tuple((f"{prefix} ", _columns(tuple(columns))) for prefix, columns in groups.items())

    def lines(self, values: Sequence[Value | None], time_ms: int) -> list[str]:
        """Return the lines of a sample at ``time_ms`` (UTC); nothing for a group without any value."""
        if None not in values:
            return [f"{prefix}{columns.all(values)} {time_ms}" for prefix, columns in self._lines]
        result = []
        for prefix, (indices, each, _) in self._lines:
            fields = [write(values) for index, write in zip(indices, each, strict=True) if values[index] is not None]
            if fields:
                result.append(f"{prefix}{','.join(fields)} {time_ms}")
        return result
