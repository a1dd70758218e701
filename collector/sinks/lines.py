"""Records to InfluxDB line protocol (docs/architecture.md, Names in InfluxDB). Pure.

Source: InfluxData, "Line protocol reference" (v2): measurement, tags and field keys escape comma, equals sign and space
with a backslash; string fields stand in double quotes and escape quote and backslash; whole numbers end in ``i``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from telemetry.metrics import METRICS, Metric, Value
from telemetry.records import Schema

Writer = Callable[[Any], str]
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


def _bool(value: Value) -> str:
    return "true" if value else "false"


_WRITERS: Final[Mapping[str, Writer]] = {
    "float": lambda value: repr(float(value)),
    "int": lambda value: f"{int(value)}i",
    "bool": _bool,
    "text": _string,
    "state": _string,
}
"""By the catalogue's kind: a field keeps one type for ever, whatever JSON made of the value."""


@functools.lru_cache(maxsize=4096)
def _once(columns: tuple[tuple[int, str, Writer], ...]) -> tuple[tuple[int, str, Writer], ...]:
    """Return these columns, the same for all that have them: vehicles are equipped alike (7 kB each)."""
    return columns


class LineTemplate:
    """One schema of one agent made ready: prefix and columns of every line that a sample of it becomes.

    Columns that the catalogue does not know are left out; the intake has counted them.
    """

    __slots__ = ("_lines",)

    def __init__(self, site: str, vehicle: str, agent: str, schema: Schema) -> None:
        groups: dict[str, list[tuple[int, str, Writer]]] = {}
        for index, column in enumerate(schema.columns):
            metric: Metric | None = METRICS.get(column.metric)
            if metric is None:
                continue
            tags = {**column.labels, "site": site, "vehicle": vehicle, "agent": agent, "device": schema.device}
            prefix = metric.measurement + "".join(
                f",{escape_tag(key)}={escape_tag(value)}" for key, value in sorted(tags.items()) if key and value
            )
            groups.setdefault(prefix, []).append((index, f"{metric.field}=", _WRITERS[metric.kind]))
        self._lines = tuple((f"{prefix} ", _once(tuple(columns))) for prefix, columns in groups.items())

    def lines(self, values: Sequence[Value | None], time_ms: int) -> list[str]:
        """Return the lines of a sample at ``time_ms`` (UTC); nothing for a group without any value."""
        result = []
        for prefix, columns in self._lines:
            fields = [name + write(values[index]) for index, name, write in columns if values[index] is not None]
            if fields:
                result.append(f"{prefix}{','.join(fields)} {time_ms}")
        return result
