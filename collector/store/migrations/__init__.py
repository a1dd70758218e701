"""The database's versions, brought there by Alembic, which is loaded only where there is something to bring.

Which revisions there are stands in the names of the files (a test holds Alembic to the same): a collector that finds
its database up to date, as it does at every start but the first, saves Alembic's ten megabytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect, text

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE: Final = "alembic_version"
"""Where Alembic keeps a database's revision."""


def config(connection: Connection) -> Config:
    """Return Alembic's configuration for a connection that is already in a transaction."""
    from alembic.config import Config

    result = Config()
    result.set_main_option("script_location", f"{__name__}:")
    result.attributes["connection"] = connection
    return result


def current(connection: Connection) -> str:
    """Return the revision of a database; an empty string for one without."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return ""
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() or ""


def head() -> str:
    """Return the newest revision that this version knows."""
    return revisions()[0]


def revisions() -> list[str]:
    """Return all revisions that this version knows, newest first: ``r0013_action_key.py`` is 0013."""
    files = Path(__file__).with_name("versions").glob("r*.py")
    return sorted((file.name[1:].partition("_")[0] for file in files), reverse=True)
