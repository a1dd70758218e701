"""How wide what arrives may be: no wider than all the places where it is kept and shown. Pure.

Numbers fit into 64 bits everywhere and add up; texts are printable, so that they break no line of a protocol, a log or
a terminal, and are no NUL, which PostgreSQL does not keep. Every check raises ValueError with what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from collector.core.identities import check_id, check_label
from telemetry.metrics import MAX_TEXT, METRICS
from telemetry.records import MAX_NUMBER, Column, Event, Schema

MAX_COLUMNS: Final = 1_000
_METRIC: Final = re.compile(r"[a-z][a-z0-9_]{0,31}\.[a-z][a-z0-9_]{0,63}")
MAX_EVENT_TEXT: Final = 1_000
"""Longest text in an event, in characters: an agent's words for a problem have up to 300."""
MAX_FIELDS: Final = 64
"""Most fields of an event."""


def check_text(text: str, most: int = MAX_TEXT) -> None:
    """Refuse a text that is too long or has what cannot be printed."""
    if len(text) > most or not text.isprintable():
        raise ValueError(f"expected up to {most} printable characters, found {text[:MAX_TEXT]!r}")


def check_texts(texts: Iterable[str]) -> None:
    """Refuse any such text."""
    for text in texts:
        check_text(text)


def check_value(value: Any, most: int = MAX_TEXT) -> None:
    """Refuse a value that is no bounded number, no printable text, no truth value and not unknown."""
    if isinstance(value, str):
        check_text(value, most)
    elif isinstance(value, float):
        if not abs(value) <= MAX_NUMBER:
            raise ValueError(f"expected a number up to {MAX_NUMBER}, found {value!r}")
    elif isinstance(value, int):
        if abs(value) > MAX_NUMBER:
            raise ValueError(f"expected a whole number up to {MAX_NUMBER}, found one of {value.bit_length()} bits")
    elif value is not None:
        raise ValueError(f"expected a number, text, true, false or null, found {type(value).__name__}")


def check_schema(name: str, schema: Schema) -> None:
    """Refuse a schema of another name, of too many columns, or with names and labels that are none.

    Label keys are the catalogue's; of a metric that it does not know, which is not written anywhere, they are names.
    """
    if len(schema.columns) > MAX_COLUMNS:
        raise ValueError(f"expected at most {MAX_COLUMNS} columns, found {len(schema.columns)}")
    check_id(schema.input, "an input")
    check_id(schema.device, "a device")
    for column in schema.columns:
        _check_column(column)
    if schema.id() != name:
        raise ValueError(f"expected the schema's own name {schema.id()}, found {name[:MAX_TEXT]!r}")


def _check_column(column: Column) -> None:
    if not _METRIC.fullmatch(column.metric):
        raise ValueError(f"expected <measurement>.<field>, found {column.metric[:MAX_TEXT]!r}")
    metric = METRICS.get(column.metric)
    for label, text in column.labels.items():
        check_label(label)
        if metric is not None and label not in metric.labels:
            raise ValueError(f"{column.metric}: expected labels {', '.join(metric.labels) or 'none'}, found {label}")
        check_text(text)


def check_event(event: Event) -> None:
    """Refuse an event whose names are no ids, or whose body is wider or deeper than what an agent tells.

    Its fields are values; only ``lost`` has a list among them, which has a type of its own.
    """
    if event.device or event.kind in ("inventory", "problem"):
        check_id(event.device, "a device")
    input = event.body.get("input")
    if input is not None and input != "":
        check_id(input if isinstance(input, str) else repr(input), "an input")
    if len(event.body) > MAX_FIELDS:
        raise ValueError(f"expected at most {MAX_FIELDS} fields, found {len(event.body)}")
    for name, value in event.body.items():
        check_text(name)
        if not (event.kind == "lost" and name == "intervals"):
            check_value(value, MAX_EVENT_TEXT)
