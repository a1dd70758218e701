"""Asking for rows. Blocking: call from a thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, Row, Select, Table


def fetch(engine: Engine, query: Select[Any]) -> Sequence[Row[Any]]:
    """Return all rows of a query."""
    with engine.connect() as connection:
        return connection.execute(query).all()


def where(query: Select[Any], table: Table, **equal: Any) -> Select[Any]:
    """Narrow a query to rows with these values in these columns; ``None`` narrows nothing."""
    for name, value in equal.items():
        if value is not None:
            query = query.where(table.c[name] == value)
    return query
