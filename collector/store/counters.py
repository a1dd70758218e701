"""Counting what nobody may overlook, in the transaction of whoever saw it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from collector.store import schema


def count(connection: Connection, site: str, name: str, number: int) -> None:
    """Add to a counter of the site, within ``store.transaction()``."""
    statement = insert_of(connection)(schema.counter).values(site=site, name=name, value=number)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["site", "name"], set_={"value": schema.counter.c.value + statement.excluded.value}
        )
    )


def insert_of(connection: Connection) -> Any:
    """Return the database's own insert, which knows ``ON CONFLICT``; the other's dialect is never loaded."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert
    from sqlalchemy.dialects import postgresql

    return postgresql.insert
